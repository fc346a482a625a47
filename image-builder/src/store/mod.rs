//! The store: verified inputs and stage outputs, by content.
//!
//! Layout below the store's folder:
//!
//! ```text
//! blob/ab/abcdef...          one verified input, mode 0444
//! output/STAGE/KEY/          one stage's output, a folder; KEY.txt beside it says what it was made of
//! part/STAGE/KEY/ab/NAME     one of the many small things that a stage makes, each of one input
//! go/mod, go/build           Go's own caches: modules, checked against go.sum before use; compiled packages
//! lock/                      one file per thing being made, flock(2)ed while it is
//! scratch/                   work that is not done; swept when its maker is gone
//! ```
//!
//! Guarantees: nothing appears under its final name before it is complete and, for a blob, before its
//! digest was checked; names appear by rename(2), so a killed build leaves only scratch; two builds that
//! make one thing at a time wait for each other and the second takes the first's.
#![allow(clippy::disallowed_methods, reason = "edge: the store writes files")]

mod blob;
mod lease;
mod output;
mod parts;
mod scratch;

pub use blob::Fetched;
pub use output::Output;
pub use parts::Parts;
pub use scratch::Scratch;

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// A store folder that is open for use.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store in `root`, making it if need be, and sweeps what killed builds left.
    ///
    /// # Errors
    /// When the folder can't be made or written.
    pub fn open(root: &Path) -> Result<Store> {
        for folder in ["blob", "output", "lock", "scratch"] {
            let folder = root.join(folder);
            std::fs::create_dir_all(&folder).with_context(|| {
                format!("the store folder {} can't be made; choose another with --store", folder.display())
            })?;
        }
        let root = root.canonicalize().with_context(|| format!("the store {} can't be opened", root.display()))?;
        let store = Store { root };
        store.sweep();
        Ok(store)
    }

    /// The user's store: `$XDG_CACHE_HOME/bedplate`, else `~/.cache/bedplate`.
    pub fn default_folder() -> PathBuf {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        set("XDG_CACHE_HOME")
            .or_else(|| set("HOME").map(|h| h.join(".cache")))
            .unwrap_or_else(std::env::temp_dir)
            .join("bedplate")
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }
}
