//! Volume groups: several disks as one store of space, and volumes that are cut out of it (LVM).

use super::{Content, Encrypt, Mkfs, Selector};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A volume group of LVM over whole disks, and the volumes in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Group {
    /// Which disks it is made of.
    pub disks: Selector,
    /// Volumes by name. More can be added to a group that was made; one that is taken out of the file is left as it is.
    #[schemars(extend("propertyNames" = { "format": "dns-label" }))]
    pub volume: BTreeMap<String, Logical>,
    /// Thin pools by name, for volumes that take space as they fill.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "dns-label" }))]
    pub pool: BTreeMap<String, Pool>,
    /// Counts up to make the group and all that is in it anew on purpose (with a permit).
    #[serde(default)]
    pub generation: u32,
}

/// A thin pool: space that its volumes share, and take only as they are written to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pool {
    /// Space for what its volumes hold. Beside it a thousandth of that is taken twice, for where each block is.
    #[serde(deserialize_with = "crate::units::size", serialize_with = "crate::units::write_size")]
    #[schemars(with = "String", extend("format" = "size", "examples" = ["2 TB"]))]
    pub size: u64,
}

/// How a volume of a group lies on its disks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// One piece after the other, wherever there is space.
    #[default]
    Linear,
    /// In stripes over several disks.
    Striped,
    /// Each block on several disks.
    Raid1,
}

/// A volume in a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Logical {
    /// Its size; without it all that is left, for one volume of the group that is in no pool. A larger
    /// one makes it larger while it is mounted, unless it is encrypted; a smaller one changes nothing.
    #[serde(
        default,
        deserialize_with = "crate::units::optional_size",
        serialize_with = "crate::units::write_optional_size"
    )]
    #[schemars(with = "Option<String>", extend("format" = "size", "examples" = ["200 GB"]))]
    pub size: Option<u64>,
    /// How it lies on the disks: `"linear"`, one piece after the other; `"striped"`, in stripes over several of them, as fast as
    /// those together and lost with each; `"raid1"`, each block on several of them.
    pub layout: Option<Layout>,
    /// Over how many disks it is striped, or how many hold each block; without it all disks of the group, or two.
    #[schemars(range(min = 2, max = 64))]
    pub over: Option<u32>,
    /// The thin pool that it takes its space from, as it fills. It has no layout then.
    #[schemars(extend("format" = "dns-label"))]
    pub pool: Option<String>,
    /// File system; or `"raw"`, none: a block device below `/dev/bedplate`, called by the names of the group and of the
    /// volume.
    pub format: Content,
    /// Mount point of a file system, absolute, below `/var`.
    #[schemars(extend("format" = "mount-point"))]
    pub mount: Option<String>,
    /// Options to mount it with, beside or in place of `noatime`, from the list of its file system.
    #[serde(default)]
    pub mount_options: Vec<String>,
    /// How the file system is made.
    #[serde(default)]
    pub mkfs: Mkfs,
    /// Encrypts what it holds (LUKS2): `"tpm"`, opened by the machine's TPM, and else by its recovery key; `"passphrase"`, opened
    /// by `disk-passphrase` of the machine's bundle. Counts when it is made.
    pub encrypt: Option<Encrypt>,
    /// Storage class of the volume.
    #[schemars(extend("format" = "dns-name"))]
    pub class: Option<String>,
    /// Whether the node must not run without it.
    #[serde(default = "super::storage::default_true")]
    pub required: bool,
}
