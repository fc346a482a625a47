//! base-files: folders and links that every Debian root has without a package shipping them.

use super::{put_folder, put_link};
use crate::compose::layer::Ids;
use crate::compose::tree::Tree;
use anyhow::Result;

const BY: &str = "base-files";

const FOLDERS: [&str; 17] = [
    "/etc/opt",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/srv",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/etc",
    "/usr/local/games",
    "/usr/local/include",
    "/usr/local/lib",
    "/usr/local/libexec",
    "/usr/local/sbin",
    "/usr/local/share",
    "/usr/local/share/man",
    "/usr/local/src",
];

/// Adds the folders, `/var/mail` of the group mail, and the links from `/var` to `/run`.
///
/// # Errors
/// Never for a well-formed tree.
pub fn apply(tree: &mut Tree, ids: &Ids) -> Result<()> {
    for at in FOLDERS {
        put_folder(tree, at, if at == "/root" { 0o700 } else { 0o755 }, BY)?;
    }
    put_folder(tree, "/var/opt", 0o755, BY)?;
    put_folder(tree, "/var/mail", 0o2775, BY)?;
    if let Some(gid) = ids.group("mail") {
        tree.iter_mut().filter(|(at, _)| at.as_str() == "/var/mail").for_each(|(_, entry)| entry.gid = gid);
    }
    for (at, target) in [
        ("/usr/local/man", "share/man"),
        ("/var/run", "/run"),
        ("/var/lock", "/run/lock"),
        ("/var/spool/mail", "../mail"),
    ] {
        put_link(tree, at, target, BY)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, link, tree};
    use super::*;
    use crate::lock::Group;

    #[test]
    fn folders_and_links_are_there() {
        let mut tree = tree(&[]);
        let mail = Group { name: "mail".into(), gid: 8, members: vec![], from: String::new() };
        apply(&mut tree, &Ids::new(&[], &[mail])).unwrap();
        assert_eq!(entry(&tree, "/var/mail").map(|e| (e.mode, e.gid)), Some((0o2775, 8)));
        assert_eq!(entry(&tree, "/srv").map(|e| e.mode), Some(0o755));
        assert_eq!(link(&tree, "/var/run").as_deref(), Some("/run"));
    }
}
