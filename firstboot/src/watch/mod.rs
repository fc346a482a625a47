//! The watch: after the boot, the same line again whenever a disk comes or goes or an array changes.
//!
//! Guarantees: it sleeps until the kernel tells of something or a scrub is due (no timer polls; only while an array is being
//! filled it says now and then how far that is); it never stops the node; it puts right only what runs, and makes, starts and
//! mounts nothing; steps that failed are not tried again on the same disks.
//! What becomes of a volume is said on the consoles, in a line each, and stands in the status file. Disks are asked for
//! their [health](crate::health) beside that.

pub mod events;
mod news;
pub mod scrub;
mod syncs;

use crate::boot_record::BootRecord;
use crate::config::Chosen;
use crate::health::Health;
use crate::lock;
use crate::observe::{self, remembered};
use crate::report::console::say;
use crate::report::status::{State, Status};
use crate::run;
use crate::state_file;
use crate::storage::{self, KeptUp, Rebuilding, VolumeState};
use anyhow::{Context, Result};
use events::Wakes;
use machine_config::Diagnostic;
use machine_config::schema::MachineConfig;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use storage_plan::Graph;
use storage_plan::inventory::Remembered;
use syncs::Syncs;

/// Watches for ever.
///
/// # Errors
/// When the kernel's events or the configuration can't be had; the unit is started again then.
pub fn watch() -> Result<()> {
    // Before the first look, so that nothing happens unseen between the two.
    let wakes = Wakes::open()?;
    let chosen = std::fs::read(run::MACHINE).with_context(|| format!("{} can't be read", run::MACHINE))?;
    let chosen: Chosen = serde_json::from_slice(&chosen).with_context(|| format!("{} can't be used", run::MACHINE))?;
    // The machine's secrets are not the watch's.
    let config = chosen.config;
    let mut watched = Watched::of(&Status::read());
    let boot = run::boot_record();
    loop {
        // udev gives disks the names that tell their places.
        run::settle();
        let until = look(&config, boot.as_ref(), &mut watched).unwrap_or_else(|e| {
            // The next event looks again; the node goes on meanwhile.
            tracing::warn!("storage was not looked at: {e:#}");
            None
        });
        give_memory_back();
        // Disks are looked at only if something came; how far arrays are is asked of arrays alone.
        while !wakes.wait(until.into_iter().chain(watched.syncs.due()).min())? {
            if until.is_some_and(|until| until <= Instant::now()) {
                break;
            }
            say_how_far(&mut watched);
        }
    }
}

/// Says of arrays that are being filled how far they are, and writes it into the status file.
fn say_how_far(watched: &mut Watched) {
    let arrays = observe::arrays().unwrap_or_else(|e| {
        tracing::warn!("how far arrays are can't be told: {e:#}");
        Vec::new()
    });
    let now = Instant::now();
    for volume in watched.volumes.iter_mut().filter(|v| v.rebuilding.is_some()) {
        // One that has come to rest makes an event, and is looked at then.
        let array = arrays.iter().find(|array| array.uuid == volume.array);
        volume.rebuilding = array.and_then(Rebuilding::of).or(volume.rebuilding.take());
    }
    watched.syncs.follow(&mut watched.volumes, now);
    say(&watched.syncs.lines(&watched.volumes, now));
    Status::update(|status| {
        for volume in &mut status.volumes {
            let known = watched.volumes.iter().find(|v| v.volume == volume.volume);
            volume.rebuilding = known.and_then(|v| v.rebuilding.clone());
        }
    });
}

/// A look reads blank disks by the MiB, side by side; between two the watch sleeps for months.
#[allow(unsafe_code, reason = "malloc_trim(3) has no safe wrapper")]
fn give_memory_back() {
    // SAFETY: it is given no pointer, and releases only what nobody uses.
    unsafe { nix::libc::malloc_trim(0) };
}

/// What is known of storage between two looks.
struct Watched {
    volumes: Vec<VolumeState>,
    refusals: Vec<Diagnostic>,
    /// Arrays that are being filled.
    syncs: Syncs,
    /// Steps that failed, and what was said of them.
    hopeless: Option<(Graph, Vec<Diagnostic>)>,
    remembered: Option<Vec<Remembered>>,
    health: Arc<Health>,
}

impl Watched {
    fn of(status: &Status) -> Watched {
        Watched {
            volumes: status.volumes.clone(),
            refusals: status.refusals.iter().filter(|r| is_of_storage(r)).cloned().collect(),
            syncs: Syncs::default(),
            hopeless: None,
            remembered: None,
            health: Health::new(status),
        }
    }
}

