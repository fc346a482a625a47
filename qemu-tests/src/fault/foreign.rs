//! Disks of somebody else, as bytes: what `blkid` would name, and data a careless program would destroy.
//!
//! Each has a signature laid out as its format says, so that the test needs no tool of that format on the host.

pub mod zfs;

use anyhow::{Context, Result};
use on_disk::gpt::{Partition, SectorSize, Table, layout};
use sha2::{Digest, Sha256};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use uuid::Uuid;

/// Kinds of foreign content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// An ext4 file system labelled [`LABEL`].
    Ext4,
    /// A LUKS2 header.
    Luks,
    /// A member of a ZFS pool.
    Zfs,
    /// A member of somebody else's RAID1 array.
    Md,
    /// Data that begins with no signature.
    Raw,
    /// A partition table with an ext4 file system in its first partition.
    Gpt,
}

/// Label of the foreign ext4 file system.
pub const LABEL: &str = "backup-2019";
/// UUID of every foreign thing that has one.
pub const UUID: Uuid = uuid::uuid!("3f2a6c1e-7b1d-4c55-9d0a-0f6f2d9b8e11");

impl Foreign {
    /// What a page must call it.
    pub fn name(self) -> &'static str {
        match self {
            Foreign::Ext4 => "ext4",
            Foreign::Luks => "LUKS",
            Foreign::Zfs => "zfs",
            Foreign::Md => "md",
            Foreign::Raw => "data without a signature",
            Foreign::Gpt => "GPT",
        }
    }

    /// The code it is refused with.
    pub fn code(self) -> &'static str {
        match self {
            Foreign::Raw => "BP-S015",
            _ => "BP-S014",
        }
    }

    /// What a refusal must say of it.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Foreign::Ext4 => &["ext4 \"backup-2019\" (3f2a6c1e)"],
            Foreign::Luks => &["crypto_LUKS", "(3f2a6c1e)"],
            Foreign::Zfs => &["zfs_member \"tank\""],
            Foreign::Md => &["linux_raid_member", "(3f2a6c1e)"],
            Foreign::Raw => &["data without a signature, at byte 5242880"],
            Foreign::Gpt => &["a GPT with 2 partitions", "ext4 \"backup-2019\" (3f2a6c1e) on partition 1"],
        }
    }

    /// Writes [`Foreign::bytes`] to a disk's file.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(self, disk: &Path) -> Result<()> {
        let file =
            OpenOptions::new().write(true).open(disk).with_context(|| format!("{} can't be opened", disk.display()))?;
        let size = file.metadata()?.len();
        for (offset, bytes) in self.bytes(size) {
            file.write_all_at(&bytes, offset)?;
        }
        Ok(())
    }

    /// All of it on a disk of `size` bytes, with offsets: the signature, and data behind it here and there.
    pub fn bytes(self, size: u64) -> Vec<(u64, Vec<u8>)> {
        let mut bytes = self.signature(size);
        bytes.extend(behind(size));
        bytes
    }

    /// The bytes of the signature, with their offsets on a disk of `size` bytes.
    pub fn signature(self, size: u64) -> Vec<(u64, Vec<u8>)> {
        match self {
            Foreign::Ext4 => vec![(1024, ext4(size))],
            Foreign::Luks => luks(),
            Foreign::Zfs => zfs::places(size).map(|place| (place, zfs::label(place, size))).into(),
            Foreign::Md => vec![(4096, md(size, 0, u64::MAX))],
            Foreign::Raw => Vec::new(),
            Foreign::Gpt => gpt(size),
        }
    }
}

/// Both members of somebody else's mirror of such disks, cut off before its first sync had ended: whoever starts it
/// writes to it.
pub fn unsynced_pair(size: u64) -> [Vec<(u64, Vec<u8>)>; 2] {
    [0, 1].map(|role| [(4096, md(size, role, 0))].into_iter().chain(behind(size)).collect())
}

