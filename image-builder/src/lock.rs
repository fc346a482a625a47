//! The lock: every input of an image by SHA-256.
//!
//! Made by `bedplate lock`, read by everything after. A build from a lock needs nothing but what it names.

use crate::agent::LockedAgent;
use crate::arch::Arch;
use crate::digest::Sha256;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A whole lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lock {
    /// Format of this file; this version reads and writes 1.
    pub format: u32,
    /// Digest of the recipe's meaning (parsed, not its comments); another recipe needs another lock.
    pub recipe: Sha256,
    /// The moment all times in artifacts come from: seconds since 1970 of the newest `Release` date.
    pub snapshot: i64,
    /// Architecture.
    pub arch: Arch,
    /// What each suite's `Release` was.
    pub suite: Vec<Suite>,
    /// Packages of the root, by name.
    pub package: Vec<Package>,
    /// Packages of the tools tree, by name.
    pub tool: Vec<Package>,
    /// Packages of the trees that compile one thing each, by the thing (`agent`, `kernel`) and name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub compile: BTreeMap<String, Vec<Package>>,
    /// Users of the image, with pinned ids.
    pub user: Vec<User>,
    /// Groups of the image, with pinned ids.
    pub group: Vec<Group>,
    /// Maintainer scripts of the root's packages, each with its reviewed verdict.
    pub script: Vec<Script>,
    /// Components by name.
    pub component: BTreeMap<String, LockedComponent>,
    /// What the agent is compiled from; none if its programs were taken from a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<LockedAgent>,
    /// Container images that are taken ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub container_image: Vec<LockedImage>,
    /// Files from the recipe's side: overlays (`overlay/NAME/PATH`, over mode and bytes), the agent
    /// (`agent/firstboot`, `agent/stage1`), fragments of a kernel's configuration (`kernel/NAME`). Files of components beside the recipe have their digest there.
    pub local: BTreeMap<String, Sha256>,
}

/// One suite of one archive, as it was when locked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Suite {
    /// The recipe's name of the archive.
    pub archive: String,
    /// Suite.
    pub suite: String,
    /// Digest of its `InRelease`.
    pub in_release: Sha256,
    /// Its `Date`, seconds since 1970.
    pub date: i64,
    /// Fingerprint of the key that signed it.
    pub signed_by: String,
}

/// One binary package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// The recipe's name of the archive it comes from.
    pub archive: String,
    /// Suite it comes from.
    pub suite: String,
    /// Path below the archive's address.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest of the `.deb`.
    pub sha256: Sha256,
    /// Why it is in: the recipe, or the packages that depend on it.
    pub wanted_by: Vec<String>,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub comment: String,
    pub home: String,
    pub shell: String,
    /// Where it comes from: `base-passwd`, or the `sysusers.d` file.
    pub from: String,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Group {
    pub name: String,
    pub gid: u32,
    #[serde(default)]
    pub members: Vec<String>,
    /// Where it comes from.
    pub from: String,
}

/// One maintainer script and what was decided about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Script {
    /// Package.
    pub package: String,
    /// `preinst`, `postinst`, `prerm`, `postrm`, `triggers`, `config`.
    pub script: String,
    /// Digest of its normalised text.
    pub sha256: Sha256,
    /// `ignore` or `emulate:NAME`.
    pub verdict: String,
}

/// One component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedComponent {
    /// Versions, as in the recipe.
    #[serde(default)]
    pub version: BTreeMap<String, String>,
    /// Text of `go.mod`, for a component built from modules.
    pub go_mod: Option<String>,
    /// Text of `go.sum`.
    pub go_sum: Option<String>,
    /// Modules that are compiled in (`PATH@VERSION`, in order); `go_sum` has their digests.
    #[serde(default)]
    pub modules: Vec<String>,
    /// When the component's first module was released, RFC 3339 in UTC.
    pub released: Option<String>,
    /// Digest of the Go sources that ship with the builder.
    pub source: Option<Sha256>,
    /// Files fetched: address -> digest.
    #[serde(default)]
    pub files: BTreeMap<String, Sha256>,
}

/// One container image that is taken ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedImage {
    /// Its first name in the recipe.
    pub name: String,
    /// Digest of its manifest, which containerd knows it by.
    pub manifest: Sha256,
    /// Digest of its configuration.
    pub config: Sha256,
    /// Digests of its layers as they are packed, the lowest first.
    pub layers: Vec<Sha256>,
}

impl LockedImage {
    /// Everything that it is made of.
    pub fn blobs(&self) -> impl Iterator<Item = &Sha256> {
        [&self.manifest, &self.config].into_iter().chain(&self.layers)
    }
}

/// The format this version reads and writes.
pub const FORMAT: u32 = 1;
/// Name of the lock beside a recipe.
pub const FILE_NAME: &str = "bedplate.lock";

impl Lock {
    /// The lock's file for a recipe's file: beside it.
    pub fn path_for(recipe: &Path) -> PathBuf {
        recipe.with_file_name(FILE_NAME)
    }

    /// Reads a lock; none if there is no file.
    ///
    /// # Errors
    /// When it can't be read or is of another format.
    pub fn read(path: &Path) -> Result<Option<Lock>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("can't read the lock {}", path.display())),
        };
        Lock::parse(&text)
            .with_context(|| format!("can't read the lock {}; make it anew with `bedplate lock`", path.display()))
            .map(Some)
    }

    /// Reads a lock's text.
    ///
    /// # Errors
    /// When it is no lock of this format.
    pub fn parse(text: &str) -> Result<Lock> {
        // The format first: a newer one may have keys that this version does not know.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = toml::from_str(text).context("it does not say its format")?;
        if format != FORMAT {
            bail!("it is of format {format}; this version of bedplate reads format {FORMAT}");
        }
        Ok(toml::from_str(text)?)
    }

    /// Writes the lock: the file has all of it or is as it was.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = self.to_text()?;
        let cant = || format!("can't write the lock {}", path.display());
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new()
            .prefix(".bedplate.lock-")
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .with_context(cant)?;
        file.write_all(text.as_bytes()).with_context(cant)?;
        file.as_file().sync_all().with_context(cant)?;
        file.persist(path).with_context(cant)?;
        Ok(())
    }

    /// Every package it names: of the root, of the tools tree, and of the trees that compile something.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        self.package.iter().chain(&self.tool).chain(self.compile.values().flatten())
    }

    /// The lock as text: equal locks give equal text.
    ///
    /// # Errors
    /// When it can't be written as TOML.
    pub fn to_text(&self) -> Result<String> {
        let body = toml::to_string_pretty(self).context("the lock can't be written as TOML")?;
        Ok(format!("# Made by `bedplate lock`. Every input of the image, by SHA-256.\n\n{body}"))
    }
}

/// The first few of many, for people.
pub(crate) fn shorten(names: &[String]) -> String {
    match names {
        _ if names.len() <= 5 => names.join(", "),
        _ => format!("{} and {} more", names[..5].join(", "), names.len() - 5),
    }
}
