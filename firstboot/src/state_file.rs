//! Small files on the state partition, readable by root alone.
#![allow(clippy::disallowed_methods, reason = "edge: writes the agent's own files on the state partition")]

use anyhow::{Context, Result};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Writes the file, so that after a power cut the old one or the new one is there as a whole, and when this returns the new
/// one. Makes its folder. Files beside it may be written at the same time.
///
/// # Errors
/// When the state partition can't be written. Then the old file is there, or the new one if only that could not be made
/// sure of.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file in no folder")?;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let written = make_folder(folder).and_then(|()| {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    });
    if written.is_err() {
        // On a full partition the half that was written would keep others from being.
        let _ = fs::remove_file(&new);
    }
    written.and_then(|()| sync_folder(folder)).with_context(|| format!("{} can't be written", path.display()))
}

/// Makes a folder and those above it; each new one is known to the one above when this returns.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(above) = folder.parent() else { return Ok(()) };
    make_folder(above)?;
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    sync_folder(above)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}
