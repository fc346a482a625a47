//! Disks: selectors, the system disk, file systems on each disk, arrays and their volumes.

use super::{DirtyDegraded, Encrypt, Group, Holding, Mkfs, Partition, Rebuild, Scrub, WriteHole};
use crate::Places;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The storage part of one machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Storage {
    /// The system disk.
    pub system: System,
    /// One file system per disk.
    pub each: BTreeMap<String, Each>,
    /// Arrays.
    pub array: BTreeMap<String, Array>,
    /// Volume groups.
    #[serde(default)]
    pub group: BTreeMap<String, Group>,
    /// Where all of that was written.
    #[serde(default)]
    pub places: Places,
}

impl Storage {
    /// Every volume but the state, with the keys under which it is asked for: `each`, `object`, `partition`, `meta`.
    pub fn volumes(&self) -> Vec<(Vec<&str>, Holding<'_>)> {
        let mut all = Vec::new();
        for (name, each) in &self.each {
            all.extend(each.volumes().into_iter().map(|volume| {
                let mut keys = vec!["each", name];
                keys.extend(volume.name.into_iter().flat_map(|part| ["partition", part]));
                (keys, volume.holds)
            }));
        }
        for (name, array) in &self.array {
            let of = array.volume.iter().map(|(volume, v)| (vec!["array", name, "volume", volume.as_str()], v.holds()));
            all.extend(of);
        }
        for (name, group) in &self.group {
            let of = group.volume.iter().map(|(volume, v)| (vec!["group", name, "volume", volume.as_str()], v.holds()));
            all.extend(of);
        }
        all
    }

    /// Whether a volume is encrypted with the passphrase of the bundle.
    pub fn wants_passphrase(&self) -> bool {
        self.volumes().iter().any(|(_, holds)| holds.encrypt == Some(Encrypt::Passphrase))
    }
}

/// The disk, or disks, that hold the image and the state partition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct System {
    /// Which disks; without it the disk the node was started from. Two or more are mirrored: each holds the image and can be
    /// started from, and the state is on all of them (RAID 1). A disk that is to be one has to be blank.
    pub disks: Option<Selector>,
    /// Which blank disk takes the place of a system disk that is lost, where there are several: `"named"`, one that `disks`
    /// names by serial, wwn or path; `"same-slot"`, also one in the very place where the lost one was.
    #[serde(default)]
    pub replace: Replace,
    /// File system of the state partition (`/var`).
    #[serde(default = "default_format")]
    pub format: Format,
    /// Size of the state partition; without it all that is left of the disk.
    #[serde(
        default,
        deserialize_with = "crate::units::optional_size",
        serialize_with = "crate::units::write_optional_size"
    )]
    #[schemars(with = "Option<String>", extend("format" = "size", "examples" = ["64 GiB"]))]
    pub state_size: Option<u64>,
    /// Options to mount the state partition with, beside or in place of `noatime`, from the list of its file system.
    #[serde(default)]
    pub mount_options: Vec<String>,
    /// How the file system of the state partition is made.
    #[serde(default)]
    pub mkfs: Mkfs,
}

impl System {
    /// Whether the state is mirrored: several disks are selected.
    pub fn is_mirrored(&self) -> bool {
        self.disks.as_ref().is_some_and(|disks| disks.how_many().is_some_and(|count| count > 1))
    }
}

fn default_format() -> Format {
    Format::Xfs
}

/// Picks disks by identity. Everything given must hold, and the count is exact.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Selector {
    /// These serial numbers, exactly. An NVMe namespace after the first has its number behind it: `S5P2NG0R-n2`.
    #[serde(default)]
    pub serial: Vec<String>,
    /// These world wide names, exactly.
    #[serde(default)]
    pub wwn: Vec<String>,
    /// These `/dev/disk/by-path` names.
    #[serde(default)]
    pub path: Vec<String>,
    /// Model, exactly as the disk reports it.
    pub model: Option<String>,
    /// Size range, `"400 GB .. 1 TB"`, either end may be left out.
    pub size: Option<SizeRange>,
    /// Kind of medium.
    pub media: Option<Media>,
    /// Kind of bus.
    pub transport: Option<Transport>,
    /// How many disks there must be, exactly; with `serial`, `wwn` or `path` it follows from their number.
    #[schemars(range(min = 1, max = 1024))]
    pub count: Option<usize>,
}

