//! Sealing with the real `mkfs.erofs`, judged by `fsck.erofs` and `veritysetup`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test with a folder of its own")]

use crate::tools;
use image_builder::compose::tree::{Content, Entry, Kind, Origin, Tree, TreePath};
use image_builder::digest::Sha256;
use image_builder::progress::Progress;
use image_builder::seal::{Compression, RootImage, seal};
use image_builder::store::Store;
use image_builder::tools::Tools;
use std::collections::BTreeMap;
use std::sync::Arc;

fn tree() -> Tree {
    let mut tree = Tree::new();
    let mut put = |path: &str, kind, mode, uid| {
        let origin = Origin::Emulation("test".into());
        let entry = Entry { kind, mode, uid, gid: uid, xattrs: BTreeMap::new(), origin };
        tree.insert(TreePath::new(path).unwrap(), entry);
    };
    put("/", Kind::Directory, 0o755, 0);
    put("/usr", Kind::Directory, 0o755, 0);
    let large: Vec<u8> = (0..3_000_000u32).flat_map(|i| (i / 3).to_le_bytes()).collect();
    put("/usr/large", Kind::File(Content::bytes(large)), 0o4755, 0);
    put("/usr/small", Kind::File(Content::bytes(*b"hello\n")), 0o640, 70_000);
    put("/lib", Kind::Symlink("usr/lib".into()), 0o777, 0);
    tree
}

fn sealed(store: &Store, compression: Compression) -> RootImage {
    let progress = Progress::silent();
    seal(&tree(), compression, 1_700_000_000, &tools(), store, &progress).unwrap()
}

pub fn sound_and_the_same() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for compression in [Compression::Zstd(3), Compression::Lz4] {
        let a = sealed(&Store::open(one.path()).unwrap(), compression);
        let b = sealed(&Store::open(two.path()).unwrap(), compression);
        assert_eq!(std::fs::read(&a.image).unwrap(), std::fs::read(&b.image).unwrap());
        assert_eq!(a.root_hash, b.root_hash);
        tools().tool("fsck.erofs").unwrap().command().arg(&a.image).run().unwrap();
        let verify = |hash: String| {
            let veritysetup = tools().tool("veritysetup").unwrap();
            veritysetup.command().arg("verify").arg(&a.image).arg(&a.hash_tree).arg(hash).run()
        };
        verify(a.root_hash.to_string()).unwrap();
        verify(Sha256::of("other").to_string()).unwrap_err();
    }
}

pub fn second_run() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let first = sealed(&store, Compression::Lz4);
    // A tools tree without any tool: sealing again would fail.
    let no_tools = Tools::unpacked(folder.path(), tools().digest());
    let again = seal(&tree(), Compression::Lz4, 1_700_000_000, &no_tools, &store, &Progress::silent()).unwrap();
    assert_eq!(first, again);
}

pub fn unreadable_content() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let gone = Arc::new(folder.path().join("gone"));
    let content = Content::Slice { file: gone, offset: 0, size: 5, digest: Sha256::of("gone") };
    let mut broken = tree();
    broken.iter_mut().find(|(path, _)| path.as_str() == "/usr/small").unwrap().1.kind = Kind::File(content);
    let error = seal(&broken, Compression::Lz4, 0, &tools(), &store, &Progress::silent()).unwrap_err();
    assert!(format!("{error:#}").contains("gone"), "{error:#}");
    sealed(&store, Compression::Lz4);
}
