//! Cases of an array whose members were replaced by larger disks, and that is made as large as these let it be.

use super::returning::lose;
use super::{boot, clear, codes, member_start, run_watched, stop_all, system_disks, verdicts, wait_for_syncs, witness};
use crate::{lay, tool};
use firstboot::observe;
use firstboot::storage::{self, Status};
use machine_config::schema::{Array, Format, Level, MachineConfig, Rebuild, WriteHole};
use qemu_tests::guest::config::config;
use qemu_tests::guest::disks;
use std::fs;
use storage_plan::Verdict;
use storage_plan::inventory::RunningArray;

const AT: &str = "/var/lib/volumes/db";
/// The members of a mirror: the last replaces the first.
const PAIR: [&str; 3] = [disks::STRIPED[0], disks::REPLACEMENT, disks::SYSTEMS[1]];

/// An array of these disks. Its name is its own: what other cases made is still there.
fn larger(level: Level, members: &[&str], format: Format, grow: bool) -> MachineConfig {
    let mut config = config(&[], members, format);
    let array = config.storage.array.remove("meta").unwrap();
    let write_hole = (level == Level::Raid5).then_some(WriteHole::Bitmap);
    config.storage.array.insert(format!("larger-{}", u8::from(level)), Array { level, write_hole, grow, ..array });
    config
}

fn array() -> RunningArray {
    let arrays = observe::read(Some(&boot())).unwrap().arrays;
    assert_eq!(arrays.len(), 1, "{arrays:#?}");
    arrays.into_iter().next().unwrap()
}

/// What a program may store on the volume, in bytes.
fn space() -> u64 {
    let found = nix::sys::statvfs::statvfs(AT).unwrap();
    found.blocks() * found.fragment_size()
}

/// Makes an array of all `members` but the last, has the first, which is smaller than the others, replaced by that, and gives
/// the members that it has then. A file of `content` is on it.
fn replaced<'a, 'b>(level: Level, members: &'a [&'b str], format: Format, content: &[u8]) -> &'a [&'b str] {
    let (first, then) = (&members[..members.len() - 1], &members[1..]);
    stop_all();
    system_disks::bring();
    members.iter().for_each(|serial| clear(serial));
    let outcome = run_watched(&larger(level, first, format, true)).0;
    assert_eq!((codes(&outcome), outcome.status), (Vec::new(), Status::Ready));
    wait_for_syncs(first.len());
    fs::write(witness(AT), content).unwrap();
    stop_all();
    clear(members[0]);
    let outcome = run_watched(&larger(level, then, format, false)).0;
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    wait_for_syncs(then.len());
    then
}

pub(super) fn an_array_takes_up_what_its_members_have(level: Level, members: &[&str], format: Format) {
    let content: Vec<u8> = (0..3u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let then = replaced(level, members, format, &content);
    let (before, had) = (array(), space());
    assert!(before.is_filled() && before.filled.unwrap() <= before.size, "{before:?}");
    let (outcome, steps) = run_watched(&larger(level, then, format, false));
    assert_eq!((outcome.writes, steps), (0, Vec::new()), "nobody asked for that");

    // As the watch does it: while programs use the volume.
    let config = larger(level, then, format, true);
    let keep_up = || storage::keep_up(&config, Some(&boot()), None, &|progress| println!("  {progress}")).unwrap();
    let kept = keep_up();
    assert_eq!((kept.outcome.writes, codes(&kept.outcome)), (2, Vec::new()), "{}", kept.outcome.table);
    let after = array();
    assert!(after.size > before.size * 3 / 2 && after.is_filled() && space() > had * 3 / 2, "{before:?} {after:?}");
    assert_eq!(fs::read(witness(AT)).unwrap(), content);
    assert_eq!(keep_up().outcome.writes, 0);

    // What is new is synced on, over a restart.
    let restart = || {
        stop_all();
        let (outcome, steps) = run_watched(&config);
        let verdict = verdicts(&outcome)[format!("larger-{}/db", u8::from(level)).as_str()];
        assert_eq!((verdict, outcome.writes), (Verdict::Keep, 0), "{steps:?}");
        assert_eq!(fs::read(witness(AT)).unwrap(), content);
    };
    restart();
    assert_eq!((array().size, array().filled), (after.size, after.filled));
    if level == Level::Raid1 {
        wait_for_syncs(then.len());
        restart();
    }
    leave(members);
}

/// A run that was killed between the two steps.
pub(super) fn a_file_system_that_was_left_smaller_is_made_larger() {
    let then = replaced(Level::Raid1, &PAIR, Format::Ext4, &[]);
    tool("/usr/sbin/mdadm", &["--grow", &format!("/dev/{}", array().name), "--size=max"]);
    wait_for_syncs(2);
    assert!(!array().is_filled(), "{:?}", array());
    let (outcome, steps) = run_watched(&larger(Level::Raid1, then, Format::Ext4, true));
    assert_eq!((outcome.writes, &steps[..]), (1, &["make the ext4 on the array as large as that is".to_owned()][..]));
    assert!(array().is_filled(), "{:?}", array());
    leave(&PAIR);
}

/// A member that leaves before what is new was synced, and comes back after a restart, when only its bitmap still tells of that.
pub(super) fn what_is_new_comes_with_a_member_that_comes_back() {
    let then = replaced(Level::Raid1, &PAIR, Format::Ext4, &[]);
    let last = then[1];
    let config = larger(Level::Raid1, then, Format::Ext4, true);
    let mut slowly = config.clone();
    let rebuild = Rebuild { at_most: Some(1 << 20), ..Rebuild::default() };
    slowly.storage.array.values_mut().for_each(|array| array.rebuild = rebuild);

    // The members tell different things where the array does not reach yet.
    let inventory = observe::read(Some(&boot())).unwrap();
    let own = inventory.devices.iter().find(|d| d.serial.as_deref() == Some(last)).unwrap();
    let behind = own.partitions[0].md.as_ref().unwrap().needs + (100 << 20);
    lay::write(last, member_start(last) + behind, &vec![0xd5; 1 << 20]);
    let kept = storage::keep_up(&slowly, Some(&boot()), None, &|progress| println!("  {progress}")).unwrap();
    assert_eq!((kept.outcome.writes, codes(&kept.outcome)), (2, Vec::new()), "{}", kept.outcome.table);
    let grown = array();
    let (done, all) = grown.sync_progress.unwrap_or_else(|| panic!("it is not synced: {grown:?}"));
    assert!(done * 512 < behind, "{done} of {all} sectors are synced already");

    lose(last);
    stop_all();
    let (outcome, steps) = run_watched(&config);
    assert_eq!((codes(&outcome), outcome.writes), (Vec::new(), 1), "{steps:?}");
    assert!(steps.iter().any(|s| s.starts_with("take ") && s.ends_with("back into \"larger-1\"")), "{steps:?}");
    wait_for_syncs(2);
    fs::write(format!("/sys/block/{}/md/sync_action", array().name), "check").unwrap();
    wait_for_syncs(2);
    assert_eq!(array().mismatches, 0, "sectors of the members tell different things: {:?}", array());
    leave(&PAIR);
}

/// Leaves blank what other cases want so.
fn leave(members: &[&str]) {
    stop_all();
    members.iter().filter(|serial| disks::SYSTEMS.contains(*serial)).for_each(|serial| clear(serial));
    system_disks::put_away();
}