impl Selector {
    /// How many disks it takes, if it says so.
    pub fn how_many(&self) -> Option<usize> {
        match self.serial.len() + self.wwn.len() + self.path.len() {
            0 => self.count,
            named => Some(named),
        }
    }
}

/// A range of sizes in bytes, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeRange {
    /// Smallest, if bounded.
    pub min: Option<u64>,
    /// Largest, if bounded.
    pub max: Option<u64>,
}

/// Kind of medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Media {
    /// Rotating.
    Hdd,
    /// Flash behind SATA, SAS or virtio.
    Ssd,
    /// NVMe.
    Nvme,
}

/// Kind of bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// NVMe.
    Nvme,
    /// Serial ATA.
    Sata,
    /// Serial Attached SCSI.
    Sas,
    /// A paravirtual disk.
    Virtio,
    /// USB.
    Usb,
    /// eMMC or SD card.
    Mmc,
}

/// File system on a volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// XFS.
    #[default]
    Xfs,
    /// ext4.
    Ext4,
}

/// What a volume holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// XFS.
    #[default]
    Xfs,
    /// ext4.
    Ext4,
    /// No file system: a block device, for a program that keeps its own on it.
    Raw,
}

impl Content {
    /// The file system, if it is one.
    pub fn file_system(self) -> Option<Format> {
        match self {
            Content::Xfs => Some(Format::Xfs),
            Content::Ext4 => Some(Format::Ext4),
            Content::Raw => None,
        }
    }
}

impl From<Format> for Content {
    fn from(format: Format) -> Content {
        match format {
            Format::Xfs => Content::Xfs,
            Format::Ext4 => Content::Ext4,
        }
    }
}

/// One volume on each selected disk, or several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Each {
    /// Which disks.
    pub disks: Selector,
    /// File system; or `"raw"`, none: each is a block device below `/dev/bedplate`, called by the names of the section and of
    /// the disk. Must be given unless `partition` is.
    pub format: Option<Content>,
    /// Mount point of a file system, absolute, below `/var`. `{serial}` becomes the disk's serial number and `{slot}` its bay;
    /// one of them must be in it unless there is just one disk.
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
    /// Storage class of the volumes.
    #[schemars(extend("format" = "dns-name"))]
    pub class: Option<String>,
    /// Partitions of each disk by name, 16 at most, each a volume of its own. What the disk would hold as one volume (`format`,
    /// `mount`, `mount-options`, `mkfs`, `encrypt`, `class`) stands in each of them then, and not here. A disk that was made is
    /// never cut anew.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "dns-label" }))]
    pub partition: BTreeMap<String, Partition>,
    /// Whether the node must not run without it.
    #[serde(default = "default_true")]
    pub required: bool,
    /// Counts up to make the volumes anew on purpose (with a permit).
    #[serde(default)]
    pub generation: u32,
}

pub(super) fn default_true() -> bool {
    true
}

/// RAID level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "u8", into = "u8")]
#[schemars(with = "u8", extend("enum" = [0, 1, 5, 6, 10]))]
pub enum Level {
    /// Stripes without redundancy.
    Raid0,
    /// Mirror.
    Raid1,
    /// Stripes with one parity.
    Raid5,
    /// Stripes with two parities.
    Raid6,
    /// Stripes of which each has two copies.
    Raid10,
}

impl Level {
    /// Every level.
    pub const ALL: [Level; 5] = [Level::Raid0, Level::Raid1, Level::Raid5, Level::Raid6, Level::Raid10];

    /// The fewest members of an array that is worth its level.
    pub fn least(self) -> usize {
        match self {
            Level::Raid0 | Level::Raid1 => 2,
            Level::Raid5 => 3,
            Level::Raid6 | Level::Raid10 => 4,
        }
    }

    /// Whether a member can be lost without the data.
    pub fn is_redundant(self) -> bool {
        self != Level::Raid0
    }

    /// Whether it cuts what it stores into chunks.
    pub fn is_striped(self) -> bool {
        self != Level::Raid1
    }
}

impl TryFrom<u8> for Level {
    type Error = String;
    fn try_from(level: u8) -> Result<Self, String> {
        let found = Level::ALL.into_iter().find(|known| u8::from(*known) == level);
        found.ok_or_else(|| format!("RAID level {level} is not supported by this version; expected 0, 1, 5, 6 or 10"))
    }
}

