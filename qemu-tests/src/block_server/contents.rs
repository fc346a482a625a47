//! What a disk holds, sparse and cheap to copy.

use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of a block of [`Contents`].
pub const BLOCK: usize = 4096;

/// Bytes that are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// These.
    Bytes(Arc<[u8]>),
    /// So many zeros.
    Zeros(u64),
}

impl Data {
    /// How many.
    pub fn length(&self) -> u64 {
        match self {
            Data::Bytes(bytes) => bytes.len() as u64,
            Data::Zeros(length) => *length,
        }
    }

    /// The first of them, `length` at most.
    #[must_use]
    pub fn first(&self, length: u64) -> Data {
        match self {
            Data::Bytes(bytes) => Data::Bytes(bytes.iter().copied().take(usize_of(length)).collect()),
            Data::Zeros(all) => Data::Zeros(length.min(*all)),
        }
    }
}

/// Blocks that are not all zero. Two are equal when every byte is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents(HashMap<u64, Arc<[u8; BLOCK]>>);

impl Contents {
    /// Fills `into` from `offset` on.
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        for (block, within, range) in pieces(offset, into.len() as u64) {
            let to = &mut into[range];
            match self.0.get(&block) {
                Some(bytes) => to.copy_from_slice(&bytes[within..within + to.len()]),
                None => to.fill(0),
            }
        }
    }

    /// Writes at `offset`.
    pub fn write(&mut self, offset: u64, data: &Data) {
        for (block, within, range) in pieces(offset, data.length()) {
            let length = range.len();
            let mut bytes = match self.0.get(&block) {
                Some(before) if length < BLOCK => **before,
                _ => [0; BLOCK],
            };
            match data {
                Data::Bytes(from) => bytes[within..within + length].copy_from_slice(&from[range]),
                Data::Zeros(_) => bytes[within..within + length].fill(0),
            }
            if bytes.iter().all(|b| *b == 0) {
                self.0.remove(&block);
            } else {
                self.0.insert(block, Arc::new(bytes));
            }
        }
    }

    /// How many bytes the two don't have in common.
    pub fn differing(&self, other: &Contents) -> u64 {
        let zero = [0; BLOCK];
        let block = |of: &Contents, at: &u64| of.0.get(at).map_or(zero, |b| **b);
        let all = self.0.keys().chain(other.0.keys().filter(|at| !self.0.contains_key(at)));
        let count = |at: &u64| block(self, at).iter().zip(block(other, at)).filter(|(a, b)| **a != *b).count() as u64;
        all.map(count).sum()
    }
}

/// A stretch in pieces that lie in one block each: the block, where in it, and which of the stretch's bytes.
fn pieces(offset: u64, length: u64) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done;
        let within = usize_of(at % BLOCK as u64);
        let step = (length - done).min((BLOCK - within) as u64);
        let range = usize_of(done)..usize_of(done + step);
        done += step;
        (step > 0).then_some((at / BLOCK as u64, within, range))
    })
}

fn usize_of(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: usize = 5 * BLOCK;

    fn data() -> impl Strategy<Value = (u64, Data)> {
        let data = prop_oneof![
            prop::collection::vec(any::<u8>(), 1..2 * BLOCK).prop_map(|b| Data::Bytes(b.into())),
            (1..3 * BLOCK as u64).prop_map(Data::Zeros),
        ];
        (0..2 * BLOCK as u64, data)
    }

    proptest! {
        #[test]
        fn it_is_what_an_array_of_bytes_would_be(writes in prop::collection::vec(data(), 0..12)) {
            let (mut contents, mut plain) = (Contents::default(), vec![0u8; SIZE]);
            for (offset, data) in writes {
                let before = (contents.clone(), plain.clone());
                contents.write(offset, &data);
                let to = &mut plain[offset as usize..][..data.length() as usize];
                match &data {
                    Data::Bytes(bytes) => to.copy_from_slice(bytes),
                    Data::Zeros(_) => to.fill(0),
                }
                let changed = before.1.iter().zip(&plain).filter(|(a, b)| a != b).count() as u64;
                prop_assert_eq!(before.0.differing(&contents), changed);
                prop_assert_eq!(contents.differing(&before.0), changed);
                prop_assert_eq!(before.0 == contents, changed == 0);
            }
            let mut read = vec![1; SIZE - 7];
            contents.read(7, &mut read);
            prop_assert_eq!(&read[..], &plain[7..]);
        }
    }

    #[test]
    fn the_first_of_some_data_is_never_more_than_there_is() {
        assert_eq!(Data::Zeros(3).first(5), Data::Zeros(3));
        assert_eq!(Data::Bytes([1, 2, 3].into()).first(2), Data::Bytes([1, 2].into()));
    }
}
