//! How far a step is, while it is under way.

use crate::report::estimate::Amount;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes done and of all, as the step says them. One that says nothing is not measured.
#[derive(Debug, Default)]
pub(super) struct Meter {
    done: AtomicU64,
    all: AtomicU64,
}

impl Meter {
    /// So many bytes are to be done.
    pub(super) fn expect(&self, bytes: u64) {
        self.all.fetch_add(bytes, Relaxed);
    }

    /// So many more are done.
    pub(super) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Relaxed);
    }

    pub(super) fn amount(&self) -> Option<Amount> {
        let (done, all) = (self.done.load(Relaxed), self.all.load(Relaxed));
        (all > 0).then_some(Amount { done, all })
    }
}
