//! Trees to make images of: any, and such as are at the format's limits.
#![allow(clippy::unwrap_used, reason = "a part of tests")]

use image_builder::compose::tree::{Content, Entry, Kind, Origin, Tree, TreePath};
use image_builder::package::files::{self, Listed};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;

/// Time of every inode.
pub const TIME: i64 = 1_700_000_000;

/// The path of this text.
pub fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

/// Puts an entry of this kind, mode, owner and group into a tree.
pub fn put(tree: &mut Tree, at: &str, kind: Kind, mode: u32, uid: u32) {
    let origin = Origin::Emulation("test".into());
    tree.insert(path(at), Entry { kind, mode, uid, gid: uid, xattrs: BTreeMap::new(), origin });
}

/// Numbers that can't be compressed, the same for the same seed.
fn random(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
}

/// Content of this size: zeros, random bytes, something like text, or zeros with islands of the others.
fn content(kind: u8, size: usize, seed: u64) -> Content {
    let bytes: Vec<u8> = match kind {
        0 => vec![0; size],
        1 => random(seed).take(size).collect(),
        2 => random(seed).take(size).map(|byte| b'a' + byte % 4 * (byte >> 5)).collect(),
        _ => {
            let mut bytes = vec![0; size];
            for begin in (0..size).step_by(700_001) {
                let end = size.min(begin + 5000);
                bytes[begin..end].copy_from_slice(&random(seed + begin as u64).take(end - begin).collect::<Vec<_>>());
            }
            bytes
        }
    };
    Content::bytes(bytes)
}

/// Sizes at which something begins or ends, and any others.
fn sizes() -> impl Strategy<Value = usize> {
    let edges =
        [0, 1, 2, 31, 32, 4031, 4032, 4063, 4064, 4065, 4095, 4096, 4097, 8191, 8192, 8193, 65_535, 65_536, 65_537];
    prop_oneof![
        4 => prop::sample::select(edges.to_vec()),
        3 => 0usize..20_000,
        2 => 0usize..700_000,
        1 => prop::sample::select(vec![(8 << 20) - 1, 8 << 20, (8 << 20) + 1, 19 << 20]),
    ]
}

/// An access control list in the form of its attribute (acl(5); linux/posix_acl_xattr.h): version 2, and an entry for
/// owner, one user, group, mask and others.
fn access_control_list() -> Vec<u8> {
    let entry = |tag: u16, permissions: u16, id: u32| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let entries = [(1, 6, u32::MAX), (2, 4, 70_000), (4, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 0, u32::MAX)];
    let entries = entries.map(|(tag, permissions, id)| entry(tag, permissions, id));
    [&2u32.to_le_bytes()[..], &entries.concat()].concat()
}

/// Attributes of files and folders, at the sizes where their layout changes. Some are the same on many.
fn xattrs() -> impl Strategy<Value = BTreeMap<String, Vec<u8>>> {
    let name = "(user|trusted|security)\\.[a-z]{1,3}|user\\.[a-z]{250}";
    let size =
        prop::sample::select(vec![0usize, 1, 2, 3, 4, 5, 100, 1000, 4000, 4090, 4093, 4096, 4100, 20_000, 65_535]);
    let own = prop::collection::btree_map(
        name,
        (size, any::<u64>()).prop_map(|(size, seed)| random(seed).take(size).collect()),
        0..4,
    );
    (own, 0u8..5).prop_map(|(mut all, more)| {
        if more > 1 {
            all.insert("user.common".into(), b"the same on many".to_vec());
        }
        if more > 2 {
            all.insert("security.common".into(), vec![7; 300]);
        }
        if more > 3 {
            all.insert("system.posix_acl_access".into(), access_control_list());
        }
        all
    })
}

fn owner() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0, 1, 65_535, 65_536, 4_000_000_000])
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![6 => "[a-zA-Z0-9._ -]{1,12}", 1 => "[a-z]{255}", 1 => "[äöü☃a-z]{1,30}"]
        .prop_filter("a name", |name| !matches!(name.as_str(), "." | ".."))
}

#[derive(Debug, Clone)]
enum Shape {
    File(u8, usize, u64),
    Folder,
    Many(usize),
    Symlink(String),
    Link(prop::sample::Index),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
    Socket,
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        12 => (0u8..4, sizes(), 0u64..5).prop_map(|(kind, size, seed)| Shape::File(kind, size, seed)),
        6 => Just(Shape::Folder),
        1 => (200usize..1500).prop_map(Shape::Many),
        2 => "[a-z/.]{1,40}|/[a-z]{3000}".prop_map(Shape::Symlink),
        2 => any::<prop::sample::Index>().prop_map(Shape::Link),
        1 => (0u32..4096, 0u32..1 << 20).prop_map(|(major, minor)| Shape::Char(major, minor)),
        1 => (0u32..4096, 0u32..1 << 20).prop_map(|(major, minor)| Shape::Block(major, minor)),
        1 => Just(Shape::Fifo),
        1 => Just(Shape::Socket),
    ]
}

