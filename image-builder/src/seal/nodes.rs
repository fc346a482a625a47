//! Tree -> the inodes of an image, and the names of its directories. Pure.

use super::layout::Packed;
use super::segment::Segment;
use crate::compose::tree::{Content, Entry, Kind, Tree, TreePath};
use crate::digest::Sha256;
use anyhow::{Context, Result, bail};
use on_disk::erofs::{Dirent, FileType, Inode, xattr};
use std::collections::BTreeMap;

/// An inode: an entry of the tree, or a folder that what lies in it implies.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub kind: FileType,
    pub permissions: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    /// Extended attributes as they lie on disk.
    pub attributes: Vec<Vec<u8>>,
    pub what: What<'a>,
}

#[derive(Debug)]
pub(super) enum What<'a> {
    /// Names and the nodes they stand for, `.` and `..` among them.
    Folder(BTreeMap<&'a str, usize>),
    /// A file's content, its digest, and what it became.
    File(&'a Content, Sha256, &'a [Segment]),
    Symlink(&'a str),
    /// Number of the device, 0 for what is none.
    Special(u32),
}

/// The nodes of a tree in path order, the root first. A file with several names is one node.
pub(super) fn nodes<'a>(tree: &'a Tree, packed: &'a Packed) -> Result<Vec<Node<'a>>> {
    let mut nodes = Nodes::default();
    let mut links = Vec::new();
    for (path, entry) in tree.iter() {
        if let Kind::HardLink(target) = &entry.kind {
            links.push((path, target));
            continue;
        }
        let node = node(entry, packed).with_context(|| format!("{path} can't be laid out"))?;
        if path.as_str() != "/" {
            nodes.folder("")?;
        }
        nodes.add(key(path), node)?;
    }
    nodes.folder("")?;
    for (path, target) in links {
        let file = nodes.paths.get(key(target)).filter(|file| nodes.nodes[**file].kind == FileType::Regular);
        let file = *file.with_context(|| format!("{path} is a hard link to {target}, which is no file of the tree"))?;
        nodes.name(key(path), file)?;
    }
    Ok(nodes.nodes)
}

/// The root's path is empty here.
fn key(path: &TreePath) -> &str {
    path.as_str().trim_end_matches('/')
}

fn node<'a>(entry: &'a Entry, packed: &'a Packed) -> Result<Node<'a>> {
    let device = |major, minor| match Inode::device(major, minor) {
        Some(number) => Ok(What::Special(number)),
        None => bail!("it is device {major}:{minor}; there are 12 bits for the one and 20 for the other"),
    };
    let (kind, what) = match &entry.kind {
        Kind::HardLink(_) => bail!("a hard link is no inode of its own"),
        Kind::File(content) => {
            let digest = content.digest();
            (FileType::Regular, What::File(content, digest, packed.get(&digest).map_or(&[], Vec::as_slice)))
        }
        Kind::Directory => (FileType::Directory, What::Folder(BTreeMap::new())),
        Kind::Symlink(target) => (FileType::Symlink, What::Symlink(target)),
        Kind::CharDevice(major, minor) => (FileType::CharDevice, device(*major, *minor)?),
        Kind::BlockDevice(major, minor) => (FileType::BlockDevice, device(*major, *minor)?),
        Kind::Fifo => (FileType::Fifo, What::Special(0)),
        Kind::Socket => (FileType::Socket, What::Special(0)),
    };
    let attribute = |(name, value): (&String, &Vec<u8>)| {
        xattr::entry(name, value).with_context(|| format!("its extended attribute {name}"))
    };
    let attributes: Vec<Vec<u8>> = entry.xattrs.iter().map(attribute).collect::<Result<_>>()?;
    if attributes.iter().map(Vec::len).sum::<usize>() > xattr::MOST_BYTES {
        bail!("its extended attributes take more than {} bytes", xattr::MOST_BYTES);
    }
    Ok(Node { kind, permissions: entry.mode, uid: entry.uid, gid: entry.gid, links: 0, attributes, what })
}

/// Nodes, and where the paths are among them.
#[derive(Default)]
struct Nodes<'a> {
    nodes: Vec<Node<'a>>,
    paths: BTreeMap<&'a str, usize>,
}

