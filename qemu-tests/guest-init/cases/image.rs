//! The case of an image's file system.

use crate::lay;
use qemu_tests::guest::images;
use qemu_tests::sight::{Sight, check};
use std::fs;
use sys_mount::{Mount, MountFlags, Unmount, UnmountFlags};

pub(super) fn an_image_is_shown_as_it_is(serial: &str) {
    let (disk, at) = (lay::node(serial), "/run/image");
    let list = images::list(&disk, lay::size(serial)).unwrap();
    fs::create_dir_all(at).unwrap();
    let mounted = Mount::builder().fstype("erofs").flags(MountFlags::RDONLY).mount(disk, at).unwrap();
    let _mounted = mounted.into_unmount_drop(UnmountFlags::empty());
    check(&list, at.as_ref(), Sight::Mounted);
}
