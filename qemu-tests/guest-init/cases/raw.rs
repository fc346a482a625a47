//! Raw volumes: what a program keeps on one is left alone, and its path leads to it and to nothing else.

use super::{boot, clear, codes, pull, put_back, run, run_watched, stop_all, striped, wait_for_syncs};
use crate::lay;
use firstboot::storage::{self, Status, StorageOutcome, VolumeState};
use machine_config::schema::{Content, Each, Format, Level, MachineConfig};
use qemu_tests::fault::foreign::Foreign;
use qemu_tests::guest::config::config;
use qemu_tests::guest::disks::STRIPED;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use storage_plan::Verdict;

const RAID: &str = "/dev/bedplate/striped/db";
const THIRD: &str = "/dev/bedplate/blocks/R3";
const FOURTH: &str = "/dev/bedplate/blocks/R4";

/// A mirror of the first two disks and each of the others, all raw.
fn wanted() -> MachineConfig {
    let mut wanted = striped(Level::Raid1, 2, 0);
    let db = wanted.storage.array.get_mut("striped").unwrap().volume.get_mut("db").unwrap();
    (db.format, db.mount) = (Content::Raw, None);
    let each = config(&STRIPED[2..], &[], Format::Ext4).storage.each.remove("object").unwrap();
    wanted.storage.each.insert("blocks".into(), Each { format: Some(Content::Raw), mount: None, ..each });
    wanted
}

fn is_whole(outcome: &StorageOutcome, verdict: Verdict) {
    assert_eq!((outcome.status, codes(outcome)), (Status::Ready, Vec::<&str>::new()));
    for path in [RAID, THIRD, FOURTH] {
        let volume = volume(outcome, path);
        assert!(volume.available && volume.verdict == verdict && volume.format == "raw", "{volume:?}");
    }
    for (path, serial) in [(THIRD, STRIPED[2]), (FOURTH, STRIPED[3])] {
        assert_eq!(fs::read_link(path).unwrap(), partition(serial), "{path}");
    }
}

fn volume<'a>(outcome: &'a StorageOutcome, path: &str) -> &'a VolumeState {
    outcome.volumes.iter().find(|v| v.mount == path).unwrap_or_else(|| panic!("no {path} in {outcome:?}"))
}

fn partition(serial: &str) -> PathBuf {
    PathBuf::from(format!("/dev/{}1", lay::name(serial)))
}

/// Writes by the path what `foreign` is, as a program would.
fn fill(path: &str, foreign: Foreign) {
    let device = OpenOptions::new().write(true).open(path).unwrap();
    let size = fs::read(path).unwrap().len() as u64;
    foreign.bytes(size).into_iter().for_each(|(at, bytes)| device.write_all_at(&bytes, at).unwrap());
    device.sync_all().unwrap();
}

fn restart() {
    stop_all();
    STRIPED.into_iter().for_each(lay::read_anew);
}

pub(super) fn raw_volumes_are_made_and_left_alone() {
    stop_all();
    STRIPED.into_iter().for_each(clear);
    let config = wanted();
    is_whole(&run(&config), Verdict::Create);
    for path in [RAID, THIRD, FOURTH] {
        assert!(fs::read(path).unwrap().iter().all(|byte| *byte == 0), "{path} is not blank");
    }
    fill(RAID, Foreign::Lvm2);
    fill(THIRD, Foreign::MdEnd);
    fill(FOURTH, Foreign::Luks);
    wait_for_syncs(2);
    let before = [RAID, THIRD, FOURTH].map(|path| fs::read(path).unwrap());
    is_whole(&run(&config), Verdict::Keep);

    restart();
    let (outcome, steps) = run_watched(&config);
    is_whole(&outcome, Verdict::Keep);
    assert_eq!(outcome.writes, 0, "{steps:#?}");
    assert!(steps.iter().all(|s| ["let ", "mount ", "assemble "].iter().any(|word| s.starts_with(word))), "{steps:#?}");
    assert!([RAID, THIRD, FOURTH].map(|path| fs::read(path).unwrap()) == before, "something was written to one");

    // Another disk has the name that a path was made for, and a path leads nowhere.
    fs::remove_file(THIRD).unwrap();
    std::os::unix::fs::symlink(partition(STRIPED[3]), THIRD).unwrap();
    std::os::unix::fs::symlink("/dev/not-there", "/dev/bedplate/blocks/gone").unwrap();
    is_whole(&run(&config), Verdict::Keep);
    assert!(!Path::new("/dev/bedplate/blocks/gone").is_symlink());

    // While the node runs a path goes with its disk, and comes back with a restart.
    pull(STRIPED[3]);
    let kept = storage::keep_up(&config, Some(&boot()), None, &|_| {}).unwrap();
    assert!(!Path::new(FOURTH).is_symlink() && !volume_of(&kept.outcome, STRIPED[3]).available, "{:?}", kept.outcome);
    assert!(volume(&kept.outcome, THIRD).available && volume(&kept.outcome, RAID).available, "{:?}", kept.outcome);
    put_back(&[STRIPED[3]]);
    restart();
    is_whole(&run(&config), Verdict::Keep);
    assert!([RAID, THIRD, FOURTH].map(|path| fs::read(path).unwrap()) == before, "something was written to one");
}

fn volume_of<'a>(outcome: &'a StorageOutcome, serial: &str) -> &'a VolumeState {
    outcome.volumes.iter().find(|v| v.volume.ends_with(serial)).unwrap()
}
