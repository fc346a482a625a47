//! One maker at a time.

use super::Store;
use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;

/// Held while one thing is made. The kernel drops it with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Lease {
    _lock: Flock<File>,
}

impl Store {
    /// Waits until nobody else makes `what`, and keeps others from it.
    pub(crate) fn lease(&self, what: &str) -> Result<Lease> {
        let path = self.root.join("lock").join(what);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("can't open {}", path.display()))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, e)| e)
            .with_context(|| format!("can't lock {}", path.display()))?;
        Ok(Lease { _lock: lock })
    }
}
