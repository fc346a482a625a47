//! Tree and packed contents -> where everything lies in the image, and all of its bytes but those of contents. Pure.
//!
//! ```text
//! block 0           superblock, root, and what fits
//! metadata          inodes in path order, with attributes, indexes and tails; directories; shared attributes
//! the rest          physical clusters and blocks of contents, in path order, each content once
//! ```
//!
//! Of what the format offers, the image has what Linux 6.12 reads and what makes it smaller than `mkfs.erofs` does
//! without further options: compact inodes (every time is that of the volume), compact indexes, clusters of several
//! blocks, tail packing, shared attributes, and equal contents once. Left out: fragments and partial references to
//! clusters (`-Efragments,dedupe`), which make what a file becomes depend on the files before it.

use super::nodes::{Node, What, nodes};
use super::segment::Segment;
use super::space::Space;
use crate::compose::tree::{Content, Kind, Tree};
use crate::digest::Sha256;
use anyhow::{Context, Result};
use on_disk::erofs::{self, Algorithm, BLOCK, Dirent, Extent, Index, Inode, SLOT, Superblock, feature, xattr};
use std::collections::{BTreeMap, HashMap, HashSet};
use uuid::Uuid;

/// What a reader may ignore.
const COMPATIBLE: u32 = feature::CHECKSUM | feature::MTIME;
/// What a reader must know.
pub(super) const INCOMPATIBLE: u32 = feature::ZERO_PADDING | feature::BIG_CLUSTERS | feature::TAIL_PACKING;

/// What contents became, segment by segment, by their digests.
pub(super) type Packed = BTreeMap<Sha256, Vec<Segment>>;

/// What the image depends on beside the tree.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub algorithm: Algorithm,
    /// Time of the file system and of every inode; what is before 1970 counts as 1970.
    pub snapshot: i64,
    pub uuid: Uuid,
}

/// An image.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    /// The first blocks.
    pub metadata: Vec<u8>,
    /// What comes behind them, in order.
    pub runs: Vec<Run<'a>>,
}

/// A row of blocks with a part of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run<'a> {
    /// The clusters of a segment: digest of the content, number of the segment, how many blocks.
    Clusters(Sha256, u64, u32),
    /// These bytes of the content as they are. The last block is filled up with zeros.
    Plain(&'a Content, u64, u64),
}

/// The contents of a tree that have to be packed, each once, in path order of their first use.
pub(super) fn contents(tree: &Tree) -> Vec<(Sha256, &Content)> {
    let contents = tree.iter().filter_map(|(_, entry)| match &entry.kind {
        Kind::File(content) if content.size() > 0 => Some((content.digest(), content)),
        _ => None,
    });
    let mut seen = HashSet::new();
    contents.filter(|(digest, _)| seen.insert(*digest)).collect()
}

