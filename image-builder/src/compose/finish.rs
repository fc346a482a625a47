//! What makes a set of entries a whole file system: every folder present, every hard link's file present.

use super::tree::{Entry, Kind, Origin, Tree, TreePath};
use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// Folders that every root has, whoever packages them: mode by path.
const FOLDERS: [(&str, u32); 9] = [
    ("/", 0o755),
    ("/dev", 0o755),
    ("/proc", 0o555),
    ("/run", 0o755),
    ("/sys", 0o555),
    ("/tmp", 0o1777),
    ("/etc", 0o755),
    ("/usr", 0o755),
    ("/var", 0o755),
];

/// Adds the folders that are missing: those every root has, and those that something lies in.
///
/// # Errors
/// When something lies below what is no folder.
pub fn folders(tree: &mut Tree) -> Result<()> {
    for (path, mode) in FOLDERS {
        let path = TreePath::new(path).map_err(anyhow::Error::msg)?;
        if tree.get(&path).is_none() {
            tree.insert(path, folder(mode, Origin::Emulation("folders".into())));
        }
    }
    let mut missing = BTreeMap::new();
    for (path, entry) in tree.iter() {
        for above in std::iter::successors(path.parent(), TreePath::parent) {
            match tree.get(&above) {
                Some(Entry { kind: Kind::Directory, .. }) => break,
                Some(other) => bail!("{path} of {} lies below {above} of {}, no folder", entry.origin, other.origin),
                None => drop(missing.entry(above).or_insert_with(|| entry.origin.clone())),
            }
        }
    }
    for (path, origin) in missing {
        tree.insert(path, folder(0o755, origin));
    }
    Ok(())
}

fn folder(mode: u32, origin: Origin) -> Entry {
    Entry { kind: Kind::Directory, mode, uid: 0, gid: 0, xattrs: BTreeMap::new(), origin }
}

/// Checks that every hard link names a regular file of the tree.
///
/// # Errors
/// Naming the first that does not.
pub fn hard_links(tree: &Tree) -> Result<()> {
    for (path, entry) in tree.iter() {
        if let Kind::HardLink(target) = &entry.kind
            && !tree.get(target).is_some_and(|e| matches!(e.kind, Kind::File(_)))
        {
            bail!("{path} of {} is a hard link to {target}, which is no file of the tree", entry.origin);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_folders_come_back_plain() {
        let mut tree = Tree::new();
        let path = TreePath::new("/usr/share/x/y").unwrap();
        let fifo = Entry { kind: Kind::Fifo, ..folder(0o600, Origin::Overlay("o".into())) };
        tree.insert(path, fifo);
        folders(&mut tree).unwrap();
        let share = tree.get(&TreePath::new("/usr/share").unwrap()).unwrap();
        assert_eq!((share.mode, &share.origin), (0o755, &Origin::Overlay("o".into())));
        assert_eq!(tree.get(&TreePath::new("/tmp").unwrap()).unwrap().mode, 0o1777);
        let below = TreePath::new("/usr/share/x/y/z").unwrap();
        tree.insert(below, folder(0o755, Origin::Overlay("o".into())));
        assert!(folders(&mut tree).unwrap_err().to_string().contains("no folder"));
    }

    #[test]
    fn a_hard_link_needs_its_file() {
        let mut tree = Tree::new();
        let kind = Kind::HardLink(TreePath::new("/b").unwrap());
        tree.insert(TreePath::new("/a").unwrap(), Entry { kind, ..folder(0, Origin::Overlay("o".into())) });
        assert!(hard_links(&tree).is_err());
    }
}
