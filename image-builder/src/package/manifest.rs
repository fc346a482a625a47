//! What a release is: one JSON text, and the sums that `sha256sum` checks. Pure.

use crate::arch::Arch;
use crate::digest::Sha256;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::name;

/// Format that this version writes and reads.
pub const FORMAT: u32 = 1;

/// Size and digest of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSum {
    /// Bytes.
    pub size: u64,
    /// Digest.
    pub sha256: Sha256,
}

/// An addon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddonSum {
    /// What it puts behind the command line.
    pub arguments: String,
    /// Digest of its file before it was signed.
    pub unsigned: Sha256,
}

/// A release's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the image.
    pub name: String,
    /// Version of the image.
    pub version: String,
    /// Architecture.
    pub arch: Arch,
    /// The moment all times come from, seconds since 1970.
    pub snapshot: i64,
    /// Digest of the lock.
    pub lock: Sha256,
    /// Version of the builder.
    pub builder: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Versions of the components, by component and module.
    pub components: BTreeMap<String, BTreeMap<String, String>>,
    /// The signed command line.
    pub command_line: String,
    /// dm-verity root hash: the image's identity.
    pub root_hash: Sha256,
    /// The EROFS image in slot A.
    pub root_image: FileSum,
    /// Digest of the UKI before it was signed, without its PCR policy: what somebody without the keys compares a
    /// rebuild with.
    pub unsigned_uki: Sha256,
    /// The same of the full UKI, if the release has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsigned_full_uki: Option<Sha256>,
    /// What PCR 11 (bank SHA-256) is when the kernel starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcr_11: Option<Sha256>,
    /// Addons by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addons: BTreeMap<String, AddonSum>,
    /// Container images that lie in the root: their names, and digests of their manifests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub container_images: BTreeMap<String, Sha256>,
    /// Every other file of the release, by its path in the folder.
    pub files: BTreeMap<String, FileSum>,
}

impl Manifest {
    /// As JSON, ended by a line feed.
    ///
    /// # Errors
    /// Never in practice: all of it can be JSON.
    pub fn to_text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Reads a manifest whose signature was checked.
    ///
    /// # Errors
    /// When it is of another format, or a path leads out of the folder.
    pub fn parse(text: &str) -> Result<Manifest> {
        let manifest: Manifest = serde_json::from_str(text).context("it is no manifest of format 1")?;
        if manifest.format != FORMAT {
            bail!("it has format {}; this version reads {FORMAT}", manifest.format);
        }
        let inside = |path: &str| path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        match manifest.files.keys().find(|path| !inside(path)) {
            Some(path) => bail!("it names {path:?}, which is no path in the release"),
            None => Ok(manifest),
        }
    }

    /// Text of `SHA256SUMS`, given the digest of the manifest itself.
    pub fn sums(&self, manifest: &Sha256) -> String {
        let mut sums: BTreeMap<&str, &Sha256> = self.files.iter().map(|(n, f)| (n.as_str(), &f.sha256)).collect();
        sums.insert(name::MANIFEST, manifest);
        sums.iter().map(|(name, sha256)| format!("{sha256}  {name}\n")).collect()
    }
}
