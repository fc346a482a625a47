//! The proof of the script emulation: the tree that the builder composes, held against a root that mmdebstrap and the
//! real dpkg install from the very same packages, with their real maintainer scripts.
//!
//! Both are without what a recipe adds (overlays, components, images) or takes away (`packages.exclude`), so that packages and
//! scripts alone are judged. docs/script-gate.md says how to mend a failure.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "edge: starts mmdebstrap and the builder")]

use image_builder::compose::deb::Deb;
use image_builder::compose::emulate::usrmerge;
use image_builder::compose::tree::TreePath;
use image_builder::compose::{self, Inputs};
use image_builder::fetch;
use image_builder::lock::{Lock, Package};
use image_builder::progress::Progress;
use image_builder::recipe::Recipe;
use image_builder::resolve::local::AGENT_FOLDER;
use image_builder::store::{Fetched, Store};
use qemu_tests::tiers::{agent_folder, target_folder};
use qemu_tests::twin::differences::{Reasons, compare};
use qemu_tests::twin::seen::{self, Root, What};
use qemu_tests::twin::{archive, boot};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What may differ, and why.
const DIFFERENCES: &str = include_str!("twin/differences.toml");

/// What maintainer scripts are run by and call. Their dependencies follow. What the builder stands in for is among them
/// wherever a script has a use for it.
const FOR_SCRIPTS: [&str; 22] = [
    "adduser",
    "bash",
    "debconf",
    "diffutils",
    "dpkg",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "init-system-helpers",
    "iucode-tool",
    "linux-base",
    "login.defs",
    "ncurses-base",
    "openssl",
    "passwd",
    "perl-base",
    "sed",
    "sensible-utils",
    "sysvinit-utils",
    "tar",
    "ucf",
];
/// Of what those depend on, the root has its own.
const OF_THE_ROOT: [&str; 2] = ["base-files", "base-passwd"];

/// Every path has the same type, mode, owner, attributes and content in both, or the list says why not; and every entry
/// of the list is still needed.
pub fn same_as_installed() {
    let place = tempfile::Builder::new().prefix("bedplate-twin-").tempdir_in("/var/tmp").unwrap();
    let recipe_file = derive(place.path());
    let (recipe, lock) =
        (Recipe::read(&recipe_file).unwrap(), Lock::read(&Lock::path_for(&recipe_file)).unwrap().unwrap());
    let store = Store::open(&Store::default_folder()).unwrap();
    let inputs = fetch::all(&lock, &recipe, place.path(), &store, &Progress::silent(), false).unwrap();
    let packages = open(&lock.package, &inputs.package, &store);
    let tools = open(&lock.tool, &inputs.tool, &store);

    let made = Inputs { lock: &lock, recipe: &recipe, packages: &packages, components: &[], overlays: &[] };
    let mut composed = seen::of_tree(&compose::compose(made, &store, &crate::tools()).unwrap()).unwrap();
    boot::start(&mut composed);

    let for_scripts = for_scripts(&packages, &tools);
    let files = packages.iter().map(|(p, _)| (p, &inputs.package[&p.name]));
    let files = files.chain(for_scripts.iter().map(|(p, _)| (p, &inputs.tool[&p.name])));
    let all: Vec<(Package, Deb)> = packages.iter().chain(&for_scripts).cloned().collect();
    lay_archive(&place.path().join("archive"), &archive::index(&all).unwrap(), files);
    let tar = install(place.path(), &all, lock.snapshot);
    let mut installed = seen::of_tar(BufReader::with_capacity(1 << 20, File::open(tar).unwrap())).unwrap();
    forget(&mut installed, &composed, &for_scripts);

    unpack_names(&mut installed, &composed);
    let found = compare(&composed, &installed);
    let against = Reasons::parse(DIFFERENCES).and_then(|reasons| reasons.judge(&found)).unwrap();
    assert!(
        against.is_empty(),
        "the composed root is not what the distribution's tools install, in {} ways:\n{}\n\
         Mend the emulation (image-builder/src/compose/emulate), or, if the builder means it so, say why in \
         qemu-tests/tests/build/twin/differences.toml; see docs/script-gate.md.",
        against.len(),
        against.join("\n")
    );
}

