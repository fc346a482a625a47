//! Space left unused at the end of a member, so that a disk which is a little smaller can take its place.
//!
//! Guarantees: what is reserved counts when a disk gets its table. A table of ours on a disk keeps the end that it has,
//! whatever the configuration says by now, and only the end: everything else of it must be what we would write there.

use super::gpt::whole_disk;
use crate::identity::{Owner, VolumeKey};
use crate::inventory::Device;
use crate::ownership::Wanted;
use machine_config::schema::Array;
use on_disk::gpt::{ALIGNMENT, Copy, Partition, reserved};

/// The most that is reserved when the configuration says nothing.
const MOST: u64 = 1 << 30;

/// Bytes to leave unused on a disk of this many: what the configuration says, or else a thousandth of the disk, 1 GiB at
/// most, in whole MiB. Nothing where no member can be replaced.
pub fn reserve(array: &Array, disk: u64) -> u64 {
    array.reserve.unwrap_or(if array.level.is_redundant() {
        (disk / 1000).min(MOST) / ALIGNMENT * ALIGNMENT
    } else {
        0
    })
}

/// The tables of a disk that is, or is to become, a member of `array`, with a partition of at least `least` bytes if there is
/// room for that: then less is reserved.
///
/// # Errors
/// A sentence when the disk can't carry one.
pub fn member(owner: &Owner, key: &VolumeKey, array: &Array, device: &Device, least: u64) -> Result<Wanted, String> {
    let mut wanted = whole_disk(owner, key, device)?;
    let ours = wanted.done.partitions.last().ok_or("It has no room for a partition")?;
    let size = match end_of_ours(device, &wanted, ours) {
        Some(size) => size,
        None => {
            let left = ours.size.saturating_sub(reserve(array, device.size)) / ALIGNMENT * ALIGNMENT;
            left.max(least.div_ceil(ALIGNMENT).saturating_mul(ALIGNMENT)).min(ours.size)
        }
    };
    if size == 0 {
        return Err("Nothing is left of it beside what is reserved".into());
    }
    for table in [&mut wanted.provisioning, &mut wanted.done] {
        table.partitions.iter_mut().for_each(|partition| partition.size = size);
    }
    Ok(wanted)
}

/// The size of our partition as the disk itself has it, in a sound copy of the table or in entries that an interrupted run
/// has written.
fn end_of_ours(device: &Device, whole: &Wanted, ours: &Partition) -> Option<u64> {
    // A table that was written on a disk of another size is no table of this disk: it came with a copy.
    if !device.table.backup_at_end {
        return None;
    }
    let needs = |partition: &crate::inventory::Partition| partition.md.as_ref().map_or(0, |md| md.needs);
    let needs = device.partition(ours.number).filter(|p| p.start == ours.start).map_or(0, needs);
    let is_sound =
        |size: &u64| size.is_multiple_of(ALIGNMENT) && (ALIGNMENT..=ours.size).contains(size) && needs <= *size;
    let copies = [&device.table.primary, &device.table.backup].into_iter().filter_map(Copy::table);
    let told = copies.filter(|table| table.guid == whole.done.guid).find_map(|table| match &table.partitions[..] {
        [only] if (only.guid, only.start) == (ours.guid, ours.start) => Some(only.size),
        _ => None,
    });
    let sector = whole.done.sector;
    let entries = [2 * sector.bytes(), device.size.saturating_sub(reserved(sector))];
    let begun = || {
        let first = device.ends.iter().filter(|found| entries.contains(&found.offset));
        first.filter_map(|found| end_of_entry(&found.bytes, ours, sector.bytes())).next()
    };
    told.or_else(begun).filter(is_sound)
}

/// The size in an entry of a GPT (UEFI 2.10, table 5-6), if it is that of our partition.
fn end_of_entry(entry: &[u8], ours: &Partition, sector: u64) -> Option<u64> {
    let number = |at: usize| Some(u64::from_le_bytes(entry.get(at..at + 8)?.try_into().ok()?));
    let (first, last) = (number(32)?, number(40)?);
    let is_ours = entry.get(16..32)? == ours.guid.to_bytes_le() && first.checked_mul(sector) == Some(ours.start);
    last.checked_sub(first)?.checked_add(1)?.checked_mul(sector).filter(|_| is_ours)
}
