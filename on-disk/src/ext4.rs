//! The superblock of ext4, as far as a power cut can tear it (Linux, `Documentation/filesystems/ext4/super.rst`).
//!
//! It has 1024 bytes, and disks write 512 whole. The kernel writes it at each mount, outside the journal. If the power goes
//! between its halves, the first is new, the second old, and its checksum, which stands in the second, holds for
//! neither: nobody recognises or mounts the file system any more, although nothing of it is lost.

use crate::crc32c::crc32c;
use std::ops::Range;
use uuid::Uuid;

/// Where it begins, in bytes.
pub const OFFSET: u64 = 1024;
/// Its length in bytes.
pub const SIZE: usize = 1024;
/// Where its first copy begins, in bytes, with blocks of 1, 2 and 4 KiB: at the second group of blocks, which mkfs makes as large
/// as one block of a bitmap can tell of.
pub const COPIES: [u64; 3] = [8193 << 10, 16384 << 11, 32768 << 12];

const BLOCKS: usize = 0x04;
const BLOCK: usize = 0x18;
const BLOCKS_HIGH: usize = 0x150;
const MAGIC: Range<usize> = 0x38..0x3a;
const INCOMPATIBLE: usize = 0x60;
const READ_ONLY_COMPATIBLE: usize = 0x64;
const UUID: Range<usize> = 0x68..0x78;
const LABEL: Range<usize> = 0x78..0x88;
const CHECKSUM: Range<usize> = 0x3fc..0x400;

/// `64bit`: there are upper halves of numbers of blocks.
const WIDE: u32 = 0x80;
/// `metadata_csum`: the superblock has a checksum.
const HAS_CHECKSUM: u32 = 0x400;
/// The journal is to be replayed: set while it is mounted.
const RECOVER: u32 = 0x4;
/// There are files in the orphan file: set while it is mounted.
const ORPHANS: u32 = 0x1_0000;

/// What the kernel changes in the superblock and not in its copies, beside single bits of the features: free blocks and
/// inodes, times, the number and place of mounts, the state, the number of the group, the last orphan, what was written, and
/// errors.
const CHANGING: [Range<usize>; 15] = [
    0x0c..0x14,
    0x2c..0x36,
    0x3a..0x3c,
    0x40..0x44,
    0x5a..0x5c,
    0x88..0xc8,
    0xe8..0xec,
    0x158..0x15c,
    0x178..0x180,
    0x194..0x200,
    0x248..0x24c,
    0x274..0x276,
    0x277..0x27c,
    INCOMPATIBLE..INCOMPATIBLE + 4,
    READ_ONLY_COMPATIBLE..READ_ONLY_COMPATIBLE + 4,
];

/// UUID and label that it tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The file system's UUID.
    pub uuid: Uuid,
    /// Its label, if it has one.
    pub label: Option<String>,
}

/// Who `superblock` says that it is.
pub fn identity(superblock: &[u8; SIZE]) -> Identity {
    let uuid = superblock[UUID].try_into().map_or(Uuid::nil(), Uuid::from_bytes);
    let label = String::from_utf8_lossy(&superblock[LABEL]).trim_end_matches('\0').to_owned();
    Identity { uuid, label: Some(label).filter(|label| !label.is_empty()) }
}

/// Bytes of the file system with this superblock; none if it is not ext4.
pub fn size(superblock: &[u8; SIZE]) -> Option<u64> {
    let high = if word(superblock, INCOMPATIBLE) & WIDE == 0 { 0 } else { word(superblock, BLOCKS_HIGH) };
    let blocks = u64::from(high) << 32 | u64::from(word(superblock, BLOCKS));
    // The largest block has 64 KiB.
    let shift = Some(word(superblock, BLOCK)).filter(|shift| *shift <= 6 && superblock[MAGIC] == [0x53, 0xef])?;
    blocks.checked_mul(1024 << shift)
}

/// The superblock that was being written when the power went; none if `found` is not a torn one.
///
/// It is one if its checksum alone is wrong: the copy's checksum holds, and whatever the kernel does not change on its own has the same
/// bytes in both. Anything else that is wrong with it may be more than a torn write.
pub fn mended(found: &[u8; SIZE], copy: &[u8; SIZE]) -> Option<[u8; SIZE]> {
    if !is_ext4(found) || !is_ext4(copy) || !is_whole(copy) || is_whole(found) {
        return None;
    }
    if lasting(found) != lasting(copy) {
        return None;
    }
    let mut mended = *found;
    mended[CHECKSUM].copy_from_slice(&crc32c(&found[..CHECKSUM.start]).to_le_bytes());
    Some(mended)
}

fn is_ext4(superblock: &[u8; SIZE]) -> bool {
    superblock[MAGIC] == [0x53, 0xef] && word(superblock, READ_ONLY_COMPATIBLE) & HAS_CHECKSUM != 0
}

fn is_whole(superblock: &[u8; SIZE]) -> bool {
    superblock[CHECKSUM] == crc32c(&superblock[..CHECKSUM.start]).to_le_bytes()
}

