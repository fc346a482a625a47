//! Small files on the state partition, readable by root alone.
#![allow(clippy::disallowed_methods, reason = "edge: writes the agent's own files on the state partition")]

use anyhow::{Context, Result};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Writes the file, so that after a power cut the old one or the new one is there as a whole. Makes its folder.
///
/// # Errors
/// When the state partition can't be written.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file in no folder")?;
    let new = folder.join("new");
    let write = || -> std::io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("{} can't be written", path.display()))
}
