//! Cases of one node from its first start on: whose its disks are, what is made of them, and that it stays.

use super::{
    MIRROR, MOUNTS, STATE, boot, clear, codes, full, member_start, pull, run, run_watched, stop, verdicts, witness,
};
use crate::lay;
use firstboot::observe;
use firstboot::storage::{Status, StorageOutcome};
use machine_config::schema::{Array, Format, Volume};
use qemu_tests::fault::foreign::Foreign;
use qemu_tests::guest::config::config;
use qemu_tests::guest::{FOREIGN, disks};
use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;
use storage_plan::Verdict;

pub(super) fn observe_reads_what_disks_are() {
    let inventory = observe::read(Some(&boot())).unwrap();
    let found = |serial: &str| {
        let device = inventory.devices.iter().find(|d| d.serial.as_deref() == Some(serial));
        device.unwrap_or_else(|| panic!("no disk {serial} was observed"))
    };
    let disk = found(disks::MIRROR[0]);
    assert_eq!((disk.size, disk.logical_sector), (lay::size(disks::MIRROR[0]), 512));
    assert_eq!(disk.transport, Some(machine_config::schema::Transport::Virtio));
    assert!(disk.rest.is_blank() && disk.ends.is_empty() && disk.signatures.is_empty(), "{disk:?}");
    let system = found(disks::SYSTEM);
    assert_eq!(system.partitions.len(), 3);
    assert!(system.free_tail.is_blank() && !system.table.backup_at_end, "{:?}", system.free_tail);
    let foreign = found(&disks::serial(Foreign::Gpt));
    assert_eq!(foreign.partitions.iter().map(|p| p.signatures.len()).collect::<Vec<_>>(), [1, 0], "{foreign:?}");
}

/// All foreign disks at once, with a file system on each and a blank disk beside them, and as members of mirrors: one
/// look at the disks does for all.
static FOREIGN_RUNS: LazyLock<Vec<(StorageOutcome, Vec<String>)>> = LazyLock::new(|| {
    let serials: Vec<String> = FOREIGN.iter().map(|(_, foreign)| disks::serial(*foreign)).collect();
    let all: Vec<&str> = serials.iter().map(String::as_str).collect();
    let mut mirrors = config(&[], &[], Format::Ext4);
    for pair in all.chunks(2) {
        let array = config(&[], pair, Format::Ext4).storage.array.remove("meta").unwrap();
        let name = format!("m{}", mirrors.storage.array.len());
        let volume = Volume { mount: Some(format!("/var/lib/volumes/{name}")), ..array.volume["db"].clone() };
        let volume = BTreeMap::from([(name.clone(), volume)]);
        mirrors.storage.array.insert(name, Array { volume, ..array });
    }
    let beside_a_blank_one = [&all[..], &[disks::LONE]].concat();
    [config(&beside_a_blank_one, &[], Format::Ext4), mirrors].iter().map(run_watched).collect()
});

/// It is named by itself, and nothing is done. That it and the blank disk keep their every byte is for the host to see.
pub(super) fn a_foreign_disk_is_refused(foreign: Foreign) {
    let serial = format!("serial {} ", disks::serial(foreign));
    for (outcome, steps) in FOREIGN_RUNS.iter() {
        assert_eq!((outcome.status, outcome.writes, steps), (Status::Stopped, 0, &Vec::new()));
        assert_eq!(outcome.refusals.len(), FOREIGN.len(), "{:?}", outcome.refusals);
        let named: Vec<_> = outcome.refusals.iter().filter(|r| r.what.contains(&serial)).collect();
        let [refusal] = named[..] else { panic!("{serial}: {named:?}") };
        assert_eq!(refusal.code, foreign.code());
        for words in foreign.words() {
            assert!(refusal.what.contains(words), "{words:?} is not in {refusal}");
        }
    }
    assert_eq!(observe::arrays().unwrap(), [], "an array was started");
    assert!(observe::places().unwrap().iter().all(|m| !m.starts_with("/var")), "something was mounted");
}

