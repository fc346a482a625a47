//! Sealing, judged by `fsck.erofs`, `veritysetup` and this machine's kernel, and measured against `mkfs.erofs`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test with a folder of its own")]

use crate::tools;
use image_builder::compose::tar_stream;
use image_builder::compose::tree::{Content, Kind, Tree};
use image_builder::digest::Sha256;
use image_builder::progress::Progress;
use image_builder::seal::{Compression, RootImage, seal};
use image_builder::store::Store;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use proptest::test_runner::{Config, TestRunner};
use qemu_tests::sight::{Sight, check};
use qemu_tests::trees::{self, TIME, listed, put};
use std::io::{Error, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const BOTH: [Compression; 2] = [Compression::Zstd(3), Compression::Lz4];

fn tree() -> Tree {
    let mut tree = Tree::new();
    put(&mut tree, "/", Kind::Directory, 0o755, 0);
    put(&mut tree, "/usr", Kind::Directory, 0o755, 0);
    let large: Vec<u8> = (0..3_000_000u32).flat_map(|i| (i / 3).to_le_bytes()).collect();
    put(&mut tree, "/usr/large", Kind::File(Content::bytes(large)), 0o4755, 0);
    put(&mut tree, "/usr/small", Kind::File(Content::bytes(*b"hello\n")), 0o640, 70_000);
    put(&mut tree, "/lib", Kind::Symlink("usr/lib".into()), 0o777, 0);
    tree
}

fn sealed(tree: &Tree, store: &Store, compression: Compression) -> RootImage {
    seal(tree, compression, TIME, store, &Progress::silent()).unwrap()
}

/// The programs of the tools tree and their libraries, as a tree.
fn programs() -> Tree {
    let mut tree = Tree::new();
    for folder in ["usr/bin", "usr/sbin", "usr/share/perl/5.40.1"] {
        let mut todo = vec![tools().root().join(folder)];
        while let Some(at) = todo.pop() {
            for entry in std::fs::read_dir(at).into_iter().flatten() {
                let (real, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
                if kind.is_dir() {
                    todo.push(real);
                } else if kind.is_file() {
                    let at = real.strip_prefix(tools().root()).unwrap().to_str().unwrap().to_owned();
                    put(&mut tree, &at, Kind::File(Content::of_file(&real).unwrap()), 0o755, 0);
                }
            }
        }
    }
    tree
}

pub fn sound_and_the_same() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for compression in BOTH {
        let a = sealed(&tree(), &Store::open(one.path()).unwrap(), compression);
        let b = sealed(&tree(), &Store::open(two.path()).unwrap(), compression);
        assert_eq!(std::fs::read(&a.image).unwrap(), std::fs::read(&b.image).unwrap());
        assert_eq!(a.root_hash, b.root_hash);
        tools().tool("fsck.erofs").unwrap().command().arg(&a.image).run().unwrap();
        let veritysetup = |verb: &str| tools().tool("veritysetup").unwrap().command().arg(verb);
        let verify = |hash: String| veritysetup("verify").arg(&a.image).arg(&a.hash_tree).arg(hash).run();
        verify(a.root_hash.to_string()).unwrap();
        verify(Sha256::of("other").to_string()).unwrap_err();
        // The very file that veritysetup writes for this salt and UUID.
        let ours = std::fs::read(&a.hash_tree).unwrap();
        let superblock = on_disk::verity::Superblock::parse(&ours).unwrap();
        let theirs = one.path().join("theirs");
        let salt: String = superblock.salt.iter().map(|byte| format!("{byte:02x}")).collect();
        let options = [format!("--salt={salt}"), format!("--uuid={}", superblock.uuid)];
        veritysetup("format").args(options).arg(&a.image).arg(&theirs).run().unwrap();
        assert_eq!(std::fs::read(&theirs).unwrap(), ours);
    }
}

pub fn second_run() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let first = sealed(&tree(), &store, Compression::Lz4);
    // Without what contents became, sealing again would write it anew.
    std::fs::remove_dir_all(folder.path().join("part")).unwrap();
    assert_eq!(sealed(&tree(), &store, Compression::Lz4), first);
    assert!(!folder.path().join("part").exists());
}

pub fn unreadable_content() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let gone = Arc::new(folder.path().join("gone"));
    let content = Content::Slice { file: gone, offset: 0, size: 5, digest: Sha256::of("gone") };
    let mut broken = tree();
    broken.iter_mut().find(|(path, _)| path.as_str() == "/usr/small").unwrap().1.kind = Kind::File(content);
    let error = seal(&broken, Compression::Lz4, 0, &store, &Progress::silent()).unwrap_err();
    assert!(format!("{error:#}").contains("gone"), "{error:#}");
    sealed(&tree(), &store, Compression::Lz4);
}

/// In another image, and by two builds at a time.
pub fn packed_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let file = fresh.path().join("file");
    std::fs::write(&file, (0..500_000u32).flat_map(|i| (i / 5).to_le_bytes()).collect::<Vec<_>>()).unwrap();
    let mut tree = tree();
    put(&mut tree, "/usr/file", Kind::File(Content::of_file(&file).unwrap()), 0o644, 0);
    sealed(&tree, &store, Compression::Lz4);
    std::fs::remove_file(&file).unwrap();
    put(&mut tree, "/usr/more", Kind::File(Content::bytes(*b"more")), 0o644, 0);
    let roots: Vec<RootImage> = std::thread::scope(|scope| {
        let seal = || {
            let store = Store::open(folder.path()).unwrap();
            sealed(&tree, &store, Compression::Lz4)
        };
        let both = [scope.spawn(seal), scope.spawn(seal)];
        both.map(|thread| thread.join().unwrap()).into()
    });
    assert_eq!(roots[0], roots[1]);
    extracted(&tree, &roots[0]);
}

