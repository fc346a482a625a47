//! The two codecs, and how much of an input fills a physical cluster.

use super::Compression;
use anyhow::{Result, anyhow};
use lz4_flex::block;
use on_disk::erofs::{Algorithm, BLOCK};
use std::cmp::Ordering;
use zstd::zstd_safe::{self, CCtx, CParameter};

/// Size of a physical cluster in bytes.
pub(super) const CLUSTER: usize = 64 << 10;
/// Binary logarithm of zstd's window: eight clusters, as `mkfs.erofs` has it.
const WINDOW_LOG: u32 = (CLUSTER * 8).trailing_zeros();
/// Version of the LZ4 crate, which does not tell it.
const LZ4_VERSION: &str = "0.14.0";

impl Compression {
    /// What a reader of the image has to know.
    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            Compression::Zstd(_) => Algorithm::Zstd { window_log: WINDOW_LOG as u8 },
            Compression::Lz4 => Algorithm::Lz4 { distance: u16::MAX, cluster_blocks: (CLUSTER / BLOCK) as u16 },
        }
    }

    /// The library that does it and its version: another one may give other bytes.
    pub(super) fn library(self) -> String {
        match self {
            Compression::Zstd(_) => format!("zstd {}", zstd_safe::version_string()),
            Compression::Lz4 => format!("lz4_flex {LZ4_VERSION}"),
        }
    }
}

/// A fill stops when no more bytes than this are left of a cluster.
const SLACK: usize = 8;
/// Tries after which the way to the fill is halved instead of guessed, and twice as much may be left each time.
const GUESSES: usize = 6;
/// How much of an input is tried first when nothing is known of it, and how much at most, in clusters.
const FIRST_GUESS: usize = 4;
const MOST_GUESS: usize = 16;

/// Finds how much of an input fills a cluster.
///
/// What it gives depends on the inputs it got before: its guesses do, and so does zstd, whose contexts salt their
/// hashes with what they saw (`ZSTD_advanceHashSalt`, levels 5 to 12). So each segment has one of its own.
pub(super) struct Filler {
    codec: Codec,
    attempt: Vec<u8>,
    guess: usize,
}

enum Codec {
    Zstd(CCtx<'static>),
    Lz4,
}

impl Filler {
    pub(super) fn new(compression: Compression) -> Result<Filler> {
        let codec = match compression {
            Compression::Lz4 => Codec::Lz4,
            Compression::Zstd(level) => {
                let mut context = CCtx::try_create().ok_or_else(|| anyhow!("there is no memory for zstd"))?;
                for parameter in [CParameter::CompressionLevel(level as i32), CParameter::WindowLog(WINDOW_LOG)] {
                    context.set_parameter(parameter).map_err(zstd_error)?;
                }
                Codec::Zstd(context)
            }
        };
        Ok(Filler { codec, attempt: Vec::new(), guess: FIRST_GUESS * CLUSTER })
    }

    /// Compresses all of the input.
    pub(super) fn whole(&mut self, input: &[u8]) -> Result<Vec<u8>> {
        self.attempt(input)?;
        Ok(std::mem::take(&mut self.attempt))
    }

    /// A beginning of the input whose compressed form fills `limit` bytes but for a few, or all of it if that fits:
    /// its length and that form. If nothing longer than the limit fits, so that nothing is gained, any length up to it.
    pub(super) fn fill(&mut self, input: &[u8], limit: usize) -> Result<(usize, Vec<u8>)> {
        // Lengths and compressed sizes: the longest that fits, and the shortest that does not.
        let (mut fits, mut over) = ((0, 0), None);
        let mut best = Vec::new();
        let (mut next, mut most) = (self.guess, input.len());
        for tries in 1usize.. {
            let length = next.clamp(fits.0.max(limit) + 1, most.max(limit + 1)).min(most);
            self.attempt(&input[..length])?;
            if self.attempt.len() <= limit {
                fits = (length, self.attempt.len());
                std::mem::swap(&mut best, &mut self.attempt);
            } else {
                over = Some((length, self.attempt.len()));
                most = length - 1;
            }
            let gains_nothing = most <= limit && over.is_some();
            let slack = SLACK << tries.saturating_sub(GUESSES);
            if fits.0 >= most || gains_nothing || fits.0 > limit && limit - fits.1 <= slack {
                break;
            }
            next = if tries < GUESSES { guess(fits, over, limit) } else { fits.0.midpoint(most) + 1 };
        }
        self.guess = fits.0.min(MOST_GUESS * CLUSTER);
        Ok((fits.0, best))
    }

    fn attempt(&mut self, input: &[u8]) -> Result<()> {
        self.attempt.clear();
        match &mut self.codec {
            Codec::Zstd(context) => {
                self.attempt.reserve(zstd_safe::compress_bound(input.len()));
                context.compress2(&mut self.attempt, input).map_err(zstd_error)?;
            }
            Codec::Lz4 => {
                self.attempt.resize(block::get_maximum_output_size(input.len()), 0);
                let size = block::compress_into(input, &mut self.attempt)?;
                self.attempt.truncate(size);
            }
        }
        Ok(())
    }
}

/// The length whose compressed form should have just less than `limit` bytes, on the line through what is known.
fn guess(fits: (usize, usize), over: Option<(usize, usize)>, limit: usize) -> usize {
    let wanted = (limit - SLACK / 2).max(fits.1);
    let (from, to) = match over {
        Some(over) => (fits, over),
        None => ((0, 0), fits),
    };
    let (length, size) = (to.0 - from.0, (to.1 - from.1).max(1));
    match wanted.cmp(&from.1) {
        Ordering::Less => from.0,
        _ => from.0 + (length as u64 * (wanted - from.1) as u64 / size as u64) as usize,
    }
}

fn zstd_error(code: usize) -> anyhow::Error {
    anyhow!("zstd fails: {}", zstd_safe::get_error_name(code))
}

#[cfg(test)]
mod tests {
    use super::super::samples::text;
    use super::*;

    #[test]
    fn the_version_is_that_of_the_crate() {
        let lock = include_str!("../../../Cargo.lock");
        assert!(
            lock.contains(&format!("name = \"lz4_flex\"\nversion = \"{LZ4_VERSION}\"\n")),
            "LZ4_VERSION is another"
        );
    }

    #[test]
    fn a_fill_is_full_or_all_or_no_gain() {
        let text = text(1 << 20);
        for compression in [Compression::Zstd(0), Compression::Zstd(9), Compression::Lz4] {
            let mut filler = Filler::new(compression).unwrap();
            for limit in [BLOCK, 5 * BLOCK, CLUSTER] {
                let (length, compressed) = filler.fill(&text, limit).unwrap();
                assert_eq!(compressed, filler.whole(&text[..length]).unwrap());
                assert!(compressed.len() <= limit && length > limit, "{compression:?} {limit}: {length}");
                assert!(limit - compressed.len() < 256, "{compression:?} {limit}: {}", compressed.len());
            }
            let (length, compressed) = filler.fill(&text[..3000], CLUSTER).unwrap();
            assert_eq!((length, compressed), (3000, filler.whole(&text[..3000]).unwrap()));
        }
    }
}
