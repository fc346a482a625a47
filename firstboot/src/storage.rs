//! The storage unit: observe, plan, apply, and say what came of it.

use crate::apply::{self, Failed, Progress, Tools};
use crate::boot_record::BootRecord;
use crate::observe::{self, World};
use machine_config::Diagnostic;
use machine_config::schema::MachineConfig;
use serde::{Deserialize, Serialize};
use storage_plan::inventory::RunningArray;
use storage_plan::{Action, Plan, Verdict, VolumeVerdict, refusal};

/// How storage came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Every volume is there and whole.
    Ready,
    /// The node can run; an array lacks a member, or a volume that is not required is missing.
    Degraded,
    /// Something that the node must not run without is missing: a person is needed.
    Stopped,
}

/// A volume after the storage unit has run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VolumeState {
    /// Name: `state`, `object/ZL2ABCDE`, `meta/db`.
    pub volume: String,
    /// What was to become of it.
    pub verdict: Verdict,
    /// Whether the node must not run without it.
    pub required: bool,
    /// Mount point.
    pub mount: String,
    /// File system.
    pub format: String,
    /// UUID of the file system.
    pub filesystem: uuid::Uuid,
    /// Storage class, if it has one.
    pub class: Option<String>,
    /// RAID level, if it is on an array.
    pub level: Option<u8>,
    /// Its disks in words.
    pub disks: Vec<String>,
    /// All its layers are made.
    pub provisioned: bool,
    /// It is mounted.
    pub available: bool,
    /// Losing one more disk loses no data. Always false without an array, with level 0, and while an array is not in sync.
    pub redundant: bool,
    /// What an array is rebuilding or syncing, if it is.
    pub rebuilding: Option<Rebuilding>,
    /// Why the verdict is what it is.
    pub reasons: Vec<String>,
}

/// Progress of a rebuild or of an initial sync.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rebuilding {
    /// The kernel's word: `resync`, `recover`.
    pub action: String,
    /// Sectors done and of all, when the kernel tells.
    pub sectors: Option<(u64, u64)>,
}

/// What the storage unit did and found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StorageOutcome {
    /// How it came out.
    pub status: Status,
    /// Volumes in the order of the plan.
    pub volumes: Vec<VolumeState>,
    /// Everything that was refused or failed, all at once.
    pub refusals: Vec<Diagnostic>,
    /// How many steps wrote to a disk; 0 on every boot but the first.
    pub writes: usize,
    /// The plan as a table, for the log.
    pub table: String,
}

/// Looks at the disks, plans, and carries the plan out. `progress` gets each step as it begins and ends.
///
/// `boot` is what stage 1 found; without it the state partition is refused.
pub fn run(config: &MachineConfig, boot: Option<&BootRecord>, progress: &(dyn Fn(Progress) + Sync)) -> StorageOutcome {
    match line(config, boot, progress) {
        Ok(outcome) => outcome,
        Err(error) => stopped(Vec::new(), vec![unexpected(&error)], String::new()),
    }
}

fn line(
    config: &MachineConfig,
    boot: Option<&BootRecord>,
    progress: &(dyn Fn(Progress) + Sync),
) -> anyhow::Result<StorageOutcome> {
    let world = World::read(boot)?;
    let inventory = observe::read(boot)?;
    let plan = storage_plan::plan(&inventory, config);
    let table = storage_plan::explain::table(&plan);
    let approved = match plan.clone().approve() {
        Ok(approved) => approved,
        Err(refusals) => return Ok(stopped(states(&plan, &[], &[], &[]), refusals, table)),
    };
    let tools = match Tools::find(&plan) {
        Ok(tools) => tools,
        Err(errors) => {
            let missing = errors.iter().map(|e| tool_missing(&e.to_string())).collect();
            return Ok(stopped(states(&plan, &[], &[], &[]), missing, table));
        }
    };
    let failed = apply::carry_out(&approved, &inventory, &world, &tools, progress)?;
    let arrays = observe::arrays()?;
    let mounted = observe::mount_points()?;
    let volumes = states(&plan, &failed, &arrays, &mounted);
    let mut refusals = plan.all_refusals();
    refusals.extend(failed.iter().filter_map(step_failed));
    let status = status(&volumes);
    Ok(StorageOutcome { status, volumes, refusals, writes: plan.writes(), table })
}

