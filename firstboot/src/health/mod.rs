//! The health of disks: what they and the kernel tell of it, and what a person should know.
//!
//! Guarantees: a warning is never a refusal, and nothing waits for a disk that does not answer: it is asked on a thread of
//! its own, after everything else was seen to. It is asked when the watch begins and when disks or arrays are others than
//! before, by no timer.

mod counters;
pub mod smart;
pub mod timeouts;
pub mod warnings;

use crate::controllers;
use crate::report::console::say;
use crate::report::status::Status;
use machine_config::Diagnostic;
use machine_config::schema::Transport;
use run_tool::Tool;
use smart::{Recovery, Smart};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use storage_plan::inventory::{Device, Inventory, RunningArray};
use timeouts::Member;
use warnings::{ArrayHealth, DiskHealth};

const BLOCK: &str = "/sys/block";
/// How long one disk may take to answer.
const PATIENCE: Duration = Duration::from_secs(120);
const FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/bin"];

/// Looks after the health of disks, one round after the other.
#[derive(Debug)]
pub struct Health {
    turn: Mutex<Turn>,
}

#[derive(Debug)]
struct Turn {
    /// None while a thread goes its round.
    rounds: Option<Rounds>,
    /// What the next round is about; only the latest counts.
    next: Option<Machine>,
}

impl Health {
    /// Nothing was looked at yet; warnings of `status` were told already.
    #[must_use]
    pub fn new(status: &Status) -> Arc<Health> {
        let smartctl = Tool::find("smartctl", &FOLDERS.map(Path::new)).ok().map(|tool| tool.within(PATIENCE));
        let rounds = Rounds { smartctl, warnings: status.warnings.clone(), ..Rounds::default() };
        Arc::new(Health { turn: Mutex::new(Turn { rounds: Some(rounds), next: None }) })
    }

    /// Has the disks asked, if the machine is another than in the last round. Returns at once.
    pub fn look(self: &Arc<Health>, inventory: &Inventory) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.next = Some(Machine { disks: inventory.devices.clone(), arrays: inventory.arrays.clone() });
        // Whoever goes its round finds it at the end.
        let Some(rounds) = turn.rounds.take() else { return };
        drop(turn);
        let health = self.clone();
        std::thread::spawn(move || {
            let mut next = health.next(rounds);
            while let Some((mut rounds, machine)) = next {
                rounds.go(&machine);
                next = health.next(rounds);
            }
        });
    }

    /// What comes next; if there is nothing, `rounds` is left for whoever comes.
    fn next(&self, rounds: Rounds) -> Option<(Rounds, Machine)> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(machine) = turn.next.take() {
            return Some((rounds, machine));
        }
        turn.rounds = Some(rounds);
        None
    }
}

/// The disks and arrays of a round.
#[derive(Debug, Clone)]
struct Machine {
    disks: Vec<Device>,
    arrays: Vec<RunningArray>,
}

impl Machine {
    /// What makes it another machine: its disks, who works in its arrays, and whether they are at rest. Asking a disk makes
    /// events of its own, as every program does that closes a disk it could have written to.
    fn essence(&self) -> Vec<String> {
        let disks = self.disks.iter().map(|d| format!("{} {:?}", d.name, d.identity()));
        let arrays = self
            .arrays
            .iter()
            .map(|a| format!("{} {:?} {:?} {:?} {}", a.name, a.members, a.spares, a.failed, a.sync_action == "idle"));
        disks.chain(arrays).collect()
    }

    /// The disk with this partition, in words.
    fn member(&self, partition: &str) -> String {
        let has = |device: &&Device| device.partitions.iter().any(|p| p.name == partition);
        self.disks.iter().find(has).map_or_else(|| partition.to_owned(), Device::words)
    }

    /// What an array is called: by its superblocks, or by the kernel.
    fn array(&self, array: &RunningArray) -> String {
        let md = self.disks.iter().flat_map(|d| &d.partitions).filter_map(|p| p.md.as_ref());
        let name =
            md.filter(|md| Some(md.array) == array.uuid).map(|md| md.name.rsplit(':').next().unwrap_or_default());
        name.into_iter().find(|name| !name.is_empty()).map_or_else(|| array.name.clone(), str::to_owned)
    }
}

