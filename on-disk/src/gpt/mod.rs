//! GUID partition tables (UEFI 2.10, section 5.3): read with every check, laid out as ordered writes.
//!
//! Guarantees: [`read`] never panics and never allocates more than a table can need, whatever the disk
//! holds; [`layout`] gives bytes that [`read`] finds sound, in an order in which a power cut at any
//! point leaves either no table, or one sound copy of the old or of the new one.
//!
//! Sizes and places are in bytes throughout; the sector size matters only on the disk.

mod read;
mod write;

pub use read::{Copy, Found, ProtectiveMbr, read};
pub use write::{LayoutError, Write, layout};

use serde::{Deserialize, Serialize};
use uuid::{Uuid, uuid};

/// Partition types.
pub mod kind {
    use super::{Uuid, uuid};

    /// EFI system partition (UEFI 2.10, table 5-7).
    pub const ESP: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    /// Root of an x86-64 system (Discoverable Partitions Specification).
    pub const ROOT_X86_64: Uuid = uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
    /// dm-verity hash tree of such a root (Discoverable Partitions Specification).
    pub const ROOT_X86_64_VERITY: Uuid = uuid!("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5");
    /// Bedplate's state partition: `/var` of a node. A type of our own, so that nothing else mounts it.
    pub const STATE: Uuid = uuid!("efa589a3-cae5-40b5-bab6-a045006252c8");
    /// A partition that Bedplate has begun to make and whose content is not finished: nothing but the
    /// agent may touch it, and only what is of this type and carries the agent's intent may be made anew.
    pub const PROVISIONING: Uuid = uuid!("7b3a2fd3-8bba-4521-b237-9ee120205bdb");
    /// Data of a finished Bedplate volume: member of an array, or a file system.
    pub const DATA: Uuid = uuid!("587c41c2-bd3d-4d54-9afe-4bb104b924a0");
}

/// Partition attributes (UEFI 2.10, table 5-8; bits 48 and up belong to the type, here as in the
/// Discoverable Partitions Specification).
pub mod attribute {
    /// Firmware and operating system need it.
    pub const REQUIRED: u64 = 1;
    /// Not to be written to.
    pub const READ_ONLY: u64 = 1 << 60;
    /// Not to be found and mounted by itself.
    pub const NO_AUTO: u64 = 1 << 63;
}

/// Alignment of every partition that Bedplate makes, in bytes.
pub const ALIGNMENT: u64 = 1 << 20;

/// Size of a disk's logical sectors.
#[derive(Debug, Clone, std::marker::Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SectorSize {
    /// 512 bytes.
    B512,
    /// 4096 bytes.
    B4096,
}

impl SectorSize {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        match self {
            SectorSize::B512 => 512,
            SectorSize::B4096 => 4096,
        }
    }

    /// The sector size of this many bytes; none for sizes that no disk with a GPT has.
    pub fn from_bytes(bytes: u64) -> Option<SectorSize> {
        match bytes {
            512 => Some(SectorSize::B512),
            4096 => Some(SectorSize::B4096),
            _ => None,
        }
    }
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Number, from 1: what the kernel calls it.
    pub number: u32,
    /// Type; see [`kind`].
    pub kind: Uuid,
    /// Its own GUID.
    pub guid: Uuid,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// See [`attribute`].
    pub attributes: u64,
    /// Name, at most 36 UTF-16 units.
    pub name: String,
}

impl Partition {
    /// The byte after its last.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The disk's GUID.
    pub guid: Uuid,
    /// Its sectors.
    pub sector: SectorSize,
    /// Partitions by number.
    pub partitions: Vec<Partition>,
}

impl Table {
    /// The partition with this GUID.
    pub fn by_guid(&self, guid: &Uuid) -> Option<&Partition> {
        self.partitions.iter().find(|p| p.guid == *guid)
    }

    /// The first run of free bytes of at least `least`, aligned on both ends to [`ALIGNMENT`], on a disk of
    /// `disk_size` bytes, behind the last partition.
    pub fn free_tail(&self, disk_size: u64, least: u64) -> Option<(u64, u64)> {
        let from = self.partitions.iter().map(Partition::end).max().unwrap_or(0).max(ALIGNMENT);
        let from = from.div_ceil(ALIGNMENT).checked_mul(ALIGNMENT)?;
        let to = (disk_size.checked_sub(reserved(self.sector))? / ALIGNMENT) * ALIGNMENT;
        (to.checked_sub(from)? >= least.max(1)).then_some((from, to - from))
    }
}

/// Number of entries of every table that Bedplate writes, the least that UEFI allows (5.3.3).
const ENTRIES: u64 = 128;
/// Size of an entry (UEFI 2.10, table 5-6).
const ENTRY_SIZE: u64 = 128;

/// Bytes at the end of a disk that a table takes: backup entries and backup header.
pub fn reserved(sector: SectorSize) -> u64 {
    ENTRIES * ENTRY_SIZE + sector.bytes()
}

#[cfg(test)]
mod tests;
