//! Files with holes: copied and hashed without writing or reading the holes.

use crate::digest::Sha256;
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use sha2::Digest;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

const PIECE: usize = 1 << 20;

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

/// Digest and size of a file; holes are hashed as zeros without being read.
pub(crate) fn digest(path: &Path) -> io::Result<(Sha256, u64)> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut hasher = sha2::Sha256::new();
    let zeros = vec![0; PIECE];
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        let data = next(&file, at, Whence::SeekData)?.unwrap_or(size);
        while at < data {
            let n = (data - at).min(PIECE as u64);
            hasher.update(&zeros[..n as usize]);
            at += n;
        }
        let hole = if at < size { next(&file, at, Whence::SeekHole)?.unwrap_or(size) } else { size };
        while at < hole {
            let n = (hole - at).min(PIECE as u64) as usize;
            file.read_exact_at(&mut buffer[..n], at)?;
            hasher.update(&buffer[..n]);
            at += n as u64;
        }
    }
    Ok((Sha256::from_hasher(hasher), size))
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
        std::fs::write(&to, "").unwrap();
        assert_eq!(digest(&to).unwrap(), (Sha256::of(""), 0));
    }
}
