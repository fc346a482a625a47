//! Runs a plan's steps: in order, independent branches side by side.

use super::meter::Meter;
use super::{LockedDevice, Tools, erase, filesystem, image, luks, lvm, md, mount, partition, raw};
use crate::observe::World;
use crate::report::estimate::{self, Amount};
use crate::secrets::Secrets;
use machine_config::schema::Rebuild;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use storage_plan::action::LogicalPlace;
use storage_plan::inventory::{Device, Inventory};
use storage_plan::{Action, ApprovedPlan, PartitionRef, Step, Target};

/// A step that failed, or that could not be begun because one before it failed.
#[derive(Debug)]
pub struct Failed {
    /// The volume it was for.
    pub volume: String,
    /// What was to be done.
    pub action: Action,
    /// Why it failed; none when an earlier one did.
    pub error: Option<anyhow::Error>,
}

/// What came of a plan that was carried out.
#[derive(Debug)]
pub struct Done {
    /// Steps that failed or were not begun.
    pub failed: Vec<Failed>,
    /// How long each step of the plan took; nothing for one that was not begun.
    pub took: Vec<Duration>,
    /// How long the slowest disk took to be locked and looked at again, which every step waits for.
    pub locked: Duration,
}

/// What happens while a plan is carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// A step begins.
    Began {
        /// The volume it is for.
        volume: String,
        /// What is done.
        step: String,
    },
    /// A step takes long: said when [`estimate::next`] says so, and of most steps never.
    Going {
        /// The volume it is for.
        volume: String,
        /// What is being done.
        step: String,
        /// How long it has taken.
        took: Duration,
        /// How far it is, if that is measured.
        amount: Option<Amount>,
    },
    /// A step has ended well.
    Ended {
        /// The volume it is for.
        volume: String,
        /// What was done.
        step: String,
        /// How long it took.
        took: Duration,
    },
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Progress::Began { volume, step } => write!(f, "{volume}: {step}"),
            Progress::Going { volume, step, took, amount: None } => {
                write!(f, "{volume}: {step}: under way for {}", estimate::time_words(took.as_secs()))
            }
            Progress::Going { volume, step, took, amount: Some(amount) } => {
                let far = estimate::words(*amount, estimate::pace(0, *amount, *took));
                write!(f, "{volume}: {step}: {far}")
            }
            Progress::Ended { volume, step, took } => {
                write!(f, "{volume}: {step}: done in {:.1} s", took.as_secs_f64())
            }
        }
    }
}

/// Carries out `plan`, which was made from `inventory`. `secrets` make and open encrypted volumes.
///
/// # Errors
/// When a disk can't be locked or is not as it was planned on; then nothing was written to any. A disk that is only to
/// become a member of an array that runs, or to leave it, is no such: its steps fail, and the array goes on as it is. Steps
/// that fail later are in the result, too; everything that does not depend on them is still done.
pub fn carry_out(
    plan: &ApprovedPlan,
    inventory: &Inventory,
    world: &World,
    tools: &Tools,
    secrets: &Secrets,
    progress: &(dyn Fn(Progress) + Sync),
) -> anyhow::Result<Done> {
    let (steps, replacements) = (&plan.plan().graph.steps, plan.plan().graph.replacements());
    let written: BTreeSet<&str> = steps.iter().filter(|s| s.action.writes()).flat_map(|s| s.action.disks()).collect();
    let (mut disks, mut locked) = (BTreeMap::new(), Duration::ZERO);
    for (name, (taken, took)) in lock(inventory.devices.iter().filter(|d| written.contains(d.name.as_str())), world) {
        locked = locked.max(took);
        let taken = if replacements.contains(name.as_str()) { taken } else { Ok(taken?) };
        disks.insert(name, taken);
    }
    let arrays = plan.plan().volumes.iter().filter_map(|volume| volume.array.as_ref());
    let speeds = arrays.map(|array| (array.uuid, array.rebuild)).collect();
    let hands = Hands { disks, tools, world, secrets, speeds };

    let (failed, took) = run(steps, &|action, meter| hands.act(action, meter), estimate::next, progress);
    let told = |(i, error): (usize, Option<anyhow::Error>)| Failed {
        volume: steps[i].volume.clone(),
        action: steps[i].action.clone(),
        error,
    };
    Ok(Done { failed: failed.into_iter().map(told).collect(), took, locked })
}

/// A step under way, and after how long it was last spoken of.
struct UnderWay {
    began: Instant,
    told: Duration,
    meter: Arc<Meter>,
}

