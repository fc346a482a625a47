//! What every test of a real image needs: the release, the tools it was built with, the keys it trusts, and the
//! `kube` program that is in it. `make image` builds them once; here they are only found.
#![allow(clippy::disallowed_methods, reason = "edge: reads the release's folder, makes scratch folders")]

use crate::control_plane::ControlPlane;
use anyhow::{Context, Result, anyhow, bail};
use image_builder::components::{self, ComponentKind, Workshop};
use image_builder::compose::tree::Content;
use image_builder::lock::Lock;
use image_builder::progress::Progress;
use image_builder::qemu::release_disk::ReleaseDisk;
use image_builder::qemu::{Accelerator, Interrupt};
use image_builder::recipe::Recipe;
use image_builder::sign::keys::KeyFolder;
use image_builder::store::Store;
use image_builder::tools::Tools;
use machine_config::Diagnostic;
use machine_config::schema::Join;
use machine_config::signature;
use std::path::{Path, PathBuf};

/// Everything that is there before the first boot.
#[derive(Debug)]
pub struct Bench {
    /// The release under test.
    pub release: PathBuf,
    /// The tools tree of its lock.
    pub tools: Tools,
    /// The image's `kube`.
    pub kube: PathBuf,
    /// What runs guests on this host.
    pub accelerator: Accelerator,
    /// Set by Ctrl-C.
    pub interrupt: Interrupt,
    keys: PathBuf,
    folder: tempfile::TempDir,
}

impl Bench {
    /// Finds the release in `release`, built from `recipe`.
    ///
    /// # Errors
    /// When there is none; the error says how to make it.
    pub fn open(release: &Path, recipe: &Path, progress: &Progress) -> Result<Bench> {
        if !release.join("disk.raw").is_file() {
            bail!("there is no release in {}; make it with `make image`", release.display());
        }
        let store = Store::open(&Store::default_folder())?;
        let tools = Tools::of_recipe(recipe, &store, progress)?;
        let kube = kube(recipe, &store, &tools, progress)?;
        let folder = tempfile::Builder::new().prefix("bedplate-test-").tempdir()?;
        let kernel = folder.path().join("kernel");
        ReleaseDisk::open(&release.join("disk.raw"))?.extract_kernel(&tools, &kernel)?;
        let accelerator = Accelerator::probe(&tools, &kernel, progress)?;
        let keys = recipe.parent().unwrap_or(Path::new(".")).join(Recipe::read(recipe)?.keys.folder);
        let interrupt = Interrupt::catch()?;
        Ok(Bench { release: release.into(), tools, kube, accelerator, interrupt, keys, folder })
    }

    /// With the release of [`release_of_example`].
    ///
    /// # Errors
    /// As [`Bench::open`].
    pub fn of_example() -> Result<Bench> {
        Bench::open(&release_of_example(), &repository().join("examples/node/recipe.toml"), &Progress::stderr())
    }

    /// A new folder for one machine or control plane, gone with the bench; `NAME-2` when there is `NAME`.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let mut folder = self.folder.path().join(name);
        let mut count = 1;
        while folder.exists() {
            count += 1;
            folder = self.folder.path().join(format!("{name}-{count}"));
        }
        std::fs::create_dir(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
        Ok(folder)
    }

    /// Starts a control plane of the image's `kube`.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub fn control_plane(&self) -> Result<ControlPlane> {
        ControlPlane::start(&self.kube, &self.folder("control-plane")?, &self.interrupt)
    }

    /// The bundle of machine `name`: this site file's text and these secrets, signed with the key the image trusts.
    ///
    /// # Errors
    /// When the site file has faults, or the key can't be read.
    pub fn bundle(&self, site: &str, name: &str, join: &Join) -> Result<String> {
        let credentials = toml::to_string(join)?;
        let bundle =
            machine_config::render::bundle((site, "site.toml"), name, (&credentials, "credentials.toml"), None)
                .map_err(|faults| refused(&faults))?;
        self.sign(&bundle)
    }

    /// The folder of the keys that the image trusts, with their private halves.
    pub fn keys(&self) -> &Path {
        &self.keys
    }

    /// Any text, signed with the key the image trusts.
    ///
    /// # Errors
    /// When the key can't be read.
    pub fn sign(&self, text: &str) -> Result<String> {
        Ok(signature::sign(text, &KeyFolder::at(&self.keys).config()?))
    }
}

/// Folder of the release under test: the example's, or the one in `BEDPLATE_RELEASE`.
pub fn release_of_example() -> PathBuf {
    std::env::var_os("BEDPLATE_RELEASE").map_or_else(|| repository().join("out/node"), PathBuf::from)
}

/// The repository's folder.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, PathBuf::from)
}

fn refused(faults: &[Diagnostic]) -> anyhow::Error {
    anyhow!("{}", faults.iter().map(|f| format!("{}: {}", f.code, f.what)).collect::<Vec<_>>().join("\n"))
}

/// The program in the store that the image has as `/usr/bin/kube`.
fn kube(recipe_file: &Path, store: &Store, tools: &Tools, progress: &Progress) -> Result<PathBuf> {
    let recipe = Recipe::read(recipe_file)?;
    let lock = Lock::read(&Lock::path_for(recipe_file))?.context("the recipe has no lock; `make image` makes it")?;
    let entries = components::build(&recipe, &lock, &Workshop { store, tools, progress })?;
    let kube = entries.iter().find(|e| e.install == "/usr/bin/kube").context("no component is /usr/bin/kube")?;
    match &kube.what {
        ComponentKind::File(Content::Slice { file, offset: 0, .. }, _) => Ok(file.to_path_buf()),
        _ => bail!("/usr/bin/kube is not a whole file of the store"),
    }
}
