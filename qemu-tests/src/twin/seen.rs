//! What can be seen of each path of a root, in one shape for a composed tree and for a tar of an installed one.

use super::accounts::Names;
use anyhow::{Context, Result, bail};
use image_builder::compose::tree::{Kind, Tree};
use image_builder::digest::Sha256;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use tar::EntryType;

/// One path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it is.
    pub what: What,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group, as [`Names::owner`] tells them.
    pub owner: String,
    /// Extended attributes by full name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum What {
    Folder,
    /// A file: its bytes, and the first path in order under which it is there.
    File(Bytes, String),
    Link(String),
    /// A device, pipe or socket, with its numbers.
    Special(String),
}

/// A file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes {
    /// Digest of them.
    pub digest: Sha256,
    /// How many.
    pub size: u64,
    /// Themselves, where they are a short text.
    pub text: Option<String>,
}

/// A root: every path but `/`.
pub type Root = BTreeMap<String, Seen>;

/// A text longer than this is told by its digest alone.
const SHORT: u64 = 1 << 18;

/// The files that ids and names come from.
const ACCOUNTS: [&str; 2] = ["/etc/passwd", "/etc/group"];

impl Bytes {
    /// None at all.
    pub fn empty() -> Bytes {
        Bytes::of_text(String::new())
    }

    /// Those of a short text.
    pub fn of_text(text: String) -> Bytes {
        Bytes { digest: Sha256::of(&text), size: text.len() as u64, text: Some(text) }
    }

    fn new(digest: Sha256, size: u64, bytes: impl FnOnce() -> std::io::Result<Vec<u8>>) -> Result<Bytes> {
        let text = if size <= SHORT { String::from_utf8(bytes()?).ok() } else { None };
        Ok(Bytes { digest, size, text })
    }
}

/// A composed tree.
///
/// # Errors
/// When a file can't be read.
pub fn of_tree(tree: &Tree) -> Result<Root> {
    let text = |at: &str| -> Result<String> {
        let content = tree.file(at).with_context(|| format!("the tree has no {at}"))?.1;
        String::from_utf8(content.read()?).with_context(|| format!("{at} is no text"))
    };
    let names = Names::new(&text(ACCOUNTS[0])?, &text(ACCOUNTS[1])?);
    let mut root = Root::new();
    let mut links = Vec::new();
    for (path, entry) in tree.iter().filter(|(path, _)| path.as_str() != "/") {
        let what = match &entry.kind {
            Kind::Directory => What::Folder,
            Kind::Symlink(target) => What::Link(target.clone()),
            Kind::File(content) => {
                let bytes = Bytes::new(content.digest(), content.size(), || content.read())
                    .with_context(|| format!("{path} can't be read"))?;
                What::File(bytes, path.to_string())
            }
            Kind::HardLink(target) => {
                links.push((path.to_string(), target.to_string()));
                continue;
            }
            Kind::CharDevice(major, minor) => What::Special(format!("character device {major}:{minor}")),
            Kind::BlockDevice(major, minor) => What::Special(format!("block device {major}:{minor}")),
            Kind::Fifo => What::Special("named pipe".into()),
            Kind::Socket => What::Special("socket".into()),
        };
        let (mode, owner) = (entry.mode, names.owner(entry.uid, entry.gid));
        root.insert(path.to_string(), Seen { what, mode, owner, xattrs: entry.xattrs.clone() });
    }
    finish(&mut root, links, &names)?;
    Ok(root)
}

