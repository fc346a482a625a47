//! Somebody with a folder: what the tests of whole builds share.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "edge: copies inputs and starts the builder")]

use crate::tools;
use image_builder::digest::Sha256;
use image_builder::fetch;
use image_builder::lock::Lock;
use image_builder::progress::Progress;
use image_builder::qemu::Interrupt;
use image_builder::recipe::Recipe;
use image_builder::store::{Fetched, Store};
use qemu_tests::bench::repository;
use qemu_tests::tiers::{agent_folder, target_folder};
use qemu_tests::wait::wait_until;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;
use std::{fs, io};

/// Every file below a release's folder.
pub fn artifacts(out: &Path) -> BTreeMap<String, Sha256> {
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
pub struct Person {
    folder: tempfile::TempDir,
    owner: Option<u32>,
    umask: u32,
}

impl Person {
    /// Everything belongs to `owner`, else to who runs the test, with the bits of `umask` taken away.
    pub fn new(owner: Option<u32>, umask: u32) -> Person {
        let own = Store::open(&Store::default_folder()).unwrap();
        // Beside the store as a rule, so that its files can have further names instead of copies.
        let place = tempfile::Builder::new().prefix("bedplate-build-").tempdir_in("/var/tmp").unwrap();
        let person = Person { folder: place, owner, umask };
        let root = repository();
        person.copy(&root.join("examples/node"), &person.path("examples/node"));
        person.copy(&root.join("overlays"), &person.path("overlays"));
        person.copy(&agent_folder(), &person.path("agent"));
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

    /// Leaves of the recipe's components these alone, without these paths, and of its artifacts a small disk; makes the
    /// lock one of that recipe.
    pub fn keep_little(&self, names: &[&str], without: &[&str]) {
        let file = self.path("examples/node/recipe.toml");
        let mut recipe = Recipe::read(&file).unwrap();
        recipe.component.retain(|name, _| names.contains(&name.as_str()));
        // They need containerd.
        recipe.container_image.clear();
        recipe.output.artifacts.clear();
        (recipe.output.esp, recipe.output.slot) = ("300 MiB".into(), "512 MiB".into());
        recipe.packages.exclude.extend(without.iter().map(|glob| (*glob).to_owned()));
        fs::write(&file, toml::to_string(&recipe).unwrap()).unwrap();
        let recipe = Recipe::read(&file).unwrap();
        let place = Lock::path_for(&file);
        let mut lock = Lock::read(&place).unwrap().unwrap();
        lock.component.retain(|name, _| names.contains(&name.as_str()));
        Lock { recipe: recipe.lock_digest(), ..lock }.write(&place).unwrap();
    }

    /// Takes away what some stages made, but never the tools and the components: `which` is asked once for each.
    pub fn forget_stages(&self, mut which: impl FnMut() -> bool) {
        for entry in fs::read_dir(self.path("store/output")).into_iter().flatten().flatten() {
            let kept = ["tools", "component"].iter().any(|kept| entry.file_name() == *kept);
            if !kept && which() {
                fs::remove_dir_all(entry.path()).unwrap();
            }
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A build into `out` with these words before the shell that sets the umask, and these before the builder.
    pub fn build(&self, as_whom: &[&str], under: &[&str], out: &str, umask: u32) -> Command {
        let mut command = Command::new(as_whom[0]);
        command.args(&as_whom[1..]).args(under).args(["sh", "-c"]);
        command.arg(format!("umask {umask:03o}; exec \"$@\"")).arg("sh").arg(self.path("bedplate"));
        command.args(["build", "--offline", "--recipe"]).arg(self.path("examples/node/recipe.toml"));
        command.arg("--store").arg(self.path("store")).arg("--out").arg(self.path(out));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("BEDPLATE_AGENT_DIR", self.path("agent"));
        command
    }

    pub fn wait_for_sealing(&self, build: &mut Child) {
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
    pub fn wait_for_quiet(&self) {
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
