//! The list of the root's files: what each is, whose, and which input it came from. Pure but for reading content.

use crate::compose::tree::{Kind, Tree};
use anyhow::Result;
use serde::Serialize;

#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    xattrs: Vec<(&'a str, String)>,
    origin: String,
}

/// A JSON array with one entry per line, in path order, so that two lists can be compared by `diff`.
pub(super) fn list(tree: &Tree) -> Result<Vec<u8>> {
    let mut text = b"[".to_vec();
    for (index, (path, entry)) in tree.iter().enumerate() {
        let mut line = Line {
            path: path.as_str(),
            kind: "directory",
            mode: format!("{:04o}", entry.mode),
            uid: entry.uid,
            gid: entry.gid,
            size: None,
            sha256: None,
            target: None,
            device: None,
            xattrs: entry.xattrs.iter().map(|(name, value)| (name.as_str(), hex::encode(value))).collect(),
            origin: entry.origin.to_string(),
        };
        match &entry.kind {
            Kind::File(content) => {
                line.kind = "file";
                line.size = Some(content.size());
                line.sha256 = Some(content.digest().to_string());
            }
            Kind::Directory => {}
            Kind::Symlink(target) => (line.kind, line.target) = ("symlink", Some(target.as_str())),
            Kind::HardLink(target) => (line.kind, line.target) = ("hardlink", Some(target.as_str())),
            Kind::CharDevice(major, minor) => (line.kind, line.device) = ("character-device", Some((*major, *minor))),
            Kind::BlockDevice(major, minor) => (line.kind, line.device) = ("block-device", Some((*major, *minor))),
            Kind::Fifo => line.kind = "fifo",
        }
        text.extend(if index == 0 { &b"\n"[..] } else { b",\n" });
        serde_json::to_writer(&mut text, &line)?;
    }
    text.extend(b"\n]\n");
    Ok(text)
}
