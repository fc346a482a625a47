//! Starting an array that has its journal on a disk of its own.
//!
//! By the kernel alone, through sysfs (Documentation/admin-guide/md.rst): mdadm takes no journal whose superblock has
//! an event more than those of the members (its Assemble.c), unless it is forced, and a power cut leaves one whenever
//! the journal's was written first. The kernel writes them all at once, believes whoever knows most, and lets the
//! others be behind by that one event (`super_1_validate()` of its md.c).
//!
//! Guarantees: it gets the members that were chosen and no other. Without the journal the kernel makes an array
//! read-only (`raid5_run()`), so one that is to be written to and is not after its start is stopped again. Nothing is
//! forced.
#![allow(clippy::disallowed_methods, reason = "edge: an array that starts, by sysfs")]

use super::{Tools, dirty_degraded, md};
use anyhow::{Context, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Makes an array of the name that is written to it (`add_named_array()` of md.c).
const NEW_ARRAY: &str = "/sys/module/md_mod/parameters/new_array";

/// Starts the array at `node`, whose number is free, from these members and the journal among them.
///
/// # Errors
/// When the kernel does not start it, or only to be read where it is to be written to; it is stopped then.
pub(super) fn start(tools: &Tools, node: &Path, members: &[PathBuf], read_only: bool) -> anyhow::Result<()> {
    let name = node.file_name().and_then(|name| name.to_str()).context("an array's node without a name")?;
    write(Path::new(NEW_ARRAY), name)?;
    let md = md::folder(node).join("md");
    let started = gather(&md, members).and_then(|()| run(&md, read_only));
    if started.is_err() {
        tools.mdadm()?.command().env("MDADM_NO_UDEV", "1").arg("--stop").arg(node).run()?;
    }
    started
}

fn gather(md: &Path, members: &[PathBuf]) -> anyhow::Result<()> {
    write(&md.join("metadata_version"), "1.2")?;
    for member in members {
        let name = member.file_name().with_context(|| format!("{} has no name", member.display()))?;
        let number = Path::new("/sys/class/block").join(name).join("dev");
        let number = fs::read_to_string(&number).with_context(|| format!("cannot read {}", number.display()))?;
        write(&md.join("new_dev"), number.trim())
            .with_context(|| format!("the kernel does not take {}", member.display()))?;
    }
    Ok(())
}

fn run(md: &Path, read_only: bool) -> anyhow::Result<()> {
    let leave = if read_only { Some(dirty_degraded::Leave::give()?) } else { None };
    write(&md.join("array_state"), if read_only { "readonly" } else { "active" })?;
    drop(leave);
    let state = fs::read_to_string(md.join("array_state")).unwrap_or_default();
    if !read_only && state.trim() == "readonly" {
        bail!("the kernel started the array without its journal, to be read alone, and it was stopped");
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {text:?} to {}", file.display()))
}
