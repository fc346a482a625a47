//! How file systems are made.

use serde::{Deserialize, Serialize};

/// How a file system is made, where that is not as its mkfs does it by itself. Counts when it is made, and not afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mkfs {
    /// ext4: percent of the space that only root may fill; mkfs.ext4 takes 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 50))]
    pub reserved_percent: Option<u8>,
    /// ext4: one inode for so many bytes, from 4 KiB to 64 MiB; mkfs.ext4 takes 16 KiB.
    #[serde(
        default,
        deserialize_with = "crate::units::optional_size",
        serialize_with = "crate::units::write_optional_size",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>", extend("format" = "size", "examples" = ["1 MiB"]))]
    pub bytes_per_inode: Option<u64>,
    /// XFS: whether files can share blocks until one of them is written to; mkfs.xfs says yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reflink: Option<bool>,
}
