//! What is on a device itself: reads past the page cache.

use nix::errno::Errno;
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// Reads past the cache want their buffer where a page starts.
const PAGE: usize = 4096;

/// A device read past the page cache where it allows that, and otherwise after its clean pages are dropped: what is looked
/// at once need not stay in memory, and what counts is what is on the medium.
#[derive(Debug)]
pub(crate) struct Medium<'a> {
    cached: &'a File,
    direct: Option<File>,
}

impl Medium<'_> {
    /// The medium of an open device.
    pub(crate) fn of(cached: &File) -> Medium<'_> {
        let node = format!("/proc/self/fd/{}", cached.as_raw_fd());
        let direct =
            nix::fcntl::open(node.as_str(), OFlag::O_RDONLY | OFlag::O_DIRECT | OFlag::O_CLOEXEC, Mode::empty());
        Medium { cached, direct: direct.ok().map(File::from) }
    }

    /// Fills `bytes` with what is stored from byte `at` on. The bytes should be some of [`Pages`].
    ///
    /// # Errors
    /// When the device can't be read, or ends before.
    pub(crate) fn read(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        // EINVAL says that the place or the length is not one for a direct read.
        match self.direct.as_ref().map(|d| d.read_exact_at(bytes, at)) {
            Some(Err(e)) if e.raw_os_error() != Some(Errno::EINVAL as i32) => Err(e),
            Some(Ok(())) => Ok(()),
            _ => {
                posix_fadvise(self.cached, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
                self.cached.read_exact_at(bytes, at)
            }
        }
    }
}

/// Memory that begins where a page does.
#[derive(Debug)]
pub(crate) struct Pages {
    bytes: Vec<u8>,
    from: usize,
}

impl Pages {
    /// Room for so many bytes.
    pub(crate) fn of(length: usize) -> Pages {
        let bytes = vec![0; length + PAGE];
        let from = bytes.as_ptr().align_offset(PAGE);
        Pages { bytes, from }
    }

    /// The first of them, at most as many as there is room for.
    pub(crate) fn first(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[self.from..][..length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_place_and_length_is_read() {
        let file = tempfile::tempfile().unwrap();
        let stored: Vec<u8> = (0..20_000_u32).map(|i| (i % 251) as u8).collect();
        file.write_all_at(&stored, 0).unwrap();
        let medium = Medium::of(&file);
        let mut pages = Pages::of(8192);
        for (at, length) in [(0, 8192), (4096, 4096), (512, 512), (7, 13), (19_999, 1)] {
            let bytes = pages.first(length);
            medium.read(bytes, at as u64).unwrap();
            assert_eq!(bytes, &stored[at..at + length]);
        }
        assert_eq!(medium.read(pages.first(4096), 19_000).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
