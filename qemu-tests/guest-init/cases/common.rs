//! What many cases do: run the storage unit, look at what came of it, let go of everything, take disks out and put them back.

use super::system_disks;
use crate::{lay, tool};
use firstboot::apply::Progress;
use firstboot::boot_record::{BootRecord, MachineIdSource};
use firstboot::observe;
use firstboot::permits::Permits;
use firstboot::secrets::Secrets;
use firstboot::storage::{self, StorageOutcome};
use machine_config::schema::{Array, Format, Level, MachineConfig, Passphrase};
use qemu_tests::guest::config::config;
use qemu_tests::guest::disks;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use storage_plan::Verdict;
use storage_plan::inventory::RAW;

/// Where the volumes of [`full`] are mounted.
pub(super) const MOUNTS: [&str; 4] = ["/var", "/var/lib/volumes/db", "/var/lib/volumes/B1", "/var/lib/volumes/B2"];
pub(super) const STATE: &str = "state";
pub(super) const MIRROR: &str = "meta/db";

/// What stage 1 would have told of this boot.
pub fn boot() -> BootRecord {
    boot_from(disks::SYSTEM)
}

/// The same, had the node been started from the disk with this serial number.
pub(super) fn boot_from(serial: &str) -> BootRecord {
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

pub(super) fn full() -> MachineConfig {
    config(&disks::EACH, &disks::MIRROR, Format::Xfs)
}

/// Runs the storage unit; also gives the steps that it began, in words.
pub fn run_watched(config: &MachineConfig) -> (StorageOutcome, Vec<String>) {
    run_with(config, Permits::default())
}

pub(super) fn run_with(config: &MachineConfig, permits: Permits) -> (StorageOutcome, Vec<String>) {
    run_by(&boot(), config, permits, &secrets())
}

/// What opens encrypted volumes.
pub(super) fn passphrase() -> Passphrase {
    Passphrase::new("of the guest, and of no other")
}

pub fn secrets() -> Secrets {
    Secrets { passphrase: Some(passphrase()), ..Secrets::default() }
}

/// As [`run_watched`], on a node that was started so.
pub(super) fn run_from(boot: &BootRecord, config: &MachineConfig) -> (StorageOutcome, Vec<String>) {
    run_by(boot, config, Permits::default(), &secrets())
}

pub(super) fn run_by(
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

pub(super) fn run(config: &MachineConfig) -> StorageOutcome {
    run_watched(config).0
}

pub(super) fn codes(outcome: &StorageOutcome) -> Vec<&str> {
    outcome.refusals.iter().map(|r| r.code.as_str()).collect()
}

/// The verdict of each volume, by name.
pub(super) fn verdicts(outcome: &StorageOutcome) -> BTreeMap<&str, Verdict> {
    outcome.volumes.iter().map(|v| (v.volume.as_str(), v.verdict)).collect()
}

/// As a restart leaves it: nothing mounted, no array running.
pub(super) fn stop() {
    for at in MOUNTS.iter().rev() {
        nix::mount::umount(*at).unwrap();
    }
    for array in observe::arrays().unwrap() {
        tool("/usr/sbin/mdadm", &["--stop", &format!("/dev/{}", array.name)]);
    }
}

/// The file that tells whether a volume is the one that was.
pub(super) fn witness(at: &str) -> String {
    format!("{at}/written-before")
}

/// Takes the disk out of the machine.
pub(super) fn pull(serial: &str) {
    let device = fs::canonicalize(format!("/sys/block/{}/device", lay::name(serial))).unwrap();
    fs::write(device.parent().unwrap().join("remove"), "1").unwrap();
}

/// Puts back what was pulled, and waits for these; [`system_disks`] are left out, which nobody has to look at.
pub(super) fn put_back(serials: &[&str]) {
    system_disks::bring();
    serials.iter().for_each(|serial| lay::wait_for(serial));
    system_disks::put_away();
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
pub(super) fn member_start(serial: &str) -> u64 {
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

/// Waits until every array that runs is at rest, with so many members at least.
pub fn wait_for_syncs(members: usize) {
    firstboot::apply::release_syncs(&[]);
    let clock = std::time::Instant::now();
    while observe::arrays().unwrap().iter().any(|a| a.sync_action != "idle" || a.members.len() < members) {
        assert!(clock.elapsed().as_secs() < 120, "{}", fs::read_to_string("/proc/mdstat").unwrap());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// Makes a disk blank.
pub(super) fn clear(serial: &str) {
    lay::write(serial, 0, &vec![0; usize::try_from(lay::size(serial)).unwrap()]);
    lay::read_anew(serial);
}
