//! The root file system as data.
//!
//! It is never unpacked onto the build host, so nothing here needs root, a mount or a container.

pub use super::origin::Origin;
use crate::digest::Sha256;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
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

    /// Where it leads when symbolic links are followed; `None` if it leads nowhere or in circles. `link` says of a
    /// path whether it is there, and its target if it is a link.
    pub fn resolved<'a>(&self, link: impl Fn(&TreePath) -> Option<Option<&'a str>>) -> Option<TreePath> {
        let mut left = 40;
        let mut at = String::new();
        let mut todo: Vec<String> = self.0.split('/').rev().filter(|p| !p.is_empty()).map(str::to_owned).collect();
        while let Some(part) = todo.pop() {
            match part.as_str() {
                "." => continue,
                ".." => {
                    at.truncate(at.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = TreePath(format!("{at}/{part}"));
            match link(&next) {
                Some(Some(target)) => {
                    left -= 1;
                    if left == 0 {
                        return None;
                    }
                    if target.starts_with('/') {
                        at.clear();
                    }
                    todo.extend(target.split('/').rev().filter(|p| !p.is_empty()).map(str::to_owned));
                }
                // A folder on the way may still be implied by what lies in it.
                None if todo.is_empty() => return None,
                _ => at = next.0,
            }
        }
        Some(TreePath(if at.is_empty() { "/".into() } else { at }))
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
        /// Digest of those bytes, known from when they were laid there, so that nothing is read twice.
        digest: Sha256,
    },
}

impl Content {
    /// These bytes.
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Content {
        Content::Bytes(bytes.into())
    }

    /// A whole file of the store; reads it once for its digest.
    ///
    /// # Errors
    /// As reading it.
    pub fn of_file(path: &Path) -> io::Result<Content> {
        let (digest, size) = Sha256::of_reader(std::fs::File::open(path)?)?;
        Ok(Content::Slice { file: Arc::new(path.to_owned()), offset: 0, size, digest })
    }

    /// Digest of the bytes.
    pub fn digest(&self) -> Sha256 {
        match self {
            Content::Bytes(bytes) => Sha256::of(bytes),
            Content::Slice { digest, .. } => *digest,
        }
    }

    /// All the bytes.
    ///
    /// # Errors
    /// When the file is gone or too short; the error names it.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// These bytes of it.
    ///
    /// # Errors
    /// As [`Content::read`]; also when it does not have them.
    pub fn read_part(&self, part: Range<u64>) -> io::Result<Vec<u8>> {
        if part.start > part.end || part.end > self.size() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match self {
            Content::Bytes(bytes) => Ok(bytes[part.start as usize..part.end as usize].to_vec()),
            Content::Slice { file, offset, digest, .. } => {
                let (offset, size) = (offset + part.start, part.end - part.start);
                Content::Slice { file: file.clone(), offset, size, digest: *digest }.read()
            }
        }
    }

    /// A reader of exactly [`Content::size`] bytes.
    ///
    /// # Errors
    /// When the file can't be opened; the error names it.
    pub fn reader(&self) -> io::Result<ContentReader> {
        match self {
            Content::Bytes(bytes) => Ok(ContentReader::Bytes(io::Cursor::new(bytes.clone()))),
            Content::Slice { file, offset, size, .. } => {
                let open = std::fs::File::open(&**file).map_err(|e| named(e, file))?;
                Ok(ContentReader::Slice { file: open, path: file.clone(), at: *offset, left: *size })
            }
        }
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Slice { size, .. } => *size,
        }
    }
}

/// Reads a [`Content`]. A file that ends early is an error, never a short read.
#[derive(Debug)]
pub enum ContentReader {
    /// From memory.
    Bytes(io::Cursor<Arc<[u8]>>),
    /// From a part of a file.
    Slice {
        /// Open file.
        file: std::fs::File,
        /// Its path, for errors.
        path: Arc<PathBuf>,
        /// Next byte.
        at: u64,
        /// Bytes left.
        left: u64,
    },
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            ContentReader::Bytes(cursor) => cursor.read(buffer),
            ContentReader::Slice { file, path, at, left } => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                if most == 0 {
                    return Ok(0);
                }
                let n = file.read_at(&mut buffer[..most], *at).map_err(|e| named(e, path))?;
                if n == 0 {
                    return Err(named(io::Error::from(io::ErrorKind::UnexpectedEof), path));
                }
                *at += n as u64;
                *left -= n as u64;
                Ok(n)
            }
        }
    }
}

fn named(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("can't read {}: {error}", path.display()))
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
    /// Socket.
    Socket,
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

/// A path that an input has and the tree has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The input.
    pub origin: Origin,
    /// Why it is not there, as the end of a sentence.
    pub why: String,
}

