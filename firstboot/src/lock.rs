//! What the agent's units do one at a time: the storage unit's run and the watch's wait for each other, and so do changes of
//! the status file.
#![allow(clippy::disallowed_methods, reason = "edge: opens lock files")]

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::path::Path;

/// A lock that is held until it is dropped, or the process ends.
#[derive(Debug)]
pub struct Held {
    _lock: Flock<File>,
}

/// Waits until nobody else observes, plans and applies.
///
/// # Errors
/// When the lock file can't be opened.
pub fn storage() -> Result<Held> {
    take(Path::new("/run/bedplate/storage.lock"))
}

/// Waits until nobody else changes the status file.
///
/// # Errors
/// When the lock file can't be opened.
pub fn status() -> Result<Held> {
    take(Path::new("/run/bedplate/status.lock"))
}

fn take(path: &Path) -> Result<Held> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.with_context(|| format!("{} can't be opened", path.display()))?;
    let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno);
    Ok(Held { _lock: lock.with_context(|| format!("{} can't be locked", path.display()))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = take(&path).unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let second = take(&path).unwrap();
                send.send(()).unwrap();
                drop(second);
            });
            let waits = std::time::Duration::from_millis(100);
            assert!(receive.recv_timeout(waits).is_err(), "it did not wait");
            drop(held);
            receive.recv().unwrap();
        });
    }
}
