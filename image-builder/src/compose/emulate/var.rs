//! `/var` and `/run` are empty in the image: at run time the one is the state partition and the other a tmpfs.
//!
//! What packages have below them is made at boot by tmpfiles.d(5): folders and links by a line each, files of
//! `/var` copied from `/usr/share/factory`. Paths that a package's own tmpfiles.d names are left to it. Caches
//! and logs are dropped.

use super::{dpkg_status, path, put_file, text};
use crate::compose::tree::{Entry, Kind, Origin, Tree, TreePath};
use crate::lock::{Group, User};
use anyhow::Result;
use std::collections::{BTreeSet, HashMap};

const BY: &str = "var";
const LINES: &str = "/usr/lib/tmpfiles.d/bedplate-var.conf";
const DROPPED: [&str; 3] = ["/var/cache/", "/var/log/", "/var/lib/systemd/catalog/"];

/// Empties `/var` and `/run`, and writes the tmpfiles.d file that fills them.
///
/// # Errors
/// When a tmpfiles.d file can't be read.
pub fn apply(tree: &mut Tree, users: &[User], groups: &[Group]) -> Result<()> {
    let covered = covered(tree)?;
    let users: HashMap<u32, &str> = users.iter().map(|u| (u.uid, u.name.as_str())).collect();
    let groups: HashMap<u32, &str> = groups.iter().map(|g| (g.gid, g.name.as_str())).collect();
    let owner = |entry: &Entry| {
        let name = |names: &HashMap<u32, &str>, id: u32| names.get(&id).map_or_else(|| id.to_string(), |n| (*n).into());
        format!("{} {}", name(&users, entry.uid), name(&groups, entry.gid))
    };
    let all: Vec<TreePath> = ["/run", "/var"].iter().flat_map(|f| tree.below(f)).map(|(at, _)| at.clone()).collect();
    let mut lines = String::from("# What packages have below /run and /var, which are made anew or kept on disk.\n");
    for at in all {
        let Some(entry) = tree.get(&at).cloned() else { continue };
        let dropped = DROPPED.iter().any(|folder| at.as_str().starts_with(folder));
        let why = match &entry.kind {
            _ if covered.contains(at.as_str()) => "tmpfiles.d makes it at boot".to_owned(),
            Kind::Directory => {
                lines.push_str(&format!("d {at} {:04o} {} -\n", entry.mode, owner(&entry)));
                format!("{LINES} makes it at boot")
            }
            Kind::Symlink(target) => {
                lines.push_str(&format!("L {at} - - - - {target}\n"));
                format!("{LINES} makes it at boot")
            }
            Kind::File(_) if at.as_str().starts_with("/var/") && !dropped => {
                lines.push_str(&format!("C {at} {:04o} {} -\n", entry.mode, owner(&entry)));
                let kept = format!("/usr/share/factory{at}");
                tree.insert(path(&kept)?, entry);
                format!("at boot it is copied from {kept}")
            }
            _ => "caches, logs and files of /run begin empty".to_owned(),
        };
        tree.remove(&at, why);
    }
    put_file(tree, LINES, lines, 0o644, BY)?;
    dpkg_status::for_scanners(tree)
}

/// Paths that the tree's tmpfiles.d files make already.
fn covered(tree: &Tree) -> Result<BTreeSet<String>> {
    let mut covered = BTreeSet::new();
    for folder in ["/etc/tmpfiles.d", "/usr/lib/tmpfiles.d"] {
        let files: Vec<String> = tree
            .below(folder)
            .filter(|(at, e)| at.as_str().ends_with(".conf") && e.origin != Origin::Emulation(BY.into()))
            .map(|(at, _)| at.to_string())
            .collect();
        for file in files {
            for line in text(tree, &file)?.unwrap_or_default().lines() {
                let mut words = line.split_whitespace();
                let makes =
                    words.next().is_some_and(|kind| kind.starts_with(['d', 'D', 'L', 'C', 'v', 'q', 'Q', 'f', 'p']));
                if let (true, Some(at)) = (makes, words.next()) {
                    covered.insert(at.trim_end_matches('/').to_owned());
                }
            }
        }
    }
    Ok(covered)
}

#[cfg(test)]
mod tests {
    use super::super::put_link;
    use super::super::tests::{entry, tree};
    use super::*;

    #[test]
    fn nothing_needed_is_in_var_only() {
        let mut tree = tree(&[
            ("/var/lib/x/file", "text"),
            ("/var/cache/y/file", "cache"),
            ("/run/z/file", "gone"),
            ("/usr/lib/tmpfiles.d/x.conf", "d /var/lib 0755 root root -\n# d /var/lib/x\n"),
            ("/usr/lib/bedplate/dpkg/status", ""),
        ]);
        put_link(&mut tree, "/var/link", "/usr", "test").unwrap();
        let root = User {
            name: "root".into(),
            uid: 0,
            gid: 0,
            comment: String::new(),
            home: "/".into(),
            shell: "/bin/sh".into(),
            from: String::new(),
        };
        apply(&mut tree, &[root], &[]).unwrap();
        let lines = text(&tree, LINES).unwrap().unwrap();
        let wanted = "d /run/z 0755 root 0 -\nd /var/cache 0755 root 0 -\nd /var/cache/y 0755 root 0 -\n\
                      d /var/lib/x 0755 root 0 -\nC /var/lib/x/file 0644 root 0 -\nL /var/link - - - - /usr\n";
        assert_eq!(lines.split_once('\n').unwrap().1, wanted);
        assert_eq!(text(&tree, "/usr/share/factory/var/lib/x/file").unwrap().unwrap(), "text");
        assert!(
            entry(&tree, "/var").is_some() && entry(&tree, "/var/cache").is_none() && entry(&tree, "/run/z").is_none()
        );
        let left_out: Vec<_> = tree.left_out().map(|(at, l)| format!("{at}: {}", l.why)).collect();
        let wanted = [
            "/run/z: /usr/lib/tmpfiles.d/bedplate-var.conf makes it at boot",
            "/run/z/file: caches, logs and files of /run begin empty",
            "/var/cache: /usr/lib/tmpfiles.d/bedplate-var.conf makes it at boot",
            "/var/cache/y: /usr/lib/tmpfiles.d/bedplate-var.conf makes it at boot",
            "/var/cache/y/file: caches, logs and files of /run begin empty",
            "/var/lib: tmpfiles.d makes it at boot",
            "/var/lib/x: /usr/lib/tmpfiles.d/bedplate-var.conf makes it at boot",
            "/var/lib/x/file: at boot it is copied from /usr/share/factory/var/lib/x/file",
            "/var/link: /usr/lib/tmpfiles.d/bedplate-var.conf makes it at boot",
        ];
        assert_eq!(left_out, wanted);
        assert!(tree.file("/var/lib/dpkg/status").is_some());
    }
}
