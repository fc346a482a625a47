//! Folders laid over the packages.
//!
//! Only names, bytes, link targets and the owner's executable bit count: files become 0644 or 0755 and
//! belong to root, folders 0755, so that neither the umask nor the owner of the checkout reaches an image.
//! A file named `.gitkeep` stands for an otherwise empty folder and is left out.

use super::layer::Layer;
use super::tree::{Content, Entry, Kind, Origin, TreePath};
use crate::digest::Sha256;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// An overlay folder and the name it goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Name, in origins and in the lock.
    pub name: String,
    /// The folder; what is in it lands in `/`.
    pub folder: PathBuf,
}

impl Overlay {
    /// The overlay in this folder, named by its last part.
    pub fn at(folder: &Path) -> Overlay {
        let name = folder.file_name().map_or_else(|| "overlay".into(), |n| n.to_string_lossy().into_owned());
        Overlay { name, folder: folder.to_owned() }
    }

    /// Everything in the folder.
    ///
    /// # Errors
    /// When something can't be read, or is neither file, folder nor link.
    pub fn layer(&self) -> Result<Layer> {
        let origin = Origin::Overlay(self.name.clone());
        let mut entries = Vec::new();
        self.walk(&self.folder, "", &origin, &mut entries)
            .with_context(|| format!("the overlay {} can't be read", self.folder.display()))?;
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Layer { entries, ..Layer::of(origin) })
    }

    /// Digest of each file and link by path: over its mode, a NUL and its bytes or target.
    ///
    /// # Errors
    /// As [`Overlay::layer`].
    pub fn digests(&self) -> Result<BTreeMap<String, Sha256>> {
        let digest = |entry: &Entry| -> Result<Option<Sha256>> {
            Ok(match &entry.kind {
                Kind::File(content) => {
                    Some(Sha256::of([format!("{:o}\0", entry.mode).into_bytes(), content.read()?].concat()))
                }
                Kind::Symlink(target) => Some(Sha256::of(format!("link\0{target}"))),
                _ => None,
            })
        };
        let mut found = BTreeMap::new();
        for (path, entry) in self.layer()?.entries {
            if let Some(digest) = digest(&entry)? {
                found.insert(path.as_str().trim_start_matches('/').to_owned(), digest);
            }
        }
        Ok(found)
    }

    fn walk(&self, folder: &Path, below: &str, origin: &Origin, found: &mut Vec<(TreePath, Entry)>) -> Result<()> {
        for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let at = entry.path();
            let Ok(name) = entry.file_name().into_string() else { bail!("{} is not named in UTF-8", at.display()) };
            let path = format!("{below}/{name}");
            let kind = entry.file_type()?;
            let (kind, mode) = if kind.is_dir() {
                self.walk(&at, &path, origin, found)?;
                (Kind::Directory, 0o755)
            } else if kind.is_symlink() {
                let target = std::fs::read_link(&at)?.into_os_string().into_string();
                let Ok(target) = target else { bail!("{} has a target that is not UTF-8", at.display()) };
                (Kind::Symlink(target), 0o777)
            } else if kind.is_file() {
                if name == ".gitkeep" {
                    continue;
                }
                let executable = entry.metadata()?.permissions().mode() & 0o100 != 0;
                let bytes = std::fs::read(&at).with_context(|| at.display().to_string())?;
                (Kind::File(Content::bytes(bytes)), if executable { 0o755 } else { 0o644 })
            } else {
                bail!("{} is neither file, folder nor link", at.display())
            };
            let path = TreePath::new(&path).map_err(anyhow::Error::msg)?;
            let (uid, gid, xattrs) = (0, 0, BTreeMap::new());
            found.push((path, Entry { kind, mode, uid, gid, xattrs, origin: origin.clone() }));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test's own folder")]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, mode: u32) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn modes_of_the_checkout_do_not_count() {
        let make = |modes: [u32; 3]| {
            let folder = tempfile::tempdir().unwrap();
            file(folder.path(), "etc/plain", modes[0]);
            file(folder.path(), "usr/bin/run", modes[1]);
            file(folder.path(), "var/empty/.gitkeep", 0o644);
            std::os::unix::fs::symlink("/dev/null", folder.path().join("etc/masked")).unwrap();
            std::fs::set_permissions(folder.path().join("etc"), std::fs::Permissions::from_mode(modes[2])).unwrap();
            let overlay = Overlay { name: "test".into(), folder: folder.path().into() };
            (overlay.layer().unwrap().entries, overlay.digests().unwrap())
        };
        let (entries, digests) = make([0o600, 0o700, 0o700]);
        assert_eq!((entries.clone(), digests.clone()), make([0o664, 0o775, 0o755]));
        let modes: Vec<_> = entries.iter().map(|(path, e)| (path.as_str(), e.mode)).collect();
        let wanted = [
            ("/etc", 0o755),
            ("/etc/masked", 0o777),
            ("/etc/plain", 0o644),
            ("/usr", 0o755),
            ("/usr/bin", 0o755),
            ("/usr/bin/run", 0o755),
            ("/var", 0o755),
            ("/var/empty", 0o755),
        ];
        assert_eq!(modes, wanted);
        assert_eq!(digests.len(), 3);
        assert_ne!(digests, make([0o755, 0o755, 0o755]).1);
    }

    #[test]
    fn a_missing_overlay_is_named() {
        let error = Overlay::at(Path::new("/no/such/folder")).layer().unwrap_err();
        assert!(format!("{error:#}").contains("/no/such/folder"), "{error:#}");
    }
}
