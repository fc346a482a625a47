//! An export -> the store, every byte held against the list and the lock.

use super::{LOCAL, MODULES, SUMS, Told, blobs, list, releases};
use crate::components;
use crate::compose::overlay::Overlay;
use crate::digest::Sha256;
use crate::lock::{FILE_NAME, Lock};
use crate::progress::{Progress, Unit};
use crate::resolve::local;
use crate::store::Store;
use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

/// Takes an export into the store.
///
/// # Errors
/// When a file is missing, altered or not in the list, or the lock wants another; the error names it. What was checked
/// until then stays in the store.
pub fn import(folder: &Path, store: &Store, progress: &Progress) -> Result<Told> {
    let cant = || format!("{} can't be imported", folder.display());
    let text = std::fs::read_to_string(folder.join(SUMS))
        .with_context(|| format!("{} is no export: its {SUMS} can't be read", folder.display()))?;
    let sums = list::read(&text).with_context(|| format!("{SUMS} of {}", folder.display()))?;
    whole(folder, &sums)?;
    let lock = lock(folder, &sums).with_context(cant)?;

    let mut wanted = blobs(&lock).with_context(cant)?;
    for (path, digest) in &wanted {
        match sums.get(path) {
            Some(listed) if listed == digest => {}
            Some(listed) => bail!("{path} is listed with SHA-256 {listed}, where the lock says {digest}"),
            None => bail!("{path} is not in the export, and the lock wants it"),
        }
    }
    for (path, digest) in releases(&lock).with_context(cant)? {
        match sums.get(&path) {
            Some(listed) if *listed == digest => drop(wanted.insert(path, digest)),
            Some(listed) => bail!("{path} is listed with SHA-256 {listed}, where the lock says {digest}"),
            None => progress.say(format!("the export has no {path}; no build needs it")),
        }
    }
    // Files of components that lie beside the recipe: the folder says the digest, which the recipe knows.
    wanted.extend(
        sums.iter().filter(|(path, _)| path.starts_with("file/")).map(|(path, digest)| (path.clone(), *digest)),
    );

    let task = progress.task("import", sums.len() as u64, Unit::Count("files"));
    let bytes = sums
        .par_iter()
        .map(|(path, digest)| {
            let file = File::open(folder.join(path)).with_context(|| format!("{path} can't be read"))?;
            let size = file.metadata()?.len();
            if wanted.contains_key(path) && store.blob(digest).is_none() {
                store.put(digest, file, path)?;
            } else {
                let (found, _) = Sha256::of_reader(file).with_context(|| format!("{path} can't be read"))?;
                if found != *digest {
                    bail!("{path} is altered: its {size} bytes have SHA-256 {found}, where {digest} is right");
                }
            }
            task.add(1);
            Ok(size)
        })
        .sum::<Result<u64>>()
        .with_context(cant)?;
    drop(task);
    local_inputs(folder, &lock)?;
    components::import_modules(&folder.join(MODULES), &lock, store, progress).with_context(cant)?;
    Ok(Told { files: sums.len(), bytes, sums: Sha256::of(&text) })
}

/// The export's lock, as it was listed: it says what the rest must be.
fn lock(folder: &Path, sums: &BTreeMap<String, Sha256>) -> Result<Lock> {
    let listed = sums.get(FILE_NAME).with_context(|| format!("it has no {FILE_NAME}"))?;
    let bytes = std::fs::read(folder.join(FILE_NAME)).with_context(|| format!("{FILE_NAME} can't be read"))?;
    let found = Sha256::of(&bytes);
    if found != *listed {
        bail!("{FILE_NAME} is altered: it has SHA-256 {found}, where {listed} is right");
    }
    Lock::parse(std::str::from_utf8(&bytes)?).with_context(|| format!("{FILE_NAME} can't be read"))
}

/// Neither more nor less than the list says.
fn whole(folder: &Path, sums: &BTreeMap<String, Sha256>) -> Result<()> {
    let mut found = list::files(folder)?;
    found.remove(SUMS);
    let listed: BTreeSet<String> = sums.keys().cloned().collect();
    if let Some(missing) = listed.difference(&found).next() {
        bail!("{missing} is in the list of {} and not in the folder", folder.display());
    }
    if let Some(more) = found.difference(&listed).next() {
        bail!("{more} is in {} and not in its list; remove it if it does not belong there", folder.display());
    }
    Ok(())
}

/// Overlays and the agent are not taken into the store: a build has them beside the recipe. They are those of the lock.
fn local_inputs(folder: &Path, lock: &Lock) -> Result<()> {
    let mut found = BTreeMap::new();
    let overlays = folder.join(LOCAL).join("overlay");
    if overlays.is_dir() {
        for entry in std::fs::read_dir(&overlays)? {
            let overlay = Overlay::at(&entry?.path());
            let digests = overlay.digests()?;
            found
                .extend(digests.into_iter().map(|(path, digest)| (format!("overlay/{}/{path}", overlay.name), digest)));
        }
    }
    let kernel = folder.join(LOCAL).join("kernel");
    if kernel.is_dir() {
        for entry in std::fs::read_dir(&kernel)? {
            let path = entry?.path();
            let digest = Sha256::of_reader(File::open(&path)?)?.0;
            found.insert(format!("kernel/{}", crate::kernel::fragment_name(&path)), digest);
        }
    }
    for name in local::AGENT {
        if let Ok(file) = File::open(folder.join(LOCAL).join("agent").join(name)) {
            found.insert(format!("agent/{name}"), Sha256::of_reader(file)?.0);
        }
    }
    let differ = local::differences(&lock.local, &found);
    if !differ.is_empty() {
        bail!(
            "the overlays and the agent in {} are not those of its lock: {}",
            folder.display(),
            crate::lock::shorten(&differ)
        );
    }
    Ok(())
}
