//! The order of the stages, on one page.

use crate::assemble::{self, CommandLine, Parts, addon, pcr};
use crate::components::oci_archive::{self, PAUSE_ARCHIVE};
use crate::components::{self, ComponentEntry, ComponentKind, Workshop};
use crate::compose;
use crate::compose::overlay::Overlay;
use crate::compose::tree::{Content, Origin, Tree};
use crate::digest::Sha256;
use crate::fetch::{self, Inputs};
use crate::kernel;
use crate::kernel::compile::{SourceKernel, Workplace};
use crate::lock::{Lock, Package};
use crate::package::{self, Scope};
use crate::progress::Progress;
use crate::recipe::{Enrol, Recipe};
use crate::seal::{self, Compression};
use crate::sign::enrolment::{self, Enrolment};
use crate::sign::{self, SignedAddon, Signer, keys::KeyFolder};
use crate::store::{Fetched, Store};
use crate::tools::Tools;
use crate::{images, initrd, resolve};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use x509_cert::Certificate;
use x509_cert::der::DecodePem;

/// Where the agent goes in the root.
const AGENT: &str = "/usr/lib/bedplate/firstboot";

/// One build.
#[derive(Debug, Clone)]
pub struct Build {
    /// The recipe; its lock lies beside it.
    pub recipe: PathBuf,
    /// Where the release goes.
    pub out: PathBuf,
    /// Where `firstboot` and `stage1` are, if the recipe does not have them compiled.
    pub agent: PathBuf,
    /// Whether the network is left alone.
    pub offline: bool,
    /// What is written there.
    pub scope: Scope,
}

/// Whoever signs for a build.
#[derive(Clone, Copy)]
pub struct Signers<'a> {
    /// With the key of `db.crt`: UKIs and addons.
    pub db: &'a dyn Signer,
    /// With the key of `pcr.crt`: what a UKI leaves in the TPM; none where there is no such key.
    pub pcr: Option<&'a dyn Signer>,
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
        let folder = self.folder();
        let current = resolve::current(&self.recipe, &recipe, &self.agent, store, progress, self.offline)?;
        // Keys first: what is missing here is soon said.
        let keys = KeyFolder::of_recipe(&recipe.keys, folder);
        let signer = keys.db()?;
        keys.release()?;
        let policy = keys.pcr()?;
        if policy.is_none() {
            progress.say(
                "the key folder has no pcr.key, so the UKI carries no signed PCR policy, and no disk can be bound to it \
                 over updates; `bedplate keys add` makes the key",
            );
        }
        let signers = Signers { db: signer.as_ref(), pcr: policy.as_deref() };
        let build = Build { agent: current.agent, ..self.clone() };
        let built = build.make(&recipe, &current.lock, &keys, signers, store, progress)?;
        progress.say(format!("{}: {} {}", self.out.display(), built.name, built.version));
        progress.say(format!("root hash {}", built.root_hash));
        Ok(built)
    }

    /// Everything after the lock, with these keys. What is public of them is enough if the signer needs no more and
    /// the scope asks for no signature.
    ///
    /// # Errors
    /// As [`Build::run`].
    pub fn make(
        &self,
        recipe: &Recipe,
        lock: &Lock,
        keys: &KeyFolder,
        signers: Signers,
        store: &Store,
        progress: &Progress,
    ) -> Result<Built> {
        let folder = self.folder();
        // Keys first here, too.
        let enrolment = Enrolment::read(keys, &enrolment::vendors(&recipe.keys, folder)?)?;
        let inputs = fetch::all(lock, recipe, folder, store, progress, self.offline)?;
        let tools = Tools::open(store, lock.arch, &inputs.tool, progress)?;
        let workshop = Workshop { store, tools: &tools, progress };
        let get = |url: &str, digest: &_| fetch::file(url, digest, store, progress, self.offline);
        components::fetch(recipe, folder, lock, &workshop, self.offline, &get)?;
        images::take::fetch(recipe, folder, lock, store, &get)?;
        let mut entries = components::build(recipe, lock, &workshop)?;
        if !images::known_to(recipe) {
            entries.extend(pause_archive(&entries, lock)?);
        }
        entries.push(self.agent(recipe)?);
        if let Some(kernel) = SourceKernel::of(recipe, folder, lock)? {
            let at = Workplace { recipe, folder, store, progress, offline: self.offline };
            entries.extend(kernel.entries(&kernel.build(&at)?)?);
        }

        let mut tree = compose_tree(recipe, folder, lock, &inputs, &entries, store, &tools, progress)?;
        let ready = images::take::open(recipe, lock, store)?;
        images::lay(recipe, lock.arch, &ready, &mut tree)?;
        let kernel = kernel::select(&tree)?;
        check_kernel(&tree, &kernel)?;
        tree.remove_below("/boot", "the kernel is in the signed UKI, and nothing reads it from the root");
        let microcode = kernel::microcode::archive(&tree, lock.snapshot)?;
        for folder in kernel::microcode::FOLDERS {
            tree.remove_below(folder, "the microcode is in the signed UKI, and a running kernel takes none");
        }
        let compression = Compression::from_recipe(&recipe.output)?;
        let stage1 = Content::of_file(&self.agent.join("stage1")).context("stage 1 can't be read")?;
        let extra = &recipe.kernel.initrd_modules;
        let (root, initrd) = rayon::join(
            || seal::seal(&tree, compression, lock.snapshot, store, progress),
            || initrd::build(&tree, &kernel, &stage1, extra, lock.snapshot, store, progress),
        );
        let (root, initrd) = (root?, initrd?);
        let command_line = CommandLine::new(&root.root_hash, &recipe.kernel.arguments)?;
        let addons = addons(recipe, &tools, &kernel, &command_line, signers)?;
        let mut more = Vec::new();
        if recipe.keys.enrol == Enrol::SetupMode {
            more.extend(enrolment.for_initrd()?);
        }
        more.extend(addon::list(&recipe.addon));
        let config_keys = recipe.keys.require_signed_config.then(|| keys.config_public()).transpose()?;
        let pcr_key = keys.pcr_certificate()?.map(|pem| pcr_key(&pem)).transpose()?;
        let parts = Parts {
            stub: &read_tool(&tools, assemble::uki::STUB)?,
            kernel: &kernel.image.read().context("the kernel can't be read")?,
            release: &kernel.release,
            initrd: &initrd.complete(&command_line, config_keys.as_deref(), &more)?,
            microcode: microcode.as_deref(),
            os_release: &tree.file("/usr/lib/os-release").context("the root has no /usr/lib/os-release")?.1.read()?,
            command_line: &command_line,
            pcr_public_key: pcr_key.as_deref(),
        };
        let unsigned = assemble::uki(&parts)?;
        let full = self.scope != Scope::Draft && recipe.output.artifacts.iter().any(|a| a.is_full());
        let full = full.then(|| assemble::full(&parts, &root, initrd.snapshot, store, progress)).transpose()?;
        let uki = sign::sign(&unsigned, signers.db, signers.pcr)?;
        if self.scope != Scope::Unsigned {
            uki.check_policy()?;
        }
        let full = full.map(|full| sign::sign_full(full, signers.db)).transpose()?;
        let inputs = package::Inputs {
            recipe,
            lock,
            tree: &tree,
            root: &root,
            kernel: &kernel.release,
            uki: &uki,
            full: full.as_ref(),
            keys,
            enrolment: &enrolment,
            addons: &addons,
        };
        package::write(&inputs, self.scope, &self.out, &tools, store, progress)?;
        let (name, version) = (recipe.image.name.clone(), recipe.image.version.clone());
        Ok(Built { name, version, root_hash: root.root_hash })
    }

    fn folder(&self) -> &Path {
        self.recipe.parent().unwrap_or(Path::new(""))
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
}