/// The example's recipe without what is not of packages, and with what scripts need among its tools; locked, every package
/// of the root being that of the example's lock.
fn derive(folder: &Path) -> PathBuf {
    let example = crate::recipe();
    let mut recipe = Recipe::read(&example).unwrap();
    recipe.component.clear();
    recipe.overlay.clear();
    recipe.container_image.clear();
    recipe.agent = None;
    recipe.packages.exclude.clear();
    recipe.packages.hold = vec!["*".into()];
    recipe.tools.install.extend(FOR_SCRIPTS.map(str::to_owned));
    recipe.tools.provided.extend(OF_THE_ROOT.map(str::to_owned));
    let file = folder.join("recipe.toml");
    fs::write(&file, toml::to_string(&recipe).unwrap()).unwrap();
    fs::copy(Lock::path_for(&example), Lock::path_for(&file))
        .unwrap_or_else(|e| panic!("{e}; `make image` makes the lock"));
    let mut command = Command::new(target_folder().join("debug/bedplate"));
    run(command.args(["lock", "--recipe"]).arg(&file).env(AGENT_FOLDER, agent_folder()));
    file
}

fn open(packages: &[Package], fetched: &BTreeMap<String, Fetched>, store: &Store) -> Vec<(Package, Deb)> {
    let files: Vec<_> = packages.iter().map(|p| (p.clone(), fetched[&p.name].clone())).collect();
    compose::open_packages(&files, store, &Progress::silent()).unwrap()
}

/// The packages that scripts need and the root lacks.
fn for_scripts(root: &[(Package, Deb)], tools: &[(Package, Deb)]) -> Vec<(Package, Deb)> {
    let there: BTreeSet<&str> = root.iter().map(|(package, _)| package.name.as_str()).collect();
    let depends = |deb: &Deb| ["Pre-Depends", "Depends"].into_iter().filter_map(|name| deb.field(name)).collect();
    let depends = tools.iter().map(|(package, deb)| (package.name.as_str(), depends(deb))).collect();
    let names = archive::closure(&FOR_SCRIPTS, &there, &depends).unwrap();
    tools.iter().filter(|(package, _)| names.contains(&package.name)).cloned().collect()
}

fn lay_archive<'a>(folder: &Path, index: &str, files: impl Iterator<Item = (&'a Package, &'a Fetched)>) {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("Packages"), index).unwrap();
    for (package, fetched) in files {
        symlink(fetched.path(), folder.join(archive::file_name(package))).unwrap();
    }
}

/// Installs exactly these packages, and packs the root as a tar.
fn install(place: &Path, packages: &[(Package, Deb)], time: i64) -> PathBuf {
    let names: Vec<&str> = packages.iter().map(|(package, _)| package.name.as_str()).collect();
    let (tar, work) = (place.join("root.tar"), place.join("work"));
    fs::create_dir(&work).unwrap();
    // dpkg syncs every file; where a mount can be made, they lie in memory, and it has nothing to wait for.
    let mut command = match nix::unistd::geteuid().is_root() {
        true => {
            let mut command = Command::new("unshare");
            let mount = "mount -t tmpfs -o mode=0755 tmpfs \"$TMPDIR\" && exec \"$@\"";
            command.args(["--mount", "--net", "sh", "-c", mount, "sh", "mmdebstrap", "--mode=root"]);
            command
        }
        false => {
            let mut command = Command::new("mmdebstrap");
            command.arg("--mode=unshare");
            command
        }
    };
    command.args(["--variant=custom", "--skip=output/dev", "--format=tar"]);
    // Scripts enable what the presets say of their own units. The builder asks the presets of all, and so does this.
    command.arg("--customize-hook=chroot \"$1\" systemctl preset-all");
    command.arg(format!("--include={}", names.join(","))).arg("").arg(&tar);
    command.arg(format!("deb [trusted=yes] copy:{} ./", place.join("archive").display()));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8").env("TMPDIR", &work);
    run(command.env("SOURCE_DATE_EPOCH", time.to_string()));
    tar
}

/// Leaves out what is there for scripts alone.
fn forget(installed: &mut Root, composed: &Root, for_scripts: &[(Package, Deb)]) {
    for member in for_scripts.iter().flat_map(|(_, deb)| deb.members()) {
        let path = usrmerge::merged(&TreePath::new(&member.path).unwrap());
        if !composed.contains_key(path.as_str()) {
            installed.remove(path.as_str());
        }
    }
}

/// Kernel modules are composed decompressed, so their names have lost an ending. All else of them is compared.
fn unpack_names(installed: &mut Root, composed: &Root) {
    let module = |path: &String| path.starts_with("/usr/lib/modules/") && path.ends_with(".ko.xz");
    for packed in installed.keys().filter(|path| module(path)).cloned().collect::<Vec<_>>() {
        let plain = packed.trim_end_matches(".xz").to_owned();
        if composed.contains_key(&plain)
            && let Some(mut seen) = installed.remove(&packed)
        {
            if let What::File(_, name) = &mut seen.what {
                name.clone_from(&plain);
            }
            installed.insert(plain, seen);
        }
    }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; `make setup` installs what tests need"));
    assert!(done.status.success(), "{command:?}: {}\n{}", done.status, String::from_utf8_lossy(&done.stderr));
}
