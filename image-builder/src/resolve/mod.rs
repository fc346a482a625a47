//! The lock stage: which packages, scripts, ids and modules an image is made of.
//!
//! The parts are pure: [`release`] and [`signature`] decide what is trusted, [`index`] reads what suites offer,
//! [`solve()`](solve::solve) picks from it. [`lock`] glues them to the network and the store.

mod explain;
pub mod go_modules;
pub mod index;
pub mod relation;
pub mod release;
pub mod signature;
pub mod solve;
mod suites;
pub mod wishes;

use crate::fetch::http::Client;
use crate::fetch::mirror::Host;
use crate::lock::{Lock, Package};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::store::Store;
use anyhow::{Context, Result};
use std::path::Path;

/// Makes the lock of a recipe: fetches and verifies the suites' indexes, picks the packages, fetches them, and
/// reads from them what the lock has to hold. The former lock, if there is one, keeps its uids and gids.
///
/// # Errors
/// One sentence naming what is wrong: the mirror, the signature, the package, the script, the module.
pub fn lock(recipe: &Recipe, folder: &Path, former: Option<&Lock>, store: &Store, progress: &Progress) -> Result<Lock> {
    let host = Host::read(Path::new("/etc/apt"))?;
    let client = Client::default();
    let now = jiff::Timestamp::now().as_second();
    let suites = suites::open(recipe, folder, &host, &client, store, progress, now)?;
    let root = solve::solve(&suites.index, &wishes::root(recipe, &suites.tools_only)?)
        .context("the packages of the image can't be had")?;
    let tools = solve::solve(&suites.index, &wishes::tools(recipe, &suites.tools_only)?)
        .context("the packages of the tools tree can't be had")?;
    let _ = former;
    let package = |chosen: solve::Chosen| {
        let candidate = suites.index.get(chosen.number);
        let suite = &suites.suites[candidate.suite];
        Package {
            name: candidate.name.clone(),
            version: candidate.version_text.clone(),
            archive: suite.archive.clone(),
            suite: suite.suite.clone(),
            path: candidate.path.clone(),
            size: candidate.size,
            sha256: candidate.sha256,
            wanted_by: chosen.wanted_by,
        }
    };
    Ok(Lock {
        format: crate::lock::FORMAT,
        recipe: recipe.lock_digest(),
        snapshot: suites.suites.iter().map(|s| s.date).max().unwrap_or_default(),
        arch: recipe.image.arch,
        package: root.into_iter().map(package).collect(),
        tool: tools.into_iter().map(package).collect(),
        suite: suites.suites,
        user: Vec::new(),
        group: Vec::new(),
        script: Vec::new(),
        component: Default::default(),
        local: Default::default(),
    })
}
