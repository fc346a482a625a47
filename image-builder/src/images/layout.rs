//! An OCI image layout (OCI Image Format Specification 1.1) whose layers are folders. Pure.
//!
//! ```text
//! oci-layout, index.json             as the specification has them
//! blobs/sha256/DIGEST                manifests, configurations, and for each layer one line that names its folder
//! layers/DIFF-ID/                    a layer, as overlayfs wants it
//! ```

use super::{Image, Run};
use crate::arch::Arch;
use crate::digest::Sha256;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Ours: nobody who meets such a layer elsewhere takes it for an archive.
const LAYER: &str = "application/vnd.bedplate.image.layer.v1+json";
/// By which containerd knows an image of a layout by name.
const NAME: &str = "io.containerd.image.name";

/// Where a layer's files lie in the layout.
pub(super) fn folder(layer: &Sha256) -> String {
    format!("layers/{layer}")
}

/// Every file of the layout but those of layers.
pub(super) fn layout(images: &[Image], arch: Arch) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::from([("oci-layout".to_owned(), text(&json!({ "imageLayoutVersion": "1.0.0" })))]);
    let mut manifests = Vec::new();
    for image in images {
        let mut add = |media_type: &str, bytes: Vec<u8>| {
            let (digest, size) = (Sha256::of(&bytes), bytes.len());
            files.insert(format!("blobs/sha256/{digest}"), bytes);
            json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size })
        };
        let ids: Vec<Sha256> = image.layers.iter().map(super::Layer::id).collect();
        let layers: Vec<Value> = ids.iter().map(|id| add(LAYER, text(&json!({ "folder": folder(id) })))).collect();
        let config = add(CONFIG, text(&configuration(&image.run, &ids, arch)));
        let manifest = text(&json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers }));
        let entry = add(MANIFEST, manifest);
        for name in &image.names {
            let mut entry = entry.clone();
            entry["annotations"] = json!({ NAME: name });
            manifests.push(entry);
        }
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    files.insert("index.json".into(), text(&index));
    files
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
