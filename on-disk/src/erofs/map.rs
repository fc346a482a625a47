//! Index of a compressed file (`struct z_erofs_map_header` and compacted lcluster indexes): from a place in the file
//! to the physical cluster that holds it.
//!
//! A file is a row of extents. Each is one physical cluster: compressed bytes of whole blocks, one block as it is, or
//! (the last extent only) bytes behind the index. The index has a cell of 2 or 4 bytes for each block of the file
//! (a logical cluster), in packs that end with a block number; so the clusters of a file have to lie one after the
//! other, and every extent but the last has to end in another logical cluster than it begins in.
//!
//! What a cell and a pack's block number say is defined by how the kernel reads them: `fs/erofs/zmap.c`,
//! `z_erofs_load_compact_lcluster` and `unpack_compacted_index` (Linux 6.12).

use super::{BLOCK, Error, Fields};

/// One extent of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of the file.
    pub length: u32,
    /// Blocks of its physical cluster; 0 if that lies behind the index.
    pub blocks: u16,
    /// Whether the bytes are as they are. Such an extent has one block at most.
    pub plain: bool,
}

impl Extent {
    /// Most bytes of a file that one physical cluster may hold (`Z_EROFS_PCLUSTER_MAX_DSIZE`).
    pub const MOST_LENGTH: u32 = 12 << 20;
}

/// An extent that was read, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// The extent.
    pub extent: Extent,
    /// First byte in the file.
    pub start: u64,
    /// First block of the physical cluster, if it has blocks.
    pub block: u32,
}

/// What a file's index says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index<'a> {
    /// Number of the algorithm.
    pub algorithm: u8,
    /// The extents, in order.
    pub extents: &'a [Extent],
    /// Bytes of the last physical cluster if it lies behind the index, else 0.
    pub tail_size: u16,
}

const HEADER: usize = 8;
/// Cells of 2 bytes where 32-byte packs of them fit, physical clusters of more than one block, and a tail.
const ADVISE_2B: u16 = 0x1;
const ADVISE_BIG: u16 = 0x2 | 0x4;
const ADVISE_TAIL: u16 = 0x8;
/// Set in the first cell behind an extent's head: the rest is the count of blocks, not a distance.
const BLOCK_COUNT: u16 = 1 << 11;
const CELL_BITS: u32 = 12;

/// What a cell of the index says of its logical cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// An extent begins here, so many bytes into it. (The file's end looks like the head of a plain extent.)
    Head { plain: bool, offset: u16 },
    /// The one behind a head, in the same extent, which has so many blocks.
    Count(u16),
    /// Any further one: distance to the head, and to the head of the next extent.
    Inside { back: u16, ahead: u16 },
}

impl Cell {
    /// Kind (`Z_EROFS_LCLUSTER_TYPE_*`) and value. In the last place of a pack the way goes ahead, else back.
    fn bits(self, last: bool) -> u16 {
        let (kind, value) = match self {
            Cell::Head { plain, offset } => (if plain { 0 } else { 1 }, offset),
            Cell::Count(blocks) => (2, blocks | BLOCK_COUNT),
            Cell::Inside { back, ahead } => (2, if last { ahead } else { back }.min(BLOCK_COUNT - 1)),
        };
        kind << CELL_BITS | value
    }

    fn from_bits(bits: u16) -> Option<Cell> {
        let value = bits & ((1 << CELL_BITS) - 1);
        match bits >> CELL_BITS & 3 {
            2 if value & BLOCK_COUNT != 0 => Some(Cell::Count(value & !BLOCK_COUNT)),
            2 => Some(Cell::Inside { back: value, ahead: value }),
            3 => None,
            kind => Some(Cell::Head { plain: kind == 0, offset: value }),
        }
    }
}

/// A pack: how many cells it has room for, bits of each, and its bytes, the last 4 being the block number.
#[derive(Clone, Copy)]
struct Pack {
    cells: usize,
    bits: usize,
    bytes: usize,
}

const WIDE: Pack = Pack { cells: 2, bits: 16, bytes: 8 };
const NARROW: Pack = Pack { cells: 16, bits: 14, bytes: 32 };

/// The packs for so many cells. Narrow ones begin at multiples of 32 bytes only; inodes begin at such, and `before`
/// are the bytes from the inode's begin to the index.
fn packs(cells: usize, before: usize) -> impl Iterator<Item = Pack> {
    let first = (header_at(before) + HEADER).wrapping_neg() % NARROW.bytes / 4;
    let narrow = cells.saturating_sub(first) / NARROW.cells;
    let first = if narrow == 0 { 0 } else { first };
    let last = (cells - first - narrow * NARROW.cells).div_ceil(WIDE.cells);
    let repeat = |pack, count| std::iter::repeat_n(pack, count);
    repeat(WIDE, first / WIDE.cells).chain(repeat(NARROW, narrow)).chain(repeat(WIDE, last))
}

