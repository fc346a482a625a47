//! Cases of what the site file says about how volumes are made, mounted and kept.

use super::{clear, codes, member_start, run, stop_all, striped, wait_for_syncs, witness};
use crate::lay;
use firstboot::observe;
use firstboot::storage::{ScrubState, Status, VolumeState};
use firstboot::watch::events::Wakes;
use firstboot::watch::scrub;
use machine_config::schema::{DirtyDegraded, Level, MachineConfig, Mkfs, Rebuild, Scrub};
use qemu_tests::guest::disks;
use std::fs;
use storage_plan::scrub::Scrubbed;

const AT: &str = "/var/lib/volumes/db";

/// What the kernel says of a mount, its options among it.
fn mounted(at: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(at));
    let line = line.unwrap_or_else(|| panic!("nothing is mounted on {at}:\n{mounts}"));
    line.split(' ').nth(3).unwrap().split(',').map(str::to_owned).collect()
}

pub(super) fn volumes_are_made_and_mounted_as_asked() {
    stop_all();
    disks::STRIPED.into_iter().for_each(clear);
    let mut config = striped(Level::Raid1, 2, 0);
    let options = |all: &[&str]| all.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>();
    config.storage.system.mount_options = options(&["lazytime", "prjquota", "logbsize=128k", "allocsize=1m"]);
    let volume = config.storage.array.get_mut("striped").unwrap().volume.get_mut("db").unwrap();
    volume.mount_options = options(&["relatime", "noexec", "commit=30", "data=journal"]);
    volume.mkfs = Mkfs { reserved_percent: Some(0), bytes_per_inode: Some(64 << 10), reflink: None };
    assert_eq!(codes(&run(&config)), Vec::<&str>::new());
    let (state, data) = (mounted("/var"), mounted(AT));
    for option in ["lazytime", "prjquota", "logbsize=128k", "allocsize=1024k", "noatime"] {
        assert!(state.iter().any(|said| said == option), "{option} is not among {state:?}");
    }
    for option in ["relatime", "noexec", "nodev", "commit=30", "data=journal"] {
        assert!(data.iter().any(|said| said == option), "{option} is not among {data:?}");
    }
    let made = nix::sys::statvfs::statvfs(AT).unwrap();
    // `s_r_blocks_count_lo`: the kernel itself keeps some more back.
    let node = format!("/dev/{}", observe::arrays().unwrap()[0].name);
    let kept = &fs::read(node).unwrap()[1024 + 8..][..4];
    assert_eq!(kept, [0; 4], "nothing is kept for root alone");
    assert!((300..=800).contains(&made.files()), "{} inodes on 46 MiB", made.files());
}

/// The superblock of a member, as `md_p.h` has it, of an array that was cut off before any of it was synced.
fn cut_off(superblock: &[u8]) -> Vec<u8> {
    let mut bytes = superblock.to_vec();
    bytes[208..216].copy_from_slice(&0u64.to_le_bytes());
    with_checksum(bytes)
}

/// A superblock that was altered, with the checksum that it has then.
pub(super) fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[216..220].copy_from_slice(&[0; 4]);
    let devices = u32::from_le_bytes(bytes[220..224].try_into().unwrap()) as usize;
    let words = bytes[..256 + 2 * devices].chunks(4).map(|word| match *word {
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        [a, b] => u64::from(u16::from_le_bytes([a, b])),
        _ => unreachable!("roles have two bytes each"),
    });
    let sum: u64 = words.sum();
    bytes[216..220].copy_from_slice(&(((sum & 0xffff_ffff) + (sum >> 32)) as u32).to_le_bytes());
    bytes
}

/// All that is on a disk, but for the page with the header of the array's bitmap.
fn content(serial: &str, superblock_at: u64) -> Vec<u8> {
    let mut bytes = fs::read(lay::node(serial)).unwrap();
    let at = usize::try_from(superblock_at).unwrap();
    let bitmap = i32::from_le_bytes(bytes[at + 96..at + 100].try_into().unwrap());
    let header = at + usize::try_from(bitmap).unwrap() * 512;
    bytes[header..header + 4096].fill(0);
    bytes
}

