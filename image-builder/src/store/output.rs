//! Cached stage outputs.

use super::Store;
use crate::stage::StageKey;
use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A stage's output: a folder that is complete and does not change any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    folder: PathBuf,
}

impl Output {
    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Store {
    /// The output with this key, made by `make` in an empty folder if the store does not have it.
    ///
    /// Only one process makes it; the others wait and take it.
    ///
    /// # Errors
    /// When `make` fails; nothing is kept then.
    pub fn output(&self, key: &StageKey, make: impl FnOnce(&Path) -> Result<()>) -> Result<Output> {
        let digest = key.digest().to_string();
        let stage = self.root.join("output").join(key.stage);
        let folder = stage.join(&digest);
        if folder.is_dir() {
            return Ok(Output { folder });
        }
        let _lease = self.lease(&format!("{}-{digest}", key.stage))?;
        if folder.is_dir() {
            return Ok(Output { folder });
        }
        let scratch = self.scratch(key.stage)?;
        let made = scratch.path().join("output");
        std::fs::create_dir(&made).with_context(|| format!("can't make {}", made.display()))?;
        make(&made)?;
        std::fs::create_dir_all(&stage).with_context(|| format!("can't make {}", stage.display()))?;
        std::fs::write(stage.join(format!("{digest}.txt")), key.text())
            .with_context(|| format!("can't write to {}", stage.display()))?;
        sync(&made).context("can't bring the store's files to the disk")?;
        std::fs::rename(&made, &folder).with_context(|| format!("can't name the output {}", folder.display()))?;
        Ok(Output { folder })
    }

    /// The output with this key, if the store has it.
    pub fn known_output(&self, key: &StageKey) -> Option<Output> {
        let folder = self.root.join("output").join(key.stage).join(key.digest().to_string());
        folder.is_dir().then_some(Output { folder })
    }
}

/// Most files that are brought to the disk one by one: all at once waits for what other programs wrote, too.
const FEW: usize = 16;

fn sync(folder: &Path) -> std::io::Result<()> {
    let entries: Vec<_> = std::fs::read_dir(folder)?.take(FEW + 1).collect::<std::io::Result<_>>()?;
    let files = entries.iter().all(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    if entries.len() > FEW || !files {
        return Ok(nix::unistd::syncfs(&File::open(folder)?)?);
    }
    for entry in entries {
        File::open(entry.path())?.sync_data()?;
    }
    File::open(folder)?.sync_all()
}
