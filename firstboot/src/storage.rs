//! Storage: observe, plan, apply, and say what came of it. The storage unit runs that line once, and the watch again whenever
//! disks or arrays change.

use crate::apply::{self, Done, Failed, Progress, Tools};
use crate::boot_record::BootRecord;
use crate::controllers;
use crate::locate;
use crate::observe::{self, World};
use crate::permits::{self, Permits, Records};
use crate::secrets::Secrets;
use machine_config::Diagnostic;
use machine_config::schema::MachineConfig;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use storage_plan::inventory::{Inventory, Keys, Remembered, RunningArray};
use storage_plan::verdict::Retiring;
use storage_plan::{Action, ApprovedPlan, Graph, Plan, Verdict, VolumeVerdict, refusal};

/// How long a RAID controller may take to answer before a node that stops says why.
const PATIENCE: Duration = Duration::from_secs(30);

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
    /// Name: `state`, `object/ZL2ABCDE`, `object/ZL2ABCDE/meta`, `meta/db`.
    pub volume: String,
    /// What was to become of it.
    pub verdict: Verdict,
    /// Whether the node must not run without it.
    pub required: bool,
    /// Mount point; of a raw volume the path of its device.
    pub mount: String,
    /// File system, or `raw`.
    pub format: String,
    /// UUID of the file system; of a raw volume nothing is written with it.
    pub filesystem: uuid::Uuid,
    /// Whether what it holds is encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// Storage class, if it has one.
    pub class: Option<String>,
    /// RAID level, if it is on an array.
    pub level: Option<u8>,
    /// Its disks in words.
    pub disks: Vec<String>,
    /// All its layers are made.
    pub provisioned: bool,
    /// It is mounted, or the path leads to it.
    pub available: bool,
    /// Of an array, how many members have all its data, and how many it should have.
    #[serde(default)]
    pub members: Option<(u64, u64)>,
    /// Losing one more disk loses no data. Always false without an array, with level 0, and while an array is not in sync.
    pub redundant: bool,
    /// Nothing can be written to it: its array was cut off in the middle of a write, and lacks a member.
    #[serde(default)]
    pub read_only: bool,
    /// It is a mirror in a volume group, and a copy of it is on a disk that is not there.
    #[serde(default)]
    pub lacks_copy: bool,
    /// What an array is rebuilding or syncing, if it is.
    pub rebuilding: Option<Rebuilding>,
    /// The array's UUID, if it is on one.
    #[serde(default)]
    pub array: Option<uuid::Uuid>,
    /// When its array was last read through, if it is on one that is.
    #[serde(default)]
    pub scrub: Option<ScrubState>,
    /// Of an array, members that the configuration retires and that are still there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retiring: Vec<Retiring>,
    /// Why the verdict is what it is.
    pub reasons: Vec<String>,
}

/// How an array is read through from end to end, again and again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ScrubState {
    /// Whether it is now.
    pub under_way: bool,
    /// Sectors done and of all, while it is and when the kernel tells.
    pub sectors: Option<(u64, u64)>,
    /// When it last came to its end, in seconds since 1970, UTC.
    pub ended: Option<u64>,
    /// How many sectors told different things on its members then.
    pub mismatches: Option<u64>,
}

/// Progress of a rebuild or of an initial sync.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rebuilding {
    /// The kernel's word: `resync`, `recover`.
    pub action: String,
    /// Sectors done and of all, when the kernel tells.
    pub sectors: Option<(u64, u64)>,
    /// Bytes a second, once that is known.
    #[serde(default)]
    pub speed: Option<u64>,
    /// How long the rest takes at this speed.
    #[serde(default)]
    pub seconds_left: Option<u64>,
}

impl Rebuilding {
    /// What an array is at, if it is being synced, rebuilt or copied.
    #[must_use]
    pub fn of(array: &RunningArray) -> Option<Rebuilding> {
        let at_rest = matches!(array.sync_action.as_str(), "idle" | "frozen" | "check");
        let (action, sectors) = (array.sync_action.clone(), array.sync_progress);
        (!at_rest).then_some(Rebuilding { action, sectors, speed: None, seconds_left: None })
    }
}

