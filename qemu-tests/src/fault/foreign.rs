//! Disks of somebody else, as bytes: what `blkid` would name, and data a careless program would destroy.
//!
//! Each has a signature laid out as its format says, so that the test needs no tool of that format on the host.

mod raid;
mod tables;
mod volumes;
pub mod zfs;

use anyhow::{Context, Result};
use raid::Md1;
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
    /// A LUKS1 header.
    Luks1,
    /// A member of an md array with a superblock of version 0.90.
    Md0,
    /// The same of version 1.0, at the disk's end.
    MdEnd,
    /// The same of version 1.1, at the disk's beginning.
    MdStart,
    /// A disk of Intel's firmware RAID.
    Imsm,
    /// A disk of a RAID controller that keeps the Disk Data Format.
    Ddf,
    /// A physical volume of LVM2.
    Lvm2,
    /// A backing device of bcache.
    Bcache,
    /// Swap space.
    Swap,
    /// Two signatures at once, LUKS1 and swap.
    Ambivalent,
    /// A partition table of which the backup alone is left.
    BackupGpt,
    /// A partition table whose checksums don't hold.
    BrokenGpt,
    /// A partition table that is also listed in the first sector.
    Hybrid,
    /// A master boot record with an ext4 file system in its partition.
    Dos,
    /// A first sector of nonsense with a boot signature.
    BrokenMbr,
}

/// Label of the foreign ext4 file system.
pub const LABEL: &str = "backup-2019";
/// UUID of every foreign thing that has one.
pub const UUID: Uuid = uuid::uuid!("3f2a6c1e-7b1d-4c55-9d0a-0f6f2d9b8e11");

impl Foreign {
    /// Every kind.
    pub const ALL: [Foreign; 21] = [
        Foreign::Ext4,
        Foreign::Luks,
        Foreign::Zfs,
        Foreign::Md,
        Foreign::Raw,
        Foreign::Gpt,
        Foreign::Luks1,
        Foreign::Md0,
        Foreign::MdEnd,
        Foreign::MdStart,
        Foreign::Imsm,
        Foreign::Ddf,
        Foreign::Lvm2,
        Foreign::Bcache,
        Foreign::Swap,
        Foreign::Ambivalent,
        Foreign::BackupGpt,
        Foreign::BrokenGpt,
        Foreign::Hybrid,
        Foreign::Dos,
        Foreign::BrokenMbr,
    ];