/// Any tree: every kind, in folders in folders.
pub fn any_tree() -> impl Strategy<Value = Tree> {
    let one = (any::<prop::sample::Index>(), name(), shape(), (0u32..0o10000, owner(), owner()), xattrs());
    prop::collection::vec(one, 1..60).prop_map(|entries| {
        let mut tree = Tree::new();
        put(&mut tree, "/", Kind::Directory, 0o755, 0);
        let (mut folders, mut files): (Vec<String>, Vec<String>) = (vec![String::new()], Vec::new());
        for (folder, name, shape, (mode, uid, gid), xattrs) in entries {
            let at = format!("{}/{name}", folder.get(&folders));
            if tree.get(&path(&at)).is_some() || at.len() > 3000 {
                continue;
            }
            let kind = match shape.clone() {
                Shape::File(kind, size, seed) => Kind::File(content(kind, size, seed)),
                Shape::Folder | Shape::Many(_) => Kind::Directory,
                Shape::Symlink(target) => Kind::Symlink(target),
                Shape::Link(_) if files.is_empty() => Kind::Fifo,
                Shape::Link(to) => Kind::HardLink(path(to.get::<String>(&files))),
                Shape::Char(major, minor) => Kind::CharDevice(major, minor),
                Shape::Block(major, minor) => Kind::BlockDevice(major, minor),
                Shape::Fifo => Kind::Fifo,
                Shape::Socket => Kind::Socket,
            };
            match &kind {
                Kind::Directory => folders.push(at.clone()),
                Kind::File(_) => files.push(at.clone()),
                _ => {}
            }
            let takes_any = matches!(kind, Kind::Directory | Kind::File(_));
            let xattrs = xattrs.into_iter().filter(|(name, _)| takes_any || name.starts_with("trusted.")).collect();
            tree.insert(path(&at), Entry { kind, mode, uid, gid, xattrs, origin: Origin::Emulation("test".into()) });
            if let Shape::Many(count) = shape {
                for n in 0..count {
                    put(&mut tree, &format!("{at}/{n}{}", "x".repeat(n % 200)), Kind::Fifo, 0o600, 0);
                }
            }
        }
        tree
    })
}

/// The same trees each time, side by side in one.
pub fn some_trees(count: usize) -> Tree {
    let mut runner = TestRunner::deterministic();
    let mut all = Tree::new();
    put(&mut all, "/", Kind::Directory, 0o755, 0);
    for n in 0..count {
        let tree = any_tree().new_tree(&mut runner).unwrap().current();
        for (at, entry) in tree.iter() {
            let below = |at: &TreePath| path(&format!("/{n}{}", at.as_str().trim_end_matches('/')));
            let mut entry = entry.clone();
            if let Kind::HardLink(target) = &entry.kind {
                entry.kind = Kind::HardLink(below(target));
            }
            all.insert(below(at), entry);
        }
    }
    all
}

/// A folder of 100,000 names of all lengths, most of them of empty files, so many links that 16 bits do not count them,
/// and folders in folders as deep as a path goes.
pub fn large_tree() -> Tree {
    let mut tree = Tree::new();
    put(&mut tree, "/", Kind::Directory, 0o755, 0);
    put(&mut tree, "/many", Kind::Directory, 0o755, 0);
    put(&mut tree, "/file", Kind::File(Content::bytes(*b"of many names")), 0o644, 0);
    for n in 0..100_000 {
        let kind = if n < 66_000 { Kind::HardLink(path("/file")) } else { Kind::File(Content::bytes(*b"")) };
        put(
            &mut tree,
            &format!("/many/{n}{}", "x".repeat(if n % 100 == 0 { n / 100 % 250 } else { n % 7 })),
            kind,
            0o644,
            0,
        );
    }
    let mut deep = String::new();
    for _ in 0..15 {
        deep += &format!("/{}", "d".repeat(255));
        put(&mut tree, &deep, Kind::Directory, 0o700, 0);
    }
    tree
}

/// What a tree's list says of each path.
pub fn listed(tree: &Tree) -> BTreeMap<String, Listed> {
    files::read(&String::from_utf8(files::list(tree).unwrap()).unwrap()).unwrap()
}
