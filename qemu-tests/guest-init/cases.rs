//! The storage cases: what each does on the guest's disks, and what must hold after it.

use crate::{lay, model, tool};
use firstboot::apply::Progress;
use firstboot::boot_record::{BootRecord, MachineIdSource};
use firstboot::config::Found;
use firstboot::observe;
use firstboot::permits::{self, Permits};
use firstboot::storage::{self, Status, StorageOutcome};
use firstboot::watch::events::Wakes;
use machine_config::permit::{Leave, Method, Permit};
use machine_config::schema::{Array, Format, Level, MachineConfig, Replace, Volume};
use machine_config::signature::PrivateKey;
use machine_config::utc::{DAY, Utc};
use qemu_tests::fault::foreign::Foreign;
use qemu_tests::guest::config::{config, serials};
use qemu_tests::guest::{FOREIGN, LZ4_IMAGE, MISSING, OBSERVE, TAKEN_PLACE, ZSTD_IMAGE, disks, images};
use qemu_tests::sight::{Sight, check};
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use storage_plan::Verdict;
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
const OWN: [(&str, fn()); 24] = [
    (OBSERVE, observe_reads_what_disks_are),
    (MISSING, a_missing_disk_is_refused_by_name),
    ("invariant 4: what an interrupted run began is known as ours", what_was_begun_is_known),
    (
        "begun and blank disks become RAID1 with XFS, ext4 on each disk, and the state partition",
        begun_and_blank_disks_become_volumes,
    ),
    ("a second run keeps every volume and runs no action", a_second_run_runs_no_action),
    ("a restart keeps every volume and every file, and writes nothing", a_restart_keeps_everything),
    ("invariant 4: a volume of type provisioning is made anew, and no other", a_provisioning_volume_is_made_anew),
    ("a damaged table is repaired, and nothing else is written", a_damaged_table_is_repaired),
    ("invariant 8: a mirror without one disk runs, and says that it is degraded", a_mirror_without_one_disk_runs),
    (TAKEN_PLACE, a_foreign_disk_does_not_replace_a_member),
    (
        "a mirror takes the named blank disk in place of the lost one, is filled from the other, and runs on it alone",
        a_named_disk_replaces_a_member,
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
    ("invariant 2: a permit for something else, elsewhere or of yesterday does nothing", a_permit_that_does_not_fit),
    ("invariant 2: a permit that names what is there frees the disk", a_permit_that_fits_frees_the_disk),
    ("invariant 2: a permit is used once", a_permit_is_used_once),
    (
        "invariant 4: a disk that was half erased when the power went is erased without the permit",
        a_half_erased_disk_is_erased,
    ),
    ("after each step the model shows what observing sees", the_model_is_what_happens),
    (
        "a RAID5 takes the blank disk in the slot of the lost one while it runs, also after an interrupted run",
        a_disk_in_the_slot_replaces_a_member,
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
    BootRecord {
        root_hash: String::new(),
        root_device: format!("{}2", lay::name(disks::SYSTEM)),
        root_partition: disks::ROOT,
        verity_device: format!("{}3", lay::name(disks::SYSTEM)),
        disk: Some(lay::name(disks::SYSTEM)),
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
    let (clock, steps) = (std::time::Instant::now(), Mutex::new(Vec::new()));
    let outcome = storage::run(config, Some(&boot()), &|| permits.clone(), &|progress| {
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
        let volume = Volume { mount: format!("/var/lib/volumes/{name}"), ..array.volume["db"].clone() };
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
    assert!(observe::mount_points().unwrap().iter().all(|m| !m.starts_with("/var")), "something was mounted");
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

/// What the mirror is to have again once it is whole.
const CONTENT: &str = "/var/lib/volumes/db/content";

fn content() -> Vec<u8> {
    let numbers = (0..2u32 << 20).map(|i| i.wrapping_mul(2_654_435_761).wrapping_add(i >> 7));
    numbers.flat_map(u32::to_le_bytes).collect()
}

fn a_foreign_disk_does_not_replace_a_member() {
    fs::write(CONTENT, content()).unwrap();
    let foreign = disks::serial(Foreign::Ext4);
    // Both as it runs, and when it is started anew.
    for restart in [false, true] {
        if restart {
            stop();
        }
        let outcome = run(&config(&disks::EACH, &[disks::MIRROR[0], &foreign], Format::Xfs));
        assert_eq!((outcome.status, codes(&outcome), outcome.writes), (Status::Degraded, vec!["BP-S014"], 0));
        let mirror = outcome.volumes.iter().find(|v| v.volume == MIRROR).unwrap();
        assert!(mirror.available && mirror.verdict == Verdict::Keep && mirror.members == Some((1, 2)), "{mirror:?}");
        assert!(outcome.refusals[0].why.contains("which runs without"), "{}", outcome.refusals[0]);
        assert_eq!(fs::read(CONTENT).unwrap(), content());
    }
}

fn a_named_disk_replaces_a_member() {
    let config = config(&disks::EACH, &[disks::MIRROR[0], disks::REPLACEMENT], Format::Xfs);
    let (outcome, steps) = run_watched(&config);
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    assert_eq!((verdicts(&outcome)[MIRROR], outcome.writes), (Verdict::Repair, 3), "{steps:?}");
    assert!(steps.iter().any(|s| s.starts_with("add ") && s.ends_with("to \"meta\"")), "{steps:?}");
    wait_for_syncs(2);
    let (outcome, steps) = run_watched(&config);
    let mirror = outcome.volumes.iter().find(|v| v.volume == MIRROR).unwrap();
    assert!(mirror.redundant && mirror.verdict == Verdict::Keep && steps.is_empty(), "{mirror:?} {steps:?}");
    assert_eq!(outcome.status, Status::Ready);
    // The new one alone has it all.
    stop();
    pull(disks::MIRROR[0]);
    let outcome = run(&config);
    let mirror = outcome.volumes.iter().find(|v| v.volume == MIRROR).unwrap();
    assert!(mirror.available && mirror.members == Some((1, 2)), "{mirror:?}");
    assert!(fs::read(CONTENT).unwrap() == content(), "the content is not what it was");
    assert_eq!(fs::read_to_string(witness("/var/lib/volumes/db")).unwrap(), "/var/lib/volumes/db");
}

/// Waits until the kernel's events wake the watch, for half a minute at most.
fn woken(wakes: &Arc<Wakes>) {
    let (wakes, (send, receive)) = (wakes.clone(), mpsc::channel());
    std::thread::spawn(move || send.send(wakes.wait()));
    receive.recv_timeout(std::time::Duration::from_secs(30)).expect("nothing woke the watch").unwrap();
}

/// As udev would tell of a disk's path.
fn put_in_place(serial: &str, place: &str) {
    let number = fs::read_to_string(format!("/sys/block/{}/dev", lay::name(serial))).unwrap();
    fs::create_dir_all("/run/udev/data").unwrap();
    fs::write(format!("/run/udev/data/b{}", number.trim()), format!("S:disk/by-path/{place}\n")).unwrap();
}

fn a_disk_in_the_slot_replaces_a_member() {
    const AT: &str = "/var/lib/volumes/db";
    let (lost, new) = (disks::STRIPED[2], disks::STRIPED[3]);
    stop_all();
    for serial in disks::STRIPED {
        clear(serial);
        put_in_place(serial, &format!("bay-of-{serial}"));
    }
    let mut config = config(&[], &disks::STRIPED[..3], Format::Ext4);
    let array = config.storage.array.remove("meta").unwrap();
    let array = Array { level: Level::Raid5, replace: Replace::SameSlot, ..array };
    config.storage.array.insert("in-slots".into(), array);
    let outcome = run(&config);
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    wait_for_syncs(3);
    let content = &content()[..4 << 20];
    fs::write(witness(AT), content).unwrap();
    let keep_up = || {
        let kept = storage::keep_up(&config, Some(&boot()), None, &|progress| println!("  {progress}")).unwrap();
        println!("{}", kept.outcome.table);
        firstboot::watch::keep(&kept.remembered).unwrap();
        kept
    };
    assert_eq!(keep_up().remembered.iter().map(|m| m.identity.as_str()).collect::<Vec<_>>(), disks::STRIPED[..3]);

    let wakes = Arc::new(Wakes::open().unwrap());
    pull(lost);
    woken(&wakes);
    fs::write(witness(AT), content).unwrap();
    nix::unistd::sync();
    let kept = keep_up();
    assert_eq!(
        (kept.outcome.writes, kept.outcome.status),
        (0, Status::Degraded),
        "a blank disk elsewhere is no matter"
    );

    put_in_place(new, &format!("bay-of-{lost}"));
    // An agent that was killed has written the table, and something behind it.
    let inventory = observe::read(Some(&boot())).unwrap();
    let plan = storage_plan::plan(&inventory, &config);
    let storage_plan::Action::WriteTable { disk, table, partition } = &plan.graph.steps[0].action else {
        panic!("{plan:?}")
    };
    let device = inventory.devices.iter().find(|d| d.name == *disk).unwrap();
    assert_eq!(device.serial.as_deref(), Some(new));
    for write in on_disk::gpt::layout(table, device.size).unwrap() {
        lay::write(new, write.offset, &write.bytes);
    }
    lay::write(new, partition.start + 4096, &[7; 512]);
    lay::read_anew(new);
    let kept = keep_up();
    assert_eq!((codes(&kept.outcome), kept.outcome.writes), (Vec::new(), 2), "{:?}", kept.steps);
    // The array tells of its rebuild's end.
    let redundant = |kept: &storage::KeptUp| kept.outcome.volumes.iter().all(|v| v.level.is_none() || v.redundant);
    let mut kept = kept;
    while !redundant(&kept) {
        woken(&wakes);
        kept = keep_up();
    }
    assert_eq!((kept.outcome.writes, kept.outcome.status), (0, Status::Ready), "{:?}", kept.outcome);
    let places = kept.remembered.iter().map(|m| format!("{} {}", m.identity, m.by_path[0])).collect::<Vec<_>>();
    assert_eq!(places, ["R1 bay-of-R1", "R2 bay-of-R2", "R4 bay-of-R3"]);
    stop_all();
    pull(disks::STRIPED[0]);
    let outcome = run(&config);
    assert!(outcome.volumes.iter().all(|v| v.available), "{outcome:?}");
    assert!(fs::read(witness(AT)).unwrap() == content, "the content is not what it was");
}

/// As [`stop`], whatever runs.
pub fn stop_all() {
    let mut mounts: Vec<String> =
        observe::mount_points().unwrap().into_iter().filter(|m| m.starts_with("/var")).collect();
    mounts.sort();
    mounts.iter().rev().for_each(|at| nix::mount::umount(at.as_str()).unwrap());
    for array in observe::arrays().unwrap() {
        tool("/usr/sbin/mdadm", &["--stop", &format!("/dev/{}", array.name)]);
    }
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
    firstboot::apply::release_syncs();
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
        model::is_what_happens(level, count, spares);
    }
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

/// A file system on each of these disks, of a name that no volume of [`full`] has: those would be kept, too.
fn on_each(serials: &[&str]) -> MachineConfig {
    let mut config = config(serials, &[], Format::Ext4);
    let each = config.storage.each.remove("object").unwrap();
    config.storage.each.insert("given".into(), each);
    config
}

/// All that is on a disk, in the words of a permit.
fn layers(serial: &str) -> Vec<String> {
    let inventory = observe::read(Some(&boot())).unwrap();
    let device = inventory.devices.iter().find(|d| d.serial.as_deref() == Some(serial)).unwrap();
    storage_plan::erase::layers(device).unwrap()
}

/// A permit for a disk and these layers, good for a day.
fn permit(serial: &str, expect: Vec<String>, method: Method) -> Permit {
    let now = permits::now();
    Permit {
        permit: machine_config::permit::FORMAT,
        action: Leave::Erase,
        id: uuid::Uuid::new_v5(&uuid::Uuid::nil(), format!("{serial} {expect:?} {method:?}").as_bytes()),
        cluster: full().cluster.id,
        machine: full().name,
        device: serial.into(),
        expect,
        method,
        issued: now,
        expires: now.after(DAY),
    }
}

/// What the node makes of these permits, signed with its key.
fn signed(permits: &[Permit]) -> Permits {
    let key = PrivateKey::from_seed(&[7; 32], "config").unwrap();
    let text = |permit: &Permit| permit.sign(&key).unwrap().into_bytes();
    let found: Vec<Found> = permits.iter().map(|p| Found { source: "a stick".into(), bytes: text(p) }).collect();
    permits::open(&found, &[key.public()], permits::now(), &full())
}

/// That its every byte is kept is for the host to see.
fn a_permit_that_does_not_fit() {
    stop_all();
    let serial = disks::serial(Foreign::Ext4);
    let config = on_each(&[&serial]);
    let fits = permit(&serial, layers(&serial), Method::Wipe);
    assert_eq!(fits.expect, ["ext4 3f2a6c1e"]);
    let other = |change: fn(&mut Permit)| {
        let mut permit = fits.clone();
        change(&mut permit);
        permit
    };
    let permits = [
        other(|p| p.expect = vec!["ext4 3f2a6c1f".into()]),
        other(|p| p.expect.push("unknown data".into())),
        other(|p| p.device = disks::LONE.into()),
        other(|p| p.machine = "n2".into()),
        other(|p| p.cluster = uuid::Uuid::from_u128(8)),
        other(|p| (p.issued, p.expires) = (Utc(p.issued.0 - 2 * DAY), Utc(p.expires.0 - 2 * DAY))),
    ];
    let (outcome, steps) = run_with(&config, signed(&permits));
    assert_eq!((outcome.status, outcome.writes, steps), (Status::Stopped, 0, Vec::new()));
    assert_eq!(codes(&outcome), ["BP-S014", "BP-C086"]);
    let refusal = &outcome.refusals[0];
    assert_eq!(refusal.why.matches("does nothing").count(), 2, "{refusal}");
    let command = format!("bedplate permit erase n1 {serial} --expect \"ext4 3f2a6c1e\"");
    assert!(refusal.mend.contains(&command), "{refusal}");
}

const FREED: [&str; 2] = [disks::FREED[0].0, disks::FREED[1].0];
/// The first of them as it was, and the permit that it was erased by.
static FORMER: Mutex<Option<(Vec<u8>, Permit)>> = Mutex::new(None);

fn a_permit_that_fits_frees_the_disk() {
    let config = on_each(&FREED);
    let by = [(FREED[0], Method::Wipe), (FREED[1], Method::WriteZeroes)];
    let permits = by.map(|(serial, method)| permit(serial, layers(serial), method));
    assert_eq!(permits[1].expect.len(), 2, "{permits:?}");
    *FORMER.lock().unwrap() = Some((fs::read(lay::node(FREED[0])).unwrap(), permits[0].clone()));
    let (outcome, steps) = run_with(&config, signed(&permits));
    assert_eq!((codes(&outcome), steps.iter().filter(|s| s.starts_with("erase ")).count()), (Vec::new(), 2));
    let mut volumes = outcome.volumes.iter().filter(|v| v.volume != STATE);
    assert!(volumes.all(|v| v.verdict == Verdict::Create && v.available), "{:?}", outcome.volumes);
    for permit in &permits {
        let record = fs::read(format!("/var/lib/bedplate/permits/{}.json", permit.id)).unwrap();
        let record: permits::Record = serde_json::from_slice(&record).unwrap();
        assert!(record.ended.is_some() && record.held == permit.expect, "{record:?}");
        assert_eq!(record.signed_by.as_deref(), Some("config"));
        let at = format!("/var/lib/volumes/{}", permit.device);
        fs::write(witness(&at), &at).unwrap();
    }
    // The first of them has nothing left of what was there but where the new file system has written.
    stop_all();
    let raw = fs::read(lay::node(FREED[0])).unwrap();
    assert!(!raw.chunks(4096).any(|block| block == [0xd5; 4096]), "data of the former owner");
    let (outcome, _) = run_with(&config, signed(&permits));
    assert_eq!((codes(&outcome), outcome.writes), (Vec::new(), 0), "made once");
    for serial in FREED {
        let at = format!("/var/lib/volumes/{serial}");
        assert_eq!(fs::read_to_string(witness(&at)).unwrap(), at);
    }
}

fn a_permit_is_used_once() {
    stop_all();
    let (former, permit) = FORMER.lock().unwrap().clone().unwrap();
    lay::write(FREED[0], 0, &former);
    lay::read_anew(FREED[0]);
    assert_eq!(layers(FREED[0]), permit.expect, "the very same is there again");
    let (outcome, steps) = run_with(&on_each(&[FREED[0]]), signed(&[permit]));
    assert_eq!((outcome.status, outcome.writes, steps), (Status::Stopped, 0, Vec::new()));
    assert_eq!(codes(&outcome), ["BP-S014", "BP-S043"]);
    assert!(fs::read(lay::node(FREED[0])).unwrap() == former, "it was written to");
}

/// The note is on the disk and the superblock is gone; its data is still there.
fn a_half_erased_disk_is_erased() {
    let serial = FREED[0];
    let config = on_each(&[serial]);
    let mut inventory = observe::read(Some(&boot())).unwrap();
    inventory.permits = signed(&[permit(serial, layers(serial), Method::WriteZeroes)]).granted;
    let plan = storage_plan::plan(&inventory, &config);
    let note = plan.graph.steps.iter().find_map(|s| match &s.action {
        storage_plan::Action::Erase { erase, .. } => Some(erase.note.clone()),
        _ => None,
    });
    lay::write(serial, 0, &note.unwrap());
    lay::write(serial, 1024, &[0; 1024]);
    lay::read_anew(serial);
    let (outcome, steps) = run_watched(&config);
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    assert!(steps.iter().any(|s| s.starts_with("erase ")), "{steps:?}");
    let volume = outcome.volumes.iter().find(|v| v.volume != STATE).unwrap();
    assert!(volume.verdict == Verdict::Create && volume.available, "{volume:?}");
    let (outcome, _) = run_watched(&config);
    assert_eq!((codes(&outcome), outcome.writes), (Vec::new(), 0));
}

fn an_image_is_shown_as_it_is(serial: &str) {
    let (disk, at) = (lay::node(serial), "/run/image");
    let list = images::list(&disk, lay::size(serial)).unwrap();
    fs::create_dir_all(at).unwrap();
    let mounted = Mount::builder().fstype("erofs").flags(MountFlags::RDONLY).mount(disk, at).unwrap();
    let _mounted = mounted.into_unmount_drop(UnmountFlags::empty());
    check(&list, at.as_ref(), Sight::Mounted);
}