/// Commands to a disk that failed, as the kernel counts them.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    /// Its count at the end of the last round.
    then: u64,
    /// Those between rounds. Asking a disk for what it does not have fails, too, and is no evidence.
    failed: u64,
}

/// What is kept from one round to the next.
#[derive(Debug, Default)]
struct Rounds {
    smartctl: Option<Tool>,
    essence: Option<Vec<String>>,
    counted: BTreeMap<String, Counted>,
    warnings: Vec<Diagnostic>,
}

impl Rounds {
    fn go(&mut self, machine: &Machine) {
        let essence = machine.essence();
        if self.essence.as_ref() == Some(&essence) {
            return;
        }
        let can_tell: Vec<&Device> = machine.disks.iter().filter(|d| can_tell(d)).collect();
        if self.essence.is_none() && self.smartctl.is_none() && !can_tell.is_empty() {
            say(&["disks are not asked for their health: this image has no smartctl".to_owned()]);
        }
        self.count(machine, |counted, now| {
            counted.failed += now.saturating_sub(counted.then);
        });
        let mut smart = self.ask(&can_tell);
        if let Some(smartctl) = &self.smartctl {
            let block = Path::new(BLOCK);
            let member = |disk: String| Member {
                recovery: smart.get(&disk).map_or(Recovery::Unknown, |smart| smart.recovery),
                patience: timeouts::patience(block, &disk),
                disk,
            };
            let members: Vec<Member> =
                timeouts::members(&machine.disks, &machine.arrays).into_iter().map(member).collect();
            timeouts::set(&timeouts::steps(&members), smartctl, block);
        }
        self.count(machine, |_, _| ());
        let disks: Vec<DiskHealth> = machine
            .disks
            .iter()
            .map(|device| DiskHealth {
                words: device.words(),
                smart: smart.remove(&device.name),
                failed_commands: self.counted.get(key(device)).map_or(0, |counted| counted.failed),
            })
            .collect();
        let arrays: Vec<ArrayHealth> = machine.arrays.iter().map(|array| array_health(machine, array)).collect();
        let told = controllers::read(&machine.disks, PATIENCE);
        if self.essence.is_none() {
            say(&told.silent);
        }
        let mut warnings = warnings::warnings(&disks, &arrays);
        warnings.extend(controllers::warnings::warnings(&told.controllers));
        self.tell(warnings);
        self.essence = Some(essence);
    }

    /// Reads the kernel's counters. What a disk had when it was first seen counts for nothing.
    fn count(&mut self, machine: &Machine, note: impl Fn(&mut Counted, u64)) {
        for device in &machine.disks {
            let Some(now) = counters::failed_commands(Path::new(BLOCK), &device.name) else { continue };
            let counted = self.counted.entry(key(device).to_owned()).or_insert(Counted { then: now, failed: 0 });
            note(counted, now);
            counted.then = now;
        }
    }

    /// Asks all of them side by side: one that is slow to answer does not hold up the others.
    fn ask(&self, disks: &[&Device]) -> BTreeMap<String, Smart> {
        let Some(smartctl) = &self.smartctl else { return BTreeMap::new() };
        std::thread::scope(|scope| {
            let asked: Vec<_> =
                disks.iter().map(|d| (d.name.clone(), scope.spawn(|| ask(smartctl, &d.name)))).collect();
            let answers = asked.into_iter().map(|(name, answer)| (name, answer.join().ok().flatten()));
            answers.filter_map(|(name, answer)| Some((name, answer?))).collect()
        })
    }

    /// Says what is new on the consoles, and writes all of it into the status file.
    fn tell(&mut self, warnings: Vec<Diagnostic>) {
        say(&news(&self.warnings, &warnings));
        if self.warnings != warnings {
            Status::update(|status| status.warnings.clone_from(&warnings));
        }
        self.warnings = warnings;
    }
}

/// Whether there is any sense in asking: what a virtual machine or a card reader shows has no such thing.
fn can_tell(device: &Device) -> bool {
    !matches!(device.transport, Some(Transport::Virtio | Transport::Mmc))
}

fn key(device: &Device) -> &str {
    device.identity().unwrap_or(&device.name)
}

