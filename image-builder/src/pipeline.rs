//! The order of the stages, on one page.

use crate::assemble::{self, CommandLine, Parts, UnsignedUki};
use crate::components::oci_archive::{self, PAUSE_ARCHIVE, PAUSE_IMAGE};
use crate::components::{self, ComponentEntry, ComponentKind, Workshop};
use crate::compose;
use crate::compose::overlay::Overlay;
use crate::compose::tree::{Content, Origin, Tree};
use crate::digest::Sha256;
use crate::fetch::{self, Inputs};
use crate::kernel::{self, options};
use crate::lock::{Lock, Package};
use crate::package::{self, Scope};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::seal::{self, Compression};
use crate::sign::{self, keys::KeyFolder};
use crate::store::{Fetched, Store};
use crate::tools::Tools;
use crate::{initrd, resolve};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Where the agent goes in the root.
const AGENT: &str = "/usr/lib/bedplate/firstboot";

/// One build.
#[derive(Debug, Clone)]
pub struct Build {
    /// The recipe; its lock lies beside it.
    pub recipe: PathBuf,
    /// Where the release goes.
    pub out: PathBuf,
    /// Where `firstboot` and `stage1` are.
    pub agent: PathBuf,
    /// Whether the network is left alone.
    pub offline: bool,
    /// What is written there.
    pub scope: Scope,
}

/// What came out, beside the folder.
#[derive(Debug, Clone)]
pub struct Built {
    /// Name of the image.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The root hash, its identity.
    pub root_hash: Sha256,
}

impl Build {
    /// Recipe -> Lock -> Fetched -> Tree -> RootImage -> UnsignedUki -> Uki -> release.
    ///
    /// # Errors
    /// One sentence, with its causes, from the stage that failed. A release that was there is as it was.
    pub fn run(&self, store: &Store, progress: &Progress) -> Result<Built> {
        let recipe = Recipe::read(&self.recipe)?;
        let folder = self.recipe.parent().unwrap_or(Path::new(""));
        let lock = resolve::current(&self.recipe, &recipe, &self.agent)?;
        // Keys first: what is missing here is soon said.
        let keys = KeyFolder::of_recipe(&recipe.keys, folder);
        let signer = keys.db()?;
        keys.release()?;

        let inputs = fetch::all(&lock, &recipe, folder, store, progress, self.offline)?;
        let tools = Tools::open(store, lock.arch, &inputs.tool, progress)?;
        let workshop = Workshop { store, tools: &tools, progress };
        let get = |url: &str, digest: &_| fetch::file(url, digest, store, progress, self.offline);
        components::fetch(&recipe, folder, &lock, &workshop, self.offline, &get)?;
        let mut entries = components::build(&recipe, &lock, &workshop)?;
        entries.extend(pause_image(&entries, &lock)?);
        entries.push(self.agent(&recipe)?);

        let mut tree = compose_tree(&recipe, folder, &lock, &inputs, &entries, store, &tools, progress)?;
        let kernel = kernel::select(&tree)?;
        check_kernel(&tree, &kernel)?;
        tree.remove_below("/boot", "the kernel is in the signed UKI, and nothing reads it from the root");
        let microcode = kernel::microcode::archive(&tree, lock.snapshot)?;
        for folder in kernel::microcode::FOLDERS {
            tree.remove_below(folder, "the microcode is in the signed UKI, and a running kernel takes none");
        }
        let compression = Compression::from_recipe(&recipe.output)?;
        let root = seal::seal(&tree, compression, lock.snapshot, store, progress)?;

        let stage1 = Content::of_file(&self.agent.join("stage1")).context("stage 1 can't be read")?;
        let initrd =
            initrd::build(&tree, &kernel, &stage1, &recipe.kernel.initrd_modules, lock.snapshot, store, progress)?;
        let command_line = CommandLine::new(&root.root_hash, &recipe.kernel.arguments)?;
        let unsigned =
            self.unsigned(&recipe, &keys, &tree, &kernel, &initrd, microcode.as_deref(), &command_line, &tools)?;
        let uki = sign::sign(&unsigned, signer.as_ref())?;
        let inputs = package::Inputs {
            recipe: &recipe,
            lock: &lock,
            tree: &tree,
            root: &root,
            kernel: &kernel.release,
            uki: &uki,
            keys: &keys,
        };
        package::write(&inputs, self.scope, &self.out, &tools, store, progress)?;
        progress.say(format!("{}: {} {}", self.out.display(), recipe.image.name, recipe.image.version));
        progress.say(format!("root hash {}", root.root_hash));
        Ok(Built { name: recipe.image.name, version: recipe.image.version, root_hash: root.root_hash })
    }

