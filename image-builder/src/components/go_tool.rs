//! The Go of the tools tree, and the environments it runs in.
//!
//! Resolving and fetching follow the host's choice of module proxy and checksum database (its environment and
//! its user's `go env` file); every byte they bring is held against `go.sum`. Compiling sees nothing of the
//! host: no network, no settings, no home folder, no other toolchain.

use crate::arch::Arch;
use crate::store::Store;
use crate::tools::Tools;
use anyhow::{Context, Result, bail};
use run_tool::{Command, Tool};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A Go toolchain inside a tools tree.
#[derive(Debug, Clone)]
pub struct Go {
    root: PathBuf,
    inside: String,
    version: String,
    modules: PathBuf,
    cache: PathBuf,
}

impl Go {
    /// The newest Go of the tree (`usr/lib/go-1.26`), with its caches in the store.
    ///
    /// # Errors
    /// When the tree has none.
    pub fn find(tools: &Tools, store: &Store) -> Result<Go> {
        let lib = tools.root().join("usr/lib");
        let names = std::fs::read_dir(&lib).with_context(|| format!("can't read {}", lib.display()))?;
        let mut found: Vec<(Vec<u32>, String)> = names
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| Some((numbers(name.strip_prefix("go-")?)?, name)))
            .filter(|(_, name)| lib.join(name).join("bin/go").is_file())
            .collect();
        found.sort();
        let Some((_, name)) = found.pop() else {
            bail!(
                "the tools tree {} has no Go; it belongs to what is locked (packages golang-*-go and golang-*-src), \
                 so the tree is incomplete",
                tools.root().display()
            )
        };
        let root = lib.join(&name);
        let version = std::fs::read_to_string(root.join("VERSION")).context("can't read the version of Go")?;
        Ok(Go {
            inside: format!("/usr/lib/{name}"),
            version: version.lines().next().unwrap_or_default().into(),
            modules: store.root().join("go/mod"),
            cache: store.root().join("go/build"),
            root,
        })
    }

    /// Its version, as it says it: `go1.26.11`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Modules of the store, in Go's own layout (`GOMODCACHE`).
    pub fn modules(&self) -> &Path {
        &self.modules
    }

    /// Compiled packages of the store (`GOCACHE`). They save time and change no output.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Its folder as a program sees it whose root is the tools tree.
    pub fn inside(&self) -> &str {
        &self.inside
    }

    fn command(&self) -> Command {
        // A compiler left behind by a killed builder would go on for minutes.
        Tool::at(self.root.join("bin/go")).command().ends_with_starter()
    }

    fn in_module(&self, command: Command, scratch: &Path) -> Command {
        command
            .current_dir(scratch.join(MODULE))
            .env("GOROOT", &self.root)
            .env("GOMODCACHE", &self.modules)
            .env("GOCACHE", &self.cache)
            .env("GOPATH", scratch.join("gopath"))
            .env("GOTMPDIR", scratch)
            .env("TMPDIR", scratch)
    }

    /// A run in the module below `scratch` that may ask the network for others, unless `offline`.
    pub fn resolving(&self, scratch: &Path, offline: bool) -> Command {
        let mut command = self.command();
        for name in PASSED {
            if let Some(value) = std::env::var_os(name) {
                command = command.env(name, value);
            }
        }
        if offline {
            command = command.env("GOPROXY", "off");
        }
        // The module cache must be removable like any other folder. Never empty: then the user's file would count.
        self.in_module(command, scratch).env("GOFLAGS", "-modcacherw").env("GOTOOLCHAIN", "local").env("GOWORK", "off")
    }

    /// A run in the module below `scratch` that compiles, with the same settings on every host.
    pub fn compiling(&self, scratch: &Path, arch: Arch) -> Command {
        let command = fixed(arch, false).into_iter().fold(self.command(), |c, (k, v)| c.env(k, v));
        self.in_module(command, scratch)
    }
}

/// The folder of the module that Go works on, below a folder for what Go leaves. Not that folder itself: Go
/// passes over a module that lies where temporary files go.
pub const MODULE: &str = "module";

/// The settings that decide what a compilation gives.
pub fn fixed(arch: Arch, cgo: bool) -> Vec<(&'static str, OsString)> {
    let mut all: Vec<(&'static str, OsString)> = [
        ("GOENV", "off"),
        ("GOFLAGS", ""),
        ("GOPROXY", "off"),
        ("GOTOOLCHAIN", "local"),
        ("GOWORK", "off"),
        ("GOOS", "linux"),
        ("GOARCH", arch.go()),
        ("CGO_ENABLED", if cgo { "1" } else { "0" }),
    ]
    .map(|(name, value)| (name, value.into()))
    .into();
    match arch {
        Arch::Amd64 => all.push(("GOAMD64", "v1".into())),
    }
    all
}

/// What resolving takes from the host: where modules come from, who vouches for them, and how to get there.
const PASSED: [&str; 26] = [
    "GOENV",
    "GOPROXY",
    "GOSUMDB",
    "GONOPROXY",
    "GONOSUMDB",
    "GOPRIVATE",
    "GOINSECURE",
    "GOVCS",
    "GOAUTH",
    "HOME",
    "XDG_CONFIG_HOME",
    "NETRC",
    // A private module fetched straight from its repository needs the host's git and ssh.
    "PATH",
    "SSH_AUTH_SOCK",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSH_COMMAND",
];

fn numbers(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|n| n.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test makes a tree")]
    fn the_newest_go_of_the_tree_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        let store = Store::open(&folder.path().join("store")).unwrap();
        let tools = Tools::unpacked(&tree, Sha256::of(""));
        std::fs::create_dir_all(tree.join("usr/lib/go-tools/bin")).unwrap();
        let error = Go::find(&tools, &store).unwrap_err().to_string();
        assert!(error.contains("has no Go"), "{error}");
        for version in ["1.9", "1.26"] {
            let root = tree.join(format!("usr/lib/go-{version}"));
            std::fs::create_dir_all(root.join("bin")).unwrap();
            std::fs::write(root.join("bin/go"), "").unwrap();
            std::fs::write(root.join("VERSION"), format!("go{version}.1\ntime 2026-01-01T00:00:00Z\n")).unwrap();
        }
        let go = Go::find(&tools, &store).unwrap();
        assert_eq!((go.version(), go.inside()), ("go1.26.1", "/usr/lib/go-1.26"));
    }
}