impl<'a> Nodes<'a> {
    fn add(&mut self, path: &'a str, node: Node<'a>) -> Result<usize> {
        self.nodes.push(node);
        let node = self.nodes.len() - 1;
        self.name(path, node)?;
        Ok(node)
    }

    /// The folder at this path, implied if the tree does not have it.
    fn folder(&mut self, path: &'a str) -> Result<usize> {
        match self.paths.get(path) {
            Some(node) => Ok(*node),
            None => {
                let what = What::Folder(BTreeMap::new());
                let kind = FileType::Directory;
                self.add(path, Node { kind, permissions: 0o755, uid: 0, gid: 0, links: 0, attributes: vec![], what })
            }
        }
    }

    /// Gives a node this path, and so a name in a folder.
    fn name(&mut self, path: &'a str, node: usize) -> Result<()> {
        self.paths.insert(path, node);
        let parent = match path.rsplit_once('/') {
            None => node,
            Some((_, name)) if name.len() > Dirent::MOST_NAME => bail!("{path} has a name of more than 255 bytes"),
            Some((folder, name)) => {
                let parent = self.folder(folder)?;
                match &mut self.nodes[parent].what {
                    What::Folder(names) => names.insert(name, node),
                    _ => bail!("{path} lies in something that is no folder"),
                };
                self.nodes[node].links += 1;
                parent
            }
        };
        if let What::Folder(names) = &mut self.nodes[node].what {
            names.extend([(".", node), ("..", parent)]);
            self.nodes[node].links += 1;
            self.nodes[parent].links += 1;
        } else if path.is_empty() {
            bail!("the root is no folder");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::tree::Origin;

    fn tree(entries: &[(&str, Kind)]) -> Tree {
        let mut tree = Tree::new();
        for (path, kind) in entries {
            let origin = Origin::Emulation("test".into());
            let entry = Entry { kind: kind.clone(), mode: 0o700, uid: 1, gid: 2, xattrs: BTreeMap::new(), origin };
            tree.insert(TreePath::new(path).unwrap(), entry);
        }
        tree
    }

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    #[test]
    fn folders_are_implied_and_links_are_counted() {
        let file = Kind::File(Content::bytes(*b"x"));
        let link = Kind::HardLink(path("/z/file"));
        let tree = tree(&[("/a/b/link", link), ("/a.b", Kind::Fifo), ("/z", Kind::Directory), ("/z/file", file)]);
        let packed = Packed::new();
        let nodes = nodes(&tree, &packed).unwrap();
        let What::Folder(root) = &nodes[0].what else { panic!() };
        assert_eq!(root.keys().copied().collect::<Vec<_>>(), [".", "..", "a", "a.b", "z"]);
        assert_eq!((root["."], root[".."], nodes[0].links, nodes[0].permissions), (0, 0, 4, 0o755));
        let What::Folder(a) = &nodes[root["a"]].what else { panic!() };
        let What::Folder(b) = &nodes[a["b"]].what else { panic!() };
        let What::Folder(z) = &nodes[root["z"]].what else { panic!() };
        assert_eq!((b["link"], b[".."]), (z["file"], root["a"]));
        assert_eq!((nodes[z["file"]].links, nodes[a["b"]].links, nodes[root["a"]].links), (2, 2, 3));
        assert_eq!((nodes[root["z"]].permissions, nodes[root["z"]].uid, nodes[root["z"]].gid), (0o700, 1, 2));
    }

    #[test]
    fn what_can_not_be_laid_out_is_named() {
        let error = |entries: &[(&str, Kind)]| {
            let (tree, packed) = (tree(entries), Packed::new());
            format!("{:#}", nodes(&tree, &packed).unwrap_err())
        };
        let long = format!("/{}", "x".repeat(256));
        assert!(error(&[(&long, Kind::Fifo)]).contains("more than 255 bytes"));
        assert!(error(&[("/a", Kind::Fifo), ("/a/b", Kind::Fifo)]).contains("/a/b lies in something"));
        assert!(error(&[("/", Kind::Fifo)]).contains("root is no folder"));
        assert!(error(&[("/a", Kind::HardLink(path("/gone")))]).contains("/gone, which is no file"));
        assert!(error(&[("/dev", Kind::CharDevice(4096, 0))]).contains("/dev can't be laid out: it is device 4096:0"));
    }
}
