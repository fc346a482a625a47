//! Cases of a blank disk in place of a member that an array has lost.

use super::{
    MIRROR, boot, clear, codes, pull, put_back, run, run_watched, stop, stop_all, verdicts, wait_for_syncs, witness,
};
use crate::{lay, tool};
use firstboot::observe;
use firstboot::storage::{self, Status};
use firstboot::watch::events::Wakes;
use machine_config::schema::{Array, Format, Level, Replace};
use qemu_tests::fault::foreign::Foreign;
use qemu_tests::guest::config::config;
use qemu_tests::guest::disks;
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;
use storage_plan::Verdict;

/// What the mirror is to have again once it is whole.
const CONTENT: &str = "/var/lib/volumes/db/content";

fn content() -> Vec<u8> {
    let numbers = (0..2u32 << 20).map(|i| i.wrapping_mul(2_654_435_761).wrapping_add(i >> 7));
    numbers.flat_map(u32::to_le_bytes).collect()
}

pub(super) fn a_foreign_disk_does_not_replace_a_member() {
    fs::write(CONTENT, content()).unwrap();
    let foreign = disks::serial(Foreign::Ext4);
    // Both as it runs, and when it is started anew.
    for restart in [false, true] {
        if restart {
            stop();
        }
        let outcome = run(&config(&disks::EACH, &[disks::MIRROR[0], &foreign], Format::Xfs));
        assert_eq!((outcome.status, codes(&outcome), outcome.writes), (Status::Degraded, vec!["BP-S014"], 0));
        let mirror = outcome.volumes.iter().find(|v| v.volume == MIRROR).unwrap();
        assert!(mirror.available && mirror.verdict == Verdict::Keep && mirror.members == Some((1, 2)), "{mirror:?}");
        assert!(outcome.refusals[0].why.contains("which runs without"), "{}", outcome.refusals[0]);
        assert_eq!(fs::read(CONTENT).unwrap(), content());
    }
}

pub(super) fn a_named_disk_replaces_a_member() {
    let config = config(&disks::EACH, &[disks::MIRROR[0], disks::REPLACEMENT], Format::Xfs);
    let (outcome, steps) = run_watched(&config);
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    assert_eq!((verdicts(&outcome)[MIRROR], outcome.writes), (Verdict::Repair, 3), "{steps:?}");
    assert!(steps.iter().any(|s| s.starts_with("add ") && s.ends_with("to \"meta\"")), "{steps:?}");
    wait_for_syncs(2);
    let (outcome, steps) = run_watched(&config);
    let mirror = outcome.volumes.iter().find(|v| v.volume == MIRROR).unwrap();
    assert!(mirror.redundant && mirror.verdict == Verdict::Keep && steps.is_empty(), "{mirror:?} {steps:?}");
    assert_eq!(outcome.status, Status::Ready);
    // The new one alone has it all.
    stop();
    pull(disks::MIRROR[0]);
    let outcome = run(&config);
    let mirror = outcome.volumes.iter().find(|v| v.volume == MIRROR).unwrap();
    assert!(mirror.available && mirror.members == Some((1, 2)), "{mirror:?}");
    assert!(fs::read(CONTENT).unwrap() == content(), "the content is not what it was");
    assert_eq!(fs::read_to_string(witness("/var/lib/volumes/db")).unwrap(), "/var/lib/volumes/db");
}

/// Waits until the kernel's events wake the watch, for half a minute at most.
pub(super) fn woken(wakes: &Arc<Wakes>) {
    let (wakes, (send, receive)) = (wakes.clone(), mpsc::channel());
    std::thread::spawn(move || send.send(wakes.wait(None)));
    receive.recv_timeout(std::time::Duration::from_secs(30)).expect("nothing woke the watch").unwrap();
}

/// As udev would tell of a disk's path.
pub(super) fn put_in_place(serial: &str, place: &str) {
    let number = fs::read_to_string(format!("/sys/block/{}/dev", lay::name(serial))).unwrap();
    fs::create_dir_all("/run/udev/data").unwrap();
    fs::write(format!("/run/udev/data/b{}", number.trim()), format!("S:disk/by-path/{place}\n")).unwrap();
}