fn header_at(before: usize) -> usize {
    before.next_multiple_of(HEADER)
}

fn cell_count(size: u64) -> usize {
    size.div_ceil(BLOCK as u64) as usize
}

impl Index<'_> {
    /// Bytes that the index of a file of this size takes, when `before` bytes of the inode come before it.
    pub fn size(size: u64, before: usize) -> usize {
        let packs: usize = packs(cell_count(size), before).map(|pack| pack.bytes).sum();
        header_at(before) - before + HEADER + packs
    }

    /// The index, for physical clusters that begin at this block.
    ///
    /// # Panics
    /// When the extents break the rules above.
    pub fn to_bytes(&self, before: usize, first_block: u32) -> Vec<u8> {
        let mut bytes = vec![0; header_at(before) - before + 2];
        bytes.extend(self.tail_size.to_le_bytes());
        let tail = if self.tail_size == 0 { 0 } else { ADVISE_TAIL };
        bytes.extend((ADVISE_2B | ADVISE_BIG | tail).to_le_bytes());
        bytes.extend([self.algorithm, 0]);

        let cells = self.cells();
        let mut left = &cells[..];
        // Block behind all clusters whose count of blocks the cells so far have told.
        let mut block = first_block;
        for pack in packs(cells.len(), before) {
            let (here, rest) = left.split_at(pack.cells.min(left.len()));
            let at = bytes.len();
            bytes.resize(at + pack.bytes, 0);
            let block_at = bytes.len() - 4;
            bytes[block_at..].copy_from_slice(&block.to_le_bytes());
            for (place, cell) in here.iter().enumerate() {
                let bit = place * pack.bits;
                let value = u32::from(cell.bits(place + 1 == pack.cells)) << (bit % 8);
                for (byte, part) in bytes[at + bit / 8..].iter_mut().zip(value.to_le_bytes().iter().take(3)) {
                    *byte |= part;
                }
                let next = here.get(place + 1).or(rest.first());
                block += told_blocks(*cell, next.copied());
            }
            left = rest;
        }
        bytes
    }

    fn cells(&self) -> Vec<Cell> {
        let size: u64 = self.extents.iter().map(|extent| u64::from(extent.length)).sum();
        let mut cells = Vec::with_capacity(cell_count(size));
        let mut start = 0;
        let block = BLOCK as u64;
        for extent in self.extents {
            let (head, next) = (start / block, (start + u64::from(extent.length)) / block);
            assert!(head == cells.len() as u64 && extent.length <= Extent::MOST_LENGTH, "extents are in order");
            let most = if extent.plain { 1 } else { BLOCK_COUNT - 1 };
            assert!(extent.blocks <= most && (extent.blocks <= 1 || next > head + 1), "a count of blocks has a cell");
            cells.push(Cell::Head { plain: extent.plain, offset: (start % block) as u16 });
            cells.extend((head + 1..next).map(|at| match at - head {
                1 => Cell::Count(extent.blocks.max(1)),
                back => Cell::Inside { back: back as u16, ahead: (next - at) as u16 },
            }));
            start += u64::from(extent.length);
        }
        if cells.len() < cell_count(size) {
            cells.push(Cell::Head { plain: true, offset: (size % block) as u16 });
        }
        cells
    }

    /// Reads the index of a file of this size, from behind the extended attributes: its extents, the number of the
    /// algorithm, and the bytes of the tail.
    ///
    /// # Errors
    /// When it ends too soon, says what is not written here, or its cells make no extents.
    pub fn parse(bytes: &[u8], size: u64, before: usize) -> Result<(Vec<Located>, u8, u16), Error> {
        let mut fields = Fields::new("the index of a compressed file", bytes);
        fields.take(header_at(before) - before + 2)?;
        let (tail_size, advise, algorithm, cluster_bits) = (fields.u16()?, fields.u16()?, fields.u8()?, fields.u8()?);
        if advise & !ADVISE_TAIL != ADVISE_2B | ADVISE_BIG || cluster_bits != 0 {
            return fields.broken("another kind of index");
        }
        if (advise & ADVISE_TAIL == 0) != (tail_size == 0) {
            return fields.broken("a tail without bytes, or bytes without a tail");
        }
        let count = cell_count(size);
        if count > fields.bytes.len() {
            return Err(Error::Short(fields.part));
        }
        let mut cells = Vec::with_capacity(count);
        // For each pack, its first cell and its block number.
        let mut blocks = Vec::new();
        for pack in packs(count, before) {
            let (packed, block) = fields.take(pack.bytes)?.split_at(pack.bytes - 4);
            blocks.push((cells.len(), Fields::new(fields.part, block).u32()?));
            for place in 0..pack.cells.min(count - cells.len()) {
                let bit = place * pack.bits;
                let three = (0..3).map(|i| u32::from(packed.get(bit / 8 + i).copied().unwrap_or(0)) << (8 * i));
                let value = three.sum::<u32>() >> (bit % 8);
                match Cell::from_bits((value & ((1 << pack.bits) - 1)) as u16) {
                    Some(cell) => cells.push(cell),
                    None => return fields.broken("a cell of a second algorithm"),
                }
            }
        }
        match extents(&cells, &blocks, size, tail_size != 0) {
            Some(extents) => Ok((extents, algorithm, tail_size)),
            None => fields.broken("cells that make no extents"),
        }
    }
}

