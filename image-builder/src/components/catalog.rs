//! The Go modules that ship with the builder, as data: what each is made of and what it installs.
//!
//! No version of anything is written here; versions are the recipe's.

use crate::digest::Sha256;
use std::collections::BTreeMap;

/// A small Go module carried by the builder, whose requirements are the programs wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoComponent {
    /// Name in the recipe: `modules = "kube"`.
    pub name: &'static str,
    /// Its `go.mod`, with a name in braces where a version goes.
    pub go_mod: &'static str,
    /// Its own Go files, by path.
    pub sources: &'static [(&'static str, &'static str)],
    /// What is built from it.
    pub programs: &'static [Program],
    /// Build tags.
    pub tags: &'static [&'static str],
    /// How it is linked.
    pub linking: Linking,
    /// Packages of the tools tree whose static libraries are linked in.
    pub archives: &'static [&'static str],
    /// Variables set while linking.
    pub stamps: &'static [Stamp],
}

/// One program of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Its Go package.
    pub package: &'static str,
    /// Where it goes in the root.
    pub install: &'static str,
    /// Other names it is called by, as links beside it.
    pub links: &'static [&'static str],
}

/// How a component's programs are linked. All are static.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linking {
    /// By Go alone (`CGO_ENABLED=0`); needs no C compiler.
    Go,
    /// With C code in it: compiled inside the tools tree, as a static position-independent program.
    C,
}

/// A string variable of a Go package and what it is set to (`-ldflags -X`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Package path and variable.
    pub variable: &'static str,
    /// Its value.
    pub value: Value,
}

