//! Volume groups: made of blank disks with a volume of each layout, found again, and what is lost or half made in them.

use super::{clear, codes, run, run_watched, stop_all};
use crate::drive::{Drive, Make, Speaks};
use crate::{lay, tool};
use firstboot::observe;
use firstboot::storage::{Status, StorageOutcome};
use machine_config::schema::{Content, Encrypt, Format, Group, Layout, Logical, MachineConfig, Pool};
use qemu_tests::guest::config::{config, logical, serials};
use qemu_tests::guest::disks::STRIPED;
use std::fs;
use std::path::Path;
use storage_plan::Verdict;
use storage_plan::inventory::VolumeGroup;

/// Volumes with a file system.
const MOUNTED: [&str; 5] = ["line", "fast", "safe", "secret", "thin"];
const RAW: &str = "/dev/bedplate/data/rest";

/// A volume of each layout over all four disks, which have 11 extents each.
pub fn wanted() -> MachineConfig {
    let volumes = [
        ("line", logical(16, None, "line")),
        ("fast", logical(16, Some(Layout::Striped), "fast")),
        ("safe", logical(16, Some(Layout::Raid1), "safe")),
        ("secret", Logical { encrypt: Some(Encrypt::Passphrase), ..logical(32, None, "secret") }),
        ("thin", Logical { pool: Some("shared".into()), ..logical(64, None, "thin") }),
        ("rest", Logical { size: None, format: Content::Raw, mount: None, ..logical(0, None, "rest") }),
    ];
    let group = Group {
        disks: serials(&STRIPED),
        volume: volumes.into_iter().map(|(name, volume)| (name.to_owned(), volume)).collect(),
        pool: [("shared".to_owned(), Pool { size: 24 << 20 })].into(),
        generation: 0,
    };
    let mut config = config(&[], &[], Format::Ext4);
    config.storage.group.insert("data".into(), group);
    config
}

/// Two disks, and a volume of each kind that differs in its steps: less to look at after each.
pub fn small() -> MachineConfig {
    let mut config = wanted();
    let group = config.storage.group.get_mut("data").unwrap();
    group.disks = serials(&STRIPED[..2]);
    group.volume.retain(|name, _| ["safe", "thin", "rest"].contains(&name.as_str()));
    group.volume.get_mut("thin").unwrap().size = Some(32 << 20);
    group.pool.get_mut("shared").unwrap().size = 16 << 20;
    config
}

fn at(name: &str) -> String {
    format!("/var/lib/volumes/{name}")
}

fn witness(name: &str) -> String {
    format!("{}/witness", at(name))
}

fn group() -> VolumeGroup {
    let groups = observe::read(Some(&super::boot())).unwrap().groups;
    assert_eq!(groups.len(), 1, "{groups:?}");
    groups.into_iter().next().unwrap()
}

fn is_whole(outcome: &StorageOutcome, verdict: Verdict) {
    assert_eq!((outcome.status, codes(outcome)), (Status::Ready, Vec::<&str>::new()));
    let places = MOUNTED.map(at).into_iter().chain([RAW.to_owned()]);
    for place in places {
        let volume =
            outcome.volumes.iter().find(|v| v.mount == place).unwrap_or_else(|| panic!("{place}: {outcome:?}"));
        assert!(volume.available && volume.verdict == verdict, "{volume:?}");
    }
}

fn restart() {
    stop_all();
    STRIPED.into_iter().for_each(lay::read_anew);
    assert!(group().mappings.is_empty(), "something is active that was let go of");
}

pub(super) fn a_group_is_made_and_found_again() {
    stop_all();
    STRIPED.into_iter().for_each(clear);
    let config = wanted();
    is_whole(&run(&config), Verdict::Create);
    for name in MOUNTED {
        fs::write(witness(name), name).unwrap();
    }
    let (again, steps) = run_watched(&config);
    is_whole(&again, Verdict::Keep);
    assert_eq!((steps, again.writes), (Vec::new(), 0));
    let made = group();
    let layouts: Vec<(&str, &str, u64)> =
        made.volumes.iter().map(|v| (v.name.as_str(), v.layout.as_str(), v.size >> 20)).collect();
    assert_eq!(
        layouts,
        [
            ("fast", "striped", 16),
            ("line", "linear", 16),
            ("rest", "linear", 40),
            ("safe", "raid,raid1", 16),
            ("secret", "linear", 32),
            ("shared", "thin,pool", 24),
            ("thin", "thin,sparse", 64),
        ]
    );
    assert_eq!(made.members.iter().map(|m| (m.extents, m.free)).collect::<Vec<_>>(), [(11, 0); 4]);

    restart();
    let outcome = run(&config);
    is_whole(&outcome, Verdict::Keep);
    assert_eq!(outcome.writes, 0);
    for name in MOUNTED {
        assert_eq!(fs::read_to_string(witness(name)).unwrap(), name);
    }
}

