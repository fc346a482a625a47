//! What is found in a folder that should hold a tree: every path's kind, owner, mode, time, attributes, links and
//! SHA-256.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a part of tests, which reads folders of theirs")]

use crate::trees::TIME;
use image_builder::digest::Sha256;
use image_builder::package::files::{Listed, ListedKind};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// What a folder is compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Everything the kernel shows of the image.
    Mounted,
    /// What `fsck.erofs --extract` brings to another file system: no attributes, no modes of links.
    Extracted,
}

/// Compares a folder with the list of a tree: every path, and no others.
///
/// # Panics
/// With the first difference.
pub fn check(list: &BTreeMap<String, Listed>, folder: &Path, sight: Sight) {
    let mut missing: BTreeSet<&str> = list.keys().map(String::as_str).collect();
    let mut names: BTreeMap<&str, u64> = BTreeMap::new();
    for listed in list.values() {
        *names.entry(file_of(listed)).or_default() += 1;
    }
    let mut inodes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut todo = vec![String::new()];
    while let Some(at) = todo.pop() {
        let real = folder.join(at.trim_start_matches('/'));
        let found = std::fs::symlink_metadata(&real).unwrap();
        if found.is_dir() {
            let names =
                std::fs::read_dir(&real).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            todo.extend(names.map(|name| format!("{at}/{name}")));
        }
        let at = if at.is_empty() { "/" } else { &at };
        assert!(missing.remove(at), "{at} is not in the tree");
        let named = file_of(&list[at]);
        let listed = &list[named];
        if listed.kind == ListedKind::File {
            assert_eq!(found.nlink(), names[named], "links of {at}");
            let first = *inodes.entry(named).or_insert(found.ino());
            assert_eq!(first, found.ino(), "inode of {at}");
            if named != at {
                continue;
            }
        }
        one(at, listed, &real, &found, sight);
    }
    assert!(missing.is_empty(), "not found: {missing:?}");
}

/// Path of the file that a hard link is another name of; else the path itself.
fn file_of(listed: &Listed) -> &str {
    match (listed.kind, &listed.target) {
        (ListedKind::Hardlink, Some(target)) => target,
        _ => &listed.path,
    }
}

fn one(at: &str, listed: &Listed, real: &Path, found: &std::fs::Metadata, sight: Sight) {
    let kind = found.file_type();
    let device = listed.device.map(|(major, minor)| nix::sys::stat::makedev(major.into(), minor.into()));
    let right = match listed.kind {
        ListedKind::File => {
            assert_eq!(Some(found.size()), listed.size, "size of {at}");
            kind.is_file() && Some(Sha256::of_reader(std::fs::File::open(real).unwrap()).unwrap().0) == listed.sha256
        }
        ListedKind::Directory => kind.is_dir(),
        ListedKind::Symlink => {
            kind.is_symlink() && std::fs::read_link(real).unwrap().to_str() == listed.target.as_deref()
        }
        ListedKind::CharacterDevice => kind.is_char_device() && Some(found.rdev()) == device,
        ListedKind::BlockDevice => kind.is_block_device() && Some(found.rdev()) == device,
        ListedKind::Fifo => kind.is_fifo(),
        ListedKind::Socket => kind.is_socket(),
        ListedKind::Hardlink => false,
    };
    assert!(right, "{at} is {kind:?} or has other content");
    assert_eq!((found.uid(), found.gid()), (listed.uid, listed.gid), "owner of {at}");
    if sight == Sight::Mounted || !kind.is_symlink() {
        assert_eq!(found.permissions().mode() & 0o7777, listed.mode, "mode of {at}");
    }
    if sight == Sight::Mounted {
        assert_eq!((found.mtime(), found.mtime_nsec()), (TIME, 0), "time of {at}");
        let name = |name: std::ffi::OsString| name.into_string().unwrap();
        let value = |name: String| (name.clone(), hex::encode(xattr::get(real, &name).unwrap().unwrap()));
        let xattrs: BTreeMap<String, String> = xattr::list(real).unwrap().map(name).map(value).collect();
        assert!(xattrs == listed.xattrs.iter().cloned().collect(), "attributes of {at}: {:?}", xattrs.keys());
    }
}
