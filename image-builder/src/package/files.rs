//! The lists of the root's paths: what each is, whose, and which input it came from; and what inputs had that is
//! not in the root. Pure but for reading content.
//!
//! Both are JSON arrays with one entry per line, in path order, so that two of them can be compared by `diff`. The
//! fields are described in `docs/explain.md`.

use crate::compose::tree::{Entry, Kind, Origin, Tree, TreePath};
use crate::digest::Sha256;
use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One path of the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Absolute path.
    pub path: String,
    /// What it is.
    pub kind: ListedKind,
    /// Permission bits.
    #[serde(with = "octal")]
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Digest of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// Where a symbolic or hard link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Major and minor number of a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
    /// Extended attributes by full name, their values in hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<(String, String)>,
    /// The input it came from.
    pub origin: Origin,
    /// The inputs that have it too and lost it to that one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<Origin>,
}

/// What a path of the root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum ListedKind {
    File,
    Directory,
    Symlink,
    Hardlink,
    CharacterDevice,
    BlockDevice,
    Fifo,
    Socket,
}

/// One path that an input has and the root has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlisted {
    /// Absolute path.
    pub path: String,
    /// The input.
    pub origin: Origin,
    /// Why it is not there, as the end of a sentence.
    pub why: String,
}

impl ListedKind {
    /// As people say it.
    pub fn name(self) -> &'static str {
        match self {
            ListedKind::File => "file",
            ListedKind::Directory => "folder",
            ListedKind::Symlink => "symbolic link",
            ListedKind::Hardlink => "hard link",
            ListedKind::CharacterDevice | ListedKind::BlockDevice => "device",
            ListedKind::Fifo => "named pipe",
            ListedKind::Socket => "socket",
        }
    }
}

mod octal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{mode:04o}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        let text = String::deserialize(deserializer)?;
        u32::from_str_radix(&text, 8).map_err(|_| D::Error::custom(format!("{text:?} is no mode in octal")))
    }
}

/// Text of `files.json`.
///
/// # Errors
/// Never in practice: all of it can be JSON.
pub fn list(tree: &Tree) -> Result<Vec<u8>> {
    lines(tree.iter().map(|(path, entry)| listed(path, entry, tree.replaced(path))))
}

/// Text of `left-out.json`.
pub(super) fn list_left_out(tree: &Tree) -> Result<Vec<u8>> {
    lines(tree.left_out().map(|(path, gone)| Unlisted {
        path: path.to_string(),
        origin: gone.origin.clone(),
        why: gone.why.clone(),
    }))
}

/// Reads `files.json`: entries by path.
///
/// # Errors
/// When it is no such list.
pub fn read(text: &str) -> Result<BTreeMap<String, Listed>> {
    by_path(text, |listed: &Listed| &listed.path)
}

/// Reads `left-out.json`: entries by path.
///
/// # Errors
/// When it is no such list.
pub fn read_left_out(text: &str) -> Result<BTreeMap<String, Unlisted>> {
    by_path(text, |gone: &Unlisted| &gone.path)
}

fn by_path<T: DeserializeOwned>(text: &str, path: impl Fn(&T) -> &String) -> Result<BTreeMap<String, T>> {
    let all: Vec<T> = serde_json::from_str(text).context("it is no list of paths")?;
    Ok(all.into_iter().map(|entry| (path(&entry).clone(), entry)).collect())
}

fn listed(path: &TreePath, entry: &Entry, replaced: &[Origin]) -> Listed {
    let mut listed = Listed {
        path: path.to_string(),
        kind: ListedKind::Directory,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        size: None,
        sha256: None,
        target: None,
        device: None,
        xattrs: entry.xattrs.iter().map(|(name, value)| (name.clone(), hex::encode(value))).collect(),
        origin: entry.origin.clone(),
        replaced: replaced.to_vec(),
    };
    listed.kind = match &entry.kind {
        Kind::File(content) => {
            (listed.size, listed.sha256) = (Some(content.size()), Some(content.digest()));
            ListedKind::File
        }
        Kind::Directory => ListedKind::Directory,
        Kind::Symlink(target) => {
            listed.target = Some(target.clone());
            ListedKind::Symlink
        }
        Kind::HardLink(target) => {
            listed.target = Some(target.to_string());
            ListedKind::Hardlink
        }
        Kind::CharDevice(major, minor) => {
            listed.device = Some((*major, *minor));
            ListedKind::CharacterDevice
        }
        Kind::BlockDevice(major, minor) => {
            listed.device = Some((*major, *minor));
            ListedKind::BlockDevice
        }
        Kind::Fifo => ListedKind::Fifo,
        Kind::Socket => ListedKind::Socket,
    };
    listed
}

/// A JSON array with one entry per line.
fn lines(entries: impl Iterator<Item = impl Serialize>) -> Result<Vec<u8>> {
    let mut text = b"[".to_vec();
    for (index, entry) in entries.enumerate() {
        text.extend(if index == 0 { &b"\n"[..] } else { b",\n" });
        serde_json::to_writer(&mut text, &entry)?;
    }
    text.extend(b"\n]\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::tree::Content;

    #[test]
    fn every_kind_is_written_and_read_again() {
        let path = |text| TreePath::new(text).unwrap();
        let mut tree = Tree::new();
        let kinds = [
            ("/", Kind::Directory),
            ("/device", Kind::CharDevice(1, 3)),
            ("/disk", Kind::BlockDevice(8, 0)),
            ("/file", Kind::File(Content::bytes(*b"x"))),
            ("/link", Kind::Symlink("file".into())),
            ("/pipe", Kind::Fifo),
            ("/second", Kind::HardLink(path("/file"))),
            ("/socket", Kind::Socket),
        ];
        for (at, kind) in kinds {
            let origin = Origin::Package("p".into(), "1".into());
            let xattrs = BTreeMap::from([("user.x".to_owned(), vec![1, 255])]);
            tree.insert(path(at), Entry { kind, mode: 0o644, uid: 1, gid: 2, xattrs, origin });
        }
        let link = tree.get(&path("/link")).unwrap().clone();
        tree.insert(path("/link"), Entry { origin: Origin::Overlay("o".into()), ..link });
        tree.leave_out(path("/usr/man"), Origin::Package("p".into(), "1".into()), "nobody reads it");
        let text = String::from_utf8(list(&tree).unwrap()).unwrap();
        insta::assert_snapshot!(text);
        let read = read(&text).unwrap();
        assert_eq!(String::from_utf8(lines(read.values()).unwrap()).unwrap(), text);
        let text = String::from_utf8(list_left_out(&tree).unwrap()).unwrap();
        insta::assert_snapshot!(text, @r#"
        [
        {"path":"/usr/man","origin":"package p 1","why":"nobody reads it"}
        ]
        "#);
        assert_eq!(read_left_out(&text).unwrap()["/usr/man"].why, "nobody reads it");
    }
}
