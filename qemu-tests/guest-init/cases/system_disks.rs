//! The state on a mirror of two system disks: made beside the image, started from either, and made whole again.

use super::{STATE, boot_from, codes, pull, put_back, run_from, stop_all, wait_for_syncs, witness};
use crate::lay;
use firstboot::storage::{self, Status, StorageOutcome, VolumeState};
use machine_config::schema::{Format, MachineConfig};
use qemu_tests::guest::config::{config, serials};
use qemu_tests::guest::disks::{self, SYSTEMS};
use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use storage_plan::Verdict;

fn mirrored(named: [&str; 2]) -> MachineConfig {
    let mut config = config(&[], &[], Format::Xfs);
    config.storage.system.disks = Some(serials(&named));
    config
}

fn state(outcome: &StorageOutcome) -> &VolumeState {
    outcome.volumes.iter().find(|v| v.volume == STATE).unwrap()
}

/// What the partitions of the image hold.
fn image_on(serial: &str) -> Vec<u8> {
    let (start, end) = disks::image_partitions();
    let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
    fs::File::open(lay::node(serial)).unwrap().read_exact_at(&mut bytes, start).unwrap();
    bytes
}

/// A restart of the machine, as far as the disk is concerned.
fn restart(serial: &str) {
    stop_all();
    lay::read_anew(serial);
}

pub(super) fn the_state_is_mirrored_on_system_disks() {
    let [first, second, third] = SYSTEMS;
    stop_all();
    bring();
    // It has the state of this very node, alone.
    pull(disks::SYSTEM);
    let (start, end) = disks::image_partitions();
    let mut image = vec![0; usize::try_from(end - start).unwrap()];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut image).unwrap();
    lay::write(first, start, &image);
    lay::read_anew(first);

    let config = mirrored([first, second]);
    let (outcome, steps) = run_from(&boot_from(first), &config);
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    assert_eq!((state(&outcome).verdict, state(&outcome).level), (Verdict::Create, Some(1)), "{steps:?}");
    assert!(state(&outcome).available && state(&outcome).disks.len() == 2, "{outcome:?}");
    for serial in [first, second] {
        assert!(image_on(serial) == image, "{serial} does not hold the image");
    }
    fs::write(witness("/var"), "before").unwrap();
    wait_for_syncs(2);
    let (outcome, steps) = run_from(&boot_from(first), &config);
    assert!(state(&outcome).redundant && steps.is_empty() && outcome.status == Status::Ready, "{outcome:?} {steps:?}");

    restart(second);
    let (outcome, _) = run_from(&boot_from(second), &config);
    assert_eq!((state(&outcome).verdict, outcome.writes, outcome.status), (Verdict::Keep, 0, Status::Ready));
    assert_eq!(fs::read_to_string(witness("/var")).unwrap(), "before");

    // The first one dies, and the node is started from the other.
    stop_all();
    pull(first);
    let (outcome, _) = run_from(&boot_from(second), &config);
    assert_eq!((outcome.status, outcome.writes, codes(&outcome)), (Status::Degraded, 0, Vec::new()));
    assert_eq!(state(&outcome).members, Some((1, 2)));
    assert_eq!(fs::read_to_string(witness("/var")).unwrap(), "before");
    fs::write(witness("/var"), "without the first").unwrap();

    // While it runs a blank one takes the place of that, and is one to start from when it is filled.
    let config = mirrored([second, third]);
    let keep_up = || storage::keep_up(&config, Some(&boot_from(second)), None, &|p| println!("  {p}")).unwrap();
    let kept = keep_up();
    assert_eq!((codes(&kept.outcome), kept.outcome.writes), (Vec::new(), 4), "{:?}", kept.steps);
    wait_for_syncs(2);
    let kept = keep_up();
    assert!(state(&kept.outcome).redundant && kept.outcome.writes == 0, "{:?}", kept.outcome);
    assert!(image_on(third) == image, "{third} does not hold the image");
    restart(third);
    pull(second);
    let (outcome, _) = run_from(&boot_from(third), &config);
    assert_eq!((outcome.status, outcome.writes), (Status::Degraded, 0));
    assert_eq!(fs::read_to_string(witness("/var")).unwrap(), "without the first");
    stop_all();
    put_back(&[disks::SYSTEM]);
}

/// The disks are there from the start, and nobody has to look at them but in cases that need them: most of what is looked at of
/// blank disks would be theirs.
pub fn put_away() {
    SYSTEMS.into_iter().for_each(pull);
}

/// Puts them back, and all else that was pulled.
pub fn bring() {
    fs::write("/sys/bus/pci/rescan", "1").unwrap();
    SYSTEMS.into_iter().for_each(lay::wait_for);
}