/// A root file system: each path once, in order, every folder before what is in it.
///
/// It remembers what it was made of: which inputs lost a path to another, and what was left out. Neither is
/// part of the file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<TreePath, Entry>,
    replaced: BTreeMap<TreePath, Vec<Origin>>,
    left_out: BTreeMap<TreePath, LeftOut>,
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

    /// Puts an entry, and gives the one that was there; the input it was of counts as replaced.
    pub fn insert(&mut self, path: TreePath, entry: Entry) -> Option<Entry> {
        let by = entry.origin.clone();
        self.left_out.remove(&path);
        let before = self.entries.insert(path.clone(), entry)?;
        if before.origin != by {
            self.lose(path, before.origin.clone());
        }
        Some(before)
    }

    /// Takes an entry away, and remembers why.
    pub fn remove(&mut self, path: &TreePath, why: impl Into<String>) -> Option<Entry> {
        let entry = self.entries.remove(path)?;
        self.leave_out(path.clone(), entry.origin.clone(), why);
        Some(entry)
    }

    /// Remembers that an input has a path which does not get into the tree. Of several inputs the first counts.
    pub fn leave_out(&mut self, path: TreePath, origin: Origin, why: impl Into<String>) {
        if !self.entries.contains_key(&path) {
            self.left_out.entry(path).or_insert_with(|| LeftOut { origin, why: why.into() });
        }
    }

    /// Remembers that an input has this path too, and lost it to the one that has it.
    pub fn lose(&mut self, path: TreePath, origin: Origin) {
        self.replaced.entry(path).or_default().push(origin);
    }

    /// The inputs that lost this path to the one that has it, in the order in which they did.
    pub fn replaced(&self, path: &TreePath) -> &[Origin] {
        self.replaced.get(path).map_or(&[], Vec::as_slice)
    }

    /// What inputs have and the tree has not, in path order.
    pub fn left_out(&self) -> impl Iterator<Item = (&TreePath, &LeftOut)> {
        self.left_out.iter()
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

    /// Everything below a folder at any depth, in order, without the folder itself.
    pub fn below(&self, folder: &str) -> impl Iterator<Item = (&TreePath, &Entry)> {
        let prefix = if folder == "/" { "/".to_owned() } else { format!("{folder}/") };
        let from = TreePath(prefix.clone());
        self.entries.range(from..).take_while(move |(path, _)| path.0.starts_with(&prefix)).filter(|(p, _)| p.0 != "/")
    }

    /// Removes everything in a folder, and remembers why; the folder itself stays.
    pub fn remove_below(&mut self, folder: &str, why: &str) {
        let all: Vec<TreePath> = self.below(folder).map(|(path, _)| path.clone()).collect();
        for path in all {
            self.remove(&path, why);
        }
    }

    /// Where a path leads when symbolic links in it are followed inside the tree; `None` if it leads nowhere,
    /// out of the tree or in circles.
    pub fn resolve(&self, path: &TreePath) -> Option<TreePath> {
        path.resolved(|at| {
            Some(match &self.entries.get(at)?.kind {
                Kind::Symlink(target) => Some(target.as_str()),
                _ => None,
            })
        })
    }

    /// The regular file a path leads to, links followed.
    pub fn file(&self, path: &str) -> Option<(&Entry, &Content)> {
        let mut at = self.resolve(&TreePath::new(path).ok()?)?;
        loop {
            let entry = self.get(&at)?;
            match &entry.kind {
                Kind::File(content) => return Some((entry, content)),
                Kind::HardLink(target) => at = target.clone(),
                _ => return None,
            }
        }
    }

    /// Digest over everything that a file system made of the tree can show: paths, kinds, modes, owners,
    /// extended attributes, link targets and contents. Origins are not part of it.
    pub fn digest(&self) -> Sha256 {
        let mut hasher = <sha2::Sha256 as sha2::Digest>::new();
        let mut put = |bytes: &[u8]| {
            // Length first, so that no two trees give one text.
            sha2::Digest::update(&mut hasher, (bytes.len() as u64).to_le_bytes());
            sha2::Digest::update(&mut hasher, bytes);
        };
        for (path, entry) in &self.entries {
            put(path.0.as_bytes());
            let (kind, value) = match &entry.kind {
                Kind::File(content) => (b'f', content.digest().bytes().to_vec()),
                Kind::Directory => (b'd', Vec::new()),
                Kind::Symlink(target) => (b'l', target.as_bytes().to_vec()),
                Kind::HardLink(target) => (b'h', target.0.as_bytes().to_vec()),
                Kind::CharDevice(major, minor) => (b'c', device(*major, *minor)),
                Kind::BlockDevice(major, minor) => (b'b', device(*major, *minor)),
                Kind::Fifo => (b'p', Vec::new()),
                Kind::Socket => (b's', Vec::new()),
            };
            put(&[kind]);
            put(&value);
            put(&[entry.mode, entry.uid, entry.gid, entry.xattrs.len() as u32].map(u32::to_le_bytes).concat());
            for (name, value) in &entry.xattrs {
                put(name.as_bytes());
                put(value);
            }
        }
        Sha256::from_hasher(hasher)
    }
}

