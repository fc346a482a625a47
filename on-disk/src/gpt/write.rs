//! A table as bytes and the order to write them in.

use super::{Partition, SectorSize, Table, reserved};
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

/// One write of a [`layout`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// What it is, for messages (`backup header`).
    pub what: &'static str,
    /// Where it goes on the disk, in bytes. A multiple of the sector size.
    pub offset: u64,
    /// What goes there. A whole number of sectors.
    pub bytes: Vec<u8>,
    /// Whether the disk's cache must be flushed after it and before the next.
    pub flush_after: bool,
}

/// Why a table can't be laid out. Nothing is written then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Numbers must be 1, 2, 3 ... without a gap.
    #[error("partition numbers must run from 1 without a gap; number {found} stands where {wanted} should")]
    Number {
        /// The number found.
        found: u32,
        /// The number that should be there.
        wanted: u32,
    },
    /// A partition does not begin and end on a sector, or is empty.
    #[error("partition {0} is empty or does not begin and end on a whole sector")]
    Sectors(u32),
    /// A partition is not within the space between the two copies of the table.
    #[error("partition {number} ends at byte {end} or begins too early; usable are bytes {from} to {to}")]
    Outside {
        /// The partition.
        number: u32,
        /// The byte after its last.
        end: u64,
        /// First usable byte.
        from: u64,
        /// The byte after the last usable one.
        to: u64,
    },
    /// Two partitions share space.
    #[error("partitions {0} and {1} overlap")]
    Overlap(u32, u32),
    /// Two partitions have one GUID, or one has none.
    #[error("partition {0} has no GUID of its own")]
    Guid(u32),
    /// A name has more than 36 UTF-16 units, or a NUL in it.
    #[error("the name {0:?} does not fit into a partition entry (36 UTF-16 units, no NUL)")]
    Name(String),
    /// The disk can't hold a table, or the codec failed.
    #[error("a disk of {size} bytes can't take this table: {why}")]
    Disk {
        /// The disk's size.
        size: u64,
        /// Why.
        why: String,
    },
}

/// The writes that put `table` on a disk of `disk_size` bytes, to be done in this order, each flushed
/// where it says so: backup entries, backup header, flush, primary entries, primary header, flush,
/// protective MBR, flush.
///
/// # Errors
/// When the table breaks a rule of UEFI 2.10, section 5.3, or does not fit.
pub fn layout(table: &Table, disk_size: u64) -> Result<Vec<Write>, LayoutError> {
    check(table, disk_size)?;
    let disk = |why: String| LayoutError::Disk { size: disk_size, why };
    let sector = table.sector.bytes();
    let block = match table.sector {
        SectorSize::B512 => LogicalBlockSize::Lb512,
        SectorSize::B4096 => LogicalBlockSize::Lb4096,
    };
    let mut ends = Ends::new(disk_size, table.sector);
    let mbr_sectors = u32::try_from(disk_size / sector - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(mbr_sectors).overwrite_lba0(&mut ends).map_err(|e| disk(e.to_string()))?;
    let mut codec = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(block)
        .create_from_device(ends, Some(table.guid))
        .map_err(|e| disk(e.to_string()))?;
    let partitions: BTreeMap<u32, gpt::partition::Partition> = table
        .partitions
        .iter()
        .map(|p| {
            let partition = gpt::partition::Partition {
                part_type_guid: p.kind.into(),
                part_guid: p.guid,
                first_lba: p.start / sector,
                last_lba: p.end() / sector - 1,
                flags: p.attributes,
                name: p.name.clone(),
            };
            (p.number, partition)
        })
        .collect();
    codec.update_partitions(partitions).map_err(|e| disk(e.to_string()))?;
    let Ends { head, tail, tail_at, .. } = codec.write().map_err(|e| disk(e.to_string()))?;

    let s = usize::try_from(sector).map_err(|e| disk(e.to_string()))?;
    let header_at = tail.len() - s;
    let write = |what, offset, bytes: &[u8], flush_after| Write { what, offset, bytes: bytes.to_vec(), flush_after };
    Ok(vec![
        write("backup partition entries", tail_at, &tail[..header_at], false),
        write("backup partition table header", disk_size - sector, &tail[header_at..], true),
        write("primary partition entries", 2 * sector, &head[2 * s..], false),
        write("primary partition table header", sector, &head[s..2 * s], true),
        write("protective MBR", 0, &head[..s], true),
    ])
}

fn check(table: &Table, disk_size: u64) -> Result<(), LayoutError> {
    let sector = table.sector.bytes();
    let from = sector + reserved(table.sector);
    let to = disk_size.saturating_sub(reserved(table.sector));
    if !disk_size.is_multiple_of(sector) || to <= from {
        let why = format!("it is too small or not a whole number of {sector}-byte sectors");
        return Err(LayoutError::Disk { size: disk_size, why });
    }
    for (partition, wanted) in table.partitions.iter().zip(1u32..) {
        let Partition { number, start, size, name, .. } = partition;
        if *number != wanted {
            return Err(LayoutError::Number { found: *number, wanted });
        }
        if *size == 0 || !start.is_multiple_of(sector) || !size.is_multiple_of(sector) {
            return Err(LayoutError::Sectors(*number));
        }
        let end = start.checked_add(*size).unwrap_or(u64::MAX);
        if *start < from || end > to {
            return Err(LayoutError::Outside { number: *number, end, from, to });
        }
        let earlier = &table.partitions[..wanted as usize - 1];
        if let Some(other) = earlier.iter().find(|o| o.start < end && *start < o.end()) {
            return Err(LayoutError::Overlap(other.number, *number));
        }
        if partition.kind.is_nil() || partition.guid.is_nil() || earlier.iter().any(|o| o.guid == partition.guid) {
            return Err(LayoutError::Guid(*number));
        }
        if name.encode_utf16().count() > 36 || name.contains('\0') {
            return Err(LayoutError::Name(name.clone()));
        }
    }
    if table.partitions.len() > 128 {
        return Err(LayoutError::Disk { size: disk_size, why: "it has more than 128 partitions".into() });
    }
    Ok(())
}

/// The two ends of a disk, in memory: all that a partition table occupies. A write elsewhere is an error.
#[derive(Debug)]
struct Ends {
    head: Vec<u8>,
    tail: Vec<u8>,
    tail_at: u64,
    size: u64,
    at: u64,
}

impl Ends {
    fn new(size: u64, sector: SectorSize) -> Ends {
        let tail = reserved(sector);
        let head = sector.bytes() + tail;
        // Both fit in memory on any machine: 20 KiB at most.
        Ends { head: vec![0; head as usize], tail: vec![0; tail as usize], tail_at: size - tail, size, at: 0 }
    }

    fn window(&mut self, size: usize) -> io::Result<&mut [u8]> {
        let (bytes, at) = match self.at.checked_sub(self.tail_at) {
            Some(at) => (&mut self.tail, at),
            None => (&mut self.head, self.at),
        };
        let at = usize::try_from(at).map_err(io::Error::other)?;
        bytes.get_mut(at..at + size).ok_or_else(|| io::Error::other("outside of both copies of the table"))
    }
}

impl Read for Ends {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.copy_from_slice(self.window(buffer.len())?);
        self.at += buffer.len() as u64;
        Ok(buffer.len())
    }
}

impl io::Write for Ends {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.window(buffer.len())?.copy_from_slice(buffer);
        self.at += buffer.len() as u64;
        Ok(buffer.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Ends {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::other("seek before the first byte"))?;
        Ok(self.at)
    }
}
