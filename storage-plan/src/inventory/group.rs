//! LVM: groups and their volumes.

use super::{Signature, Uses};
use serde::{Deserialize, Serialize};

/// A volume group of LVM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VolumeGroup {
    /// Its name.
    pub name: String,
    /// Its UUID, as LVM writes it.
    pub uuid: String,
    /// Bytes of an extent.
    pub extent: u64,
    /// All physical volumes that it should have.
    pub members: Vec<GroupMember>,
    /// Its volumes, without those that LVM keeps for itself; by name.
    pub volumes: Vec<LogicalVolume>,
    /// Kernel names in this boot of all that device mapper shows of it.
    pub mappings: Vec<String>,
}

/// A physical volume of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GroupMember {
    /// Its UUID, as LVM writes it.
    pub uuid: String,
    /// Kernel name in this boot of what it lies on (`sdb1`); none if it is not there.
    pub device: Option<String>,
    /// How many extents it has.
    pub extents: u64,
    /// How many of them are free.
    pub free: u64,
}

/// A logical volume of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LogicalVolume {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Its tags.
    pub tags: Vec<String>,
    /// How it lies in the group, in LVM's words (`lv_layout`): `linear`, `striped`, `raid,raid1`, `thin,pool`, `thin,sparse`.
    pub layout: String,
    /// Over how many members it is striped or mirrored.
    pub over: u32,
    /// The thin pool that it is in.
    pub pool: Option<String>,
    /// Whether it lacks a physical volume that it lies on.
    pub lacks_member: bool,
    /// Kernel name in this boot (`dm-3`) of what shows it, if it is active.
    pub mapping: Option<String>,
    /// Signatures on it, if it is active.
    pub signatures: Vec<Signature>,
    /// What uses it, if it is active.
    pub uses: Uses,
}
