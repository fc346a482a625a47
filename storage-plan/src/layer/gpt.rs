//! Tables: one partition over a whole disk, several beside each other, or the state partition behind those of the image.

use crate::action::PartitionRef;
use crate::identity::{Layer, Owner, VolumeKey};
use crate::inventory::{Device, Rest, size_words};
use crate::ownership::{Phase, Wanted, is_whole, unexplained};
use on_disk::gpt::{ALIGNMENT, Copy, Partition, ProtectiveMbr, SectorSize, Table, kind};
use uuid::Uuid;

/// The tables of a disk that belongs to one volume as a whole: one partition, aligned to 1 MiB on both ends.
///
/// # Errors
/// A sentence when the disk can't carry one.
pub fn whole_disk(owner: &Owner, volume: &VolumeKey, device: &Device) -> Result<Wanted, String> {
    let member = device.identity().unwrap_or_default();
    let table =
        Table { guid: owner.uuid(volume, Layer::Disk, member), sector: sector(device)?, partitions: Vec::new() };
    let guid = owner.uuid(volume, Layer::Partition, member);
    let (start, size) = table.free_tail(device.size, ALIGNMENT).ok_or("It is too small for a partition table")?;
    Ok(wanted(table, guid, kind::DATA, start, size, &volume.name))
}

/// A size in whole MiB, as a partition gets it.
pub fn rounded_up(size: u64) -> u64 {
    size.div_ceil(ALIGNMENT).saturating_mul(ALIGNMENT)
}

/// The tables of a disk that belongs to one section and is cut into partitions: each has a key of its own, and its size, rounded up
/// to whole MiB, or all that those with a size leave. They follow each other in this order.
///
/// # Errors
/// A sentence when the disk can't carry them.
pub fn partitions(
    owner: &Owner,
    section: &VolumeKey,
    device: &Device,
    parts: &[(VolumeKey, Option<u64>)],
) -> Result<Wanted, String> {
    let member = device.identity().unwrap_or_default();
    let guid = owner.uuid(section, Layer::Disk, member);
    let mut done = Table { guid, sector: sector(device)?, partitions: Vec::new() };
    let (mut start, room) = done.free_tail(device.size, ALIGNMENT).ok_or("It is too small for a partition table")?;
    let taken = parts.iter().filter_map(|(_, size)| *size).map(rounded_up).fold(0, u64::saturating_add);
    let rest = room.checked_sub(taken).filter(|rest| *rest > 0 || parts.iter().all(|(_, size)| size.is_some()));
    let rest = rest.ok_or_else(|| {
        format!(
            "Its partitions are to have {} beside what is left, and it has room for {}",
            size_words(taken),
            size_words(room)
        )
    })?;
    for (number, (key, size)) in (1..).zip(parts) {
        let (size, guid) = (size.map_or(rest, rounded_up), owner.uuid(key, Layer::Partition, member));
        let name = key.name.chars().take(36).collect();
        done.partitions.push(Partition { number, kind: kind::DATA, guid, start, size, attributes: 0, name });
        start = start.saturating_add(size);
    }
    let mut provisioning = done.clone();
    provisioning.partitions.iter_mut().for_each(|p| p.kind = kind::PROVISIONING);
    Ok(Wanted { provisioning, done, others: Vec::new() })
}

/// Where the partitions of a table of ours are on `device`.
pub fn places(device: &Device, table: &Table) -> Vec<PartitionRef> {
    let place = |partition: &Partition| {
        let Partition { number, start, size, guid, .. } = *partition;
        PartitionRef { disk: device.name.clone(), number, start, size, guid }
    };
    table.partitions.iter().map(place).collect()
}

/// The table by which `device` was made for this section, whatever partitions are in it: all sound copies have the GUID that the
/// section's table has on this very disk, and nothing else is on it.
pub fn made_for<'a>(owner: &Owner, section: &VolumeKey, device: &'a Device) -> Option<&'a Table> {
    if device.table.mbr == ProtectiveMbr::Other || device.signatures.iter().any(|s| !s.is_gpt()) {
        return None;
    }
    let guid = owner.uuid(section, Layer::Disk, device.identity()?);
    let mut copies = [&device.table.primary, &device.table.backup].into_iter().filter_map(Copy::table);
    let first = copies.next().filter(|table| table.guid == guid)?;
    copies.all(|table| table.guid == guid).then_some(first)
}

