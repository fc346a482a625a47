//! A segment: a piece of a file's content and the physical clusters it becomes. Pure.
//!
//! Content is cut into segments of equal size so that a large file is packed on all processors and never lies in
//! memory as a whole. Each becomes a row of extents of its own; clusters are filled to the last bytes, and what is
//! left at the end of a file lies beside the inode (tail packing), so that it costs its bytes and no block.
//!
//! What was made is kept in this form, all integers being little endian:
//!
//! ```text
//! 8   "bedclus1"          4   CRC-32 (as zlib's) of all that follows
//! 4   1 if the bytes of the clusters are those of the content, which are not repeated here; else 0
//! 4   how many extents    4   bytes of the tail
//! 8   for each extent: bytes of the content (4), blocks (2), whether it is as it is (2)
//!     the tail, then the clusters
//! ```

use super::Compression;
use super::codec::{CLUSTER, Filler};
use anyhow::Result;
use on_disk::erofs::{BLOCK, Extent, Index, SLOT};

/// Size of a segment in bytes; a file's last one is smaller.
pub(super) const SEGMENT: u64 = 8 << 20;
/// Longest tail: it has to lie in one block, behind what may take up the rest of the block's last slot.
const MOST_TAIL: usize = BLOCK - SLOT;

/// What a segment became.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its extents. Only the last of a file's last segment may have no blocks: its bytes are the tail.
    pub extents: Vec<Extent>,
    /// What lies beside the inode.
    pub tail: Vec<u8>,
    /// Whether compressing gained nothing, so that the blocks are those of the content as it is.
    pub stored: bool,
}

impl Segment {
    /// Blocks that the clusters take.
    pub fn blocks(&self) -> u32 {
        self.extents.iter().map(|extent| u32::from(extent.blocks)).sum()
    }

    /// Bytes of content.
    pub fn length(&self) -> u64 {
        self.extents.iter().map(|extent| u64::from(extent.length)).sum()
    }

    /// Content as it is. What does not fill a block is the tail if it may and is not too long.
    fn stored(content: &[u8], may_have_tail: bool) -> Segment {
        let (whole, end) = content.as_chunks::<BLOCK>();
        let tail = if may_have_tail && end.len() <= MOST_TAIL { end.to_vec() } else { Vec::new() };
        let plain = |length, blocks| Extent { length, blocks, plain: true };
        let mut extents = vec![plain(BLOCK as u32, 1); whole.len()];
        extents.extend((!end.is_empty()).then(|| plain(end.len() as u32, tail.is_empty().into())));
        Segment { extents, tail, stored: true }
    }

    fn cost(&self) -> usize {
        self.blocks() as usize * BLOCK + self.tail.len()
    }
}

/// Packs a segment: what it became, and its clusters one after the other (none if it is stored). `last` says that the
/// file ends with it.
pub(super) fn pack(compression: Compression, content: &[u8], last: bool) -> Result<(Segment, Vec<u8>)> {
    let filler = Filler::new(compression)?;
    let mut packing = Packing { filler, last, segment: Segment::default(), clusters: Vec::new() };
    let mut rest = content;
    while !rest.is_empty() {
        let (length, compressed) = packing.filler.fill(rest, CLUSTER)?;
        rest = if length == rest.len() {
            packing.end(rest, &compressed)?
        } else if length > CLUSTER {
            packing.cluster(rest, length, &compressed)
        } else {
            packing.plain(rest)
        };
    }
    let stored = Segment::stored(content, last);
    let index = Index::size(content.len() as u64, SLOT);
    if stored.cost() <= packing.segment.cost() + index {
        return Ok((stored, Vec::new()));
    }
    Ok((packing.segment, packing.clusters))
}

struct Packing {
    filler: Filler,
    last: bool,
    segment: Segment,
    clusters: Vec<u8>,
}