/// How long storage took, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Took {
    /// Looking at everything, and planning.
    pub look: f64,
    /// Locking the disks, and all steps, independent ones side by side.
    pub steps: f64,
    /// The slowest disk to be locked and looked at again, which every step waits for, and the longest chain of steps that wait
    /// for each other.
    pub critical_path: f64,
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Took { look, steps, critical_path } = self;
        write!(f, "looked and planned in {look:.2} s, carried out in {steps:.2} s (critical path {critical_path:.2} s)")
    }
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
    /// How long that took.
    #[serde(default)]
    pub took: Took,
}

/// Looks at the disks, plans, and carries the plan out. `progress` gets each step as it begins and ends.
///
/// `boot` is what stage 1 found; without it the state partition is refused. `permits` gives those that are at hand for this
/// machine, and is asked only if a disk is refused that one could be for; whether one was used already is for the state
/// partition to tell. `secrets` make and open encrypted volumes.
pub fn run(
    config: &MachineConfig,
    boot: Option<&BootRecord>,
    permits: &dyn Fn() -> Permits,
    secrets: &Secrets,
    progress: &(dyn Fn(Progress) + Sync),
) -> StorageOutcome {
    let line = || {
        let began = Instant::now();
        let world = World::read(boot)?;
        let mut inventory = Inventory { keys: secrets.at_hand(), ..observe::read(boot)? };
        let mut idle = Vec::new();
        let mut plan = storage_plan::plan_with(&mut inventory, config, |inventory| {
            let permits = permits().unused(permits::records(inventory, config));
            idle = permits.refused;
            permits.granted
        });
        if plan.is_blocked() {
            // Why a disk is not there may be known to its controller alone. It changes what is said, and nothing else.
            inventory.controllers = controllers::read(&inventory.devices, PATIENCE).controllers;
            plan = storage_plan::plan(&inventory, config);
        }
        apply::unlink(&storage_plan::links::wrong(&inventory, &plan))?;
        let table = storage_plan::explain::table(&plan);
        let refused =
            |refusals| stopped(states(&plan, &[], &[], &[]), locate::point_at(&inventory, refusals), table.clone());
        let approved = match plan.clone().approve() {
            Ok(approved) => approved,
            Err(mut refusals) => {
                refusals.extend(idle);
                return Ok(refused(refusals));
            }
        };
        let look = began.elapsed().as_secs_f64();
        match act(&plan, &approved, (&inventory, &world), secrets, progress)? {
            Ok(mut outcome) => {
                outcome.took.look = look;
                settle(&plan);
                if !plan.all_refusals().is_empty() {
                    outcome.refusals.extend(idle);
                }
                outcome.refusals = locate::point_at(&inventory, outcome.refusals);
                Ok(outcome)
            }
            Err(missing) => Ok(refused(missing)),
        }
    };
    line().unwrap_or_else(|error: anyhow::Error| stopped(Vec::new(), vec![unexpected(&error)], String::new()))
}

/// What [`keep_up`] found and did.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptUp {
    /// What was there.
    pub inventory: Inventory,
    /// The volumes as they are now.
    pub outcome: StorageOutcome,
    /// The steps that were there to do.
    pub steps: Graph,
    /// Where members of arrays are, to be kept for the time when one is lost.
    pub remembered: Vec<Remembered>,
}

