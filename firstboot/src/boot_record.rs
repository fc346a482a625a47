//! What stage 1 found out, handed to the agent as `/run/bedplate/boot.json`.

use serde::{Deserialize, Serialize};

/// Where the record lies, from stage 1 until the node is switched off.
pub const PATH: &str = "/run/bedplate/boot.json";

/// How this boot came to its root file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BootRecord {
    /// Root hash of the signed command line, hexadecimal.
    pub root_hash: String,
    /// Kernel name of the root partition (`vda2`), or of the device that stands for the root in memory (`loop0`).
    pub root_device: String,
    /// Its partition UUID, where it has a partition: the first 128 bits of the root hash.
    pub root_partition: uuid::Uuid,
    /// Kernel name of the hash tree's partition.
    pub verity_device: String,
    /// Kernel name of the disk both are on (`vda`); none when the root is in memory.
    #[serde(default)]
    pub disk: Option<String>,
    /// Whether the firmware says that the node was started from that disk; unknown without UEFI.
    pub started_from_disk: Option<bool>,
    /// Whether the firmware checked what it started; unknown without UEFI.
    #[serde(default)]
    pub secure_boot: Option<bool>,
    /// What the TPM has in PCR 11 (bank SHA-256), hexadecimal; none without a TPM.
    #[serde(default)]
    pub pcr_11: Option<String>,
    /// Addons whose arguments stand on the command line.
    #[serde(default)]
    pub addons: Vec<String>,
    /// Addons of the image that are for this model.
    #[serde(default)]
    pub addons_for_this_model: Vec<String>,
    /// Name of the slot, from the root partition's GPT name (`root-a` gives `a`).
    pub slot: Option<String>,
    /// Where the machine-id comes from.
    pub machine_id: MachineIdSource,
    /// Process that watches over the root until the node is Ready.
    #[serde(default)]
    pub warden: Option<i32>,
    /// Seconds since the kernel's start when stage 1 began.
    pub began: f64,
    /// Seconds since the kernel's start when it handed over to systemd.
    pub ended: f64,
}

/// Where `/etc/machine-id` comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineIdSource {
    /// Derived from the SMBIOS system UUID.
    Smbios,
    /// Minted once and kept in an EFI variable, because the SMBIOS UUID is a placeholder.
    EfiVariable,
    /// Made for this boot alone: there is neither a usable UUID nor a variable store.
    Random,
}
