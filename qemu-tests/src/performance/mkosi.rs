//! mkosi, measured beside Bedplate: a bootable disk with the same packages, components and overlays.
//!
//! mkosi and the programs it drives are a tools tree of their own, locked and fetched like any other; nothing of the
//! host is used but its kernel and its address of the archive. It installs systems by running their scripts, so it is
//! given root.
#![allow(clippy::disallowed_methods, reason = "edge: writes mkosi's configuration")]

mod config;

use super::builds::{Builder, Project, copy};
use super::figures::{Mkosi, Run};
use super::{host, measured, tools};
use anyhow::{Context, Result, bail, ensure};
use image_builder::assemble::uki::STUB;
use image_builder::components::{self, ComponentKind, Workshop};
use image_builder::fetch::Network;
use image_builder::lock::Lock;
use image_builder::package::name;
use image_builder::progress::Progress;
use image_builder::recipe::Recipe;
use image_builder::store::Store;
use image_builder::tools::Tools;
use image_builder::tools::namespace::Namespace;
use on_disk::gpt::{self, SectorSize, kind};
use on_disk::pe::Image;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Where its folder is inside the room.
const WORK: &str = "/bench";
/// A build that begins from fetched packages alone, and one that goes on from what mkosi keeps of the one before.
const WHOLE: [&str; 2] = ["--cache-directory=cache", "--incremental=no"];
const INCREMENTAL: [&str; 2] = ["--cache-directory=incremental", "--incremental=yes"];
/// The overlays and components are laid over the packages from here.
const EXTRA: &str = "extra";

/// Measures `rounds` rounds of mkosi's builds.
///
/// # Errors
/// When this is not root, mkosi can't be had, or a build of it fails; `release` gives the initrd.
pub fn measure(builder: &Builder, release: &Path, rounds: usize, progress: &Progress) -> Result<Mkosi> {
    ensure!(nix::unistd::geteuid().is_root(), "mkosi installs a system, for which it has to be root");
    let store = Store::open(&Store::default_folder())?;
    let scratch = store.scratch("mkosi")?;
    let room = Room::new(builder, release, scratch.path(), &store, progress)?;
    let version = room.tool("mkosi")?.command().arg("--version").run()?.stdout_text();
    let version = version.trim().trim_start_matches("mkosi ").to_owned();
    let mut figures = Mkosi { host: host::read(), version, ..Mkosi::default() };
    let say = |round: usize, what: &str, run: &Run| {
        progress.say(format!("mkosi {round} of {rounds}: {what:<22} {:6.2} s", run.seconds));
    };
    progress.say("mkosi fetches its packages and fills its incremental cache");
    room.build(&WHOLE, false)?;
    room.build(&INCREMENTAL, false)?;
    for round in 1..=rounds {
        figures.cold.push(room.build(&WHOLE, true)?);
        say(round, "cold", &figures.cold[round - 1]);
        figures.warm.push(room.build(&WHOLE, true)?);
        say(round, "warm", &figures.warm[round - 1]);
        room.change(round)?;
        figures.changed.push(room.build(&INCREMENTAL, true)?);
        say(round, "after a change", &figures.changed[round - 1]);
    }
    figures.root = room.root_size()?;
    Ok(figures)
}

/// Where mkosi runs.
struct Room {
    namespace: Namespace,
    work: PathBuf,
    project: Project,
    overlays: Vec<PathBuf>,
}