/// What was found of the state partition on the disk the node was started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// None yet; the tables that add it.
    Absent(Wanted),
    /// Ours.
    Ours {
        /// The tables with it.
        wanted: Wanted,
        /// How far it is.
        phase: Phase,
        /// Whether the table needs no repair.
        whole: bool,
    },
    /// Somebody else's, or the disk is not in a state to be altered; in words.
    Refused(String),
    /// Data without a signature where it should go, in words.
    UnknownData(String),
}

/// Finds the state partition on the boot disk, or room for it behind the image's partitions.
///
/// `size` is the wanted size, all that is left when it is not given; `least` the smallest that makes sense.
pub fn state(owner: &Owner, volume: &VolumeKey, device: &Device, root: &Uuid, size: Option<u64>, least: u64) -> State {
    let found = &device.table;
    let Some(table) = found.usable() else {
        return State::Refused(format!("{found}, so where the image ends can't be told"));
    };
    if table.by_guid(root).is_none() {
        return State::Refused("no partition of the image this node was started from".into());
    }
    let guid = owner.uuid(volume, Layer::Partition, device.identity().unwrap_or_default());
    // A copy that an interrupted change brought up to date counts, whichever of the two it is.
    let copies = || [found.primary.table(), found.backup.table()].into_iter().flatten();
    if let Some((table, entry)) = copies().find_map(|t| t.by_guid(&guid).map(|p| (t, p))) {
        let of = |kind: Uuid| {
            let mut table = table.clone();
            table.partitions.iter_mut().filter(|p| p.guid == guid).for_each(|p| p.kind = kind);
            table
        };
        let wanted = Wanted { provisioning: of(kind::PROVISIONING), done: of(kind::STATE), others: Vec::new() };
        let without = |t: &Table| t.partitions.iter().filter(|p| p.guid != guid).cloned().collect::<Vec<_>>();
        if ![kind::PROVISIONING, kind::STATE].contains(&entry.kind)
            || copies().any(|t| t.guid != table.guid || without(t) != without(table))
        {
            return State::Refused(format!("{found}, altered by something else"));
        }
        let done = copies().any(|t| *t == wanted.done);
        let phase = if done { Phase::Done } else { Phase::Provisioning };
        return State::Ours { wanted, phase, whole: is_whole(device) };
    }
    if let Some(other) = table.partitions.iter().find(|p| [kind::STATE, kind::PROVISIONING].contains(&p.kind)) {
        return State::Refused(format!("the state of another node (partition {}, {})", other.number, other.guid));
    }
    let Some((start, room)) = table.free_tail(device.size, least) else {
        return State::Refused(format!("the image, and less than {} are left behind it", size_words(least)));
    };
    let size = size.map_or(room, |s| s.div_ceil(ALIGNMENT) * ALIGNMENT);
    if size > room || size < least {
        let (room, size) = (size_words(room), size_words(size));
        return State::Refused(format!("room for {room} of state, and {size} are wanted"));
    }
    let wanted = wanted(table.clone(), guid, kind::STATE, start, size, "state");
    if !device.free_tail.is_blank() {
        return State::UnknownData(match device.free_tail {
            Rest::Data { offset } => format!("data behind the image's partitions, at byte {offset}"),
            _ => "space behind the image's partitions that could not be looked at".into(),
        });
    }
    match unexplained(device, &[table, &wanted.provisioning]) {
        // What stands in a place of the table is the table's, unless it is at the end of a disk larger than the image.
        Some(offset) if offset >= start + room => {
            State::UnknownData(format!("data at the end of the disk, at byte {offset}"))
        }
        _ => State::Absent(wanted),
    }
}

fn wanted(base: Table, guid: Uuid, done: Uuid, start: u64, size: u64, name: &str) -> Wanted {
    let number = base.partitions.iter().map(|p| p.number).max().unwrap_or(0) + 1;
    let name: String = name.chars().take(36).collect();
    let with = |kind: Uuid| {
        let mut table = base.clone();
        table.partitions.push(Partition { number, kind, guid, start, size, attributes: 0, name: name.clone() });
        table
    };
    Wanted { provisioning: with(kind::PROVISIONING), done: with(done), others: Vec::new() }
}

fn sector(device: &Device) -> Result<SectorSize, String> {
    device.sector().ok_or_else(|| {
        format!("Its logical sectors have {} bytes; a partition table needs 512 or 4096", device.logical_sector)
    })
}
