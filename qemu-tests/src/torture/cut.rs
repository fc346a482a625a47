//! Power cuts: which there are in what was written, and what each leaves on the disks.

use crate::block_server::Event;
use crate::block_server::contents::Contents;
use std::collections::BTreeSet;

/// The smallest piece that a disk writes whole.
const SECTOR: u64 = 512;

/// A power cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// So many events had happened.
    pub after: usize,
    /// So many sectors of the next, a write, had been written too.
    pub torn: u64,
    /// What was written and not flushed was lost in part: which part follows from this number. None if all of it had
    /// reached the medium.
    pub lost: Option<u64>,
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "after {} events", self.after)?;
        if self.torn > 0 {
            write!(f, " and {} sectors of the next", self.torn)?;
        }
        match self.lost {
            Some(number) => write!(f, ", with a part (number {number}) of what was not flushed"),
            None => Ok(()),
        }
    }
}

impl Cut {
    /// What the disks hold after it, which held `before` when the first of `events` happened.
    pub fn leaves(&self, before: &[Contents], events: &[Event]) -> Vec<Contents> {
        let mut disks = before.to_vec();
        let settled = settled(&events[..self.after], disks.len());
        for (at, event) in events[..self.after].iter().enumerate() {
            if let Event::Write { disk, offset, data, through } = event
                && (*through || at < settled[*disk] || self.lost.is_none_or(|number| coin(number, at as u64)))
            {
                disks[*disk].write(*offset, data);
            }
        }
        if let Some(Event::Write { disk, offset, data, .. }) = events.get(self.after).filter(|_| self.torn > 0) {
            disks[*disk].write(*offset, &data.first(self.torn * SECTOR));
        }
        disks
    }
}

/// How many of the first events each disk has flushed.
fn settled(events: &[Event], disks: usize) -> Vec<usize> {
    let mut settled = vec![0; disks];
    for (at, event) in events.iter().enumerate() {
        if let Event::Flush { disk } = event {
            settled[*disk] = at;
        }
    }
    settled
}

/// Every cut between two events; with each write of several sectors one that tears it, and with whatever was not flushed
/// one that loses a part of it.
///
/// A cut directly after a flush differs from the one before it only in what could have been lost.
pub fn all(events: &[Event], disks: usize) -> Vec<Cut> {
    let mut cuts = Vec::new();
    let mut unsettled: BTreeSet<usize> = BTreeSet::new();
    let mut pending = vec![0usize; disks];
    for after in 0..=events.len() {
        let whole = Cut { after, torn: 0, lost: None };
        let number = mix(after as u64);
        if after == 0 || matches!(events[after - 1], Event::Write { .. }) {
            cuts.push(whole.clone());
        }
        if !unsettled.is_empty() {
            cuts.push(Cut { lost: Some(number), ..whole.clone() });
        }
        match events.get(after) {
            Some(Event::Write { disk, data, through, .. }) => {
                let sectors = data.length() / SECTOR;
                if sectors > 1 {
                    cuts.push(Cut { torn: 1 + number % (sectors - 1), ..whole });
                }
                if !*through {
                    pending[*disk] += 1;
                    unsettled.insert(*disk);
                }
            }
            Some(Event::Flush { disk }) => {
                pending[*disk] = 0;
                unsettled.remove(disk);
            }
            None => {}
        }
    }
    cuts
}

/// `count` of them, evenly spread, or all when there are not so many.
pub fn sample<T: Clone>(all: &[T], count: usize) -> Vec<T> {
    let take = count.min(all.len());
    (0..take).map(|i| all[(2 * i + 1) * all.len() / (2 * take)].clone()).collect()
}

fn coin(number: u64, at: u64) -> bool {
    mix(number ^ mix(at)) & 1 == 1
}

/// One number from another, spread over all 64 bits (SplitMix64).
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_server::contents::Data;

    fn write(disk: usize, offset: u64, byte: u8, sectors: usize) -> Event {
        let data = Data::Bytes(vec![byte; sectors * 512].into());
        Event::Write { disk, offset, data, through: false }
    }

    fn first_bytes(disks: &[Contents]) -> Vec<[u8; 3]> {
        let read = |disk: &Contents| {
            [0, 512, 1024].map(|at| {
                let mut byte = [0];
                disk.read(at, &mut byte);
                byte[0]
            })
        };
        disks.iter().map(read).collect()
    }

    #[test]
    fn a_cut_leaves_what_was_written_before_it() {
        let events = [write(0, 0, 1, 2), write(1, 512, 2, 1), Event::Flush { disk: 0 }, write(0, 0, 3, 3)];
        let before = vec![Contents::default(); 2];
        let left = |after, torn| first_bytes(&Cut { after, torn, lost: None }.leaves(&before, &events));
        assert_eq!(left(0, 0), [[0, 0, 0], [0, 0, 0]]);
        assert_eq!(left(0, 1), [[1, 0, 0], [0, 0, 0]]);
        assert_eq!(left(2, 0), [[1, 1, 0], [0, 2, 0]]);
        assert_eq!(left(3, 2), [[3, 3, 0], [0, 2, 0]]);
        assert_eq!(left(4, 0), [[3, 3, 3], [0, 2, 0]]);
    }

    #[test]
    fn only_what_was_not_flushed_can_be_lost() {
        let events = [write(0, 0, 1, 1), write(1, 0, 1, 1), Event::Flush { disk: 0 }, write(0, 512, 1, 1)];
        let before = vec![Contents::default(); 2];
        let outcomes: BTreeSet<Vec<[u8; 3]>> = (0..100)
            .map(|number| first_bytes(&Cut { after: 4, torn: 0, lost: Some(number) }.leaves(&before, &events)))
            .collect();
        let disk_0 = |second| [1, second, 0];
        let all = [0, 1].map(|second| [0, 1].map(|first| vec![disk_0(second), [first, 0, 0]]));
        assert_eq!(outcomes, all.into_iter().flatten().collect());
    }

    #[test]
    fn every_event_is_cut_at_and_torn_and_lost_where_that_can_be() {
        let events = [write(0, 0, 1, 2), write(0, 1024, 1, 1), Event::Flush { disk: 0 }];
        let cuts = all(&events, 1);
        let shape = |c: &Cut| (c.after, c.torn, c.lost.is_some());
        let expected = [(0, 0, false), (0, 1, false), (1, 0, false), (1, 0, true), (2, 0, false), (2, 0, true)];
        assert_eq!(cuts.iter().map(shape).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_sample_is_spread_over_all() {
        assert_eq!(sample(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 2), [2, 7]);
        assert_eq!(sample(&[0, 1, 2], 7), [0, 1, 2]);
        assert!(sample::<u8>(&[], 7).is_empty());
    }
}