/// Gives the time when it has to be looked again, if no event comes before.
fn look(config: &MachineConfig, boot: Option<&BootRecord>, watched: &mut Watched) -> Result<Option<Instant>> {
    let lock = lock::storage()?;
    let kept = storage::keep_up(config, boot, watched.hopeless.as_ref(), &|step| tracing::info!("{step}"))?;
    let KeptUp { inventory, mut outcome, steps, remembered } = kept;
    let until = scrub::look(config, &mut outcome.volumes).unwrap_or_else(|e| {
        tracing::warn!("no array is scrubbed: {e:#}");
        None
    });
    drop(lock);
    if outcome.writes > 0 {
        tracing::info!("{}", outcome.table);
    }
    let failed: Vec<Diagnostic> = outcome.refusals.iter().filter(|r| r.code == "BP-S041").cloned().collect();
    watched.hopeless = (!failed.is_empty()).then_some((steps, failed));
    tell(outcome.volumes, &outcome.refusals, watched);
    if watched.remembered.as_ref() != Some(&remembered) {
        keep(&remembered)?;
        watched.remembered = Some(remembered);
    }
    watched.health.look(&inventory);
    Ok(until)
}

/// Keeps where members are on the state partition.
///
/// # Errors
/// When that can't be written.
pub fn keep(remembered: &[Remembered]) -> Result<()> {
    let text = serde_json::to_vec(remembered).context("where members are can't be told")?;
    let path = Path::new(remembered::PATH);
    if std::fs::read(path).is_ok_and(|kept| kept == text) { Ok(()) } else { state_file::replace(path, &text) }
}

/// Says what has changed, and writes it into the status file.
fn tell(mut volumes: Vec<VolumeState>, refusals: &[Diagnostic], watched: &mut Watched) {
    let now = Instant::now();
    let lines = news::of_volumes(&watched.volumes, &volumes, |volume| watched.syncs.since(volume, now));
    say(&lines.into_iter().chain(news::of_refusals(&watched.refusals, refusals)).collect::<Vec<_>>());
    watched.syncs.follow(&mut volumes, now);
    Status::update(|status| {
        status.state = state(status, &volumes, refusals);
        status.volumes.clone_from(&volumes);
        // What others refuse stands.
        status.refusals.retain(|refusal| !is_of_storage(refusal));
        status.refusals.extend_from_slice(refusals);
    });
    (watched.volumes, watched.refusals) = (volumes, refusals.to_vec());
}

fn is_of_storage(refusal: &Diagnostic) -> bool {
    refusal.code.starts_with("BP-S")
}

/// The state of the node, as far as storage has a say. A node that joins or waits goes on to say so itself; one that was
/// degraded is whole again only when every array is redundant.
fn state(status: &Status, volumes: &[VolumeState], refusals: &[Diagnostic]) -> State {
    let is_whole = |v: &VolumeState| v.level.is_none_or(|level| level == 0) || v.redundant;
    let lacks = |v: &VolumeState| !v.available || v.lacks_copy || !is_whole(v);
    let lacks_for_good = |v: &VolumeState| lacks(v) && (!v.available || v.lacks_copy || v.rebuilding.is_none());
    let joined = status.phases.iter().any(|p| p.name == "ready");
    match status.state {
        State::Ready if !refusals.is_empty() || volumes.iter().any(lacks_for_good) => State::Degraded,
        State::Degraded if refusals.is_empty() && !volumes.iter().any(lacks) && joined => State::Ready,
        State::Degraded if refusals.is_empty() && !volumes.iter().any(lacks) => State::Starting,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::status::Phase;

    #[test]
    fn a_node_is_degraded_until_its_arrays_are_redundant_again() {
        let mut status = Status { state: State::Ready, ..Status::default() };
        status.phases.push(Phase { name: "ready".into(), seconds: 30.0 });
        let whole = news::tests::mirror(2, false);
        let mut after = |volume: &VolumeState, refusals: &[Diagnostic]| {
            status.state = state(&status, std::slice::from_ref(volume), refusals);
            status.state
        };
        assert_eq!(after(&whole, &[]), State::Ready);
        assert_eq!(after(&news::tests::mirror(1, false), &[]), State::Degraded);
        assert_eq!(after(&news::tests::mirror(1, true), &[]), State::Degraded, "it is only being rebuilt");
        assert_eq!(after(&whole, &[]), State::Ready);
        let of_group = VolumeState { level: None, redundant: false, lacks_copy: true, ..whole.clone() };
        assert_eq!(after(&of_group, &[]), State::Degraded);
        assert_eq!(after(&whole, &[]), State::Ready);
        let refusal = storage_plan::refusal::diagnostic("BP-S001", String::new(), String::new(), String::new());
        assert_eq!(after(&whole, &[refusal]), State::Degraded);
    }

    #[test]
    fn a_first_sync_is_no_loss_and_a_joining_node_says_itself_what_it_does() {
        let ready = Status { state: State::Ready, ..Status::default() };
        assert_eq!(state(&ready, &[news::tests::mirror(1, true)], &[]), State::Ready);
        let waiting = Status { state: State::Waiting, ..Status::default() };
        assert_eq!(state(&waiting, &[news::tests::mirror(1, false)], &[]), State::Waiting);
        let degraded = Status { state: State::Degraded, ..Status::default() };
        assert_eq!(state(&degraded, &[news::tests::mirror(2, false)], &[]), State::Starting, "it has not joined yet");
    }
}
