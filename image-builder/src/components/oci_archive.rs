//! A one-program OCI image as an archive, the form containerd imports: for a containerd that does not know the images of
//! the root by itself ([`crate::images`]).
//!
//! Follows the OCI Image Format Specification 1.1 (image layout, manifest, configuration) inside a tar. The
//! archive is a function of the program's bytes and the image's name: no time, no id from elsewhere.

use crate::arch::Arch;
use crate::digest::Sha256;
use crate::images::PAUSE_IMAGE;
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Where the image lies in the root; the agent imports it before the kubelet starts.
pub const PAUSE_ARCHIVE: &str = "/usr/share/bedplate/images/pause.tar";

/// An archive of the pause image: it holds `program` as `/pause` and starts it.
///
/// # Errors
/// When the program is too large for a tar member, which does not happen.
pub fn archive(program: &[u8], arch: Arch) -> Result<Vec<u8>> {
    let (image, name) = (PAUSE_IMAGE, "pause");
    let mut layer = tar::Builder::new(Vec::new());
    member(&mut layer, name, 0o755, program)?;
    let layer = layer.into_inner().context("the layer can't be finished")?;

    let config = json!({
        "architecture": arch.go(),
        "os": "linux",
        "config": { "Entrypoint": [format!("/{name}")], "User": "65535:65535" },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let config = text(&config);
    let manifest = text(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    }));
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = json!({ "io.containerd.image.name": image });
    let index = text(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    }));

    let mut out = tar::Builder::new(Vec::new());
    member(&mut out, "oci-layout", 0o644, &text(&json!({ "imageLayoutVersion": "1.0.0" })))?;
    member(&mut out, "index.json", 0o644, &index)?;
    for blob in [&config, &layer, &manifest] {
        member(&mut out, &format!("blobs/sha256/{}", Sha256::of(blob)), 0o644, blob)?;
    }
    out.into_inner().context("the archive can't be finished")
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::of(bytes))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

fn member(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    tar.append_data(&mut header, path, bytes).with_context(|| format!("{path} can't be put in the archive"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;

    fn members(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(bytes);
        let mut out = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            out.insert(path, content);
        }
        out
    }

    /// Follows the descriptors from the index down to the program, checking each digest on the way.
    #[test]
    fn every_descriptor_leads_to_its_blob() {
        let bytes = archive(b"program", Arch::Amd64).unwrap();
        let files = members(&bytes);
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let blob = files[&format!("blobs/sha256/{digest}")].clone();
            assert_eq!(Sha256::of(&blob).to_string(), digest);
            assert_eq!(descriptor["size"], blob.len());
            blob
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], PAUSE_IMAGE);
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        let layer = blob(&manifest["layers"][0]);
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", Sha256::of(&layer)));
        assert_eq!(members(&layer)["pause"], b"program");
    }

    #[test]
    fn the_same_program_gives_the_same_archive() {
        let make = || archive(b"program", Arch::Amd64).unwrap();
        assert_eq!(make(), make());
    }
}