    fn agent(&self, recipe: &Recipe) -> Result<ComponentEntry> {
        let path = self.agent.join("firstboot");
        let content = Content::of_file(&path).with_context(|| format!("can't read {}", path.display()))?;
        Ok(ComponentEntry {
            install: AGENT.into(),
            what: ComponentKind::File(content, 0o755),
            origin: Origin::Component("firstboot".into(), recipe.image.version.clone()),
        })
    }

    #[allow(clippy::too_many_arguments, reason = "a stage takes what it is made of")]
    fn unsigned(
        &self,
        recipe: &Recipe,
        keys: &KeyFolder,
        tree: &Tree,
        kernel: &kernel::Kernel,
        initrd: &initrd::Initrd,
        microcode: Option<&[u8]>,
        command_line: &CommandLine,
        tools: &Tools,
    ) -> Result<UnsignedUki> {
        let config_keys = match recipe.keys.require_signed_config {
            true => Some(keys.config_public()?),
            false => None,
        };
        let stub = tools.file(assemble::uki::STUB)?;
        let stub = std::fs::read(&stub).with_context(|| format!("can't read {}", stub.display()))?;
        let os_release = tree.file("/usr/lib/os-release").context("the root has no /usr/lib/os-release")?.1.read()?;
        assemble::uki(&Parts {
            stub: &stub,
            kernel: &kernel.image.read().context("the kernel can't be read")?,
            release: &kernel.release,
            initrd: &initrd.complete(command_line, config_keys.as_deref())?,
            microcode,
            os_release: &os_release,
            command_line,
        })
    }
}

#[allow(clippy::too_many_arguments, reason = "a stage takes what it is made of")]
fn compose_tree(
    recipe: &Recipe,
    folder: &Path,
    lock: &Lock,
    inputs: &Inputs,
    components: &[ComponentEntry],
    store: &Store,
    tools: &Tools,
    progress: &Progress,
) -> Result<Tree> {
    let packages = lock
        .package
        .iter()
        .map(|p| match inputs.package.get(&p.name) {
            Some(fetched) => Ok((p.clone(), fetched.clone())),
            None => bail!("the package {} was not fetched", p.name),
        })
        .collect::<Result<Vec<(Package, Fetched)>>>()?;
    let packages = compose::open_packages(&packages, store, progress)?;
    let overlays: Vec<Overlay> = recipe.overlay.iter().map(|path| Overlay::at(&folder.join(path))).collect();
    let inputs = compose::Inputs { lock, recipe, packages: &packages, components, overlays: &overlays };
    compose::compose(inputs, store, tools)
}

/// The pause program as the image that containerd makes sandboxes from.
fn pause_image(entries: &[ComponentEntry], lock: &Lock) -> Result<Option<ComponentEntry>> {
    let program = entries.iter().find_map(|entry| match &entry.what {
        ComponentKind::File(content, _) if entry.install.ends_with("/pause") => Some((content, &entry.origin)),
        _ => None,
    });
    let Some((content, origin)) = program else { return Ok(None) };
    let archive = oci_archive::archive(PAUSE_IMAGE, "pause", &content.read()?, lock.arch)?;
    Ok(Some(ComponentEntry {
        install: PAUSE_ARCHIVE.into(),
        what: ComponentKind::File(Content::bytes(archive), 0o644),
        origin: origin.clone(),
    }))
}

/// Refuses a kernel that lacks what a node needs, naming each option with its reason.
fn check_kernel(tree: &Tree, kernel: &kernel::Kernel) -> Result<()> {
    let path = format!("/boot/config-{}", kernel.release);
    let config = tree.file(&path).with_context(|| format!("the root has no {path}"))?.1.read()?;
    let needed = options::read(options::NODE_OPTIONS).map_err(anyhow::Error::msg)?;
    let missing = options::missing(&needed, &String::from_utf8_lossy(&config));
    if !missing.is_empty() {
        let list: Vec<String> = missing.iter().map(|o| format!("{} ({})", o.name, o.reason)).collect();
        bail!("the kernel {} lacks what a node needs: {}", kernel.release, list.join("; "));
    }
    Ok(())
}
