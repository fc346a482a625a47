//! The lock stage: which packages, scripts, ids and modules an image is made of.
//!
//! The parts are pure: [`release`] and [`signature`] decide what is trusted, [`index`] reads what suites offer,
//! [`solve()`](solve::solve) picks from it. [`lock`] glues them to the network and the store.

mod contents;
mod explain;
pub mod go_modules;
pub mod ids;
pub mod index;
pub mod local;
mod pins;
pub mod relation;
pub mod release;
pub mod script_gate;
pub mod signature;
pub mod solve;
mod suites;
pub mod wishes;

use crate::agent;
use crate::components::{self, Workshop};
use crate::compose::{self, deb::Deb};
use crate::digest::Sha256;
use crate::fetch::{self, Network};
use crate::images;
use crate::lock::{self, Group, Lock, Package, User};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::store::{Fetched, Store};
use crate::tools::Tools;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How to lock.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only the local inputs are read anew (overlays, the agent), into the lock that is there; no network.
    pub local_only: bool,
    /// Whether a suite's `Release` may be older than the one that was locked last.
    pub accept_older: bool,
    /// Where the agent's programs are.
    pub agent: PathBuf,
    /// The way to the archives.
    pub network: Network,
    /// The moment at which signatures have to hold, seconds since 1970.
    pub now: i64,
}

impl Options {
    /// Those of this machine, now.
    ///
    /// # Errors
    /// When the host's apt configuration can't be read.
    pub fn of_host() -> Result<Options> {
        Ok(Options {
            local_only: false,
            accept_older: false,
            agent: local::agent_folder()?,
            network: Network::of_host()?,
            now: jiff::Timestamp::now().as_second(),
        })
    }
}

/// Makes the lock of a recipe and writes it beside it. The former lock's uids and gids are kept.
///
/// # Errors
/// One sentence naming what is wrong: the mirror, the signature, the package, the script, the module. The
/// former lock is then as it was.
pub fn lock(recipe_path: &Path, store: &Store, progress: &Progress, options: &Options) -> Result<Lock> {
    let recipe = Recipe::read(recipe_path)?;
    let path = Lock::path_for(recipe_path);
    let folder = folder_of(recipe_path);
    // Before the network is asked: what is missing here is soon said.
    let sources = agent::sources(&recipe, folder)?;
    let mut local = local::files(&recipe, folder)?;
    if sources.is_none() {
        local.extend(local::programs(&options.agent)?);
    }
    // A former lock that can't be read any more must not hinder a new one.
    let former = Lock::read(&path).unwrap_or_else(|error| {
        progress.say(format!("{error:#}; no uid or gid is carried over from it, nor the age of a suite compared"));
        None
    });
    let mut lock = if options.local_only {
        let former = former.with_context(|| missing(&path))?;
        if former.recipe != recipe.lock_digest() {
            bail!(changed(recipe_path));
        }
        // Here, where a new lock is on the way: a build would say it minutes later.
        components::check(&recipe, &former)?;
        relock_local(former, local, &recipe, folder, store, progress)?
    } else {
        Lock { local, ..make(&recipe, folder, former.as_ref(), store, progress, options)? }
    };
    lock.agent = None;
    if let Some(sources) = &sources {
        let workshop = agent::Workshop::new(&recipe, folder, &lock, store, progress, false);
        let locked = workshop.lock(sources)?;
        let programs = local::programs(&workshop.programs(sources, &locked)?)?;
        lock.local.extend(programs);
        lock.agent = Some(locked);
    }
    lock.write(&path)?;
    progress.say(format!(
        "{}: {} packages, {} tools, {} components",
        path.display(),
        lock.package.len(),
        lock.tool.len(),
        lock.component.len()
    ));
    Ok(lock)
}

/// A lock that is of its recipe and of the local inputs as they are now.
#[derive(Debug, Clone)]
pub struct Current {
    /// The lock.
    pub lock: Lock,
    /// The folder of the agent's programs that it names.
    pub agent: PathBuf,
}

/// The lock beside a recipe, checked. The agent is compiled if that is the recipe's way; otherwise its programs are in
/// the folder `agent`.
///
/// # Errors
/// When there is none or it differs, with what differs and the command that mends it; or when the agent can't be
/// compiled.
pub fn current(
    recipe_path: &Path,
    recipe: &Recipe,
    agent: &Path,
    store: &Store,
    progress: &Progress,
    offline: bool,
) -> Result<Current> {
    let path = Lock::path_for(recipe_path);
    let lock = Lock::read(&path)?.with_context(|| missing(&path))?;
    if lock.recipe != recipe.lock_digest() {
        bail!(changed(recipe_path));
    }
    let folder = folder_of(recipe_path);
    let agent = agent::folder(recipe, folder, &lock, agent, store, progress, offline)?;
    let found = local::digests(recipe, folder, &agent)?;
    let differ = local::differences(&lock.local, &found);
    if !differ.is_empty() {
        bail!(
            "local inputs differ from {}: {}; run `bedplate lock --local` to take them as they are",
            path.display(),
            lock::shorten(&differ)
        );
    }
    Ok(Current { lock, agent })
}

