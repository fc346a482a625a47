//! The storage cases: what each does on the guest's disks, and what must hold after it.

mod altered;
mod before_writing;
mod encryption;
mod erasing;
pub mod groups;
mod growing;
mod journal;
mod own_commands;
mod partitions;
mod policies;
mod raw;
mod replacing;
mod retiring;
mod returning;
pub mod system_disks;
mod tpm;

use crate::{lay, model, tool};
use firstboot::apply::Progress;
use firstboot::boot_record::{BootRecord, MachineIdSource};
use firstboot::observe;
use firstboot::permits::Permits;
use firstboot::secrets::Secrets;
use firstboot::storage::{self, Status, StorageOutcome};
use machine_config::schema::{Array, Format, Level, MachineConfig, Passphrase, Volume};
use qemu_tests::fault::foreign::Foreign;
use qemu_tests::guest::config::{config, serials};
use qemu_tests::guest::{FOREIGN, FORMATS, LZ4_IMAGE, MISSING, OBSERVE, TAKEN_PLACE, ZSTD_IMAGE, disks, images};
use qemu_tests::sight::{Sight, check};
use std::collections::BTreeMap;
use std::fs;
use std::sync::{LazyLock, Mutex};
use storage_plan::Verdict;
use storage_plan::inventory::RAW;
use sys_mount::{Mount, MountFlags, Unmount, UnmountFlags};

/// The case of this name.
pub fn of(name: &str) -> Option<Box<dyn Fn() + std::panic::UnwindSafe>> {
    if let Some((_, foreign)) = FOREIGN.iter().find(|(case, _)| *case == name) {
        return Some(Box::new(|| a_foreign_disk_is_refused(*foreign)));
    }
    let case = OWN.iter().find(|(case, _)| *case == name)?.1;
    Some(Box::new(case))
}

