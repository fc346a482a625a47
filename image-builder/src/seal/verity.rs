//! The hash tree beside the image.

use super::ids;
use crate::digest::Sha256;
use anyhow::{Context, Result, bail};
use on_disk::verity::{BLOCK, Builder};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What was made.
pub(super) struct Sealed {
    pub image_size: u64,
    pub image_digest: Sha256,
    pub hash_tree_size: u64,
    pub root_hash: Sha256,
}

/// Bytes read at a time; hashed on all processors.
const PIECE: usize = 16 << 20;

/// Hashes the image and writes superblock and tree to `hash_tree`.
pub(super) fn make(image: &Path, hash_tree: &Path) -> Result<Sealed> {
    let open = || File::open(image).with_context(|| format!("can't read {}", image.display()));
    // Salt and UUID follow from the image, so it is read once before it is hashed.
    let (image_digest, image_size) = Sha256::of_reader(open()?)?;
    if image_size == 0 || !image_size.is_multiple_of(BLOCK as u64) {
        bail!("{} has {image_size} bytes, which is no whole number of {BLOCK}-byte blocks", image.display());
    }
    let salt = Sha256::of(format!("bedplate verity salt {image_digest}"));
    let uuid = ids::derived("verity", &image_digest);
    let tree = pieces(open()?, Builder::new(salt.bytes()))
        .with_context(|| format!("can't read {}", image.display()))?
        .finish(uuid)
        .context("the image is empty")?;
    std::fs::write(hash_tree, &tree.bytes).with_context(|| format!("can't write {}", hash_tree.display()))?;
    let hash_tree_size = tree.bytes.len() as u64;
    Ok(Sealed { image_size, image_digest, hash_tree_size, root_hash: Sha256::from(tree.root) })
}

/// Gives everything the reader has to the builder, a piece at a time.
pub(crate) fn pieces(mut reader: impl Read, mut builder: Builder) -> std::io::Result<Builder> {
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        piece.clear();
        reader.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(builder);
        }
        builder.push(&piece);
    }
}