pub(super) fn a_disk_in_the_slot_replaces_a_member() {
    const AT: &str = "/var/lib/volumes/db";
    let (lost, new) = (disks::STRIPED[2], disks::STRIPED[3]);
    stop_all();
    for serial in disks::STRIPED {
        clear(serial);
        put_in_place(serial, &format!("bay-of-{serial}"));
    }
    let mut config = config(&[], &disks::STRIPED[..3], Format::Ext4);
    let array = config.storage.array.remove("meta").unwrap();
    let array = Array { level: Level::Raid5, replace: Replace::SameSlot, ..array };
    config.storage.array.insert("in-slots".into(), array);
    let outcome = run(&config);
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    wait_for_syncs(3);
    let content = &content()[..4 << 20];
    fs::write(witness(AT), content).unwrap();
    let keep_up = || {
        let kept = storage::keep_up(&config, Some(&boot()), None, &|progress| println!("  {progress}")).unwrap();
        println!("{}", kept.outcome.table);
        firstboot::watch::keep(&kept.remembered).unwrap();
        kept
    };
    assert_eq!(keep_up().remembered.iter().map(|m| m.identity.as_str()).collect::<Vec<_>>(), disks::STRIPED[..3]);

    let wakes = Arc::new(Wakes::open().unwrap());
    pull(lost);
    woken(&wakes);
    fs::write(witness(AT), content).unwrap();
    nix::unistd::sync();
    let kept = keep_up();
    assert_eq!(
        (kept.outcome.writes, kept.outcome.status),
        (0, Status::Degraded),
        "a blank disk elsewhere is no matter"
    );

    put_in_place(new, &format!("bay-of-{lost}"));
    // An agent that was killed has written the table, and something behind it.
    let inventory = observe::read(Some(&boot())).unwrap();
    let plan = storage_plan::plan(&inventory, &config);
    let storage_plan::Action::WriteTable { disk, table, partitions } = &plan.graph.steps[0].action else {
        panic!("{plan:?}")
    };
    let device = inventory.devices.iter().find(|d| d.name == *disk).unwrap();
    assert_eq!(device.serial.as_deref(), Some(new));
    for write in on_disk::gpt::layout(table, device.size).unwrap() {
        lay::write(new, write.offset, &write.bytes);
    }
    lay::write(new, partitions[0].start + 4096, &[7; 512]);
    lay::read_anew(new);
    let kept = keep_up();
    assert_eq!((codes(&kept.outcome), kept.outcome.writes), (Vec::new(), 2), "{:?}", kept.steps);
    // The array tells of its rebuild's end.
    let redundant = |kept: &storage::KeptUp| kept.outcome.volumes.iter().all(|v| v.level.is_none() || v.redundant);
    let mut kept = kept;
    while !redundant(&kept) {
        woken(&wakes);
        kept = keep_up();
    }
    assert_eq!((kept.outcome.writes, kept.outcome.status), (0, Status::Ready), "{:?}", kept.outcome);
    let places = kept.remembered.iter().map(|m| format!("{} {}", m.identity, m.by_path[0])).collect::<Vec<_>>();
    assert_eq!(places, ["R1 bay-of-R1", "R2 bay-of-R2", "R4 bay-of-R3"]);
    stop_all();
    pull(disks::STRIPED[0]);
    let outcome = run(&config);
    assert!(outcome.volumes.iter().all(|v| v.available), "{outcome:?}");
    assert!(fs::read(witness(AT)).unwrap() == content, "the content is not what it was");
}

/// Writes files in a ring, each through to the disk, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    writer: std::thread::JoinHandle<std::io::Result<()>>,
}

impl Load {
    const RING: usize = 40;

