//! The agent's programs: `firstboot` in the root, `stage1` in the initrd.
//!
//! A recipe that says where their sources are (`[agent] source`) has them compiled as any other component: by the
//! compiler, C library and libblkid of a locked tree of packages, from crates that the lock names by digest, in a room
//! that shows nothing of the host. Two hosts give the same bytes. Without that, or where [`local::AGENT_FOLDER`] says so
//! (hosts that allow no namespaces, work on the agent itself), compiled programs are taken from a folder. Either way
//! the lock has the programs' digests, and a build takes no others.

mod compile;
mod crates;
mod sources;
mod workspace;

pub use sources::Sources;

use crate::digest::Sha256;
use crate::fetch;
use crate::lock::{Lock, Package};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::resolve::local;
use crate::store::Store;
use crate::tools::Tools;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The tree of packages that compiles them, in [`crate::lock::Lock::compile`].
pub const TREE: &str = "agent";

/// What the programs are compiled from, as the lock has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedAgent {
    /// Digest of the agent's own sources: paths and bytes.
    pub source: Sha256,
    /// Crates, `NAME-VERSION` -> digest of the `.crate` file, as its registry and `Cargo.lock` have it.
    pub crates: BTreeMap<String, Sha256>,
}

/// Where a build finds what it takes to have the agent's programs.
#[derive(Debug, Clone, Copy)]
pub struct Workshop<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// Its folder.
    pub folder: &'a Path,
    /// The locked packages of the tree that compiles them.
    pub tree: &'a [Package],
    /// Where things are kept.
    pub store: &'a Store,
    /// Where progress goes.
    pub progress: &'a Progress,
    /// Whether the network is left alone.
    pub offline: bool,
}

/// The sources that this recipe has the programs compiled from; none if they are taken from a folder.
///
/// # Errors
/// When they are not there or are no workspace that the agent can be compiled from.
pub fn sources(recipe: &Recipe, folder: &Path) -> Result<Option<Sources>> {
    match local::agent_folder_is_told() {
        true => Ok(None),
        false => sources_of(recipe, folder),
    }
}

/// The sources that this recipe names, wherever the programs are taken from.
///
/// # Errors
/// As [`sources`].
pub fn sources_of(recipe: &Recipe, folder: &Path) -> Result<Option<Sources>> {
    let Some(agent) = &recipe.agent else { return Ok(None) };
    let path = folder.join(&agent.source);
    Sources::read(&path).with_context(|| format!("can't take the agent's sources from {}", path.display())).map(Some)
}

/// The folder of the programs for a build from this lock: `told` unless the recipe has them compiled.
///
/// # Errors
/// When the sources are not those of the lock, or the programs can't be had.
pub fn folder(
    recipe: &Recipe,
    folder: &Path,
    lock: &Lock,
    told: &Path,
    store: &Store,
    progress: &Progress,
    offline: bool,
) -> Result<PathBuf> {
    let Some(sources) = sources(recipe, folder)? else { return Ok(told.to_owned()) };
    let Some(locked) = lock.agent.as_ref().filter(|locked| locked.source == sources.digest()) else {
        bail!(
            "the sources of the agent are not those that were locked; run `bedplate lock --local` to take them as they are"
        );
    };
    Workshop::new(recipe, folder, lock, store, progress, offline).programs(&sources, locked)
}

impl<'a> Workshop<'a> {
    /// For a build from this lock.
    pub fn new(
        recipe: &'a Recipe,
        folder: &'a Path,
        lock: &'a Lock,
        store: &'a Store,
        progress: &'a Progress,
        offline: bool,
    ) -> Workshop<'a> {
        let tree = lock.compile.get(TREE).map(Vec::as_slice).unwrap_or_default();
        Workshop { recipe, folder, tree, store, progress, offline }
    }

    /// What the lock is to have of these sources. Asks the network when they need other crates than before.
    ///
    /// # Errors
    /// When the crates can't be had.
    pub fn lock(&self, sources: &Sources) -> Result<LockedAgent> {
        let crates = crates::resolve(sources, self).context("can't lock the crates of the agent")?;
        Ok(LockedAgent { source: sources.digest(), crates })
    }

    /// The folder of the programs made from these sources, compiled unless the store has them.
    ///
    /// # Errors
    /// When a package or a crate can't be had, or they do not compile.
    pub fn programs(&self, sources: &Sources, locked: &LockedAgent) -> Result<PathBuf> {
        let key = compile::key(sources, &locked.crates, self.tree, self.recipe.image.arch);
        if let Some(known) = self.store.known_output(&key) {
            return Ok(known.folder().to_owned());
        }
        self.fetch(sources, locked)?;
        let output = self
            .store
            .output(&key, |into| compile::compile(sources, &locked.crates, self, into))
            .context("can't compile the agent")?;
        Ok(output.folder().to_owned())
    }

    /// Brings all that compiling them reads to the store.
    ///
    /// # Errors
    /// When something can't be had.
    pub fn fetch(&self, sources: &Sources, locked: &LockedAgent) -> Result<()> {
        self.tools()?;
        crates::fetch(&locked.crates, sources, self).context("can't fetch the crates of the agent")
    }

    fn tools(&self) -> Result<Tools> {
        let Workshop { recipe, folder, store, progress, offline, .. } = *self;
        if self.tree.is_empty() {
            bail!("the lock has no packages that compile the agent; run `bedplate lock`");
        }
        let packages = fetch::tree(self.tree, recipe, folder, store, progress, offline)?;
        Tools::open(store, recipe.image.arch, &packages, progress)
    }
}