/// The same line on a node that runs. Only what runs is put right: a table is written again, a lost member is replaced, a
/// retired one is copied and let go of. Nothing is made, started or mounted that the storage unit did not: programs may have begun to write below a mount point
/// that stayed empty, and would lose sight of it.
///
/// `hopeless` are steps that failed and are not tried again on the same disks, and what was said of that.
///
/// # Errors
/// When the disks can't be looked at, or changed meanwhile; then nothing was written.
pub fn keep_up(
    config: &MachineConfig,
    boot: Option<&BootRecord>,
    hopeless: Option<&(Graph, Vec<Diagnostic>)>,
    progress: &(dyn Fn(Progress) + Sync),
) -> anyhow::Result<KeptUp> {
    let world = World::read(boot)?;
    // Nothing is erased or opened while the node runs, so no permit is looked for, and no key.
    let inventory = Inventory { keys: Keys::ALL, ..observe::read(boot)? };
    let plan = storage_plan::plan(&inventory, config);
    apply::unlink(&storage_plan::links::wrong(&inventory, &plan))?;
    let mut repairs = plan.repairs();
    let steps = repairs.graph.clone();
    let told = hopeless.filter(|(failed, _)| *failed == steps).map(|(_, told)| told.clone());
    if told.is_some() {
        repairs.graph = Graph::default();
    }
    let approved = repairs.approve().map_err(|_| anyhow::anyhow!("repairs were refused"))?;
    let mut outcome = match act(&plan, &approved, (&inventory, &world), &Secrets::default(), progress)? {
        Ok(outcome) => outcome,
        Err(missing) => {
            let volumes = states(&plan, &[], &observe::arrays()?, &observe::places()?);
            let table = storage_plan::explain::table(&plan);
            let refusals = plan.all_refusals().into_iter().chain(missing).collect();
            StorageOutcome { status: status(&volumes), volumes, refusals, writes: 0, table, took: Took::default() }
        }
    };
    outcome.refusals = locate::point_at(&inventory, outcome.refusals);
    outcome.refusals.extend(told.into_iter().flatten());
    let remembered = storage_plan::remember::remember(&inventory, config);
    Ok(KeptUp { inventory, outcome, steps, remembered })
}

/// Carries out `approved`, which is all of `plan` or a part of it. The inner error says which tools are missing.
fn act(
    plan: &Plan,
    approved: &ApprovedPlan,
    (inventory, world): (&Inventory, &World),
    secrets: &Secrets,
    progress: &(dyn Fn(Progress) + Sync),
) -> anyhow::Result<Result<StorageOutcome, Vec<Diagnostic>>> {
    let tools = match Tools::find(approved.plan()) {
        Ok(tools) => tools,
        Err(errors) => return Ok(Err(errors.iter().map(|e| tool_missing(&e.to_string())).collect())),
    };
    let ours =
        |a: &&RunningArray| plan.volumes.iter().any(|v| v.array.as_ref().is_some_and(|own| a.uuid == Some(own.uuid)));
    apply::thaw(&inventory.arrays.iter().filter(ours).cloned().collect::<Vec<_>>());
    let began = Instant::now();
    let Done { failed, took, locked } = apply::carry_out(approved, inventory, world, &tools, secrets, progress)?;
    let took = Took {
        look: 0.0,
        steps: began.elapsed().as_secs_f64(),
        critical_path: (locked + approved.plan().graph.critical_path(&took)).as_secs_f64(),
    };
    let volumes = states(plan, &failed, &observe::arrays()?, &observe::places()?);
    let mut refusals = plan.all_refusals();
    refusals.extend(failed.iter().filter_map(step_failed));
    let (status, writes) = (status(&volumes), approved.plan().writes());
    Ok(Ok(StorageOutcome { status, volumes, refusals, writes, table: storage_plan::explain::table(plan), took }))
}

/// A record that stays open for one run more does no harm, so this never stops a node.
fn settle(plan: &Plan) {
    let erased: Vec<uuid::Uuid> = plan.graph.steps.iter().filter_map(|s| s.action.permit()).collect();
    if let Err(error) = Records::on_state().and_then(|records| records.settle(&erased)) {
        tracing::warn!("records of permits were not looked after: {error:#}");
    }
}

