//! Lays content on the guest's disks and looks at their every byte.

use crate::tool;
use on_disk::gpt::{Partition, SectorSize, Table, kind, layout};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use uuid::Uuid;

pub const ROOT: Uuid = Uuid::from_u128(0xabc);

/// The node of the disk with this serial number.
pub fn node(serial: &str) -> PathBuf {
    PathBuf::from("/dev").join(name(serial))
}

/// The kernel name of the disk with this serial number.
pub fn name(serial: &str) -> String {
    let disks = std::fs::read_dir("/sys/block").unwrap().flatten();
    let mut names =
        disks.filter(|d| std::fs::read_to_string(d.path().join("serial")).is_ok_and(|s| s.trim() == serial));
    names.next().unwrap_or_else(|| panic!("no disk {serial}")).file_name().to_string_lossy().into_owned()
}

pub fn write(serial: &str, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(node(serial)).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    file.sync_all().unwrap();
}

pub fn size(serial: &str) -> u64 {
    let sectors = std::fs::read_to_string(format!("/sys/block/{}/size", name(serial))).unwrap();
    sectors.trim().parse::<u64>().unwrap() * 512
}

/// SHA-256 of every byte of a disk.
pub fn digest(serial: &str) -> String {
    let mut file = File::open(node(serial)).unwrap();
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return format!("{:x}", hash.finalize()),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// An image of 300 MiB written to a larger disk, as far as its partition table goes; the kernel reads it anew.
pub fn image(serial: &str) {
    let part = |number: u32, kind: Uuid, guid: u128, start: u64, size: u64| Partition {
        number,
        kind,
        guid: Uuid::from_u128(guid),
        start: start << 20,
        size: size << 20,
        attributes: 0,
        name: "image".into(),
    };
    let partitions = vec![
        part(1, kind::ESP, 0xe5b, 1, 64),
        part(2, kind::ROOT_X86_64, 0xabc, 65, 200),
        part(3, kind::ROOT_X86_64_VERITY, 0xabd, 265, 16),
    ];
    let table = Table { guid: Uuid::from_u128(0x1111), sector: SectorSize::B512, partitions };
    layout(&table, 300 << 20).unwrap().into_iter().for_each(|w| write(serial, w.offset, &w.bytes));
    tool("/bin/busybox", &["blockdev", "--rereadpt", node(serial).to_str().unwrap()]);
}

pub fn foreign(serial: &str, what: &str) {
    let path = node(serial);
    let path = path.to_str().unwrap();
    match what {
        "ext4" => tool("/usr/sbin/mkfs.ext4", &["-q", "-L", "backup-2019", path]),
        "luks" => {
            let mut header = vec![0u8; 4096];
            header[..8].copy_from_slice(b"LUKS\xba\xbe\x00\x01");
            header[168..204].copy_from_slice(b"3f2a6c1e-0000-4000-8000-00000000aaaa");
            write(serial, 0, &header);
        }
        "zfs" => (0..16).for_each(|i| write(serial, (128 << 10) + (i << 10), &0x00ba_b10c_u64.to_le_bytes())),
        "md" => tool(
            "/usr/sbin/mdadm",
            &[
                "--create",
                "/dev/md99",
                "--run",
                "--metadata=1.2",
                "--level=1",
                "--raid-devices=2",
                "--homehost=other",
                path,
                "missing",
            ],
        ),
        "raw" => write(serial, size(serial) / 2, b"payroll"),
        other => panic!("no such content: {other}"),
    }
    if what == "md" {
        tool("/usr/sbin/mdadm", &["--stop", "/dev/md99"]);
    }
}