/// Those that have no disk of their own, as many at a time as there are blank disks for.
pub(super) fn every_other_format_is_refused() {
    let others: Vec<Foreign> =
        Foreign::ALL.into_iter().filter(|foreign| FOREIGN.iter().all(|(_, other)| other != foreign)).collect();
    for kinds in others.chunks(disks::STRIPED.len()) {
        let laid: Vec<(&str, Foreign)> = disks::STRIPED.into_iter().zip(kinds.iter().copied()).collect();
        for (serial, foreign) in &laid {
            foreign.bytes(lay::size(serial)).iter().for_each(|(offset, bytes)| lay::write(serial, *offset, bytes));
            lay::read_anew(serial);
        }
        let before: Vec<u64> = laid.iter().map(|(serial, _)| lay::writes(serial)).collect();
        let named: Vec<&str> = laid.iter().map(|(serial, _)| *serial).collect();
        let (outcome, steps) = run_watched(&config(&named, &[], Format::Ext4));
        assert_eq!((outcome.status, outcome.writes, steps), (Status::Stopped, 0, Vec::new()));
        for ((serial, foreign), before) in laid.iter().zip(before) {
            let of_it: Vec<_> =
                outcome.refusals.iter().filter(|r| r.what.contains(&format!("serial {serial} "))).collect();
            let [refusal] = of_it[..] else { panic!("{foreign:?}: {of_it:?}") };
            assert_eq!(refusal.code, foreign.code(), "{foreign:?}: {refusal}");
            for words in foreign.words() {
                assert!(refusal.what.contains(words), "{foreign:?}: {words:?} is not in {refusal}");
            }
            assert_eq!(lay::writes(serial), before, "{foreign:?} was written to");
        }
        laid.iter().for_each(|(serial, _)| clear(serial));
    }
}

pub(super) fn a_missing_disk_is_refused_by_name() {
    let (outcome, steps) = run_watched(&config(&[disks::LONE, disks::ABSENT], &[], Format::Xfs));
    assert_eq!((outcome.status, codes(&outcome)), (Status::Stopped, vec!["BP-S001"]));
    assert!(outcome.refusals[0].what.contains(disks::ABSENT), "{}", outcome.refusals[0]);
    assert_eq!((outcome.writes, steps), (0, Vec::new()));
}

/// The tables that the plan would write first, in all stages of an interrupted run: just a part of their sectors, all
/// of them, and none.
pub(super) fn what_was_begun_is_known() {
    let inventory = observe::read(Some(&boot())).unwrap();
    let plan = storage_plan::plan(&inventory, &full());
    for step in &plan.graph.steps {
        let storage_plan::Action::WriteTable { disk, table, .. } = &step.action else { continue };
        let device = inventory.devices.iter().find(|d| d.name == *disk).unwrap();
        let serial = device.serial.as_deref().unwrap();
        let writes = match serial {
            "B1" => 1,
            "B2" => 3,
            "A1" => usize::MAX,
            disks::SYSTEM => 3,
            _ => 0,
        };
        if table.partitions.iter().any(|p| p.kind == on_disk::gpt::kind::PROVISIONING) {
            for write in on_disk::gpt::layout(table, device.size).unwrap().into_iter().take(writes) {
                lay::write(serial, write.offset, &write.bytes);
            }
            lay::read_anew(serial);
        }
    }
    let plan = storage_plan::plan(&observe::read(Some(&boot())).unwrap(), &full());
    println!("{}", storage_plan::explain::table(&plan));
    assert!(!plan.is_blocked(), "{:?}", plan.all_refusals());
    let begun = plan.volumes.iter().filter(|v| v.reasons.iter().any(|r| r.contains("interrupted run began")));
    assert_eq!(begun.map(|v| v.volume.as_str()).collect::<Vec<_>>(), [STATE, "object/B1", "object/B2", MIRROR]);
}

pub(super) fn begun_and_blank_disks_become_volumes() {
    let outcome = run(&full());
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    assert_ne!(outcome.status, Status::Stopped);
    assert!(verdicts(&outcome).values().all(|v| *v == Verdict::Create), "{:?}", outcome.volumes);
    assert!(outcome.volumes.iter().all(|v| v.available && v.provisioned), "{:?}", outcome.volumes);
    let mirror = outcome.volumes.iter().find(|v| v.volume == MIRROR).unwrap();
    assert_eq!((mirror.level, mirror.format.as_str()), (Some(1), "xfs"));
    assert!(mirror.redundant || mirror.rebuilding.is_some(), "{mirror:?}");
    // Not only by the agent's own account.
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let kind = |at: &str| {
        let line = mounts.lines().find(|l| l.split(' ').nth(1) == Some(at));
        line.unwrap_or_else(|| panic!("nothing is mounted on {at}:\n{mounts}")).split(' ').nth(2).unwrap()
    };
    assert_eq!(MOUNTS.map(kind), ["xfs", "xfs", "ext4", "ext4"]);
    let arrays = fs::read_to_string("/proc/mdstat").unwrap();
    assert!(arrays.contains("raid1") && arrays.contains("[2/2] [UU]"), "{arrays}");
    for at in MOUNTS {
        fs::write(witness(at), at).unwrap();
    }
}