/// Blocks that a cell tells of: those of a head without a count behind it are one.
fn told_blocks(cell: Cell, next: Option<Cell>) -> u32 {
    match (cell, next) {
        (Cell::Count(blocks), _) => blocks.into(),
        (Cell::Head { .. }, Some(Cell::Count(_))) | (Cell::Inside { .. }, _) => 0,
        (Cell::Head { .. }, _) => 1,
    }
}

fn extents(cells: &[Cell], packs: &[(usize, u32)], size: u64, tail: bool) -> Option<Vec<Located>> {
    let mut extents: Vec<Located> = Vec::new();
    let (mut packs, mut block) = (packs.iter().peekable(), 0u32);
    for (at, cell) in cells.iter().enumerate() {
        if let Some((_, number)) = packs.next_if(|(first, _)| *first == at) {
            block = *number;
        }
        match (*cell, extents.last_mut()) {
            (Cell::Head { plain, offset }, before) => {
                let start = at as u64 * BLOCK as u64 + u64::from(offset);
                let length = before.map(|before| (start.checked_sub(before.start), &mut before.extent.length));
                if let Some((length, field)) = length {
                    *field = u32::try_from(length?).ok().filter(|length| *length > 0)?;
                } else if start != 0 {
                    return None;
                }
                if start < size {
                    extents.push(Located { extent: Extent { length: 0, blocks: 1, plain }, start, block });
                } else if start > size || !plain {
                    return None;
                }
            }
            (Cell::Count(blocks), Some(last)) if matches!(cells[at - 1], Cell::Head { .. }) => {
                last.extent.blocks = blocks;
            }
            (Cell::Inside { .. }, Some(_)) if !matches!(cells[at - 1], Cell::Head { .. }) => {}
            _ => return None,
        }
        block = block.checked_add(told_blocks(*cell, cells.get(at + 1).copied()))?;
    }
    if let Some(last) = extents.last_mut().filter(|last| last.extent.length == 0) {
        last.extent.length = u32::try_from(size - last.start).ok()?;
    }
    if let Some(last) = extents.last_mut().filter(|_| tail) {
        last.extent.blocks = 0;
    }
    let fits = |extent: Extent| extent.length <= if extent.plain { BLOCK as u32 } else { Extent::MOST_LENGTH };
    extents.iter().all(|located| fits(located.extent)).then_some(extents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extent(length: u32, blocks: u16, plain: bool) -> Extent {
        Extent { length, blocks, plain }
    }

    fn located(extents: &[Extent], first_block: u32) -> Vec<Located> {
        let (mut start, mut block) = (0, first_block);
        let mut locate = |extent: &Extent| {
            let located = Located { extent: *extent, start, block };
            start += u64::from(extent.length);
            block += u32::from(extent.blocks);
            located
        };
        extents.iter().map(&mut locate).collect()
    }

    fn goes_through(extents: &[Extent], tail_size: u16, before: usize) {
        let size = extents.iter().map(|e| u64::from(e.length)).sum();
        let bytes = Index { algorithm: 3, extents, tail_size }.to_bytes(before, 1000);
        assert_eq!(bytes.len(), Index::size(size, before));
        assert_eq!(Index::parse(&bytes, size, before), Ok((located(extents, 1000), 3, tail_size)));
        assert!(Index::parse(&bytes[..bytes.len() - 1], size, before).is_err());
    }

    /// Index of a file of 305000 bytes, text around random bytes: `mkfs.erofs 1.8.6 -zzstd,level=3 -C65536`.
    const CAPTURED: &str = "0000000007000300001010280100000002202e201100000004202c201100000006e001880026800ae002c80036800ee00308\
        01468012e004480172801100000016e005880166801ae006c80176801ee0070802868022e008480232801100000026e00988\
        02a6802ae00ac802b6802ee00b08035a7110a800380042801100000005a0017800228009a002b80032800da003f800428011\
        a00438019a3921000000660e660e22000000660e660e240000006807000026000000";

    /// Its extents, as `dump.erofs -e` shows them.
    const OF_CAPTURED: [Extent; 7] = {
        let plain = Extent { length: 4096, blocks: 1, plain: true };
        let first = Extent { length: 203_862, blocks: 16, plain: false };
        let second = Extent { length: 82_448, ..first };
        [first, second, plain, plain, plain, plain, Extent { length: 2306, ..plain }]
    };

    #[test]
    fn a_captured_index_is_written_and_read() {
        let captured: Vec<u8> =
            (0..CAPTURED.len()).step_by(2).map(|i| u8::from_str_radix(&CAPTURED[i..i + 2], 16).unwrap()).collect();
        let index = Index { algorithm: 3, extents: &OF_CAPTURED, tail_size: 0 };
        assert_eq!(index.to_bytes(32, 1), captured);
        assert_eq!(Index::parse(&captured, 305_000, 32), Ok((located(&OF_CAPTURED, 1), 3, 0)));
    }

    #[test]
    fn distances_that_do_not_fit_are_cut() {
        goes_through(&[extent(Extent::MOST_LENGTH, 1, false), extent(100, 0, true)], 100, 32);
    }

    #[test]
    fn small_files_and_tails_go_through() {
        for before in [32, 44, 48, 56, 64, 100] {
            goes_through(&[extent(1, 0, true)], 1, before);
            goes_through(&[extent(4096, 0, false)], 99, before);
            goes_through(&[extent(9000, 1, false)], 0, before);
            goes_through(&[extent(9000, 0, false)], 99, before);
            goes_through(&[extent(70_000, 16, false), extent(4000, 0, false)], 99, before);
            goes_through(&[extent(70_000, 16, false), extent(4096, 1, true), extent(4096, 1, true)], 0, before);
        }
    }

    #[test]
    fn broken_indexes_are_refused() {
        let extents = [extent(70_000, 16, false), extent(4000, 1, true)];
        let good = Index { algorithm: 0, extents: &extents, tail_size: 0 }.to_bytes(32, 9);
        let broken = |at: usize, byte| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Index::parse(&bytes, 74_000, 32).is_err()
        };
        // Size of the tail, kind of the index, a first cell that is no head, a second algorithm, a head too late, a
        // count that is not behind a head, a distance that is.
        for (at, byte) in [(2, 1), (4, 0), (9, 0x20), (9, 0x30), (8, 1), (17, 0x28), (11, 0x20)] {
            assert!(broken(at, byte), "byte {at} as {byte}");
        }
        // A file that is longer than its extents.
        assert!(Index::parse(&good, 74_000 + 8192, 32).is_err());
    }

    /// Rows of extents as a compressor makes them.
    fn rows() -> impl Strategy<Value = (Vec<Extent>, u16)> {
        let one = prop_oneof![
            3 => (1u16..17, 1u32..300_000).prop_map(|(blocks, gain)| {
                extent((u32::from(blocks) * 4096 + gain).max(8192), blocks, false)
            }),
            1 => Just(extent(4096, 1, true)),
        ];
        let tail = prop::option::of((1u32..20_000, 1u16..4000, any::<bool>()));
        (prop::collection::vec(one, 0..40), tail).prop_map(|(mut row, tail)| {
            let tail = tail.or(row.is_empty().then_some((5, 5, true)));
            let size = tail.map_or(0, |(length, size, plain)| {
                let length = if plain { length.min(4096) } else { length };
                row.push(extent(length, 0, plain));
                size
            });
            (row, size)
        })
    }

    proptest! {
        #[test]
        fn an_index_goes_through((row, tail_size) in rows(), before in 8usize..40) {
            goes_through(&row, tail_size, before * 4);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), size: u64, small: bool) {
            let size = if small { size % 300_000 } else { size };
            let _ = Index::parse(&bytes, size, 32);
            // With a header that is taken.
            let mut bytes = bytes;
            if bytes.len() > 8 {
                bytes[..8].copy_from_slice(&[0, 0, 0, 0, 7, 0, 3, 0]);
            }
            let _ = Index::parse(&bytes, size, 32);
        }
    }
}
