//! A reader that knows how many bytes are right, and says so before the wrong number is taken for the whole.

use super::http::Error;
use crate::progress::Task;
use std::io::{self, Read};

/// Hands on the bytes of `inner` and fails when they are more or fewer than `expected`.
pub(crate) struct BlobReader<'a, R> {
    inner: R,
    expected: u64,
    seen: u64,
    url: &'a str,
    what: &'a str,
    task: &'a Task,
}

impl<'a, R: Read> BlobReader<'a, R> {
    pub(crate) fn new(inner: R, expected: u64, url: &'a str, what: &'a str, task: &'a Task) -> Self {
        BlobReader { inner, expected, seen: 0, url, what, task }
    }

    fn wrong(&self) -> io::Error {
        io::Error::other(Error::Size {
            what: self.what.into(),
            url: self.url.into(),
            found: self.seen,
            expected: self.expected,
        })
    }
}

impl<R: Read> Read for BlobReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let n = self.inner.read(buffer)?;
        self.seen += n as u64;
        if self.seen > self.expected || (n == 0 && self.seen < self.expected) {
            return Err(self.wrong());
        }
        self.task.add(n as u64);
        Ok(n)
    }
}
