//! The leave that the kernel wants before it starts an array whose parity may not be true and that lacks a member.
//!
//! Guarantees: it is given for one start alone, of an array that is started read-only; what starts otherwise is stopped again.
//! While the array is read-only the kernel writes no superblock, syncs nothing and answers writes with an error
//! (Documentation/admin-guide/md.rst, `array_state`); only the header of its bitmap is written as it was.
#![allow(clippy::disallowed_methods, reason = "edge: a parameter of the kernel, by sysfs")]

use super::{Tools, md};
use anyhow::{Context, bail};
use std::path::Path;

/// Read by `md_run()` when an array starts (the kernel's md.c), and by nothing else. `mdadm --force` would write the members'
/// superblocks instead, as if the write had not been cut off.
const PARAMETER: &str = "/sys/module/md_mod/parameters/start_dirty_degraded";

/// Given while it lives. Whoever has it starts no other array meanwhile.
pub(super) struct Leave;

impl Leave {
    /// # Errors
    /// When the kernel does not take it.
    pub(super) fn give() -> anyhow::Result<Leave> {
        let leave = Leave;
        std::fs::write(PARAMETER, "1").with_context(|| format!("{PARAMETER} can't be set"))?;
        Ok(leave)
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Err(e) = std::fs::write(PARAMETER, "0") {
            tracing::warn!("{PARAMETER} stays set: {e}");
        }
    }
}

/// Stops the array at `node` unless the kernel says that it is read-only.
///
/// # Errors
/// When it is not.
pub(super) fn must_be_read_only(tools: &Tools, node: &Path) -> anyhow::Result<()> {
    let state = std::fs::read_to_string(md::folder(node).join("md/array_state")).unwrap_or_default();
    if state.trim() == "readonly" {
        return Ok(());
    }
    tools.mdadm()?.command().env("MDADM_NO_UDEV", "1").arg("--stop").arg(node).run()?;
    bail!("{} was not read-only when it had started, but {:?}, and was stopped", node.display(), state.trim())
}
