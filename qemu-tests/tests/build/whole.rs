//! The program `bedplate` on the real recipe: without a network, as an ordinary user, after a killed build, and
//! every time to the same bytes.
//!
//! Kubernetes is not compiled again: compiled components and the unpacked tools come from the store that
//! `make image` filled. Everything else is made anew by each of the two people.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "edge: starts the builder as other people would")]

use crate::person::{Person, artifacts};
use image_builder::digest::Sha256;
use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

/// `nobody` on every Debian.
const NOBODY: u32 = 65534;

/// Root in an empty network namespace, and an ordinary user in namespaces of its own, under another time zone,
/// umask, home, locale, folder and date: every artifact has the same bytes. The first build of the one is killed
/// while it seals the root; after it, two go on at once.
pub fn same_bytes() {
    let root = nix::unistd::geteuid().is_root();

    let one = Person::new(None, 0o022);
    // Where root isn't to be had, root of a user namespace stands in.
    let without_network: &[&str] = if root { &["unshare", "-n"] } else { &["unshare", "-Urn"] };
    let start = |out: &str| {
        let mut command = one.build(without_network, &[], out, 0o022);
        command.env("TZ", "UTC").env("LANG", "C").env("HOME", "/root").env("USER", "root").current_dir("/");
        command.stdout(Stdio::null()).stderr(fs::File::create(one.path(&format!("{out}.log"))).unwrap());
        command.spawn().expect("unshare starts")
    };
    let mut killed = start("out");
    one.wait_for_sealing(&mut killed);
    killed.kill().unwrap();
    assert!(!killed.wait().unwrap().success());
    assert!(!one.path("out").exists(), "a killed build left a release");
    one.wait_for_quiet();
    let (first, second) = (start("out"), start("out-of-another-run"));
    for (build, out) in [(first, "out"), (second, "out-of-another-run")] {
        let done = build.wait_with_output().unwrap().status;
        assert!(done.success(), "{out}: {done}\n{}", fs::read_to_string(one.path(&format!("{out}.log"))).unwrap());
    }
    assert_eq!(fs::read_dir(one.path("store/scratch")).unwrap().count(), 0, "the killed build's work was not swept");
    let expected = artifacts(&one.path("out"));
    assert!(expected.len() >= 8, "a release has a disk, a UKI, a lock, a manifest, sums ...: {:?}", expected.keys());
    assert!(expected.contains_key("disk.raw") && expected.contains_key("manifest.json.sig"), "{:?}", expected.keys());
    equal(&expected, &artifacts(&one.path("out-of-another-run")), "two builds at once");
    drop(one);

    let two = Person::new(root.then_some(NOBODY), 0o077);
    let (reuid, regid) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
    let other = ["setpriv", &reuid, &regid, "--clear-groups", "unshare", "-Urn"];
    let other: &[&str] = if root { &other } else { &["unshare", "-Unc"] };
    let mut command = two.build(other, &["faketime", "2031-02-03 04:05:06"], "out", 0o077);
    command.env("TZ", "Pacific/Auckland").env("LANG", "tr_TR.UTF-8").env("LC_ALL", "tr_TR.UTF-8");
    command.env("HOME", two.path("home")).env("USER", "somebody").current_dir(two.path("store"));
    let done = command.output().expect("setpriv and unshare start");
    assert!(done.status.success(), "{}\n{}", done.status, String::from_utf8_lossy(&done.stderr));
    equal(&expected, &artifacts(&two.path("out")), "builds of two people");
}

pub(crate) fn equal(one: &BTreeMap<String, Sha256>, other: &BTreeMap<String, Sha256>, whose: &str) {
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>(), "{whose}");
    let differing: Vec<_> =
        one.iter().filter(|(name, digest)| other[*name] != **digest).map(|(name, _)| name).collect();
    assert!(differing.is_empty(), "{whose} differ in {differing:?}");
}
