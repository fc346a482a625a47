//! Configuration that packages carry as a default and copy into `/etc` when they are first installed.

use super::{put_file, put_link, text};
use crate::compose::tree::{Tree, TreePath};
use anyhow::Result;

const BY: &str = "defaults";

/// Default, and where it is copied to.
const COPIES: [(&str, &str); 6] = [
    ("/usr/share/base-files/dot.bashrc", "/root/.bashrc"),
    ("/usr/share/base-files/dot.profile", "/root/.profile"),
    ("/usr/share/base-files/motd", "/etc/motd"),
    ("/usr/share/base-files/profile", "/etc/profile"),
    ("/usr/share/libc-bin/nsswitch.conf", "/etc/nsswitch.conf"),
    ("/usr/share/readline/inputrc", "/etc/inputrc"),
];

/// Path, mode and text of what netbase and libpam-modules write themselves.
const TEXTS: [(&str, u32, &str); 4] = [
    ("/etc/environment", 0o644, ""),
    (
        "/etc/hosts",
        0o644,
        "127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\nff02::1\t\tip6-allnodes\nff02::2\t\tip6-allrouters\n\n",
    ),
    ("/etc/networks", 0o644, "default\t\t0.0.0.0\nloopback\t127.0.0.0\nlink-local\t169.254.0.0\n\n"),
    ("/etc/security/opasswd", 0o600, ""),
];

/// Adds each file that is not there.
///
/// # Errors
/// When a default can't be read.
pub fn apply(tree: &mut Tree) -> Result<()> {
    for (from, to) in COPIES {
        if tree.file(from).is_some()
            && absent(tree, to)
            && let Some(text) = text(tree, from)?
        {
            put_file(tree, to, text, 0o644, BY)?;
        }
    }
    for (at, mode, text) in TEXTS {
        if absent(tree, at) {
            put_file(tree, at, text, mode, BY)?;
        }
    }
    if absent(tree, "/etc/shells")
        && let Some(shells) = shells(tree)?
    {
        put_file(tree, "/etc/shells", shells, 0o644, BY)?;
    }
    if tree.file("/usr/lib/systemd/systemd-resolved").is_some() && absent(tree, "/etc/resolv.conf") {
        put_link(tree, "/etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf", BY)?;
    }
    if tree.file("/etc/dpkg/origins/debian").is_some() && absent(tree, "/etc/dpkg/origins/default") {
        put_link(tree, "/etc/dpkg/origins/default", "debian", BY)?;
    }
    Ok(())
}

fn absent(tree: &Tree, at: &str) -> bool {
    TreePath::new(at).is_ok_and(|at| tree.get(&at).is_none())
}

/// As update-shells(8): the default list, then each shell of `shells.d`. One below `/bin` is below `/usr/bin`, too.
fn shells(tree: &Tree) -> Result<Option<String>> {
    const DEFAULTS: &str = "/usr/share/debianutils/shells";
    if tree.file(DEFAULTS).is_none() {
        return Ok(None);
    }
    let more = tree.below("/usr/share/debianutils/shells.d").map(|(at, _)| at.to_string());
    let files: Vec<String> = std::iter::once(DEFAULTS.to_owned()).chain(more).collect();
    let mut all: Vec<String> = Vec::new();
    for file in files {
        for line in text(tree, &file)?.unwrap_or_default().lines() {
            let merged = if line.starts_with("/bin/") { Some(format!("/usr{line}")) } else { None };
            for line in [Some(line.to_owned()), merged].into_iter().flatten() {
                if !all.contains(&line) {
                    all.push(line);
                }
            }
        }
    }
    Ok(Some(all.join("\n") + "\n"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, link, tree};
    use super::*;

    #[test]
    fn defaults_are_copied_and_what_is_there_stays() {
        let mut tree = tree(&[
            ("/usr/share/libc-bin/nsswitch.conf", "passwd: files\n"),
            ("/usr/share/base-files/profile", "default"),
            ("/etc/profile", "mine"),
            ("/usr/share/debianutils/shells", "# shells\n/bin/sh\n"),
            ("/usr/share/debianutils/shells.d/dash", "/usr/bin/dash\n/bin/sh\n"),
            ("/usr/lib/systemd/systemd-resolved", ""),
        ]);
        apply(&mut tree).unwrap();
        assert_eq!(text(&tree, "/etc/nsswitch.conf").unwrap().unwrap(), "passwd: files\n");
        assert_eq!(text(&tree, "/etc/profile").unwrap().unwrap(), "mine");
        assert_eq!(text(&tree, "/etc/shells").unwrap().unwrap(), "# shells\n/bin/sh\n/usr/bin/sh\n/usr/bin/dash\n");
        assert_eq!(link(&tree, "/etc/resolv.conf").as_deref(), Some("../run/systemd/resolve/stub-resolv.conf"));
        assert_eq!(entry(&tree, "/etc/security/opasswd").unwrap().mode, 0o600);
        assert!(entry(&tree, "/etc/inputrc").is_none());
    }
}