/// Each of these takes a part of the rest and gives what is left.
impl Packing {
    /// The first `length` bytes compressed, at the end of as many blocks as that needs.
    fn cluster<'r>(&mut self, rest: &'r [u8], length: usize, compressed: &[u8]) -> &'r [u8] {
        let blocks = compressed.len().div_ceil(BLOCK);
        self.clusters.resize(self.clusters.len() + blocks * BLOCK - compressed.len(), 0);
        self.clusters.extend(compressed);
        self.segment.extents.push(Extent { length: length as u32, blocks: blocks as u16, plain: false });
        &rest[length..]
    }

    /// As many blocks as a cluster has, or what is less than one, as it is.
    fn plain<'r>(&mut self, rest: &'r [u8]) -> &'r [u8] {
        let blocks = CLUSTER.min(rest.len() / BLOCK * BLOCK);
        let (now, later) = rest.split_at(if blocks == 0 { rest.len() } else { blocks });
        let part = Segment::stored(now, self.last);
        self.clusters.extend(&now[..now.len() - part.tail.len()]);
        self.clusters.resize(self.clusters.len().next_multiple_of(BLOCK), 0);
        self.segment.extents.extend(part.extents);
        self.segment.tail = part.tail;
        later
    }

    /// The rest, of which all fits into a cluster, in the way that takes the least.
    fn end<'r>(&mut self, rest: &'r [u8], compressed: &[u8]) -> Result<&'r [u8]> {
        let (size, in_blocks) = (compressed.len(), compressed.len().next_multiple_of(BLOCK));
        if self.last && size <= MOST_TAIL && size < rest.len() {
            return Ok(self.tail(rest, compressed.to_vec(), false));
        }
        if in_blocks >= rest.len() {
            return Ok(self.plain(rest));
        }
        // Full blocks and a tail, instead of a last block that is not full.
        let full = size / BLOCK * BLOCK;
        if self.last && full > 0 {
            let (length, beginning) = self.filler.fill(rest, full)?;
            let left = &rest[length..];
            let tail = self.filler.whole(left)?;
            let plain = tail.len() >= left.len();
            let tail = if plain { left.to_vec() } else { tail };
            if length > full && tail.len() <= MOST_TAIL && full + tail.len() < in_blocks {
                self.cluster(rest, length, &beginning);
                return Ok(self.tail(left, tail, plain));
            }
        }
        Ok(self.cluster(rest, rest.len(), compressed))
    }

    fn tail<'r>(&mut self, rest: &'r [u8], tail: Vec<u8>, plain: bool) -> &'r [u8] {
        self.segment.extents.push(Extent { length: rest.len() as u32, blocks: 0, plain });
        self.segment.tail = tail;
        &[]
    }
}

const MAGIC: &[u8; 8] = b"bedclus1";
/// Bytes before the extents.
const HEADER: usize = 24;

