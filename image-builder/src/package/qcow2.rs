//! `disk.qcow2`: the disk image for QEMU and for clouds, made by qemu-img and kept in the store.
//!
//! Clusters are allocated in the order of the disk and only for data, by one writer, so the same disk gives the same
//! bytes; nothing is compressed, as the root is already.

use super::manifest::FileSum;
use super::{Inputs, Layout, name, sparse};
use crate::digest::Sha256;
use crate::progress::Progress;
use crate::stage::StageKey;
use crate::store::Store;
use crate::tools::Tools;
use anyhow::{Context, Result};
use std::fs::File;
use std::path::Path;

/// Raised when equal inputs give other bytes than before.
const REVISION: u32 = 1;

/// Makes it of the folder's disk image, or takes what the store has of the same.
pub(super) fn write(
    inputs: &Inputs,
    folder: &Path,
    tools: &Tools,
    store: &Store,
    progress: &Progress,
) -> Result<FileSum> {
    let layout = Layout::new(&inputs.recipe.output, inputs.root)?;
    let key = StageKey::new("qcow2", REVISION)
        .with("tools", tools.digest())
        .with("layout", format!("{:?}", layout.table()))
        .with("root", inputs.root.image_digest)
        .with("root hash", inputs.root.root_hash)
        .with("uki", Sha256::of(inputs.uki.image().bytes()))
        .with("snapshot", inputs.lock.snapshot);
    let output = store.output(&key, |to| {
        progress.say("converting the disk image");
        let convert = tools.tool("qemu-img")?.command().args(["convert", "-f", "raw", "-O", "qcow2"]);
        let convert = convert.args(["-o", "compat=1.1,cluster_size=65536,lazy_refcounts=off", "-m", "1"]);
        let convert = convert.arg(folder.join(name::DISK)).arg(to.join(name::QCOW2));
        convert.run().map(drop).context("the disk image can't be converted")
    })?;
    let path = folder.join(name::QCOW2);
    let failed = || format!("can't write {}", path.display());
    let file = File::create_new(&path).with_context(failed)?;
    sparse::copy_all(&output.file(name::QCOW2), &file, 0).with_context(failed)?;
    let key = StageKey::new("qcow2-digest", REVISION).with("of", key.digest());
    let (sha256, size) = sparse::digest_by(&key, &path, store)?;
    Ok(FileSum { size, sha256 })
}