/// Tags a volume as if the power had gone while it was made.
fn begun(name: &str) {
    tag(name, &["--deltag", "bedplate.made", "--addtag", "bedplate.making"]);
}

fn tag(name: &str, tags: &[&str]) {
    let nodes: Vec<String> = STRIPED.into_iter().map(|serial| format!("/dev/{}1", lay::name(serial))).collect();
    let volume = format!("bedplate.data/{name}");
    let settings = "activation{udev_sync=0 udev_rules=0} backup{backup=0 archive=0}";
    let shown = nodes.join(",");
    tool("/usr/sbin/lvm", &[&["lvchange", "--config", settings, "--devices", &shown], tags, &[&volume]].concat());
}

pub(super) fn only_a_half_made_volume_is_made_anew() {
    const BEGUN: [&str; 3] = ["safe", "secret", "thin"];
    let config = wanted();
    restart();
    // With a pool all that is in it would go.
    ["shared", "thin"].into_iter().for_each(begun);
    let outcome = run(&config);
    assert_eq!((outcome.status, codes(&outcome), outcome.writes), (Status::Stopped, vec!["BP-S016"], 0));
    assert!(outcome.refusals[0].what.contains("\"shared\""), "{}", outcome.refusals[0]);

    tag("shared", &["--deltag", "bedplate.making", "--addtag", "bedplate.made"]);
    ["safe", "secret"].into_iter().for_each(begun);
    let outcome = run(&config);
    assert_eq!((outcome.status, codes(&outcome)), (Status::Ready, Vec::<&str>::new()));
    for name in MOUNTED {
        let volume = outcome.volumes.iter().find(|v| v.mount == at(name)).unwrap();
        let is_made_anew = volume.verdict == Verdict::Create;
        assert_eq!(
            (is_made_anew, Path::new(&witness(name)).exists()),
            (BEGUN.contains(&name), !is_made_anew),
            "{name}"
        );
    }
}

/// Bytes of the file system that is mounted there.
fn bytes(at: &str) -> u64 {
    let told = nix::sys::statvfs::statvfs(at).unwrap();
    told.blocks() * told.fragment_size()
}

pub(super) fn a_volume_is_made_larger_while_it_is_mounted() {
    stop_all();
    STRIPED.into_iter().for_each(clear);
    let mut config = wanted();
    let data = config.storage.group.get_mut("data").unwrap();
    data.volume.retain(|name, _| ["line", "safe"].contains(&name.as_str()));
    assert_eq!(codes(&run(&config)), Vec::<&str>::new());
    let names = ["line", "safe"];
    names.iter().for_each(|name| fs::write(witness(name), name).unwrap());
    let before = names.map(|name| bytes(&at(name)));
    // The mirror first, as long as there is room on the disks that it lies on.
    for name in ["safe", "line"] {
        let data = config.storage.group.get_mut("data").unwrap();
        data.volume.get_mut(name).unwrap().size = Some(24 << 20);
        let (outcome, steps) = run_watched(&config);
        assert_eq!((codes(&outcome), steps.len()), (Vec::<&str>::new(), 1), "{steps:?}");
    }
    let (outcome, steps) = run_watched(&config);
    is_larger(&outcome, &steps, before);

    // Interrupted when the volume was larger already, and the power gone.
    restart();
    tag("line", &["--addtag", "bedplate.growing"]);
    let (outcome, steps) = run_watched(&config);
    assert_eq!(steps.iter().filter(|step| step.contains("larger")).count(), 1, "{steps:?}");
    is_larger(&outcome, &steps, before);
    assert!(group().volumes.iter().all(|v| v.tags.len() == 2), "{:?}", group().volumes);
    let (outcome, steps) = run_watched(&config);
    assert_eq!((outcome.writes, steps), (0, Vec::new()));
}