/// Most random trees are small: a case takes a second. `PROPTEST_CASES=2000` is for a night.
const CASES: u32 = 12;

/// Trees of every kind of entry, as `fsck.erofs` extracts them and as the kernel shows them.
pub fn any_tree_comes_back() {
    let mounts = can_mount();
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 64, ..Config::default() });
    let cases = (trees::any_tree(), proptest::bool::ANY);
    let outcome = runner.run(&cases, |(tree, lz4)| {
        let folder = tempfile::tempdir().unwrap();
        let root = sealed(&tree, &Store::open(folder.path()).unwrap(), BOTH[usize::from(lz4)]);
        extracted(&tree, &root);
        if mounts {
            mounted(&tree, &root);
        }
        Ok(())
    });
    outcome.unwrap();
}

/// And no image is larger than that of `mkfs.erofs` with the same codec, level and cluster size.
pub fn programs_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let is_no_larger = |tree: &Tree, compression: Compression| {
        let (root, theirs) = (sealed(tree, &store, compression), mkfs(tree, compression, folder.path()));
        let (ours, theirs) = (root.image_size, theirs.metadata().unwrap().len());
        eprintln!("{} entries, {}: {ours} bytes, mkfs.erofs {theirs}", tree.len(), compression.option());
        assert!(ours <= theirs);
        root
    };
    let programs = programs();
    for compression in BOTH {
        is_no_larger(&tree(), compression);
        let root = is_no_larger(&programs, compression);
        let out = tempfile::tempdir().unwrap();
        extract(&root, out.path());
        for (path, entry) in programs.iter() {
            let Kind::File(content) = &entry.kind else { continue };
            let file = out.path().join(path.as_str().trim_start_matches('/'));
            assert!(Content::of_file(&file).unwrap().digest() == content.digest(), "{path}");
        }
    }
}

pub fn many_names_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let tree = trees::large_tree();
    let root = sealed(&tree, &Store::open(folder.path()).unwrap(), Compression::Lz4);
    // Extracting makes more links than ext4 takes.
    tools().tool("fsck.erofs").unwrap().command().arg("--extract").arg(&root.image).run().unwrap();
    if can_mount() {
        mounted(&tree, &root);
    }
}

/// With islands at its begin, at 4 GiB and at its end.
pub fn a_sparse_file_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    let file = std::fs::File::create_new(&path).unwrap();
    file.set_len((4 << 30) + 10_000).unwrap();
    for at in [100, (1 << 30) - 3, (4 << 30) - 3, (4 << 30) + 9_990] {
        file.write_all_at(b"island", at).unwrap();
    }
    let mut tree = tree();
    put(&mut tree, "/usr/sparse", Kind::File(Content::of_file(&path).unwrap()), 0o600, 0);
    let root = sealed(&tree, &Store::open(&folder.path().join("store")).unwrap(), Compression::Zstd(3));
    assert!(root.image_size < 8 << 20);
    extracted(&tree, &root);
}

/// The image that `mkfs.erofs` makes, in this folder.
fn mkfs(tree: &Tree, compression: Compression, folder: &Path) -> PathBuf {
    let image = folder.join(format!("mkfs-{}", compression.option()));
    let command = tools().tool("mkfs.erofs").unwrap().command();
    let command = command.env("TMPDIR", folder).args(["--quiet", "-b4096", "--all-time", "--tar=f", "-C65536"]);
    let command = command.args([format!("-z{}", compression.option()), format!("-T{TIME}"), "--workers=2".into()]);
    let stream = |out: &mut dyn Write| tar_stream::write(tree, TIME, out).map_err(|e| Error::other(format!("{e:#}")));
    command.arg(&image).run_with(|stdin| stream(stdin)).unwrap();
    image
}

fn extract(root: &RootImage, to: &Path) {
    let fsck = tools().tool("fsck.erofs").unwrap().command();
    fsck.arg(format!("--extract={}", to.display())).arg("--overwrite").arg(&root.image).run().unwrap();
}

fn mounted(tree: &Tree, root: &RootImage) {
    let mounted = Mounted::new(&root.image).unwrap();
    check(&listed(tree), mounted.folder.path(), Sight::Mounted);
}

/// As root only: others can't make devices and give files away.
fn extracted(tree: &Tree, root: &RootImage) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    extract(root, &out);
    if nix::unistd::geteuid().is_root() {
        check(&listed(tree), &out, Sight::Extracted);
    }
}

/// Whether this machine mounts what `mkfs.erofs` makes with both codecs.
fn can_mount() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mounts = |compression: &Compression| Mounted::new(&mkfs(&tree(), *compression, folder.path())).is_ok();
    let can = nix::unistd::geteuid().is_root() && BOTH.iter().all(mounts);
    if !can {
        eprintln!("this machine does not mount EROFS with zstd: it takes root, loop devices and Linux 6.10");
    }
    can
}

/// An image that is mounted, until this is dropped.
struct Mounted {
    folder: tempfile::TempDir,
}

impl Mounted {
    fn new(image: &Path) -> anyhow::Result<Mounted> {
        let folder = tempfile::tempdir()?;
        let device = loopdev::LoopControl::open()?.next_free()?;
        device.with().read_only(true).autoclear(true).attach(image)?;
        let path = device.path().ok_or_else(|| anyhow::anyhow!("the loop device has no path"))?;
        mount(Some(&path), folder.path(), Some("erofs"), MsFlags::MS_RDONLY, None::<&str>)?;
        Ok(Mounted { folder })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(self.folder.path(), MntFlags::MNT_DETACH);
    }
}
