//! What a disk's partition table says, each copy judged on its own.

use super::{Partition, SectorSize, Table};
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// One of the two copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Copy {
    /// No signature where a header would be.
    Absent,
    /// A header that breaks a rule; says which.
    Broken(String),
    /// A table whose checksums and bounds hold.
    Sound(Table),
}

impl Copy {
    /// The table, if it is sound.
    pub fn table(&self) -> Option<&Table> {
        match self {
            Copy::Sound(table) => Some(table),
            _ => None,
        }
    }
}

/// What the first sector is (UEFI 2.10, section 5.2).
#[derive(Debug, Clone, std::marker::Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProtectiveMbr {
    /// No boot signature.
    Absent,
    /// A partition of type 0xEE from sector 1, and nothing else.
    Protective,
    /// A boot signature and partitions of another kind: an MBR disk, or a hybrid.
    Other,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Found {
    /// The first sector.
    pub mbr: ProtectiveMbr,
    /// The copy at sector 1.
    pub primary: Copy,
    /// The copy that the primary names or, if the primary is not sound, the one in the last sector.
    pub backup: Copy,
    /// Whether the backup was looked for in the last sector; an image copied onto a larger disk has it elsewhere.
    pub backup_at_end: bool,
}

impl Found {
    /// No trace of a GPT.
    pub fn is_absent(&self) -> bool {
        self.primary == Copy::Absent && self.backup == Copy::Absent
    }

    /// The table, if both copies are sound and say the same.
    pub fn agreed(&self) -> Option<&Table> {
        self.primary.table().filter(|t| Some(*t) == self.backup.table())
    }

    /// The table to go by: the primary if it is sound, else the backup.
    pub fn usable(&self) -> Option<&Table> {
        self.primary.table().or_else(|| self.backup.table())
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.primary, &self.backup) {
            (Copy::Absent, Copy::Absent) => f.write_str("no GPT"),
            (Copy::Sound(a), Copy::Sound(b)) if a == b => write!(f, "a GPT with {} partitions", a.partitions.len()),
            (Copy::Sound(_), Copy::Sound(_)) => f.write_str("a GPT whose two copies differ"),
            (Copy::Sound(_), Copy::Absent) => f.write_str("a GPT without its backup"),
            (Copy::Absent, Copy::Sound(_)) => f.write_str("the backup of a GPT whose primary is gone"),
            (Copy::Sound(_), Copy::Broken(why)) => write!(f, "a GPT with a broken backup ({why})"),
            (Copy::Broken(why), Copy::Sound(_)) => write!(f, "a GPT with a broken primary ({why})"),
            (Copy::Broken(why), _) | (_, Copy::Broken(why)) => write!(f, "a broken GPT ({why})"),
        }
    }
}

/// Reads the table of a disk of `disk_size` bytes. `read_at(offset, size)` gives exactly `size` bytes.
///
/// # Errors
/// Only those of `read_at`; what is wrong with the table is in the result.
pub fn read<E>(
    disk_size: u64,
    sector: SectorSize,
    mut read_at: impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
) -> Result<Found, E> {
    let s = sector.bytes();
    let sectors = disk_size / s;
    if sectors < 3 {
        let absent = || Copy::Absent;
        return Ok(Found { mbr: ProtectiveMbr::Absent, primary: absent(), backup: absent(), backup_at_end: true });
    }
    let mbr = protective_mbr(&read_at(0, s as usize)?);
    let (primary, alternate) = read_copy(1, sectors, sector, &mut read_at)?;
    let last = sectors - 1;
    let backup_lba = alternate.filter(|a| *a > 1 && *a <= last).unwrap_or(last);
    let (backup, _) = read_copy(backup_lba, sectors, sector, &mut read_at)?;
    Ok(Found { mbr, primary, backup, backup_at_end: backup_lba == last })
}

/// A table of more bytes than this is no table (the usual one has 16 KiB).
const MOST_ENTRY_BYTES: u64 = 1 << 20;

fn read_copy<E>(
    lba: u64,
    sectors: u64,
    sector: SectorSize,
    read_at: &mut impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
) -> Result<(Copy, Option<u64>), E> {
    let s = sector.bytes();
    let bytes = read_at(lba * s, s as usize)?;
    if bytes.get(..8) != Some(b"EFI PART") {
        return Ok((Copy::Absent, None));
    }
    let header = match Header::parse(&bytes, lba, sectors, s) {
        Ok(header) => header,
        Err(why) => return Ok((Copy::Broken(why), None)),
    };
    let entries = read_at(header.entries_lba * s, header.entry_bytes() as usize)?;
    Ok(match header.table(&entries, sector) {
        Ok(table) => (Copy::Sound(table), Some(header.alternate)),
        Err(why) => (Copy::Broken(why), None),
    })
}