fn status(volumes: &[VolumeState]) -> Status {
    let lacks = |v: &VolumeState| v.level.is_some_and(|l| l != 0) && !v.redundant && v.rebuilding.is_none();
    if volumes.iter().any(|v| v.required && !v.available) {
        Status::Stopped
    } else if volumes.iter().any(|v| !v.available || lacks(v)) {
        Status::Degraded
    } else {
        Status::Ready
    }
}

fn states(plan: &Plan, failed: &[Failed], arrays: &[RunningArray], mounted: &[String]) -> Vec<VolumeState> {
    let state = |v: &VolumeVerdict| {
        let ok =
            v.verdict != Verdict::Refuse && !failed.iter().any(|f| f.volume == v.volume && is_needed(v, &f.action));
        let array = v.array.as_ref().and_then(|a| arrays.iter().find(|r| r.uuid == Some(a.uuid)));
        let syncing = array.filter(|a| !matches!(a.sync_action.as_str(), "idle" | "frozen" | "check"));
        VolumeState {
            volume: v.volume.clone(),
            verdict: v.verdict,
            required: v.required,
            mount: v.mount.clone(),
            format: v.format.clone(),
            filesystem: v.filesystem,
            class: v.class.clone(),
            level: v.array.as_ref().map(|a| a.level),
            disks: v.disks.clone(),
            provisioned: ok,
            available: ok && mounted.contains(&v.mount),
            redundant: syncing.is_none()
                && v.array.as_ref().is_some_and(|a| a.level != 0)
                && array.is_some_and(|a| a.members.len() as u64 >= u64::from(a.wanted)),
            rebuilding: syncing.map(|a| Rebuilding { action: a.sync_action.clone(), sectors: a.sync_progress }),
            reasons: v.reasons.clone(),
        }
    };
    plan.volumes.iter().map(state).collect()
}

/// Whether a volume is not there without this step. One that was made before runs without a table put right and without a new
/// member.
fn is_needed(volume: &VolumeVerdict, action: &Action) -> bool {
    volume.verdict == Verdict::Create || !matches!(action, Action::WriteTable { .. } | Action::AddMember { .. })
}

fn stopped(volumes: Vec<VolumeState>, refusals: Vec<Diagnostic>, table: String) -> StorageOutcome {
    StorageOutcome { status: Status::Stopped, volumes, refusals, writes: 0, table }
}

fn tool_missing(error: &str) -> Diagnostic {
    refusal::diagnostic(
        "BP-S040",
        format!("A program that storage needs can't be used: {error}."),
        "Every tool is checked before the first write. Nothing was written.".into(),
        "Put its package into the recipe and build the image again.".into(),
    )
}

fn step_failed(failed: &Failed) -> Option<Diagnostic> {
    let error = failed.error.as_ref()?;
    Some(refusal::diagnostic(
        "BP-S041",
        format!("Storage could not {} for \"{}\": {error:#}.", failed.action.words(), failed.volume),
        "What depends on it was not begun. Other volumes are not touched by it.".into(),
        "Mend the cause and restart the node: it takes up where it stopped.".into(),
    ))
}

fn unexpected(error: &anyhow::Error) -> Diagnostic {
    refusal::diagnostic(
        "BP-S042",
        format!("Storage can't go on: {error:#}."),
        "It needs the disks to be as they were looked at.".into(),
        "Restart the node; it looks again.".into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(required: bool, available: bool, level: Option<u8>, redundant: bool, rebuilding: bool) -> VolumeState {
        VolumeState {
            volume: "v".into(),
            verdict: Verdict::Keep,
            required,
            mount: "/var/v".into(),
            format: "xfs".into(),
            filesystem: uuid::Uuid::nil(),
            class: None,
            level,
            disks: Vec::new(),
            provisioned: available,
            available,
            redundant,
            rebuilding: rebuilding.then(|| Rebuilding { action: "resync".into(), sectors: None }),
            reasons: Vec::new(),
        }
    }

    #[test]
    fn invariant_8_one_state_each_and_degraded_never_stops() {
        assert_eq!(status(&[volume(true, true, None, false, false)]), Status::Ready);
        assert_eq!(status(&[volume(true, true, Some(1), true, false)]), Status::Ready);
        assert_eq!(status(&[volume(true, true, Some(1), false, true)]), Status::Ready, "its first sync still runs");
        assert_eq!(status(&[volume(true, true, Some(1), false, false)]), Status::Degraded);
        assert_eq!(status(&[volume(false, false, None, false, false)]), Status::Degraded);
        assert_eq!(status(&[volume(true, false, None, false, false)]), Status::Stopped);
    }
}
