//! What a test guest is started with: kernel and initrd from the example's lock, and QEMU from its tools.
#![allow(clippy::disallowed_methods, reason = "edge: makes the guest's files")]

use super::{initrd, policies};
use crate::bench::repository;
use anyhow::{Context, Result};
use image_builder::fetch;
use image_builder::lock::Lock;
use image_builder::progress::Progress;
use image_builder::qemu::{Accelerator, Guest, KernelBoot};
use image_builder::recipe::Recipe;
use image_builder::sign::keys::KeyFolder;
use image_builder::store::Store;
use image_builder::tools::Tools;
use std::path::Path;

/// Memory of a guest in MiB.
const MEMORY: u32 = 1024;

/// Kernel, initrd and tools. Its files go when it does.
#[derive(Debug)]
pub struct Kit {
    /// The tools tree.
    pub tools: Tools,
    accelerator: Accelerator,
    folder: tempfile::TempDir,
}

impl Kit {
    /// Makes kernel and initrd with the program `init`, which the lock's own library folder must serve.
    ///
    /// # Errors
    /// When there is no lock, or what it names can't be fetched or opened.
    pub fn make(init: &Path, progress: &Progress) -> Result<Kit> {
        Kit::with(init, Vec::new(), &[], progress)
    }

    /// As [`Kit::make`], with `programs`, by path, and with those at `paths` of the image beside.
    ///
    /// # Errors
    /// As [`Kit::make`].
    pub fn with(init: &Path, programs: Vec<(String, Vec<u8>)>, paths: &[&str], progress: &Progress) -> Result<Kit> {
        let recipe_file = repository().join("examples/node/recipe.toml");
        let recipe = Recipe::read(&recipe_file)?;
        let folder = recipe_file.parent().unwrap_or(Path::new("."));
        let lock = Lock::read(&Lock::path_for(&recipe_file))?;
        let lock = lock.context("the example's recipe has no lock; `make lock` makes it")?;
        let store = Store::open(&Store::default_folder())?;
        let inputs = fetch::all(&lock, &recipe, folder, &store, progress, false)?;
        let tools = Tools::open(&store, lock.arch, &inputs.tool, progress)?;

        let folder = tempfile::Builder::new().prefix("bedplate-kit-").tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let tree = initrd::tree(&lock, &recipe, &inputs.package, &store, progress)?;
        let libraries = format!("/usr/lib/{}", lock.arch.library_folder());
        let init = ("/init".to_owned(), stripped(init, &tools, &at("init"))?);
        let policies = policies::files(&KeyFolder::at(repository().join("examples/node/keys")))?;
        let (kernel, archive) =
            initrd::make(&tree, &libraries, [vec![init], programs].concat(), paths, policies, lock.snapshot)?;
        std::fs::write(at("vmlinuz"), kernel.image.read()?)?;
        std::fs::write(at("initrd"), archive)?;
        let accelerator = Accelerator::probe(&tools, &at("vmlinuz"), progress)?;
        Ok(Kit { tools, accelerator, folder })
    }

    /// A guest with this many processors, without disks or ports. `word`, if it is not empty, is handed to its program.
    pub fn guest(&self, cpus: u32, word: &str) -> Guest {
        let at = |name: &str| self.folder.path().join(name);
        let mut guest = Guest::new(MEMORY, cpus, self.accelerator);
        guest.kernel = Some(KernelBoot {
            kernel: at("vmlinuz"),
            initrd: Some(at("initrd")),
            arguments: format!("console=ttyS0 quiet panic=-1 raid=noautodetect {word}").trim_end().into(),
        });
        guest.no_reboot = true;
        guest
    }
}

/// The program without what only a debugger reads: it is unpacked into the guest's memory.
fn stripped(program: &Path, tools: &Tools, to: &Path) -> Result<Vec<u8>> {
    tools.tool("strip")?.command().args(["--strip-all", "-o"]).arg(to).arg(program).run()?;
    std::fs::read(to).with_context(|| format!("{} can't be read", to.display()))
}