/// Lays a tree out. Every content of [`contents`] has to be packed.
pub(super) fn lay_out<'a>(tree: &'a Tree, packed: &'a Packed, options: &Options) -> Result<Layout<'a>> {
    let nodes = nodes(tree, packed)?;
    let time = u64::try_from(options.snapshot).unwrap_or(0);
    let shared = shared(&nodes);
    let mut forms: Vec<Form> = nodes.iter().zip(1..).map(|(node, number)| form(node, number, time, &shared)).collect();

    let record = options.algorithm.to_bytes();
    let mut space = Space::new(erofs::NEEDED + record.len());
    // The root comes first, as the superblock has 16 bits for its number.
    forms.iter_mut().for_each(|form| form.at = space.place(form.before + form.index, form.tail));
    let shared_at = space.place(shared.bytes.len(), 0);
    let in_metadata = |node: &Node| !matches!(node.what, What::File(..));
    for (_, form) in nodes.iter().zip(&mut forms).filter(|(node, form)| in_metadata(node) && form.blocks > 0) {
        form.first_block = block_number(space.blocks(form.blocks))?;
    }
    let (runs, size) = place_contents(&nodes, &mut forms, space.size())?;

    let mut metadata = vec![0; space.size() as usize];
    let mut put = |at: u64, bytes: &[u8]| metadata[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    put(erofs::NEEDED as u64, &record);
    put(shared_at, &shared.bytes);
    for (node, form) in nodes.iter().zip(&forms) {
        let numbers: Vec<u32> = form.shared.iter().map(|at| ((shared_at + at) / 4) as u32).collect();
        let mut bytes = form.inode().to_bytes(time);
        bytes.extend(xattr::body(&numbers, &form.own));
        let content = match &node.what {
            What::Special(_) => Vec::new(),
            What::Symlink(target) => target.as_bytes().to_vec(),
            What::Folder(names) => directory(names, &nodes, &forms),
            What::File(_, _, segments) => {
                if form.index > 0 {
                    let extents: Vec<Extent> = segments.iter().flat_map(|s| s.extents.iter().copied()).collect();
                    let (algorithm, tail_size) = (options.algorithm.number(), form.tail as u16);
                    let index = Index { algorithm, extents: &extents, tail_size };
                    bytes.extend(index.to_bytes(form.before, form.first_block));
                }
                segments.last().filter(|_| form.tail > 0).map_or_else(Vec::new, |last| last.tail.clone())
            }
        };
        let (blocks, tail) = content.split_at(content.len() - form.tail);
        bytes.extend(tail);
        put(form.at, &bytes);
        if !blocks.is_empty() {
            put(u64::from(form.first_block) * BLOCK as u64, blocks);
        }
    }
    let superblock = Superblock {
        block_size: BLOCK as u64,
        size,
        build_time: time,
        uuid: options.uuid,
        compatible: COMPATIBLE,
        incompatible: INCOMPATIBLE,
        root: u16::try_from(forms[0].at / SLOT as u64).context("the root has too many extended attributes")?,
        inodes: nodes.len() as u64,
        algorithms: 1 << options.algorithm.number(),
    };
    superblock.write(&mut metadata[..BLOCK]);
    Ok(Layout { metadata, runs })
}

/// The block that begins at this byte.
fn block_number(at: u64) -> Result<u32> {
    let block = u32::try_from(at / BLOCK as u64).ok().filter(|block| *block != Inode::NO_BLOCK);
    block.context("the root takes 16 TiB or more, which no image has room for")
}

/// Content of a directory.
fn directory<'a>(names: &BTreeMap<&'a str, usize>, nodes: &[Node], forms: &[Form]) -> Vec<u8> {
    let entry = |(name, node): (&&'a str, &usize)| Dirent {
        name: name.as_bytes(),
        nid: forms[*node].at / SLOT as u64,
        kind: nodes[*node].kind,
    };
    Dirent::directory(&names.iter().map(entry).collect::<Vec<_>>())
}

/// Gives contents their blocks, from `at` on: the runs, and where the last ends.
fn place_contents<'a>(nodes: &[Node<'a>], forms: &mut [Form], mut at: u64) -> Result<(Vec<Run<'a>>, u64)> {
    let mut runs = Vec::new();
    let mut known: HashMap<(Sha256, u64), u32> = HashMap::new();
    for (node, form) in nodes.iter().zip(forms).filter(|(_, form)| form.blocks > 0) {
        let What::File(content, digest, segments) = node.what else { continue };
        if let Some(first) = known.get(&(digest, form.blocks)) {
            form.first_block = *first;
            continue;
        }
        form.first_block = block_number(at)?;
        known.insert((digest, form.blocks), form.first_block);
        at += form.blocks * BLOCK as u64;
        if form.index == 0 {
            runs.push(Run::Plain(content, 0, content.size() - form.tail as u64));
            continue;
        }
        let mut from = 0;
        for (number, segment) in (0..).zip(segments) {
            let to = from + segment.length();
            runs.push(match segment.stored {
                true => Run::Plain(content, from, to - segment.tail.len() as u64),
                false => Run::Clusters(digest, number, segment.blocks()),
            });
            from = to;
        }
    }
    block_number(at)?;
    Ok((runs, at))
}

/// Attributes that more than one node has, where sharing them takes less.
struct Shared {
    /// All of them, one after the other.
    bytes: Vec<u8>,
    /// Where each begins.
    places: HashMap<Vec<u8>, u64>,
}

