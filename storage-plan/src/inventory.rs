//! What a machine's disks are and hold, as plain data.
//!
//! An inventory is complete enough to decide on, and nothing in it was decided: no ownership, no plan. It is
//! made read-only by the agent (`firstboot observe`), and a captured one plans the same at a desk.

mod array;
mod device;
mod group;
mod signature;

pub use array::{MdMember, RunningArray};
pub use device::{Device, Partition, Rest, Sector, Slot, is_one_disk, namespace_serial, size_words};
pub use group::{GroupMember, LogicalVolume, VolumeGroup};
pub use signature::{RAW, Signature, Uses};

use crate::controller::Controller;
use machine_config::permit::Granted;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A machine's disks and arrays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inventory {
    /// Whole disks.
    pub devices: Vec<Device>,
    /// md arrays that run.
    pub arrays: Vec<RunningArray>,
    /// Volume groups of LVM, as the physical volumes that are there tell of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<VolumeGroup>,
    /// Encrypted volumes that are open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opened: Vec<Opened>,
    /// The disk the node was started from, if it was started from one.
    pub boot: Option<BootDisk>,
    /// Whether the node runs without such a disk: its root came with the image that was started.
    #[serde(default)]
    pub root_in_memory: bool,
    /// Where members of arrays were when they were last seen at work, as the agent has kept it.
    #[serde(default)]
    pub remembered: Vec<Remembered>,
    /// Hardware RAID controllers, where they were asked; see [`crate::controller`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<Controller>,
    /// What is at hand to open encrypted volumes with. `firstboot observe` shows none: it is not of the disks.
    #[serde(default, skip_serializing_if = "Keys::is_none")]
    pub keys: Keys,
    /// Permits that were found, whose signature and time are good, and which were not used. `firstboot observe` shows
    /// none: they are not of the disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permits: Vec<Granted>,
}

/// What is at hand to open encrypted volumes with; never the keys themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Keys {
    /// The bundle brings a passphrase.
    pub passphrase: bool,
    /// There is a recovery key.
    pub recovery: bool,
    /// There is a TPM.
    pub tpm: bool,
    /// The release that runs carries a signed policy for the TPM, and the firmware checked it.
    pub is_sealed: bool,
}

impl Keys {
    /// All that there could be: for a plan that is only to be looked at.
    pub const ALL: Keys = Keys { passphrase: true, recovery: true, tpm: true, is_sealed: true };

    fn is_none(&self) -> bool {
        *self == Keys::default()
    }
}

/// Where a member of an array was when it was last seen at work. Once it is lost, nothing else tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Remembered {
    /// The array's UUID.
    pub array: Uuid,
    /// The member's [identity](Device::identity).
    pub identity: String,
    /// Its place in an enclosure.
    pub slot: Option<Slot>,
    /// Its names below `/dev/disk/by-path`.
    pub by_path: Vec<String>,
}

impl Remembered {
    /// Whether `device` is in the place of this member: in its bay, or at its path where no enclosure tells of bays.
    pub fn is_place_of(&self, device: &Device) -> bool {
        match (&self.slot, &device.slot) {
            (Some(was), Some(is)) => was == is,
            (None, None) => self.by_path.iter().any(|path| device.by_path.contains(path)),
            _ => false,
        }
    }
}

/// The disk the node was started from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BootDisk {
    /// Its kernel name in this boot, as stage 1 found it.
    pub disk: String,
    /// GUID of the partition that holds the verified root.
    pub root_partition: Uuid,
}

/// An encrypted volume that is open: what device mapper shows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Opened {
    /// Kernel name in this boot (`dm-0`).
    pub name: String,
    /// UUID of its LUKS header.
    pub uuid: Uuid,
    /// Signatures on what it shows.
    pub signatures: Vec<Signature>,
    /// What uses what it shows.
    pub uses: Uses,
}
