//! Files with holes: copied and hashed without writing or reading the holes.
//!
//! SHA-256 passes no zero by: gigabytes of holes take seconds whenever they are hashed. So the store remembers the
//! digest of a large file by that of what is not a hole in it, which takes a tenth of the time.

use crate::digest::Sha256;
use crate::stage::StageKey;
use crate::store::Store;
use anyhow::Context;
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use sha2::Digest;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

const PIECE: usize = 1 << 20;

/// Copies everything of `from` into `to` at `offset`, zeros too: within the kernel, or without a copy at all, where their
/// file systems can (`copy_file_range(2)`, which [`io::copy`] tries first).
pub(super) fn copy_all(from: &Path, mut to: &File, offset: u64) -> io::Result<()> {
    to.seek(SeekFrom::Start(offset))?;
    io::copy(&mut File::open(from)?, &mut to).map(drop)
}

/// Copies a part of `from` into `to` at `offset`, as [`copy_all`] does.
pub(super) fn copy_range(from: &Path, range: std::ops::Range<u64>, mut to: &File, offset: u64) -> io::Result<()> {
    let mut from = File::open(from)?;
    from.seek(SeekFrom::Start(range.start))?;
    to.seek(SeekFrom::Start(offset))?;
    let size = range.end - range.start;
    match io::copy(&mut from.take(size), &mut to)? {
        copied if copied == size => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Copies everything of `from` into `to` at `offset`, leaving out runs of zeros; the target must be a hole there.
pub(super) fn copy(from: &Path, to: &File, offset: u64) -> io::Result<()> {
    const GRAIN: usize = 4096;
    let mut from = File::open(from)?;
    let mut piece = Vec::with_capacity(PIECE);
    let mut at = offset;
    loop {
        piece.clear();
        from.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(());
        }
        let mut begin = 0;
        while begin < piece.len() {
            // The longest run of grains that are all zero, or all not.
            let zero = |i: usize| piece[i..piece.len().min(i + GRAIN)].iter().all(|b| *b == 0);
            let kind = zero(begin);
            let mut end = (begin + GRAIN).min(piece.len());
            while end < piece.len() && zero(end) == kind {
                end = (end + GRAIN).min(piece.len());
            }
            if !kind {
                to.write_all_at(&piece[begin..end], at + begin as u64)?;
            }
            begin = end;
        }
        at += piece.len() as u64;
    }
}

/// Raised when what a remembered digest stands for changes.
const REVISION: u32 = 1;
/// Name of the file that a remembered digest lies in.
const DIGEST: &str = "sha256";

/// Digest and size of a file that was made of what the key says: it is hashed once.
pub(super) fn digest_by(key: &StageKey, path: &Path, store: &Store) -> anyhow::Result<(Sha256, u64)> {
    let known = store.output(key, |folder| {
        let (sha256, _) = digest(path).with_context(|| format!("can't read {}", path.display()))?;
        std::fs::write(folder.join(DIGEST), sha256.to_string()).context("the digest can't be kept")
    })?;
    let text = std::fs::read_to_string(known.file(DIGEST)).context("the store lost a digest")?;
    let sha256 = text.parse().map_err(|why| anyhow::anyhow!("the store's {}: {why}", known.file(DIGEST).display()))?;
    Ok((sha256, path.metadata()?.len()))
}

/// As [`digest`], but a file of the same data at the same places, and of the same size, is hashed once.
pub(super) fn remembered_digest(path: &Path, store: &Store) -> anyhow::Result<(Sha256, u64)> {
    let (data, size) = data_digest(path)?;
    digest_by(&StageKey::new("sparse-digest", REVISION).with("size", size).with("data", data), path, store)
}

/// Digest of every run of data with its place, and the file's size. Two files of one size and one such digest have the
/// same bytes; the same bytes with other holes have another one.
fn data_digest(path: &Path) -> io::Result<(Sha256, u64)> {
    let mut hasher = sha2::Sha256::new();
    let size = runs(path, |at, run| match run {
        Run::Hole(_) => {}
        Run::Data(data) => {
            hasher.update(at.to_le_bytes());
            hasher.update((data.len() as u64).to_le_bytes());
            hasher.update(data);
        }
    })?;
    Ok((Sha256::from_hasher(hasher), size))
}

/// Digest and size of a file; holes are hashed as zeros without being read.
pub(crate) fn digest(path: &Path) -> io::Result<(Sha256, u64)> {
    let mut hasher = sha2::Sha256::new();
    let zeros = [0; 16 << 10];
    let size = runs(path, |_, run| match run {
        Run::Hole(mut length) => {
            while length > 0 {
                let n = length.min(zeros.len() as u64);
                hasher.update(&zeros[..n as usize]);
                length -= n;
            }
        }
        Run::Data(data) => hasher.update(data),
    })?;
    Ok((Sha256::from_hasher(hasher), size))
}

/// A part of a file.
enum Run<'a> {
    /// So many zeros.
    Hole(u64),
    /// Bytes, at most a piece of them at a time.
    Data(&'a [u8]),
}

/// Gives every part of a file with its place, in order, and then the file's size.
fn runs(path: &Path, mut take: impl FnMut(u64, Run)) -> io::Result<u64> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        let data = next(&file, at, Whence::SeekData)?.unwrap_or(size);
        if data > at {
            take(at, Run::Hole(data - at));
            at = data;
        }
        let hole = if at < size { next(&file, at, Whence::SeekHole)?.unwrap_or(size) } else { size };
        while at < hole {
            let n = (hole - at).min(PIECE as u64) as usize;
            file.read_exact_at(&mut buffer[..n], at)?;
            take(at, Run::Data(&buffer[..n]));
            at += n as u64;
        }
    }
    Ok(size)
}