/// An installed root, packed by GNU tar with extended attributes.
///
/// # Errors
/// When it is no such tar.
pub fn of_tar(tar: impl Read) -> Result<Root> {
    let mut found = Vec::new();
    let mut links = Vec::new();
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().context("the installed root is no tar")? {
        let mut entry = entry.context("the installed root's tar is damaged")?;
        let path = absolute(&entry.path_bytes())?;
        if path == "/" {
            continue;
        }
        let target = entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
        let target = target.with_context(|| format!("{path} has no target"));
        let header = entry.header().clone();
        let device = || -> Result<String> {
            Ok(format!("{}:{}", header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)))
        };
        let mut xattrs = BTreeMap::new();
        for record in entry.pax_extensions()?.into_iter().flatten() {
            let record = record?;
            if let Some(name) = record.key()?.strip_prefix("SCHILY.xattr.") {
                xattrs.insert(name.to_owned(), record.value_bytes().to_vec());
            }
        }
        let what = match header.entry_type() {
            EntryType::Directory => What::Folder,
            EntryType::Symlink => What::Link(target?),
            EntryType::Link => {
                links.push((path, absolute(target?.as_bytes())?));
                continue;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                What::File(Bytes::new(Sha256::of(&bytes), bytes.len() as u64, || Ok(bytes))?, path.clone())
            }
            EntryType::Char => What::Special(format!("character device {}", device()?)),
            EntryType::Block => What::Special(format!("block device {}", device()?)),
            EntryType::Fifo => What::Special("named pipe".into()),
            other => bail!("{path} of the installed root is of the unknown kind {other:?}"),
        };
        let (uid, gid) = (u32::try_from(header.uid()?)?, u32::try_from(header.gid()?)?);
        found.push((path, what, header.mode()? & 0o7777, uid, gid, xattrs));
    }
    let texts: HashMap<&str, &str> = found
        .iter()
        .filter_map(|(path, what, ..)| match what {
            What::File(bytes, _) if ACCOUNTS.contains(&path.as_str()) => Some((path.as_str(), bytes.text.as_deref()?)),
            _ => None,
        })
        .collect();
    let text = |at| texts.get(at).with_context(|| format!("the installed root has no {at}"));
    let names = Names::new(text(ACCOUNTS[0])?, text(ACCOUNTS[1])?);
    let mut root: Root = found
        .into_iter()
        .map(|(path, what, mode, uid, gid, xattrs)| (path, Seen { what, mode, owner: names.owner(uid, gid), xattrs }))
        .collect();
    finish(&mut root, links, &names)?;
    Ok(root)
}

fn absolute(path: &[u8]) -> Result<String> {
    let path = std::str::from_utf8(path).context("a path of the installed root is no text")?;
    Ok(format!("/{}", path.trim_start_matches("./").trim_matches('/').trim_start_matches('.')))
}

/// Gives every further name of a file what the file has, and all of them the first name; and files of accounts the text
/// by which they are compared.
fn finish(root: &mut Root, links: Vec<(String, String)>, names: &Names) -> Result<()> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, file) in links {
        all.entry(file).or_default().push(name);
    }
    for (file, mut others) in all {
        let mut seen = root.get(&file).with_context(|| format!("{file} has further names and is not there"))?.clone();
        others.push(file);
        if let (What::File(_, first), Some(least)) = (&mut seen.what, others.iter().min()) {
            first.clone_from(least);
        }
        root.extend(others.into_iter().map(|name| (name, seen.clone())));
    }
    for (path, seen) in root {
        if let What::File(bytes, _) = &mut seen.what
            && let Some(text) = bytes.text.as_deref().and_then(|text| names.file(path, text))
        {
            *bytes = Bytes::of_text(text);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::{TIME, put};
    use image_builder::compose::tar_stream;
    use image_builder::compose::tree::Content;

    #[test]
    fn a_tree_and_its_tar_are_seen_alike() {
        let mut tree = Tree::new();
        let file = |text: &str| Kind::File(Content::bytes(text.as_bytes()));
        for folder in ["/", "/etc", "/a"] {
            put(&mut tree, folder, Kind::Directory, 0o755, 0);
        }
        put(&mut tree, "/etc/passwd", file("root:x:0:0::/:/bin/sh\na:x:999:999::/:/x\n"), 0o644, 0);
        put(&mut tree, "/etc/group", file("root:x:0:\nb:x:999:\n"), 0o644, 0);
        put(&mut tree, "/a/file", file("text"), 0o4755, 999);
        put(&mut tree, "/a/earlier", Kind::HardLink(crate::trees::path("/a/file")), 0o4755, 999);
        put(&mut tree, "/a/link", Kind::Symlink("../x".into()), 0o777, 0);
        put(&mut tree, "/a/null", Kind::CharDevice(1, 3), 0o666, 0);
        put(&mut tree, "/a/pipe", Kind::Fifo, 0o600, 0);
        tree.iter_mut().filter(|(path, _)| path.as_str() == "/a").for_each(|(_, entry)| {
            entry.xattrs.insert("security.capability".into(), vec![1, 0, 255]);
        });
        let mut tar = Vec::new();
        tar_stream::write(&tree, TIME, &mut tar).unwrap();
        let root = of_tree(&tree).unwrap();
        assert_eq!(root, of_tar(tar.as_slice()).unwrap());
        assert_eq!(root.len(), tree.len() - 1);
        assert_eq!(root["/a"].xattrs["security.capability"], [1, 0, 255]);
        let Seen { what: What::File(_, first), mode: 0o4755, owner, .. } = &root["/a/file"] else {
            panic!("{:?}", root["/a/file"]);
        };
        assert_eq!((first.as_str(), owner.as_str()), ("/a/earlier", "a:b"));
    }
}
