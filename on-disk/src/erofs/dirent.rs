//! Content of directories (`struct erofs_dirent`): blocks of records and, behind them, the names.
//!
//! Names are in byte order over all blocks, `.` and `..` among them. Every block but the last is filled up with
//! zeros; the directory's size ends with the last name.

use super::{BLOCK, Error, Fields};

/// What a name stands for (`EROFS_FT_*`, as `readdir` gives it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FileType {
    Regular = 1,
    Directory = 2,
    CharDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Socket = 6,
    Symlink = 7,
}

const TYPES: [FileType; 7] = [
    FileType::Regular,
    FileType::Directory,
    FileType::CharDevice,
    FileType::BlockDevice,
    FileType::Fifo,
    FileType::Socket,
    FileType::Symlink,
];

impl FileType {
    /// The kind's bits of `st_mode` (inode(7)).
    pub fn mode(self) -> u16 {
        match self {
            FileType::Regular => 0o100_000,
            FileType::Directory => 0o040_000,
            FileType::CharDevice => 0o020_000,
            FileType::BlockDevice => 0o060_000,
            FileType::Fifo => 0o010_000,
            FileType::Socket => 0o140_000,
            FileType::Symlink => 0o120_000,
        }
    }
}

/// One name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dirent<'a> {
    /// The name, 1 to 255 bytes.
    pub name: &'a [u8],
    /// Number of the inode.
    pub nid: u64,
    /// What it is.
    pub kind: FileType,
}

/// Size of a record.
const RECORD: usize = 12;

impl<'a> Dirent<'a> {
    /// Longest name in bytes.
    pub const MOST_NAME: usize = 255;

    /// Size of a directory with names of these lengths, in this order.
    pub fn directory_size(lengths: impl IntoIterator<Item = usize>) -> u64 {
        lengths.into_iter().fold(0, |size, length| {
            let need = RECORD + length;
            let full = size % BLOCK as u64 + need as u64 > BLOCK as u64;
            need as u64 + if full { size.next_multiple_of(BLOCK as u64) } else { size }
        })
    }

    /// The content of a directory.
    pub fn directory(mut entries: &[Dirent]) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !entries.is_empty() {
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
            let mut used = 0;
            let fits = |entry: &&Dirent| {
                used += RECORD + entry.name.len();
                used <= BLOCK
            };
            let (block, rest) = entries.split_at(entries.iter().take_while(fits).count().max(1));
            let mut name_at = RECORD * block.len();
            for entry in block {
                bytes.extend(entry.nid.to_le_bytes());
                bytes.extend((name_at as u16).to_le_bytes());
                bytes.extend([entry.kind as u8, 0]);
                name_at += entry.name.len();
            }
            block.iter().for_each(|entry| bytes.extend(entry.name));
            entries = rest;
        }
        bytes
    }

    /// Reads one block of a directory, up to the directory's end.
    ///
    /// # Errors
    /// When records or names lie outside of the block or a kind is unknown.
    pub fn parse_block(block: &'a [u8]) -> Result<Vec<Dirent<'a>>, Error> {
        let mut fields = Fields::new("a block of a directory", block);
        let mut records = Vec::new();
        while records.first().is_none_or(|(_, first, _)| block.len() - fields.bytes.len() < *first) {
            let (nid, name_at, kind) = (fields.u64()?, usize::from(fields.u16()?), fields.u8()?);
            fields.u8()?;
            let Some(kind) = TYPES.get(usize::from(kind).wrapping_sub(1)) else {
                return fields.broken("a name of unknown kind");
            };
            records.push((nid, name_at, *kind));
        }
        let ends = records.iter().skip(1).map(|(_, name_at, _)| *name_at).chain([block.len()]).collect::<Vec<_>>();
        let name = |(&(nid, from, kind), to): (&(u64, usize, FileType), usize)| {
            let name = block.get(from..to).filter(|_| from >= records.len() * RECORD);
            // Only the last name of a block has zeros behind it.
            let name = name.and_then(|name| name.split(|byte| *byte == 0).next()).filter(|name| !name.is_empty());
            name.map(|name| Dirent { name, nid, kind })
        };
        match records.iter().zip(ends).map(name).collect() {
            Some(entries) => Ok(entries),
            None => fields.broken("a name that is not among the names"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(bytes: &[u8]) -> Vec<Dirent<'_>> {
        bytes.chunks(BLOCK).flat_map(|block| Dirent::parse_block(block).unwrap()).collect()
    }

    #[test]
    fn a_small_directory_is_laid_out_as_the_kernel_reads_it() {
        let entry = |name, nid| Dirent { name, nid, kind: FileType::Directory };
        let bytes = Dirent::directory(&[entry(b".", 36), entry(b"..", 36), entry(b"usr", 40)]);
        let mut wanted = Vec::new();
        for (nid, name_at) in [(36, 36), (36, 37), (40, 39)] {
            wanted.extend([nid, 0, 0, 0, 0, 0, 0, 0, name_at, 0, 2, 0]);
        }
        wanted.extend(b"...usr");
        assert_eq!(bytes, wanted);
        assert_eq!(Dirent::directory_size([1, 2, 3]), 42);
    }

    #[test]
    fn a_block_is_filled_to_its_last_byte_and_not_further() {
        let name = [b'x'; 255];
        // 15 names of 255 bytes and records take 4005 bytes; 91 are left, 79 for a name.
        for (last, size) in [(78, 4095), (79, 4096), (80, 4096 + 92)] {
            let names: Vec<&[u8]> = (0..15).map(|_| &name[..]).chain([&name[..last]]).collect();
            let entries: Vec<Dirent> =
                names.iter().map(|name| Dirent { name, nid: 1, kind: FileType::Regular }).collect();
            assert_eq!(Dirent::directory_size(names.iter().map(|n| n.len())), size);
            let bytes = Dirent::directory(&entries);
            assert_eq!(bytes.len() as u64, size);
            assert_eq!(parse(&bytes), entries);
        }
    }

    #[test]
    fn broken_blocks_are_refused() {
        let good = Dirent::directory(&[Dirent { name: b"ab", nid: 1, kind: FileType::Fifo }]);
        for (at, byte) in [(8, 200), (8, 11), (8, 14), (10, 0), (10, 8), (12, 0)] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            assert!(Dirent::parse_block(&bytes).is_err(), "byte {at} as {byte}");
        }
        assert!(Dirent::parse_block(&good[..11]).is_err() && Dirent::parse_block(&[]).is_err());
    }

    proptest! {
        #[test]
        fn a_directory_goes_through(names in prop::collection::btree_set("[^/\0]{1,60}", 0..300), nid: u64, kinds: u64) {
            let kind = |i: usize| TYPES[(kinds.rotate_left(i as u32) % 7) as usize];
            let entries: Vec<Dirent> = names
                .iter()
                .enumerate()
                .map(|(i, name)| Dirent { name: name.as_bytes(), nid: nid.wrapping_mul(i as u64), kind: kind(i) })
                .collect();
            let bytes = Dirent::directory(&entries);
            prop_assert_eq!(bytes.len() as u64, Dirent::directory_size(names.iter().map(String::len)));
            prop_assert_eq!(parse(&bytes), entries);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), small in 0u8..30) {
            let _ = Dirent::parse_block(&bytes);
            let small: Vec<u8> = bytes.iter().map(|b| b % (small + 1)).collect();
            let _ = Dirent::parse_block(&small);
        }
    }
}
