# The two commands people type are `make demo` and `make test`; everything else is a part of them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
RECIPE := examples/node/recipe.toml
BEDPLATE := $(TARGET_DIR)/debug/bedplate
AGENT_DIR := $(TARGET_DIR)/agent

# What compiling needs beyond a Rust toolchain: a C compiler and libblkid's static library. What tests need of the host:
# another clock, a token that is none but software, system calls that fail, and what installs packages with their scripts.
DEBIAN_PACKAGES := gcc libc6-dev pkg-config libblkid-dev libclang-dev ca-certificates faketime softhsm2 strace mmdebstrap

# Tests by tier. A new file in a tests folder belongs to `unit` unless it is one of these.
OTHER_TESTS := artifacts build guest node power_cuts rack secure_boot sim
ALL_TESTS := $(basename $(notdir $(wildcard */tests/*.rs) $(patsubst %/main.rs,%,$(wildcard */tests/*/main.rs))))
UNIT_TESTS := $(filter-out $(OTHER_TESTS),$(ALL_TESTS))

# Always of the whole workspace, so that each dependency is compiled once, with one set of features. Quiet are the runs
# of tests alone: compiling takes minutes on a new machine, and cargo shows how far it is.
TEST := $(CARGO) test -q --workspace
TIERS := $(TARGET_DIR)/tiers.txt

# $(call tier,NAME,COMMAND) runs it and keeps its seconds, and how many tests passed where there are any.
define tier
mkdir -p $(TARGET_DIR); log=$(TARGET_DIR)/tier-$(1).log; began=$${EPOCHREALTIME/./}; \
{ $(2); } 2>&1 | tee $$log; \
ms=$$(( ($${EPOCHREALTIME/./} - began) / 1000 )); \
passed=$$(awk '/^test result: ok/ { n += $$4 } END { if (n) printf ", %d tests", n }' $$log); \
line=$$(printf 'tier %-6s %5d.%d s%s' $(1) $$((ms / 1000)) $$((ms % 1000 / 100)) "$$passed"); \
{ grep -v '^tier $(1) ' $(TIERS) 2>/dev/null || true; echo "$$line"; } > $(TIERS).new; \
mv $(TIERS).new $(TIERS); echo "$$line" >&2
endef

# `make -j` must not run tiers side by side: they share the machine, and two cores. `machines` does where it pays.
.NOTPARALLEL:

.PHONY: help demo test begin setup agent bedplate lock image lint deny compile unit sim build guest power_cuts machines node artifacts secure_boot rack torture bench kernel clean

help:  ## Show what there is.
	@grep -hE '^[a-z_-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: image  ## Build the image, boot a node, print the cluster's table.
	$(CARGO) build --workspace --bins
	$(TARGET_DIR)/debug/demo --release out/node --recipe $(RECIPE)

test: begin lint deny compile unit sim image build machines  ## Everything, and the seconds of each tier.
	@echo; cat $(TIERS)

begin:
	@rm -f $(TIERS)

# As root the missing packages are installed; otherwise the one command is printed.
setup:  ## Install the few Debian packages that compiling needs.
	@missing=$$(for p in $(DEBIAN_PACKAGES); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then \
	    echo "installing" $$missing >&2; \
	    apt-get update -qq >&2; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >&2; \
	  else \
	    echo "Compiling Bedplate needs packages that are not installed. Run:" >&2; \
	    echo "  sudo apt-get install --no-install-recommends" $$missing >&2; exit 1; \
	  fi; \
	fi

bedplate: setup
	$(CARGO) build --workspace --bin bedplate

examples/node/keys: bedplate
	[ -d $@ ] || $(BEDPLATE) keys new $@

# The lock is made once; after that only what lies in this repository is read anew.
lock: bedplate examples/node/keys  ## Lock the example's inputs, and compile the agent as locked.
	if [ -f examples/node/bedplate.lock ] && $(BEDPLATE) lock --local --recipe $(RECIPE); then :; \
	else $(BEDPLATE) lock --recipe $(RECIPE); fi

# The programs that go into the image, for tests that take them by themselves.
agent: lock
	$(BEDPLATE) agent --recipe $(RECIPE) --out $(AGENT_DIR)

image: agent  ## Build the example's image into out/node.
	@$(call tier,image,$(BEDPLATE) build --recipe $(RECIPE) --out out/node)

# Alone, clippy takes all crates apart once more, which on a new checkout takes half as long as compiling them. As the compiler of
# what is in the workspace, which is how cargo itself calls it, it looks on while that is compiled: make test CLIPPY=compile.
ifeq ($(CLIPPY),compile)
export RUSTC_WORKSPACE_WRAPPER := clippy-driver
export CLIPPY_ARGS := -D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__
else
CLIPPY := $(CARGO) clippy -q --workspace --all-targets -- -D warnings
endif

lint: setup  ## Formatting and clippy.
	@$(call tier,lint,$(CARGO) fmt --check$(if $(filter-out compile,$(CLIPPY)), && $(CLIPPY)))

# Licences and origins of the crates. Its program is compiled without optimisation: it runs for seconds.
CARGO_DENY := $(or $(shell command -v cargo-deny),$(TARGET_DIR)/tools/bin/cargo-deny)

$(TARGET_DIR)/tools/bin/cargo-deny: | setup
	env -u RUSTC_WORKSPACE_WRAPPER CARGO_PROFILE_DEV_DEBUG=0 $(CARGO) install -q --locked --debug --no-default-features --root $(TARGET_DIR)/tools cargo-deny@0.20.2

deny: setup $(CARGO_DENY)  ## Licences and origins of the crates.
	@$(call tier,deny,$(CARGO_DENY) --log-level warn check bans licenses sources)

compile: setup
	@$(call tier,compile,$(CARGO) test --workspace --no-run && $(CARGO) build --workspace --bins)

unit: setup  ## Pure code, and what needs nothing but this repository.
	@$(call tier,unit,$(TEST) --lib --bins $(addprefix --test ,$(UNIT_TESTS)))

sim: setup  ## Plans applied to a model of a machine, cut at every point.
	@$(call tier,sim,$(TEST) --test sim)

# These keep their seconds themselves.
build: image  ## The builder with its real tools: reproducible, offline, killed.
	$(TEST) --test build

guest: image  ## Kernel and agent in an initrd, many cases in one boot.
	$(TEST) --test guest

power_cuts: image  ## Storage started again after a hundred power cuts and failing writes.
	$(TEST) --test power_cuts

# A machine in software emulation keeps one processor busy for most of its time, so two of these tiers run at once.
machines: image  ## Those that start machines: guest and node, and beside them power_cuts, artifacts, secure_boot and rack.
	@beside=$(TARGET_DIR)/machines.log; failed=0; \
	$(TEST) --no-fail-fast --test power_cuts --test artifacts --test secure_boot --test rack > $$beside 2>&1 & pid=$$!; \
	$(TEST) --no-fail-fast --test guest --test node || failed=1; wait $$pid || failed=1; cat $$beside; exit $$failed

node: image  ## The whole image under Secure Boot.
	$(TEST) --test node

artifacts: image  ## Each kind of artifact starts a machine.
	$(TEST) --test artifacts

rack: image  ## Several machines on one network.
	$(TEST) --test rack

secure_boot: image  ## From firmware without keys to a node that starts only what was signed.
	$(TEST) --test secure_boot

# Every power cut there is, which takes longer than all tests: make torture TORTURE="--points 300".
torture: image  ## Cut the power at every write of the storage unit, and start it again.
	$(CARGO) build -q --workspace --bins
	BEDPLATE_AGENT_DIR=$(AGENT_DIR) $(TARGET_DIR)/debug/torture $(TORTURE)

# What is measured, and how often: make bench BENCH="--only boots --runs 1".
bench: image  ## Measure builds and boots; write docs/performance.md.
	$(CARGO) build -q --workspace --bins
	BEDPLATE_AGENT_DIR=$(AGENT_DIR) $(TARGET_DIR)/debug/bench --release out/node --recipe $(RECIPE) $(BENCH)

# The example with a kernel of our own: kernel-config/*.config over Debian's source. Compiling it takes longer than all
# tests, so it is none of them. make kernel KERNELS="--runs 3" boots each three times.
KERNEL_SITE := out/kernel-site
KERNEL_SOURCE := linux-source-6.12
KERNEL_CONFIG := $(foreach f,base storage network kubernetes security machine,kernel-config/$(f).config)

$(KERNEL_SITE)/recipe.toml: $(RECIPE) Makefile
	mkdir -p $(KERNEL_SITE)
	sed -e 's|^package = "linux-image-amd64"|source = "$(KERNEL_SOURCE)"\nconfig = [$(foreach f,$(KERNEL_CONFIG),"../../$(f)",)]|' \
	  -e 's|^folder = "keys"|folder = "../../examples/node/keys"|' $< > $@

kernel: image $(KERNEL_SITE)/recipe.toml  ## Compile a kernel, boot a node with it, and compare it with Debian's.
	export BEDPLATE_AGENT_DIR=$(AGENT_DIR); site="--recipe $(KERNEL_SITE)/recipe.toml"; \
	$(BEDPLATE) lock --local $$site || $(BEDPLATE) lock $$site; \
	$(BEDPLATE) kernel config $$site; time $(BEDPLATE) kernel build $$site; $(BEDPLATE) build $$site --out out/kernel
	$(CARGO) build -q --workspace --bins
	$(TARGET_DIR)/debug/kernels --release out/kernel --recipe $(KERNEL_SITE)/recipe.toml $(KERNELS)

clean:  ## Remove what was built here; the store stays.
	$(CARGO) clean
	rm -rf out