fn shared(nodes: &[Node]) -> Shared {
    let mut counts: BTreeMap<&[u8], usize> = BTreeMap::new();
    for attribute in nodes.iter().flat_map(|node| &node.attributes) {
        *counts.entry(attribute).or_default() += 1;
    }
    let mut shared = Shared { bytes: Vec::new(), places: HashMap::new() };
    for (attribute, count) in counts {
        if attribute.len() + 4 * count < attribute.len() * count {
            shared.places.insert(attribute.to_vec(), shared.bytes.len() as u64);
            shared.bytes.extend(attribute);
        }
    }
    shared
}

/// How a node lies in the image.
struct Form<'a> {
    inode: Inode,
    /// Its attributes: where the shared ones are among those, and its own.
    shared: Vec<u64>,
    own: Vec<&'a [u8]>,
    /// Bytes of record and attributes, of the index behind them, and of the tail behind that.
    before: usize,
    index: usize,
    tail: usize,
    /// Blocks of content.
    blocks: u64,
    /// Where the inode begins.
    at: u64,
    first_block: u32,
}

impl Form<'_> {
    /// The record, once places are known.
    fn inode(&self) -> Inode {
        let data = match (self.blocks, self.index) {
            (0, 0) => self.inode.data,
            (_, 0) => self.first_block,
            (blocks, _) => blocks as u32,
        };
        Inode { data, ..self.inode.clone() }
    }
}

