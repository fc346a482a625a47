//! The hash tree beside the image, made while the image goes by.

use super::ids;
use crate::digest::Sha256;
use anyhow::{Context, Result, bail};
use on_disk::verity::{BLOCK, Builder};
use sha2::Digest;
use std::io::Read;
use std::path::Path;

/// What was made.
pub(super) struct Sealed {
    pub image_size: u64,
    pub image_digest: Sha256,
    pub hash_tree_size: u64,
    pub root_hash: Sha256,
}

/// Bytes hashed at a time, on all processors.
pub(super) const PIECE: usize = 8 << 20;

/// Digest and hash tree of an image of which all pieces but the last are whole blocks.
pub(super) struct Hashing {
    image: sha2::Sha256,
    size: u64,
    tree: Builder,
}

impl Hashing {
    /// `identity` stands for everything the image is made of; the salt follows from it, so that hashing does not have
    /// to wait for the image's own digest.
    pub(super) fn new(identity: &Sha256) -> Hashing {
        let salt = Sha256::of(format!("bedplate verity salt {identity}"));
        Hashing { image: sha2::Sha256::new(), size: 0, tree: Builder::new(salt.bytes()) }
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        self.size += piece.len() as u64;
        rayon::join(|| self.image.update(piece), || self.tree.push(piece));
    }

    /// Writes superblock and tree to `hash_tree`.
    pub(super) fn finish(self, hash_tree: &Path) -> Result<Sealed> {
        let (image_size, image_digest) = (self.size, Sha256::from_hasher(self.image));
        if !image_size.is_multiple_of(BLOCK as u64) {
            bail!("the image has {image_size} bytes, which is no whole number of {BLOCK}-byte blocks");
        }
        let tree = self.tree.finish(ids::derived("verity", &image_digest)).context("the image is empty")?;
        std::fs::write(hash_tree, &tree.bytes).with_context(|| format!("can't write {}", hash_tree.display()))?;
        let hash_tree_size = tree.bytes.len() as u64;
        Ok(Sealed { image_size, image_digest, hash_tree_size, root_hash: Sha256::from(tree.root) })
    }
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