/// The cases that are not about one foreign disk. A name that the host's list does not have never runs, and one that
/// is lacking here fails there.
const OWN: &[(&str, fn())] = &[
    (OBSERVE, observe_reads_what_disks_are),
    (MISSING, a_missing_disk_is_refused_by_name),
    (FORMATS, every_other_format_is_refused),
    ("invariant 4: what an interrupted run began is known as ours", what_was_begun_is_known),
    (
        "begun and blank disks become RAID1 with XFS, ext4 on each disk, and the state partition",
        begun_and_blank_disks_become_volumes,
    ),
    ("a second run keeps every volume and runs no action", a_second_run_runs_no_action),
    ("a restart keeps every volume and every file, and writes nothing", a_restart_keeps_everything),
    ("invariant 4: a volume of type provisioning is made anew, and no other", a_provisioning_volume_is_made_anew),
    ("a damaged table is repaired, and nothing else is written", a_damaged_table_is_repaired),
    (
        "invariant 4: an ext4 whose superblock a power cut tore is mounted with its files",
        a_torn_superblock_is_put_right,
    ),
    ("invariant 8: a mirror without one disk runs, and says that it is degraded", a_mirror_without_one_disk_runs),
    (TAKEN_PLACE, replacing::a_foreign_disk_does_not_replace_a_member),
    (
        "a mirror takes the named blank disk in place of the lost one, is filled from the other, and runs on it alone",
        replacing::a_named_disk_replaces_a_member,
    ),
    ("a RAID0 of two disks is made and kept, and refused without one of them", || {
        an_array_with_stripes(Level::Raid0, 2, 0, &["R2"], false)
    }),
    ("a RAID5 of three disks and a spare is made and kept, and runs without a member", || {
        an_array_with_stripes(Level::Raid5, 4, 1, &["R1"], true)
    }),
    ("a RAID6 of four disks is made and kept, and runs without two of them", || {
        an_array_with_stripes(Level::Raid6, 4, 0, &["R2", "R3"], true)
    }),
    ("a RAID10 of four disks is made and kept, and runs without one of each pair", || {
        an_array_with_stripes(Level::Raid10, 4, 0, &["R1", "R4"], true)
    }),
    (
        "invariant 2: a permit for something else, elsewhere or of yesterday does nothing",
        erasing::a_permit_that_does_not_fit,
    ),
    ("invariant 2: a permit that names what is there frees the disk", erasing::a_permit_that_fits_frees_the_disk),
    (
        "an NVMe disk erases itself by a permit for that, and one that can't is not written to",
        erasing::a_disk_erases_itself,
    ),
    (
        "an ATA disk erases itself by its security commands, and one that is frozen or has a password is not written to",
        own_commands::an_ata_disk_erases_itself,
    ),
    (
        "an ATA disk that fails to erase itself is left without a password, and gone on with by its note",
        own_commands::an_ata_disk_that_fails_is_left_without_a_password,
    ),
    ("ATA and SCSI disks are sanitized by their own commands", own_commands::disks_are_sanitized),
    (
        "a disk without the erase command of the permit's method is not written to",
        own_commands::what_a_disk_can_not_do_is_refused,
    ),
    ("invariant 2: a permit is used once", erasing::a_permit_is_used_once),
    (
        "invariant 4: a disk that was half erased when the power went is erased without the permit",
        erasing::a_half_erased_disk_is_erased,
    ),
    (
        "a volume whose generation is raised is made anew with a permit, and no other",
        erasing::a_raised_generation_makes_anew_what_it_names,
    ),
    (
        "a volume is made and mounted with the options that the site file gives",
        policies::volumes_are_made_and_mounted_as_asked,
    ),
    (
        "raw volumes are made, left alone whatever is on them, and found by a path",
        raw::raw_volumes_are_made_and_left_alone,
    ),
    (
        "two partitions on each disk are made together, kept over a restart, and never cut anew",
        partitions::two_on_each_disk_are_made_together,
    ),
    (
        "encrypted volumes are made, opened with the passphrase and with no other, and hold nothing that can be read without",
        encryption::encrypted_volumes_are_made_and_opened,
    ),
    (
        "a volume group and a volume of each layout are made, and found again with what they hold",
        groups::a_group_is_made_and_found_again,
    ),
    (
        "invariant 4: a half-made volume of a group is made anew, and no other",
        groups::only_a_half_made_volume_is_made_anew,
    ),
    (
        "a volume of a group is made larger while it is mounted, and an interrupted run is gone on with",
        groups::a_volume_is_made_larger_while_it_is_mounted,
    ),
    (
        "a lost disk of a group stops what lies on it, and a mirror runs without a copy",
        groups::a_lost_disk_stops_what_lies_on_it,
    ),
    ("a RAID1 with XFS is made as large as the disks that its members were replaced by, while it is mounted", || {
        let members = [disks::REPLACEMENT, disks::SYSTEMS[1], disks::SYSTEMS[2]];
        growing::an_array_takes_up_what_its_members_have(Level::Raid1, &members, Format::Xfs);
    }),
    ("a RAID5 with ext4 is made as large as the disks that its members were replaced by, while it is mounted", || {
        let members = [disks::STRIPED[0], disks::REPLACEMENT, disks::SYSTEMS[1], disks::SYSTEMS[2]];
        growing::an_array_takes_up_what_its_members_have(Level::Raid5, &members, Format::Ext4);
    }),
    (
        "invariant 4: a file system that an interrupted run left smaller than its array is made larger",
        growing::a_file_system_that_was_left_smaller_is_made_larger,
    ),
    (
        "what the TPM opens is opened under releases of the same key alone, and with the recovery key when the TPM is cleared",
        tpm::the_tpm_opens_what_it_should,
    ),
    (
        "invariant 6: a dirty array that lacks a member is read where the site file says so, and nothing is written to it",
        policies::a_dirty_degraded_array_is_read,
    ),
    (
        "an array keeps its journal on a disk of its own, is not written to without it, and says so when it fails",
        journal::an_array_keeps_its_journal,
    ),
    (
        "invariant 5: each disk is locked and looked at again before the first write to any",
        before_writing::disks_are_locked_and_looked_at_again,
    ),
    (
        "invariant 7: a program that is missing is named before anything is written",
        before_writing::a_missing_program_is_named_before_anything_is_written,
    ),
    ("an array is synced as fast as the site file says", policies::an_array_is_rebuilt_as_fast_as_asked),
    ("an array is scrubbed when that is due, and what came of it is told", policies::an_array_is_scrubbed),
    ("after each step the model shows what observing sees", the_model_is_what_happens),
    ("invariant 9: a higher number of spares and a name add a spare, which takes over when a member fails", || {
        replacing::a_spare_is_added_to_an_array_that_runs();
    }),
    ("a member of a RAID1 that was away comes back and gets what it missed", returning::a_member_comes_back),
    (
        "invariant 3: halves of a RAID1 that were used apart stay apart",
        returning::halves_that_were_used_apart_stay_apart,
    ),
    (
        "a RAID1 copies a retired member onto the named blank disk while it serves, over a restart, and lets it go",
        || {
            retiring::a_member_is_copied_and_let_go_of(Level::Raid1, &disks::STRIPED[..2]);
        },
    ),
    ("a RAID5 with a parity log copies a retired member onto the named blank disk, and lets it go", || {
        retiring::a_member_is_copied_and_let_go_of(Level::Raid5, &disks::STRIPED[..3]);
    }),
    (
        "a RAID5 takes the blank disk in the slot of the lost one while it runs, also after an interrupted run",
        replacing::a_disk_in_the_slot_replaces_a_member,
    ),
    ("a mirror whose member is pulled under load is filled onto the blank disk put in its place", || {
        replacing::a_member_is_pulled_under_load(Level::Raid1, 2);
    }),
    ("a RAID5 whose member is pulled under load is filled onto the blank disk put in its place", || {
        replacing::a_member_is_pulled_under_load(Level::Raid5, 3);
    }),
    ("what a member of a RAID5 altered is found by a scrub, and comes back whole on the disk put in its place", || {
        altered::what_a_member_altered_is_found_and_comes_back(Level::Raid5, 3);
    }),
    ("what a member of a RAID6 altered is found by a scrub, and comes back whole on the disk put in its place", || {
        altered::what_a_member_altered_is_found_and_comes_back(Level::Raid6, 4);
    }),
    (
        "the state is mirrored on two system disks with the image on both, started from either, and made whole again",
        system_disks::the_state_is_mirrored_on_system_disks,
    ),
    ("an array that fails while it runs is refused, and everything else is looked at", an_array_fails_while_it_runs),
    (ZSTD_IMAGE, || an_image_is_shown_as_it_is(images::IMAGES[0].0)),
    (LZ4_IMAGE, || an_image_is_shown_as_it_is(images::IMAGES[1].0)),
];

