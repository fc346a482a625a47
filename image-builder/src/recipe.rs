//! The recipe: what a person writes to say what an image is made of.
//!
//! Strict TOML: unknown keys are errors with file, line and column. Paths are relative to the recipe's folder.

mod read;
mod trust;

pub use read::Faults;
pub use trust::{Addon, AddonMatch, Enrol, VendorCertificate, VendorVariable};

use crate::arch::Arch;
use crate::digest::{OciDigest, Sha256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A whole recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// Format of this file; this version reads 1.
    pub format: u32,
    /// Name and version of the image.
    pub image: Image,
    /// Package archives by name (`debian`, `security`).
    pub archive: BTreeMap<String, Archive>,
    /// Packages of the root.
    pub packages: Packages,
    /// Kernel.
    pub kernel: Kernel,
    /// What the command line is longer by on some models of server.
    #[serde(default)]
    pub addon: Vec<Addon>,
    /// Programs that no distribution packages, by name.
    #[serde(default)]
    pub component: BTreeMap<String, Component>,
    /// Folders laid over the packages, in order.
    #[serde(default)]
    pub overlay: Vec<PathBuf>,
    /// Container images that are there without a registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub container_image: Vec<ContainerImage>,
    /// Where the agent comes from; without it, compiled programs are taken from a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
    /// Signing keys.
    pub keys: Keys,
    /// The programs the builder drives.
    #[serde(default)]
    pub tools: Tools,
    /// What to make.
    #[serde(default)]
    pub output: Outputs,
    /// Reviewed maintainer scripts beyond those that ship with the builder.
    #[serde(default)]
    pub script: Vec<ReviewedScript>,
}

impl Recipe {
    /// What this image needs compiled in a tree of its own, by the names these have in [`crate::lock::Lock::compile`].
    pub fn compiled(&self) -> Vec<&'static str> {
        let agent = self.agent.iter().map(|_| crate::agent::TREE);
        agent.chain(self.kernel.source.iter().map(|_| crate::kernel::TREE)).collect()
    }
}

/// Name and version of the image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Image {
    /// Name; appears in `os-release` and in file names.
    pub name: String,
    /// Version; likewise.
    pub version: String,
    /// Architecture.
    #[serde(default)]
    pub arch: Arch,
}

/// A signed apt repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Archive {
    /// Its address. Without it, the host's apt configuration says where suites of this kind are.
    pub url: Option<String>,
    /// Suites (`trixie`, `trixie-updates`).
    pub suites: Vec<String>,
    /// Components of the suites.
    #[serde(default = "default_areas")]
    pub components: Vec<String>,
    /// OpenPGP keyring that signs its `InRelease`. Without it, the host's archive keyring.
    pub keyring: Option<PathBuf>,
    /// Whether a `Release` past its `Valid-Until` is refused. Without it: yes, or what the host's apt
    /// configuration says where the address comes from there.
    pub check_valid_until: Option<bool>,
    /// Only for the tools tree, never for the image; there, used for what no other archive has.
    #[serde(default)]
    pub tools_only: bool,
    /// Preferred over archives with a smaller number, whatever the versions they offer.
    #[serde(default)]
    pub priority: i16,
}

fn default_areas() -> Vec<String> {
    vec!["main".into()]
}

/// Packages of the root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Packages {
    /// Packages that must be in; their dependencies follow (no Recommends).
    pub install: Vec<String>,
    /// Names the builder itself provides, so that nothing is installed for them (`linux-initramfs-tool`).
    #[serde(default)]
    pub provided: Vec<String>,
    /// Globs of paths left out of the root (`/usr/share/doc/**`).
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Packages that are taken only in versions of this shape (`{ systemd = "257.*" }`).
    #[serde(default)]
    pub pin: BTreeMap<String, String>,
    /// Packages that keep the version of the former lock.
    #[serde(default)]
    pub hold: Vec<String>,
}

/// Kernel and command line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Kernel {
    /// Kernel package; may be a metapackage (`linux-image-amd64`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// In its place, a package with a kernel's source (`linux-source-6.12`), to be compiled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Fragments of its configuration, laid over the kernel's own for the architecture, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<PathBuf>,
    /// Arguments on the signed command line, beside those the builder adds.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Modules in the initrd beyond those that the builder takes.
    #[serde(default)]
    pub initrd_modules: Vec<String>,
}

/// Where the agent comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Agent {
    /// Folder of its Cargo workspace: it is compiled by a locked compiler from locked crates.
    pub source: PathBuf,
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Component {
    /// Which of the modules that ship with the builder: `kube`, `containerd`, `runc`, `cni`, `coredns`, `pause`.
    pub modules: Option<String>,
    /// Versions of the modules it names (`{ kubernetes = "1.37.2", etcd = "3.7.3" }`).
    #[serde(default)]
    pub version: BTreeMap<String, String>,
    /// Upstream release files, by digest.
    #[serde(default)]
    pub files: Vec<ComponentFile>,
    /// Packages from any archive of the recipe.
    #[serde(default)]
    pub packages: Vec<String>,
}

