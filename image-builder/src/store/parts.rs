//! Many small things, each made of one input in the same way.

use super::{Scratch, Store};
use crate::stage::StageKey;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The things that were made in one way, by name.
///
/// A name appears only when all of its thing was written, but not only when that reached the disk, as waiting for it
/// thousands of times takes long: after a power cut a thing may be cut off or zeros, so whoever reads it checks it.
#[derive(Debug)]
pub struct Parts {
    folder: PathBuf,
    scratch: Scratch,
    count: AtomicU64,
}

impl Store {
    /// What was made as this key says.
    ///
    /// # Errors
    /// When its folder can't be made.
    pub fn parts(&self, key: &StageKey) -> Result<Parts> {
        let stage = self.root.join("part").join(key.stage);
        let folder = stage.join(key.digest().to_string());
        std::fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
        let text = stage.join(format!("{}.txt", key.digest()));
        std::fs::write(&text, key.text()).with_context(|| format!("can't write {}", text.display()))?;
        Ok(Parts { folder, scratch: self.scratch(key.stage)?, count: AtomicU64::new(0) })
    }
}

impl Parts {
    /// Where the thing of this name lies, if it was made; names are longer than two letters.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(&name[..2]).join(name)
    }

    /// Puts a thing, all of it in these pieces. It replaces one of the same name.
    ///
    /// # Errors
    /// When it can't be written; a thing that was there is as before.
    pub fn put(&self, name: &str, pieces: &[&[u8]]) -> Result<()> {
        let path = self.path(name);
        let failed = || format!("can't write {}", path.display());
        let work = self.scratch.path().join(self.count.fetch_add(1, Ordering::Relaxed).to_string());
        let mut file = File::create(&work).with_context(failed)?;
        for piece in pieces {
            file.write_all(piece).with_context(failed)?;
        }
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).with_context(failed)?;
        std::fs::rename(&work, &path).with_context(failed)
    }
}
