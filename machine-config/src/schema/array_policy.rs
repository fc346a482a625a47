//! What is up to a site of how its arrays are kept.

use super::{Array, Level};
use serde::{Deserialize, Serialize};

/// How it is known after a power cut where parity may not be true, with levels 5 and 6.
///
/// A write that was cut off leaves data and parity that tell different things, and a member that is lost then can't be told
/// from them: the write hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WriteHole {
    /// A partial parity log. It closes the hole, of level 5 alone.
    Ppl,
    /// An internal bitmap of what is being written. It shortens the sync after a power cut, and does not close the hole.
    Bitmap,
}

/// What becomes of an array with parity that was cut off in the middle of a write and lacks a member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DirtyDegraded {
    /// It is refused.
    #[default]
    Stop,
    /// It is started and mounted so that nothing is written to it.
    StartReadOnly,
}

/// How fast an array is rebuilt, synced and checked, in bytes a second of each member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rebuild {
    /// So fast also while programs use the array; without it as the kernel has it, 1 MB a second.
    #[serde(
        default,
        deserialize_with = "crate::units::optional_size",
        serialize_with = "crate::units::write_optional_size",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>", extend("format" = "size", "examples" = ["50 MB"]))]
    pub at_least: Option<u64>,
    /// No faster, also when nothing else uses the array; without it as the kernel has it, 200 MB a second.
    #[serde(
        default,
        deserialize_with = "crate::units::optional_size",
        serialize_with = "crate::units::write_optional_size",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>", extend("format" = "size", "examples" = ["500 MB"]))]
    pub at_most: Option<u64>,
}

impl Array {
    /// What it is made with: what the configuration says, or else the best that its level has.
    pub fn write_hole(&self) -> WriteHole {
        self.write_hole.unwrap_or(if self.level == Level::Raid5 { WriteHole::Ppl } else { WriteHole::Bitmap })
    }
}
