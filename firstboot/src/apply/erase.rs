//! Erasing a disk by a permit.
//!
//! The order is that of `storage_plan::erase`: noted on the state partition, the note over the first sector, everything
//! else zeroed and looked at, the note zeroed, noted as used. The disk is held open exclusively throughout, so the
//! kernel itself says that nothing is mounted from it or built on it.
#![allow(clippy::disallowed_methods, reason = "edge: this is where disks are erased")]

use super::meter::Meter;
use super::own_command::OwnCommand;
use super::{LockedDevice, partition};
use crate::observe::{World, places_looked_at, read_disk};
use crate::permits::Records;
use anyhow::{Context, bail};
use machine_config::permit::Method;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, PosixFadviseAdvice, fallocate, posix_fadvise};
use on_disk::gpt::ProtectiveMbr;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use storage_plan::erase::Erase;
use storage_plan::inventory::{Device, Rest};

/// What is zeroed at each end of a partition.
const EDGE: u64 = 16 << 20;
/// What is zeroed in one call: a large disk takes hours, and each call can end the work with an error.
const PIECE: u64 = 1 << 30;

/// Erases the disk, and returns when it is blank on the medium and the permit is used.
pub(super) fn erase(disk: &LockedDevice, erase: &Erase, world: &World, meter: &Meter) -> anyhow::Result<()> {
    let device = disk.device();
    if device.identity() != Some(erase.device.as_str()) {
        bail!("the permit is for {}, and this is {}", erase.device, device.words());
    }
    let exclusive = OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_EXCL.bits()).open(disk.path());
    let exclusive = exclusive.with_context(|| format!("something uses {}", device.words()))?;
    // One that was begun goes on, if need be by writing.
    if erase.method == Method::Discard && !erase.begun && !can_discard(&device.name) {
        bail!("{} can't give its sectors back; take a permit of method write-zeroes", device.words());
    }
    let by_itself = OwnCommand::of(&exclusive, erase);
    let by_itself = by_itself.with_context(|| format!("{} can't be erased by its own command", device.words()))?;
    let records = Records::on_state()?;
    let record = records.begin(erase, device)?;

    let note = erase.note.len() as u64;
    if by_itself.as_ref().is_none_or(OwnCommand::is_noted_before) {
        disk.write(0, &erase.note)?;
        disk.flush()?;
    }
    if let Some(command) = by_itself {
        command
            .erase(device.size, meter)
            .with_context(|| format!("{} was not erased by its own command", device.words()))?;
        // What is remembered of the disk is not what is on it, and the note went with all that was.
        posix_fadvise(&exclusive, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        disk.write(0, &erase.note)?;
        disk.flush()?;
    }
    let places = places(device, erase.method, note)?;
    meter.expect(places.iter().map(|place| place.end - place.start).sum());
    for place in places {
        zero(&exclusive, place, erase.method, meter).with_context(|| format!("cannot zero {}", device.words()))?;
    }
    disk.flush()?;
    device.partitions.iter().try_for_each(|p| partition::remove_from_kernel(disk, p.number))?;
    let left = left_over(&read_disk(&device.name, world)?);
    if let Some(left) = left {
        bail!("{} still holds {left}; erase it with a permit of method write-zeroes", device.words());
    }
    disk.write(0, &vec![0; erase.note.len()])?;
    disk.flush()?;
    if disk.read_back(0, erase.note.len())?.iter().any(|byte| *byte != 0) {
        bail!("{} does not keep what is written to it", device.words());
    }
    drop(exclusive);
    records.end(record)
}

/// What is zeroed. Partitions come first and the backup table last, which says where they were should the power go; without
/// a table (that of an MBR goes with the note) the next run zeroes what is looked at, and that is enough to be blank.
fn places(device: &Device, method: Method, note: u64) -> anyhow::Result<Vec<Range<u64>>> {
    let sector = device.sector().context("the disk has unusual sectors")?;
    if matches!(method, Method::WriteZeroes | Method::Discard) {
        return Ok(std::iter::once(note..device.size).collect());
    }
    let shown = device.partitions.iter().map(|p| (p.start, p.size));
    let listed = device.table.usable().into_iter().flat_map(|t| t.partitions.iter().map(|p| (p.start, p.size)));
    let mut places: Vec<Range<u64>> = Vec::new();
    for (start, size) in shown.chain(listed) {
        let (start, end) = (start.min(device.size), start.saturating_add(size).min(device.size));
        places.extend([start..end.min(start.saturating_add(EDGE)), start.max(end.saturating_sub(EDGE))..end]);
    }
    places.sort_by_key(|place| (place.start, place.end));
    places.dedup();
    places.extend(places_looked_at(device.size, sector));
    // Whole sectors, and never the note.
    let s = sector.bytes();
    let whole = |p: Range<u64>| (p.start / s * s).max(note)..p.end.div_ceil(s).saturating_mul(s).min(device.size);
    Ok(places.into_iter().map(whole).filter(|p| p.start < p.end).collect())
}

