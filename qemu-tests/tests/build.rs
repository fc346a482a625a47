//! The builder on the real recipe: without a network, as an ordinary user, and twice to the same bytes.
//!
//! Needs the example's lock and a store with everything fetched and every component compiled: `make image`
//! has made both. Runs as root, because it takes on another user.
#![allow(clippy::disallowed_methods, reason = "edge: starts the builder as other people would")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// `nobody` on every Debian.
const OTHER_USER: u32 = 65534;

/// Stage outputs that cost minutes and whose sameness the components' own test shows.
const KEPT: [&str; 4] = ["component", "go-lock", "tools", "deb"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository").to_owned()
}

/// A workshop of somebody else: a copy of what a build reads, and a store with the inputs alone.
struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    /// Makes one that belongs to `uid`, with `mode` bits taken away from every file and folder.
    fn new(uid: u32, umask: u32) -> Workshop {
        let folder = tempfile::Builder::new().prefix("bedplate-build-").tempdir_in("/var/tmp").unwrap();
        let root = repository();
        for part in ["examples/node", "overlays"] {
            copy(&root.join(part), &folder.path().join(part), uid, umask);
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        copy(&target.join("agent"), &folder.path().join("agent"), uid, umask);
        copy(&target.join("debug/bedplate"), &folder.path().join("bedplate"), uid, umask);
        let own = image_builder::store::Store::default_folder();
        let store = folder.path().join("store");
        link(&own.join("blob"), &store.join("blob"), uid);
        for stage in KEPT {
            if own.join("output").join(stage).is_dir() {
                link(&own.join("output").join(stage), &store.join("output").join(stage), uid);
            }
        }
        for part in ["output", "lock", "scratch", "home"] {
            fs::create_dir_all(store.join(part)).unwrap();
            chown(store.join(part), Some(uid), Some(uid)).unwrap();
        }
        chown(&store, Some(uid), Some(uid)).unwrap();
        chown(folder.path(), Some(uid), Some(uid)).unwrap();
        Workshop { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A shell line that builds into `out`; the caller says how and as whom.
    fn build_line(&self) -> String {
        let folder = self.folder.path().display();
        format!(
            "exec {folder}/bedplate build --offline --recipe {folder}/examples/node/recipe.toml --store {folder}/store --out {folder}/out"
        )
    }

    fn artifacts(&self) -> BTreeMap<String, image_builder::digest::Sha256> {
        let mut found = BTreeMap::new();
        walk(&self.path("out"), &mut |path| {
            let name = path.strip_prefix(self.path("out")).unwrap().display().to_string();
            let (digest, _) = image_builder::digest::Sha256::of_reader(fs::File::open(path).unwrap()).unwrap();
            found.insert(name, digest);
        });
        found
    }
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, visit) } else { visit(&path) }
    }
}

fn copy(from: &Path, to: &Path, uid: u32, umask: u32) {
    let meta = fs::symlink_metadata(from).unwrap_or_else(|e| panic!("{}: {e}; run `make image`", from.display()));
    if meta.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from).unwrap(), to).unwrap();
        std::os::unix::fs::lchown(to, Some(uid), Some(uid)).unwrap();
        return;
    }
    if meta.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "out" {
                copy(&entry.path(), &to.join(entry.file_name()), uid, umask);
            }
        }
    } else {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).unwrap();
        }
        fs::copy(from, to).unwrap();
    }
    let mut parent = to.parent().unwrap();
    while parent != std::env::temp_dir() && parent.file_name().is_some_and(|n| n != "tmp") {
        chown(parent, Some(uid), Some(uid)).unwrap();
        parent = parent.parent().unwrap();
    }
    chown(to, Some(uid), Some(uid)).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode((meta.permissions().mode() | 0o666) & !umask & 0o777)).unwrap();
}

/// Folders anew, files as further names of the same bytes.
fn link(from: &Path, to: &Path, uid: u32) {
    fs::create_dir_all(to).unwrap();
    chown(to, Some(uid), Some(uid)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            link(&from, &to, uid);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from).unwrap(), &to).unwrap();
        } else {
            fs::hard_link(&from, &to).unwrap();
        }
    }
}

fn run(mut command: Command) {
    let done = command.output().expect("the command starts");
    assert!(
        done.status.success(),
        "{command:?} failed ({}):\n{}\n{}",
        done.status,
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Root in an empty network namespace, and an ordinary user in namespaces of its own, under another time
/// zone, umask, home, locale and date: every artifact has the same bytes.
#[test]
fn two_people_without_a_network_build_the_same_bytes() {
    assert!(nix::unistd::geteuid().is_root(), "this test takes on another user and must be started by root");
    let one = Workshop::new(0, 0o022);
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c"]).arg(format!("umask 022; {}", one.build_line()));
    command.env("TZ", "UTC").env("BEDPLATE_AGENT_DIR", one.path("agent")).current_dir("/");
    run(command);

    let two = Workshop::new(OTHER_USER, 0o077);
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={OTHER_USER}")).arg(format!("--regid={OTHER_USER}")).arg("--clear-groups");
    command.args(["unshare", "-Urn", "faketime", "2031-02-03 04:05:06", "sh", "-c"]);
    command.arg(format!("umask 077; {}", two.build_line()));
    command.env("TZ", "Pacific/Auckland").env("LANG", "tr_TR.UTF-8").env("HOME", two.path("home"));
    command.env("USER", "somebody").env("BEDPLATE_AGENT_DIR", two.path("agent")).current_dir(two.path("store"));
    run(command);

    let (one, two) = (one.artifacts(), two.artifacts());
    assert!(one.len() >= 4, "a release has a disk, a UKI, a manifest and a signature: {:?}", one.keys());
    assert_eq!(one.keys().collect::<Vec<_>>(), two.keys().collect::<Vec<_>>());
    let differing: Vec<_> = one.iter().filter(|(name, digest)| two[*name] != **digest).map(|(name, _)| name).collect();
    assert!(differing.is_empty(), "these artifacts differ between the two builds: {differing:?}");
}
