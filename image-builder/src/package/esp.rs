//! The EFI system partition, written in place by mtools: FAT32 with fixed serial number and times.

use super::Layout;
use crate::digest::Sha256;
use crate::tools::Tools;
use anyhow::{Context, Result};
use run_tool::Command;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Bytes of a sector.
const SECTOR: u64 = 512;

/// Formats the layout's ESP in the image `disk` and copies files into it, each with its folders.
pub(super) fn write(
    disk: &Path,
    layout: &Layout,
    files: &[(String, PathBuf)],
    snapshot: i64,
    tools: &Tools,
) -> Result<()> {
    let esp = layout.esp();
    let image = format!("{}@@{}", disk.display(), esp.start);
    let run = |name: &str, prepare: &dyn Fn(Command) -> Command| -> Result<()> {
        // One program with many names; the loader of the tools tree does not keep the name it is called by.
        let command = tools
            .tool("mtools")?
            .command()
            .args(["-c", name])
            .env("SOURCE_DATE_EPOCH", snapshot.max(0).to_string())
            // No settings of the host's.
            .env("MTOOLSRC", "/dev/null")
            .env("HOME", "/nonexistent")
            .args(["-i", &image]);
        prepare(command).run().map(drop).context("the EFI system partition can't be written")
    };
    let serial = Sha256::of(format!("esp serial {}", esp.guid)).to_string();
    run("mformat", &|c| {
        c.args(["-F", "-v", "BEDPLATEESP", "-N", &serial[..8]])
            // A geometry without meaning, but a fixed one.
            .args(["-h", "255", "-s", "63", "-c", "8"])
            .args(["-T", &(esp.size / SECTOR).to_string()])
            .args(["-H", &(esp.start / SECTOR).to_string()])
            .arg("::")
    })?;
    let mut folders = BTreeSet::new();
    for (path, _) in files {
        folders.extend(path.match_indices('/').map(|(at, _)| &path[..at]));
    }
    for folder in folders {
        run("mmd", &|c| c.arg(format!("::/{folder}")))?;
    }
    for (path, from) in files {
        run("mcopy", &|c| c.arg(from).arg(format!("::/{path}")))?;
    }
    Ok(())
}
