//! Work in progress, and the sweeping of what killed builds left.

use super::Store;
use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder for work in progress. It goes when dropped; if the process is killed, the next
/// [`Store::open`] removes it.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    // Held for the folder's life: a folder whose lock is free has lost its maker.
    lock: Option<Flock<File>>,
}

impl Scratch {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove_all(&self.folder);
        self.lock.take();
    }
}

static COUNT: AtomicU64 = AtomicU64::new(0);

impl Store {
    /// A new folder for work on `what`.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn scratch(&self, what: &str) -> Result<Scratch> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = self.root.join("scratch").join(format!("{what}-{}-{count}", std::process::id()));
        let failed = || format!("can't make the work folder {}", folder.display());
        // The sweep of another process must not see the folder before its lock is held.
        let _lease = self.lease("sweep")?;
        remove_all(&folder);
        std::fs::create_dir(&folder).with_context(failed)?;
        let file = File::create(folder.join(".lock")).with_context(failed)?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e).with_context(failed)?;
        Ok(Scratch { folder, lock: Some(lock) })
    }

    /// Removes work whose maker is gone. What can't be removed stays; it harms nobody.
    pub(super) fn sweep(&self) {
        let Ok(_lease) = self.lease("sweep") else { return };
        let Ok(entries) = std::fs::read_dir(self.root.join("scratch")) else { return };
        for entry in entries.flatten() {
            let Ok(file) = File::options().write(true).open(entry.path().join(".lock")) else {
                remove_all(&entry.path());
                continue;
            };
            if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok() {
                remove_all(&entry.path());
            }
        }
    }
}

/// Removes a tree even where folders were made read-only (Go's module cache is).
fn remove_all(folder: &Path) {
    if std::fs::remove_dir_all(folder).is_ok() || !folder.exists() {
        return;
    }
    make_writable(folder);
    let _ = std::fs::remove_dir_all(folder);
}

fn make_writable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            make_writable(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;
    use crate::stage::StageKey;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    #[test]
    fn altered_bytes_never_get_a_name() {
        let (_keep, store) = store();
        let digest = Sha256::of("good");
        let error = store.put(&digest, &b"evil"[..], "the package x").unwrap_err();
        assert!(error.to_string().contains("the package x is altered"), "{error}");
        assert!(store.blob(&digest).is_none());
        assert_eq!(store.put(&digest, &b"good"[..], "x").unwrap().read().unwrap(), b"good");
    }

    #[test]
    fn a_failed_stage_keeps_nothing_and_the_next_run_works() {
        let (_keep, store) = store();
        let key = StageKey::new("test", 1).with("a", 1);
        assert!(store.output(&key, |_| anyhow::bail!("no")).is_err());
        assert!(store.known_output(&key).is_none());
        let made = store.output(&key, |folder| Ok(std::fs::write(folder.join("x"), "1")?)).unwrap();
        assert_eq!(std::fs::read(made.file("x")).unwrap(), b"1");
        store.output(&key, |_| panic!("made twice")).unwrap();
    }

    #[test]
    fn two_makers_make_once() {
        let (_keep, store) = store();
        let made = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    store
                        .output(&StageKey::new("test", 2), |folder| {
                            made.fetch_add(1, Ordering::Relaxed);
                            std::thread::sleep(std::time::Duration::from_millis(20));
                            Ok(std::fs::write(folder.join("x"), "1")?)
                        })
                        .unwrap();
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn work_of_a_dead_maker_is_swept_and_of_a_living_one_kept() {
        let (_keep, store) = store();
        let living = store.scratch("living").unwrap();
        let dead = store.root().join("scratch/dead-1-0");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join(".lock"), "").unwrap();
        Store::open(store.root()).unwrap();
        assert!(living.path().exists() && !dead.exists());
    }
}
