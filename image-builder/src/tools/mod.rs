//! The tools tree: the external programs the builder drives, fetched, verified and locked like any other
//! input, and run from the store by absolute path.
//!
//! The host's own programs are never used, so an old one can't change an image. No root is needed, neither to
//! unpack the tree nor to run what is in it.

mod loader;
mod locked;
pub mod namespace;
mod unpack;

use crate::arch::Arch;
use crate::digest::Sha256;
use crate::progress::{Progress, Unit};
use crate::stage::StageKey;
use crate::store::{Fetched, Store};
use anyhow::{Context, Result, bail};
use loader::Interpreter;
use run_tool::{Tool, ToolError};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Revision of how the tree is unpacked.
const REVISION: u32 = 1;

/// An unpacked tools tree.
#[derive(Debug, Clone)]
pub struct Tools {
    root: PathBuf,
    digest: Sha256,
    arch: Arch,
}

impl Tools {
    /// The tree unpacked at `root`, whose packages have this digest together.
    pub fn unpacked(root: impl Into<PathBuf>, digest: Sha256) -> Tools {
        Tools { root: root.into(), digest, arch: Arch::default() }
    }

    /// The tree of these packages (of [`crate::fetch::Inputs::tool`]), unpacked into the store unless it is
    /// there already.
    ///
    /// # Errors
    /// When a package can't be unpacked; it is named.
    pub fn open(store: &Store, arch: Arch, packages: &BTreeMap<String, Fetched>, progress: &Progress) -> Result<Tools> {
        let mut key = StageKey::new("tools", REVISION).with("architecture", arch.debian());
        for (name, file) in packages {
            key = key.with(name, file.digest());
        }
        let output = store.output(&key, |folder| {
            let task = progress.task("unpack the tools", packages.len() as u64, Unit::Count("packages"));
            unpack::unpack(packages, folder, || task.add(1))
        })?;
        Ok(Tools { root: output.folder().to_owned(), digest: key.digest(), arch })
    }

    /// The tree's root folder: `usr/bin/...` below it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Digest over all packages of the tree; part of the key of every stage that runs one of its programs.
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// A file of the tree by its absolute path there, with links followed inside the tree
    /// (`/usr/share/OVMF/OVMF_CODE_4M.fd`).
    ///
    /// # Errors
    /// When the tree does not have it.
    pub fn file(&self, path: &str) -> Result<PathBuf> {
        loader::follow(&self.root, Path::new(path))
    }

    /// A program of the tree by name, started through the tree's own loader and libraries; a static one directly.
    ///
    /// # Errors
    /// When the tree does not have it, or nothing of the tree can start it.
    pub fn tool(&self, name: &str) -> Result<Tool> {
        let folders = ["/usr/bin", "/usr/sbin", "/usr/libexec"];
        let Some(path) = folders.iter().find_map(|f| self.file(&format!("{f}/{name}")).ok()) else {
            return Err(ToolError::Missing {
                name: name.into(),
                folders: format!("{} of the tools tree {}", folders.join(", "), self.root.display()),
            }
            .into());
        };
        let mut tool = self.at(&path, 0).with_context(|| format!("the tool {name} can't be started"))?;
        tool.name = name.into();
        // A program of many names (kmod as depmod) goes by the one it is called by; the loader hands it on.
        if let [first, _, _, program] = &mut tool.prefix[..]
            && first == "--inhibit-cache"
            && Path::new(program).file_name() != Some(name.as_ref())
        {
            tool.prefix.splice(0..0, ["--argv0".into(), name.into()]);
        }
        Ok(tool)
    }

    fn at(&self, path: &Path, depth: u32) -> Result<Tool> {
        let bytes = std::fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
        let mut tool = match loader::interpreter(&bytes)? {
            Interpreter::None => Tool::at(path),
            Interpreter::Loader(loader) => {
                let mut tool = Tool::at(self.file(&loader)?);
                tool.prefix = vec![
                    // The host's cache would bring the host's libraries in.
                    "--inhibit-cache".into(),
                    "--library-path".into(),
                    loader::library_path(&self.root, self.arch.library_folder())?,
                    path.into(),
                ];
                tool
            }
            // An interpreter that is a script itself, more than once over, is nothing that packages have.
            Interpreter::Script(..) if depth > 2 => bail!("its interpreters are scripts without an end"),
            Interpreter::Script(program, argument) => {
                let (program, argument) = match (program.as_str(), argument) {
                    ("/usr/bin/env", Some(name)) => (format!("/usr/bin/{name}"), None),
                    (_, argument) => (program, argument),
                };
                let mut tool = self.at(&self.file(&program)?, depth + 1)?;
                tool.prefix.extend(argument.map(OsString::from));
                tool.prefix.push(path.into());
                tool
            }
        };
        let libraries = self.root.join("usr/lib").join(self.arch.library_folder());
        // Paths that are compiled in, said again for where the tree is.
        tool = tool.with_env("GCONV_PATH", libraries.join("gconv"));
        if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("qemu-")) {
            tool = tool.with_env("QEMU_MODULE_DIR", libraries.join("qemu"));
        }
        if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("qemu-system-")) {
            for folder in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
                tool.prefix.extend(["-L".into(), self.root.join(folder).into_os_string()]);
            }
        }
        Ok(tool)
    }
}