/// What a variable is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// The version of this name, with its `v`.
    Version(&'static str),
    /// Its first number.
    Major(&'static str),
    /// Its second number.
    Minor(&'static str),
    /// When the component's first module was released, RFC 3339 in UTC. Never the time of the build.
    Released,
    /// Nothing, where the default would be an unfilled form.
    Empty,
}

const fn program(package: &'static str, install: &'static str) -> Program {
    Program { package, install, links: &[] }
}

const fn stamp(variable: &'static str, value: Value) -> Stamp {
    Stamp { variable, value }
}

/// Every Go module that ships with the builder.
pub const CATALOG: &[GoComponent] = &[
    GoComponent {
        name: "kube",
        go_mod: include_str!("go/kube/go.mod.template"),
        sources: &[
            ("main.go", include_str!("go/kube/main.go")),
            ("untranslated/untranslated.go", include_str!("go/kube/untranslated/untranslated.go")),
        ],
        programs: &[Program {
            package: ".",
            install: "/usr/bin/kube",
            links: &[
                "kubelet",
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kube-proxy",
                "kubectl",
                "etcd",
            ],
        }],
        tags: &[],
        linking: Linking::Go,
        archives: &[],
        // The servers report one of the two packages, clients (kubectl's user agent) the other.
        stamps: &[
            stamp("k8s.io/component-base/version.gitVersion", Value::Version("kubernetes")),
            stamp("k8s.io/component-base/version.gitMajor", Value::Major("kubernetes")),
            stamp("k8s.io/component-base/version.gitMinor", Value::Minor("kubernetes")),
            stamp("k8s.io/component-base/version.gitCommit", Value::Empty),
            stamp("k8s.io/component-base/version.buildDate", Value::Released),
            stamp("k8s.io/client-go/pkg/version.gitVersion", Value::Version("kubernetes")),
            stamp("k8s.io/client-go/pkg/version.gitMajor", Value::Major("kubernetes")),
            stamp("k8s.io/client-go/pkg/version.gitMinor", Value::Minor("kubernetes")),
            stamp("k8s.io/client-go/pkg/version.gitCommit", Value::Empty),
            stamp("k8s.io/client-go/pkg/version.buildDate", Value::Released),
        ],
    },
    GoComponent {
        name: "containerd",
        go_mod: include_str!("go/containerd/go.mod.template"),
        sources: &[
            ("main.go", include_str!("go/containerd/main.go")),
            ("baked/baked.go", include_str!("go/containerd/baked/baked.go")),
        ],
        programs: &[
            Program { package: ".", install: "/usr/bin/containerd", links: &["ctr"] },
            program(
                "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
                "/usr/bin/containerd-shim-runc-v2",
            ),
        ],
        // Upstream's tags of a static build, without the snapshotters that need C libraries.
        tags: &["netgo", "no_btrfs", "no_devmapper", "no_zfs", "osusergo", "static_build", "urfave_cli_no_docs"],
        linking: Linking::Go,
        archives: &[],
        stamps: &[stamp("github.com/containerd/containerd/v2/version.Version", Value::Version("containerd"))],
    },
    GoComponent {
        name: "runc",
        go_mod: include_str!("go/runc/go.mod.template"),
        sources: &[],
        programs: &[program("github.com/opencontainers/runc", "/usr/bin/runc")],
        // Upstream's tags of a static build, without libpathrs, which Debian does not carry.
        tags: &["netgo", "osusergo", "seccomp", "urfave_cli_no_docs"],
        linking: Linking::C,
        archives: &["libc6-dev", "libseccomp-dev"],
        stamps: &[],
    },
    GoComponent {
        name: "cni",
        go_mod: include_str!("go/cni/go.mod.template"),
        sources: &[],
        programs: &[
            program("github.com/containernetworking/plugins/plugins/main/bridge", "/usr/lib/cni/bridge"),
            program("github.com/containernetworking/plugins/plugins/meta/firewall", "/usr/lib/cni/firewall"),
            program("github.com/containernetworking/plugins/plugins/ipam/host-local", "/usr/lib/cni/host-local"),
            program("github.com/containernetworking/plugins/plugins/main/loopback", "/usr/lib/cni/loopback"),
            program("github.com/containernetworking/plugins/plugins/meta/portmap", "/usr/lib/cni/portmap"),
            program("github.com/containernetworking/plugins/plugins/main/ptp", "/usr/lib/cni/ptp"),
        ],
        tags: &[],
        linking: Linking::Go,
        archives: &[],
        stamps: &[stamp(
            "github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion",
            Value::Version("cni"),
        )],
    },
    GoComponent {
        name: "coredns",
        go_mod: include_str!("go/coredns/go.mod.template"),
        sources: &[("main.go", include_str!("go/coredns/main.go"))],
        programs: &[program(".", "/usr/bin/coredns")],
        // Upstream's tag: leaves out gRPC's tracing, which defeats dead-code elimination.
        tags: &["grpcnotrace"],
        linking: Linking::Go,
        archives: &[],
        stamps: &[],
    },
    GoComponent {
        name: "pause",
        go_mod: include_str!("go/pause/go.mod.template"),
        sources: &[("main.go", include_str!("go/pause/main.go"))],
        programs: &[program(".", "/usr/lib/bedplate/pause")],
        tags: &[],
        linking: Linking::Go,
        archives: &[],
        stamps: &[],
    },
];

impl GoComponent {
    /// The module of this name.
    pub fn named(name: &str) -> Option<&'static GoComponent> {
        CATALOG.iter().find(|c| c.name == name)
    }

    /// Digest of everything the builder carries for it, so that a lock made by another version of the builder
    /// is noticed.
    pub fn source_digest(&self) -> Sha256 {
        let mut text = format!("{} {}\n", self.go_mod.len(), self.go_mod);
        for (name, source) in self.sources {
            text.push_str(&format!("{name} {} {source}\n", source.len()));
        }
        Sha256::of(text)
    }

    /// The packages that are compiled.
    pub fn packages(&self) -> impl Iterator<Item = &'static str> {
        self.programs.iter().map(|p| p.package)
    }

    /// What the linker is told (`go build -ldflags`), with `versions` as Go writes them (`v1.2.3`).
    ///
    /// A stamp whose version is not there, or is too short for its part, is left out.
    pub fn linker_flags(&self, versions: &BTreeMap<String, String>, released: Option<&str>) -> String {
        let mut flags = vec!["-s".to_owned(), "-w".into(), "-buildid=".into()];
        if self.linking == Linking::C {
            flags.extend(["-linkmode", "external", "-extldflags", "-static-pie"].map(String::from));
        }
        let number = |name: &str, index| {
            let version = versions.get(name)?;
            Some(version.trim_start_matches('v').split('.').nth(index)?.to_owned())
        };
        for Stamp { variable, value } in self.stamps {
            let value = match value {
                Value::Version(name) => versions.get(*name).cloned(),
                Value::Major(name) => number(name, 0),
                Value::Minor(name) => number(name, 1),
                Value::Released => released.map(String::from),
                Value::Empty => Some(String::new()),
            };
            if let Some(value) = value {
                flags.extend(["-X".to_owned(), format!("{variable}={value}")]);
            }
        }
        flags.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::go_modules::names;

    #[test]
    fn every_stamp_names_a_version_its_template_asks_for() {
        for component in CATALOG {
            for stamp in component.stamps {
                if let Value::Version(name) | Value::Major(name) | Value::Minor(name) = stamp.value {
                    assert!(names(component.go_mod).contains(&name), "{}: {name}", component.name);
                }
            }
        }
    }

    #[test]
    fn every_program_but_our_own_is_a_tool_of_its_template() {
        for component in CATALOG {
            for package in component.packages().filter(|p| *p != ".") {
                assert!(component.go_mod.contains(&format!("\ntool {package}\n")), "{}: {package}", component.name);
            }
            assert_eq!(component.sources.is_empty(), component.packages().all(|p| p != "."), "{}", component.name);
        }
    }

    #[test]
    fn no_version_is_written_in_what_we_carry() {
        for component in CATALOG {
            for line in component.go_mod.lines().filter(|l| l.starts_with("require")) {
                assert!(line.ends_with('}'), "{}: {line}", component.name);
            }
        }
    }

    #[test]
    fn linker_flags_carry_the_versions_and_never_a_build_id() {
        let versions = BTreeMap::from([("kubernetes".to_owned(), "v1.37.2".to_owned())]);
        let flags = GoComponent::named("kube").unwrap().linker_flags(&versions, Some("2026-10-01T00:00:00Z"));
        for wanted in [
            "-s -w -buildid= ",
            "-X k8s.io/component-base/version.gitVersion=v1.37.2",
            "-X k8s.io/client-go/pkg/version.gitMinor=37",
            "-X k8s.io/component-base/version.buildDate=2026-10-01T00:00:00Z",
        ] {
            assert!(flags.contains(wanted), "{wanted} is not in {flags}");
        }
    }
}