fn form<'a>(node: &'a Node, number: u32, time: u64, shared: &Shared) -> Form<'a> {
    let (mut places, mut own): (Vec<u64>, Vec<&[u8]>) = Default::default();
    for attribute in &node.attributes {
        match shared.places.get(attribute) {
            Some(place) if places.len() < xattr::MOST_SHARED => places.push(*place),
            _ => own.push(attribute),
        }
    }
    let (size, data, segments) = match &node.what {
        What::Folder(names) => (Dirent::directory_size(names.keys().map(|name| name.len())), Inode::NO_BLOCK, None),
        What::Symlink(target) => (target.len() as u64, Inode::NO_BLOCK, None),
        What::File(content, _, segments) => (content.size(), Inode::NO_BLOCK, Some(*segments)),
        What::Special(device) => (0, *device, None),
    };
    let inode = Inode {
        layout: erofs::Layout::Plain,
        xattr_size: xattr::body_size(places.len(), &own),
        mode: node.kind.mode() | (node.permissions & 0o7777) as u16,
        links: node.links,
        size,
        data,
        number,
        uid: node.uid,
        gid: node.gid,
        time,
    };
    let before = inode.record_size(time) + inode.xattr_size;
    let end = inode.end_size();
    let tail = segments.map_or(end, |segments| segments.last().map_or(0, |last| last.tail.len()));
    let form = Form { inode, shared: places, own, before, index: 0, tail: 0, blocks: 0, at: 0, first_block: 0 };
    let with = |layout, index, tail, blocks| {
        let inode = Inode { layout, ..form.inode.clone() };
        Form { inode, index, tail, blocks, ..form }
    };
    match segments {
        Some(segments) if segments.iter().any(|segment| !segment.stored) => {
            let blocks = segments.iter().map(|segment| u64::from(segment.blocks())).sum();
            with(erofs::Layout::Compressed, Index::size(size, before), tail, blocks)
        }
        // All in one block: kernels refused a link whose target begins in another one than its inode.
        _ if end > 0 && tail == end && before + end <= BLOCK => {
            with(erofs::Layout::Inline, 0, end, size / BLOCK as u64)
        }
        _ => with(erofs::Layout::Plain, 0, 0, size.div_ceil(BLOCK as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::tree::{Entry, Origin, TreePath};
    use on_disk::erofs::FileType;

    const OPTIONS: Options =
        Options { algorithm: Algorithm::Zstd { window_log: 19 }, snapshot: 1_700_000_000, uuid: Uuid::from_u128(7) };

    fn put(tree: &mut Tree, path: &str, kind: Kind) -> TreePath {
        let path = TreePath::new(path).unwrap();
        let origin = Origin::Emulation("test".into());
        tree.insert(path.clone(), Entry { kind, mode: 0o640, uid: 1, gid: 70_000, xattrs: BTreeMap::new(), origin });
        path
    }

    fn file(bytes: impl AsRef<[u8]>) -> Kind {
        Kind::File(Content::bytes(bytes.as_ref()))
    }

    /// A reader of the metadata, on the codecs alone.
    struct Reader<'a>(&'a [u8]);

    impl Reader<'_> {
        fn superblock(&self) -> Superblock {
            assert!(Superblock::checksum_is_right(self.0));
            Superblock::parse(self.0).unwrap()
        }

        /// The inode, its attributes, and where the bytes behind those begin.
        fn inode(&self, nid: u64) -> (Inode, xattr::Body, usize) {
            let (at, time) = (nid as usize * SLOT, self.superblock().build_time);
            let inode = Inode::parse(&self.0[at..], time).unwrap();
            let record = at + inode.record_size(time);
            let behind = record + inode.xattr_size;
            (inode, xattr::parse_body(&self.0[record..behind]).unwrap(), behind)
        }

        /// Content that lies in the metadata.
        fn content(&self, nid: u64) -> Vec<u8> {
            let (inode, _, behind) = self.inode(nid);
            let tail = if inode.layout == erofs::Layout::Inline { inode.end_size() } else { 0 };
            let blocks = inode.size as usize - tail;
            let from = if blocks == 0 { 0 } else { inode.data as usize * BLOCK };
            [&self.0[from..from + blocks], &self.0[behind..behind + tail]].concat()
        }

        fn find(&self, path: &str) -> u64 {
            let root = u64::from(self.superblock().root);
            path.split('/').filter(|name| !name.is_empty()).fold(root, |nid, name| {
                let content = self.content(nid);
                let mut entries = content.chunks(BLOCK).flat_map(|block| Dirent::parse_block(block).unwrap());
                entries.find(|entry| entry.name == name.as_bytes()).unwrap_or_else(|| panic!("no {path}")).nid
            })
        }
    }

    fn stored(content: &[u8], tail: usize) -> Segment {
        let plain = Extent { length: BLOCK as u32, blocks: 1, plain: true };
        let end = Extent { length: tail as u32, blocks: 0, plain: true };
        let extents = [vec![plain; content.len() / BLOCK], vec![end]].concat();
        Segment { extents, tail: content[content.len() - tail..].to_vec(), stored: true }
    }

    #[test]
    fn everything_is_found_where_the_image_says() {
        let (large, small) = (vec![b'x'; 300_000], vec![b'y'; 2 * BLOCK + 100]);
        let mut tree = Tree::new();
        put(&mut tree, "/etc/empty", file(b""));
        put(&mut tree, "/etc/large", file(&large));
        put(&mut tree, "/etc/same", file(&large));
        put(&mut tree, "/etc/small", file(&small));
        put(&mut tree, "/etc/socket", Kind::Socket);
        put(&mut tree, "/etc/tty", Kind::CharDevice(4, 64));
        put(&mut tree, "/link", Kind::Symlink("etc/large".into()));
        for n in 0..500 {
            put(&mut tree, &format!("/many/a-file-with-a-name-{n:04}"), Kind::Fifo);
        }
        let extents = vec![
            Extent { length: 290_000, blocks: 2, plain: false },
            Extent { length: 10_000, blocks: 0, plain: false },
        ];
        let packed_large = Segment { extents: extents.clone(), tail: b"tail".to_vec(), stored: false };
        let packed =
            Packed::from([(Sha256::of(&large), vec![packed_large]), (Sha256::of(&small), vec![stored(&small, 100)])]);
        assert_eq!(contents(&tree).len(), 2);

        let layout = lay_out(&tree, &packed, &OPTIONS).unwrap();
        let reader = Reader(&layout.metadata);
        let (small, large) = (Content::bytes(small), Sha256::of(&large));
        assert_eq!(layout.runs, [Run::Clusters(large, 0, 2), Run::Plain(&small, 0, 2 * BLOCK as u64)]);
        let superblock = reader.superblock();
        let first = (layout.metadata.len() / BLOCK) as u32;
        assert_eq!(superblock.size, layout.metadata.len() as u64 + 4 * BLOCK as u64);
        // 507 entries of the tree, and /, /etc and /many, which it implies.
        assert_eq!((superblock.inodes, superblock.uuid, superblock.algorithms), (510, OPTIONS.uuid, 8));

        assert_eq!(reader.content(reader.find("/link")), b"etc/large");
        assert_eq!(reader.inode(reader.find("/etc/tty")).0.data, 4 << 8 | 64);
        assert_eq!(reader.inode(reader.find("/etc/socket")).0.mode, FileType::Socket.mode() | 0o640);
        assert_eq!(reader.inode(reader.find("/etc/empty")).0.size, 0);
        let many = reader.find("/many");
        assert_eq!(
            reader.content(many).chunks(BLOCK).map(|b| Dirent::parse_block(b).unwrap().len()).sum::<usize>(),
            502
        );
        for name in ["/etc/large", "/etc/same"] {
            let (inode, _, behind) = reader.inode(reader.find(name));
            assert_eq!((inode.layout, inode.data, inode.gid), (erofs::Layout::Compressed, 2, 70_000));
            let before = inode.record_size(superblock.build_time);
            let (found, algorithm, tail) = Index::parse(&layout.metadata[behind..], 300_000, before).unwrap();
            assert_eq!((found[0].extent, found[0].block, found[1].extent), (extents[0], first, extents[1]));
            assert_eq!((algorithm, tail), (3, 4));
            assert!(layout.metadata[behind + Index::size(300_000, before)..].starts_with(b"tail"));
        }
        let (inode, _, behind) = reader.inode(reader.find("/etc/small"));
        assert_eq!((inode.layout, inode.data), (erofs::Layout::Inline, first + 2));
        assert!(layout.metadata[behind..].starts_with(&[b'y'; 100]));
    }

    #[test]
    fn attributes_of_many_are_stored_once() {
        let mut tree = Tree::new();
        for n in 0..20 {
            let path = put(&mut tree, &format!("/{n}"), Kind::Fifo);
            let xattrs = &mut tree.iter_mut().find(|(p, _)| **p == path).unwrap().1.xattrs;
            xattrs.insert("security.same".into(), vec![5; 1000]);
            xattrs.insert("trusted.own".into(), vec![n]);
        }
        let packed = Packed::new();
        let layout = lay_out(&tree, &packed, &OPTIONS).unwrap();
        assert!(layout.metadata.len() <= 2 * BLOCK);
        let reader = Reader(&layout.metadata);
        for n in 0..20 {
            let (_, (shared, own), _) = reader.inode(reader.find(&n.to_string()));
            let (name, value, _) = xattr::parse_entry(&layout.metadata[shared[0] as usize * 4..]).unwrap();
            assert_eq!((shared.len(), name.as_str(), value), (1, "security.same", vec![5; 1000]));
            assert_eq!(own, [("trusted.own".into(), vec![n])]);
        }
    }

    #[test]
    fn a_tail_that_does_not_fit_beside_its_attributes_gets_a_block() {
        let content = vec![b'y'; 3000];
        let mut tree = Tree::new();
        let path = put(&mut tree, "/file", file(&content));
        put(&mut tree, "/twin", file(&content));
        let xattrs = &mut tree.iter_mut().find(|(p, _)| **p == path).unwrap().1.xattrs;
        xattrs.insert("user.large".into(), vec![1; 2000]);
        let packed = Packed::from([(Sha256::of(&content), vec![stored(&content, 3000)])]);
        let layout = lay_out(&tree, &packed, &OPTIONS).unwrap();
        let content = Content::bytes(content);
        assert_eq!(layout.runs, [Run::Plain(&content, 0, 3000)]);
        let reader = Reader(&layout.metadata);
        assert_eq!(reader.inode(reader.find("/file")).0.layout, erofs::Layout::Plain);
        assert_eq!(reader.content(reader.find("/twin")), content.read().unwrap());
    }
}
