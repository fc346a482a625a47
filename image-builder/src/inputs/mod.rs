//! All that a lock names as one folder: written by [`export()`](export::export), taken into a store by
//! [`import()`](import::import).
//!
//! Such a folder outlives archives, module proxies and this machine's store. It is plain files, so that it can be read
//! without the builder:
//!
//! ```text
//! SHA256SUMS                      every other file, as sha256sum(1) writes and checks it
//! bedplate.lock, recipe.toml      what all this is for
//! package/ARCHIVE/PATH            packages of the image and of the trees of tools, where the archive had them
//! release/ARCHIVE/SUITE/InRelease who vouched for them
//! file/SHA-256/NAME               files of components
//! crate/NAME-VERSION.crate        crates of the agent
//! image/SHA-256                   manifests, configurations and layers of container images
//! module/PATH/@v/...              Go modules, as a module proxy serves them
//! local/overlay/NAME/..., local/agent/..., local/kernel/...
//! ```
//!
//! Guarantees: a folder appears under its name when it is complete; nothing reaches a store before its digest was held
//! against the lock's.

pub mod export;
pub mod import;
mod list;

use crate::digest::Sha256;
use crate::lock::{Lock, Package};
use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// Name of the list of all files.
pub const SUMS: &str = "SHA256SUMS";
/// Name of the recipe in an export.
const RECIPE: &str = "recipe.toml";
/// Go modules.
const MODULES: &str = "module";
/// What comes from the recipe's side.
const LOCAL: &str = "local";

/// What an export holds or a store took in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Told {
    /// Files.
    pub files: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Digest of the list of all files, which stands for all of them.
    pub sums: Sha256,
}

/// Where an export has the inputs that are blobs of the store: path -> digest. `InRelease` files come apart, as a store
/// may not have them.
fn blobs(lock: &Lock) -> Result<BTreeMap<String, Sha256>> {
    let mut found = BTreeMap::new();
    for package in lock.packages() {
        found.insert(package_path(package)?, package.sha256);
    }
    for (url, digest) in lock.component.values().flat_map(|c| &c.files) {
        let name = url.split(['?', '#']).next().and_then(|path| path.rsplit('/').next()).filter(|n| plain(n));
        found.insert(format!("file/{digest}/{}", name.unwrap_or("file")), *digest);
    }
    for (name, digest) in lock.agent.iter().flat_map(|agent| &agent.crates) {
        found.insert(inside(format!("crate/{name}.crate"))?, *digest);
    }
    let images = lock.container_image.iter().flat_map(|image| image.blobs());
    found.extend(images.map(|digest| (format!("image/{digest}"), *digest)));
    Ok(found)
}

fn releases(lock: &Lock) -> Result<BTreeMap<String, Sha256>> {
    let path = |s: &crate::lock::Suite| {
        // A suite may have slashes in its name, and then no folder above may be meant.
        let suite = s.suite.replace('/', "_");
        inside(format!("release/{}/{suite}/InRelease", s.archive))
    };
    lock.suite.iter().map(|s| Ok((path(s)?, s.in_release))).collect()
}

fn package_path(package: &Package) -> Result<String> {
    inside(format!("package/{}/{}", package.archive, package.path))
}

/// A path of which every part is a plain name.
fn inside(path: String) -> Result<String> {
    if !path.split('/').all(plain) {
        bail!("{path:?} leads out of an export");
    }
    Ok(path)
}

fn plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0', '\n', '\\'])
}
