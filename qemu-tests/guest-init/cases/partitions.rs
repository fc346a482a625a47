//! Two partitions on each disk: made together, found again with what they hold, and never cut anew.

use super::{boot, clear, codes, run, run_watched, stop_all, witness};
use crate::lay;
use firstboot::observe;
use firstboot::storage::{Status, StorageOutcome};
use machine_config::schema::MachineConfig;
use qemu_tests::fault::foreign::Foreign;
use qemu_tests::guest::config::partitioned;
use qemu_tests::guest::disks::STRIPED;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use storage_plan::{Action, Verdict};

const DISKS: [&str; 2] = [STRIPED[2], STRIPED[3]];

/// Where the file system on a disk is mounted.
fn mount(serial: &str) -> String {
    format!("/var/lib/volumes/{serial}")
}

/// The path of the raw volume on a disk.
fn raw(serial: &str) -> String {
    format!("/dev/bedplate/cut/{serial}/data")
}

fn is_whole(outcome: &StorageOutcome, verdicts: [Verdict; 2]) {
    assert_eq!((outcome.status, codes(outcome)), (Status::Ready, Vec::<&str>::new()));
    for (serial, verdict) in DISKS.into_iter().zip(verdicts) {
        for (part, at) in [("meta", mount(serial)), ("data", raw(serial))] {
            let name = format!("cut/{serial}/{part}");
            let volume = outcome.volumes.iter().find(|v| v.volume == name).unwrap_or_else(|| panic!("no {name}"));
            assert!(volume.available && volume.verdict == verdict && volume.mount == at, "{volume:?}");
        }
        assert_eq!(fs::read_link(raw(serial)).unwrap(), PathBuf::from(format!("/dev/{}2", lay::name(serial))));
    }
}

/// What a program keeps on them.
fn fill() {
    for serial in DISKS {
        fs::write(witness(&mount(serial)), serial).unwrap();
        let device = OpenOptions::new().write(true).open(raw(serial)).unwrap();
        device.write_all_at(&[7; 8192], 4096).unwrap();
        device.sync_all().unwrap();
    }
}

fn is_filled(serial: &str) {
    assert_eq!(fs::read_to_string(witness(&mount(serial))).unwrap(), serial);
    let found = fs::read(raw(serial)).unwrap();
    assert!(
        found[..4096].iter().all(|byte| *byte == 0) && found[4096..12288].iter().all(|byte| *byte == 7),
        "{serial}"
    );
}

fn restart() {
    stop_all();
    DISKS.into_iter().for_each(lay::read_anew);
}

pub(super) fn two_on_each_disk_are_made_together() {
    stop_all();
    DISKS.into_iter().for_each(clear);
    let config = partitioned(&DISKS);
    is_whole(&run(&config), [Verdict::Create; 2]);
    fill();
    let (outcome, steps) = run_watched(&config);
    is_whole(&outcome, [Verdict::Keep; 2]);
    assert_eq!(steps, Vec::<String>::new());

    restart();
    let (outcome, steps) = run_watched(&config);
    is_whole(&outcome, [Verdict::Keep; 2]);
    assert_eq!(outcome.writes, 0, "{steps:#?}");
    DISKS.into_iter().for_each(is_filled);

    // The site file asks for another size now.
    restart();
    let mut other = config.clone();
    other.storage.each.get_mut("cut").unwrap().partition.get_mut("meta").unwrap().size = Some(21 << 20);
    let before = DISKS.map(lay::writes);
    let (outcome, steps) = run_watched(&other);
    assert_eq!((outcome.status, codes(&outcome), steps), (Status::Stopped, vec!["BP-S028"; 2], Vec::new()));
    assert_eq!(DISKS.map(lay::writes), before);
    is_whole(&run(&config), [Verdict::Keep; 2]);
    DISKS.into_iter().for_each(is_filled);
    half_made(&config);
}

/// What an interrupted run left, and in one of the two partitions something of somebody else's.
fn half_made(config: &MachineConfig) {
    let first = DISKS[0];
    stop_all();
    clear(first);
    let plan = storage_plan::plan(&observe::read(Some(&boot())).unwrap(), config);
    let begins = plan.graph.steps.iter().find_map(|step| match &step.action {
        Action::WriteTable { disk, table, partitions } if *disk == lay::name(first) => Some((table, partitions)),
        _ => None,
    });
    let (table, partitions) = begins.unwrap();
    assert!(table.partitions.iter().all(|p| p.kind == on_disk::gpt::kind::PROVISIONING), "{table:?}");
    for write in on_disk::gpt::layout(table, lay::size(first)).unwrap() {
        lay::write(first, write.offset, &write.bytes);
    }
    let foreign = Foreign::Ext4.bytes(partitions[1].size);
    foreign.iter().for_each(|(at, bytes)| lay::write(first, partitions[1].start + at, bytes));
    lay::read_anew(first);
    let before = lay::writes(first);
    let (outcome, steps) = run_watched(config);
    assert_eq!((outcome.status, codes(&outcome), steps), (Status::Stopped, vec!["BP-S016"], Vec::new()));
    assert_eq!(lay::writes(first), before);

    foreign.iter().for_each(|(at, bytes)| lay::write(first, partitions[1].start + at, &vec![0; bytes.len()]));
    lay::read_anew(first);
    is_whole(&run(config), [Verdict::Create, Verdict::Keep]);
    is_filled(DISKS[1]);
}
