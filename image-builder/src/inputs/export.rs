//! Lock -> a folder of everything it names.
#![allow(clippy::disallowed_methods, reason = "edge: writes the export")]

use super::{LOCAL, MODULES, RECIPE, SUMS, Told, blobs, list, releases};
use crate::agent;
use crate::components::{self, Workshop};
use crate::compose::overlay::Overlay;
use crate::digest::Sha256;
use crate::fetch;
use crate::images;
use crate::kernel;
use crate::lock::{FILE_NAME, Lock};
use crate::progress::{Progress, Task, Unit};
use crate::recipe::Recipe;
use crate::resolve::{self, local};
use crate::store::Store;
use crate::tools::Tools;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// What to export.
#[derive(Debug, Clone)]
pub struct Export {
    /// The recipe; its lock lies beside it.
    pub recipe: PathBuf,
    /// Where the agent's programs are.
    pub agent: PathBuf,
    /// The folder to make; it must not be there, or be empty.
    pub out: PathBuf,
    /// Whether the network is left alone.
    pub offline: bool,
}

/// Writes the export. What the store does not have is fetched first, as for a build.
///
/// # Errors
/// When something can't be had or is not what the lock says, naming it; there is no folder then.
pub fn export(what: &Export, store: &Store, progress: &Progress) -> Result<Told> {
    let recipe = Recipe::read(&what.recipe)?;
    let folder = what.recipe.parent().unwrap_or(Path::new(""));
    let resolve::Current { lock, agent } =
        resolve::current(&what.recipe, &recipe, &what.agent, store, progress, what.offline)?;
    if std::fs::read_dir(&what.out).is_ok_and(|mut entries| entries.next().is_some()) || what.out.is_file() {
        bail!("{} is there already; an export is written into a new or empty folder", what.out.display());
    }
    let inputs = fetch::all(&lock, &recipe, folder, store, progress, what.offline)?;
    for tree in lock.compile.values() {
        fetch::tree(tree, &recipe, folder, store, progress, what.offline)?;
    }
    let tools = Tools::open(store, lock.arch, &inputs.tool, progress)?;
    let workshop = Workshop { store, tools: &tools, progress };
    let get = |url: &str, digest: &_| fetch::file(url, digest, store, progress, what.offline);
    components::fetch(&recipe, folder, &lock, &workshop, what.offline, &get)?;
    for tree in lock.compile.values() {
        fetch::tree(tree, &recipe, folder, store, progress, what.offline)?;
    }
    if let Some((sources, locked)) = agent::sources_of(&recipe, folder)?.zip(lock.agent.as_ref()) {
        agent::Workshop::new(&recipe, folder, &lock, store, progress, what.offline).fetch(&sources, locked)?;
    }
    images::take::fetch(&recipe, folder, &lock, store, &get)?;
    let modules = components::module_files(&recipe, &lock, &workshop, what.offline)?;

    let parent = what.out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cant = || format!("can't write the export {}", what.out.display());
    std::fs::create_dir_all(parent).with_context(cant)?;
    let work = tempfile::Builder::new()
        .prefix(".bedplate-export-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir_in(parent)
        .with_context(cant)?;
    let task = progress.task("export", 0, Unit::Bytes);
    let mut writer = Writer { folder: work.path(), sums: BTreeMap::new(), bytes: 0, task };

    writer.bytes_of(FILE_NAME, lock.to_text()?.as_bytes())?;
    writer.copy(&what.recipe, RECIPE, None)?;
    for (path, digest) in blobs(&lock)? {
        let blob = store.blob(&digest).with_context(|| format!("the store has lost {path}"))?;
        writer.copy(blob.path(), &path, Some(digest))?;
    }
    for (path, digest) in releases(&lock)? {
        match store.blob(&digest) {
            Some(blob) => writer.copy(blob.path(), &path, Some(digest))?,
            None => progress.say(format!(
                "left out {path}: only the store of the machine that made the lock has it, and no build needs it"
            )),
        }
    }
    for (name, digest) in local_files(&recipe) {
        let source = folder.join(name);
        let name = name.file_name().map_or_else(|| "file".into(), |n| n.to_string_lossy());
        writer.copy(&source, &format!("file/{digest}/{name}"), Some(digest))?;
    }
    for (path, source) in modules {
        writer.copy(&source, &format!("{MODULES}/{path}"), None)?;
    }
    writer.local(&recipe, folder, &lock, &agent)?;

    let list = list::write(&writer.sums);
    std::fs::write(work.path().join(SUMS), &list).with_context(cant)?;
    let told = Told { files: writer.sums.len(), bytes: writer.bytes, sums: Sha256::of(&list) };
    nix::unistd::syncfs(&File::open(work.path())?).with_context(cant)?;
    std::fs::rename(work.path(), &what.out).with_context(cant)?;
    // It has another name now.
    let _ = work.keep();
    Ok(told)
}

/// Files of components that lie beside the recipe.
fn local_files(recipe: &Recipe) -> impl Iterator<Item = (&Path, Sha256)> {
    recipe.component.values().flat_map(|c| &c.files).filter_map(|file| Some((file.path.as_deref()?, file.sha256)))
}

struct Writer<'a> {
    folder: &'a Path,
    sums: BTreeMap<String, Sha256>,
    bytes: u64,
    task: Task,
}

