//! dm-verity hash trees, format 1 (kernel: Documentation/admin-guide/device-mapper/verity.rst; superblock:
//! cryptsetup, docs/on-disk-format and lib/verity/verity.c).
//!
//! Guarantees: superblock and tree are what `veritysetup format` writes for SHA-256 and 4096-byte blocks;
//! [`Superblock::parse`] takes nothing else, so that whoever opens a tree needs to support nothing else.

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Size of data and hash blocks, in bytes.
pub const BLOCK: usize = 4096;

/// Size of the superblock in bytes. The tree begins at the next block.
pub const SUPERBLOCK_SIZE: usize = 512;

/// Size of a digest in bytes.
const DIGEST: usize = 32;
/// Digests in a hash block.
const FANOUT: u64 = (BLOCK / DIGEST) as u64;
/// Most bytes of salt that a superblock holds.
const MOST_SALT: usize = 256;

/// A digest at the top of a tree.
pub type RootHash = [u8; DIGEST];

/// What stands before a hash tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// UUID of the verity device.
    pub uuid: Uuid,
    /// Number of data blocks.
    pub data_blocks: u64,
    /// Hashed before each block; at most 256 bytes.
    pub salt: Vec<u8>,
}

/// A superblock that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// Not a superblock at all.
    #[error("there is no dm-verity superblock")]
    Absent,
    /// One of another kind than Bedplate's.
    #[error("the dm-verity superblock has {what} {found}; only {wanted} is used here")]
    Other {
        /// The field.
        what: &'static str,
        /// Its value.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
}

impl Superblock {
    /// As bytes.
    ///
    /// # Panics
    /// When the salt has more than 256 bytes.
    pub fn to_bytes(&self) -> [u8; SUPERBLOCK_SIZE] {
        let mut bytes = [0; SUPERBLOCK_SIZE];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        assert!(self.salt.len() <= MOST_SALT, "a salt has at most {MOST_SALT} bytes");
        put(0, b"verity\0\0");
        put(8, &1u32.to_le_bytes());
        put(12, &1u32.to_le_bytes());
        put(16, self.uuid.as_bytes());
        put(32, b"sha256");
        put(64, &(BLOCK as u32).to_le_bytes());
        put(68, &(BLOCK as u32).to_le_bytes());
        put(72, &self.data_blocks.to_le_bytes());
        put(80, &(self.salt.len() as u16).to_le_bytes());
        put(88, &self.salt);
        bytes
    }

    /// Reads a superblock.
    ///
    /// # Errors
    /// When it is none, or not of the kind that [`Superblock::to_bytes`] writes.
    pub fn parse(bytes: &[u8]) -> Result<Superblock, SuperblockError> {
        if bytes.len() < SUPERBLOCK_SIZE || &bytes[..8] != b"verity\0\0" {
            return Err(SuperblockError::Absent);
        }
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let check = |what, found: u32, wanted: u32, text| match found == wanted {
            true => Ok(()),
            false => Err(SuperblockError::Other { what, found: found.to_string(), wanted: text }),
        };
        check("version", u32_at(8), 1, "1")?;
        check("hash type", u32_at(12), 1, "1")?;
        check("a data block size of", u32_at(64), BLOCK as u32, "4096")?;
        check("a hash block size of", u32_at(68), BLOCK as u32, "4096")?;
        let name = &bytes[32..64];
        if name.split(|b| *b == 0).next() != Some(b"sha256") {
            let found = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
            return Err(SuperblockError::Other { what: "algorithm", found, wanted: "sha256" });
        }
        let salt_size = usize::from(u16::from_le_bytes([bytes[80], bytes[81]]));
        if salt_size > MOST_SALT {
            let found = salt_size.to_string();
            return Err(SuperblockError::Other { what: "a salt size of", found, wanted: "256 or less" });
        }
        let mut count = [0; 8];
        count.copy_from_slice(&bytes[72..80]);
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[16..32]);
        Ok(Superblock {
            uuid: Uuid::from_bytes(uuid),
            data_blocks: u64::from_le_bytes(count),
            salt: bytes[88..88 + salt_size].to_vec(),
        })
    }
}

/// Number of hash blocks of each level, from the lowest up.
fn levels(data_blocks: u64) -> Vec<u64> {
    let mut levels = Vec::new();
    let mut below = data_blocks;
    while below > 1 {
        below = below.div_ceil(FANOUT);
        levels.push(below);
    }
    levels
}

