//! `bedplate init`: what a new site locks and builds as it is.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "edge: starts the builder as a new user would")]

use image_builder::lock::{FILE_NAME, Lock};
use image_builder::package::manifest::Manifest;
use image_builder::package::name;
use image_builder::resolve::local::AGENT_FOLDER;
use qemu_tests::bench::{release_of_example, repository};
use qemu_tests::tiers::{agent_folder, target_folder};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What `bedplate` gave on standard output, run in this folder.
fn bedplate(folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new(target_folder().join("debug/bedplate"));
    let done = command.args(words).env(AGENT_FOLDER, agent_folder()).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Locking asks the archives, which is not for a test; but the example's lock is the lock of a new site, to the byte, save for how the agent is compiled.
/// And what is built from it, unedited, is the example's root.
pub fn first_build() {
    let folder = tempfile::tempdir().unwrap();
    bedplate(folder.path(), &["init", "site"]);
    let site = folder.path().join("site");
    bedplate(&site, &["config", "check", "site.toml"]);
    let lock = fs::read_to_string(repository().join("examples/node").join(FILE_NAME)).unwrap();
    // A site compiles no agent.
    let lock = Lock { compile: Default::default(), agent: None, ..Lock::parse(&lock).unwrap() };
    // With nothing of the local inputs in it, so that all of it is read here.
    let bare = Lock { local: Default::default(), ..lock.clone() };
    fs::write(site.join(FILE_NAME), bare.to_text().unwrap()).unwrap();
    bedplate(&site, &["lock", "--local"]);
    assert!(fs::read_to_string(site.join(FILE_NAME)).unwrap() == lock.to_text().unwrap(), "the locks differ");

    let built: Value = serde_json::from_str(&bedplate(&site, &["build", "--offline", "--draft", "--json"])).unwrap();
    let release = release_of_example();
    let manifest = Manifest::parse(&fs::read_to_string(release.join(name::MANIFEST)).unwrap()).unwrap();
    assert_eq!(built["root-hash"], manifest.root_hash.to_string());
    let read = |folder: &Path, name: &str| fs::read(folder.join(name)).unwrap();
    assert!(read(&site.join("out"), name::FILES) == read(&release, name::FILES));
    // Its keys are its own.
    assert!(read(&site.join("out"), name::UKI) != read(&release, name::UKI));
}
