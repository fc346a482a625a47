//! Everything a lock names, brought into the store.

use super::blob_reader::BlobReader;
use super::http::{self, Client};
use super::mirror::{self, Host};
use crate::digest::Sha256;
use crate::lock::{Lock, Package};
use crate::progress::{Progress, Task, Unit};
use crate::recipe::Recipe;
use crate::store::{Fetched, Store};
use anyhow::{Context, Result, anyhow, bail};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Mutex;

/// Files fetched at a time: enough to keep a line busy, few enough for a mirror.
const CONNECTIONS: usize = 6;

/// The inputs of a lock, all in the store.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Packages of the root, by name.
    pub package: BTreeMap<String, Fetched>,
    /// Packages of the tools tree, by name.
    pub tool: BTreeMap<String, Fetched>,
    /// Files of components, by address.
    pub file: BTreeMap<String, Fetched>,
}

impl Client {
    /// Fetches one file into the store, checked for size and digest. `source` says where both come from
    /// (`the lock`).
    ///
    /// # Errors
    /// As [`http::Error`] says; or when its bytes are others; or when the store can't be written.
    #[allow(clippy::too_many_arguments, reason = "one file: where from, where to, what it must be")]
    pub(crate) fn fetch(
        &self,
        url: &str,
        what: &str,
        digest: &Sha256,
        size: u64,
        store: &Store,
        task: &Task,
        source: &str,
    ) -> Result<Fetched> {
        self.retry(|| {
            let reader = self.open(url, what)?;
            let reader = BlobReader::new(reader, size, url, what, task);
            store.put(digest, reader, what).map_err(|e| simplify(e, what, url, source))
        })
    }
}

// The store tells of its reader's failure as an error inside an error; people need the innermost sentence.
fn simplify(error: anyhow::Error, what: &str, url: &str, source: &str) -> anyhow::Error {
    if let Some(found) = http::find(&error) {
        return anyhow::Error::new(found.clone());
    }
    let _ = (what, url, source);
    error
}

/// Brings every input of the lock into the store. With `offline`, only looks whether all are there.
///
/// `folder` is the recipe's folder.
///
/// # Errors
/// One sentence naming the input that can't be had and why. What was fetched until then stays in the store.
pub fn all(
    lock: &Lock,
    recipe: &Recipe,
    folder: &Path,
    store: &Store,
    progress: &Progress,
    offline: bool,
) -> Result<Inputs> {
    let packages = packages(lock.package.iter().chain(&lock.tool), recipe, folder, store, progress, offline)?;
    let by_name = |list: &[Package]| {
        list.iter().filter_map(|p| Some((p.name.clone(), packages.get(&p.sha256)?.clone()))).collect()
    };
    Ok(Inputs { package: by_name(&lock.package), tool: by_name(&lock.tool), file: BTreeMap::new() })
}

/// Brings the lock's tools into the store, by name; what only a build needs is left alone.
///
/// # Errors
/// As [`all`].
pub fn tools(
    lock: &Lock,
    recipe: &Recipe,
    folder: &Path,
    store: &Store,
    progress: &Progress,
) -> Result<BTreeMap<String, Fetched>> {
    let packages = packages(lock.tool.iter(), recipe, folder, store, progress, false)?;
    Ok(lock.tool.iter().filter_map(|p| Some((p.name.clone(), packages.get(&p.sha256)?.clone()))).collect())
}

/// Brings these packages into the store; by digest.
pub(crate) fn packages<'a>(
    wanted: impl Iterator<Item = &'a Package>,
    recipe: &Recipe,
    folder: &Path,
    store: &Store,
    progress: &Progress,
    offline: bool,
) -> Result<BTreeMap<Sha256, Fetched>> {
    let mut found = BTreeMap::new();
    let mut missing: BTreeMap<Sha256, &Package> = BTreeMap::new();
    for package in wanted {
        match store.blob(&package.sha256) {
            Some(known) => drop(found.insert(package.sha256, known)),
            None => drop(missing.insert(package.sha256, package)),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    if offline {
        let names: Vec<String> = missing.values().map(|p| format!("{} {}", p.name, p.version)).collect();
        bail!(
            "{} of the lock's packages are not in the store and --offline forbids to fetch them: {}; run once without it",
            names.len(),
            shorten(&names)
        );
    }
    let host = Host::read(Path::new("/etc/apt"))?;
    let mut open = VecDeque::new();
    for package in missing.values() {
        let archive = recipe.archive.get(&package.archive).with_context(|| {
            format!(
                "the lock takes {} from archive {:?}, which the recipe does not have",
                package.name, package.archive
            )
        })?;
        let mirror = mirror::locate(&package.archive, archive, &package.suite, &host, folder)?;
        open.push_back((format!("{}/{}", mirror.url, package.path), *package));
    }
    let task =
        progress.task(format!("fetch {} packages", missing.len()), missing.values().map(|p| p.size).sum(), Unit::Bytes);
    let client = Client::default();
    let open = Mutex::new(open);
    let done: Mutex<Result<Vec<(Sha256, Fetched)>>> = Mutex::new(Ok(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS.min(missing.len()) {
            scope.spawn(|| {
                while let Some((url, package)) = take(&open) {
                    let fetched = package_file(&client, &url, package, store, &task);
                    let Ok(mut done) = done.lock() else { return };
                    match (&mut *done, fetched) {
                        (Ok(list), Ok(fetched)) => list.push((package.sha256, fetched)),
                        (Ok(_), Err(error)) => *done = Err(error),
                        (Err(_), _) => {}
                    }
                    if done.is_err() {
                        // The others finish what they have begun and find nothing more to do.
                        clear(&open);
                    }
                }
            });
        }
    });
    let done = done.into_inner().map_err(|_| anyhow!("a thread that fetched packages has panicked"))??;
    found.extend(done);
    Ok(found)
}

fn take<'a>(open: &Mutex<VecDeque<(String, &'a Package)>>) -> Option<(String, &'a Package)> {
    open.lock().ok()?.pop_front()
}

fn clear(open: &Mutex<VecDeque<(String, &Package)>>) {
    if let Ok(mut open) = open.lock() {
        open.clear();
    }
}

fn package_file(client: &Client, url: &str, package: &Package, store: &Store, task: &Task) -> Result<Fetched> {
    let what = format!("package {} {}", package.name, package.version);
    client.fetch(url, &what, &package.sha256, package.size, store, task, "the lock").map_err(|error| {
        if matches!(http::find(&error), Some(http::Error::NotFound { .. })) {
            return anyhow!(
                "the archive has dropped {} {} ({url} is not there): run `bedplate lock` again",
                package.name,
                package.version
            );
        }
        error
    })
}

/// The first few of many.
fn shorten(names: &[String]) -> String {
    match names {
        [] => String::new(),
        _ if names.len() <= 5 => names.join(", "),
        _ => format!("{} and {} more", names[..5].join(", "), names.len() - 5),
    }
}