/// Where the volumes of [`full`] are mounted.
const MOUNTS: [&str; 4] = ["/var", "/var/lib/volumes/db", "/var/lib/volumes/B1", "/var/lib/volumes/B2"];
const STATE: &str = "state";
const MIRROR: &str = "meta/db";

/// What stage 1 would have told of this boot.
pub fn boot() -> BootRecord {
    boot_from(disks::SYSTEM)
}

/// The same, had the node been started from the disk with this serial number.
fn boot_from(serial: &str) -> BootRecord {
    BootRecord {
        root_hash: String::new(),
        root_device: format!("{}2", lay::name(serial)),
        root_partition: disks::ROOT,
        verity_device: format!("{}3", lay::name(serial)),
        disk: Some(lay::name(serial)),
        started_from_disk: None,
        secure_boot: None,
        pcr_11: None,
        addons: Vec::new(),
        addons_for_this_model: Vec::new(),
        slot: Some("a".into()),
        machine_id: MachineIdSource::Random,
        warden: None,
        began: 0.0,
        ended: 0.0,
    }
}

fn full() -> MachineConfig {
    config(&disks::EACH, &disks::MIRROR, Format::Xfs)
}

/// Runs the storage unit; also gives the steps that it began, in words.
pub fn run_watched(config: &MachineConfig) -> (StorageOutcome, Vec<String>) {
    run_with(config, Permits::default())
}

fn run_with(config: &MachineConfig, permits: Permits) -> (StorageOutcome, Vec<String>) {
    run_by(&boot(), config, permits, &secrets())
}

/// What opens encrypted volumes.
fn passphrase() -> Passphrase {
    Passphrase::new("of the guest, and of no other")
}

