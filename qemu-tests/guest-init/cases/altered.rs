//! Cases of a disk that gives back something else than what was written to it, and tells of no error.

use super::policies::scrub_now;
use super::replacing::{put_in_place, woken};
use super::{boot, clear, codes, member_start, pull, put_back, run, stop_all, verdicts, wait_for_syncs};
use crate::lay;
use firstboot::health::Health;
use firstboot::observe;
use firstboot::report::status::Status as NodeStatus;
use firstboot::storage::{self, Status};
use firstboot::watch::events::Wakes;
use machine_config::schema::{Array, Format, Level, Replace, Scrub};
use qemu_tests::guest::config::config;
use qemu_tests::guest::disks;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage_plan::Verdict;

const AT: &str = "/var/lib/volumes/db";
/// What ext4 stores at a time on a small volume, and what md compares at a time.
const BLOCK: usize = 1024;
const COMPARED: u64 = 4096;
const FILES: u32 = 3;
/// It has parts of several stripes on each member.
const FILE: u32 = 3 << 20;

fn path(number: u32) -> String {
    format!("{AT}/{number}")
}

/// Each word tells its file and its place, so no block is like another, nor like the parity of others.
fn bytes(number: u32) -> Vec<u8> {
    (0..FILE / 4).flat_map(|word| (number << 24 | word).to_le_bytes()).collect()
}

/// Which files hold something else than was written, asked of the disks and not of what kernel and md remember.
fn changed() -> Vec<u32> {
    fs::write("/proc/sys/vm/drop_caches", "1").unwrap();
    for array in observe::arrays().unwrap() {
        let stripes = format!("/sys/block/{}/md/stripe_cache_size", array.name);
        ["17", "256"].into_iter().for_each(|size| fs::write(&stripes, size).unwrap());
    }
    (1..=FILES).filter(|number| fs::read(path(*number)).unwrap() != bytes(*number)).collect()
}

/// Alters a sector in the midst of file `number`, on this disk alone. Gives where.
fn alter(serial: &str, number: u32) -> u64 {
    let (disk, content) = (fs::read(lay::node(serial)).unwrap(), bytes(number));
    let start = usize::try_from(member_start(serial)).unwrap();
    let is_of_it = |at: &usize| {
        let first = u32::from_le_bytes(disk[*at..at + 4].try_into().unwrap());
        let from = (first & 0xff_ffff) as usize * 4;
        first >> 24 == number && content.get(from..from + BLOCK).is_some_and(|block| *block == disk[*at..at + BLOCK])
    };
    let blocks: Vec<usize> = (start..disk.len() - BLOCK).step_by(BLOCK).filter(is_of_it).collect();
    assert!(blocks.len() > 100, "{serial} has {} blocks of the file", blocks.len());
    let at = blocks[blocks.len() / 2] + 512;
    lay::write(serial, at as u64, &disk[at..at + 512].iter().map(|byte| !byte).collect::<Vec<_>>());
    at as u64
}

/// Has the watch ask for the health of disks and arrays, and waits for these warnings in the status file.
fn warned(health: &Arc<Health>, wanted: &[&str]) {
    health.look(&observe::read(Some(&boot())).unwrap());
    let clock = Instant::now();
    loop {
        let found: Vec<String> =
            NodeStatus::read().warnings.iter().map(|warning| format!("{}: {}", warning.code, warning.what)).collect();
        if found == wanted {
            return;
        }
        assert!(clock.elapsed().as_secs() < 60, "{found:?} and not {wanted:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// One of `members` does so. A scrub finds it, and once a blank disk has its place, all is as it was written.
pub(super) fn what_a_member_altered_is_found_and_comes_back(level: Level, members: usize) {
    let all: Vec<&str> = disks::STRIPED.into_iter().chain([disks::EACH[0]]).collect();
    let (lost, new) = (all[1], all[members]);
    stop_all();
    put_back(&all);
    for serial in &all {
        clear(serial);
        put_in_place(serial, &format!("bay-of-{serial}"));
    }
    let mut config = config(&[], &all[..members], Format::Ext4);
    let array = config.storage.array.remove("meta").unwrap();
    let array = Array { level, replace: Replace::SameSlot, scrub: Scrub::Every(24 * 60 * 60), ..array };
    config.storage.array.insert("altered".into(), array);
    assert_eq!(codes(&run(&config)), Vec::<&str>::new());
    wait_for_syncs(members);
    (1..=FILES).for_each(|number| fs::write(path(number), bytes(number)).unwrap());
    nix::unistd::sync();
    assert_eq!(changed(), Vec::<u32>::new());

    // Not while it runs: md remembers the stripes that it wrote last.
    stop_all();
    let at = alter(lost, 2);
    let mut volumes = run(&config).volumes;
    wait_for_syncs(members);
    assert_eq!(changed(), [2], "nothing but the bytes themselves shows it");
    let health = Health::new(&NodeStatus::default());
    let ended = scrub_now(&config, &mut volumes);
    assert_eq!(ended.mismatches, Some(COMPARED / 512), "{ended:?}");
    warned(&health, &["BP-H008: \"altered\" has parity that differs in 8 sectors."]);
    assert_eq!(changed(), [2], "which one is right is not for the node to guess");

    let keep_up = || {
        let kept = storage::keep_up(&config, Some(&boot()), None, &|progress| println!("  {progress}")).unwrap();
        firstboot::watch::keep(&kept.remembered).unwrap();
        kept.outcome
    };
    keep_up();
    let wakes = Arc::new(Wakes::open().unwrap());
    pull(lost);
    woken(&wakes);
    assert_eq!(keep_up().status, Status::Degraded);
    assert_eq!(changed(), Vec::<u32>::new(), "without the disk, byte {at} of it is made of the others");
    put_in_place(new, &format!("bay-of-{lost}"));
    let mut outcome = keep_up();
    assert_eq!((codes(&outcome), outcome.writes), (Vec::new(), 3));
    while !outcome.volumes.iter().all(|v| v.level.is_none() || v.redundant) {
        woken(&wakes);
        outcome = keep_up();
    }

    stop_all();
    let outcome = run(&config);
    assert_eq!((verdicts(&outcome)["altered/db"], outcome.writes), (Verdict::Keep, 0), "{outcome:?}");
    wait_for_syncs(members);
    assert_eq!(changed(), Vec::<u32>::new());
    let mut volumes = outcome.volumes;
    let ended = scrub_now(&config, &mut volumes);
    assert_eq!(ended.mismatches, Some(0), "{ended:?}");
    warned(&health, &[]);
}
