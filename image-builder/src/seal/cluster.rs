//! Contents -> physical clusters, through the store: what was packed once is not packed again, for any image.
//!
//! What is kept of a segment depends on its bytes, the compression, sizes, and the library and its version, and all of
//! that is in its key; so two builds that pack one thing at a time put the same bytes there.

use super::codec::CLUSTER;
use super::segment::{self, SEGMENT, Segment};
use super::{Compression, layout};
use crate::compose::tree::Content;
use crate::digest::Sha256;
use crate::progress::Task;
use crate::stage::StageKey;
use crate::store::{Parts, Store};
use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Raised when equal bytes are packed in another way than before.
const REVISION: u32 = 1;
/// Most segments that are packed at a time: each takes some 20 MiB of memory.
const MOST_WORKERS: usize = 16;

/// The clusters of contents, kept in the store.
pub(super) struct Clusters {
    compression: Compression,
    parts: Parts,
}

/// All that decides what a segment becomes, but for its bytes.
pub(super) fn key(compression: Compression) -> StageKey {
    StageKey::new("cluster", REVISION)
        .with("compression", compression.option())
        .with("cluster", CLUSTER)
        .with("segment", SEGMENT)
        .with("library", compression.library())
        .with("features", format!("{:#x}", layout::INCOMPATIBLE))
}

impl Clusters {
    pub(super) fn open(store: &Store, compression: Compression) -> Result<Clusters> {
        Ok(Clusters { compression, parts: store.parts(&key(compression))? })
    }

    /// Packs these contents, each with its digest, as far as it was not done before. The largest come first.
    pub(super) fn pack(&self, contents: &[(Sha256, &Content)], task: &Task) -> Result<layout::Packed> {
        let mut segments: Vec<(Sha256, &Content, u64)> = contents
            .iter()
            .flat_map(|(digest, content)| (0..content.size().div_ceil(SEGMENT)).map(|n| (*digest, *content, n)))
            .collect();
        segments.sort_by_key(|(_, content, _)| std::cmp::Reverse(content.size()));
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MOST_WORKERS);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build().context("threads can't be started")?;
        let one = |(digest, content, number): &(Sha256, &Content, u64)| {
            let segment = self.segment(digest, content, *number)?;
            task.add(segment.length());
            anyhow::Ok(segment)
        };
        // One at a time, as one may take a thousand times longer than another.
        let packed: Vec<Segment> =
            pool.install(|| segments.par_iter().with_max_len(1).map(one).collect::<Result<_>>())?;
        let mut all = layout::Packed::new();
        for ((digest, _, number), segment) in segments.iter().zip(packed) {
            let file = all.entry(*digest).or_default();
            debug_assert_eq!(file.len() as u64, *number);
            file.push(segment);
        }
        Ok(all)
    }

    fn segment(&self, digest: &Sha256, content: &Content, number: u64) -> Result<Segment> {
        let from = number * SEGMENT;
        let to = content.size().min(from + SEGMENT);
        let name = name(digest, number);
        // What can't be read or is not whole is made again.
        let kept = std::fs::read(self.parts.path(&name)).unwrap_or_default();
        if let Some((segment, _)) = segment::parse(&kept, to - from) {
            return Ok(segment);
        }
        let bytes = content.read_part(from..to)?;
        let (segment, clusters) = segment::pack(self.compression, &bytes, to == content.size())?;
        self.parts.put(&name, &[&segment::to_bytes(&segment, &clusters), &clusters])?;
        Ok(segment)
    }

    /// The clusters of a segment that was packed: appended to `bytes`.
    pub(super) fn append(&self, digest: &Sha256, number: u64, blocks: u32, bytes: &mut Vec<u8>) -> Result<()> {
        let path = self.parts.path(&name(digest, number));
        let size = u64::from(blocks) * on_disk::erofs::BLOCK as u64;
        let mut read = || {
            let mut file = File::open(&path)?;
            // They are the last that there is.
            file.seek(SeekFrom::End(-(size as i64)))?;
            file.take(size).read_to_end(bytes)
        };
        match read() {
            Ok(n) if n as u64 == size => Ok(()),
            Ok(n) => bail!("the store's {} has {n} bytes of clusters instead of {size}", path.display()),
            Err(error) => Err(error).with_context(|| format!("the store's {} can't be read", path.display())),
        }
    }
}

fn name(digest: &Sha256, number: u64) -> String {
    format!("{digest}-{number}")
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test's own store")]
mod tests {
    use super::*;
    use crate::progress::{Progress, Unit};
    use std::sync::Arc;

    const LZ4: Compression = Compression::Lz4;

    fn contents() -> Vec<Content> {
        let text = |n: u64| (0..n).flat_map(|i| (i / 3).to_le_bytes()).collect::<Vec<u8>>();
        vec![Content::bytes(text(2_500_000)), Content::bytes(text(10_000)), Content::bytes(*b"hello")]
    }

    fn pack(store: &Store, contents: &[Content]) -> Result<layout::Packed> {
        let contents: Vec<(Sha256, &Content)> = contents.iter().map(|content| (content.digest(), content)).collect();
        Clusters::open(store, LZ4)?.pack(&contents, &Progress::silent().task("", 0, Unit::Bytes))
    }

    fn parts(store: &Store) -> Vec<std::path::PathBuf> {
        let below = |folder: std::path::PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let folders = below(store.root().join("part/cluster")).filter(|path| path.is_dir());
        folders.flat_map(below).flat_map(below).collect()
    }

    #[test]
    fn what_was_packed_once_is_not_packed_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let contents = contents();
        let packed = pack(&store, &contents).unwrap();
        assert_eq!(packed[&contents[0].digest()].len(), 3);
        assert_eq!(parts(&store).len(), 5);
        // The same contents, where nothing can be read any more.
        let gone = Arc::new(folder.path().join("gone"));
        let lost = |content: &Content| Content::Slice {
            file: gone.clone(),
            offset: 0,
            size: content.size(),
            digest: content.digest(),
        };
        assert_eq!(pack(&store, &contents.iter().map(lost).collect::<Vec<_>>()).unwrap(), packed);
        let other = Content::Slice { file: gone, offset: 0, size: 5, digest: Sha256::of("other") };
        assert!(format!("{:#}", pack(&store, &[other]).unwrap_err()).contains("gone"));
    }

    #[test]
    fn what_a_power_cut_left_is_packed_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let packed = pack(&store, &contents()).unwrap();
        for (n, path) in parts(&store).into_iter().enumerate() {
            let size = std::fs::metadata(&path).unwrap().len();
            std::fs::write(&path, vec![0; if n % 2 == 0 { size as usize } else { 0 }]).unwrap();
        }
        assert_eq!(pack(&store, &contents()).unwrap(), packed);
        let clusters = Clusters::open(&store, LZ4).unwrap();
        for (digest, segments) in &packed {
            for (number, segment) in (0..).zip(segments).filter(|(_, segment)| !segment.stored) {
                let mut bytes = b"before".to_vec();
                clusters.append(digest, number, segment.blocks(), &mut bytes).unwrap();
                assert_eq!(bytes.len(), 6 + segment.blocks() as usize * on_disk::erofs::BLOCK);
            }
        }
    }

    #[test]
    fn the_key_says_all_that_decides() {
        let text = key(Compression::Zstd(3)).text().to_owned();
        for part in ["zstd,level=3", "65536", "8388608", "zstd 1.", "0x13"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_ne!(key(Compression::Zstd(3)), key(Compression::Zstd(4)));
    }
}