pub fn secrets() -> Secrets {
    Secrets { passphrase: Some(passphrase()), ..Secrets::default() }
}

/// As [`run_watched`], on a node that was started so.
fn run_from(boot: &BootRecord, config: &MachineConfig) -> (StorageOutcome, Vec<String>) {
    run_by(boot, config, Permits::default(), &secrets())
}

fn run_by(
    boot: &BootRecord,
    config: &MachineConfig,
    permits: Permits,
    secrets: &Secrets,
) -> (StorageOutcome, Vec<String>) {
    let (clock, steps) = (std::time::Instant::now(), Mutex::new(Vec::new()));
    let outcome = storage::run(config, Some(boot), &|| permits.clone(), secrets, &|progress| {
        println!("  {:6.2} {progress}", clock.elapsed().as_secs_f64());
        if let Progress::Began { step, .. } = progress {
            steps.lock().unwrap().push(step);
        }
    });
    println!("{}", outcome.table);
    for refusal in &outcome.refusals {
        println!("{refusal}");
    }
    println!("  {:6.2} done", clock.elapsed().as_secs_f64());
    (outcome, steps.into_inner().unwrap())
}

fn run(config: &MachineConfig) -> StorageOutcome {
    run_watched(config).0
}

fn codes(outcome: &StorageOutcome) -> Vec<&str> {
    outcome.refusals.iter().map(|r| r.code.as_str()).collect()
}

/// The verdict of each volume, by name.
fn verdicts(outcome: &StorageOutcome) -> BTreeMap<&str, Verdict> {
    outcome.volumes.iter().map(|v| (v.volume.as_str(), v.verdict)).collect()
}

/// As a restart leaves it: nothing mounted, no array running.
fn stop() {
    for at in MOUNTS.iter().rev() {
        nix::mount::umount(*at).unwrap();
    }
    for array in observe::arrays().unwrap() {
        tool("/usr/sbin/mdadm", &["--stop", &format!("/dev/{}", array.name)]);
    }
}

/// The file that tells whether a volume is the one that was.
fn witness(at: &str) -> String {
    format!("{at}/written-before")
}

