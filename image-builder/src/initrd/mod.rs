//! Tree + stage 1 -> [`Initrd`]: a few files of the root, never a second install.
//!
//! Guarantees: kernel modules are byte for byte those of the package once decompressed, so that their
//! signatures hold under lockdown; equal inputs give equal bytes. The layout is in `docs/image-layout.md`.
#![allow(clippy::disallowed_methods, reason = "edge: writes the stage's output")]

pub mod cpio;
mod modinfo;
mod modules;
pub mod root;

use crate::assemble::CommandLine;
use crate::compose::tree::{Content, Kind, Tree};
use crate::kernel::Kernel;
use crate::progress::Progress;
use crate::stage::StageKey;
use crate::store::Store;
use anyhow::{Context, Result};
use modinfo::{ModInfo, canonical};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;

/// Raised when equal inputs give other bytes than before.
const REVISION: u32 = 2;

/// zstd level: the kernel unpacks all levels at the same speed. The next ones take a multiple of the time for little.
const LEVEL: i32 = 12;

/// The part of the initrd that does not depend on the root hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initrd {
    /// A compressed cpio archive, its size a multiple of 4.
    pub archive: PathBuf,
    /// The time that its entries carry.
    pub snapshot: i64,
}

/// Makes the initrd of a kernel of the tree, or takes the store's. `stage1` becomes `/init`; `extra` are modules to
/// load at every start beside the builder's own.
///
/// # Errors
/// When the kernel lacks a module that the start needs, or a module can't be read.
pub fn build(
    tree: &Tree,
    kernel: &Kernel,
    stage1: &Content,
    extra: &[String],
    snapshot: i64,
    store: &Store,
    progress: &Progress,
) -> Result<Initrd> {
    let mut modules = KernelModules::new(tree, kernel)?;
    let mut key = StageKey::new("initrd", REVISION)
        .with("stage1", stage1.digest())
        .with("snapshot", snapshot)
        .with("built-in", modules.built_in.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
        .with("zstd", format!("{} level {LEVEL}", zstd::zstd_safe::version_number()));
    for name in extra {
        key = key.with("extra", name);
    }
    for (name, content) in &modules.files {
        key = key.with(name, content.digest());
    }
    let output = store.output(&key, |folder| {
        let always: Vec<String> = modules::ALWAYS.iter().copied().map(str::to_owned).collect();
        let always: Vec<String> = always.into_iter().chain(extra.iter().map(|m| canonical(m))).collect();
        let mut selection = modules::select(&always, &modules::DRIVERS, &mut modules)?;
        selection.add(modules::EMBEDDED_ROOT, &mut modules)?;
        if !selection.absent.is_empty() {
            progress.say(format!("the kernel {} has no {}", kernel.release, selection.absent.join(", ")));
        }
        let mut archive = cpio::Archive::new(snapshot);
        for path in ["/dev", "/lib", "/lib/modules", "/proc", "/run", "/sys", "/sysroot"] {
            archive.folder(path)?;
        }
        archive.character_device("/dev/console", 0o600, (5, 1))?;
        archive.file("/init", 0o755, &stage1.read()?)?;
        archive.file("/lib/modules/load", 0o644, selection.load_text().as_bytes())?;
        archive.file("/lib/modules/alias", 0o644, selection.alias_text().as_bytes())?;
        for name in &selection.taken {
            archive.file(&modules::path(name), 0o644, &modules.read(name)?)?;
        }
        let mut compressed = zstd::encode_all(&archive.finish()?[..], LEVEL).context("can't compress the initrd")?;
        compressed.resize(compressed.len().next_multiple_of(4), 0);
        let path = folder.join(ARCHIVE);
        std::fs::write(&path, compressed).with_context(|| format!("can't write {}", path.display()))
    })?;
    Ok(Initrd { archive: output.file(ARCHIVE), snapshot })
}

const ARCHIVE: &str = "initrd.cpio.zst";

impl Initrd {
    /// The whole initrd of one image: the archive, and behind it a small one with the signed command line
    /// and the public keys that sign configurations (lines of a `.pub` file), if they are asked for, and whatever
    /// `more` names, each with its folder.
    ///
    /// # Errors
    /// When the store lost the archive.
    pub fn complete(
        &self,
        command_line: &CommandLine,
        config_keys: Option<&str>,
        more: &[(String, Vec<u8>)],
    ) -> Result<Vec<u8>> {
        let mut bytes =
            std::fs::read(&self.archive).with_context(|| format!("the store lost {}", self.archive.display()))?;
        let mut archive = cpio::Archive::new(self.snapshot);
        archive.file("/cmdline", 0o444, command_line.as_str().as_bytes())?;
        if let Some(keys) = config_keys {
            archive.file("/config-key", 0o444, keys.as_bytes())?;
        }
        let mut folders = BTreeSet::new();
        for (path, content) in more {
            match path.rsplit_once('/') {
                Some((folder, _)) if !folder.is_empty() && folders.insert(folder) => archive.folder(folder)?,
                _ => {}
            }
            archive.file(path, 0o444, content)?;
        }
        bytes.extend(archive.finish()?);
        Ok(bytes)
    }
}

/// The modules `wanted` of a kernel of the tree, as far as it has them as files, and all they need: name and bytes,
/// decompressed, each after what it needs.
///
/// # Errors
/// When one of them is neither built in nor a file, or can't be read.
pub fn modules_in_order(tree: &Tree, kernel: &Kernel, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut modules = KernelModules::new(tree, kernel)?;
    let wanted: Vec<String> = wanted.iter().map(|name| canonical(name)).collect();
    let selection = modules::select(&wanted, &[], &mut modules)?;
    selection.load.into_iter().map(|name| Ok((name.clone(), modules.read(&name)?))).collect()
}

/// The modules of a kernel in a tree.
struct KernelModules {
    files: BTreeMap<String, Content>,
    built_in: BTreeSet<String>,
    compressed: BTreeSet<String>,
    /// Read once each.
    infos: BTreeMap<String, ModInfo>,
}

impl KernelModules {
    fn new(tree: &Tree, kernel: &Kernel) -> Result<KernelModules> {
        let folder = kernel.modules();
        let mut modules = KernelModules {
            files: BTreeMap::new(),
            built_in: BTreeSet::new(),
            compressed: BTreeSet::new(),
            infos: BTreeMap::new(),
        };
        for (path, entry) in tree.below(&format!("{folder}/kernel")) {
            let Kind::File(content) = &entry.kind else { continue };
            let plain = path.name().strip_suffix(".ko");
            let Some(name) = plain.or_else(|| path.name().strip_suffix(".ko.xz")) else { continue };
            if plain.is_none() {
                modules.compressed.insert(canonical(name));
            }
            modules.files.insert(canonical(name), content.clone());
        }
        let path = format!("{folder}/modules.builtin");
        let (_, list) = tree.file(&path).with_context(|| format!("the root has no {path}"))?;
        let list = String::from_utf8(list.read()?).with_context(|| format!("{path} is no text"))?;
        let names = list.lines().filter_map(|line| line.rsplit('/').next()?.strip_suffix(".ko"));
        modules.built_in = names.map(canonical).collect();
        Ok(modules)
    }

    /// A module, decompressed.
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let failed = || format!("the kernel module {name} can't be read");
        let content = self.files.get(name).with_context(failed)?;
        let mut bytes = Vec::new();
        if self.compressed.contains(name) {
            liblzma::read::XzDecoder::new(content.reader()?).read_to_end(&mut bytes).with_context(failed)?;
        } else {
            content.reader()?.read_to_end(&mut bytes).with_context(failed)?;
        }
        Ok(bytes)
    }
}

impl modules::Modules for KernelModules {
    fn is_built_in(&self, name: &str) -> bool {
        self.built_in.contains(name)
    }
    fn exists(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }
    fn info(&mut self, name: &str) -> Result<ModInfo> {
        if let Some(info) = self.infos.get(name) {
            return Ok(info.clone());
        }
        let info = modinfo::parse(&self.read(name)?)
            .map_err(|why| anyhow::anyhow!("the kernel module {name} can't be read: {why}"))?;
        self.infos.insert(name.to_owned(), info.clone());
        Ok(info)
    }
}