/// The form in which a segment is kept, without its clusters, which come behind it.
pub(super) fn to_bytes(segment: &Segment, clusters: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([0; 4]);
    let counts = [segment.stored.into(), segment.extents.len() as u32, segment.tail.len() as u32];
    bytes.extend(counts.map(u32::to_le_bytes).concat());
    for extent in &segment.extents {
        bytes.extend(extent.length.to_le_bytes());
        bytes.extend([extent.blocks, extent.plain.into()].map(u16::to_le_bytes).concat());
    }
    bytes.extend(&segment.tail);
    let checksum = checksum(&[&bytes[12..], clusters]);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads what was kept of a segment of this many bytes of content: the segment, and where its clusters begin. Nothing
/// if it is not whole.
pub(super) fn parse(bytes: &[u8], length: u64) -> Option<(Segment, usize)> {
    let u32_at = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    if !bytes.starts_with(MAGIC) || u32_at(8)? != checksum(&[bytes.get(12..)?]) {
        return None;
    }
    let (stored, extents, tail) = (u32_at(12)? != 0, u32_at(16)? as usize, u32_at(20)? as usize);
    let extents_end = HEADER.checked_add(extents.checked_mul(8)?)?;
    let begin = extents_end.checked_add(tail)?;
    let extent = |at: usize| {
        let rest = u32_at(at + 4)?;
        Some(Extent { length: u32_at(at)?, blocks: rest as u16, plain: rest >> 16 != 0 })
    };
    let extents = (HEADER..extents_end).step_by(8).map(extent).collect::<Option<_>>()?;
    let segment = Segment { extents, tail: bytes.get(extents_end..begin)?.to_vec(), stored };
    let clusters = if stored { 0 } else { segment.blocks() as usize * BLOCK };
    (bytes.len() - begin == clusters && segment.length() == length).then_some((segment, begin))
}

fn checksum(pieces: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    pieces.iter().for_each(|piece| hasher.update(piece));
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{random, text};
    use super::*;
    use proptest::prelude::*;

    /// Zstandard's levels from 5 to 12 hash in another way than the ones below.
    const ALL: [Compression; 3] = [Compression::Zstd(3), Compression::Zstd(9), Compression::Lz4];

    /// What a reader of the image gets: every extent's bytes, from the clusters or the tail.
    fn unpack(compression: Compression, content: &[u8], segment: &Segment, mut clusters: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for extent in &segment.extents {
            let length = extent.length as usize;
            let packed = match (extent.blocks, segment.stored) {
                (0, _) => &segment.tail[..],
                (_, true) => &content[bytes.len()..bytes.len() + length],
                (blocks, false) => clusters.split_off(..usize::from(blocks) * BLOCK).unwrap(),
            };
            if extent.plain {
                bytes.extend(&packed[..length]);
                continue;
            }
            let begin = packed.iter().position(|byte| *byte != 0).unwrap();
            assert!(begin < BLOCK, "a cluster begins with less than a block of zeros");
            bytes.extend(match compression {
                Compression::Zstd(_) => zstd::bulk::decompress(&packed[begin..], length).unwrap(),
                Compression::Lz4 => lz4_flex::block::decompress(&packed[begin..], length).unwrap(),
            });
        }
        assert!(clusters.is_empty());
        bytes
    }

    /// Packs it, and checks all that is promised of any content. The bytes it costs.
    fn check(compression: Compression, content: &[u8], last: bool) -> usize {
        let (segment, clusters) = pack(compression, content, last).unwrap();
        assert!(unpack(compression, content, &segment, &clusters) == content);
        assert_eq!(segment.length(), content.len() as u64);
        assert!(segment.cost() <= Segment::stored(content, last).cost() && (!segment.stored || clusters.is_empty()));
        assert!(segment.tail.len() <= MOST_TAIL && (last || segment.tail.is_empty()));
        let mut at = 0;
        for (n, extent) in segment.extents.iter().enumerate() {
            let end = at + extent.length as usize;
            let is_last = n + 1 == segment.extents.len();
            assert!(is_last || at / BLOCK < end / BLOCK, "extent {n} ends in the block it begins in");
            assert!(extent.plain || extent.blocks == 0 || extent.length as usize > usize::from(extent.blocks) * BLOCK);
            assert!(extent.blocks > 0 || is_last && last && !segment.tail.is_empty());
            assert!(extent.length <= Extent::MOST_LENGTH && (!extent.plain || extent.length as usize <= BLOCK));
            at = end;
        }
        let (kept, begin) = parse(&[&to_bytes(&segment, &clusters)[..], &clusters].concat(), segment.length()).unwrap();
        assert_eq!((kept, begin), (segment.clone(), to_bytes(&segment, &clusters).len()));
        // Nothing of what was packed before shows.
        assert!(pack(compression, content, last).unwrap() == (segment.clone(), clusters));
        segment.cost()
    }

    #[test]
    fn every_kind_of_content_comes_back() {
        for compression in ALL {
            for last in [false, true] {
                for len in [1, 3, 4063, 4064, 4065, 4095, 4096, 4097, 8192, 65_535, 65_536, 65_537, 300_000] {
                    check(compression, &random(len), last);
                    check(compression, &vec![0; len], last);
                    check(compression, &text(len), last);
                }
                let mixed = [text(200_000), random(150_000), vec![0; 1 << 20], text(5000), random(5000)].concat();
                check(compression, &mixed, last);
                // LZ4 spends a byte on 255.
                let most = if compression == Compression::Lz4 { 9 } else { 1 };
                assert!(check(compression, &vec![0; SEGMENT as usize], false) <= most * BLOCK);
            }
        }
    }

    #[test]
    fn clusters_are_full_but_for_a_few_bytes() {
        for compression in ALL {
            let content = text(3 << 20);
            let (segment, clusters) = pack(compression, &content, true).unwrap();
            let clusters = clusters.chunks(CLUSTER).take(segment.blocks() as usize * BLOCK / CLUSTER);
            let empty: Vec<usize> = clusters.map(|c| c.iter().position(|byte| *byte != 0).unwrap()).collect();
            assert!(empty.len() > 5 && empty.iter().all(|n| *n < 256), "{empty:?}");
        }
    }

    #[test]
    fn an_end_costs_its_bytes_and_no_block() {
        for compression in ALL {
            // A tail alone; a cluster and a tail; bytes that can't be made smaller.
            assert!(check(compression, &text(3000), true) < 2500);
            let cost =
                |last| (20_000..60_000).step_by(4000).map(|len| check(compression, &text(len), last)).sum::<usize>();
            let (with, without) = (cost(true), cost(false));
            assert!(with + 10 * 500 < without && without % BLOCK == 0, "{with} {without}");
            assert_eq!(check(compression, &random(10_000), true), 10_000);
            assert_eq!(check(compression, &random(10_000), false), 3 * BLOCK);
        }
    }

    #[test]
    fn what_is_kept_is_whole_or_nothing() {
        let content = [text(100_000), random(5000)].concat();
        let (segment, clusters) = pack(Compression::Lz4, &content, true).unwrap();
        let kept = [&to_bytes(&segment, &clusters)[..], &clusters].concat();
        let length = content.len() as u64;
        assert!(parse(&kept, length).is_some() && parse(&kept, length + 1).is_none());
        for at in (0..kept.len()).step_by(97) {
            assert!(parse(&kept[..at], length).is_none());
            let mut flipped = kept.clone();
            flipped[at] ^= 4;
            assert!(parse(&flipped, length).is_none(), "byte {at}");
        }
        assert!(parse(&vec![0; kept.len()], length).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn any_mix_comes_back(parts in prop::collection::vec((0u8..3, 1usize..90_000), 1..6), last: bool, codec in 0usize..3) {
            let part = |(kind, len): &(u8, usize)| match kind {
                0 => random(*len),
                1 => text(*len),
                _ => vec![0; *len],
            };
            check(ALL[codec], &parts.iter().flat_map(part).collect::<Vec<_>>(), last);
        }

        #[test]
        fn any_bytes_are_read_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 24..200), small: bool, length: u64) {
            if small {
                bytes[12..24].iter_mut().for_each(|byte| *byte %= 4);
            }
            bytes[..8].copy_from_slice(MAGIC);
            let sum = checksum(&[&bytes[12..]]).to_le_bytes();
            bytes[8..12].copy_from_slice(&sum);
            let _ = parse(&bytes, length);
        }
    }
}