fn observe_reads_what_disks_are() {
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
fn a_foreign_disk_is_refused(foreign: Foreign) {
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
fn every_other_format_is_refused() {
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

fn a_missing_disk_is_refused_by_name() {
    let (outcome, steps) = run_watched(&config(&[disks::LONE, disks::ABSENT], &[], Format::Xfs));
    assert_eq!((outcome.status, codes(&outcome)), (Status::Stopped, vec!["BP-S001"]));
    assert!(outcome.refusals[0].what.contains(disks::ABSENT), "{}", outcome.refusals[0]);
    assert_eq!((outcome.writes, steps), (0, Vec::new()));
}

/// The tables that the plan would write first, in all stages of an interrupted run: just a part of their sectors, all
/// of them, and none.
fn what_was_begun_is_known() {
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

fn begun_and_blank_disks_become_volumes() {
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

fn a_second_run_runs_no_action() {
    let (outcome, steps) = run_watched(&full());
    kept(&outcome);
    assert_eq!(steps, Vec::<String>::new());
}

fn a_restart_keeps_everything() {
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

fn a_provisioning_volume_is_made_anew() {
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

fn a_damaged_table_is_repaired() {
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

/// Takes the disk out of the machine.
fn pull(serial: &str) {
    let device = fs::canonicalize(format!("/sys/block/{}/device", lay::name(serial))).unwrap();
    fs::write(device.parent().unwrap().join("remove"), "1").unwrap();
}

/// Puts back what was pulled, and waits for these; [`system_disks`] are left out, which nobody has to look at.
fn put_back(serials: &[&str]) {
    system_disks::bring();
    serials.iter().for_each(|serial| lay::wait_for(serial));
    system_disks::put_away();
}

/// The first sector is that of another mount, the second with the checksum is not.
fn a_torn_superblock_is_put_right() {
    stop();
    for (serial, mounts) in [("B1", [7, 7]), ("B2", [8, 8])] {
        let mount_count = member_start(serial) + on_disk::ext4::OFFSET + 0x34;
        lay::write(serial, mount_count, &mounts);
        lay::read_anew(serial);
    }
    kept(&run(&full()));
}

fn a_mirror_without_one_disk_runs() {
    stop();
    pull(disks::MIRROR[1]);
    let outcome = run(&full());
    assert_eq!(outcome.status, Status::Degraded);
    let mirror = outcome.volumes.iter().find(|v| v.volume == MIRROR).unwrap();
    assert!(mirror.available && !mirror.redundant, "{mirror:?}");
    assert!(mirror.reasons.iter().any(|r| r.contains("1 of 2")), "{mirror:?}");
    assert_eq!(fs::read_to_string(witness("/var/lib/volumes/db")).unwrap(), "/var/lib/volumes/db");
}

/// As [`stop`], whatever runs or is open, and without paths to raw volumes: nodes and links are made anew at each boot.
pub fn stop_all() {
    let _ = fs::remove_dir_all(RAW);
    let mut mounts: Vec<String> = observe::places().unwrap().into_iter().filter(|m| m.starts_with("/var")).collect();
    mounts.sort();
    for at in mounts.iter().rev() {
        lay::patiently(&format!("{at} is not unmounted"), || nix::mount::umount(at.as_str()));
    }
    for opened in observe::opened().unwrap() {
        tool("/usr/sbin/cryptsetup", &["close", &format!("luks-{}", opened.uuid)]);
    }
    deactivate();
    for array in observe::arrays().unwrap() {
        tool("/usr/sbin/mdadm", &["--stop", &format!("/dev/{}", array.name)]);
    }
}

/// Lets go of volumes of groups, whatever has become of their disks: each before what it lies on. LVM's links to them go, too, as
/// they do with the power.
fn deactivate() {
    let shown = || -> Vec<String> {
        let all = fs::read_dir("/sys/block").unwrap().flatten();
        let of = |at: &std::path::Path, name: &str| fs::read_to_string(at.join("dm").join(name)).unwrap_or_default();
        let all = all.filter(|entry| of(&entry.path(), "uuid").starts_with("LVM-"));
        let free = all.filter(|entry| fs::read_dir(entry.path().join("holders")).unwrap().count() == 0);
        free.map(|entry| of(&entry.path(), "name").trim().to_owned()).collect()
    };
    loop {
        let free = shown();
        if free.is_empty() {
            break;
        }
        free.iter().for_each(|name| tool("/usr/sbin/dmsetup", &["remove", "--retry", name]));
    }
    let of_groups = |name: &str| name.starts_with("bedplate.");
    let folders = fs::read_dir("/dev").unwrap().flatten().filter(|e| e.file_name().to_str().is_some_and(of_groups));
    folders.for_each(|folder| fs::remove_dir_all(folder.path()).unwrap());
}

/// Where the partition of an array's member begins on this disk.
fn member_start(serial: &str) -> u64 {
    let inventory = observe::read(Some(&boot())).unwrap();
    let device = inventory.devices.iter().find(|d| d.serial.as_deref() == Some(serial)).unwrap();
    device.partitions[0].start
}

/// A configuration with an array of the striped disks. Its name is its own: the mirror of other cases is still there.
pub fn striped(level: Level, count: usize, spares: u32) -> MachineConfig {
    let mut config = config(&[], &disks::STRIPED[..count], Format::Ext4);
    let array = config.storage.array.remove("meta").unwrap();
    config.storage.array.insert("striped".into(), Array { level, spares, ..array });
    config
}

/// Half of it goes, and it has no copy: it can't be read any more while it still runs.
fn an_array_fails_while_it_runs() {
    stop_all();
    disks::EACH.into_iter().for_each(clear);
    let mut config = striped(Level::Raid0, 2, 0);
    config.storage.array.get_mut("striped").unwrap().disks = serials(&disks::EACH);
    assert_eq!(codes(&run(&config)), Vec::<&str>::new());
    pull(disks::EACH[1]);
    let outcome = run(&config);
    assert_eq!((outcome.status, codes(&outcome), outcome.writes), (Status::Stopped, vec!["BP-S018"], 0));
    assert!(outcome.refusals[0].what.contains("1 of its 2 members"), "{}", outcome.refusals[0]);
    assert_eq!(verdicts(&outcome)[STATE], Verdict::Keep);
}

/// Waits until every array that runs is at rest, with so many members at least.
pub fn wait_for_syncs(members: usize) {
    firstboot::apply::release_syncs(&[]);
    let clock = std::time::Instant::now();
    while observe::arrays().unwrap().iter().any(|a| a.sync_action != "idle" || a.members.len() < members) {
        assert!(clock.elapsed().as_secs() < 120, "{}", fs::read_to_string("/proc/mdstat").unwrap());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// Of each level, and in between everything is let go of.
fn the_model_is_what_happens() {
    for (level, count, spares) in
        [(Level::Raid1, 2, 0), (Level::Raid5, 4, 1), (Level::Raid6, 4, 0), (Level::Raid0, 2, 0)]
    {
        stop_all();
        disks::STRIPED.into_iter().for_each(clear);
        model::is_what_happens(&striped(level, count, spares));
    }
    stop_all();
    disks::STRIPED.into_iter().for_each(clear);
    model::is_what_happens(&groups::small());
    stop_all();
    disks::STRIPED.into_iter().for_each(clear);
}

/// Makes a disk blank.
fn clear(serial: &str) {
    lay::write(serial, 0, &vec![0; usize::try_from(lay::size(serial)).unwrap()]);
    lay::read_anew(serial);
}

/// Made of blank disks, found again after a restart, and then without what the disks `lost` held: it runs if its level
/// can do without them, and is refused with everything as it is if not.
fn an_array_with_stripes(level: Level, count: usize, spares: u32, lost: &[&str], runs: bool) {
    const VOLUME: &str = "striped/db";
    const AT: &str = "/var/lib/volumes/db";
    stop_all();
    disks::STRIPED.into_iter().for_each(clear);
    let config = striped(level, count, spares);
    let outcome = run(&config);
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    assert_eq!(verdicts(&outcome)[VOLUME], Verdict::Create);
    let volume = |outcome: &StorageOutcome| outcome.volumes.iter().find(|v| v.volume == VOLUME).unwrap().clone();
    assert!(volume(&outcome).available, "{outcome:?}");
    let arrays = fs::read_to_string("/proc/mdstat").unwrap();
    let members = count - spares as usize;
    assert!(arrays.contains(&format!("raid{}", u8::from(level))), "{arrays}");
    fs::write(witness(AT), "before").unwrap();

    wait_for_syncs(members);
    stop_all();
    let outcome = run(&config);
    assert_eq!((verdicts(&outcome)[VOLUME], outcome.writes), (Verdict::Keep, 0), "{outcome:?}");
    assert_eq!((outcome.status, volume(&outcome).redundant), (Status::Ready, level != Level::Raid0), "{outcome:?}");
    assert_eq!(fs::read_to_string(witness(AT)).unwrap(), "before");

    stop_all();
    for serial in lost {
        lay::write(serial, member_start(serial) + 4096, &[0; 4096]);
    }
    let outcome = run(&config);
    if runs {
        assert!(volume(&outcome).available, "{outcome:?}");
        assert_eq!(fs::read_to_string(witness(AT)).unwrap(), "before");
        if spares == 0 {
            assert!(!volume(&outcome).redundant, "{outcome:?}");
        } else {
            // The spare has taken the place, if it was not done already.
            wait_for_syncs(members);
            assert!(volume(&run(&config)).redundant, "{}", fs::read_to_string("/proc/mdstat").unwrap());
        }
    } else {
        assert_eq!((outcome.status, codes(&outcome), outcome.writes), (Status::Stopped, vec!["BP-S018"], 0));
        assert_eq!(observe::arrays().unwrap(), [], "it was started");
    }
}

fn an_image_is_shown_as_it_is(serial: &str) {
    let (disk, at) = (lay::node(serial), "/run/image");
    let list = images::list(&disk, lay::size(serial)).unwrap();
    fs::create_dir_all(at).unwrap();
    let mounted = Mount::builder().fstype("erofs").flags(MountFlags::RDONLY).mount(disk, at).unwrap();
    let _mounted = mounted.into_unmount_drop(UnmountFlags::empty());
    check(&list, at.as_ref(), Sight::Mounted);
}