impl Writer<'_> {
    /// Copies a file, and holds what was copied against the digest that is known of it.
    fn copy(&mut self, from: &Path, path: &str, expected: Option<Sha256>) -> Result<()> {
        let source = File::open(from).with_context(|| format!("can't read {}", from.display()))?;
        let digest = self.take(path, source).with_context(|| format!("can't export {}", from.display()))?;
        if let Some(expected) = expected
            && expected != digest
        {
            bail!(
                "{} has SHA-256 {digest} where the lock says {expected}; remove it and fetch it again",
                from.display()
            );
        }
        Ok(())
    }

    fn bytes_of(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.take(path, bytes).map(drop)
    }

    fn take(&mut self, path: &str, mut reader: impl Read) -> Result<Sha256> {
        let path = super::inside(path.to_owned())?;
        let to = self.folder.join(&path);
        std::fs::create_dir_all(to.parent().unwrap_or(self.folder))?;
        let mut file = File::create_new(&to)?;
        let mut hasher = <sha2::Sha256 as sha2::Digest>::new();
        let mut buffer = vec![0; 1 << 17];
        loop {
            let n = reader.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            sha2::Digest::update(&mut hasher, &buffer[..n]);
            file.write_all(&buffer[..n])?;
            self.bytes += n as u64;
            self.task.add(n as u64);
        }
        let digest = Sha256::from_hasher(hasher);
        self.sums.insert(path, digest);
        Ok(digest)
    }

    /// Overlays, the agent and the kernel's configuration, as the lock has them.
    fn local(&mut self, recipe: &Recipe, folder: &Path, lock: &Lock, agent: &Path) -> Result<()> {
        for named in &recipe.overlay {
            let overlay = Overlay::at(&folder.join(named));
            let below = format!("{LOCAL}/overlay/{}", overlay.name);
            self.overlay(&overlay.folder, &below)?;
        }
        for named in &recipe.kernel.config {
            let name = format!("kernel/{}", kernel::fragment_name(named));
            self.copy(&folder.join(named), &format!("{LOCAL}/{name}"), lock.local.get(&name).copied())?;
        }
        for name in local::AGENT {
            let digest = lock.local.get(&format!("agent/{name}")).copied();
            self.copy(&agent.join(name), &format!("{LOCAL}/agent/{name}"), digest)?;
        }
        Ok(())
    }

    fn overlay(&mut self, from: &Path, below: &str) -> Result<()> {
        let to = self.folder.join(below);
        let cant = || format!("can't export {}", from.display());
        std::fs::create_dir_all(&to).with_context(cant)?;
        let mut names = std::fs::read_dir(from)
            .with_context(cant)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<Vec<_>>>()
            .with_context(cant)?;
        names.sort();
        for name in names {
            let source = from.join(&name);
            let name = name.to_string_lossy();
            let meta = std::fs::symlink_metadata(&source).with_context(cant)?;
            let path = format!("{below}/{name}");
            if meta.is_dir() {
                self.overlay(&source, &path)?;
            } else if meta.is_symlink() {
                symlink(std::fs::read_link(&source)?, to.join(&*name)).with_context(cant)?;
            } else {
                self.copy(&source, &path, None)?;
                let mode = if meta.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
                std::fs::set_permissions(self.folder.join(&path), std::fs::Permissions::from_mode(mode))
                    .with_context(cant)?;
            }
        }
        Ok(())
    }
}