/// Runs steps by `act`, each after those that it waits for, and gives those that failed or were not begun, and how long each
/// took. `next` says when one that takes long is spoken of.
fn run(
    steps: &[Step],
    act: &(dyn Fn(&Action, &Meter) -> anyhow::Result<()> + Sync),
    next: fn(Duration) -> Duration,
    progress: &(dyn Fn(Progress) + Sync),
) -> (BTreeMap<usize, Option<anyhow::Error>>, Vec<Duration>) {
    let mut took = vec![Duration::ZERO; steps.len()];
    let mut waiting: BTreeSet<usize> = (0..steps.len()).collect();
    let mut done: BTreeSet<usize> = BTreeSet::new();
    let mut failed: BTreeMap<usize, Option<anyhow::Error>> = BTreeMap::new();
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        let mut under_way: BTreeMap<usize, UnderWay> = BTreeMap::new();
        loop {
            let skipped: Vec<usize> =
                waiting.iter().copied().filter(|i| steps[*i].after.iter().any(|a| failed.contains_key(a))).collect();
            for i in &skipped {
                waiting.remove(i);
                failed.insert(*i, None);
            }
            let ready: Vec<usize> =
                waiting.iter().copied().filter(|i| steps[*i].after.iter().all(|a| done.contains(a))).collect();
            for i in ready {
                waiting.remove(&i);
                let (send, step, meter, began) = (send.clone(), &steps[i], Arc::<Meter>::default(), Instant::now());
                under_way.insert(i, UnderWay { began, told: Duration::ZERO, meter: Arc::clone(&meter) });
                scope.spawn(move || {
                    let words = step.action.words();
                    progress(Progress::Began { volume: step.volume.clone(), step: words.clone() });
                    // A step that panics would otherwise leave the others waiting for its message for ever.
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(&step.action, &meter)))
                        .unwrap_or_else(|_| Err(anyhow::anyhow!("the step panicked")));
                    if result.is_ok() {
                        let took = began.elapsed();
                        progress(Progress::Ended { volume: step.volume.clone(), step: words, took });
                    }
                    let _ = send.send((i, result));
                });
            }
            let quiet = under_way.values().map(|u| next(u.told).saturating_sub(u.began.elapsed())).min();
            let Some(quiet) = quiet else {
                if skipped.is_empty() {
                    break;
                }
                continue;
            };
            match receive.recv_timeout(quiet) {
                Ok((i, result)) => {
                    took[i] = under_way.remove(&i).map_or(Duration::ZERO, |step| step.began.elapsed());
                    match result {
                        Ok(()) => {
                            done.insert(i);
                        }
                        Err(error) => {
                            failed.insert(i, Some(error));
                        }
                    }
                }
                Err(_) => under_way.iter_mut().for_each(|(i, u)| speak(&steps[*i], u, next, progress)),
            }
        }
    });
    (failed, took)
}

/// Speaks of a step, if it is time to.
fn speak(step: &Step, step_is: &mut UnderWay, next: fn(Duration) -> Duration, progress: &(dyn Fn(Progress) + Sync)) {
    let took = step_is.began.elapsed();
    if took >= next(step_is.told) {
        step_is.told = took;
        let (volume, step, amount) = (step.volume.clone(), step.action.words(), step_is.meter.amount());
        progress(Progress::Going { volume, step, took, amount });
    }
}

/// Locks all of them side by side: each is looked at once more, and a server has dozens. With each, how long that took.
fn lock<'a>(
    devices: impl Iterator<Item = &'a Device>,
    world: &World,
) -> BTreeMap<String, (anyhow::Result<LockedDevice>, Duration)> {
    let take = |device: &Device| {
        let began = Instant::now();
        (LockedDevice::take(device, world), began.elapsed())
    };
    std::thread::scope(|scope| {
        let taking: Vec<_> = devices.map(|device| (device, scope.spawn(move || take(device)))).collect();
        let taken = taking.into_iter().map(|(device, thread)| {
            let panicked = |_| (Err(anyhow::anyhow!("the look at it panicked")), Duration::ZERO);
            (device.name.clone(), thread.join().unwrap_or_else(panicked))
        });
        taken.collect()
    })
}

/// What steps work with: the locked disks, the checked tools, and what a second look at a disk needs.
struct Hands<'a> {
    disks: BTreeMap<String, anyhow::Result<LockedDevice>>,
    tools: &'a Tools,
    world: &'a World,
    secrets: &'a Secrets,
    /// How fast arrays are rebuilt.
    speeds: BTreeMap<uuid::Uuid, Rebuild>,
}