/// Where the next data or hole begins; none when there is no more data.
fn next(file: &File, at: u64, whence: Whence) -> io::Result<Option<u64>> {
    let from = i64::try_from(at).map_err(io::Error::other)?;
    match lseek(file, from, whence) {
        Ok(found) => Ok(u64::try_from(found).ok()),
        Err(Errno::ENXIO) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test's own folder")]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_has_the_same_bytes_and_keeps_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let mut bytes = vec![0; 5 << 20];
        bytes[100] = 1;
        bytes[(3 << 20) - 1] = 2;
        bytes.extend(vec![7; 10_001]);
        std::fs::write(&from, &bytes).unwrap();
        let file = File::create(&to).unwrap();
        file.set_len(16 << 20).unwrap();
        copy(&from, &file, 8192).unwrap();
        let mut wanted = vec![0; 16 << 20];
        wanted[8192..8192 + bytes.len()].copy_from_slice(&bytes);
        assert!(std::fs::read(&to).unwrap() == wanted);
        assert!(file.metadata().unwrap().blocks() * 512 < 1 << 20);
        assert_eq!(digest(&to).unwrap(), (Sha256::of(&wanted), 16 << 20));
        assert_eq!(digest(&from).unwrap(), (Sha256::of(&bytes), bytes.len() as u64));
        copy_all(&from, &file, (8 << 20) + 4096).unwrap();
        wanted[(8 << 20) + 4096..][..bytes.len()].copy_from_slice(&bytes);
        assert!(std::fs::read(&to).unwrap() == wanted);
        std::fs::write(&to, "").unwrap();
        assert_eq!(digest(&to).unwrap(), (Sha256::of(""), 0));
    }
    #[test]
    fn a_digest_is_remembered_by_all_that_it_depends_on() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let file = |name: &str, size: u64, at: u64, bytes: &[u8]| {
            let path = folder.path().join(name);
            let file = File::create(&path).unwrap();
            file.set_len(size).unwrap();
            file.write_all_at(bytes, at).unwrap();
            path
        };
        let files = [
            file("one", 8 << 20, 1 << 20, b"data"),
            file("other bytes", 8 << 20, 1 << 20, b"date"),
            file("another place", 8 << 20, 2 << 20, b"data"),
            file("another size", 9 << 20, 1 << 20, b"data"),
        ];
        for path in &files {
            let right = digest(path).unwrap();
            assert_eq!(right, (Sha256::of(std::fs::read(path).unwrap()), path.metadata().unwrap().len()));
            assert_eq!(remembered_digest(path, &store).unwrap(), right, "{}", path.display());
            assert_eq!(remembered_digest(path, &store).unwrap(), right, "{}", path.display());
        }
        let kept = std::fs::read_dir(store.root().join("output/sparse-digest")).unwrap();
        assert_eq!(kept.filter(|e| e.as_ref().unwrap().path().is_dir()).count(), files.len());
    }
}
