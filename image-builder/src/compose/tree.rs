//! The root file system as data.
//!
//! It is never unpacked onto the build host, so nothing here needs root, a mount or a container.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// An absolute path in the tree, without `.`, `..`, doubled or trailing slashes; `/` is the root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(String);

impl TreePath {
    /// Normalises `./usr/bin/x`, `usr/bin/x` and `/usr/bin/x/` to `/usr/bin/x`.
    ///
    /// # Errors
    /// When it has a `..` or a NUL in it.
    pub fn new(path: &str) -> Result<TreePath, String> {
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
        if parts.contains(&"..") || path.contains('\0') {
            return Err(format!("{path:?} is not a path inside the root"));
        }
        Ok(TreePath(format!("/{}", parts.join("/"))))
    }

    /// The path as text, beginning with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder it is in; none for `/`.
    pub fn parent(&self) -> Option<TreePath> {
        let at = self.0.rfind('/').filter(|_| self.0 != "/")?;
        Some(TreePath(if at == 0 { "/".into() } else { self.0[..at].into() }))
    }

    /// The last part.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or("")
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Here.
    Bytes(Arc<[u8]>),
    /// A part of a file in the store (a member of an unpacked archive), which does not change.
    Slice {
        /// File.
        file: Arc<PathBuf>,
        /// First byte.
        offset: u64,
        /// Bytes.
        size: u64,
    },
}

impl Content {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Slice { size, .. } => *size,
        }
    }
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Regular file.
    File(Content),
    /// Folder.
    Directory,
    /// Symbolic link and its target, as written.
    Symlink(String),
    /// Another name of the file at that path.
    HardLink(TreePath),
    /// Character device: major, minor.
    CharDevice(u32, u32),
    /// Block device: major, minor.
    BlockDevice(u32, u32),
    /// Named pipe.
    Fifo,
}

/// Which input a path came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A package: name and version.
    Package(String, String),
    /// A component: name and version.
    Component(String, String),
    /// An overlay folder.
    Overlay(String),
    /// Done as data for a maintainer script or by the builder itself: the emulation's name.
    Emulation(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Package(name, version) => write!(f, "package {name} {version}"),
            Origin::Component(name, version) => write!(f, "component {name} {version}"),
            Origin::Overlay(name) => write!(f, "overlay {name}"),
            Origin::Emulation(name) => write!(f, "emulation {name}"),
        }
    }
}

/// One path of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, 0o7777 at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// Which input it came from.
    pub origin: Origin,
}

/// A root file system: each path once, in order, every folder before what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<TreePath, Entry>,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Tree {
        Tree::default()
    }

    /// The entry at this very path; symbolic links are not followed.
    pub fn get(&self, path: &TreePath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Puts an entry, and gives the one that was there.
    pub fn insert(&mut self, path: TreePath, entry: Entry) -> Option<Entry> {
        self.entries.insert(path, entry)
    }

    /// Takes an entry away.
    pub fn remove(&mut self, path: &TreePath) -> Option<Entry> {
        self.entries.remove(path)
    }

    /// All entries in path order (byte order, so a folder comes before what is in it).
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Entry)> {
        self.entries.iter()
    }

    /// All entries, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&TreePath, &mut Entry)> {
        self.entries.iter_mut()
    }

    /// How many paths.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