fn kept(outcome: &StorageOutcome) {
    assert_eq!(codes(outcome), Vec::<&str>::new());
    assert!(outcome.volumes.iter().all(|v| v.verdict == Verdict::Keep && v.available), "{:?}", outcome.volumes);
    assert_eq!(outcome.writes, 0);
    for at in MOUNTS {
        assert_eq!(fs::read_to_string(witness(at)).unwrap(), at);
    }
}

pub(super) fn a_second_run_runs_no_action() {
    let (outcome, steps) = run_watched(&full());
    kept(&outcome);
    assert_eq!(steps, Vec::<String>::new());
}

pub(super) fn a_restart_keeps_everything() {
    stop();
    let (outcome, steps) = run_watched(&full());
    kept(&outcome);
    let (assembled, mounted): (Vec<_>, Vec<_>) = steps.iter().partition(|s| s.starts_with("assemble "));
    assert!(assembled.len() == 1 && mounted.len() == MOUNTS.len(), "{steps:?}");
    assert!(mounted.iter().all(|s| s.starts_with("mount ")), "{steps:?}");
}

fn retype(serial: &str, kind: uuid::Uuid) {
    let inventory = observe::read(Some(&boot())).unwrap();
    let device = inventory.devices.iter().find(|d| d.serial.as_deref() == Some(serial)).unwrap();
    let mut table = device.table.usable().unwrap().clone();
    table.partitions[0].kind = kind;
    for write in on_disk::gpt::layout(&table, device.size).unwrap() {
        lay::write(serial, write.offset, &write.bytes);
    }
}

pub(super) fn a_provisioning_volume_is_made_anew() {
    stop();
    for serial in ["B2", disks::MIRROR[0], disks::MIRROR[1]] {
        retype(serial, on_disk::gpt::kind::PROVISIONING);
    }
    let outcome = run(&full());
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    assert!(outcome.volumes.iter().all(|v| v.available), "{:?}", outcome.volumes);
    let there = MOUNTS.map(|at| fs::exists(witness(at)).unwrap());
    assert_eq!(there, [true, false, true, false], "files of {MOUNTS:?}");
    for at in MOUNTS {
        fs::write(witness(at), at).unwrap();
    }
}

pub(super) fn a_damaged_table_is_repaired() {
    stop();
    lay::write("B1", 512, &[0; 512]);
    lay::write(disks::SYSTEM, lay::size(disks::SYSTEM) - 512, &[7; 512]);
    let outcome = run(&full());
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    let repaired = verdicts(&outcome).into_iter().filter(|(_, v)| *v == Verdict::Repair).map(|(name, _)| name);
    assert_eq!(repaired.collect::<Vec<_>>(), ["object/B1", STATE]);
    assert_eq!(outcome.writes, 2);
    stop();
    kept(&run(&full()));
}

/// The first sector is that of another mount, the second with the checksum is not.
pub(super) fn a_torn_superblock_is_put_right() {
    stop();
    for (serial, mounts) in [("B1", [7, 7]), ("B2", [8, 8])] {
        let mount_count = member_start(serial) + on_disk::ext4::OFFSET + 0x34;
        lay::write(serial, mount_count, &mounts);
        lay::read_anew(serial);
    }
    kept(&run(&full()));
}

pub(super) fn a_mirror_without_one_disk_runs() {
    stop();
    pull(disks::MIRROR[1]);
    let outcome = run(&full());
    assert_eq!(outcome.status, Status::Degraded);
    let mirror = outcome.volumes.iter().find(|v| v.volume == MIRROR).unwrap();
    assert!(mirror.available && !mirror.redundant, "{mirror:?}");
    assert!(mirror.reasons.iter().any(|r| r.contains("1 of 2")), "{mirror:?}");
    assert_eq!(fs::read_to_string(witness("/var/lib/volumes/db")).unwrap(), "/var/lib/volumes/db");
}