pub(super) fn a_dirty_degraded_array_is_read() {
    stop_all();
    disks::STRIPED.into_iter().for_each(clear);
    let mut config = striped(Level::Raid6, 4, 0);
    assert_eq!(codes(&run(&config)), Vec::<&str>::new());
    wait_for_syncs(4);
    fs::write(witness(AT), "before").unwrap();
    stop_all();
    let at = disks::STRIPED.map(|serial| member_start(serial) + 4096);
    let superblocks = disks::STRIPED.map(|serial| {
        let from = usize::try_from(at[0]).unwrap();
        cut_off(&fs::read(lay::node(serial)).unwrap()[from..from + 4096])
    });
    for (serial, superblock) in disks::STRIPED.iter().zip(&superblocks) {
        lay::write(serial, at[0], superblock);
    }
    let lost = disks::STRIPED[0];
    lay::write(lost, at[0], &[0; 4096]);
    let outcome = run(&config);
    assert_eq!((outcome.status, codes(&outcome)), (Status::Stopped, vec!["BP-S019"]));

    config.storage.array.get_mut("striped").unwrap().dirty_degraded = DirtyDegraded::StartReadOnly;
    let left = &disks::STRIPED[1..];
    let before: Vec<_> = left.iter().map(|serial| content(serial, at[0])).collect();
    for again in [false, true] {
        let outcome = run(&config);
        assert_eq!((outcome.status, codes(&outcome), outcome.writes), (Status::Degraded, vec!["BP-S025"], 0));
        let volume = outcome.volumes.iter().find(|v| v.volume == "striped/db").unwrap();
        assert!(volume.available && volume.read_only, "again {again}: {volume:?}");
        assert_eq!(fs::read_to_string(witness(AT)).unwrap(), "before");
        let error = fs::write(witness(AT), "after").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{error}");
        let parameter = fs::read_to_string("/sys/module/md_mod/parameters/start_dirty_degraded").unwrap();
        assert_eq!(parameter.trim(), "0");
    }
    stop_all();
    for (serial, before) in left.iter().zip(&before) {
        lay::read_anew(serial);
        assert!(content(serial, at[0]) == *before, "something was written to {serial}");
    }
    // With the disk that lacked it is as ever.
    lay::write(lost, at[0], &superblocks[0]);
    let outcome = run(&config);
    assert_eq!((codes(&outcome), outcome.volumes.iter().any(|v| v.read_only)), (Vec::new(), false));
    wait_for_syncs(4);
    fs::write(witness(AT), "after").unwrap();
}

/// The speeds of the one array that runs, in KiB a second, as the kernel says them.
fn speeds() -> [String; 2] {
    let arrays = observe::arrays().unwrap();
    let [array] = &arrays[..] else { panic!("{arrays:?}") };
    ["min", "max"].map(|end| {
        let file = format!("/sys/block/{}/md/sync_speed_{end}", array.name);
        fs::read_to_string(file).unwrap().trim().to_owned()
    })
}

pub(super) fn an_array_is_rebuilt_as_fast_as_asked() {
    stop_all();
    disks::STRIPED.into_iter().for_each(clear);
    let mut config = striped(Level::Raid1, 2, 0);
    config.storage.array.get_mut("striped").unwrap().rebuild =
        Rebuild { at_least: Some(10 << 20), at_most: Some(20 << 20) };
    let asked = ["10240 (local)", "20480 (local)"];
    assert_eq!(codes(&run(&config)), Vec::<&str>::new());
    assert_eq!(speeds()[1], "1000 (local)", "the first sync is held back");
    firstboot::apply::release_syncs(&storage_plan::speeds::speeds(&config));
    assert_eq!(speeds(), asked);
    wait_for_syncs(2);
    assert!(speeds().iter().all(|speed| speed.ends_with("(system)")), "what nobody asks for is the kernel's own");
    stop_all();
    assert_eq!(codes(&run(&config)), Vec::<&str>::new());
    assert_eq!(speeds(), asked);
}

pub(super) fn an_array_is_scrubbed() {
    stop_all();
    disks::STRIPED.into_iter().for_each(clear);
    let mut config = striped(Level::Raid1, 2, 0);
    config.storage.array.get_mut("striped").unwrap().scrub = Scrub::Every(24 * 60 * 60);
    let mut volumes = run(&config).volumes;
    wait_for_syncs(2);
    // Nothing is due: it was only just seen.
    assert!(scrub::look(&config, &mut volumes).unwrap().is_some());
    assert_eq!(of_the_one_array(&volumes), ScrubState::default());

    // A disk that tells something else than it was told, in the last MiB of the array but one.
    lay::write(disks::STRIPED[0], lay::size(disks::STRIPED[0]) - (8 << 20), &[7; 4096]);
    let ended = scrub_now(&config, &mut volumes);
    assert!(ended.ended.is_some() && ended.mismatches.is_some_and(|sectors| sectors > 0), "{ended:?}");
}

fn of_the_one_array(volumes: &[VolumeState]) -> ScrubState {
    volumes.iter().find_map(|volume| volume.scrub.clone()).expect("no volume is scrubbed")
}

/// Makes the scrub of the one array that runs due, has it begun as the watch does, and waits for its end.
pub(super) fn scrub_now(config: &MachineConfig, volumes: &mut [VolumeState]) -> ScrubState {
    scrub::look(config, volumes).unwrap();
    let mut kept: Vec<Scrubbed> = serde_json::from_slice(&fs::read(scrub::PATH).unwrap()).unwrap();
    for scrubbed in &mut kept {
        (scrubbed.since, scrubbed.ended) = (0, scrubbed.ended.map(|_| 0));
    }
    fs::write(scrub::PATH, serde_json::to_vec(&kept).unwrap()).unwrap();
    let wakes = Wakes::open().unwrap();
    scrub::look(config, volumes).unwrap();
    assert!(of_the_one_array(volumes).under_way, "{volumes:?}");
    let clock = std::time::Instant::now();
    loop {
        scrub::look(config, volumes).unwrap();
        let state = of_the_one_array(volumes);
        if !state.under_way {
            return state;
        }
        assert!(clock.elapsed().as_secs() < 120, "{state:?}");
        // The kernel tells of its end.
        wakes.wait(std::time::Instant::now().checked_add(std::time::Duration::from_secs(60))).unwrap();
    }
}
