//! The guest's disks by serial number: finding them, and writing to them.

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use qemu_tests::guest::images;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Waits until the kernel shows every disk, for 5 s at most; a case that misses one says so.
pub fn wait_for_all() {
    wait_for(images::IMAGES.last().unwrap().0);
}

/// Waits until the kernel shows the disk with this serial number, for 5 s at most.
pub fn wait_for(serial: &str) {
    for _ in 0..100 {
        if find(serial).is_some() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn find(serial: &str) -> Option<String> {
    let disks = std::fs::read_dir("/sys/block").unwrap().flatten();
    // Of virtio, of NVMe, and behind the header of the page in which SCSI tells it.
    let plain = |disk: &Path, at: &str| std::fs::read(disk.join(at)).unwrap_or_default();
    let of_scsi = |disk: &Path| std::fs::read(disk.join("device/vpd_pg80")).unwrap_or_default();
    let is_it = |bytes: &[u8]| bytes.trim_ascii() == serial.as_bytes();
    let mut names = disks
        .filter(|d| {
            let at = |place: &str| is_it(&plain(&d.path(), place));
            at("serial") || at("device/serial") || of_scsi(&d.path()).get(4..).is_some_and(is_it)
        })
        .map(|d| d.file_name().to_string_lossy().into_owned());
    names.next()
}

/// The kernel name of the disk with this serial number.
pub fn name(serial: &str) -> String {
    find(serial).unwrap_or_else(|| panic!("no disk {serial}"))
}

/// The node of the disk with this serial number.
pub fn node(serial: &str) -> PathBuf {
    PathBuf::from("/dev").join(name(serial))
}

pub fn write(serial: &str, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(node(serial)).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    file.sync_all().unwrap();
}

/// Has the kernel forget what it read of the disk.
pub fn forget(serial: &str) {
    let disk = File::open(node(serial)).unwrap();
    posix_fadvise(&disk, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
}

/// Has the kernel forget what it read of the disk, and read the partition table again, as it does at every boot.
#[allow(unsafe_code, reason = "these calls have no safe wrapper, and a program for each takes its time")]
pub fn read_anew(serial: &str) {
    mod ioctl {
        // BLKFLSBUF and BLKRRPART of linux/fs.h.
        nix::ioctl_none!(flush_buffers, 0x12, 97);
        nix::ioctl_none!(read_table, 0x12, 95);
    }
    let disk = OpenOptions::new().read(true).open(node(serial)).unwrap();
    patiently(&format!("the table of {serial} can't be read anew"), || {
        // SAFETY: both take no argument, and the descriptor is open.
        unsafe {
            ioctl::flush_buffers(disk.as_raw_fd())?;
            ioctl::read_table(disk.as_raw_fd())
        }
    });
}

/// Does what the kernel refuses while something is in use: it lets go of the members of an array that was stopped, and of what
/// a killed program had open, after it has said that it did.
pub fn patiently<T>(what: &str, mut act: impl FnMut() -> nix::Result<T>) -> T {
    let clock = std::time::Instant::now();
    loop {
        match act() {
            Ok(done) => return done,
            Err(nix::Error::EBUSY) if clock.elapsed().as_secs() < 10 => {
                println!("{what}: it is in use, and tried again");
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

pub fn size(serial: &str) -> u64 {
    let sectors = std::fs::read_to_string(format!("/sys/block/{}/size", name(serial))).unwrap();
    sectors.trim().parse::<u64>().unwrap() * 512
}

/// How many writes the disk has had, by the kernel's count (Documentation/block/stat.rst).
pub fn writes(serial: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/sys/block/{}/stat", name(serial))).unwrap();
    stat.split_whitespace().nth(4).unwrap().parse().unwrap()
}
