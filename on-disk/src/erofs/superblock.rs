//! The superblock (`struct erofs_super_block`) and the records of compression algorithms behind it
//! (`struct z_erofs_lz4_cfgs`, `struct z_erofs_zstd_cfgs`).

use super::{BLOCK, Error, Fields};
use crate::crc32c::crc32c;
use uuid::Uuid;

/// Where the superblock begins.
pub const OFFSET: usize = 1024;
/// Bytes from the image's begin that [`Superblock::parse`] wants to see.
pub const NEEDED: usize = OFFSET + 128;
/// `EROFS_SUPER_MAGIC_V1`.
const MAGIC: u32 = 0xe0f5_e1e2;
/// Place of the checksum in the superblock.
const CHECKSUM: std::ops::Range<usize> = OFFSET + 4..OFFSET + 8;

/// Bits of `feature_compat` and `feature_incompat`.
pub mod feature {
    /// Compatible: the first block has a checksum.
    pub const CHECKSUM: u32 = 0x1;
    /// Compatible: times are those of the last change of the content.
    pub const MTIME: u32 = 0x2;
    /// Incompatible: what is compressed lies at the end of its blocks, with zeros before it (Linux 5.3).
    pub const ZERO_PADDING: u32 = 0x1;
    /// Incompatible: physical clusters have more than one block, and algorithms have records (Linux 5.13).
    pub const BIG_CLUSTERS: u32 = 0x2;
    /// Incompatible: the last physical cluster of a file may lie beside its inode (Linux 5.17).
    pub const TAIL_PACKING: u32 = 0x10;
}

/// How files are compressed (`Z_EROFS_COMPRESSION_*`), with what a reader has to make room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// LZ4 blocks; the largest physical cluster has this many blocks.
    Lz4 {
        /// How far back a match may reach, in bytes.
        distance: u16,
        /// Blocks of the largest physical cluster.
        cluster_blocks: u16,
    },
    /// Zstandard frames (Linux 6.10).
    Zstd {
        /// Binary logarithm of the largest window in bytes, 10 to 20.
        window_log: u8,
    },
}

impl Algorithm {
    /// Its number: the bit in the superblock's set, and what a compressed file's header says.
    pub fn number(&self) -> u8 {
        match self {
            Algorithm::Lz4 { .. } => 0,
            Algorithm::Zstd { .. } => 3,
        }
    }

    /// The record, its length first.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut record = match self {
            Algorithm::Lz4 { distance, cluster_blocks } => [*distance, *cluster_blocks].map(u16::to_le_bytes).concat(),
            Algorithm::Zstd { window_log } => vec![0, window_log.saturating_sub(10)],
        };
        record.resize(if matches!(self, Algorithm::Lz4 { .. }) { 14 } else { 6 }, 0);
        [&(record.len() as u16).to_le_bytes()[..], &record].concat()
    }

    /// Reads the record of the algorithm of this number.
    ///
    /// # Errors
    /// When the bytes end too soon, or it is another algorithm or a format of it that Linux 6.12 does not read.
    pub fn parse(number: u8, bytes: &[u8]) -> Result<Algorithm, Error> {
        let mut fields = Fields::new("the record of a compression algorithm", bytes);
        let len = usize::from(fields.u16()?);
        let mut fields = Fields::new(fields.part, fields.take(len)?);
        match number {
            0 => Ok(Algorithm::Lz4 { distance: fields.u16()?, cluster_blocks: fields.u16()? }),
            3 => match (fields.u8()?, fields.u8()?) {
                (0, log @ 0..=10) => Ok(Algorithm::Zstd { window_log: log + 10 }),
                _ => fields.broken("zstd of another format, or a window of more than 1 MiB"),
            },
            _ => fields.broken("neither LZ4 nor zstd"),
        }
    }
}

/// What a superblock says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Block size in bytes.
    pub block_size: u64,
    /// Size of the image in bytes.
    pub size: u64,
    /// When it was made, seconds since 1970; the time of every inode without one of its own.
    pub build_time: u64,
    /// UUID of the file system.
    pub uuid: Uuid,
    /// Features that a reader may ignore; see [`feature`].
    pub compatible: u32,
    /// Features that a reader must know.
    pub incompatible: u32,
    /// Inode of the root.
    pub root: u16,
    /// How many inodes there are.
    pub inodes: u64,
    /// Set of the algorithms in use, a bit for each number; with [`feature::BIG_CLUSTERS`] only.
    pub algorithms: u16,
}

impl Superblock {
    /// Reads it from the image's first [`NEEDED`] bytes.
    ///
    /// # Errors
    /// A sentence's end that says what is wrong (`has no EROFS superblock`).
    pub fn parse(bytes: &[u8]) -> Result<Superblock, String> {
        let Some(bytes) = bytes.get(OFFSET..NEEDED) else { return Err("is too short for an EROFS superblock".into()) };
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if u32_at(0) != MAGIC {
            return Err("has no EROFS superblock".into());
        }
        let bits = bytes[12];
        if !(9..=16).contains(&bits) {
            return Err(format!("has an EROFS superblock with blocks of 2^{bits} bytes"));
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[48..64]);
        Ok(Superblock {
            block_size: 1 << bits,
            size: u64::from(u32_at(36)) << bits,
            build_time: u64_at(24),
            uuid: Uuid::from_bytes(uuid),
            compatible: u32_at(8),
            incompatible: u32_at(80),
            root: u16::from_le_bytes([bytes[14], bytes[15]]),
            inodes: u64_at(16),
            algorithms: u16::from_le_bytes([bytes[84], bytes[85]]),
        })
    }

