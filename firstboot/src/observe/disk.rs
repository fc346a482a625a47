//! One disk: what it is, and what is on it layer by layer.

use super::{World, blank, blkid, md, sysfs, udev, unreadable};
use crate::apply;
use anyhow::Context;
use on_disk::gpt::{self, Copy, Found, ProtectiveMbr, SectorSize, kind};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use storage_plan::inventory::{Device, Partition, Rest, Signature, Uses};

/// Looks at the disk with this kernel name. The same look is taken again under lock, right before the first write.
///
/// A disk that can't be read is not an error: it is shown as holding something unreadable, which nobody takes for blank, and asked
/// whether it is locked.
///
/// # Errors
/// When the disk is gone from sysfs.
pub fn read_disk(name: &str, world: &World) -> anyhow::Result<Device> {
    let folder = sysfs::folder(name);
    let sysfs_path = std::fs::canonicalize(&folder).with_context(|| format!("the disk {name} is gone"))?;
    let sysfs_path = sysfs_path.to_string_lossy().into_owned();
    let number = sysfs::text(&folder, "dev").unwrap_or_default();
    let sector = |name: &str| u32::try_from(sysfs::number(&folder, name)).unwrap_or(0);
    let mut device = Device {
        name: name.into(),
        serial: sysfs::serial(&folder),
        namespace: sysfs::namespace(&folder),
        wwn: sysfs::wwn(&folder),
        model: sysfs::text(&folder, "device/model"),
        by_path: udev::by_path(&number),
        slot: sysfs::slot(&folder),
        size: sysfs::number(&folder, "size") * 512,
        logical_sector: sector("queue/logical_block_size"),
        physical_sector: sector("queue/physical_block_size"),
        rotational: sysfs::number(&folder, "queue/rotational") == 1,
        transport: sysfs::transport(name, &sysfs_path),
        removable: sysfs::number(&folder, "removable") == 1,
        read_only: sysfs::number(&folder, "ro") == 1,
        locked: false,
        signatures: Vec::new(),
        table: Found { mbr: ProtectiveMbr::Absent, primary: Copy::Absent, backup: Copy::Absent, backup_at_end: true },
        ends: Vec::new(),
        rest: Rest::NotProbed,
        free_tail: Rest::NotProbed,
        partitions: Vec::new(),
        uses: world.uses.of(name, &number, &folder),
        sysfs: sysfs_path,
        number,
    };
    if let Err(error) = content(&mut device, world) {
        tracing::warn!(disk = name, "cannot read: {error:#}");
        device.signatures.push(unreadable());
    }
    let on_partitions = device.partitions.iter().flat_map(|p| &p.signatures);
    if device.signatures.iter().chain(on_partitions).any(|s| s.kind == Signature::UNREADABLE) {
        device.locked = File::open(Path::new("/dev").join(name)).is_ok_and(|disk| apply::is_locked(&disk));
    }
    Ok(device)
}

fn content(device: &mut Device, world: &World) -> anyhow::Result<()> {
    let path = Path::new("/dev").join(&device.name);
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    device.signatures = blkid::signatures(&file)?;
    let size = device.size;
    if let Some(sector) = device.sector() {
        device.table = gpt::read(size, sector, |offset, length| {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, offset).map(|()| bytes)
        })?;
        let (head, tail) = table_places(size, sector);
        device.ends = blank::sectors(&file, &head, sector.bytes())?;
        device.ends.extend(blank::sectors(&file, &tail, sector.bytes())?);
        let nothing = device.table.usable().is_none() && device.signatures.iter().all(Signature::is_gpt);
        if nothing && device.table.mbr != ProtectiveMbr::Other {
            device.rest = blank::probe(&file, &(head.end..tail.start), &[])?;
        }
        device.free_tail = free_tail(device, world, &file, sector)?;
    }
    device.partitions = partitions(device, world)?;
    Ok(())
}

/// The places of a table on a disk: protective MBR, header and entries; entries and header.
fn table_places(size: u64, sector: SectorSize) -> (Range<u64>, Range<u64>) {
    let reserved = gpt::reserved(sector);
    let head = (sector.bytes() + reserved).min(size);
    (0..head, size.saturating_sub(reserved).max(head)..size)
}

/// Every stretch of a disk that is looked at before it is called blank: the places of a table, and those of the rest.
#[must_use]
pub fn places_looked_at(size: u64, sector: SectorSize) -> Vec<Range<u64>> {
    let (head, tail) = table_places(size, sector);
    let between = blank::places(&(head.end..tail.start));
    std::iter::once(head).chain(between).chain(std::iter::once(tail)).collect()
}

/// The space behind the image, looked at only while there is no state partition in it.
fn free_tail(device: &Device, world: &World, file: &File, sector: SectorSize) -> anyhow::Result<Rest> {
    let Some(table) = device.table.usable().filter(|_| world.is_boot(&device.name)) else { return Ok(Rest::NotProbed) };
    let Some((start, size)) = table.free_tail(device.size, 1) else { return Ok(Rest::NotProbed) };
    if table.partitions.iter().any(|p| [kind::STATE, kind::PROVISIONING].contains(&p.kind)) {
        return Ok(Rest::NotProbed);
    }
    // An image copied to a larger disk has its backup table here, where the image ended.
    let mut header = vec![0; 40];
    file.read_exact_at(&mut header, sector.bytes())?;
    let mut alternate = [0; 8];
    alternate.copy_from_slice(&header[32..40]);
    let end = u64::from_le_bytes(alternate).saturating_add(1).saturating_mul(sector.bytes());
    let old = end.saturating_sub(gpt::reserved(sector))..end;
    let is_backup = device.table.agreed().is_some() && !device.table.backup_at_end;
    Ok(blank::probe(file, &(start..start + size), if is_backup { std::slice::from_ref(&old) } else { &[] })?)
}

fn partitions(device: &Device, world: &World) -> anyhow::Result<Vec<Partition>> {
    let folder = sysfs::folder(&device.name);
    let mut partitions = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?.flatten() {
        let Some(number) = sysfs::text(&entry.path(), "partition").and_then(|n| n.parse().ok()) else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        let (signatures, md) = inside(&name).unwrap_or_else(|error| {
            tracing::warn!(partition = name, "cannot read: {error:#}");
            (vec![unreadable()], None)
        });
        let uses: Uses = world.uses.of(&name, &sysfs::text(&entry.path(), "dev").unwrap_or_default(), &entry.path());
        partitions.push(Partition {
            number,
            // Both are in units of 512 bytes, whatever the disk's sectors are.
            start: sysfs::number(&entry.path(), "start") * 512,
            size: sysfs::number(&entry.path(), "size") * 512,
            name,
            signatures,
            md,
            uses,
        });
    }
    partitions.sort_by_key(|p| p.number);
    Ok(partitions)
}

fn inside(name: &str) -> anyhow::Result<(Vec<Signature>, Option<storage_plan::inventory::MdMember>)> {
    let path = Path::new("/dev").join(name);
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok((blkid::signatures(&file)?, md::superblock(&path)))
}