fn status(volumes: &[VolumeState]) -> Status {
    let lacks = |v: &VolumeState| v.level.is_some_and(|l| l != 0) && !v.redundant && v.rebuilding.is_none();
    if volumes.iter().any(|v| v.required && !v.available) {
        Status::Stopped
    } else if volumes.iter().any(|v| !v.available || v.read_only || v.lacks_copy || lacks(v)) {
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
        let rebuilding = array.and_then(Rebuilding::of);
        VolumeState {
            volume: v.volume.clone(),
            verdict: v.verdict,
            required: v.required,
            mount: v.mount.clone(),
            format: v.format.clone(),
            filesystem: v.filesystem,
            encrypted: v.encrypted,
            class: v.class.clone(),
            level: v.array.as_ref().map(|a| a.level),
            disks: v.disks.clone(),
            provisioned: ok,
            available: ok && mounted.contains(&v.mount),
            members: array.map(|a| (a.members.len() as u64, u64::from(a.wanted))),
            // One that lacks no member and recovers copies a member that works.
            redundant: rebuilding.as_ref().is_none_or(|r| r.action == "recover")
                && v.array.as_ref().is_some_and(|a| a.level != 0)
                && array.is_some_and(|a| a.members.len() as u64 >= u64::from(a.wanted)),
            read_only: v.read_only,
            lacks_copy: v.lacks_copy,
            rebuilding,
            array: v.array.as_ref().map(|a| a.uuid),
            scrub: None,
            retiring: v.retiring.clone(),
            reasons: v.reasons.clone(),
        }
    };
    plan.volumes.iter().map(state).collect()
}

/// Whether a volume is not there without this step. One that was made before runs without a table put right and without a new
/// member.
fn is_needed(volume: &VolumeVerdict, action: &Action) -> bool {
    volume.verdict == Verdict::Create || !action.mends()
}

fn stopped(volumes: Vec<VolumeState>, refusals: Vec<Diagnostic>, table: String) -> StorageOutcome {
    StorageOutcome { status: Status::Stopped, volumes, refusals, writes: 0, table, took: Took::default() }
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
            encrypted: false,
            class: None,
            level,
            disks: Vec::new(),
            provisioned: available,
            available,
            members: None,
            redundant,
            read_only: false,
            lacks_copy: false,
            rebuilding: rebuilding.then(|| Rebuilding {
                action: "resync".into(),
                sectors: None,
                speed: None,
                seconds_left: None,
            }),
            array: None,
            scrub: None,
            retiring: Vec::new(),
            reasons: Vec::new(),
        }
    }

    #[test]
    fn invariant_8_what_runs_is_there_without_its_replacement() {
        let at = storage_plan::PartitionRef {
            disk: "vdf".into(),
            number: 1,
            start: 1 << 20,
            size: 1 << 30,
            guid: uuid::Uuid::nil(),
        };
        let add = Action::AddMember { uuid: uuid::Uuid::nil(), name: "meta".into(), member: at, remake: false };
        let (uuid, name) = (uuid::Uuid::nil(), "meta".to_owned());
        let start = Action::AssembleArray { uuid, name, members: vec![], wanted: 2, read_only: false };
        let of = |verdict: Verdict| VolumeVerdict {
            volume: "meta/db".into(),
            kind: storage_plan::verdict::Kind::Array,
            verdict,
            required: true,
            reasons: Vec::new(),
            disks: Vec::new(),
            mount: "/var/lib/volumes/db".into(),
            format: "xfs".into(),
            filesystem: uuid::Uuid::nil(),
            encrypted: false,
            array: None,
            read_only: false,
            lacks_copy: false,
            retiring: Vec::new(),
            class: None,
            place: None,
            refusals: Vec::new(),
        };
        let available = |verdict: Verdict, action: &Action| {
            let plan = Plan { volumes: vec![of(verdict)], ..Plan::default() };
            let failed = Failed { volume: "meta/db".into(), action: action.clone(), error: None };
            states(&plan, &[failed], &[], &["/var/lib/volumes/db".to_owned()])[0].available
        };
        assert!(available(Verdict::Repair, &add));
        assert!(!available(Verdict::Repair, &start));
        assert!(!available(Verdict::Create, &add));
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
