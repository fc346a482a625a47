//! What a finished release says of its image, or what a lock alone says. Edge: reads files, checks no signature.

use crate::lock::Lock;
use crate::package::files::{self, Listed, Unlisted};
use crate::package::manifest::Manifest;
use crate::package::name;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// A release, or a lock.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The path it was read from.
    pub name: String,
    /// Every input.
    pub lock: Lock,
    /// What the release is; none for a lock alone.
    pub manifest: Option<Manifest>,
    /// The root's paths; none for a lock alone.
    pub files: Option<BTreeMap<String, Listed>>,
    /// What inputs had that is not in the root; none for a lock alone, or a release made before there was such a list.
    pub left_out: Option<BTreeMap<String, Unlisted>>,
}

impl Contents {
    /// Reads a release's folder, a folder with a lock in it, or a lock.
    ///
    /// # Errors
    /// When it is none of them, or a part of it can't be read; the error names the file.
    pub fn read(path: &Path) -> Result<Contents> {
        let name = path.display().to_string();
        if !path.is_dir() {
            let lock = Lock::read(path)?.with_context(|| format!("there is no release or lock {name}"))?;
            return Ok(Contents { name, lock, manifest: None, files: None, left_out: None });
        }
        let Some(lock) = Lock::read(&path.join(name::LOCK))? else {
            bail!("{name} has no {}: it is no release; `bedplate build --out` makes one", name::LOCK);
        };
        Ok(Contents {
            lock,
            manifest: part(path, name::MANIFEST, Manifest::parse)?,
            files: part(path, name::FILES, files::read)?,
            left_out: part(path, name::LEFT_OUT, files::read_left_out)?,
            name,
        })
    }
}

/// One file of a release; none if it is not there.
fn part<T>(folder: &Path, name: &str, parse: impl Fn(&str) -> Result<T>) -> Result<Option<T>> {
    let path = folder.join(name);
    let cant = || format!("can't read {}", path.display());
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&text).with_context(cant).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(cant),
    }
}
