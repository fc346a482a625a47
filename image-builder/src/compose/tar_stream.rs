//! The tree as a tar stream, for whoever reads such: in tests `mkfs.erofs --tar=f`, whose image ours is held against.
//!
//! Format: POSIX.1-2001 pax; extended attributes as `SCHILY.xattr.*` records, as GNU tar and libarchive do.
//! Deterministic: path order, one time for everything, no owner names. A file with several names comes under
//! the first of them in path order, and the others link to it.

use super::tree::{Entry, Kind, Tree, TreePath};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io::{self, Write};
use tar::{Builder, EntryType, Header};

/// Writes the whole tree, every time stamp being `time` (seconds since 1970; what is earlier counts as 1970).
///
/// # Errors
/// When `writer` fails, a file of the store can't be read, or a hard link leads nowhere.
pub fn write(tree: &Tree, time: i64, writer: impl Write) -> Result<()> {
    let time = u64::try_from(time).unwrap_or(0);
    let mut tar = Builder::new(io::BufWriter::with_capacity(1 << 18, writer));
    let mut first_names: BTreeMap<&TreePath, &TreePath> = BTreeMap::new();
    for (path, entry) in tree.iter().filter(|(path, _)| path.as_str() != "/") {
        let (entry, kind) = match &entry.kind {
            Kind::File(_) if first_names.contains_key(path) => (entry, Kind::HardLink(first_names[path].clone())),
            Kind::File(_) => {
                first_names.insert(path, path);
                (entry, entry.kind.clone())
            }
            Kind::HardLink(target) => {
                let file = tree
                    .get(target)
                    .filter(|e| matches!(e.kind, Kind::File(_)))
                    .with_context(|| format!("{path} is a hard link to {target}, which is no file of the tree"))?;
                match first_names.get(target) {
                    Some(first) => (file, Kind::HardLink((*first).clone())),
                    None => {
                        first_names.insert(target, path);
                        (file, file.kind.clone())
                    }
                }
            }
            other => (entry, other.clone()),
        };
        append(&mut tar, path, entry, &kind, time).with_context(|| format!("can't stream {path}"))?;
    }
    tar.into_inner()?.flush()?;
    Ok(())
}

