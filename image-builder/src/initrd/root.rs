//! The root inside the initrd: a third archive, behind the other two, that is never in memory as a whole.
//!
//! It is not compressed: the EROFS in it is. Pure but for the paths it carries.

use super::cpio;
use crate::seal::RootImage;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Where stage 1 finds the EROFS and its hash tree; the same in `firstboot::stage1::embedded`.
pub const IMAGE: &str = "/root.erofs";
/// Where stage 1 finds the hash tree.
pub const HASH_TREE: &str = "/root.verity";

/// A part of a file that is being put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// All of a file, of this size.
    File(PathBuf, u64),
}

impl Piece {
    /// Bytes of it.
    pub fn size(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::File(_, size) => *size,
        }
    }
}

/// The archive of a root, its size a multiple of 4; its entries carry the time `snapshot`.
///
/// # Errors
/// When the root has more than the 4 GiB that an entry can have.
pub fn archive(root: &RootImage, snapshot: i64) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let files = [(IMAGE, &root.image, root.image_size), (HASH_TREE, &root.hash_tree, root.hash_tree_size)];
    for (inode, (path, file, size)) in (1..).zip(files) {
        let header = cpio::header(path, 0o444, inode, snapshot, size);
        pieces.push(Piece::Bytes(header.context("the root does not fit into an initrd")?));
        pieces.push(Piece::File(file.clone(), size));
        // Whole blocks of 4096 bytes: nothing fills them up.
        anyhow::ensure!(size.is_multiple_of(4), "{} is no whole number of blocks", file.display());
    }
    pieces.push(Piece::Bytes(cpio::header("TRAILER!!!", 0, 0, 0, 0)?));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;

    #[test]
    fn the_root_comes_back_from_its_archive() {
        let root = RootImage {
            image: "i".into(),
            image_size: 8192,
            image_digest: Sha256::of("i"),
            hash_tree: "h".into(),
            hash_tree_size: 4096,
            root_hash: Sha256::of("r"),
        };
        let mut bytes = Vec::new();
        for piece in archive(&root, 1_700_000_000).unwrap() {
            assert!(bytes.len() % 4 == 0);
            match piece {
                Piece::Bytes(more) => bytes.extend(more),
                Piece::File(path, size) => {
                    bytes.resize(bytes.len() + size as usize, path.to_str().unwrap().as_bytes()[0])
                }
            }
        }
        let mut rest = &bytes[..];
        for (path, mode, content) in
            [("root.erofs", 0o100_444, vec![b'i'; 8192]), ("root.verity", 0o100_444, vec![b'h'; 4096])]
        {
            let reader = ::cpio::newc::Reader::new(rest).unwrap();
            assert_eq!(
                (reader.entry().name(), reader.entry().mode(), reader.entry().mtime()),
                (path, mode, 1_700_000_000)
            );
            let mut found = Vec::new();
            rest = reader.to_writer(&mut found).unwrap();
            assert!(found == content);
        }
        let end = ::cpio::newc::Reader::new(rest).unwrap();
        assert!(end.entry().is_trailer());
        assert_eq!(bytes.len() % 4, 0);
    }
}
