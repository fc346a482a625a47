//! The guest's disks: their serial numbers, sizes, and what the host lays on them before the boot.
#![allow(clippy::disallowed_methods, reason = "edge: writes disk files of tests")]

use super::{FOREIGN, images};
use crate::fault::foreign::Foreign;
use anyhow::{Context, Result};
use image_builder::qemu::{Bus, Disk};
use on_disk::gpt::{Partition, SectorSize, Table, kind, layout};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use uuid::Uuid;

/// GUID of the root partition of the system disk's image.
pub const ROOT: Uuid = Uuid::from_u128(0xabc);
/// The disk the node was started from: an image, and room for state behind it.
pub const SYSTEM: &str = "SYS";
/// System disks that the state is mirrored on: one with the image, and blank ones.
pub const SYSTEMS: [&str; 3] = ["M1", "M2", "M3"];
/// Members of the mirror.
pub const MIRROR: [&str; 2] = ["A1", "A2"];
/// Blank, and named in place of a member of the mirror that is lost; a little smaller than that.
pub const REPLACEMENT: &str = "A3";
/// Disks with a file system each.
pub const EACH: [&str; 2] = ["B1", "B2"];
/// Members of an array with stripes, of one level after the other.
pub const STRIPED: [&str; 4] = ["R1", "R2", "R3", "R4"];
/// Disks that hold what is not ours, and that permits are for.
pub const FREED: [(&str, Foreign); 2] = [("P1", Foreign::Ext4), ("P2", Foreign::Gpt)];
/// As these, and it can erase itself: on the NVMe bus.
pub const ERASES_ITSELF: &str = "P3";
/// Blank, with sectors of 4096 bytes (4Kn).
pub const LARGE_SECTORS: [&str; 2] = ["K1", "K2"];
/// Blank, and only asked for together with a disk that is not there.
pub const LONE: &str = "LONE";
/// The disk that is not there.
pub const ABSENT: &str = "NOT-THERE";
/// Blank, and never asked for: what a careless program would take instead.
pub const SPARE: &str = "SPARE";

const MIB: u64 = 1 << 20;
/// The image is shorter than the disk it was written to.
const IMAGE: u64 = 24 * MIB;

/// Serial number of the disk with this content.
pub fn serial(foreign: Foreign) -> String {
    format!("F-{}", format!("{foreign:?}").to_uppercase())
}

/// Whether this disk must have the same bytes after the boot as before.
pub fn is_kept(with_serial: &str) -> bool {
    let image = images::IMAGES.iter().any(|(serial, _)| *serial == with_serial);
    image || [LONE, SPARE].contains(&with_serial) || FOREIGN.iter().any(|(_, foreign)| serial(*foreign) == with_serial)
}

/// Makes all disks in `folder`, in the order in which the guest has them.
///
/// # Errors
/// When a file can't be made.
pub fn make(folder: &Path) -> Result<Vec<Disk>> {
    // As small as the agent takes them, and ZFS: a look at a blank disk reads all of it. XFS wants 300 MiB.
    let plain = [
        (SYSTEM, 576),
        (MIRROR[0], 320),
        (MIRROR[1], 320),
        (REPLACEMENT, 318),
        (EACH[0], 48),
        (EACH[1], 48),
        (LONE, 48),
        (SPARE, 48),
    ];
    let mut disks = Vec::new();
    let striped = STRIPED.map(|serial| (serial, 48));
    for (serial, size) in plain.into_iter().chain(striped) {
        disks.push(Disk::blank(&folder.join(serial), size * MIB, serial)?);
    }
    image(&disks[0].file)?;
    for serial in SYSTEMS {
        disks.push(Disk::blank(&folder.join(serial), 576 * MIB, serial)?);
    }
    image(&folder.join(SYSTEMS[0]))?;
    let kept = FOREIGN.iter().map(|(_, foreign)| (serial(*foreign), *foreign));
    for (serial, foreign) in kept.chain(FREED.map(|(serial, foreign)| (serial.to_owned(), foreign))) {
        let disk = Disk::blank(&folder.join(&serial), 64 * MIB, &serial)?;
        foreign.write(&disk.file)?;
        disks.push(disk);
    }
    // Larger than what is looked at of it.
    let disk = Disk::blank(&folder.join(ERASES_ITSELF), 160 * MIB, ERASES_ITSELF)?;
    Foreign::Ext4.write(&disk.file)?;
    disks.push(Disk { bus: Bus::Nvme, ..disk });
    for serial in LARGE_SECTORS {
        let disk = Disk::blank(&folder.join(serial), 64 * MIB, serial)?;
        disks.push(Disk { bus: Bus::VirtioScsi, sector: 4096, ..disk });
    }
    disks.extend(images::make(folder)?);
    Ok(disks)
}

/// Writes the image's partition table to the file of a disk.
///
/// # Errors
/// When the file can't be written.
pub(super) fn image(disk: &Path) -> Result<()> {
    let file =
        OpenOptions::new().write(true).open(disk).with_context(|| format!("{} can't be opened", disk.display()))?;
    for (offset, bytes) in image_bytes()? {
        file.write_all_at(&bytes, offset)?;
    }
    Ok(())
}

/// Where the partitions of an image begin and end.
pub fn image_partitions() -> (u64, u64) {
    (MIB, 23 * MIB)
}

/// What an image is that was written to a larger disk, as far as its partition table goes: bytes with their offsets.
///
/// # Errors
/// When the table does not fit the image.
pub fn image_bytes() -> Result<Vec<(u64, Vec<u8>)>> {
    let part = |number: u32, kind: Uuid, guid: Uuid, start: u64, size: u64| Partition {
        number,
        kind,
        guid,
        start: start * MIB,
        size: size * MIB,
        attributes: 0,
        name: "image".into(),
    };
    let partitions = vec![
        part(1, kind::ESP, Uuid::from_u128(0xe5b), 1, 8),
        part(2, kind::ROOT_X86_64, ROOT, 9, 12),
        part(3, kind::ROOT_X86_64_VERITY, Uuid::from_u128(0xabd), 21, 2),
    ];
    let table = Table { guid: Uuid::from_u128(0x1111), sector: SectorSize::B512, partitions };
    Ok(layout(&table, IMAGE)?.into_iter().map(|write| (write.offset, write.bytes)).collect())
}