/// Data far behind every header: where a program that formats in a hurry would write too.
fn behind(size: u64) -> impl Iterator<Item = (u64, Vec<u8>)> {
    (5 << 20..size - (1 << 20)).step_by(16 << 20).map(|offset| (offset, vec![0xd5; 4096]))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Superblock, kernel `fs/ext4/ext4.h`, `struct ext4_super_block`; without checksums, as older ones are.
fn ext4(size: u64) -> Vec<u8> {
    let mut block = vec![0; 1024];
    put(&mut block, 0x00, &8192u32.to_le_bytes()); // inodes
    put(&mut block, 0x04, &((size / 4096) as u32).to_le_bytes());
    put(&mut block, 0x18, &2u32.to_le_bytes()); // blocks of 4 KiB
    put(&mut block, 0x20, &32768u32.to_le_bytes()); // blocks in a group
    put(&mut block, 0x28, &8192u32.to_le_bytes());
    put(&mut block, 0x38, &0xef53u16.to_le_bytes());
    put(&mut block, 0x3a, &1u16.to_le_bytes()); // clean
    put(&mut block, 0x4c, &1u32.to_le_bytes()); // revision with features
    put(&mut block, 0x54, &11u32.to_le_bytes());
    put(&mut block, 0x58, &256u16.to_le_bytes());
    put(&mut block, 0x5c, &0x38u32.to_le_bytes()); // extended attributes, resize inode, directory index
    put(&mut block, 0x60, &0x42u32.to_le_bytes()); // file types, extents: what makes it ext4
    put(&mut block, 0x68, UUID.as_bytes());
    put(&mut block, 0x78, LABEL.as_bytes());
    block
}

/// Both headers with their JSON areas, LUKS2 On-Disk Format Specification 1.1.1, chapter 2.
fn luks() -> Vec<(u64, Vec<u8>)> {
    const SIZE: usize = 16 << 10;
    let json = concat!(
        r#"{"keyslots":{},"tokens":{},"segments":{"0":{"type":"crypt","offset":"16777216","size":"dynamic","#,
        r#""iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":512}},"digests":{},"#,
        r#""config":{"json_size":"12288","keyslots_size":"16744448"}}"#,
    );
    let header = |magic: &[u8], offset: usize, salt: u8| {
        let mut header = vec![0; SIZE];
        put(&mut header, 0, magic);
        put(&mut header, 6, &2u16.to_be_bytes());
        put(&mut header, 8, &(SIZE as u64).to_be_bytes());
        put(&mut header, 16, &3u64.to_be_bytes()); // times it was written
        put(&mut header, 72, b"sha256");
        put(&mut header, 104, &[salt; 64]);
        put(&mut header, 168, UUID.to_string().as_bytes());
        put(&mut header, 256, &(offset as u64).to_be_bytes());
        put(&mut header, 4096, json.as_bytes());
        let sum = Sha256::digest(&header);
        put(&mut header, 448, &sum);
        (offset as u64, header)
    };
    vec![header(b"LUKS\xba\xbe", 0, 0x5a), header(b"SKUL\xba\xbe", SIZE, 0xa5)]
}

/// A partition table as other tools write it, and ext4 in the first of its two partitions.
fn gpt(size: u64) -> Vec<(u64, Vec<u8>)> {
    const LINUX: Uuid = uuid::uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
    let (start, middle, end) = (1 << 20, size / 2, size - (1 << 20));
    let part = |number: u32, start: u64, end: u64| Partition {
        number,
        kind: LINUX,
        guid: Uuid::from_u128(UUID.as_u128() ^ u128::from(number)),
        start,
        size: end - start,
        attributes: 0,
        name: "backup".into(),
    };
    let partitions = vec![part(1, start, middle), part(2, middle, end)];
    let table = Table { guid: UUID, sector: SectorSize::B512, partitions };
    let table = layout(&table, size).unwrap_or_default().into_iter().map(|write| (write.offset, write.bytes));
    table.chain([(start + 1024, ext4(middle - start))]).collect()
}

/// Superblock of version 1.2, kernel `include/uapi/linux/raid/md_p.h`, `struct mdp_superblock_1`: one of two members of a
/// RAID1, in sync up to the sector `synced`.
fn md(size: u64, role: u16, synced: u64) -> Vec<u8> {
    let mut block = vec![0; 256 + 2 * 128];
    put(&mut block, 0, &0xa92b_4efcu32.to_le_bytes());
    put(&mut block, 4, &1u32.to_le_bytes());
    put(&mut block, 16, UUID.as_bytes());
    put(&mut block, 32, b"elsewhere:0");
    put(&mut block, 64, &1_500_000_000u64.to_le_bytes());
    put(&mut block, 72, &1u32.to_le_bytes()); // level
    let data_sectors = size / 512 - 2048;
    put(&mut block, 80, &data_sectors.to_le_bytes());
    put(&mut block, 92, &2u32.to_le_bytes()); // members
    put(&mut block, 128, &2048u64.to_le_bytes()); // where data begins
    put(&mut block, 136, &data_sectors.to_le_bytes());
    put(&mut block, 144, &8u64.to_le_bytes()); // where this lies
    put(&mut block, 160, &u32::from(role).to_le_bytes()); // number of this device
    put(&mut block, 168, Uuid::from_u128(UUID.as_u128() ^ (1 + u128::from(role))).as_bytes());
    put(&mut block, 192, &1_500_000_000u64.to_le_bytes());
    put(&mut block, 200, &7u64.to_le_bytes()); // events
    put(&mut block, 208, &synced.to_le_bytes());
    put(&mut block, 220, &128u32.to_le_bytes()); // places for roles
    for (place, role) in block[256..].chunks_exact_mut(2).enumerate() {
        let role_of = if place < 2 { place as u16 } else { 0xfffe };
        role.copy_from_slice(&role_of.to_le_bytes());
    }
    let sum: u64 = block.chunks_exact(4).map(|w| u64::from(u32::from_le_bytes([w[0], w[1], w[2], w[3]]))).sum();
    put(&mut block, 216, &(((sum & 0xffff_ffff) + (sum >> 32)) as u32).to_le_bytes());
    block
}
