# The two commands people type are `make demo` and `make test`; everything else is a part of them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
RECIPE := examples/node/recipe.toml
NODE_TARGET := x86_64-unknown-linux-gnu
BEDPLATE := $(TARGET_DIR)/debug/bedplate
AGENT_DIR := $(TARGET_DIR)/agent

# What compiling Bedplate needs beyond a Rust toolchain: a C compiler and libblkid's static library.
DEBIAN_PACKAGES := gcc libc6-dev pkg-config libblkid-dev libclang-dev ca-certificates faketime

.PHONY: help demo test setup build agent bedplate lock image lint unit guest node rack bench clean

help:  ## Show what there is.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: image  ## Build the image, boot a node, print the cluster's table.
	$(CARGO) run -q -p qemu-tests --bin demo -- --release out/node --recipe $(RECIPE)

test: lint unit image guest node rack  ## Everything: lint, unit, sim, guest, node, rack.
	@cat $(TARGET_DIR)/tiers.txt

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
	$(CARGO) build -q -p image-builder

# The programs that go into the image: static, small, and without a path of this folder in them.
agent: setup
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$(CURDIR)=/bedplate --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo" \
	  $(CARGO) build -q -p firstboot --profile node --target $(NODE_TARGET)
	mkdir -p $(AGENT_DIR)
	install -m 0755 -C $(TARGET_DIR)/$(NODE_TARGET)/node/firstboot $(TARGET_DIR)/$(NODE_TARGET)/node/stage1 $(AGENT_DIR)/

build: bedplate agent  ## Compile the builder and the agent.

examples/node/keys: bedplate
	[ -d $@ ] || $(BEDPLATE) keys new $@

# The lock is made once; after that only what lies in this repository is read anew.
lock: build examples/node/keys  ## Lock the example's inputs.
	if [ -f examples/node/bedplate.lock ] && BEDPLATE_AGENT_DIR=$(AGENT_DIR) $(BEDPLATE) lock --local --recipe $(RECIPE); then :; \
	else BEDPLATE_AGENT_DIR=$(AGENT_DIR) $(BEDPLATE) lock --recipe $(RECIPE); fi

image: lock  ## Build the example's image into out/node.
	BEDPLATE_AGENT_DIR=$(AGENT_DIR) $(BEDPLATE) build --recipe $(RECIPE) --out out/node

lint: setup  ## Formatting and clippy.
	$(CARGO) fmt --check
	$(CARGO) clippy -q --workspace --all-targets -- -D warnings

unit: setup
	$(CARGO) test -q

guest: image
	$(CARGO) test -q -p qemu-tests --test guest

node: image
	$(CARGO) test -q -p qemu-tests --test node

rack: image
	$(CARGO) test -q -p qemu-tests --test rack

# What is measured, and how often: make bench BENCH="--only boots --runs 1".
bench: image  ## Measure builds and boots; write docs/performance.md.
	BEDPLATE_AGENT_DIR=$(AGENT_DIR) $(CARGO) run -q -p qemu-tests --bin bench -- --release out/node --recipe $(RECIPE) $(BENCH)

clean:  ## Remove what was built here; the store stays.
	$(CARGO) clean
	rm -rf out
