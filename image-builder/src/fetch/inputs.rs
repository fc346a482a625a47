//! Everything a lock names, brought into the store.

use super::blob_reader::BlobReader;
use super::http::{self, Client};
use super::network::Network;
use crate::digest::Sha256;
use crate::lock::{self, Lock, Package};
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
    /// Fetches one file into the store, checked for its digest, and for its size where that is known.
    ///
    /// # Errors
    /// As [`http::Error`] says; or when its bytes are others; or when the store can't be written.
    pub(crate) fn fetch(
        &self,
        url: &str,
        what: &str,
        digest: &Sha256,
        size: Option<u64>,
        store: &Store,
        task: &Task,
    ) -> Result<Fetched> {
        self.retry(|| {
            let reader = BlobReader::new(self.open(url, what)?, size, url, what, task);
            store.put(digest, reader, what).map_err(|error| match http::find(&error) {
                // The store tells of its reader's failure around it; people need the reader's own sentence.
                Some(found) => found.clone().into(),
                None => error,
            })
        })
    }
}

/// Brings every input of the lock into the store that has an address and a digest: packages, and files of
/// components. With `offline`, only looks whether all are there. Modules are the components' own affair
/// ([`crate::components::fetch`]).
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
    let network = if offline { None } else { Some(Network::of_host()?) };
    let wanted: Vec<&Package> = lock.package.iter().chain(&lock.tool).collect();
    let packages = packages(&wanted, recipe, folder, store, progress, network.as_ref())?;
    let by_name = |list: &[Package]| {
        list.iter().filter_map(|p| Some((p.name.clone(), packages.get(&p.sha256)?.clone()))).collect()
    };
    let mut files = BTreeMap::new();
    for (url, digest) in lock.component.values().flat_map(|c| &c.files) {
        files.insert(url.clone(), file(url, digest, store, progress, offline)?);
    }
    Ok(Inputs { package: by_name(&lock.package), tool: by_name(&lock.tool), file: files })
}

/// Brings the packages of one of the lock's trees (`lock.tool`, one of `lock.compile`) into the store, by name; what
/// else a build needs is left alone. With `offline`, only looks whether all are there.
///
/// # Errors
/// As [`all`].
pub fn tree(
    tree: &[Package],
    recipe: &Recipe,
    folder: &Path,
    store: &Store,
    progress: &Progress,
    offline: bool,
) -> Result<BTreeMap<String, Fetched>> {
    let network = if offline { None } else { Some(Network::of_host()?) };
    let wanted: Vec<&Package> = tree.iter().collect();
    let packages = packages(&wanted, recipe, folder, store, progress, network.as_ref())?;
    Ok(tree.iter().filter_map(|p| Some((p.name.clone(), packages.get(&p.sha256)?.clone()))).collect())
}

/// Brings the file at an address into the store. With `offline`, only looks whether it is there.
///
/// # Errors
/// When it can't be had or has another digest.
pub fn file(url: &str, digest: &Sha256, store: &Store, progress: &Progress, offline: bool) -> Result<Fetched> {
    if let Some(known) = store.blob(digest) {
        return Ok(known);
    }
    if offline {
        bail!("{url} is not in the store and --offline forbids to fetch it; run once without it");
    }
    let task = progress.task(format!("fetch {url}"), 0, Unit::Bytes);
    Client::default().fetch(url, url, digest, None, store, &task)
}

/// Brings these packages into the store; by digest. Without a network, only looks whether they are there.
pub(crate) fn packages(
    wanted: &[&Package],
    recipe: &Recipe,
    folder: &Path,
    store: &Store,
    progress: &Progress,
    network: Option<&Network>,
) -> Result<BTreeMap<Sha256, Fetched>> {
    let mut found = BTreeMap::new();
    let mut missing: BTreeMap<Sha256, &Package> = BTreeMap::new();
    for package in wanted.iter().copied() {
        match store.blob(&package.sha256) {
            Some(known) => drop(found.insert(package.sha256, known)),
            None => drop(missing.insert(package.sha256, package)),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let Some(network) = network else {
        let names: Vec<String> = missing.values().map(|p| format!("{} {}", p.name, p.version)).collect();
        bail!(
            "{} of the lock's packages are not in the store and --offline forbids to fetch them: {}; run once without it",
            names.len(),
            lock::shorten(&names)
        );
    };
    let mut open = VecDeque::new();
    for package in missing.values() {
        let mirror = network
            .mirror(recipe, &package.archive, &package.suite, folder)
            .with_context(|| format!("can't tell where to fetch {} {} from", package.name, package.version))?;
        open.push_back((format!("{}/{}", mirror.url, package.path), *package));
    }
    let task =
        progress.task(format!("fetch {} packages", missing.len()), missing.values().map(|p| p.size).sum(), Unit::Bytes);
    let open = Mutex::new(open);
    let done: Mutex<Result<Vec<(Sha256, Fetched)>>> = Mutex::new(Ok(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS.min(missing.len()) {
            scope.spawn(|| {
                while let Some((url, package)) = take(&open) {
                    let fetched = package_file(&network.client, &url, package, store, &task);
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
    client.fetch(url, &what, &package.sha256, Some(package.size), store, task).map_err(|error| {
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
