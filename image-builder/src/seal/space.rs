//! Room for metadata: inodes find their places in blocks that others left half empty. Pure.

use on_disk::erofs::{BLOCK, SLOT};
use std::collections::BTreeSet;

/// How far behind its end the space still takes something, in bytes: so inodes of one folder lie near each other.
const WINDOW: u64 = 256 * BLOCK as u64;

/// Space that grows by whole blocks, and the gaps in it.
#[derive(Debug)]
pub(super) struct Space {
    end: u64,
    /// Size and begin of each gap, multiples of [`SLOT`].
    gaps: BTreeSet<(u64, u64)>,
}

impl Space {
    /// A space whose first bytes are taken.
    pub fn new(taken: usize) -> Space {
        let mut space = Space { end: 0, gaps: BTreeSet::new() };
        let block = space.blocks(1);
        space.gap(block + taken as u64, block + BLOCK as u64);
        space
    }

    /// Bytes it has grown to, a whole number of blocks.
    pub fn size(&self) -> u64 {
        self.end
    }

    /// New blocks, and nothing else in them.
    pub fn blocks(&mut self, count: u64) -> u64 {
        self.end += count * BLOCK as u64;
        self.end - count * BLOCK as u64
    }

    /// A place for `size` bytes and a tail right behind them, at a multiple of [`SLOT`]: all in one block if they
    /// fit, and the tail in one block in any case. A tail may have a slot less than a block.
    pub fn place(&mut self, size: usize, tail: usize) -> u64 {
        let need = ((size + tail) as u64).next_multiple_of(SLOT as u64);
        if need <= BLOCK as u64 {
            let horizon = self.end.saturating_sub(WINDOW);
            let found = self.gaps.range((need, 0)..).find(|(_, begin)| *begin >= horizon).copied();
            let (gap, begin) = found.unwrap_or_else(|| (BLOCK as u64, self.blocks(1)));
            self.gaps.remove(&(gap, begin));
            self.gap(begin + need, begin + gap);
            return begin;
        }
        let fits = |shift: &usize| (shift + size) % BLOCK + tail <= BLOCK;
        let shift = (0..BLOCK).step_by(SLOT).find(fits).unwrap_or(0) as u64;
        let begin = self.blocks((shift + need).div_ceil(BLOCK as u64));
        self.gap(begin, begin + shift);
        self.gap(begin + shift + need, self.end);
        begin + shift
    }

    fn gap(&mut self, begin: u64, end: u64) {
        let begin = begin.next_multiple_of(SLOT as u64);
        if begin < end {
            self.gaps.insert((end - begin, begin));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gaps_are_filled_and_large_things_begin_where_their_tail_fits() {
        let mut space = Space::new(1160);
        assert_eq!(space.place(32, 10), 1184);
        assert_eq!(space.place(4000, 0), 4096);
        assert_eq!(space.place(40, 0), 4096 + 4000);
        assert_eq!(space.place(100, 4000), 3 * 4096 - 96);
        assert_eq!(space.place(32, 3000), 2 * 4096);
        assert_eq!(space.place(32, 4000), 4 * 4096);
    }

    proptest! {
        #[test]
        fn places_keep_their_promises(sizes in prop::collection::vec((32usize..9000, 0usize..4065), 1..300)) {
            let mut space = Space::new(1160);
            let mut taken: Vec<(u64, u64)> = vec![(0, 1160)];
            for (size, tail) in sizes {
                let (size, tail) = (size / 4 * 4, if tail % 3 == 0 { 0 } else { tail });
                let at = space.place(size, tail);
                let (behind, end) = (at + size as u64, at + (size + tail) as u64);
                prop_assert!(at.is_multiple_of(SLOT as u64) && end <= space.size());
                let block = |byte: u64| byte / BLOCK as u64;
                prop_assert!(tail == 0 || block(behind) == block(end - 1));
                prop_assert!(size + tail > BLOCK || block(at) == block(end - 1));
                taken.push((at, end));
            }
            taken.sort();
            prop_assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        }
    }
}
