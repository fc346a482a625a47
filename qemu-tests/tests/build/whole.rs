//! The program `bedplate` on the real recipe: without a network, as an ordinary user, after a killed build, and
//! every time to the same bytes.
//!
//! Kubernetes is not compiled again: compiled components and the unpacked tools come from the store that
//! `make image` filled. Everything else is made anew by each of the two people.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "edge: starts the builder as other people would")]

use crate::tools;
use image_builder::digest::Sha256;
use image_builder::fetch;
use image_builder::lock::Lock;
use image_builder::progress::Progress;
use image_builder::qemu::Interrupt;
use image_builder::recipe::Recipe;
use image_builder::resolve::local::AGENT_FOLDER;
use image_builder::store::{Fetched, Store};
use qemu_tests::bench::repository;
use qemu_tests::tiers::target_folder;
use qemu_tests::wait::wait_until;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, io};

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

/// Every file below a release's folder.
pub(crate) fn artifacts(out: &Path) -> BTreeMap<String, Sha256> {
    let mut found = BTreeMap::new();
    let mut open = vec![out.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(out).unwrap().display().to_string();
            let (digest, _) = Sha256::of_reader(fs::File::open(&path).unwrap()).unwrap();
            found.insert(name, digest);
        }
    }
    found
}

/// Somebody with a folder: copies of what a build reads, the builder, and a store with what takes a network or
/// many minutes to make.
struct Person {
    folder: tempfile::TempDir,
    owner: Option<u32>,
    umask: u32,
}

impl Person {
    /// Everything belongs to `owner`, else to who runs the test, with the bits of `umask` taken away.
    fn new(owner: Option<u32>, umask: u32) -> Person {
        let own = Store::open(&Store::default_folder()).unwrap();
        // Beside the store as a rule, so that its files can have further names instead of copies.
        let place = tempfile::Builder::new().prefix("bedplate-build-").tempdir_in("/var/tmp").unwrap();
        let person = Person { folder: place, owner, umask };
        let root = repository();
        person.copy(&root.join("examples/node"), &person.path("examples/node"));
        person.copy(&root.join("overlays"), &person.path("overlays"));
        let agent = std::env::var_os(AGENT_FOLDER).map_or_else(|| target_folder().join("agent"), PathBuf::from);
        person.copy(&agent, &person.path("agent"));
        let bedplate = target_folder().join("debug/bedplate");
        person.copy(&bedplate, &person.path("bedplate"));

        let recipe_file = crate::recipe();
        let (recipe, folder) = (Recipe::read(&recipe_file).unwrap(), recipe_file.parent().unwrap());
        let lock = Lock::read(&Lock::path_for(&recipe_file)).unwrap().expect("`make image` makes the lock");
        let inputs = fetch::all(&lock, &recipe, folder, &own, &Progress::silent(), true).unwrap();
        // Once each: many a package is both in the image and among the tools.
        let blobs: BTreeSet<&Path> = inputs.package.values().chain(inputs.tool.values()).map(Fetched::path).collect();
        for blob in blobs {
            person.link(blob, &person.path("store").join(blob.strip_prefix(own.root()).unwrap()));
        }
        let tools = tools();
        for kept in [tools.root(), &own.root().join("output/component")] {
            person.link(kept, &person.path("store").join(kept.strip_prefix(own.root()).unwrap()));
        }
        person.make_folder(&person.path("home"));
        person.own(person.folder.path());
        person
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A build into `out` with these words before the shell that sets the umask, and these before the builder.
    fn build(&self, as_whom: &[&str], under: &[&str], out: &str, umask: u32) -> Command {
        let mut command = Command::new(as_whom[0]);
        command.args(&as_whom[1..]).args(under).args(["sh", "-c"]);
        command.arg(format!("umask {umask:03o}; exec \"$@\"")).arg("sh").arg(self.path("bedplate"));
        command.args(["build", "--offline", "--recipe"]).arg(self.path("examples/node/recipe.toml"));
        command.arg("--store").arg(self.path("store")).arg("--out").arg(self.path(out));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("BEDPLATE_AGENT_DIR", self.path("agent"));
        command
    }

    fn wait_for_sealing(&self, build: &mut Child) {
        let seals = || {
            let work = fs::read_dir(self.path("store/scratch")).into_iter().flatten().flatten();
            work.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("seal-"))
        };
        wait_until("the build seals the root", Duration::from_secs(120), &Interrupt::default(), || {
            if let Some(status) = build.try_wait()? {
                anyhow::bail!("it ended first ({status}): {}", fs::read_to_string(self.path("out.log"))?);
            }
            Ok(seals().then_some(()))
        })
        .unwrap();
    }

    /// Waits until no program runs that was started from the person's folder, as all tools of the store are.
    fn wait_for_quiet(&self) {
        let folder = self.folder.path().as_os_str().as_bytes();
        wait_until("the killed build's programs have ended", Duration::from_secs(10), &Interrupt::default(), || {
            let processes = fs::read_dir("/proc")?.flatten();
            let mut lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
            Ok((!lines.any(|line| line.starts_with(folder))).then_some(()))
        })
        .unwrap();
    }

    fn own(&self, path: &Path) {
        if let Some(owner) = self.owner {
            lchown(path, Some(owner), Some(owner)).unwrap();
        }
    }

    /// With all folders above it that are not there yet.
    fn make_folder(&self, folder: &Path) {
        if !folder.is_dir() {
            self.make_folder(folder.parent().unwrap());
            fs::create_dir(folder).unwrap();
            self.own(folder);
        }
    }

    /// A copy under the person's umask, without what earlier builds left there.
    fn copy(&self, from: &Path, to: &Path) {
        let meta = fs::symlink_metadata(from).unwrap_or_else(|e| panic!("{}: {e}; run `make image`", from.display()));
        self.make_folder(to.parent().unwrap());
        if meta.is_symlink() {
            symlink(fs::read_link(from).unwrap(), to).unwrap();
        } else if meta.is_dir() {
            self.make_folder(to);
            for entry in fs::read_dir(from).unwrap() {
                let name = entry.unwrap().file_name();
                if name != "out" {
                    self.copy(&from.join(&name), &to.join(&name));
                }
            }
        } else {
            fs::copy(from, to).unwrap();
        }
        self.own(to);
        if !meta.is_symlink() {
            let mode = (meta.permissions().mode() | 0o666) & !self.umask & 0o777;
            fs::set_permissions(to, fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    /// Folders anew, files as further names of the same bytes where that can be. Nothing that is there is written:
    /// it could be a name of a file of the user's own store.
    fn link(&self, from: &Path, to: &Path) {
        let meta = fs::symlink_metadata(from).unwrap();
        self.make_folder(to.parent().unwrap());
        if meta.is_symlink() {
            symlink(fs::read_link(from).unwrap(), to).unwrap();
        } else if meta.is_dir() {
            self.make_folder(to);
            for entry in fs::read_dir(from).unwrap() {
                let name = entry.unwrap().file_name();
                self.link(&from.join(&name), &to.join(&name));
            }
        } else {
            let readable = self.owner.is_none() || meta.permissions().mode() & 0o004 != 0;
            if !readable || fs::hard_link(from, to).is_err() {
                let mut copy = fs::File::create_new(to).unwrap_or_else(|e| panic!("{}: {e}", to.display()));
                io::copy(&mut fs::File::open(from).unwrap(), &mut copy).unwrap();
                copy.set_permissions(meta.permissions()).unwrap();
                self.own(to);
            }
        }
    }
}