    /// Puts it into the first block of an image of 4096-byte blocks, and the block's checksum with it if
    /// [`feature::CHECKSUM`] is set: all else of the block has to be there already. Inodes and shared attributes
    /// are counted from the image's begin.
    ///
    /// # Panics
    /// When it is not a whole block, or the image is no whole number of blocks or has 16 TiB or more.
    pub fn write(&self, block: &mut [u8]) {
        assert!(block.len() == BLOCK && self.size.is_multiple_of(BLOCK as u64) && self.size >> 44 == 0);
        let mut put = |at: usize, field: &[u8]| block[OFFSET + at..OFFSET + at + field.len()].copy_from_slice(field);
        put(0, &MAGIC.to_le_bytes());
        put(4, &0u32.to_le_bytes());
        put(8, &self.compatible.to_le_bytes());
        put(12, &[BLOCK.trailing_zeros() as u8, 0]);
        put(14, &self.root.to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(24, &self.build_time.to_le_bytes());
        put(32, &0u32.to_le_bytes());
        put(36, &((self.size / BLOCK as u64) as u32).to_le_bytes());
        put(40, &[0; 8]); // first blocks of inodes and of shared attributes
        put(48, self.uuid.as_bytes());
        put(64, &[0; 16]); // no label
        put(80, &self.incompatible.to_le_bytes());
        put(84, &self.algorithms.to_le_bytes());
        put(86, &[0; 42]);
        if self.compatible & feature::CHECKSUM != 0 {
            let checksum = crc32c(&block[OFFSET..]);
            block[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        }
    }

    /// Whether the checksum of the image's first block is right.
    pub fn checksum_is_right(block: &[u8]) -> bool {
        let Some(block) = block.get(..BLOCK) else { return false };
        let mut cleared = block.to_vec();
        cleared[CHECKSUM].fill(0);
        crc32c(&cleared[OFFSET..]).to_le_bytes() == block[CHECKSUM]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes 1024 to 1152 of `mkfs.erofs 1.8.6 -b4096 -T1700000000 --all-time
    /// -U00000000-0000-0000-0000-000000000009` on a small tar file.
    const CAPTURED: &str = "e2e1f5e03a9b3d2a030000000c002500040000000000000000f1536500000000000000000100000000000000000000000000000000000000000000000000000900000000000000000000000000000000030000000800000000000000000000000000000000000000000000000000000000000000000000000000000000000000";

    fn image() -> Vec<u8> {
        let mut image = vec![0; OFFSET];
        image.extend((0..CAPTURED.len()).step_by(2).map(|i| u8::from_str_radix(&CAPTURED[i..i + 2], 16).unwrap()));
        image
    }

    #[test]
    fn a_captured_superblock_is_read_and_written() {
        let superblock = Superblock::parse(&image()).unwrap();
        let wanted = Superblock {
            block_size: 4096,
            size: 4096,
            build_time: 1_700_000_000,
            uuid: Uuid::from_u128(9),
            compatible: feature::CHECKSUM | feature::MTIME,
            incompatible: feature::ZERO_PADDING | feature::BIG_CLUSTERS,
            root: 37,
            inodes: 4,
            algorithms: 8,
        };
        assert_eq!(superblock, wanted);
        let mut block = vec![0; BLOCK];
        superblock.write(&mut block);
        assert!(Superblock::checksum_is_right(&block));
        block[CHECKSUM].copy_from_slice(&image()[CHECKSUM]);
        assert_eq!(block[..NEEDED], image());
    }

    #[test]
    fn others_are_refused() {
        let mut image = image();
        assert!(Superblock::parse(&image[..NEEDED - 1]).is_err());
        image[OFFSET + 12] = 40;
        assert!(Superblock::parse(&image).unwrap_err().contains("2^40"));
        image[OFFSET] ^= 1;
        assert!(Superblock::parse(&image).unwrap_err().contains("no EROFS"));
    }

    #[test]
    fn the_checksum_sees_every_byte() {
        let mut block = vec![7; BLOCK];
        Superblock::parse(&image()).unwrap().write(&mut block);
        block[BLOCK - 1] ^= 1;
        assert!(!Superblock::checksum_is_right(&block) && !Superblock::checksum_is_right(&block[1..]));
    }

    #[test]
    fn records_of_algorithms_are_those_of_mkfs() {
        let lz4 = Algorithm::Lz4 { distance: 65535, cluster_blocks: 16 };
        assert_eq!(lz4.to_bytes(), [14, 0, 255, 255, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let zstd = Algorithm::Zstd { window_log: 19 };
        assert_eq!(zstd.to_bytes(), [6, 0, 0, 9, 0, 0, 0, 0]);
        for algorithm in [lz4, zstd] {
            assert_eq!(Algorithm::parse(algorithm.number(), &algorithm.to_bytes()), Ok(algorithm));
        }
        assert!(Algorithm::parse(3, &[6, 0, 0, 11, 0, 0, 0, 0]).is_err());
        assert!(Algorithm::parse(1, &lz4.to_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn a_superblock_goes_through(blocks: u32, build_time: u64, uuid: u128, root: u16, inodes: u64, flags: [u32; 2], algorithms: u16) {
            let superblock = Superblock {
                block_size: 4096,
                size: u64::from(blocks) * 4096,
                build_time,
                uuid: Uuid::from_u128(uuid),
                compatible: flags[0],
                incompatible: flags[1],
                root,
                inodes,
                algorithms,
            };
            let mut block = vec![0xaa; BLOCK];
            superblock.write(&mut block);
            prop_assert_eq!(Superblock::parse(&block), Ok(superblock));
            prop_assert_eq!(Superblock::checksum_is_right(&block), flags[0] & feature::CHECKSUM != 0);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..1300), number: u8) {
            let _ = Superblock::parse(&bytes);
            let _ = Superblock::checksum_is_right(&bytes);
            let _ = Algorithm::parse(number, &bytes);
        }
    }
}
