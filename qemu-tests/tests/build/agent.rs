//! The agent, compiled a second time on another host.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "edge: lays out a host and compiles in it")]

use image_builder::agent::{self, Workshop};
use image_builder::fetch;
use image_builder::lock::Lock;
use image_builder::progress::Progress;
use image_builder::recipe::Recipe;
use image_builder::resolve::local;
use image_builder::store::Store;
use image_builder::tools::namespace::Namespace;
use qemu_tests::bench::repository;
use qemu_tests::tiers::target_folder;
use std::fs;
use std::path::Path;

/// The other host is the tools tree: another distribution's release with another C library, where the sources, the
/// builder and the store have other paths, and nothing has been compiled.
pub fn same_on_another_host() {
    let own = Store::open(&Store::default_folder()).unwrap();
    let place = tempfile::Builder::new().prefix("bedplate-host-").tempdir_in("/var/tmp").unwrap();
    let at = |name: &str| place.path().join(name);
    let (site, store, out) = (at("site"), at("store"), at("out"));
    for folder in [&site, &store, &out] {
        fs::create_dir(folder).unwrap();
    }
    bring(&own, &Store::open(&store).unwrap());
    let room = Namespace::new(&crate::tools(), &site)
        .read(&repository(), "/elsewhere/bedplate")
        .read(&target_folder().join("debug"), "/elsewhere/bin")
        .write(&store, "/elsewhere/store")
        .write(&out, "/elsewhere/out");
    let words = "agent --offline --recipe /elsewhere/bedplate/examples/node/recipe.toml --store /elsewhere/store --out /elsewhere/out";
    let done = room
        .tool("/elsewhere/bin/bedplate")
        .unwrap()
        .command()
        .env("TZ", "Asia/Kathmandu")
        .args(words.split(' '))
        .run();
    let said = done.unwrap().stderr_text();
    assert!(said.contains("compiling the agent"), "it was compiled before:\n{said}");
    let lock = Lock::read(&Lock::path_for(&crate::recipe())).unwrap().unwrap();
    for (name, digest) in local::programs(&out).unwrap() {
        assert_eq!(lock.local.get(&name), Some(&digest), "{name} has other bytes on another host");
    }
}

/// Gives a store what the agent is compiled from, and nothing else.
fn bring(from: &Store, to: &Store) {
    let file = crate::recipe();
    let (recipe, lock) = (Recipe::read(&file).unwrap(), Lock::read(&Lock::path_for(&file)).unwrap().unwrap());
    let folder = file.parent().unwrap_or(Path::new(""));
    let sources = agent::sources_of(&recipe, folder).unwrap().expect("the example has the agent compiled");
    let locked = lock.agent.as_ref().expect("the lock says what the agent is compiled from; `make lock` makes it");
    // What is there already is not asked for.
    Workshop::new(&recipe, folder, &lock, from, &Progress::silent(), false).fetch(&sources, locked).unwrap();
    let packages = fetch::tree(&lock.compile[agent::TREE], &recipe, folder, from, &Progress::silent(), true).unwrap();
    let crates = locked.crates.values().map(|digest| from.blob(digest).unwrap());
    for blob in packages.into_values().chain(crates) {
        to.put(&blob.digest(), blob.open().unwrap(), "a blob").unwrap();
    }
}
