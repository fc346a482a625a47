//! Ready images: from a layout or an archive into the store and the lock, and from there to layers.
//!
//! Guarantees: nothing is in the store or in an image before its digest was held against what refers to it: the recipe's
//! `sha256` or `digest`, the manifest's descriptors, the configuration's `diff_ids`.

use super::source::{Source, blob};
use super::spec::{self, Config, Manifest, Packing};
use super::{Layer, layer, unpack};
use crate::arch::Arch;
use crate::digest::{OciDigest, Sha256};
use crate::lock::{Lock, LockedImage};
use crate::recipe::{ContainerImage, Recipe};
use crate::store::{Fetched, Store};
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::path::Path;

/// A ready image, as containerd is to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// All its names.
    pub names: Vec<String>,
    /// Digest of its manifest.
    pub digest: Sha256,
    /// Media type of its manifest.
    pub media_type: String,
    /// Its manifest, byte by byte.
    pub manifest: Vec<u8>,
    /// Its configuration.
    pub config: Vec<u8>,
    /// Its layers, the lowest first, each with the name of its folder.
    pub layers: Vec<(Sha256, Layer)>,
}

/// Locks the recipe's ready images. Their blobs are in the store then.
///
/// `get` fetches an address whose bytes have a known digest; paths are relative to `folder`, the recipe's.
///
/// # Errors
/// When one can't be had, is damaged, or is not for the recipe's architecture.
pub fn lock(
    recipe: &Recipe,
    folder: &Path,
    store: &Store,
    get: &dyn Fn(&str, &Sha256) -> Result<Fetched>,
) -> Result<Vec<LockedImage>> {
    recipe
        .container_image
        .iter()
        .filter(|image| image.is_ready())
        .map(|i| take(i, recipe, folder, store, get))
        .collect()
}

/// Brings the blobs of the lock's images into the store where it lacks them.
///
/// # Errors
/// When one can't be had, or is not what was locked.
pub fn fetch(
    recipe: &Recipe,
    folder: &Path,
    lock: &Lock,
    store: &Store,
    get: &dyn Fn(&str, &Sha256) -> Result<Fetched>,
) -> Result<()> {
    for image in recipe.container_image.iter().filter(|image| image.is_ready()) {
        let locked = locked(image, lock)?;
        if locked.blobs().all(|digest| store.blob(digest).is_some()) {
            continue;
        }
        let taken = take(image, recipe, folder, store, get)?;
        ensure!(
            taken == *locked,
            "the image {} is {}, where the lock says {}; run `bedplate lock`",
            locked.name,
            OciDigest(taken.manifest),
            OciDigest(locked.manifest)
        );
    }
    Ok(())
}

/// The ready images of a recipe, unpacked, from what [`fetch`] brought.
///
/// # Errors
/// When a layer is damaged or holds what can't be in a root.
pub fn open(recipe: &Recipe, lock: &Lock, store: &Store) -> Result<Vec<Ready>> {
    let ready = recipe.container_image.iter().filter(|image| image.is_ready());
    ready
        .map(|image| {
            let locked = locked(image, lock)?;
            unpacked(image, locked, lock.arch, store)
                .with_context(|| format!("the image {} can't be put into the root", locked.name))
        })
        .collect()
}

fn locked<'a>(image: &ContainerImage, lock: &'a Lock) -> Result<&'a LockedImage> {
    let name = image.name();
    let found = lock.container_image.iter().find(|locked| locked.name == name);
    found.with_context(|| format!("the lock does not have the image {name}; run `bedplate lock`"))
}

fn take(
    image: &ContainerImage,
    recipe: &Recipe,
    folder: &Path,
    store: &Store,
    get: &dyn Fn(&str, &Sha256) -> Result<Fetched>,
) -> Result<LockedImage> {
    let (name, arch) = (image.name(), recipe.image.arch);
    let taken = || -> Result<LockedImage> {
        let source = match (&image.url, &image.path, &image.sha256) {
            (Some(url), None, Some(sha256)) => Source::open(get(url, sha256)?.path())?,
            (None, Some(path), Some(sha256)) => {
                let path = folder.join(path);
                let reader = File::open(&path).with_context(|| format!("can't open {}", path.display()))?;
                Source::open(store.put(sha256, reader, &path.display().to_string())?.path())?
            }
            (None, Some(path), None) => Source::open(&folder.join(path))?,
            _ => bail!("it needs a url or a path, and a sha256 unless it is a folder"),
        };
        from(&source, image, arch, store)
    };
    taken().with_context(|| format!("the image {name} can't be had"))
}