/// Bytes that superblock and tree of this many data blocks take.
pub fn hash_area_size(data_blocks: u64) -> u64 {
    (1 + levels(data_blocks).iter().sum::<u64>()) * BLOCK as u64
}

/// Makes a tree from data that comes in pieces.
#[derive(Debug)]
pub struct Builder {
    salted: Sha256,
    salt: Vec<u8>,
    digests: Vec<u8>,
}

/// A finished tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashTree {
    /// Digest at the top; covers salt and data.
    pub root: RootHash,
    /// Superblock, padded to a block, and the tree: the content of the verity partition.
    pub bytes: Vec<u8>,
}

impl Builder {
    /// Begins a tree with this salt, of at most 256 bytes.
    pub fn new(salt: &[u8]) -> Builder {
        Builder { salted: Sha256::new_with_prefix(salt), salt: salt.to_vec(), digests: Vec::new() }
    }

    /// Takes the next blocks of data, hashing them on all processors. A last block that is not whole counts
    /// as filled up with zeros, so only the last piece may end in one.
    pub fn push(&mut self, data: &[u8]) {
        self.digests.extend(hash_blocks(&self.salted, data));
    }

    /// The tree over everything pushed, none if that was nothing.
    pub fn finish(self, uuid: Uuid) -> Option<HashTree> {
        let data_blocks = (self.digests.len() / DIGEST) as u64;
        if data_blocks == 0 {
            return None;
        }
        let mut built: Vec<Vec<u8>> = Vec::new();
        let mut digests = self.digests;
        while digests.len() > DIGEST {
            digests.resize(digests.len().next_multiple_of(BLOCK), 0);
            let above = hash_blocks(&self.salted, &digests);
            built.push(std::mem::replace(&mut digests, above));
        }
        let mut root = [0; DIGEST];
        root.copy_from_slice(&digests);
        let mut bytes = Superblock { uuid, data_blocks, salt: self.salt }.to_bytes().to_vec();
        bytes.resize(BLOCK, 0);
        for level in built.iter().rev() {
            bytes.extend_from_slice(level);
        }
        Some(HashTree { root, bytes })
    }
}

