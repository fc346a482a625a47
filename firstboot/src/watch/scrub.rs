//! Scrubs of arrays: begun when they are due, noted on the state partition, and said with the volume.
//!
//! What is due is decided by [`storage_plan::scrub`]; the watch sleeps until then, or until the kernel tells of something.
#![allow(clippy::disallowed_methods, reason = "edge: tells the kernel to check an array, by sysfs")]

use crate::observe;
use crate::report::status;
use crate::state_file;
use crate::storage::{ScrubState, VolumeState};
use anyhow::{Context, Result};
use machine_config::schema::MachineConfig;
use std::path::Path;
use std::time::{Duration, Instant};
use storage_plan::inventory::RunningArray;
use storage_plan::scrub::{ACTION, Decision, Now, Scrubbed, decide};

/// What is kept of scrubs.
pub const PATH: &str = "/var/lib/bedplate/storage/scrubs.json";

/// Begins the scrub that is due, if one is, and adds to `volumes` what is known of theirs. Gives the time when the next is due.
///
/// # Errors
/// When arrays can't be looked at, or the state partition can't be written; then none is begun.
pub fn look(config: &MachineConfig, volumes: &mut [VolumeState]) -> Result<Option<Instant>> {
    let kept: Vec<Scrubbed> =
        std::fs::read(PATH).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let clock = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let now = Now { clock, up: Duration::try_from_secs_f64(status::seconds()).unwrap_or_default().as_secs() };
    let arrays = observe::arrays()?;
    let Decision { kept: mut keep, begin, wake } = decide(&arrays, config, &kept, now);
    // Noted before it begins: an end that nobody has noted would be taken for no scrub at all.
    note(&kept, &keep)?;
    if let Some(name) = begin {
        let file = Path::new("/sys/block").join(&name).join("md/sync_action");
        if let Err(e) = std::fs::write(&file, ACTION) {
            tracing::warn!("{} can't be set, so no scrub has begun: {e}", file.display());
            keep.iter_mut().filter(|scrubbed| scrubbed.began == Some(clock)).for_each(|scrubbed| scrubbed.began = None);
            note(&[], &keep)?;
        }
    }
    say(volumes, &keep, &arrays);
    Ok(wake.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds))))
}

fn note(before: &[Scrubbed], now: &[Scrubbed]) -> Result<()> {
    if before == now {
        return Ok(());
    }
    state_file::replace(Path::new(PATH), &serde_json::to_vec(now).context("what is kept of scrubs can't be told")?)
}

fn say(volumes: &mut [VolumeState], kept: &[Scrubbed], arrays: &[RunningArray]) {
    for volume in volumes {
        let Some(scrubbed) = kept.iter().find(|scrubbed| Some(scrubbed.array) == volume.array) else { continue };
        let checked = arrays.iter().find(|array| array.uuid == volume.array && array.sync_action == ACTION);
        volume.scrub = Some(ScrubState {
            under_way: scrubbed.began.is_some(),
            sectors: checked.and_then(|array| array.sync_progress),
            ended: scrubbed.ended,
            mismatches: scrubbed.mismatches,
        });
    }
}