impl Room {
    fn new(builder: &Builder, release: &Path, folder: &Path, store: &Store, progress: &Progress) -> Result<Room> {
        let recipe = Recipe::read(&builder.recipe)?;
        let tools = tools::open(builder, &config::recipe_of_tools(&recipe)?, folder, store, progress)?;
        let [site, etc, work, temporary] = ["site", "etc", "work", "temporary"].map(|name| folder.join(name));
        for new in [&site, &work, &temporary] {
            fs::create_dir(new)?;
        }
        // What maintainer scripts would have made, and the way to the archive.
        copy(&tools.root().join("etc"), &etc)?;
        fs::write(etc.join("passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        fs::write(etc.join("group"), "root:x:0:\n")?;
        for name in ["resolv.conf", "hosts"] {
            let _ = fs::copy(Path::new("/etc").join(name), etc.join(name));
        }
        let namespace = Namespace::new(&tools, &site)
            .of_root()
            .read(&etc, "/etc")
            .write(&work, WORK)
            .write(&temporary, "/var/tmp")
            .folder(WORK);
        let project = Project::copy(&builder.recipe, &folder.join("project"))?;
        let overlays = overlays(&project.recipe)?;
        let room = Room { namespace, work, project, overlays };
        let own = Tools::of_recipe(&builder.recipe, store, progress)?;
        room.lay_components(builder, &recipe, &Workshop { store, tools: &own, progress })?;
        room.lay_overlays()?;
        room.lay_boot(builder, &recipe, release, &own)?;
        config::write(&room.work, EXTRA, &recipe, &|archive, suite| {
            let mirror = Network::of_host()?.mirror(&recipe, archive, suite, folder)?;
            Ok(mirror.url)
        })?;
        Ok(room)
    }

    fn tool(&self, name: &str) -> Result<run_tool::Tool> {
        let mut tool = self.namespace.tool(&format!("/usr/bin/{name}"))?.with_env("HOME", "/root");
        tool.name = name.into();
        Ok(tool)
    }

    /// One build, made anew.
    fn build(&self, options: &[&str], offline: bool) -> Result<Run> {
        let cache = if offline { "--cache-only=always" } else { "--cache-only=auto" };
        measured::run_tool(&self.tool("mkosi")?.command().args(["--force", cache]).args(options).arg("build"))
    }

    /// Changes the file of an overlay that Bedplate's builds change.
    fn change(&self, round: usize) -> Result<()> {
        self.project.change(round)?;
        self.lay_overlays()
    }

    fn lay_overlays(&self) -> Result<()> {
        for overlay in &self.overlays {
            lay(overlay, &self.work.join(EXTRA))?;
        }
        Ok(())
    }

    fn lay_components(&self, builder: &Builder, recipe: &Recipe, workshop: &Workshop) -> Result<()> {
        let lock = Lock::read(&Lock::path_for(&builder.recipe))?.context("there is no lock; `make image` makes it")?;
        for entry in components::build(recipe, &lock, workshop)? {
            let place = self.work.join(EXTRA).join(entry.install.trim_start_matches('/'));
            fs::create_dir_all(place.parent().context("a component's file lies in no folder")?)?;
            match entry.what {
                ComponentKind::File(content, mode) => {
                    fs::write(&place, content.read()?)?;
                    fs::set_permissions(&place, fs::Permissions::from_mode(mode))?;
                }
                ComponentKind::Link(target) => symlink(target, &place)?,
            }
        }
        Ok(())
    }

    /// What a UKI is made of beside the kernel: the release's initrd, the stub, and the key that signs it.
    fn lay_boot(&self, builder: &Builder, recipe: &Recipe, release: &Path, tools: &Tools) -> Result<()> {
        let uki = Image::parse(fs::read(release.join(name::UKI))?)?;
        fs::write(self.work.join(config::INITRD), uki.section(".initrd").context("the UKI has no initrd")?)?;
        let stub = self.work.join(EXTRA).join(STUB.trim_start_matches('/'));
        fs::create_dir_all(stub.parent().context("the stub lies in no folder")?)?;
        fs::copy(tools.file(STUB)?, &stub)?;
        let folder = builder.recipe.parent().unwrap_or(Path::new(""));
        let keys = folder.join(&recipe.keys.folder);
        for name in [config::KEY, config::CERTIFICATE] {
            fs::copy(keys.join(name), self.work.join(name)).with_context(|| format!("{name} can't be copied"))?;
        }
        Ok(())
    }

    /// Size of the file system in the image that was made last.
    fn root_size(&self) -> Result<u64> {
        let disk = File::open(self.work.join("out/bench.raw"))?;
        let read = |offset: u64, length: usize| {
            let mut bytes = vec![0; length];
            disk.read_exact_at(&mut bytes, offset).map(|()| bytes)
        };
        let found = gpt::read(disk.metadata()?.len(), SectorSize::B512, read)?;
        let table = found.usable().context("mkosi's image has no partition table")?;
        let root =
            table.partitions.iter().find(|p| p.kind == kind::ROOT_X86_64).context("mkosi's image has no root")?;
        let mut superblock = [0; 128];
        disk.read_exact_at(&mut superblock, root.start + 1024)?;
        // EROFS: the number of blocks, and the binary logarithm of their size.
        let word = |at: usize| superblock[at..at + 4].iter().rev().fold(0u64, |all, byte| all << 8 | u64::from(*byte));
        if word(0) != 0xe0f5_e1e2 {
            bail!("the root of mkosi's image is no EROFS");
        }
        Ok(word(36) << superblock[12])
    }
}

fn overlays(recipe_file: &Path) -> Result<Vec<PathBuf>> {
    let folder = recipe_file.parent().unwrap_or(Path::new("."));
    Ok(Recipe::read(recipe_file)?.overlay.iter().map(|overlay| folder.join(overlay)).collect())
}

/// Lays the files and links of `from` over `to`.
fn lay(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            lay(&from, &to)?;
            continue;
        }
        if to.symlink_metadata().is_ok() {
            fs::remove_file(&to)?;
        }
        match entry.file_type()?.is_symlink() {
            true => symlink(fs::read_link(&from)?, &to)?,
            false => fs::copy(&from, &to).map(drop)?,
        }
    }
    Ok(())
}