/// Zeroes by the disk itself where it can, by the kernel otherwise; the page cache follows (blkdev_fallocate).
///
/// A hole is what the disk gives back and then answers with zeroes; a disk that takes back its promise of that is written to.
fn zero(disk: &File, place: Range<u64>, method: Method, meter: &Meter) -> anyhow::Result<()> {
    piecewise(place, meter, |piece| {
        let (start, length) = (i64::try_from(piece.start)?, i64::try_from(piece.end - piece.start)?);
        let with = |how| fallocate(disk, how | FallocateFlags::FALLOC_FL_KEEP_SIZE, start, length);
        let written = || with(FallocateFlags::FALLOC_FL_ZERO_RANGE);
        Ok(match method {
            Method::Discard => match with(FallocateFlags::FALLOC_FL_PUNCH_HOLE) {
                Err(Errno::EOPNOTSUPP) => written(),
                done => done,
            },
            // Disks may answer anything for what they have erased: where it is looked for it is zeroed.
            _ => written(),
        }?)
    })
}

/// Whether a disk promises zeroes where it was given sectors back (sysfs-block, `write_zeroes_max_bytes` and
/// `discard_max_bytes`).
fn can_discard(name: &str) -> bool {
    let takes = |what: &str| {
        let limit = std::fs::read_to_string(format!("/sys/block/{name}/queue/{what}_max_bytes"));
        limit.is_ok_and(|text| text.trim().parse::<u64>().is_ok_and(|most| most > 0))
    };
    takes("write_zeroes") && takes("discard")
}

/// Counts each piece when it is done.
fn piecewise(
    place: Range<u64>,
    meter: &Meter,
    mut work: impl FnMut(Range<u64>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut at = place.start;
    while at < place.end {
        let end = at + (place.end - at).min(PIECE);
        work(at..end)?;
        meter.add(end - at);
        at = end;
    }
    Ok(())
}

/// What a disk still holds beside the note in its first sector, in words.
fn left_over(device: &Device) -> Option<String> {
    if !device.signatures.is_empty() || !device.table.is_absent() || device.table.mbr != ProtectiveMbr::Absent {
        let held = storage_plan::erase::layers(device).unwrap_or_default();
        return Some(if held.is_empty() { "something that can't be read".into() } else { held.join(", ") });
    }
    match (device.rest, device.ends.iter().find(|sector| sector.offset != 0)) {
        (Rest::Zero, None) => None,
        (Rest::Data { offset }, _) => Some(format!("data at byte {offset}")),
        (_, Some(sector)) => Some(format!("data at byte {}", sector.offset)),
        (Rest::Ones | Rest::NotProbed, None) => Some("something other than zeroes".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_zeroed_is_counted_piece_by_piece() {
        let (meter, mut pieces) = (Meter::default(), Vec::new());
        meter.expect(3 * PIECE);
        let done = || meter.amount().map(|amount| (amount.done, amount.all));
        let mut work = |piece: Range<u64>| {
            pieces.push((piece.clone(), done()));
            anyhow::ensure!(piece.end < 3 * PIECE, "the disk fails");
            Ok(())
        };
        assert!(piecewise(512..1024, &meter, &mut work).is_ok());
        assert!(piecewise(PIECE..3 * PIECE, &meter, &mut work).is_err());
        let at = |piece: Range<u64>, so_far: u64| (piece, Some((so_far, 3 * PIECE)));
        let wanted = [at(512..1024, 0), at(PIECE..2 * PIECE, 512), at(2 * PIECE..3 * PIECE, PIECE + 512)];
        assert_eq!((pieces.as_slice(), done()), (&wanted[..], Some((PIECE + 512, 3 * PIECE))));
    }
}