fn ask(smartctl: &Tool, disk: &str) -> Option<Smart> {
    // Its exit code is a mask that tells of the disk's state as well (smartctl(8)); the answer has it all.
    let any: Vec<i32> = (0..=255).collect();
    let run = smartctl.command().args(["--json=c", "-H", "-A", "-l", "error", "-l", "scterc"]);
    let answer = run.arg(Path::new("/dev").join(disk)).accept(&any).run();
    let answer = answer.map_err(|e| tracing::warn!(disk, "cannot be asked for its health: {e}")).ok()?;
    smart::parse(&answer.stdout_text()).unwrap_or_else(|e| {
        tracing::warn!(disk, "smartctl's answer can't be read: {e}");
        None
    })
}

fn array_health(machine: &Machine, array: &RunningArray) -> ArrayHealth {
    let (mismatches, errors) = counters::of_array(Path::new(BLOCK), array);
    let members = errors.into_iter().map(|(partition, errors)| (machine.member(&partition), errors)).collect();
    ArrayHealth { name: machine.array(array), level: array.level.clone(), mismatches, members }
}

/// A line for each warning that is new or says something else, and one when the last has gone.
fn news(before: &[Diagnostic], after: &[Diagnostic]) -> Vec<String> {
    let new = after.iter().filter(|warning| !before.contains(warning));
    let mut lines: Vec<String> = new.map(|warning| format!("{}: {}", warning.code, warning.what)).collect();
    if !before.is_empty() && after.is_empty() {
        lines.push("no disk tells of anything wrong any more".into());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage_plan::inventory::Uses;

    fn mirror(members: &[&str], sync_action: &str, done: u64) -> Machine {
        let array = RunningArray {
            name: "md127".into(),
            uuid: None,
            level: "raid1".into(),
            members: members.iter().map(|m| (*m).to_owned()).collect(),
            spares: Vec::new(),
            failed: Vec::new(),
            journaled: false,
            journal: None,
            wanted: 2,
            sync_action: sync_action.into(),
            sync_progress: Some((done, 100)),
            read_only: false,
            mismatches: 0,
            size: 0,
            filled: None,
            signatures: Vec::new(),
            uses: Uses::default(),
        };
        Machine { disks: Vec::new(), arrays: vec![array] }
    }

    #[test]
    fn only_another_machine_is_asked_again() {
        let whole = mirror(&["sda1", "sdb1"], "idle", 0).essence();
        assert_eq!(mirror(&["sda1", "sdb1"], "idle", 0).essence(), whole);
        assert_ne!(mirror(&["sda1"], "idle", 0).essence(), whole);
        let filled = mirror(&["sda1"], "recover", 7).essence();
        assert_eq!(mirror(&["sda1"], "recover", 8).essence(), filled, "only further");
        assert_ne!(mirror(&["sda1"], "idle", 0).essence(), filled);
    }

    #[test]
    fn a_warning_is_said_once_and_again_when_it_says_more() {
        let warning =
            |what: &str| storage_plan::refusal::diagnostic("BP-H002", what.into(), String::new(), String::new());
        let (one, two) = (vec![warning("8 put aside.")], vec![warning("9 put aside.")]);
        assert_eq!(news(&[], &one), ["BP-H002: 8 put aside."]);
        assert_eq!(news(&one, &one), Vec::<String>::new());
        assert_eq!(news(&one, &two), ["BP-H002: 9 put aside."]);
        assert_eq!(news(&two, &[]), ["no disk tells of anything wrong any more"]);
    }

    #[test]
    fn what_comes_while_a_round_goes_on_is_taken_up_at_its_end() {
        let health = Health::new(&Status::default());
        let rounds = health.turn.lock().unwrap().rounds.take().unwrap();
        // As if its thread were at work.
        health.look(&Inventory { arrays: mirror(&["sda1"], "idle", 0).arrays, ..Inventory::default() });
        health.look(&Inventory { arrays: mirror(&["sdb1"], "idle", 0).arrays, ..Inventory::default() });
        let (rounds, machine) = health.next(rounds).unwrap();
        assert_eq!(machine.arrays[0].members, ["sdb1"], "the latest alone");
        assert!(health.next(rounds).is_none());
        assert!(health.turn.lock().unwrap().rounds.is_some());
    }
}
