//! An export of all that the lock names, and a build from nothing else: into an empty store, without a network.
//!
//! Kubernetes and the like are not compiled again: their programs, and clusters of the root that are packed already, come
//! from the user's store. The CNI plugins are compiled from the exported modules, with the exported Go.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "edge: starts the builder as a person would")]

use crate::person::artifacts;
use crate::whole::equal;
use image_builder::resolve::local::AGENT_FOLDER;
use image_builder::store::Store;
use qemu_tests::bench::release_of_example;
use qemu_tests::tiers::{agent_folder, target_folder};
use std::fs;
use std::path::Path;
use std::process::Command;

pub fn same_bytes_from_an_export() {
    let own = Store::default_folder();
    // Beside the store as a rule, so that its files can have further names instead of copies.
    let place = tempfile::Builder::new().prefix("bedplate-export-").tempdir_in("/var/tmp").unwrap();
    let (export, store, out) = (place.path().join("export"), place.path().join("store"), place.path().join("out"));
    let bedplate = |words: &[&str], paths: &[&Path]| {
        let root = nix::unistd::geteuid().is_root();
        let mut command = Command::new("unshare");
        // Without a network, all three of them.
        command
            .arg(if root { "-n" } else { "-Urn" })
            .arg(target_folder().join("debug/bedplate"))
            .args(words)
            .args(paths);
        let done = command.env(AGENT_FOLDER, agent_folder()).output().expect("unshare starts");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{command:?}: {}\n{said}", done.status);
        said
    };
    let recipe = crate::recipe();
    bedplate(&["inputs", "export", "--offline", "--recipe"], &[&recipe, "--store".as_ref(), &own, &export]);
    // What anybody can check who has no builder.
    let words = ["--check", "--quiet", "--strict", "SHA256SUMS"];
    let check = Command::new("sha256sum").args(words).current_dir(&export).output().expect("sha256sum starts");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));

    bedplate(&["inputs", "import"], &[&export, "--store".as_ref(), &store]);
    fs::remove_dir_all(&export).unwrap();
    link(&own.join("part"), &store.join("part"));
    let components = Path::new("output/component");
    let mut left = 0;
    for entry in fs::read_dir(own.join(components)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(key) = name.strip_suffix(".txt") else { continue };
        let text = fs::read_to_string(own.join(components).join(&name)).unwrap();
        if text.lines().any(|line| line == "component 3 cni") {
            left += 1;
            continue;
        }
        for name in [key, name.as_str()] {
            link(&own.join(components).join(name), &store.join(components).join(name));
        }
    }
    assert!(left > 0, "the user's store has no CNI plugins to compare with");
    let said =
        bedplate(&["build", "--offline", "--recipe"], &[&recipe, "--store".as_ref(), &store, "--out".as_ref(), &out]);
    assert!(said.contains("compiling cni"), "the CNI plugins were not compiled:\n{said}");
    equal(&artifacts(&release_of_example()), &artifacts(&out), "the release and one built from an export");
}

/// Folders anew, files as further names of the same bytes where that can be; nothing of them is written again.
fn link(from: &Path, to: &Path) {
    let meta = fs::symlink_metadata(from).unwrap();
    if meta.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            link(&from.join(&name), &to.join(&name));
        }
    } else if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).unwrap();
    }
}