/// Takes all blobs of the image that is meant into the store.
fn from(source: &Source, image: &ContainerImage, arch: Arch, store: &Store) -> Result<LockedImage> {
    let manifest = match source.text("index.json")? {
        Some(index) => {
            let digest = spec::pick(&index, image.digest, arch, &|digest| source.blob(digest))?;
            source.blob(&digest)?
        }
        None => {
            let text = source.text("manifest.json")?;
            let text =
                text.context("it has neither index.json (an OCI layout) nor manifest.json (a docker-archive)")?;
            let made = docker(source, &text, arch, store)?;
            let digest = OciDigest(Sha256::of(&made));
            if let Some(wanted) = image.digest.filter(|wanted| *wanted != digest) {
                bail!("the manifest that is made for it, as a docker-archive has none, is {digest} and not {wanted}");
            }
            made
        }
    };
    let digest = Sha256::of(&manifest);
    let parsed = Manifest::parse(&manifest)?;
    store.put_bytes(&manifest, "a manifest")?;
    for part in std::iter::once(&parsed.config).chain(&parsed.layers) {
        if store.blob(&part.digest.0).is_some() {
            continue;
        }
        let name = blob(&part.digest);
        let (reader, size) = source.reader(&name)?.with_context(|| format!("it has no {name}"))?;
        ensure!(size == part.size, "{name} has {size} bytes, where the manifest says {}", part.size);
        store.put(&part.digest.0, reader, &name)?;
    }
    let config = store.blob(&parsed.config.digest.0).context("the store has lost a configuration")?.read()?;
    Config::diff_ids(&config, arch, parsed.layers.len())?;
    for layer in &parsed.layers {
        Packing::of(&layer.media_type)?;
    }
    Ok(LockedImage {
        name: image.name().to_owned(),
        manifest: digest,
        config: parsed.config.digest.0,
        layers: parsed.layers.iter().map(|layer| layer.digest.0).collect(),
    })
}

/// Takes the parts of a docker-archive's image into the store, and gives a manifest for them.
fn docker(source: &Source, text: &[u8], arch: Arch, store: &Store) -> Result<Vec<u8>> {
    let image = spec::docker_image(text)?;
    let config = source.text(&image.config)?.with_context(|| format!("it has no {}", image.config))?;
    let ids = Config::diff_ids(&config, arch, image.layers.len())?;
    let mut layers = Vec::new();
    for (id, name) in ids.iter().zip(&image.layers) {
        let (reader, size) = source.reader(name)?.with_context(|| format!("it has no {name}"))?;
        store.put(id, reader, name)?;
        layers.push((*id, size));
    }
    let config = store.put_bytes(&config, "a configuration")?;
    Ok(spec::docker_manifest((config.digest(), config.size()), &layers))
}

fn unpacked(image: &ContainerImage, locked: &LockedImage, arch: Arch, store: &Store) -> Result<Ready> {
    let read = |digest: &Sha256| -> Result<Vec<u8>> {
        store.blob(digest).with_context(|| format!("its blob {digest} is not in the store"))?.read()
    };
    let (manifest, config) = (read(&locked.manifest)?, read(&locked.config)?);
    let parsed = Manifest::parse(&manifest)?;
    let ids = Config::diff_ids(&config, arch, parsed.layers.len())?;
    let origin = crate::compose::tree::Origin::Image(locked.name.clone(), OciDigest(locked.manifest).to_string());
    let mut layers = Vec::new();
    for (id, part) in ids.iter().zip(&parsed.layers) {
        let blob =
            store.blob(&part.digest.0).with_context(|| format!("its layer {} is not in the store", part.digest))?;
        let of = || format!("its layer {}", part.digest);
        let members = unpack::members(&blob, Packing::of(&part.media_type)?, id, store).with_context(of)?;
        let made = layer::layer(&members, &layers, &origin).with_context(of)?;
        layers.push(made);
    }
    Ok(Ready {
        names: names(image, &locked.manifest),
        digest: locked.manifest,
        media_type: parsed.media_type().to_owned(),
        manifest,
        config,
        layers: chain(&ids).into_iter().zip(layers).collect(),
    })
}

/// The image's names, and its repositories with its digest: so a pod that wants these very bytes finds them, too.
fn names(image: &ContainerImage, digest: &Sha256) -> Vec<String> {
    let mut names = image.names.clone();
    for name in &image.names {
        let repository = name.rsplit_once(':').map_or(name.as_str(), |(repository, _)| repository);
        let exact = format!("{repository}@{}", OciDigest(*digest));
        if !names.contains(&exact) {
            names.push(exact);
        }
    }
    names
}

/// What layers on top of each other are called (Image Configuration, "Layer ChainID").
fn chain(ids: &[Sha256]) -> Vec<Sha256> {
    let mut chain: Vec<Sha256> = Vec::new();
    for id in ids {
        let next = match chain.last() {
            Some(below) => Sha256::of(format!("{} {}", OciDigest(*below), OciDigest(*id))),
            None => *id,
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
pub(super) mod tests;
