//! When an array is read through from end to end, so that what a disk can't give any more is found while there is another copy
//! of it. Pure.
//!
//! Guarantees: one array at a time; only one that runs with all its members, is at rest and can be written to; one that was
//! interrupted is due again. Nothing is asked of time but how long it is until the next is due.

use crate::identity::Owner;
use crate::inventory::RunningArray;
use machine_config::schema::{MachineConfig, Scrub};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What is kept of an array's scrubs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Scrubbed {
    /// The array's UUID.
    pub array: Uuid,
    /// When it was first seen, in seconds since 1970, UTC.
    pub since: u64,
    /// When its last scrub ended.
    pub ended: Option<u64>,
    /// How many sectors of its members told different things then.
    pub mismatches: Option<u64>,
    /// When the scrub began that is under way.
    pub began: Option<u64>,
}

/// The clocks that a decision needs, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since 1970, UTC.
    pub clock: u64,
    /// Since the kernel's start.
    pub up: u64,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// What is to be kept from now on, sorted.
    pub kept: Vec<Scrubbed>,
    /// The array, by its kernel name, whose scrub is to begin; it is noted in `kept` as begun.
    pub begin: Option<String>,
    /// Seconds until there is something to decide that nothing else would tell of.
    pub wake: Option<u64>,
}

/// The kernel's word for what an array does while it is scrubbed (Documentation/admin-guide/md.rst, `sync_action`).
pub const ACTION: &str = "check";

/// Decides on the arrays that run, as they are after everything else was done; `kept` is what was kept until now.
///
/// What is kept of an array that does not run stays; of one that `config` does not have it is forgotten.
pub fn decide(arrays: &[RunningArray], config: &MachineConfig, kept: &[Scrubbed], now: Now) -> Decision {
    let owner = Owner { cluster: config.cluster.id, machine: config.name.clone() };
    let mut decision = Decision::default();
    let mut due: Vec<(u64, usize, &RunningArray)> = Vec::new();
    for asked in crate::arrays::arrays(&config.storage) {
        let (uuid, array) = (asked.uuid(&owner), &asked.array);
        let before = kept.iter().find(|scrubbed| scrubbed.array == uuid).cloned();
        let Some(running) = arrays.iter().find(|running| running.uuid == Some(uuid)) else {
            decision.kept.extend(before);
            continue;
        };
        let every = match array.scrub {
            Scrub::Every(seconds) if array.level.is_redundant() => seconds,
            Scrub::Every(_) | Scrub::Never => {
                decision.kept.extend(before);
                continue;
            }
        };
        let first = Scrubbed { array: uuid, since: now.clock, ended: None, mismatches: None, began: None };
        let scrubbed = brought_up_to_date(before.unwrap_or(first), running, now);
        if scrubbed.began.is_none() {
            due.push((next(&scrubbed, every), decision.kept.len(), running));
        }
        decision.kept.push(scrubbed);
    }
    let under_way = arrays.iter().any(|running| running.sync_action == ACTION);
    due.sort_by_key(|(at, index, _)| (*at, *index));
    if !under_way
        && let Some((_, index, running)) = due.iter().find(|(at, _, running)| *at <= now.clock && is_at_rest(running))
    {
        decision.kept[*index].began = Some(now.clock);
        decision.begin = Some(running.name.clone());
    }
    // One that is due already waits for a scrub, a sync or a member, and of these the kernel tells.
    decision.wake = due.iter().filter(|(at, ..)| *at > now.clock).map(|(at, ..)| at - now.clock).min();
    decision.kept.sort();
    decision
}

fn is_at_rest(running: &RunningArray) -> bool {
    let members = u32::try_from(running.members.len()).unwrap_or(u32::MAX);
    members >= running.wanted && running.sync_action == "idle" && !running.read_only
}

/// As the array shows it now: a scrub of it has begun, has ended, or was interrupted.
fn brought_up_to_date(mut scrubbed: Scrubbed, running: &RunningArray, now: Now) -> Scrubbed {
    // A clock that was ahead must not put the next one off for years.
    scrubbed.since = scrubbed.since.min(now.clock);
    scrubbed.ended = scrubbed.ended.map(|ended| ended.min(now.clock));
    let started = now.clock.saturating_sub(now.up);
    match (scrubbed.began, running.sync_action.as_str()) {
        (None, ACTION) => scrubbed.began = Some(now.clock),
        // The kernel does not go on with one that a restart ended.
        (Some(began), action) if began < started && action != ACTION => scrubbed.began = None,
        (Some(_), "idle") if is_at_rest(running) => {
            scrubbed.began = None;
            scrubbed.ended = Some(now.clock);
            scrubbed.mismatches = Some(running.mismatches);
        }
        (Some(_), action) if action != ACTION => scrubbed.began = None,
        _ => {}
    }
    scrubbed
}

/// When its next scrub is due. The first comes after between half the time and all of it, by the array's UUID: the nodes of a
/// rack, made on one day, are not all scrubbed on one.
fn next(scrubbed: &Scrubbed, every: u64) -> u64 {
    let part = u64::from(scrubbed.array.as_bytes()[0]);
    let first = scrubbed.since + every / 2 + every / 512 * part;
    scrubbed.ended.map_or(first, |ended| ended + every)
}
