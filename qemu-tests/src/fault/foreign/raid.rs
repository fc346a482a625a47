//! Members of RAID sets, of the kernel's own kind and of firmware's, whose metadata lie at a disk's beginning or end.

use super::{UUID, crc32, put};
use uuid::Uuid;

/// Sectors of 512 bytes, in which all of these formats count.
const SECTOR: u64 = 512;

/// Where the superblock of an md array of version 1 is, in bytes (mdadm's `super1.c`, `choose_...` of each minor version).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Md1 {
    /// 1.0: 8 KiB before the end, at a multiple of 4 KiB.
    End,
    /// 1.1: at the very beginning.
    Start,
    /// 1.2: 4 KiB behind the beginning.
    Behind,
}

impl Md1 {
    fn place(self, size: u64) -> u64 {
        match self {
            Md1::End => (size / SECTOR - 16) / 8 * 8 * SECTOR,
            Md1::Start => 0,
            Md1::Behind => 4096,
        }
    }
}

/// A superblock and its place: kernel `include/uapi/linux/raid/md_p.h`, `struct mdp_superblock_1`. One of two members of a
/// RAID1, in sync up to the sector `synced`.
pub fn md1(size: u64, minor: Md1, role: u16, synced: u64) -> (u64, Vec<u8>) {
    let place = minor.place(size);
    let data = if minor == Md1::End { 0 } else { 2048 };
    let data_sectors = if minor == Md1::End { place / SECTOR - 2048 } else { size / SECTOR - data };
    let mut block = vec![0; 256 + 2 * 128];
    put(&mut block, 0, &0xa92b_4efcu32.to_le_bytes());
    put(&mut block, 4, &1u32.to_le_bytes());
    put(&mut block, 16, UUID.as_bytes());
    put(&mut block, 32, b"elsewhere:0");
    put(&mut block, 64, &1_500_000_000u64.to_le_bytes());
    put(&mut block, 72, &1u32.to_le_bytes()); // level
    put(&mut block, 80, &data_sectors.to_le_bytes());
    put(&mut block, 92, &2u32.to_le_bytes()); // members
    put(&mut block, 128, &data.to_le_bytes()); // where data begins
    put(&mut block, 136, &data_sectors.to_le_bytes());
    put(&mut block, 144, &(place / SECTOR).to_le_bytes()); // where this lies
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
    let sum = md_sum(&block);
    put(&mut block, 216, &sum.to_le_bytes());
    (place, block)
}

/// A superblock of version 0.90 and its place, the last 64 KiB that begin at a multiple of 64 KiB: `md_p.h`, `struct
/// mdp_superblock_s` and `MD_NEW_SIZE_SECTORS`.
pub fn md0(size: u64) -> (u64, Vec<u8>) {
    const RESERVED: u64 = 64 << 10;
    let place = size / RESERVED * RESERVED - RESERVED;
    let mut block = vec![0; 4096];
    let uuid = |part: u32| (UUID.as_u128() >> (96 - 32 * part)) as u32;
    // By words: magic, version 0.90.0, first part of the UUID, time, level, size in KiB, members; the UUID's rest.
    let head = [0xa92b_4efc, 0, 90, 0, 0, uuid(0), 1_500_000_000, 1, (place / 1024) as u32, 2, 2, 0, 0];
    for (word, value) in head.into_iter().chain([uuid(1), uuid(2), uuid(3)]).enumerate() {
        put(&mut block, 4 * word, &u32::to_le_bytes(value));
    }
    // Time, clean, and how many are active, at work, failed and spare.
    for (word, value) in [1_500_000_000, 1, 2, 2, 0, 0].into_iter().enumerate() {
        put(&mut block, 128 + 4 * word, &u32::to_le_bytes(value));
    }
    let sum = md_sum(&block);
    put(&mut block, 152, &sum.to_le_bytes());
    (place, block)
}

/// The checksum of both versions: words added up in 64 bits and folded, with its own place zero.
fn md_sum(block: &[u8]) -> u32 {
    let sum: u64 = block.chunks_exact(4).map(|w| u64::from(u32::from_le_bytes([w[0], w[1], w[2], w[3]]))).sum();
    ((sum & 0xffff_ffff) + (sum >> 32)) as u32
}

/// The anchor of Intel's firmware RAID (IMSM) in the last sector but one: mdadm's `super-intel.c`, `struct imsm_super`. One
/// disk, no volumes.
pub fn imsm(size: u64) -> (u64, Vec<u8>) {
    let mut block = vec![0; 512];
    put(&mut block, 0, b"Intel Raid ISM Cfg Sig. 1.3.00");
    put(&mut block, 36, &(264u32).to_le_bytes()); // size of all of it
    put(&mut block, 40, &0x3f2a_6c1eu32.to_le_bytes()); // family
    put(&mut block, 44, &7u32.to_le_bytes()); // generation
    put(&mut block, 56, &[1, 0]); // disks, volumes
    put(&mut block, 216, b"ELSEWHERE-1"); // the disk's serial number
    put(&mut block, 232, &((size / SECTOR) as u32).to_le_bytes());
    put(&mut block, 240, &0x02u32.to_le_bytes()); // configured
    // 32-bit words added up, with the sum's own place zero.
    let words = block[..264].chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]));
    let sum = words.fold(0u32, u32::wrapping_add);
    put(&mut block, 32, &sum.to_le_bytes());
    ((size / SECTOR - 2) * SECTOR, block)
}

/// Anchor and primary header of a Disk Data Format set: SNIA Common RAID DDF 2.0, section 5.5. The anchor is the last
/// sector and says where the primary is.
pub fn ddf(size: u64) -> Vec<(u64, Vec<u8>)> {
    let (anchor, primary) = (size / SECTOR - 1, size / SECTOR - 1024);
    let header = |kind: u8, at: u64| {
        let mut block = vec![0; 512];
        put(&mut block, 0, &0xde11_de11u32.to_be_bytes());
        put(&mut block, 4, &[0xff; 4]);
        put(&mut block, 8, b"Linux-MD3f2a6c1e7b1d4c55");
        put(&mut block, 32, b"02.00.00");
        put(&mut block, 40, &7u32.to_be_bytes()); // times it was written
        put(&mut block, 48, &[0, 0xff, 1]); // closed, not foreign, disks in one group
        put(&mut block, 96, &primary.to_be_bytes());
        put(&mut block, 104, &u64::MAX.to_be_bytes()); // no secondary
        block[112] = kind;
        // Over the header with ones in the sum's place.
        let sum = !crc32(u32::MAX, &block);
        put(&mut block, 4, &sum.to_be_bytes());
        (at * SECTOR, block)
    };
    vec![header(0, anchor), header(1, primary)]
}
