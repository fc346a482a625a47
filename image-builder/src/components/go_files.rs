//! The Go modules of components as files, as a module proxy serves them: out of the store, and into it.
//!
//! Every zip archive and every `go.mod` is held against `go.sum` of the lock on both ways.
#![allow(clippy::disallowed_methods, reason = "edge: lays modules into the store, in Go's own layout")]

use super::go_build::GoBuild;
use super::go_sum::{escaped, mod_sums, sums};
use super::go_zip::{hash_mod, hash_zip};
use super::{Source, Workshop};
use crate::lock::Lock;
use crate::progress::{Progress, Unit};
use crate::recipe::Recipe;
use crate::store::Store;
use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files of all modules that the recipe's components are compiled from, by their place below a proxy's address.
/// What the store does not have is fetched first, unless `offline`.
///
/// # Errors
/// When a module can't be had, or is not what the lock says.
pub fn module_files(
    recipe: &Recipe,
    lock: &Lock,
    workshop: &Workshop,
    offline: bool,
) -> Result<BTreeMap<String, PathBuf>> {
    let mut all = BTreeMap::new();
    for (name, component) in &recipe.component {
        let Source::Modules(modules) = Source::of(name, component)? else { continue };
        GoBuild::new(name, modules, lock, workshop.tools)?.complete(workshop, offline)?;
    }
    let cache = download_cache(workshop.store);
    for file in files_of(lock) {
        let source = cache.join(&file.path);
        if source.is_file() {
            all.insert(file.path.clone(), source);
        } else if file.needed {
            bail!("the store lost {} of a Go module", file.path);
        }
    }
    check(&cache, &files_of(lock).filter(|f| all.contains_key(&f.path)).collect::<Vec<_>>(), |_| Ok(()))?;
    Ok(all)
}

/// Takes the modules of a lock from a folder, laid out as a proxy serves them, into the store.
///
/// # Errors
/// When one is missing there or is not what the lock says, naming it.
pub fn import_modules(folder: &Path, lock: &Lock, store: &Store, progress: &Progress) -> Result<()> {
    let mut files = Vec::new();
    for file in files_of(lock) {
        if folder.join(&file.path).is_file() {
            files.push(file);
        } else if file.needed {
            bail!("{} of a Go module is not in {}, and the lock wants it", file.path, folder.display());
        }
    }
    let scratch = store.scratch("go-import")?;
    let (cache, task) =
        (download_cache(store), progress.task("import modules", files.len() as u64, Unit::Count("files")));
    let work = |number: usize| scratch.path().join(number.to_string());
    check(folder, &files, |(number, bytes)| {
        let to = cache.join(&files[number].path);
        let cant = || format!("can't write {}", to.display());
        if !to.is_file() {
            std::fs::create_dir_all(to.parent().unwrap_or(&cache)).with_context(cant)?;
            std::fs::write(work(number), bytes).with_context(cant)?;
            std::fs::rename(work(number), &to).with_context(cant)?;
        }
        task.add(1);
        Ok(())
    })
}

/// Where Go keeps what it downloaded; no file here says that a digest was checked, so Go checks it once more.
fn download_cache(store: &Store) -> PathBuf {
    store.root().join("go/mod/cache/download")
}

/// One file of a module.
struct File {
    /// Below a proxy's address.
    path: String,
    /// What it must be; none for the time of its version, which decides nothing.
    sum: Option<Sum>,
    /// Whether nothing can be compiled without it.
    needed: bool,
}

enum Sum {
    Zip(String),
    Mod(String),
}

fn files_of(lock: &Lock) -> impl Iterator<Item = File> {
    let mut files = BTreeMap::new();
    for component in lock.component.values() {
        let Some(go_sum) = &component.go_sum else { continue };
        let place = |module: &str, ending: &str| {
            let (path, version) = module.rsplit_once('@').unwrap_or((module, ""));
            format!("{}/@v/{}.{ending}", escaped(path), escaped(version))
        };
        // Of modules that are not compiled in, Go may want to read what they in turn require.
        for (module, sum) in mod_sums(go_sum) {
            let path = place(&module, "mod");
            files.insert(path.clone(), File { path, sum: Some(Sum::Mod(sum.into())), needed: false });
        }
        let zips = sums(go_sum);
        for module in &component.modules {
            let (zip, info) = (place(module, "zip"), place(module, "info"));
            let sum = zips.get(module.as_str()).map(|sum| Sum::Zip((*sum).into()));
            files.insert(zip.clone(), File { path: zip, sum, needed: true });
            files.insert(info.clone(), File { path: info, sum: None, needed: false });
            if let Some(file) = files.get_mut(&place(module, "mod")) {
                file.needed = true;
            }
        }
    }
    files.into_values()
}

/// Hands on the number and the bytes of each file below `folder` that is what it must be.
fn check(folder: &Path, files: &[File], hand_on: impl Fn((usize, Vec<u8>)) -> Result<()> + Sync) -> Result<()> {
    files.par_iter().enumerate().try_for_each(|(number, file)| {
        let path = folder.join(&file.path);
        let bytes = std::fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
        let (found, wanted) = match &file.sum {
            Some(Sum::Zip(sum)) => {
                let found = hash_zip(&bytes).with_context(|| format!("the Go module {} is damaged", path.display()))?;
                (found, sum)
            }
            Some(Sum::Mod(sum)) => (hash_mod(&bytes), sum),
            None if !file.needed => return hand_on((number, bytes)),
            None => bail!("the lock has no sum for {} of a Go module", file.path),
        };
        if found != *wanted {
            bail!("the Go module {} is altered: it has {found}, go.sum says {wanted}", path.display());
        }
        hand_on((number, bytes))
    })
}
