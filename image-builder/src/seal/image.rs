//! The EROFS image, made by `mkfs.erofs` from a tar stream.

use super::Compression;
use anyhow::{Context, Result, bail};
use on_disk::erofs;
use run_tool::Tool;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use uuid::Uuid;

/// What the image depends on beside the tree.
pub(super) struct Options {
    pub compression: Compression,
    /// Time of the file system and of every inode.
    pub snapshot: i64,
    pub uuid: Uuid,
}

/// Size of a compressed cluster in bytes.
const CLUSTER: u32 = 64 << 10;

/// Makes the image; `feed` writes the tar stream. `scratch` takes the tool's own temporary file.
pub(super) fn make(
    mkfs: &Tool,
    image: &Path,
    options: &Options,
    scratch: &Path,
    feed: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send,
) -> Result<()> {
    mkfs.require_version("--version", &[1, 8])?;
    // The number of workers does not change the bytes, but having none does; so it is never left to the tool.
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    mkfs.command()
        // Left behind by a killed builder it would wait for the rest of its stream, and turn in circles.
        .ends_with_starter()
        .env("TMPDIR", scratch)
        .args(["--quiet", "-b4096", "--all-time", "--tar=f"])
        .arg(format!("--workers={workers}"))
        .arg(format!("-z{}", options.compression.option()))
        .arg(format!("-C{CLUSTER}"))
        .arg(format!("-T{}", options.snapshot))
        .arg(format!("-U{}", options.uuid))
        .arg(image)
        .run_with(|stdin| {
            let mut stdin = BufWriter::with_capacity(1 << 18, stdin);
            feed(&mut stdin)?;
            stdin.flush()
        })
        .context("the root image can't be made")?;
    check(image, options)
}

/// The tool ends with 0 on some streams that it did not read to their end, so its work is looked at.
fn check(image: &Path, options: &Options) -> Result<()> {
    let named = || format!("the root image {}", image.display());
    let file = std::fs::File::open(image).with_context(named)?;
    let size = file.metadata().with_context(named)?.len();
    let mut begin = Vec::new();
    file.take(erofs::NEEDED as u64).read_to_end(&mut begin).with_context(named)?;
    let superblock =
        erofs::Superblock::parse(&begin).map_err(|why| anyhow::anyhow!("mkfs.erofs failed: its image {why}"))?;
    if superblock.size != size || superblock.uuid != options.uuid || superblock.block_size != 4096 {
        bail!("mkfs.erofs failed: its image of {size} bytes says {superblock:?}");
    }
    Ok(())
}
