//! Cases of what is made sure of right before the first write.

use super::{boot, clear, codes, run_watched, stop_all, striped};
use crate::lay;
use firstboot::apply::{Progress, Tools, carry_out};
use firstboot::observe::{self, World};
use firstboot::secrets::Secrets;
use firstboot::storage::Status;
use machine_config::schema::Level;
use nix::fcntl::{Flock, FlockArg};
use qemu_tests::guest::disks::STRIPED;
use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn lock(serial: &str, how: FlockArg) -> Option<Flock<File>> {
    Flock::lock(File::open(lay::node(serial)).unwrap(), how).ok()
}

/// First somebody writes to one of its disks after the plan was made, then somebody holds the lock of the other for a while.
pub(super) fn disks_are_locked_and_looked_at_again() {
    let pair = [STRIPED[0], STRIPED[1]];
    stop_all();
    STRIPED.into_iter().for_each(clear);
    let inventory = observe::read(Some(&boot())).unwrap();
    let world = World::read(Some(&boot())).unwrap();
    let plan = storage_plan::plan(&inventory, &striped(Level::Raid1, 2, 0));
    let tools = Tools::find(&plan).unwrap();
    let plan = plan.approve().unwrap();
    lay::write(pair[1], 8 << 20, &[7; 512]);
    let before = pair.map(lay::writes);
    let error = carry_out(&plan, &inventory, &world, &tools, &Secrets::default(), &|_| ()).unwrap_err().to_string();
    assert!(error.contains(pair[1]) && error.contains("has changed since the plan was made"), "{error}");
    assert_eq!(pair.map(lay::writes), before, "something was written");

    clear(pair[1]);
    let (released, early, unlocked) = <(AtomicBool, AtomicBool, AtomicBool)>::default();
    let held = lock(pair[0], FlockArg::LockExclusive).unwrap();
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(1));
            released.store(true, Ordering::SeqCst);
            drop(held);
        });
        carry_out(&plan, &inventory, &world, &tools, &Secrets::default(), &|progress| {
            println!("  {progress}");
            early.fetch_or(!released.load(Ordering::SeqCst), Ordering::SeqCst);
            // Nobody else gets one while steps are done.
            let is_free = |serial: &str| lock(serial, FlockArg::LockExclusiveNonblock).is_some();
            let begins = matches!(progress, Progress::Began { .. });
            unlocked.fetch_or(begins && pair.into_iter().any(is_free), Ordering::SeqCst);
        })
    });
    assert!(done.unwrap().failed.is_empty() && !early.into_inner(), "a step began while somebody held a disk's lock");
    assert!(!unlocked.into_inner(), "a disk was not locked while it was written to");
}

pub(super) fn a_missing_program_is_named_before_anything_is_written() {
    const PROGRAM: &str = "/usr/sbin/mkfs.ext4";
    const AWAY: &str = "/usr/sbin/away";
    stop_all();
    STRIPED.into_iter().for_each(clear);
    let before = STRIPED.map(lay::writes);
    fs::rename(PROGRAM, AWAY).unwrap();
    let (outcome, steps) = run_watched(&striped(Level::Raid1, 2, 0));
    fs::rename(AWAY, PROGRAM).unwrap();
    assert_eq!((outcome.status, codes(&outcome), outcome.writes), (Status::Stopped, vec!["BP-S040"], 0));
    assert!(outcome.refusals[0].what.contains("mkfs.ext4"), "{}", outcome.refusals[0]);
    assert_eq!((STRIPED.map(lay::writes), steps), (before, Vec::new()));
}