/// Fields of a header (UEFI 2.10, table 5-5) whose checksum and bounds hold.
struct Header {
    alternate: u64,
    first_usable: u64,
    last_usable: u64,
    guid: Uuid,
    entries_lba: u64,
    count: u32,
    entry_size: u32,
    entries_crc: u32,
}

impl Header {
    fn parse(bytes: &[u8], lba: u64, sectors: u64, sector: u64) -> Result<Header, String> {
        let revision = u32_at(bytes, 8);
        if revision >> 16 != 1 {
            return Err(format!("its revision is {}.{}, not 1.x", revision >> 16, revision & 0xffff));
        }
        let size = u32_at(bytes, 12) as usize;
        if size < 92 || size > bytes.len() {
            return Err(format!("its header says it has {size} bytes"));
        }
        let mut covered = bytes[..size].to_vec();
        covered[16..20].fill(0);
        if crc32fast::hash(&covered) != u32_at(bytes, 16) {
            return Err("the checksum of its header is wrong".into());
        }
        let header = Header {
            alternate: u64_at(bytes, 32),
            first_usable: u64_at(bytes, 40),
            last_usable: u64_at(bytes, 48),
            guid: guid_at(bytes, 56),
            entries_lba: u64_at(bytes, 72),
            count: u32_at(bytes, 80),
            entry_size: u32_at(bytes, 84),
            entries_crc: u32_at(bytes, 88),
        };
        if u64_at(bytes, 24) != lba {
            return Err(format!("its header says it belongs to sector {}, and it is in {lba}", u64_at(bytes, 24)));
        }
        if header.first_usable > header.last_usable || header.last_usable >= sectors {
            return Err("its usable space is not inside the disk".into());
        }
        let size = header.entry_size;
        if size < 128 || !size.is_power_of_two() || header.count == 0 || header.entry_bytes() > MOST_ENTRY_BYTES {
            return Err(format!("it claims {} entries of {size} bytes", header.count));
        }
        let last = header.entries_lba.checked_add(header.entry_bytes().div_ceil(sector));
        let inside = last.is_some_and(|last| {
            last <= sectors && (last <= header.first_usable || header.entries_lba > header.last_usable)
        });
        if header.entries_lba < 2 || !inside {
            return Err("its entries are not outside of the usable space and inside the disk".into());
        }
        Ok(header)
    }

    fn entry_bytes(&self) -> u64 {
        u64::from(self.count) * u64::from(self.entry_size)
    }

    fn table(&self, entries: &[u8], sector: SectorSize) -> Result<Table, String> {
        if crc32fast::hash(entries) != self.entries_crc {
            return Err("the checksum of its entries is wrong".into());
        }
        let mut partitions: Vec<Partition> = Vec::new();
        for (entry, number) in entries.chunks_exact(self.entry_size as usize).zip(1u32..) {
            let kind = guid_at(entry, 0);
            if kind.is_nil() {
                continue;
            }
            let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
            if first < self.first_usable || last > self.last_usable || first > last {
                return Err(format!("partition {number} is not inside the usable space"));
            }
            let units: Vec<u16> = entry[56..128].chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
            let name = units.split(|u| *u == 0).next().unwrap_or_default();
            partitions.push(Partition {
                number,
                kind,
                guid: guid_at(entry, 16),
                // Both are below the number of sectors, so bytes fit.
                start: first * sector.bytes(),
                size: (last - first + 1) * sector.bytes(),
                attributes: u64_at(entry, 48),
                name: String::from_utf16_lossy(name),
            });
        }
        let mut by_place: Vec<&Partition> = partitions.iter().collect();
        by_place.sort_by_key(|p| p.start);
        if let Some(pair) = by_place.windows(2).find(|pair| pair[0].end() > pair[1].start) {
            return Err(format!("partitions {} and {} overlap", pair[0].number, pair[1].number));
        }
        Ok(Table { guid: self.guid, sector, partitions })
    }
}

fn protective_mbr(sector: &[u8]) -> ProtectiveMbr {
    if sector.get(510..512) != Some(&[0x55, 0xaa]) {
        return ProtectiveMbr::Absent;
    }
    let records: Vec<&[u8]> = sector[446..510].chunks_exact(16).filter(|r| r[4] != 0).collect();
    match records[..] {
        [record] if record[4] == 0xee && u32_at(record, 8) == 1 => ProtectiveMbr::Protective,
        _ => ProtectiveMbr::Other,
    }
}

// Callers have checked that the bytes are there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

fn guid_at(bytes: &[u8], at: usize) -> Uuid {
    let mut value = [0; 16];
    value.copy_from_slice(&bytes[at..at + 16]);
    Uuid::from_bytes_le(value)
}
