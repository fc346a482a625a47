//! The agent's own sources.
#![allow(clippy::disallowed_methods, reason = "edge: reads the sources and lays them out to be compiled")]

use super::workspace::{self, Part};
use crate::digest::Sha256;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The package that the programs are made of.
pub(super) const PACKAGE: &str = "firstboot";

/// Its lock of crates.
pub(super) const CARGO_LOCK: &str = "Cargo.lock";

/// The agent's sources: of its workspace, the packages that the programs are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    files: BTreeMap<String, Vec<u8>>,
    crates: BTreeMap<String, Sha256>,
}

impl Sources {
    /// Reads those in the workspace at `folder`. Tests are left out, so that changing one changes no lock.
    ///
    /// # Errors
    /// When a file can't be read, or the folder is no workspace with the agent in it.
    pub fn read(folder: &Path) -> Result<Sources> {
        let text = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))
        };
        let Part { members, crates, manifest, lock } =
            workspace::part(&text(MANIFEST)?, &text("Cargo.lock")?, PACKAGE)?;
        let mut files =
            BTreeMap::from([(CARGO_LOCK.to_owned(), lock.into_bytes()), (MANIFEST.to_owned(), manifest.into_bytes())]);
        for member in members.values() {
            take(&folder.join(member), member, &mut files)?;
        }
        Ok(Sources { files, crates })
    }

    /// Digest over paths and bytes.
    pub fn digest(&self) -> Sha256 {
        let list = self.files.iter().map(|(path, bytes)| format!("{} {path}\n", Sha256::of(bytes)));
        Sha256::of(list.collect::<String>())
    }

    /// Digest of what decides which crates are needed: `Cargo.lock` and the manifests.
    pub(super) fn manifests(&self) -> Sha256 {
        let wanted = |path: &str| path == CARGO_LOCK || path.ends_with(MANIFEST);
        let list = self.files.iter().filter(|(path, _)| wanted(path));
        Sha256::of(list.map(|(path, bytes)| format!("{} {path}\n", Sha256::of(bytes))).collect::<String>())
    }

    /// The crates that `Cargo.lock` names, `NAME-VERSION` -> digest: those needed and, as it says nothing of features,
    /// some more.
    pub(super) fn named(&self) -> &BTreeMap<String, Sha256> {
        &self.crates
    }

    /// Writes them below `folder`.
    ///
    /// # Errors
    /// When one can't be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        for (path, bytes) in &self.files {
            let to = folder.join(path);
            std::fs::create_dir_all(to.parent().unwrap_or(folder))
                .and_then(|()| std::fs::write(&to, bytes))
                .with_context(|| format!("can't write {}", to.display()))?;
        }
        Ok(())
    }
}

/// A package's description.
const MANIFEST: &str = "Cargo.toml";

/// A manifest without what only its tests need, so that those crates are neither locked nor fetched.
fn without_tests(manifest: &[u8]) -> Result<Vec<u8>> {
    const TESTS: &str = "dev-dependencies";
    let mut manifest: toml::Table = toml::from_str(std::str::from_utf8(manifest)?)?;
    manifest.remove(TESTS);
    let platforms = manifest.get_mut("target").and_then(toml::Value::as_table_mut);
    for (_, platform) in platforms.into_iter().flat_map(toml::Table::iter_mut) {
        platform.as_table_mut().map(|platform| platform.remove(TESTS));
    }
    Ok(toml::to_string(&manifest)?.into_bytes())
}

/// Folders of a package that its programs are not made of.
const LEFT_OUT: [&str; 5] = ["benches", "examples", "snapshots", "target", "tests"];

fn take(folder: &Path, below: &str, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let cant = || format!("can't read {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(cant)? {
        let entry = entry.with_context(cant)?;
        let name = entry.file_name();
        let name = name.to_str().with_context(|| format!("{} has a name that is not UTF-8", entry.path().display()))?;
        let (path, kind) = (format!("{below}/{name}"), entry.file_type().with_context(cant)?);
        if name.starts_with('.') || (kind.is_dir() && LEFT_OUT.contains(&name)) {
            continue;
        }
        match kind.is_dir() {
            true => take(&entry.path(), &path, files)?,
            false => {
                let failed = || format!("can't read {}", entry.path().display());
                let bytes = std::fs::read(entry.path()).with_context(failed)?;
                let bytes = if name == MANIFEST { without_tests(&bytes).with_context(failed)? } else { bytes };
                files.insert(path, bytes);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Sources {
        Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
    }

    #[test]
    fn the_agent_is_made_of_its_own_packages_alone() {
        let sources = own();
        assert!(sources.files.contains_key("firstboot/src/main.rs"));
        assert!(!sources.files.keys().any(|path| path.starts_with("image-builder/") || path.contains("/tests/")));
        assert!(sources.crates.keys().any(|name| name.starts_with("libblkid-rs-")));
        assert!(!sources.crates.keys().any(|name| name.starts_with("resolvo-")), "that is the builder's");
    }

    #[test]
    fn what_only_tests_need_is_left_out() {
        let manifest = "[package]\nname = \"x\"\n[dev-dependencies]\na = \"1\"\n[dependencies]\nb = \"1\"\n\
                        [target.'cfg(unix)'.dev-dependencies]\nc = \"1\"\n";
        let left: toml::Table =
            toml::from_str(std::str::from_utf8(&without_tests(manifest.as_bytes()).unwrap()).unwrap()).unwrap();
        let wanted: toml::Table =
            toml::from_str("target.'cfg(unix)' = {}\n[package]\nname = \"x\"\n[dependencies]\nb = \"1\"\n").unwrap();
        assert_eq!(left, wanted);
    }

    #[test]
    fn a_changed_byte_or_path_gives_another_digest() {
        let (sources, mut other) = (own(), own());
        assert_eq!(sources.digest(), other.digest());
        let bytes = other.files.remove("firstboot/src/main.rs").unwrap();
        assert_ne!(sources.digest(), other.digest());
        other.files.insert("firstboot/src/main.rs".into(), [bytes.as_slice(), b"\n"].concat());
        assert_ne!(sources.digest(), other.digest());
    }
}