/// One file of a component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ComponentFile {
    /// Address to fetch it from.
    pub url: Option<String>,
    /// Or a file beside the recipe.
    pub path: Option<PathBuf>,
    /// Its digest.
    pub sha256: Sha256,
    /// A member of it, when it is a `.tar.gz`.
    pub member: Option<String>,
    /// Where it goes in the root.
    pub install: String,
    /// Its mode, octal as text (`"0755"`).
    #[serde(default = "default_mode")]
    pub mode: String,
}

fn default_mode() -> String {
    "0755".into()
}

/// A container image that lies in the root: made of files of the root, or ready from a layout or an archive.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ContainerImage {
    /// Its names, as pods write them in full: `registry.k8s.io/coredns/coredns:v1.14.7`.
    pub names: Vec<String>,
    /// Path in the container -> file of the root.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Address of a ready image's archive: an OCI image layout or a docker-archive, as a tar file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Or such a file beside the recipe, or a folder that is an OCI image layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Digest of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// Which image of it: digest of its manifest, or of its index. Must be given for a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<OciDigest>,
    /// The program and its first arguments.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Arguments that a pod may replace.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Variables of its environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// User or `user:group` it runs as; root if not given.
    #[serde(default)]
    pub user: String,
}

impl ContainerImage {
    /// Whether it comes ready, and is not composed.
    pub fn is_ready(&self) -> bool {
        self.url.is_some() || self.path.is_some()
    }

    /// What it goes by in the lock.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

/// Signing keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Keys {
    /// Folder that `bedplate keys new` made.
    pub folder: PathBuf,
    /// Where the key of `db.crt` is if not in `db.key`: a PKCS#11 URI (RFC 7512).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db: Option<String>,
    /// Where the key of `release.pub` is if not in `release.key`: a PKCS#11 URI (RFC 7512).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Where the key of `pcr.crt` is if not in `pcr.key`: a PKCS#11 URI (RFC 7512).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcr: Option<String>,
    /// Whether the node takes only configs signed by the config key.
    #[serde(default = "default_true")]
    pub require_signed_config: bool,
    /// Certificates of others that the firmware is to trust beside our own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vendor: Vec<VendorCertificate>,
    /// Whether the image brings its keys into the firmware by itself.
    #[serde(default)]
    pub enrol: Enrol,
}

fn default_true() -> bool {
    true
}

/// The programs the builder drives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tools {
    /// Packages of the tools tree beyond those the builder names.
    #[serde(default)]
    pub install: Vec<String>,
    /// Names that count as there, beyond those the builder names: what these packages can do without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provided: Vec<String>,
}

/// What to make. Sizes in bytes are written as `"1 GiB"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Outputs {
    /// Size of the EFI system partition; holds two full UKIs.
    pub esp: String,
    /// Size of one root slot. Two are laid out; the second stays empty until the first update.
    pub slot: String,
    /// Compression of the root: `zstd` or `lz4`.
    pub compression: String,
    /// Its level.
    pub level: i32,
    /// What a release has beside `disk.raw` and `uki.efi`; everything unless it is said.
    pub artifacts: Vec<Artifact>,
}

/// What a release may have beside the disk image and the thin UKI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Artifact {
    /// The disk image as QEMU and clouds take it.
    #[serde(rename = "disk.qcow2")]
    Qcow2,
    /// The full UKI: one signed file that boots without a disk.
    #[serde(rename = "node.efi")]
    Node,
    /// A disc with the full UKI, for virtual media and sticks.
    #[serde(rename = "node.iso")]
    Iso,
    /// What a server for network boot hands out.
    #[serde(rename = "netboot")]
    Netboot,
}

impl Artifact {
    /// All of them.
    pub const ALL: [Artifact; 4] = [Artifact::Qcow2, Artifact::Node, Artifact::Iso, Artifact::Netboot];

    /// Whether the full UKI is in it.
    pub fn is_full(self) -> bool {
        self != Artifact::Qcow2
    }
}

impl Default for Outputs {
    fn default() -> Self {
        Outputs {
            esp: "1 GiB".into(),
            slot: "2 GiB".into(),
            compression: "zstd".into(),
            level: 3,
            artifacts: Artifact::ALL.to_vec(),
        }
    }
}

/// A maintainer script that somebody has read, and what to do for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReviewedScript {
    /// Package.
    pub package: String,
    /// `preinst`, `postinst`, `prerm`, `postrm`, `triggers`, `config`.
    pub script: String,
    /// Digest of its normalised text.
    pub sha256: Sha256,
    /// `ignore`, or the name of the emulation that has its effect.
    pub verdict: String,
    /// Why.
    pub reason: String,
}
