//! A reader that knows how many bytes are right, and says so before the wrong number is taken for the whole.

use super::http::Error;
use crate::progress::Task;
use std::io::{self, Read};

/// Hands on the bytes of `inner`, counts them for `task`, and fails when they are more or fewer than `expected`,
/// if that is known.
pub(crate) struct BlobReader<'a, R> {
    inner: R,
    expected: Option<u64>,
    seen: u64,
    url: &'a str,
    what: &'a str,
    task: &'a Task,
}

impl<'a, R: Read> BlobReader<'a, R> {
    pub(crate) fn new(inner: R, expected: Option<u64>, url: &'a str, what: &'a str, task: &'a Task) -> Self {
        BlobReader { inner, expected, seen: 0, url, what, task }
    }
}

impl<R: Read> Read for BlobReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let n = self.inner.read(buffer)?;
        self.seen += n as u64;
        if let Some(expected) = self.expected
            && (self.seen > expected || (n == 0 && self.seen < expected))
        {
            let (what, url, found) = (self.what.into(), self.url.into(), self.seen);
            return Err(io::Error::other(Error::Size { what, url, found, expected }));
        }
        self.task.add(n as u64);
        Ok(n)
    }
}
