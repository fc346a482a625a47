//! Cases of a member that still works and is given away: copied onto another disk while it serves.

use super::{boot, clear, codes, member_start, run_watched, stop_all, wait_for_syncs, witness};
use crate::lay;
use firstboot::observe;
use firstboot::storage::{Status, StorageOutcome, VolumeState};
use machine_config::schema::{Array, Format, Level, MachineConfig};
use qemu_tests::guest::config::{config, serials};
use qemu_tests::guest::disks::STRIPED;
use std::fs;
use storage_plan::Verdict;
use storage_plan::verdict::Stage;

const AT: &str = "/var/lib/volumes/db";

/// An array of these disks that retires those. Its name is its own: what other cases made is still there.
fn leaving(level: Level, members: &[&str], retired: &[&str]) -> MachineConfig {
    let mut config = config(&[], members, Format::Ext4);
    let array = config.storage.array.remove("meta").unwrap();
    let retire = retired.iter().map(|serial| (*serial).to_owned()).collect();
    config.storage.array.insert(format!("leaving-{}", u8::from(level)), Array { level, retire, ..array });
    config
}

fn volume(outcome: &StorageOutcome) -> &VolumeState {
    outcome.volumes.iter().find(|v| v.mount == AT).unwrap()
}

/// Holds copies back, or lets them go.
fn hold_copies_back(held: bool) {
    let speeds = if held { ["100", "100"] } else { ["1000", "200000"] };
    for (name, speed) in ["min", "max"].into_iter().zip(speeds) {
        fs::write(format!("/proc/sys/dev/raid/speed_limit_{name}"), speed).unwrap();
    }
}

/// The last of `members` is retired, and the disk behind them takes over from it.
pub(super) fn a_member_is_copied_and_let_go_of(level: Level, members: &[&str]) {
    let (stay, leaver, new) = (&members[..members.len() - 1], members[members.len() - 1], STRIPED[members.len()]);
    stop_all();
    STRIPED.into_iter().for_each(clear);
    assert_eq!(codes(&run_watched(&leaving(level, members, &[])).0), Vec::<&str>::new());
    wait_for_syncs(members.len());
    let content: Vec<u8> = (0..3u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(witness(AT), &content).unwrap();

    // Nothing that is blank is named, so nothing begins.
    let (outcome, steps) = run_watched(&leaving(level, &[stay, &["ELSEWHERE"]].concat(), &[leaver]));
    assert_eq!((outcome.status, codes(&outcome), steps), (Status::Ready, Vec::new(), Vec::new()));
    let waits = &volume(&outcome).retiring[0];
    assert!(waits.stage == Stage::Waits && waits.says.contains("waits for a blank disk"), "{waits:?}");

    hold_copies_back(true);
    let config = leaving(level, &[stay, &[new]].concat(), &[leaver]);
    let (outcome, steps) = run_watched(&config);
    assert_eq!((outcome.status, codes(&outcome), outcome.writes), (Status::Ready, Vec::new(), 4), "{steps:?}");
    assert!(steps.iter().any(|s| s.starts_with("copy ")), "{steps:?}");
    let copied = volume(&outcome);
    assert!(copied.verdict == Verdict::Repair && copied.retiring[0].stage == Stage::Copied, "{copied:?}");
    assert!(copied.redundant && copied.available, "both serve: {copied:?}");
    let found = observe::read(Some(&boot())).unwrap();
    let of = |serial: &str| {
        let device = found.devices.iter().find(|d| d.serial.as_deref() == Some(serial)).unwrap();
        device.partitions[0].md.clone().unwrap()
    };
    assert!(of(new).replaces && of(new).recovering && of(new).role == of(leaver).role, "{:?}", of(new));

    // A restart in the middle of the copy.
    stop_all();
    let (outcome, steps) = run_watched(&config);
    assert_eq!((outcome.status, codes(&outcome), outcome.writes), (Status::Ready, Vec::new(), 0), "{steps:?}");
    assert_eq!(volume(&outcome).retiring[0].stage, Stage::Copied, "{:?}", volume(&outcome));
    assert!(fs::read(witness(AT)).unwrap() == content, "the content is not what it was");
    hold_copies_back(false);
    wait_for_syncs(members.len());

    let (outcome, steps) = run_watched(&config);
    assert_eq!((outcome.status, codes(&outcome)), (Status::Ready, Vec::new()));
    assert!(matches!(&steps[..], [only] if only.starts_with("let ") && only.contains(" leave ")), "{steps:?}");
    let over = &volume(&outcome).retiring[0];
    assert!(over.stage == Stage::Over && over.says.contains(leaver) && over.says.contains("safe to pull"), "{over:?}");
    for restart in [false, true] {
        if restart {
            stop_all();
        }
        let (outcome, _) = run_watched(&config);
        assert_eq!((outcome.status, codes(&outcome), outcome.writes), (Status::Ready, Vec::new(), 0));
        let kept = volume(&outcome);
        assert!(kept.verdict == Verdict::Keep && kept.redundant && kept.retiring[0].stage == Stage::Over, "{kept:?}");
    }
    // The new one has it all: another goes, and what was retired is not asked.
    stop_all();
    lay::write(stay[0], member_start(stay[0]) + 4096, &[0; 4096]);
    let mut config = config;
    config
        .storage
        .array
        .values_mut()
        .for_each(|array| array.disks = serials(&[&stay[1..], &[new, "ELSEWHERE"]].concat()));
    let (outcome, _) = run_watched(&config);
    let last = volume(&outcome);
    assert!(last.available && !last.redundant && last.retiring[0].stage == Stage::Over, "{last:?}");
    assert!(fs::read(witness(AT)).unwrap() == content, "the content is not what it was");
    stop_all();
    STRIPED.into_iter().for_each(clear);
}