fn append<W: Write>(tar: &mut Builder<W>, path: &TreePath, entry: &Entry, kind: &Kind, time: u64) -> Result<()> {
    let name = path.as_str().trim_start_matches('/');
    let mut header = Header::new_ustar();
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(time);
    header.set_size(0);
    // A link's attributes are its file's.
    let xattrs = (!matches!(kind, Kind::HardLink(_))).then_some(&entry.xattrs);
    let mut records: Vec<(String, &[u8])> =
        xattrs.into_iter().flatten().map(|(k, v)| (format!("SCHILY.xattr.{k}"), v.as_slice())).collect();
    if header.set_path(name).is_err() {
        records.push(("path".into(), name.as_bytes()));
        header.set_path("long-name")?;
    }
    let target = match kind {
        Kind::Symlink(target) => Some((EntryType::Symlink, target.as_str())),
        Kind::HardLink(target) => Some((EntryType::Link, target.as_str().trim_start_matches('/'))),
        _ => None,
    };
    if let Some((kind, target)) = target {
        header.set_entry_type(kind);
        // Literal, as links may hold `..` and doubled slashes.
        if header.set_link_name_literal(target).is_err() {
            records.push(("linkpath".into(), target.as_bytes()));
        }
    }
    match kind {
        Kind::File(content) => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(content.size());
        }
        Kind::Directory => header.set_entry_type(EntryType::Directory),
        Kind::CharDevice(major, minor) => {
            header.set_entry_type(EntryType::Char);
            header.set_device_major(*major)?;
            header.set_device_minor(*minor)?;
        }
        Kind::BlockDevice(major, minor) => {
            header.set_entry_type(EntryType::Block);
            header.set_device_major(*major)?;
            header.set_device_minor(*minor)?;
        }
        Kind::Fifo => header.set_entry_type(EntryType::Fifo),
        Kind::Socket => bail!("it is a socket, which a tar stream can't hold"),
        Kind::Symlink(_) | Kind::HardLink(_) => {}
    }
    header.set_cksum();
    if !records.is_empty() {
        tar.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), *value)))?;
    }
    match kind {
        Kind::File(content) => tar.append(&header, content.reader()?)?,
        _ => tar.append(&header, io::empty())?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::tree::{Content, Origin};
    use proptest::prelude::*;
    use std::io::Read;

    fn entry(kind: Kind, mode: u32) -> Entry {
        Entry { kind, mode, uid: 0, gid: 42, xattrs: BTreeMap::new(), origin: Origin::Emulation("test".into()) }
    }

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    /// Reads a stream back into a tree. (The reader splits pax records at newlines, so values have none here.)
    fn read(stream: &[u8]) -> Tree {
        let mut tree = Tree::new();
        let mut archive = tar::Archive::new(stream);
        for member in archive.entries().unwrap() {
            let mut member = member.unwrap();
            let at = String::from_utf8(member.path_bytes().into_owned()).unwrap();
            let mut xattrs = BTreeMap::new();
            for record in member.pax_extensions().unwrap().into_iter().flatten() {
                let record = record.unwrap();
                if let Some(name) = record.key().unwrap().strip_prefix("SCHILY.xattr.") {
                    xattrs.insert(name.to_owned(), record.value_bytes().to_vec());
                }
            }
            let target = member.link_name_bytes().map(|t| String::from_utf8(t.into_owned()).unwrap());
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).unwrap();
            let header = member.header();
            assert_eq!(header.mtime().unwrap(), 7);
            let kind = match header.entry_type() {
                EntryType::Regular => Kind::File(Content::bytes(bytes)),
                EntryType::Directory => Kind::Directory,
                EntryType::Symlink => Kind::Symlink(target.unwrap()),
                EntryType::Link => Kind::HardLink(path(&target.unwrap())),
                EntryType::Char => {
                    Kind::CharDevice(header.device_major().unwrap().unwrap(), header.device_minor().unwrap().unwrap())
                }
                other => panic!("{other:?}"),
            };
            let mut entry = entry(kind, header.mode().unwrap());
            entry.gid = header.gid().unwrap() as u32;
            entry.xattrs = xattrs;
            tree.insert(path(&at), entry);
        }
        tree
    }

    fn round_trip(tree: &Tree) -> Tree {
        let mut stream = Vec::new();
        write(tree, 7, &mut stream).unwrap();
        read(&stream)
    }

    #[test]
    fn links_devices_and_attributes_come_through() {
        let mut tree = Tree::new();
        let mut file = entry(Kind::File(Content::bytes(*b"x")), 0o4755);
        file.xattrs.insert("security.capability".into(), vec![0, 9, b'=', 255]);
        tree.insert(path("/a"), entry(Kind::Directory, 0o1777));
        tree.insert(path("/a/file"), file);
        tree.insert(path("/a/link"), entry(Kind::Symlink("../..//x/".into()), 0o777));
        tree.insert(path("/a/null"), entry(Kind::CharDevice(1, 3), 0o666));
        assert_eq!(round_trip(&tree), tree);
    }

    #[test]
    fn the_first_name_of_a_file_carries_it() {
        let mut tree = Tree::new();
        tree.insert(path("/a"), entry(Kind::HardLink(path("/b")), 0o1));
        tree.insert(path("/b"), entry(Kind::File(Content::bytes(*b"x")), 0o755));
        tree.insert(path("/c"), entry(Kind::HardLink(path("/b")), 0o1));
        let back = round_trip(&tree);
        assert_eq!(back.get(&path("/a")).unwrap(), &entry(Kind::File(Content::bytes(*b"x")), 0o755));
        for other in ["/b", "/c"] {
            assert_eq!(back.get(&path(other)).unwrap().kind, Kind::HardLink(path("/a")));
        }
    }

    #[test]
    fn a_hard_link_to_nowhere_is_named() {
        let mut tree = Tree::new();
        tree.insert(path("/a"), entry(Kind::HardLink(path("/gone")), 0o1));
        assert!(write(&tree, 7, io::sink()).unwrap_err().to_string().contains("/gone"));
    }

    proptest! {
        #[test]
        fn any_name_comes_through(parts in prop::collection::vec("[^/\0.\n]{1,90}", 1..5), target in "[^\0\n]{1,250}") {
            let name = format!("/{}", parts.join("/"));
            let mut tree = Tree::new();
            tree.insert(path(&name), entry(Kind::Symlink(target), 0o777));
            prop_assert_eq!(round_trip(&tree), tree);
        }
    }
}