    /// What a page must call it.
    pub fn name(self) -> &'static str {
        match self {
            Foreign::Ext4 => "ext4",
            Foreign::Luks | Foreign::Luks1 => "LUKS",
            Foreign::Zfs => "zfs",
            Foreign::Md | Foreign::Md0 | Foreign::MdEnd | Foreign::MdStart => "md",
            Foreign::Raw => "data without a signature",
            Foreign::Gpt | Foreign::BackupGpt | Foreign::BrokenGpt | Foreign::Hybrid => "GPT",
            Foreign::Imsm => "isw",
            Foreign::Ddf => "ddf",
            Foreign::Lvm2 => "LVM2",
            Foreign::Bcache => "bcache",
            Foreign::Swap | Foreign::Ambivalent => "swap",
            Foreign::Dos | Foreign::BrokenMbr => "MBR",
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
            Foreign::Luks | Foreign::Luks1 => &["crypto_LUKS", "(3f2a6c1e)"],
            Foreign::Zfs => &["zfs_member \"tank\""],
            Foreign::Md | Foreign::Md0 | Foreign::MdEnd | Foreign::MdStart => &["linux_raid_member", "(3f2a6c1e)"],
            Foreign::Raw => &["data without a signature, at byte 5242880"],
            Foreign::Gpt => &["a GPT with 2 partitions", "ext4 \"backup-2019\" (3f2a6c1e) on partition 1"],
            Foreign::Imsm => &["isw_raid_member"],
            Foreign::Ddf => &["ddf_raid_member", "(Linux-MD)"],
            Foreign::Lvm2 => &["LVM2_member (3f2a6c-1)"],
            Foreign::Bcache => &["bcache", "(3f2a6c1e)"],
            Foreign::Swap => &["swap \"backup-2019\" (3f2a6c1e)"],
            Foreign::Ambivalent => &["crypto_LUKS", "swap \"backup-2019\" (3f2a6c1e)"],
            Foreign::BackupGpt => &["the backup of a GPT whose primary is gone"],
            Foreign::BrokenGpt => &["a broken GPT (the checksum of its header is wrong)"],
            Foreign::Hybrid => &["an MBR with partitions or a boot sector", "a GPT with 2 partitions"],
            Foreign::Dos => &["dos (3f2a6c1e)", "ext4 \"backup-2019\" (3f2a6c1e) on partition 1"],
            Foreign::BrokenMbr => &["an MBR with partitions or a boot sector"],
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
        let md1 = |minor: Md1| vec![raid::md1(size, minor, 0, u64::MAX)];
        match self {
            Foreign::Ext4 => vec![(1024, ext4(size))],
            Foreign::Luks => luks(),
            Foreign::Zfs => zfs::places(size).map(|place| (place, zfs::label(place, size))).into(),
            Foreign::Md => md1(Md1::Behind),
            Foreign::Raw => Vec::new(),
            Foreign::Gpt => tables::gpt(size),
            Foreign::Luks1 => vec![(0, volumes::luks1())],
            Foreign::Md0 => vec![raid::md0(size)],
            Foreign::MdEnd => md1(Md1::End),
            Foreign::MdStart => md1(Md1::Start),
            Foreign::Imsm => vec![raid::imsm(size)],
            Foreign::Ddf => raid::ddf(size),
            Foreign::Lvm2 => vec![(512, volumes::lvm2(size))],
            Foreign::Bcache => vec![(4096, volumes::bcache())],
            Foreign::Swap => vec![(0, volumes::swap(size))],
            Foreign::Ambivalent => [Foreign::Swap, Foreign::Luks1].iter().flat_map(|f| f.signature(size)).collect(),
            Foreign::BackupGpt => tables::backup_of_gpt(size),
            Foreign::BrokenGpt => tables::broken_gpt(size),
            Foreign::Hybrid => tables::hybrid(size),
            Foreign::Dos => tables::dos(size),
            Foreign::BrokenMbr => vec![(0, tables::broken_mbr())],
        }
    }
}

/// Both members of somebody else's mirror of such disks, cut off before its first sync had ended: whoever starts it
/// writes to it.
pub fn unsynced_pair(size: u64) -> [Vec<(u64, Vec<u8>)>; 2] {
    [0, 1].map(|role| [raid::md1(size, Md1::Behind, role, 0)].into_iter().chain(behind(size)).collect())
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

/// CRC-32 of IEEE 802.3, least significant bit first, begun with `initial` and not turned over at its end.
fn crc32(initial: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(initial, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstboot::observe;
    use on_disk::gpt::{self, ProtectiveMbr, SectorSize};

    const SIZE: u64 = 64 << 20;

    /// A disk's file with this content.
    fn disk(foreign: Foreign) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(SIZE).unwrap();
        foreign.write(file.path()).unwrap();
        file
    }

    #[test]
    fn the_agent_recognises_each_by_its_format() {
        for foreign in Foreign::ALL {
            let file = disk(foreign);
            let read = |offset, length| {
                let mut bytes = vec![0; length];
                file.as_file().read_exact_at(&mut bytes, offset).map(|()| bytes)
            };
            let table = gpt::read(SIZE, SectorSize::B512, read).unwrap();
            let found = observe::signatures(file.path()).unwrap();
            let mut said: Vec<String> = found.iter().map(storage_plan::inventory::Signature::words).collect();
            said.push(table.to_string());
            said.extend((table.mbr == ProtectiveMbr::Other).then(|| "an MBR with partitions or a boot sector".into()));
            let said = said.join(", ");
            // What is in partitions is for the kernel to show, and data without a signature for a look at all of it.
            for words in foreign.words().iter().filter(|w| !w.contains("on partition") && foreign != Foreign::Raw) {
                assert!(said.contains(words), "{foreign:?}: {words:?} is not in {said}");
            }
        }
    }

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        assert_eq!(!crc32(u32::MAX, b"123456789"), 0xcbf4_3926);
    }
}