impl Hands<'_> {
    fn act(&self, action: &Action, meter: &Meter) -> anyhow::Result<()> {
        match action {
            Action::Erase { disk, erase } => erase::erase(self.disk(disk)?, erase, self.world, meter),
            Action::WriteTable { disk, table, partitions } => {
                partition::write_table(self.disk(disk)?, table, partitions)
            }
            Action::CopyImage { from, disk, partitions } => image::copy(from, self.disk(disk)?, partitions, meter),
            Action::CreateArray { uuid, name, level, members, spares, chunk, write_hole, journal, remake } => {
                let all = members.iter().chain(journal);
                let disks = all.map(|m| self.disk(&m.disk)).collect::<anyhow::Result<Vec<_>>>()?;
                let (level, spares, chunk, write_hole) = (*level, *spares, *chunk, *write_hole);
                let journal = journal.as_ref();
                let wanted = md::NewArray { uuid, name, level, members, spares, chunk, write_hole, journal };
                md::create(self.tools, &disks, &wanted, *remake).map(|_| ())
            }
            Action::AssembleArray { uuid, members, read_only, .. } => {
                let members = self.members_with_superblock(members, uuid);
                md::assemble(self.tools, uuid, &members, *read_only, self.speed(uuid)).map(|_| ())
            }
            Action::AddMember { uuid, member, remake, .. } => {
                md::add(self.tools, self.disk(&member.disk)?, uuid, member, *remake, self.speed(uuid))
            }
            Action::ReturnMember { uuid, member, .. } => {
                self.disk(&member.disk)?;
                md::give_back(self.tools, uuid, member, self.speed(uuid))
            }
            Action::CopyMember { uuid, member, onto, .. } => {
                self.disk(&member.disk)?;
                self.disk(&onto.disk)?;
                md::copy(self.tools, uuid, member, onto, self.speed(uuid))
            }
            Action::ReleaseMember { uuid, member, .. } => {
                self.disk(&member.disk)?;
                md::release(self.tools, uuid, member)
            }
            Action::GrowArray { uuid, members, .. } => {
                members.iter().try_for_each(|m| self.disk(&m.disk).map(|_| ()))?;
                md::grow(self.tools, uuid, members, self.speed(uuid))
            }
            Action::GrowFilesystem { on, format, at } => filesystem::grow(self.tools, &self.node(on)?, *format, at),
            Action::CreateGroup { name, members, remake } => {
                let disks = members.iter().map(|m| self.disk(&m.at.disk)).collect::<anyhow::Result<Vec<_>>>()?;
                lvm::create_group(self.tools, &disks, name, members, *remake)
            }
            Action::CreateLogical { volume, shape, extents, remake } => {
                lvm::create(self.tools, &self.of_group(volume)?, volume, shape, *extents, *remake)
            }
            Action::FinishLogical { volume } => lvm::finish(self.tools, &self.of_group(volume)?, volume),
            Action::GrowLogical { volume, extents, holds } => {
                lvm::grow(self.tools, &self.of_group(volume)?, volume, *extents, holds.as_ref())
            }
            Action::Activate { volume } => lvm::activate(self.tools, volume),
            Action::Encrypt { on, uuid, by } => {
                self.locked(on)?;
                luks::format(self.tools, &self.node(on)?, uuid, *by, self.secrets)
            }
            Action::Seal { on, .. } => {
                self.locked(on)?;
                luks::seal(self.tools, &self.node(on)?, self.secrets)
            }
            Action::Open { on, uuid, read_only, by } => {
                luks::open(self.tools, &self.node(on)?, uuid, *read_only, *by, self.secrets)
            }
            Action::MakeFilesystem { on, format, uuid, label, mkfs } => {
                self.locked(on)?;
                filesystem::make(self.tools, &self.node(on)?, *format, uuid, label, mkfs)
            }
            Action::Clear { on } => {
                self.locked(on)?;
                raw::clear(&self.node(on)?)
            }
            Action::Link { on, at } => raw::link(&self.node(on)?, at),
            Action::Mount { on, format, uuid, at, read_only: true, .. } => {
                mount::mount_read_only(&self.node(on)?, *format, uuid, at)
            }
            Action::Mount { on, format, uuid, at, options, .. } => {
                mount::mount(&self.node(on)?, *format, uuid, at, options)
            }
        }
    }

    fn speed(&self, array: &uuid::Uuid) -> Rebuild {
        self.speeds.get(array).copied().unwrap_or_default()
    }

    fn disk(&self, name: &str) -> anyhow::Result<&LockedDevice> {
        let taken = self.disks.get(name).ok_or_else(|| anyhow::anyhow!("{name} was not locked"))?;
        taken.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))
    }

    /// The disks of a volume's group.
    fn of_group(&self, volume: &LogicalPlace) -> anyhow::Result<Vec<&LockedDevice>> {
        volume.members.iter().map(|m| self.disk(&m.disk)).collect()
    }

    /// Whether the disk is locked that this is on.
    fn locked(&self, on: &Target) -> anyhow::Result<()> {
        match on {
            Target::Partition(partition) => self.disk(&partition.disk).map(|_| ()),
            Target::Array(_) | Target::Opened(_) | Target::Logical { .. } => Ok(()),
        }
    }

    /// mdadm is given members only: a partition of ours that lost its superblock stays out.
    fn members_with_superblock(&self, members: &[PartitionRef], uuid: &uuid::Uuid) -> Vec<PartitionRef> {
        let has = |member: &&PartitionRef| {
            let node = partition::node(member).ok();
            node.and_then(|n| crate::observe::superblock(&n)).is_some_and(|md| md.array == *uuid)
        };
        members.iter().filter(has).cloned().collect()
    }

    fn node(&self, target: &Target) -> anyhow::Result<std::path::PathBuf> {
        match target {
            Target::Partition(partition) => partition::node(partition),
            Target::Array(uuid) => md::running(uuid),
            Target::Opened(uuid) => luks::shown(uuid),
            Target::Logical { group, volume } => lvm::shown(group, volume),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn step(volume: &str, after: &[usize]) -> Step {
        let at = PartitionRef { disk: "vdb".into(), number: 1, start: 1 << 20, size: 1 << 30, guid: uuid::Uuid::nil() };
        let action = Action::ReleaseMember { uuid: uuid::Uuid::nil(), name: volume.into(), member: at };
        Step { volume: volume.into(), action, after: after.to_vec() }
    }

    #[test]
    fn a_step_that_takes_long_is_spoken_of_while_the_others_go_on() {
        let said = Mutex::new(BTreeMap::new());
        let is_said = |name: &str, amount: Option<Amount>| said.lock().unwrap().get(name) == Some(&amount);
        let quarter = Amount { done: 250, all: 1000 };
        let act = |action: &Action, meter: &Meter| {
            let Action::ReleaseMember { name, .. } = action else { return Ok(()) };
            let amount = match name.as_str() {
                "measured" => {
                    meter.expect(quarter.all);
                    meter.add(quarter.done);
                    Some(quarter)
                }
                "long" => None,
                "fails" => anyhow::bail!("it fails"),
                _ => return Ok(()),
            };
            let began = Instant::now();
            while !is_said(name, amount) && began.elapsed() < Duration::from_secs(60) {
                std::thread::yield_now();
            }
            Ok(())
        };
        let steps =
            [step("measured", &[]), step("long", &[]), step("short", &[]), step("fails", &[2]), step("x", &[3])];
        let (failed, took) = run(&steps, &act, |told| told + Duration::from_millis(5), &|progress| {
            if let Progress::Going { volume, amount, .. } = progress {
                said.lock().unwrap().insert(volume, amount);
            }
        });
        assert!(is_said("measured", Some(quarter)) && is_said("long", None), "{said:?}");
        let failed: Vec<(usize, bool)> = failed.iter().map(|(i, error)| (*i, error.is_some())).collect();
        assert_eq!(failed, [(3, true), (4, false)]);
        assert!(took[..2].iter().all(|took| *took >= Duration::from_millis(5)) && took[4].is_zero(), "{took:?}");
    }

    #[test]
    fn a_step_is_not_spoken_of_before_its_time() {
        let said = Mutex::new(0);
        let tell = |_: Progress| *said.lock().unwrap() += 1;
        let mut is = UnderWay { began: Instant::now(), told: Duration::ZERO, meter: Arc::default() };
        let mut after = |next: fn(Duration) -> Duration| {
            speak(&step("v", &[]), &mut is, next, &tell);
            *said.lock().unwrap()
        };
        assert_eq!(after(|_| Duration::from_secs(3600)), 0);
        assert_eq!(after(|told| told), 1);
        assert_eq!(after(|told| told + Duration::from_secs(3600)), 1, "from when it was last spoken of");
    }

    #[test]
    fn progress_is_said_in_these_words() {
        let (volume, took) = (|| "object/B1".to_owned(), Duration::from_secs(40));
        let going = |amount| Progress::Going { volume: volume(), step: "erase vdd".into(), took, amount }.to_string();
        let amount = Amount { done: 8_000_000_000, all: 12_000_000_000_000 };
        assert_eq!(going(Some(amount)), "object/B1: erase vdd: 8.0 GB of 12.0 TB, 200.0 MB/s, about 17 h left");
        assert_eq!(going(None), "object/B1: erase vdd: under way for 40 s");
    }
}