/// What is the same in the superblock and in its copies.
fn lasting(superblock: &[u8; SIZE]) -> ([u8; SIZE], u32, u32) {
    let mut bytes = *superblock;
    CHANGING.into_iter().chain([CHECKSUM]).for_each(|range| bytes[range].fill(0));
    (bytes, word(superblock, INCOMPATIBLE) & !RECOVER, word(superblock, READ_ONLY_COMPATIBLE) & !ORPHANS)
}

fn word(superblock: &[u8; SIZE], at: usize) -> u32 {
    superblock[at..at + 4].iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not zero in the superblock that `mke2fs -t ext4` 1.47.0 makes on 23 MiB.
    const CAPTURED: [(usize, &str); 16] = [
        (0x0, "f8160000005c000099040000bb500000ed16000001"),
        (0x21, "20000000200000a807"),
        (0x30, "44a80b6b0000ffff53ef01000100000044a80b6b"),
        (0x4c, "01"),
        (0x54, "0b"),
        (0x59, "0100003c000000c20200006b0400003f2a6c1e7b1d4c559d0a0f6f2d9b8e116462"),
        (0xce, "b7"),
        (0xe0, "08"),
        (0xec, "9e63c4938c564884897a2d36f44f8969010140000c"),
        (0x108, "44a80b6b0af3010004"),
        (0x11d, "040000ba20"),
        (0x14e, "10"),
        (0x15c, "2000200001"),
        (0x174, "04010000ce"),
        (0x248, "370b"),
        (0x3fc, "68673ca9"),
    ];

    fn captured() -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        for (at, text) in CAPTURED {
            for (i, pair) in text.as_bytes().chunks(2).enumerate() {
                bytes[at + i] = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            }
        }
        bytes
    }

    /// The first copy that was made with it: another state, another group, another checksum.
    fn copy() -> [u8; SIZE] {
        let mut copy = captured();
        (copy[0x3a], copy[0x5a]) = (0, 1);
        copy[CHECKSUM].copy_from_slice(&[0xe9, 0x0e, 0xf8, 0x16]);
        copy
    }

    /// As the kernel has it while the file system is mounted.
    fn mounted() -> [u8; SIZE] {
        let mut mounted = captured();
        mounted[0x2c..0x34].fill(0x6b);
        (mounted[0x34], mounted[0x3a], mounted[INCOMPATIBLE], mounted[0x178]) = (1, 0, 0xc6, 9);
        let checksum = crc32c(&mounted[..CHECKSUM.start]).to_le_bytes();
        mounted[CHECKSUM].copy_from_slice(&checksum);
        mounted
    }

    fn torn() -> [u8; SIZE] {
        let mut torn = captured();
        torn[..512].copy_from_slice(&mounted()[..512]);
        torn
    }

    #[test]
    fn captured_ones_are_whole_and_tell_who_they_are() {
        assert!(is_whole(&captured()) && is_whole(&copy()) && is_ext4(&captured()));
        let uuid = "3f2a6c1e-7b1d-4c55-9d0a-0f6f2d9b8e11".parse().unwrap();
        assert_eq!(identity(&captured()), Identity { uuid, label: Some("db".into()) });
    }

    #[test]
    fn the_size_is_blocks_by_their_length() {
        assert_eq!(size(&captured()), Some(23 << 20));
        let mut wide = captured();
        wide[BLOCKS_HIGH] = 1;
        assert_eq!(size(&wide), Some((1 << 42) + (23 << 20)));
        wide[INCOMPATIBLE] &= 0x7f;
        assert_eq!(size(&wide), Some(23 << 20), "without its feature the field means nothing");
        wide[BLOCK] = 60;
        assert_eq!(size(&wide), None, "more than there can be");
        assert_eq!(size(&[0; SIZE]), None);
    }

    #[test]
    fn a_torn_one_becomes_the_one_that_was_being_written() {
        assert!(!is_whole(&torn()));
        assert_eq!(mended(&torn(), &copy()), Some(mounted()));
    }

    #[test]
    fn nothing_else_is_mended() {
        assert_eq!(mended(&captured(), &copy()), None, "it is whole");
        let mut other = copy();
        other[UUID.start] ^= 1;
        assert_eq!(mended(&torn(), &other), None, "a copy that is damaged");
        let checksum = crc32c(&other[..CHECKSUM.start]).to_le_bytes();
        other[CHECKSUM].copy_from_slice(&checksum);
        assert_eq!(mended(&torn(), &other), None, "the copy of another");
        assert_eq!(mended(&[0; SIZE], &copy()), None);
    }

    /// A byte that the kernel does not change by itself, and has changed all the same, is no torn write.
    #[test]
    fn a_damaged_one_is_left_as_it_is() {
        for at in (0..CHECKSUM.start).filter(|at| !CHANGING.iter().any(|range| range.contains(at))) {
            let mut damaged = torn();
            damaged[at] ^= 0x10;
            assert_eq!(mended(&damaged, &copy()), None, "byte {at:#x}");
        }
        let mut damaged = torn();
        damaged[INCOMPATIBLE] ^= 0x40;
        assert_eq!(mended(&damaged, &copy()), None, "another feature");
    }
}
