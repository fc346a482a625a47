//! The kernel that the root carries. Pure.

use crate::compose::tree::{Content, Kind, Tree, TreePath};
use anyhow::{Result, bail};

/// A kernel of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its release (`uname -r`): the name of its modules' folder.
    pub release: String,
    /// The bootable image.
    pub image: Content,
}

impl Kernel {
    /// Folder of its modules, links followed.
    pub fn modules(&self) -> String {
        format!("/usr/lib/modules/{}", self.release)
    }
}

/// The only kernel of the tree: `/boot/vmlinuz-RELEASE` with `/usr/lib/modules/RELEASE`.
///
/// # Errors
/// When there is none, more than one, or one without modules.
pub fn select(tree: &Tree) -> Result<Kernel> {
    let mut found: Vec<(&str, &Content)> = tree
        .below("/boot")
        .filter_map(|(path, entry)| match &entry.kind {
            Kind::File(content) => path.as_str().strip_prefix("/boot/vmlinuz-").map(|release| (release, content)),
            _ => None,
        })
        .collect();
    match (found.pop(), found.pop()) {
        (Some((release, image)), None) => {
            let kernel = Kernel { release: release.into(), image: image.clone() };
            let modules = TreePath::new(&kernel.modules()).map_err(anyhow::Error::msg)?;
            if tree.get(&modules).is_none() {
                bail!("the root has the kernel {release} and no modules for it at {modules}");
            }
            Ok(kernel)
        }
        (Some((a, _)), Some((b, _))) => bail!("the root has the kernels {b} and {a}; an image has one"),
        _ => bail!(
            "the root has no kernel: no /boot/vmlinuz-*; name one in the recipe's kernel.package or kernel.source"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::tree::{Entry, Origin};

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for path in paths {
            let kind = if path.contains("vmlinuz") { Kind::File(Content::bytes(*b"k")) } else { Kind::Directory };
            let origin = Origin::Emulation("test".into());
            let entry = Entry { kind, mode: 0o755, uid: 0, gid: 0, xattrs: Default::default(), origin };
            tree.insert(TreePath::new(path).unwrap(), entry);
        }
        tree
    }

    #[test]
    fn the_only_kernel_is_taken() {
        let kernel = select(&tree(&["/boot", "/boot/vmlinuz-6.12", "/usr/lib/modules/6.12"])).unwrap();
        assert_eq!((kernel.release.as_str(), kernel.image), ("6.12", Content::bytes(*b"k")));
    }

    #[test]
    fn none_two_and_one_without_modules_are_errors() {
        let error = |paths: &[&str]| select(&tree(paths)).unwrap_err().to_string();
        assert!(error(&["/boot"]).contains("no kernel"));
        assert!(error(&["/boot/vmlinuz-1", "/boot/vmlinuz-2"]).contains("kernels 1 and 2"));
        assert!(error(&["/boot/vmlinuz-1"]).contains("no modules"));
    }
}