/// The signed addons that the recipe asks for.
fn addons(
    recipe: &Recipe,
    tools: &Tools,
    kernel: &kernel::Kernel,
    command_line: &CommandLine,
    signers: Signers,
) -> Result<Vec<SignedAddon>> {
    if recipe.addon.is_empty() {
        return Ok(Vec::new());
    }
    let unsigned = addon::addons(&recipe.addon, &read_tool(tools, addon::STUB)?, &kernel.release, command_line)?;
    unsigned.iter().map(|addon| sign::sign_addon(addon, signers.db)).collect()
}

fn pcr_key(certificate: &[u8]) -> Result<String> {
    let certificate = Certificate::from_pem(certificate).context("pcr.crt is no X.509 in PEM")?;
    pcr::public_key(&certificate)
}

fn read_tool(tools: &Tools, path: &str) -> Result<Vec<u8>> {
    let file = tools.file(path)?;
    std::fs::read(&file).with_context(|| format!("can't read {}", file.display()))
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

/// The pause program as the image that containerd makes sandboxes from, to be imported.
fn pause_archive(entries: &[ComponentEntry], lock: &Lock) -> Result<Option<ComponentEntry>> {
    let program = entries.iter().find_map(|entry| match &entry.what {
        ComponentKind::File(content, _) if entry.install.ends_with("/pause") => Some((content, &entry.origin)),
        _ => None,
    });
    let Some((content, origin)) = program else { return Ok(None) };
    let archive = oci_archive::archive(&content.read()?, lock.arch)?;
    Ok(Some(ComponentEntry {
        install: PAUSE_ARCHIVE.into(),
        what: ComponentKind::File(Content::bytes(archive), 0o644),
        origin: origin.clone(),
    }))
}

/// Refuses a kernel that lacks what a node needs.
fn check_kernel(tree: &Tree, kernel: &kernel::Kernel) -> Result<()> {
    let path = format!("/boot/config-{}", kernel.release);
    let config = tree.file(&path).with_context(|| format!("the root has no {path}"))?.1.read()?;
    kernel::check(&kernel.release, &String::from_utf8_lossy(&config))
}
