//! Cases of what the site file says about how volumes are made, mounted and kept.

use super::{clear, codes, run, stop_all, striped};
use machine_config::schema::{Level, Mkfs};
use qemu_tests::guest::disks;
use std::fs;

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
    assert_eq!(made.blocks_free(), made.blocks_available(), "nothing is kept for root alone");
    assert!((300..=800).contains(&made.files()), "{} inodes on 46 MiB", made.files());
}
