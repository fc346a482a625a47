//! Tree -> [`RootImage`]: an EROFS image, its dm-verity hash tree, and the root hash that is the image's identity.
//!
//! Guarantees: equal trees, options and tools give equal bytes, on any machine; the tree is streamed, never
//! unpacked; no root, mount or loop device is needed.
#![allow(clippy::disallowed_methods, reason = "edge: writes the stage's output")]

pub mod ids;
mod image;
mod verity;

pub(crate) use verity::pieces as hash_all;

use crate::compose::tar_stream;
use crate::compose::tree::{Kind, Tree};
use crate::digest::Sha256;
use crate::progress::{Progress, Unit};
use crate::recipe::Outputs;
use crate::stage::StageKey;
use crate::store::Store;
use crate::tools::Tools;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::PathBuf;

/// Raised when equal inputs give other bytes than before.
const REVISION: u32 = 1;

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

    /// The value of `mkfs.erofs -z`.
    fn option(self) -> String {
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
/// When `mkfs.erofs` is missing or fails, a file's content can't be read, or the store can't be written.
pub fn seal(
    tree: &Tree,
    compression: Compression,
    snapshot: i64,
    tools: &Tools,
    store: &Store,
    progress: &Progress,
) -> Result<RootImage> {
    let tree_digest = tree.digest();
    let key = StageKey::new("seal", REVISION)
        .with("tree", tree_digest)
        .with("compression", compression.option())
        .with("snapshot", snapshot)
        .with("tools", tools.digest());
    let output = store.output(&key, |folder| {
        let size = tree.iter().map(|(_, entry)| content_size(&entry.kind)).sum();
        let task = progress.task("sealing the root", size, Unit::Bytes);
        let image = folder.join(IMAGE);
        let options = image::Options { compression, snapshot, uuid: ids::derived("erofs", &key.digest()) };
        image::make(&tools.tool("mkfs.erofs")?, &image, &options, folder, |out| {
            let counted = Counted { out, task: &task };
            tar_stream::write(tree, snapshot, counted).map_err(|e| io::Error::other(format!("{e:#}")))
        })?;
        let sealed = verity::make(&image, &folder.join(HASH_TREE))?;
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

fn content_size(kind: &Kind) -> u64 {
    match kind {
        Kind::File(content) => content.size(),
        _ => 0,
    }
}

/// Counts what goes by.
struct Counted<'a> {
    out: &'a mut dyn Write,
    task: &'a crate::progress::Task,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.task.add(n as u64);
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