fn hash_blocks(salted: &Sha256, data: &[u8]) -> Vec<u8> {
    // A task per 64 blocks: enough to keep every processor busy, few enough to cost nothing.
    data.par_chunks(64 * BLOCK)
        .flat_map_iter(|piece| {
            piece.chunks(BLOCK).flat_map(|block| {
                let mut hasher = salted.clone();
                hasher.update(block);
                if block.len() < BLOCK {
                    hasher.update(&[0; BLOCK][block.len()..]);
                }
                <[u8; DIGEST]>::from(hasher.finalize())
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The kernel's view: walks from the root down to one data block and checks every digest on the way.
    fn verifies(tree: &HashTree, superblock: &Superblock, index: u64, block: &[u8]) -> bool {
        let hash = |b: &[u8]| <[u8; 32]>::from(Sha256::new_with_prefix(&superblock.salt).chain_update(b).finalize());
        let levels = levels(superblock.data_blocks);
        let mut at = BLOCK;
        let mut expected = tree.root;
        for (depth, blocks) in levels.iter().enumerate().rev() {
            let under = FANOUT.pow(depth as u32 + 1);
            let from = at + (index / under) as usize * BLOCK;
            let hash_block = &tree.bytes[from..from + BLOCK];
            if hash(hash_block) != expected {
                return false;
            }
            let slot = (index / (under / FANOUT) % FANOUT) as usize * DIGEST;
            expected.copy_from_slice(&hash_block[slot..slot + DIGEST]);
            at += *blocks as usize * BLOCK;
        }
        hash(block) == expected
    }

    fn build(data: &[u8], salt: &[u8]) -> HashTree {
        let mut builder = Builder::new(salt);
        builder.push(data);
        builder.finish(Uuid::from_u128(9)).unwrap()
    }

    fn data(blocks: usize, seed: u8) -> Vec<u8> {
        (0..blocks * BLOCK).map(|i| (i / 7) as u8 ^ (i >> 12) as u8 ^ seed).collect()
    }

    #[test]
    fn every_block_is_reached_from_the_root_and_a_flipped_bit_is_not() {
        for blocks in [1usize, 2, 128, 129, 200, 16384, 16385] {
            let mut data = data(blocks, 3);
            let tree = build(&data, b"salt");
            assert_eq!(tree.bytes.len() as u64, hash_area_size(blocks as u64));
            let superblock = Superblock::parse(&tree.bytes).unwrap();
            for index in [0, blocks / 2, blocks - 1] {
                let block = index * BLOCK..(index + 1) * BLOCK;
                assert!(verifies(&tree, &superblock, index as u64, &data[block.clone()]), "{index} of {blocks}");
                data[block.start + 17] ^= 1;
                assert!(!verifies(&tree, &superblock, index as u64, &data[block]), "{index} of {blocks}");
                data[index * BLOCK + 17] ^= 1;
            }
        }
    }

    /// Made once by veritysetup 2.7.5: `veritysetup format data hash --uuid=00000000-0000-0000-0000-000000000009
    /// --salt=00..002a` (32 bytes) on the same data; blocks, root hash, SHA-256 of the file `hash`.
    const VERITYSETUP: [(usize, &str, &str); 4] = [
        (
            1,
            "975f228edb63f4d35cb6ec8677f61e32adfafad346dbf3cab5cc80c892555bba",
            "9e0790a7a836153f84b93770f71e0192e7bc773abdf39669cde3953b20055e57",
        ),
        (
            2,
            "da962ed3958c496f800632e726b1c0f2c989633fe594f182793f4d3599d74c7a",
            "b3572031038c2b2b8376f73e629298b911b1cbba07d4a7c124b6e1c52820faef",
        ),
        (
            129,
            "ba975893ce69a8af29b8267b4e696d6c61f922acddd1782b759f43f6b389befd",
            "a9934eb4dfdcc925789c45024f29218d360e5b8066b2cb1f9c03a3532dba5cbd",
        ),
        (
            16385,
            "d16d611f058685478f2721c2a49268ce442ff7b3810f43fa96df17fbce99ecf5",
            "1f11415ddedcdf14f5f76d4f75c346e9bf756e3c1b334d42baf0fc141cd7e107",
        ),
    ];

    #[test]
    fn bytes_are_those_of_veritysetup() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let mut salt = [0; 32];
        salt[31] = 0x2a;
        for (blocks, root, file) in VERITYSETUP {
            let tree = build(&data(blocks, 3), &salt);
            assert_eq!(
                (hex(&tree.root).as_str(), hex(&Sha256::digest(&tree.bytes)).as_str()),
                (root, file),
                "{blocks}"
            );
        }
    }

    #[test]
    fn nothing_has_no_tree() {
        assert_eq!(Builder::new(b"").finish(Uuid::nil()), None);
    }

    #[test]
    fn superblocks_of_another_kind_are_refused_by_field() {
        let good = Superblock { uuid: Uuid::from_u128(1), data_blocks: 5, salt: vec![1; 32] }.to_bytes();
        for (at, text) in
            [(8, "version"), (12, "hash type"), (32, "algorithm"), (65, "data block"), (69, "hash block"), (81, "salt")]
        {
            let mut bytes = good;
            bytes[at] ^= 2;
            assert!(Superblock::parse(&bytes).unwrap_err().to_string().contains(text), "{text}");
        }
        assert_eq!(Superblock::parse(&good[..511]), Err(SuperblockError::Absent));
        assert_eq!(Superblock::parse(&[0; 512]), Err(SuperblockError::Absent));
    }

    proptest! {
        #[test]
        fn pieces_and_the_whole_give_one_tree(blocks in 1usize..300, cut in 0usize..300, tail in 0usize..4096, salt: [u8; 32]) {
            let mut data = data(blocks, 5);
            data.extend(vec![7; tail]);
            let whole = build(&data, &salt);
            let (a, b) = data.split_at(cut.min(blocks) * BLOCK);
            let mut builder = Builder::new(&salt);
            builder.push(a);
            builder.push(b);
            prop_assert_eq!(builder.finish(Uuid::from_u128(9)).unwrap(), whole);
        }

        #[test]
        fn a_superblock_goes_through(uuid: u128, data_blocks: u64, salt in proptest::collection::vec(any::<u8>(), 0..=256)) {
            let superblock = Superblock { uuid: Uuid::from_u128(uuid), data_blocks, salt };
            prop_assert_eq!(Superblock::parse(&superblock.to_bytes()), Ok(superblock));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Superblock::parse(&bytes);
        }
    }
}
