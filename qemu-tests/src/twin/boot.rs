//! A root as it is once a node has started: the image has `/var` empty, and tmpfiles.d(5) fills it; in `/etc`, which is
//! an overlay by then, it adds what is not there.

use super::seen::{Bytes, Root, Seen, What};
use std::collections::BTreeMap;

/// Files that a node's tmpfiles.d copies come from here.
const FACTORY: &str = "/usr/share/factory";
const LINES: [&str; 2] = ["/etc/tmpfiles.d/", "/usr/lib/tmpfiles.d/"];

/// Does what the root's own tmpfiles.d says about the two, as `systemd-tmpfiles --create` does with folders, links, copies
/// and empty files: of several lines for a path the first counts, files being taken in the order of their names.
pub fn start(root: &mut Root) {
    root.retain(|path, _| !path.starts_with("/var/"));
    let mut files: BTreeMap<&str, &str> = BTreeMap::new();
    for folder in LINES {
        for (path, seen) in root.iter().filter(|(path, _)| path.starts_with(folder) && path.ends_with(".conf")) {
            if let What::File(bytes, _) = &seen.what {
                files.entry(&path[folder.len()..]).or_insert(bytes.text.as_deref().unwrap_or_default());
            }
        }
    }
    let mut made: BTreeMap<String, Seen> = BTreeMap::new();
    for line in files.values().flat_map(|text| text.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind, path, ..] = words[..] else { continue };
        let path = path.trim_end_matches('/');
        let within = ["/var/", "/etc/"].iter().any(|folder| path.starts_with(folder));
        if !within || path.contains('%') || made.contains_key(path) || root.contains_key(path) {
            continue;
        }
        let word = |at: usize| words.get(at).copied().filter(|word| *word != "-");
        let mode = word(2).and_then(|mode| u32::from_str_radix(mode.trim_start_matches(['~', ':']), 8).ok());
        let seen = |what, mode, owner| Seen { what, mode, owner, xattrs: BTreeMap::new() };
        let owner = owner(root, word(3).unwrap_or("root"), word(4).unwrap_or("root"));
        let new = match kind.trim_end_matches(['!', '-', '+', '=', '?', '$']) {
            "d" | "D" | "v" | "q" | "Q" => seen(What::Folder, mode.unwrap_or(0o755), owner),
            "L" => match word(6) {
                Some(target) => seen(What::Link(target.into()), 0o777, owner),
                None => continue,
            },
            "C" => match root.get(&format!("{FACTORY}{path}")) {
                Some(Seen { what: What::File(bytes, _), mode: kept, .. }) => {
                    seen(What::File(bytes.clone(), path.into()), mode.unwrap_or(*kept), owner)
                }
                _ => continue,
            },
            "f" if word(6).is_none() => seen(What::File(Bytes::empty(), path.into()), mode.unwrap_or(0o644), owner),
            _ => continue,
        };
        made.insert(path.to_owned(), new);
    }
    root.extend(made);
}

/// An owner of a line, told as those of the root are: in its files of accounts, ids stand so already.
fn owner(root: &Root, user: &str, group: &str) -> String {
    let told = |accounts: &str, name: &str| {
        let Some(Seen { what: What::File(bytes, _), .. }) = root.get(accounts) else { return name.to_owned() };
        let mut lines = bytes.text.iter().flat_map(|text| text.lines()).map(|line| line.split(':').collect::<Vec<_>>());
        let found = lines.find(|fields| fields[0] == name);
        found.and_then(|fields| fields.get(2).copied()).unwrap_or(name).to_owned()
    };
    format!("{}:{}", told("/etc/passwd", user), told("/etc/group", group))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::put;
    use crate::twin::seen;
    use image_builder::compose::tree::{Content, Kind, Tree};

    #[test]
    fn lines_make_what_packages_have() {
        let mut tree = Tree::new();
        let mut file = |at: &str, text: &str, mode| {
            put(&mut tree, at, Kind::File(Content::bytes(text.as_bytes())), mode, 0);
        };
        file("/etc/passwd", "root:x:0:0::/:/bin/sh\na:x:999:0::/:/x\n", 0o644);
        file("/etc/group", "root:x:0:\nmail:x:8:\n", 0o644);
        file("/usr/share/factory/var/lib/x", "kept", 0o644);
        file("/var/lib/dpkg/status", "of the image alone", 0o644);
        let lines = "d$ /var/mail 2775 root mail -\nd /var/lib/a :0700 a - -\nC /var/lib/x 0600 root root -\n\
                     L+ /var/run - - - - /run\nL /var/nowhere\nL+ /etc/mtab - - - - ../x\nd /etc/group\nf /var/log/wtmp 0664 root mail -\nd /run/x 0755\n\
                     d /var/cache/%m\n";
        file("/usr/lib/tmpfiles.d/b.conf", lines, 0o644);
        file("/usr/lib/tmpfiles.d/a.conf", "d /var/lib 0750 - - -\n", 0o644);
        file("/etc/tmpfiles.d/a.conf", "d /var/lib/ - - - -\nq /var/mail/ 0700\n", 0o644);
        let mut root = seen::of_tree(&tree).unwrap();
        start(&mut root);
        let told: Vec<String> = root
            .iter()
            .filter(|(path, _)| path.starts_with("/var/") || *path == "/etc/mtab")
            .map(|(path, seen)| {
                let what = match &seen.what {
                    What::Folder => "folder".to_owned(),
                    What::File(bytes, _) => format!("{:?}", bytes.text.as_deref().unwrap()),
                    What::Link(target) => target.clone(),
                    What::Special(what) => what.clone(),
                };
                format!("{path} {what} {:o} {}", seen.mode, seen.owner)
            })
            .collect();
        let wanted = [
            "/etc/mtab ../x 777 root 0:root 0",
            "/var/lib folder 755 root 0:root 0",
            "/var/lib/a folder 700 a:root 0",
            "/var/lib/x \"kept\" 600 root 0:root 0",
            "/var/log/wtmp \"\" 664 root 0:mail 8",
            "/var/mail folder 700 root 0:root 0",
            "/var/run /run 777 root 0:root 0",
        ];
        assert_eq!(told, wanted);
    }
}
