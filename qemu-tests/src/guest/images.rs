//! EROFS images on the guest's disks, each with the list of the tree that the host sealed into it.
//!
//! ```text
//! image    text of the list    zeros to a whole MiB, the last 16 bytes being the sizes of the two
//! ```
#![allow(clippy::disallowed_methods, reason = "edge: writes disk files of tests")]

use crate::trees;
use anyhow::{Context, Result};
use image_builder::package::files::{self, Listed};
use image_builder::progress::Progress;
use image_builder::qemu::Disk;
use image_builder::seal::{Compression, seal};
use image_builder::store::Store;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Serial number of the disk with each compression.
pub const IMAGES: [(&str, Compression); 2] = [("EROFS-ZSTD", Compression::Zstd(3)), ("EROFS-LZ4", Compression::Lz4)];

/// Random trees in one image: enough that every kind of entry is there.
const TREES: usize = 4;
const MIB: u64 = 1 << 20;

/// Seals the trees and makes the disks in `folder`.
///
/// # Errors
/// When a file can't be made.
pub(super) fn make(folder: &Path) -> Result<Vec<Disk>> {
    let store = tempfile::tempdir_in(folder)?;
    let (tree, store) = (trees::some_trees(TREES), Store::open(store.path())?);
    let list = files::list(&tree)?;
    IMAGES
        .iter()
        .map(|(serial, compression)| {
            let root = seal(&tree, *compression, trees::TIME, &store, &Progress::silent())?;
            let (image, length) = (root.image_size, list.len() as u64);
            let size = (image + length + 16).next_multiple_of(MIB);
            let disk = Disk::blank(&folder.join(serial), size, serial)?;
            let file = File::options().write(true).open(&disk.file)?;
            file.write_all_at(&std::fs::read(&root.image)?, 0)?;
            file.write_all_at(&list, image)?;
            file.write_all_at(&[image, length].map(u64::to_le_bytes).concat(), size - 16)?;
            Ok(disk)
        })
        .collect()
}

/// The list on a disk of this size.
///
/// # Errors
/// When it can't be read.
pub fn list(disk: &Path, size: u64) -> Result<BTreeMap<String, Listed>> {
    let file = File::open(disk)?;
    let mut sizes = [0; 16];
    file.read_exact_at(&mut sizes, size - 16)?;
    let (numbers, _) = sizes.as_chunks::<8>();
    let [image, length] = [0, 1].map(|i| u64::from_le_bytes(numbers[i]));
    let mut text = vec![0; usize::try_from(length)?];
    file.read_exact_at(&mut text, image)?;
    files::read(std::str::from_utf8(&text).context("the list is no text")?)
}
