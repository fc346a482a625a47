//! An OCI image layout (OCI Image Format Specification 1.1) whose layers are folders. Pure.
//!
//! ```text
//! oci-layout, index.json             as the specification has them
//! blobs/sha256/DIGEST                manifests, configurations, and for each composed layer a line that names its folder
//! layers/CHAIN-ID/                   a layer on top of those below it, as overlayfs wants it
//! ```

use super::take::Ready;
use super::{Image, Layer, Run};
use crate::arch::Arch;
use crate::digest::{OciDigest, Sha256};
use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Ours: nobody who meets such a layer elsewhere takes it for an archive.
const LAYER: &str = "application/vnd.bedplate.image.layer.v1+json";
/// By which containerd knows an image of a layout by name.
const NAME: &str = "io.containerd.image.name";

/// Name of the layout's list of images.
pub(super) const INDEX_FILE: &str = "index.json";

/// Where a layer's files lie in the layout.
pub(super) fn folder(layer: &Sha256) -> String {
    format!("layers/{layer}")
}

/// An image, as it lies in the layout.
pub(super) struct Laid {
    names: Vec<String>,
    media_type: String,
    manifest: Vec<u8>,
    /// Its other blobs.
    blobs: Vec<Vec<u8>>,
    /// Its layers, the lowest first, each with the name of its folder.
    pub layers: Vec<(Sha256, Layer)>,
}

/// A composed image: manifest and configuration are made here.
pub(super) fn composed(image: Image, arch: Arch) -> Laid {
    let mut blobs = Vec::new();
    let mut add = |media_type: &str, bytes: Vec<u8>| {
        let (digest, size) = (Sha256::of(&bytes), bytes.len());
        blobs.push(bytes);
        json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size })
    };
    let layers: Vec<(Sha256, Layer)> = image.layers.into_iter().map(|layer| (layer.id(), layer)).collect();
    let ids: Vec<Sha256> = layers.iter().map(|(id, _)| *id).collect();
    let listed: Vec<Value> = ids.iter().map(|id| add(LAYER, text(&json!({ "folder": folder(id) })))).collect();
    let config = add(CONFIG, text(&configuration(&image.run, &ids, arch)));
    let manifest = text(&json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": listed }));
    Laid { names: image.names, media_type: MANIFEST.into(), manifest, blobs, layers }
}

/// A ready image: byte by byte what it was. Blobs of its layers are left out, as containerd leaves them out with
/// `discard_unpacked_layers`.
pub(super) fn ready(image: &Ready) -> Laid {
    let Ready { names, media_type, manifest, config, layers, .. } = image.clone();
    Laid { names, media_type, manifest, blobs: vec![config], layers }
}

/// Every file of the layout but those of layers.
pub(super) fn layout(images: &[Laid]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::from([("oci-layout".to_owned(), text(&json!({ "imageLayoutVersion": "1.0.0" })))]);
    let mut manifests = Vec::new();
    for image in images {
        for bytes in image.blobs.iter().chain([&image.manifest]) {
            files.insert(format!("blobs/sha256/{}", Sha256::of(bytes)), bytes.clone());
        }
        let digest = OciDigest(Sha256::of(&image.manifest)).to_string();
        for name in &image.names {
            manifests.push(json!({
                "mediaType": image.media_type,
                "digest": digest,
                "size": image.manifest.len(),
                "annotations": { NAME: name },
            }));
        }
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    files.insert(INDEX_FILE.into(), text(&index));
    files
}

/// The names in a layout's index, and the digests of the manifests that they are of.
pub(super) fn names(index: &[u8]) -> Result<BTreeMap<String, Sha256>> {
    #[derive(Deserialize)]
    struct Index {
        manifests: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        digest: OciDigest,
        annotations: BTreeMap<String, String>,
    }
    let Index { manifests } = serde_json::from_slice(index)?;
    Ok(manifests.into_iter().filter_map(|mut e| Some((e.annotations.remove(NAME)?, e.digest.0))).collect())
}

fn configuration(run: &Run, ids: &[Sha256], arch: Arch) -> Value {
    let Run { entrypoint, arguments, environment, user, folder } = run;
    let mut config = serde_json::Map::new();
    let lists = [("Entrypoint", entrypoint), ("Cmd", arguments), ("Env", environment)];
    config.extend(lists.into_iter().filter(|(_, list)| !list.is_empty()).map(|(key, list)| (key.into(), json!(list))));
    let texts = [("User", user), ("WorkingDir", folder)];
    config.extend(texts.into_iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| (key.into(), json!(text))));
    let ids: Vec<String> = ids.iter().map(|id| format!("sha256:{id}")).collect();
    json!({
        "architecture": arch.go(),
        "os": "linux",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": ids },
    })
}

fn text(value: &Value) -> Vec<u8> {
    (value.to_string() + "\n").into_bytes()
}