fn device(major: u32, minor: u32) -> Vec<u8> {
    [major.to_le_bytes(), minor.to_le_bytes()].concat()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test's own folder")]
mod tests {
    use super::*;

    fn entry(kind: Kind) -> Entry {
        let origin = Origin::Emulation("test".into());
        Entry { kind, mode: 0o755, uid: 0, gid: 0, xattrs: BTreeMap::new(), origin }
    }

    fn tree(entries: &[(&str, Kind)]) -> Tree {
        let mut tree = Tree::new();
        for (path, kind) in entries {
            tree.insert(TreePath::new(path).unwrap(), entry(kind.clone()));
        }
        tree
    }

    #[test]
    fn links_are_followed_inside_the_tree() {
        let tree = tree(&[
            ("/bin", Kind::Symlink("usr/bin".into())),
            ("/usr", Kind::Directory),
            ("/usr/bin", Kind::Directory),
            ("/usr/bin/sh", Kind::Symlink("/etc/alternatives/../shell".into())),
            ("/etc", Kind::Directory),
            ("/etc/alternatives", Kind::Directory),
            ("/etc/shell", Kind::File(Content::bytes(*b"x"))),
            ("/etc/loop", Kind::Symlink("loop".into())),
        ]);
        let at = |path| tree.resolve(&TreePath::new(path).unwrap()).map(|p| p.to_string());
        assert_eq!(at("/bin/sh"), Some("/etc/shell".into()));
        assert_eq!(at("/etc/loop"), None);
        assert_eq!(at("/nowhere"), None);
        assert_eq!(tree.file("/bin/sh").unwrap().1.read().unwrap(), b"x");
    }

    #[test]
    fn below_is_what_is_in_the_folder_only() {
        let tree = tree(&[("/a", Kind::Directory), ("/a/b", Kind::Fifo), ("/a-b", Kind::Fifo), ("/ab", Kind::Fifo)]);
        assert_eq!(tree.below("/a").map(|(p, _)| p.as_str()).collect::<Vec<_>>(), ["/a/b"]);
        assert_eq!(tree.below("/").count(), 4);
        let mut emptied = tree;
        emptied.remove_below("/a", "nobody reads it");
        assert_eq!(emptied.iter().map(|(p, _)| p.as_str()).collect::<Vec<_>>(), ["/a", "/a-b", "/ab"]);
        let left_out: Vec<_> = emptied.left_out().map(|(p, l)| (p.as_str(), l.why.as_str())).collect();
        assert_eq!(left_out, [("/a/b", "nobody reads it")]);
    }

    #[test]
    fn who_lost_a_path_and_what_was_left_out_is_remembered() {
        let path = TreePath::new("/a").unwrap();
        let of = |name: &str| Entry { origin: Origin::Overlay(name.into()), ..entry(Kind::Fifo) };
        let mut tree = Tree::new();
        for name in ["first", "second", "second", "third"] {
            tree.insert(path.clone(), of(name));
        }
        assert_eq!(tree.replaced(&path), [of("first").origin, of("second").origin]);
        tree.leave_out(path.clone(), of("late").origin, "excluded");
        assert_eq!(tree.left_out().count(), 0, "what is there is not left out");
        tree.remove(&path, "dropped");
        tree.leave_out(path.clone(), of("late").origin, "excluded");
        let gone: Vec<_> = tree.left_out().map(|(_, l)| format!("{}: {}", l.origin, l.why)).collect();
        assert_eq!(gone, ["overlay third: dropped"]);
        tree.insert(path, of("again"));
        assert_eq!(tree.left_out().count(), 0);
    }

    #[test]
    fn the_digest_sees_every_part_but_the_origin() {
        let path = TreePath::new("/a").unwrap();
        let base = tree(&[("/a", Kind::File(Content::bytes(*b"x")))]);
        let change = |with: &dyn Fn(&mut Entry)| {
            let mut other = base.clone();
            let mut entry = other.remove(&path, "test").unwrap();
            with(&mut entry);
            other.insert(path.clone(), entry);
            other.digest()
        };
        assert_eq!(change(&|e| e.origin = Origin::Overlay("o".into())), base.digest());
        let others = [
            change(&|e| e.mode = 0o644),
            change(&|e| e.uid = 1),
            change(&|e| e.gid = 1),
            change(&|e| e.kind = Kind::File(Content::bytes(*b"y"))),
            change(&|e| e.kind = Kind::Symlink("x".into())),
            change(&|e| drop(e.xattrs.insert("user.a".into(), vec![1]))),
        ];
        assert!(others.iter().all(|d| *d != base.digest()));
    }

    #[test]
    fn a_slice_reads_its_bytes_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "0123456789").unwrap();
        let file = Arc::new(path.clone());
        let slice = |offset, size| Content::Slice { file: file.clone(), offset, size, digest: Sha256::of("") };
        assert_eq!(slice(2, 3).read().unwrap(), b"234");
        for content in [slice(2, 5), Content::bytes(*b"23456")] {
            assert_eq!(content.read_part(1..4).unwrap(), b"345");
            assert!(content.read_part(4..6).is_err());
        }
        assert!(slice(8, 3).read().unwrap_err().to_string().contains(path.to_str().unwrap()));
        assert_eq!(Content::of_file(&path).unwrap().digest(), Sha256::of("0123456789"));
    }
}