    fn start(at: &'static str) -> Load {
        let (stop, written) = <(Arc<AtomicBool>, Arc<AtomicUsize>)>::default();
        let (end, count) = (stop.clone(), written.clone());
        let writer = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let number = count.load(Ordering::Relaxed);
                let mut file = fs::File::create(Load::file(at, number))?;
                file.write_all(&Load::bytes(number))?;
                file.sync_all()?;
                count.store(number + 1, Ordering::Relaxed);
            }
            Ok(())
        });
        Load { stop, written, writer }
    }

    fn file(at: &str, number: usize) -> String {
        format!("{at}/{}", number % Load::RING)
    }

    fn bytes(number: usize) -> Vec<u8> {
        let number = u32::try_from(number).unwrap();
        (0..16u32 << 10).flat_map(|i| (i ^ number).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
    }

    /// Waits until some more are written.
    fn goes_on(&self) {
        let (before, clock) = (self.written.load(Ordering::Relaxed), Instant::now());
        while self.written.load(Ordering::Relaxed) < before + 5 {
            assert!(!self.writer.is_finished() && clock.elapsed().as_secs() < 60, "nothing is written any more");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Ends it, and gives how many were written.
    fn ends(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.writer.join().unwrap().expect("a write failed");
        self.written.load(Ordering::Relaxed)
    }
}

/// What is written all the while is on the new disk alone in the end.
pub(super) fn a_member_is_pulled_under_load(level: Level, members: usize) {
    const AT: &str = "/var/lib/volumes/db";
    stop_all();
    put_back(&disks::STRIPED);
    for serial in disks::STRIPED {
        clear(serial);
        put_in_place(serial, &format!("bay-of-{serial}"));
    }
    let (lost, new) = (disks::STRIPED[members - 1], disks::STRIPED[members]);
    let mut config = config(&[], &disks::STRIPED[..members], Format::Ext4);
    let array = config.storage.array.remove("meta").unwrap();
    config.storage.array.insert("loaded".into(), Array { level, replace: Replace::SameSlot, ..array });
    assert_eq!(codes(&run(&config)), Vec::<&str>::new());
    wait_for_syncs(members);
    let keep_up = || {
        let kept = storage::keep_up(&config, Some(&boot()), None, &|progress| println!("  {progress}")).unwrap();
        firstboot::watch::keep(&kept.remembered).unwrap();
        kept.outcome
    };
    keep_up();

    let wakes = Arc::new(Wakes::open().unwrap());
    let load = Load::start(AT);
    load.goes_on();
    pull(lost);
    woken(&wakes);
    load.goes_on();
    let outcome = keep_up();
    assert_eq!((outcome.status, outcome.writes), (Status::Degraded, 0), "{:?}", outcome.refusals);

    put_in_place(new, &format!("bay-of-{lost}"));
    let mut outcome = keep_up();
    assert_eq!((codes(&outcome), outcome.writes), (Vec::new(), 3));
    while !outcome.volumes.iter().all(|v| v.level.is_none() || v.redundant) {
        load.goes_on();
        woken(&wakes);
        outcome = keep_up();
    }
    load.goes_on();
    let written = load.ends();

    stop_all();
    pull(disks::STRIPED[0]);
    let outcome = run(&config);
    assert!(outcome.volumes.iter().all(|v| v.available), "{outcome:?}");
    assert!(written > 20, "only {written} files were written");
    for number in written.saturating_sub(Load::RING)..written {
        let found = fs::read(Load::file(AT, number)).unwrap();
        assert!(found == Load::bytes(number), "file {number} of {written} is not what was written");
    }
}

/// It takes over by itself when a member fails.
pub(super) fn a_spare_is_added_to_an_array_that_runs() {
    const AT: &str = "/var/lib/volumes/db";
    let [first, second, new, ..] = disks::STRIPED;
    stop_all();
    disks::STRIPED.into_iter().for_each(clear);
    let with = |members: &[&str], spares: u32| {
        let mut config = config(&[], members, Format::Ext4);
        let array = config.storage.array.remove("meta").unwrap();
        config.storage.array.insert("with-spare".into(), Array { spares, ..array });
        config
    };
    assert_eq!(codes(&run(&with(&[first, second], 0))), Vec::<&str>::new());
    wait_for_syncs(2);
    fs::write(witness(AT), "before").unwrap();
    let (outcome, steps) = run_watched(&with(&[first, second, new], 0));
    assert_eq!((outcome.writes, steps), (0, Vec::new()), "a name alone adds nothing");
    let config = with(&[first, second, new], 1);
    let (outcome, steps) = run_watched(&config);
    assert_eq!((codes(&outcome), outcome.status, outcome.writes), (Vec::new(), Status::Ready, 3), "{steps:?}");
    let spares = || observe::arrays().unwrap().into_iter().flat_map(|array| array.spares).collect::<Vec<_>>();
    assert_eq!(spares(), [format!("{}1", lay::name(new))]);
    stop_all();
    let outcome = run(&config);
    assert_eq!((codes(&outcome), outcome.status, outcome.writes), (Vec::new(), Status::Ready, 0));
    assert_eq!(spares().len(), 1, "and after a restart");
    let array = format!("/dev/{}", observe::arrays().unwrap()[0].name);
    tool("/usr/sbin/mdadm", &["--manage", &array, "--fail", &format!("/dev/{}1", lay::name(first))]);
    wait_for_syncs(2);
    assert!(spares().is_empty(), "{}", fs::read_to_string("/proc/mdstat").unwrap());
    assert_eq!(fs::read_to_string(witness(AT)).unwrap(), "before");
    stop_all();
    disks::STRIPED.into_iter().for_each(clear);
}
