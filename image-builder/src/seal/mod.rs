//! Tree -> [`RootImage`]: an EROFS image, its dm-verity hash tree, and the root hash that is the image's identity.
//!
//! ```text
//! contents -cluster-> packed, in the store
//! tree, packed -layout-> metadata and the order of contents -image-> image and hash tree
//! ```
//!
//! Guarantees: equal trees and options give equal bytes, on any machine and any number of processors; a content is
//! compressed once for all images; it is never in memory as a whole nor unpacked; no tool, root, mount or loop device
//! is needed.
#![allow(clippy::disallowed_methods, reason = "edge: writes the stage's output")]

mod cluster;
mod codec;

pub mod ids;
mod image;
mod layout;
mod nodes;
#[cfg(test)]
mod samples;
mod segment;
mod space;
mod verity;

pub(crate) use verity::pieces as hash_all;

use crate::compose::tree::Tree;
use crate::digest::Sha256;
use crate::progress::{Progress, Unit};
use crate::recipe::Outputs;
use crate::stage::StageKey;
use crate::store::Store;
use anyhow::{Context, Result, bail};
use cluster::Clusters;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Raised when equal inputs give other bytes than before.
const REVISION: u32 = 2;

/// How the root is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// zstd at this level, 0 to 22.
    Zstd(u32),
    /// LZ4, which has no levels.
    Lz4,
}

impl Compression {
    /// As the recipe asks for.
    ///
    /// # Errors
    /// When the recipe names another compression, or a level that it does not have.
    pub fn from_recipe(output: &Outputs) -> Result<Compression> {
        match (output.compression.as_str(), u32::try_from(output.level)) {
            ("zstd", Ok(level @ 0..=22)) => Ok(Compression::Zstd(level)),
            ("zstd", _) => bail!("output.level is {}; zstd has levels 0 to 22", output.level),
            ("lz4", _) => Ok(Compression::Lz4),
            (other, _) => bail!("output.compression is {other:?}; write \"zstd\" or \"lz4\""),
        }
    }

    /// As `mkfs.erofs -z` takes it.
    pub fn option(self) -> String {
        match self {
            Compression::Zstd(level) => format!("zstd,level={level}"),
            Compression::Lz4 => "lz4".into(),
        }
    }
}

/// A sealed root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootImage {
    /// The EROFS image.
    pub image: PathBuf,
    /// Its size in bytes, a whole number of 4096-byte blocks.
    pub image_size: u64,
    /// Its digest.
    pub image_digest: Sha256,
    /// The verity superblock and hash tree.
    pub hash_tree: PathBuf,
    /// Its size in bytes.
    pub hash_tree_size: u64,
    /// dm-verity root hash over salt and image: the image's identity.
    pub root_hash: Sha256,
}

/// What the cached output remembers beside the two files.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    image_size: u64,
    image_digest: Sha256,
    hash_tree_size: u64,
    root_hash: Sha256,
}

/// Seals a tree, or takes what the store has of it. `snapshot` is the time of every inode, in seconds since 1970.
///
/// # Errors
/// When the tree has what EROFS can't hold, a file's content can't be read, or the store can't be written.
pub fn seal(
    tree: &Tree,
    compression: Compression,
    snapshot: i64,
    store: &Store,
    progress: &Progress,
) -> Result<RootImage> {
    let key = StageKey::new("seal", REVISION)
        .with("tree", tree.digest())
        .with("clusters", cluster::key(compression).digest())
        .with("snapshot", snapshot);
    let output = store.output(&key, |folder| {
        let contents = layout::contents(tree);
        let size = contents.iter().map(|(_, content)| content.size()).sum();
        let task = progress.task("sealing the root", size, Unit::Bytes);
        let clusters = Clusters::open(store, compression)?;
        let packed = clusters.pack(&contents, &task)?;
        let uuid = ids::derived("erofs", &key.digest());
        let options = layout::Options { algorithm: compression.algorithm(), snapshot, uuid };
        let layout = layout::lay_out(tree, &packed, &options)?;
        let hashing = verity::Hashing::new(&key.digest());
        let sealed = image::write(&layout, &clusters, hashing, &folder.join(IMAGE), &folder.join(HASH_TREE))?;
        let record = Record {
            image_size: sealed.image_size,
            image_digest: sealed.image_digest,
            hash_tree_size: sealed.hash_tree_size,
            root_hash: sealed.root_hash,
        };
        std::fs::write(folder.join(RECORD), serde_json::to_vec_pretty(&record)?)
            .with_context(|| format!("can't write {}", folder.join(RECORD).display()))
    })?;
    let record: Record = std::fs::read(output.file(RECORD))
        .map_err(anyhow::Error::from)
        .and_then(|bytes| Ok(serde_json::from_slice(&bytes)?))
        .with_context(|| format!("the store's {} can't be read", output.file(RECORD).display()))?;
    Ok(RootImage {
        image: output.file(IMAGE),
        image_size: record.image_size,
        image_digest: record.image_digest,
        hash_tree: output.file(HASH_TREE),
        hash_tree_size: record.hash_tree_size,
        root_hash: record.root_hash,
    })
}

const IMAGE: &str = "root.erofs";
const HASH_TREE: &str = "root.verity";
const RECORD: &str = "root.json";
