//! Cases of a member that was away from its array and comes back with what it held.

use super::{clear, codes, member_start, run_watched, stop_all, wait_for_syncs, witness};
use crate::{lay, tool};
use firstboot::observe;
use firstboot::storage::{Status, StorageOutcome, VolumeState};
use machine_config::schema::{Format, MachineConfig};
use qemu_tests::guest::config::config;
use qemu_tests::guest::disks::STRIPED;
use std::fs;
use storage_plan::Verdict;

const AT: &str = "/var/lib/volumes/db";
const PAIR: [&str; 2] = [STRIPED[0], STRIPED[1]];

fn pair() -> MachineConfig {
    let mut config = config(&[], &PAIR, Format::Ext4);
    let array = config.storage.array.remove("meta").unwrap();
    config.storage.array.insert("pair".into(), array);
    config
}

fn volume(outcome: &StorageOutcome) -> &VolumeState {
    outcome.volumes.iter().find(|v| v.mount == AT).unwrap()
}

fn mdadm(args: &[&str]) {
    tool("/usr/sbin/mdadm", args);
}

fn partition(serial: &str) -> String {
    format!("/dev/{}1", lay::name(serial))
}

/// Has the kernel lose it as if its cable had come off: what it has noted stays as it was.
pub(super) fn lose(serial: &str) {
    let (array, member) = (&observe::arrays().unwrap()[0].name, partition(serial));
    mdadm(&["--manage", &format!("/dev/{array}"), "--fail", &member]);
    let state = format!("/sys/block/{array}/md/dev-{}/state", member.trim_start_matches("/dev/"));
    // Where it is being synced it is held for a moment.
    lay::patiently(&format!("{member} does not leave"), || {
        fs::write(&state, "remove").map_err(|error| nix::Error::from_raw(error.raw_os_error().unwrap_or_default()))
    });
}

pub(super) fn a_member_comes_back() {
    stop_all();
    STRIPED.into_iter().for_each(clear);
    assert_eq!(codes(&run_watched(&pair()).0), Vec::<&str>::new());
    wait_for_syncs(2);
    for off in [false, true] {
        lose(PAIR[1]);
        let content: Vec<u8> =
            (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8 ^ u8::from(off)).collect();
        fs::write(witness(AT), &content).unwrap();
        nix::unistd::sync();
        if off {
            stop_all();
        }
        let (outcome, steps) = run_watched(&pair());
        assert_eq!((codes(&outcome), outcome.writes), (Vec::new(), 1), "{steps:?}");
        assert!(steps.iter().any(|s| s.starts_with("take ") && s.ends_with("back into \"pair\"")), "{steps:?}");
        assert_eq!(volume(&outcome).verdict, Verdict::Repair);
        wait_for_syncs(2);
        let (outcome, steps) = run_watched(&pair());
        assert_eq!((outcome.status, outcome.writes), (Status::Ready, 0), "{steps:?}");
        assert!(volume(&outcome).redundant && volume(&outcome).verdict == Verdict::Keep, "{outcome:?}");
        if off {
            // It has what it missed.
            stop_all();
            lay::write(PAIR[0], member_start(PAIR[0]) + 4096, &[0; 4096]);
            let (outcome, _) = run_watched(&pair());
            assert!(volume(&outcome).available && volume(&outcome).members == Some((1, 2)), "{outcome:?}");
            assert!(fs::read(witness(AT)).unwrap() == content, "the content is not what it was");
        }
    }
}

pub(super) fn halves_that_were_used_apart_stay_apart() {
    stop_all();
    STRIPED.into_iter().for_each(clear);
    assert_eq!(codes(&run_watched(&pair()).0), Vec::<&str>::new());
    wait_for_syncs(2);
    lose(PAIR[1]);
    fs::write(witness(AT), "one half").unwrap();
    stop_all();
    // The other is started without the first, somewhere else, and something is written to it.
    mdadm(&["--assemble", "--run", "/dev/md9", &partition(PAIR[1])]);
    fs::create_dir_all("/run/half").unwrap();
    let mounted = sys_mount::Mount::builder().fstype("ext4").mount("/dev/md9", "/run/half").unwrap();
    fs::write("/run/half/other", "the other half").unwrap();
    nix::mount::umount("/run/half").unwrap();
    drop(mounted);
    mdadm(&["--stop", "/dev/md9"]);
    for _ in 0..2 {
        let (outcome, steps) = run_watched(&pair());
        assert_eq!(outcome.writes, 0, "{steps:?}");
        assert!(volume(&outcome).available && volume(&outcome).members == Some((1, 2)), "{outcome:?}");
        assert!(volume(&outcome).reasons.iter().any(|r| r.contains("is left out")), "{outcome:?}");
    }
    stop_all();
    STRIPED.into_iter().for_each(clear);
}
