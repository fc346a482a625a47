//! Whether a stretch of a disk is blank: its first and last 16 MiB and 64 MiB sampled in between.

use crate::medium::{Medium, Pages};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use storage_plan::inventory::{Rest, Sector};

const MIB: u64 = 1 << 20;
const EDGE: u64 = 16 * MIB;
const SAMPLES: u64 = 64;
static ZEROS: [u8; 4096] = [0; 4096];
static ONES: [u8; 4096] = [0xff; 4096];

/// The stretches to look at within `whole`: both edges, and 64 of 1 MiB spread evenly in between.
pub(super) fn places(whole: &Range<u64>) -> Vec<Range<u64>> {
    let length = whole.end.saturating_sub(whole.start);
    if length <= 2 * EDGE + SAMPLES * MIB {
        return vec![whole.clone()];
    }
    let middle = length - 2 * EDGE;
    let samples = (0..SAMPLES).map(|i| {
        let at = whole.start + EDGE + (middle - MIB) / (SAMPLES - 1) * i;
        at..at + MIB
    });
    let first = std::iter::once(whole.start..whole.start + EDGE);
    first.chain(samples).chain(std::iter::once(whole.end - EDGE..whole.end)).collect()
}

/// Looks at `whole`, leaving out `except`.
///
/// # Errors
/// When the device can't be read.
pub(super) fn probe(device: &File, whole: &Range<u64>, except: &[Range<u64>]) -> io::Result<Rest> {
    let mut fill = None;
    let medium = Medium::of(device);
    let mut pages = Pages::of(MIB as usize);
    for place in places(whole) {
        let mut at = place.start;
        while at < place.end {
            if let Some(skip) = except.iter().find(|e| e.contains(&at)) {
                at = skip.end;
                continue;
            }
            let next = except.iter().map(|e| e.start).filter(|s| *s > at).min().unwrap_or(u64::MAX);
            let length = (place.end.min(next) - at).min(MIB);
            let chunk = pages.first(usize::try_from(length).map_err(io::Error::other)?);
            medium.read(chunk, at)?;
            if let Some(bad) = first_data(chunk, &mut fill) {
                return Ok(Rest::Data { offset: at + bad as u64 });
            }
            at += length;
        }
    }
    Ok(if fill == Some(0xff) { Rest::Ones } else { Rest::Zero })
}

/// The first byte that breaks the pattern; the first byte of all sets it.
fn first_data(chunk: &[u8], fill: &mut Option<u8>) -> Option<usize> {
    let first = *chunk.first()?;
    let pattern = *fill.get_or_insert(if first == 0xff { 0xff } else { 0 });
    // Comparing whole slices is what is fast on every machine and at every optimisation; the exact place matters only
    // when there is data.
    let blank: &[u8] = if pattern == 0xff { &ONES } else { &ZEROS };
    if chunk.chunks(blank.len()).all(|c| *c == blank[..c.len()]) {
        return None;
    }
    chunk.iter().position(|b| *b != pattern)
}

/// The sectors of `range` that are neither all zero nor all 0xFF.
///
/// # Errors
/// When the device can't be read.
pub(super) fn sectors(device: &File, range: &Range<u64>, sector: u64) -> io::Result<Vec<Sector>> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
    device.read_exact_at(&mut bytes, range.start)?;
    let blank = |b: &[u8]| b.iter().all(|b| *b == 0) || b.iter().all(|b| *b == 0xff);
    let size = usize::try_from(sector).map_err(io::Error::other)?;
    let numbered = bytes.chunks(size).zip((range.start..).step_by(size));
    Ok(numbered.filter(|(b, _)| !blank(b)).map(|(b, offset)| Sector { offset, bytes: b.to_vec() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(size: u64, data: &[(u64, u8)]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        data.iter().for_each(|(at, byte)| file.write_all_at(&[*byte], *at).unwrap());
        file
    }

    #[test]
    fn one_byte_in_an_edge_or_a_sample_is_found() {
        let size = 1 << 30;
        assert_eq!(probe(&disk(size, &[]), &(0..size), &[]).unwrap(), Rest::Zero);
        for at in [0, EDGE - 1, size - 1, size - EDGE, EDGE] {
            assert_eq!(probe(&disk(size, &[(at, 7)]), &(0..size), &[]).unwrap(), Rest::Data { offset: at });
        }
    }

    #[test]
    fn what_is_left_out_is_not_looked_at() {
        let file = disk(4 * MIB, &[(MIB, 1)]);
        assert_eq!(probe(&file, &(0..4 * MIB), std::slice::from_ref(&(MIB..MIB + 512))).unwrap(), Rest::Zero);
        assert_eq!(probe(&file, &(0..4 * MIB), &[]).unwrap(), Rest::Data { offset: MIB });
    }

    #[test]
    fn ones_are_blank_and_a_mixture_is_not() {
        let file = disk(2 * MIB, &[]);
        file.write_all_at(&vec![0xff; 2 << 20], 0).unwrap();
        assert_eq!(probe(&file, &(0..2 * MIB), &[]).unwrap(), Rest::Ones);
        file.write_all_at(&[0], 99).unwrap();
        assert_eq!(probe(&file, &(0..2 * MIB), &[]).unwrap(), Rest::Data { offset: 99 });
    }

    #[test]
    fn samples_are_spread_to_the_end() {
        let places = places(&(0..1 << 40));
        assert_eq!(places.len(), 66);
        assert!(
            places[65].end == 1 << 40 && places[64].end <= (1 << 40) - EDGE && places[64].end > (1 << 40) - 17 * EDGE
        );
    }
}
