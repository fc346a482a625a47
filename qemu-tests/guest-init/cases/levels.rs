//! Cases of an array of each level, and what the model says of it.

use super::{
    STATE, clear, codes, groups, member_start, pull, run, stop_all, striped, verdicts, wait_for_syncs, witness,
};
use crate::{lay, model};
use firstboot::observe;
use firstboot::storage::{Status, StorageOutcome};
use machine_config::schema::Level;
use qemu_tests::guest::config::serials;
use qemu_tests::guest::disks;
use std::fs;
use storage_plan::Verdict;

/// Half of it goes, and it has no copy: it can't be read any more while it still runs.
pub(super) fn an_array_fails_while_it_runs() {
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

/// Of each level, and in between everything is let go of.
pub(super) fn the_model_is_what_happens() {
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

/// Made of blank disks, found again after a restart, and then without what the disks `lost` held: it runs if its level
/// can do without them, and is refused with everything as it is if not.
pub(super) fn an_array_with_stripes(level: Level, count: usize, spares: u32, lost: &[&str], runs: bool) {
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