fn is_larger(outcome: &StorageOutcome, steps: &[String], before: [u64; 2]) {
    assert_eq!((outcome.status, codes(outcome)), (Status::Ready, Vec::<&str>::new()), "{steps:?}");
    for (name, before) in ["line", "safe"].into_iter().zip(before) {
        let now = bytes(&at(name));
        assert!(now > before + (6 << 20), "{name} has {now} bytes, and had {before}");
        assert_eq!(fs::read_to_string(witness(name)).unwrap(), name);
    }
}

pub(super) fn a_lost_disk_stops_what_lies_on_it() {
    stop_all();
    STRIPED.into_iter().for_each(clear);
    let mut config = wanted();
    let data = config.storage.group.get_mut("data").unwrap();
    data.volume.retain(|name, _| ["fast", "safe"].contains(&name.as_str()));
    data.volume.values_mut().for_each(|v| v.required = false);
    assert_eq!(codes(&run(&config)), Vec::<&str>::new());
    fs::write(witness("safe"), "safe").unwrap();
    // The disks that the mirror lies on are LVM's choice.
    let on_it = |serial: &&str| {
        let name = lay::name(serial);
        fs::read_dir(format!("/sys/block/{name}/{name}1/holders")).unwrap().count() > 1
    };
    let lost = STRIPED.into_iter().find(on_it).expect("the mirror lies somewhere");
    stop_all();
    clear(lost);
    STRIPED.into_iter().for_each(lay::read_anew);
    let outcome = run(&config);
    assert_eq!((outcome.status, codes(&outcome), outcome.writes), (Status::Degraded, vec!["BP-S018"], 0));
    let of = |name: &str| outcome.volumes.iter().find(|v| v.volume == format!("data/{name}")).unwrap();
    assert!(of("safe").available && of("safe").lacks_copy && !of("fast").available, "{outcome:?}");
    assert_eq!(fs::read_to_string(witness("safe")).unwrap(), "safe");
    stop_all();
    STRIPED.into_iter().for_each(clear);
}

/// What the superblock begins with that dm-raid writes for each copy (`DM_RAID_MAGIC` of its dm-raid.c).
const COPY: [u8; 4] = *b"DmRd";

pub(super) fn a_mirror_that_lost_a_copy_is_not_finished() {
    const SERIALS: [&str; 2] = ["G1", "G2"];
    stop_all();
    let drives = SERIALS.map(|serial| Drive::plug(Make { serial, speaks: Speaks::Scsi(&[]) }, &[]));
    drives.iter().for_each(|drive| drive.state().bytes.fill(0));
    SERIALS.into_iter().for_each(lay::read_anew);
    let volume = [("copies".to_owned(), logical(16, Some(Layout::Raid1), "copies"))].into();
    let group = Group { disks: serials(&SERIALS), volume, pool: Default::default(), generation: 0 };
    let mut config = config(&[], &[], Format::Ext4);
    config.storage.group.insert("drives".into(), group);
    let restart = || {
        stop_all();
        SERIALS.into_iter().for_each(lay::read_anew);
    };

    drives[1].state().refuses = Some(COPY);
    let outcome = run(&config);
    assert_eq!(codes(&outcome), ["BP-S041"], "{:?}", outcome.refusals);
    assert!(outcome.refusals[0].what.contains("is not whole"), "{}", outcome.refusals[0]);

    // It only had a bad moment.
    drives[1].state().refuses = None;
    for verdict in [Verdict::Create, Verdict::Keep] {
        restart();
        let outcome = run(&config);
        assert_eq!((outcome.status, codes(&outcome)), (Status::Ready, Vec::<&str>::new()), "{:?}", outcome.refusals);
        let volume = outcome.volumes.iter().find(|v| v.volume == "drives/copies").unwrap();
        assert!(volume.available && volume.verdict == verdict && !volume.lacks_copy, "{volume:?}");
        if verdict == Verdict::Create {
            fs::write(witness("copies"), "copies").unwrap();
        }
    }
    assert_eq!(fs::read_to_string(witness("copies")).unwrap(), "copies");
    restart();
    drives.into_iter().for_each(Drive::pull);
}
