//! What is recognised on a device of any kind, and what uses it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A signature that was recognised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Signature {
    /// What it is, in libblkid's word (`ext4`, `crypto_LUKS`, `linux_raid_member`, `dos`).
    pub kind: String,
    /// Its UUID as it is written there.
    pub uuid: Option<String>,
    /// Its label.
    pub label: Option<String>,
}

impl Signature {
    /// The kind that stands for a device that could not be read.
    pub const UNREADABLE: &str = "something unreadable";

    /// `ext4 "backup-2019" (3f2a6c1e)`.
    pub fn words(&self) -> String {
        let label = self.label.as_ref().map_or(String::new(), |l| format!(" {l:?}"));
        let uuid = self.uuid.as_ref().map_or(String::new(), |u| format!(" ({})", u.get(..8).unwrap_or(u)));
        format!("{}{label}{uuid}", self.kind)
    }

    /// Whether it has this UUID, however its digits are set off: LVM has its own way.
    pub fn is_of(&self, uuid: &Uuid) -> bool {
        self.uuid.as_ref().is_some_and(|text| text.replace('-', "").eq_ignore_ascii_case(&uuid.simple().to_string()))
    }

    /// Whether it only says that there is a GPT, which [`Device::table`] says better.
    pub fn is_gpt(&self) -> bool {
        matches!(self.kind.as_str(), "gpt" | "PMBR")
    }
}

/// What uses a device right now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Uses {
    /// Kernel names of devices built on it.
    pub holders: Vec<String>,
    /// Where it is mounted.
    pub mounts: Vec<String>,
    /// Paths below [`RAW`] that lead to it: a raw volume is used by them. Of no matter for whether it is in use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// Whether it is swap space in use.
    pub swap: bool,
    /// Whether device mapper multipath has it as one of the paths to a disk.
    #[serde(default)]
    pub multipath: bool,
}

/// The folder of the links to raw volumes.
pub const RAW: &str = "/dev/bedplate";

impl Uses {
    /// Whether it can be used at this place: a mount point, or a path below [`RAW`].
    pub fn is_at(&self, place: &str) -> bool {
        self.mounts.iter().chain(&self.links).any(|at| at == place)
    }

    /// In words, or nothing when nothing uses it.
    pub fn words(&self) -> Option<String> {
        let mut words: Vec<String> = self.mounts.iter().map(|m| format!("mounted on {m}")).collect();
        words.extend(self.holders.iter().map(|h| format!("part of {h}")));
        words.extend(self.swap.then(|| "in use as swap".to_owned()));
        words.extend(self.multipath.then(|| "one of the paths of a multipath map".to_owned()));
        (!words.is_empty()).then(|| words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_said_with_label_and_short_uuid() {
        let signature = Signature {
            kind: "ext4".into(),
            uuid: Some("3f2a6c1e-0000-0000-0000-000000000000".into()),
            label: Some("backup-2019".into()),
        };
        assert_eq!(signature.words(), "ext4 \"backup-2019\" (3f2a6c1e)");
    }
}
