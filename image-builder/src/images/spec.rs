//! What the files of a ready image say, and which image of several is meant. Pure.
//!
//! Formats: OCI Image Format Specification 1.1 (Image Layout, Image Index, Image Manifest, Image Configuration), Docker
//! Image Manifest V2 Schema 2, and the `manifest.json` of Docker Image Specification 1.2 ("Combined Image JSON").

use crate::arch::Arch;
use crate::digest::{OciDigest, Sha256};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Of a manifest that does not say what it is.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// How deep indexes are followed into each other.
const DEPTH: usize = 4;

/// What refers to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: OciDigest,
    pub size: u64,
    pub platform: Option<Platform>,
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Platform {
    pub architecture: String,
    pub os: String,
}

impl Platform {
    fn is(&self, arch: Arch) -> bool {
        self.os == "linux" && self.architecture == arch.go()
    }
}

/// An index, also `index.json` of a layout.
#[derive(Debug, Deserialize)]
pub(super) struct Index {
    manifests: Vec<Descriptor>,
}

/// A manifest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    media_type: Option<String>,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

impl Manifest {
    /// Reads a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Manifest> {
        serde_json::from_slice(bytes).context("its manifest can't be read")
    }

    /// What containerd is told that the manifest is.
    pub fn media_type(&self) -> &str {
        self.media_type.as_deref().unwrap_or(MANIFEST)
    }
}

/// The part of a configuration that is of interest here.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    #[serde(flatten)]
    platform: Platform,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<OciDigest>,
}

impl Config {
    /// The digests of an image's unpacked layers, if it is one for `arch` and has as many layers as its manifest.
    ///
    /// # Errors
    /// When it is not.
    pub fn diff_ids(bytes: &[u8], arch: Arch, layers: usize) -> Result<Vec<Sha256>> {
        let Config { platform, rootfs } = serde_json::from_slice(bytes).context("its configuration can't be read")?;
        ensure!(
            platform.is(arch),
            "it is an image for {}/{}, and the recipe's architecture needs one for linux/{}",
            platform.os,
            platform.architecture,
            arch.go()
        );
        ensure!(
            rootfs.diff_ids.len() == layers && layers > 0,
            "its manifest has {layers} layers and its configuration names {}",
            rootfs.diff_ids.len()
        );
        Ok(rootfs.diff_ids.iter().map(|id| id.0).collect())
    }
}

/// The digest of the manifest that is meant: the one with the digest `wanted`, or that for `arch` of the index so named;
/// without `wanted`, the only one for `arch` of `index`. `blob` gives the bytes of a digest, checked.
///
/// # Errors
/// When there is none, or several.
pub(super) fn pick(
    index: &[u8],
    wanted: Option<OciDigest>,
    arch: Arch,
    blob: &dyn Fn(&OciDigest) -> Result<Vec<u8>>,
) -> Result<OciDigest> {
    let mut at = wanted;
    let mut bytes = match wanted {
        Some(digest) => blob(&digest)?,
        None => index.to_vec(),
    };
    for _ in 0..DEPTH {
        let value: Value = serde_json::from_slice(&bytes).context("its index can't be read")?;
        if value.get("manifests").is_none() {
            return at.context("its index.json names no images");
        }
        let index: Index = serde_json::from_value(value).context("its index can't be read")?;
        let next = only(&index.manifests, arch)?;
        at = Some(next);
        bytes = blob(&next)?;
    }
    bail!("its indexes lie in each other more than {DEPTH} deep")
}

/// The only one that may be for `arch`. Under several names an image counts once.
fn only(all: &[Descriptor], arch: Arch) -> Result<OciDigest> {
    let fits = |d: &&Descriptor| d.platform.as_ref().is_none_or(|platform| platform.is(arch));
    let mut found: Vec<OciDigest> = all.iter().filter(fits).map(|d| d.digest).collect();
    found.sort();
    found.dedup();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => {
            let others: Vec<String> = all
                .iter()
                .filter_map(|d| d.platform.as_ref())
                .map(|p| format!("{}/{}", p.os, p.architecture))
                .collect();
            bail!("it has no image for linux/{}; it has {}", arch.go(), crate::lock::shorten(&others))
        }
        several => {
            let several: Vec<String> = several.iter().map(OciDigest::to_string).collect();
            bail!(
                "it has {} images for linux/{}; say which with digest: {}",
                several.len(),
                arch.go(),
                crate::lock::shorten(&several)
            )
        }
    }
}

/// One image of a docker-archive's `manifest.json`: the paths of its parts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    pub config: String,
    pub layers: Vec<String>,
}

/// The only image of a docker-archive.
///
/// # Errors
/// When there is none, or several, of which a digest could not tell one.
pub(super) fn docker_image(text: &[u8]) -> Result<DockerImage> {
    let mut all: Vec<DockerImage> = serde_json::from_slice(text).context("its manifest.json can't be read")?;
    ensure!(all.len() == 1, "its manifest.json names {} images; save one alone", all.len());
    all.pop().context("its manifest.json names no image")
}

/// The manifest of a docker-archive's image, which has none: digest and size of its configuration, and of each layer.
/// Layers of such an archive are not compressed.
pub(super) fn docker_manifest(config: (Sha256, u64), layers: &[(Sha256, u64)]) -> Vec<u8> {
    let describe = |kind: &str, (digest, size): (Sha256, u64)| {
        BTreeMap::from([
            ("mediaType", json!(format!("application/vnd.oci.image.{kind}"))),
            ("digest", json!(OciDigest(digest).to_string())),
            ("size", json!(size)),
        ])
    };
    let layers: Vec<_> = layers.iter().map(|layer| describe("layer.v1.tar", *layer)).collect();
    let config = describe("config.v1+json", config);
    json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers }).to_string().into_bytes()
}

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    /// What a layer's media type says (Image Layer Filesystem Changeset, "`+gzip` Media Types" and "`+zstd`").
    ///
    /// # Errors
    /// When it is none of a layer.
    pub fn of(media_type: &str) -> Result<Packing> {
        match media_type.rsplit(['.', '+']).next() {
            Some("tar") => Ok(Packing::None),
            Some("gzip") => Ok(Packing::Gzip),
            Some("zstd") => Ok(Packing::Zstd),
            _ => bail!("a layer is of the media type {media_type:?}; known are tar, tar+gzip and tar+zstd"),
        }
    }
}
