//! A configuration on a volume labelled `BEDPLATE`, as a person would hand it over on a USB stick.
#![allow(clippy::disallowed_methods, reason = "edge: makes the volume's file")]

use crate::tools::Tools;
use anyhow::{Context, Result};
use std::path::Path;

/// The label the agent looks for.
pub const LABEL: &str = "BEDPLATE";
/// The file in it that is the configuration.
pub const FILE: &str = "bedplate.toml";
/// Size of the volume in bytes.
pub const SIZE: u64 = 1 << 20;

/// Makes an empty 1 MiB FAT volume in `volume` (a whole disk, no partition table).
///
/// # Errors
/// When the file can't be made, or mtools fail.
pub fn make(tools: &Tools, volume: &Path) -> Result<()> {
    std::fs::File::create(volume)
        .and_then(|f| f.set_len(SIZE))
        .with_context(|| format!("the volume {} can't be made", volume.display()))?;
    // 1 MiB is 2048 sectors: 64 sectors on each of 2 heads of 16 cylinders.
    tools
        .tool("mtools")?
        .command()
        .args(["-c", "mformat", "-t", "16", "-h", "2", "-s", "64", "-v", LABEL, "-N", "bedb1a7e", "-i"])
        .arg(volume)
        .arg("::")
        .run()?;
    Ok(())
}

/// Copies `file` onto the volume, as `name`; [`FILE`] is what a configuration is called.
///
/// # Errors
/// When mtools fail, as with a file that does not fit.
pub fn put(tools: &Tools, volume: &Path, file: &Path, name: &str) -> Result<()> {
    let mtools = tools.tool("mtools")?;
    mtools.command().args(["-c", "mcopy", "-i"]).arg(volume).arg(file).arg(format!("::/{name}")).run()?;
    Ok(())
}