fn missing(path: &Path) -> String {
    format!("there is no lock {}; make it with `bedplate lock`", path.display())
}

fn changed(recipe: &Path) -> String {
    format!("{} has changed since it was locked; run `bedplate lock`", recipe.display())
}

fn folder_of(recipe: &Path) -> &Path {
    recipe.parent().unwrap_or(Path::new(""))
}

fn make(
    recipe: &Recipe,
    folder: &Path,
    former: Option<&Lock>,
    store: &Store,
    progress: &Progress,
    options: &Options,
) -> Result<Lock> {
    let mut suites = suites::open(recipe, folder, former, store, progress, options)?;
    let of_tools = wishes::tools(recipe, &suites.ranks)?;
    let mut of_root = wishes::root(recipe, &suites.ranks)?;
    pins::apply(&mut of_root, &mut suites, recipe, former, store, progress)?;
    let pick = |request, what: &str| -> Result<Vec<Package>> {
        let chosen = solve::solve(&suites.index, &request).with_context(|| format!("{what} can't be had"))?;
        Ok(chosen.into_iter().map(|c| suites.package(c)).collect())
    };
    let package = pick(of_root, "the packages of the image")?;
    let tool = pick(of_tools, "the packages of the tools tree")?;
    let mut compile = BTreeMap::new();
    for thing in recipe.compiled() {
        let request = wishes::compile(thing, recipe, &suites.ranks)?;
        compile.insert(thing.to_owned(), pick(request, &format!("the packages that compile the {thing}"))?);
    }
    let wanted: Vec<&Package> = package.iter().chain(&tool).collect();
    let fetched = fetch::packages(&wanted, recipe, folder, store, progress, Some(&options.network))?;
    let opened: Vec<(Package, Fetched)> =
        package.iter().filter_map(|p| Some((p.clone(), fetched.get(&p.sha256)?.clone()))).collect();
    let opened = compose::open_packages(&opened, store, progress)?;
    let former_deb = |package: &Package| {
        let network = Some(&options.network);
        let found = fetch::packages(&[package], recipe, folder, store, progress, network).ok()?;
        Deb::open(store, found.get(&package.sha256)?, &package.name).ok()
    };
    let script = contents::scripts(&opened, recipe, former, former_deb)
        .context("maintainer scripts keep the image from being locked")?;
    let (user, group) = ids(&opened, recipe, folder, former)?;
    let of_tools = tool.iter().filter_map(|p| Some((p.name.clone(), fetched.get(&p.sha256)?.clone()))).collect();
    let tools = Tools::open(store, recipe.image.arch, &of_tools, progress)?;
    let component = components::lock(recipe, &Workshop { store, tools: &tools, progress })?;
    let get = |url: &str, digest: &_| fetch::file(url, digest, store, progress, false);
    let container_image = images::take::lock(recipe, folder, store, &get)?;
    Ok(Lock {
        format: lock::FORMAT,
        recipe: recipe.lock_digest(),
        snapshot: suites.suites.iter().map(|s| s.date).max().unwrap_or_default(),
        arch: recipe.image.arch,
        suite: suites.suites,
        package,
        tool,
        compile,
        user,
        group,
        script,
        component,
        agent: None,
        container_image,
        local: BTreeMap::new(),
    })
}

fn ids(
    packages: &[(Package, Deb)],
    recipe: &Recipe,
    folder: &Path,
    former: Option<&Lock>,
) -> Result<(Vec<User>, Vec<Group>)> {
    let former = former.map(|lock| (lock.user.clone(), lock.group.clone())).unwrap_or_default();
    ids::assign(&contents::sources(packages, recipe, folder)?, &former)
        .context("the users and groups of the image can't be numbered")
}

/// The lock with these local inputs in place of its own. Nothing else changes, but for users and groups that an
/// overlay brings.
fn relock_local(
    former: Lock,
    local: BTreeMap<String, Sha256>,
    recipe: &Recipe,
    folder: &Path,
    store: &Store,
    progress: &Progress,
) -> Result<Lock> {
    let of_users = |digests: &BTreeMap<String, Sha256>| -> Vec<(String, Sha256)> {
        let is_one = |name: &str| name.splitn(3, '/').nth(2).is_some_and(|p| contents::names_users(&format!("/{p}")));
        digests.iter().filter(|(name, _)| is_one(name)).map(|(name, digest)| (name.clone(), *digest)).collect()
    };
    if of_users(&former.local) == of_users(&local) {
        return Ok(Lock { local, ..former });
    }
    let wanted: Vec<&Package> = former.package.iter().collect();
    let fetched = fetch::packages(&wanted, recipe, folder, store, progress, None)?;
    let opened: Vec<(Package, Fetched)> =
        former.package.iter().filter_map(|p| Some((p.clone(), fetched.get(&p.sha256)?.clone()))).collect();
    let opened = compose::open_packages(&opened, store, progress)?;
    let (user, group) = ids(&opened, recipe, folder, Some(&former))?;
    Ok(Lock { local, user, group, ..former })
}