impl From<Level> for u8 {
    fn from(level: Level) -> u8 {
        match level {
            Level::Raid0 => 0,
            Level::Raid1 => 1,
            Level::Raid5 => 5,
            Level::Raid6 => 6,
            Level::Raid10 => 10,
        }
    }
}

/// Which blank disk takes the place of a member that is lost.
///
/// The second is what mdadm.conf(5) calls `spare-same-slot`, and ZFS `autoreplace`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Replace {
    /// One that the selector names by serial number, world wide name or path.
    #[default]
    Named,
    /// Also one in the bay, or at the path, where the lost member was.
    SameSlot,
}

/// An md array over whole disks and the volumes on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Array {
    /// RAID level: 0, 1, 5, 6 or 10 (two copies).
    pub level: Level,
    /// Which disks it is made of, spares among them.
    pub disks: Selector,
    /// How many of the disks stand by, to take the place of a member that fails. A higher number takes a blank disk that
    /// `disks` names into an array that was made; a lower one takes nothing away.
    #[serde(default)]
    #[schemars(range(max = 64))]
    pub spares: u32,
    /// Size of a stripe's part on one disk, a power of two; without it mdadm's own, 512 KiB. Not for level 1.
    #[serde(
        default,
        deserialize_with = "crate::units::optional_size",
        serialize_with = "crate::units::write_optional_size"
    )]
    #[schemars(with = "Option<String>", extend("format" = "size", "examples" = ["64 KiB"]))]
    pub chunk: Option<u64>,
    /// How it is known after a power cut where parity may not be true; without it `"ppl"` with level 5 and `"bitmap"` with
    /// level 6. With `"journal"`, for either, `journal` says on which disk. Not for other levels.
    pub write_hole: Option<WriteHole>,
    /// With `write-hole = "journal"`: the one disk that the journal is on. It is not among `disks`, and the array does not start
    /// without it.
    pub journal: Option<Selector>,
    /// What becomes of it when it was cut off in the middle of a write, lacks a member, and has no log that closes the write
    /// hole: `"stop"`, it is refused; `"start-read-only"`, what is on it can be read, and nothing is written to it.
    #[serde(default)]
    pub dirty_degraded: DirtyDegraded,
    /// How fast it is rebuilt, synced and checked.
    #[serde(default)]
    pub rebuild: Rebuild,
    /// How often it is read through from end to end, while it runs: `"never"`, or a number of days. Level 0 never is.
    #[serde(default)]
    pub scrub: Scrub,
    /// Space left unused at the end of each disk, so that one that is a little smaller can take its place; without it a
    /// thousandth of the disk, 1 GiB at most, and none with level 0. Counts when a disk becomes a member.
    #[serde(
        default,
        deserialize_with = "crate::units::optional_size",
        serialize_with = "crate::units::write_optional_size"
    )]
    #[schemars(with = "Option<String>", extend("format" = "size", "examples" = ["100 MiB"]))]
    pub reserve: Option<u64>,
    /// Which blank disk takes the place of a member that is lost: `"named"`, one that `disks` names by serial, wwn or
    /// path; `"same-slot"`, also one in the very place where the lost member was.
    #[serde(default)]
    pub replace: Replace,
    /// Members that still work and are to be given away, by serial number or world wide name: each is copied onto a blank
    /// disk that `disks` names, or onto a spare, while it serves, and may be pulled then. They are not in `disks` any more.
    #[serde(default)]
    pub retire: Vec<String>,
    /// Whether it takes up all that its members have room for, once each of them has more than it uses, and its file system
    /// after it; without it it stays as large as it was made. Not for level 0, nor with a partial parity log or a journal.
    #[serde(default)]
    pub grow: bool,
    /// Volumes by name; this version makes one, over the whole array.
    #[schemars(extend("propertyNames" = { "format": "dns-label" }))]
    pub volume: BTreeMap<String, Volume>,
    /// Counts up to make the array anew on purpose (with a permit).
    #[serde(default)]
    pub generation: u32,
}

/// A volume on an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Volume {
    /// File system; or `"raw"`, none: a block device below `/dev/bedplate`, called by the names of the array and of the
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
    #[serde(default = "default_true")]
    pub required: bool,
}
