//! What a machine's disks are and hold, as plain data.
//!
//! An inventory is complete enough to decide on, and nothing in it was decided: no ownership, no plan. It is
//! made read-only by the agent (`firstboot observe`), and a captured one plans the same at a desk.

use crate::controller::Controller;
use machine_config::permit::Granted;
use machine_config::schema::{Media, Transport};
use on_disk::gpt::{Found, SectorSize};
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

/// A whole disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Device {
    /// Kernel name in this boot (`sda`). An address, never an identity: nothing is selected by it.
    pub name: String,
    /// `major:minor`.
    pub number: String,
    /// Folder in sysfs.
    pub sysfs: String,
    /// Serial number, as the disk reports it; of an NVMe namespace as [`namespace_serial`] makes it.
    pub serial: Option<String>,
    /// Number of the NVMe namespace that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<u32>,
    /// World wide name.
    pub wwn: Option<String>,
    /// Model, as the disk reports it.
    pub model: Option<String>,
    /// Names below `/dev/disk/by-path`.
    pub by_path: Vec<String>,
    /// Place in an enclosure, if one tells.
    pub slot: Option<Slot>,
    /// Bytes.
    pub size: u64,
    /// Bytes of a logical sector.
    pub logical_sector: u32,
    /// Bytes of a physical sector.
    pub physical_sector: u32,
    /// Whether it rotates.
    pub rotational: bool,
    /// Kind of bus, if it is one that can be selected.
    pub transport: Option<Transport>,
    /// Removable medium.
    pub removable: bool,
    /// Write-protected.
    pub read_only: bool,
    /// Signatures on the whole disk.
    pub signatures: Vec<Signature>,
    /// Its GUID partition table, each copy judged on its own.
    pub table: Found,
    /// Sectors in the two places of a partition table that are not blank.
    pub ends: Vec<Sector>,
    /// The rest of the disk, as far as blankness asks: first and last 16 MiB and 64 sampled MiB.
    pub rest: Rest,
    /// The space behind the last partition, looked at in the same way.
    pub free_tail: Rest,
    /// Partitions that the kernel shows.
    pub partitions: Vec<Partition>,
    /// What uses the whole disk.
    pub uses: Uses,
}

/// A place in an enclosure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Slot {
    /// The enclosure.
    pub enclosure: String,
    /// The bay in it.
    pub bay: String,
}

/// A partition that the kernel shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Partition {
    /// Number in the table.
    pub number: u32,
    /// Kernel name in this boot.
    pub name: String,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Signatures on it.
    pub signatures: Vec<Signature>,
    /// The md superblock on it, if there is one.
    pub md: Option<MdMember>,
    /// What uses it.
    pub uses: Uses,
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

/// A sector that is not blank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sector {
    /// Where, in bytes.
    pub offset: u64,
    /// Its bytes.
    #[serde(with = "hex")]
    pub bytes: Vec<u8>,
}

/// Whether a stretch is blank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rest {
    /// Nobody looked: what is there is known otherwise, or can't be read. Never taken for blank.
    #[default]
    NotProbed,
    /// All zero.
    Zero,
    /// All 0xFF.
    Ones,
    /// Something is there.
    Data {
        /// The first byte that is neither, or that differs from what came before.
        offset: u64,
    },
}

impl Rest {
    /// All zero or all 0xFF.
    pub fn is_blank(self) -> bool {
        matches!(self, Rest::Zero | Rest::Ones)
    }
}

/// Facts of an md superblock of version 1.x.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MdMember {
    /// The array's UUID.
    pub array: Uuid,
    /// This member's UUID.
    pub member: Uuid,
    /// The array's name, as written there.
    pub name: String,
    /// RAID level.
    pub level: i32,
    /// Members of the whole array.
    pub members: u32,
    /// Position in the array; none for a spare or a failed member.
    pub role: Option<u16>,
    /// Event counter: a member with a lower one has missed writes.
    pub events: u64,
    /// Whether the array was stopped cleanly and its last sync had ended.
    pub clean: bool,
    /// Whether this member was still being filled with its part of the data.
    #[serde(default)]
    pub recovering: bool,
    /// Whether it takes over from the member that has the same position: it is copied from that one while both serve.
    #[serde(default)]
    pub replaces: bool,
    /// Whether the array keeps a partial parity log, which closes the write hole of RAID 5.
    #[serde(default)]
    pub ppl: bool,
    /// Whether the array has a journal on a disk of its own, which closes the write hole; also while it lacks it.
    #[serde(default)]
    pub journaled: bool,
    /// The number of the disk that is its journal, as this member knows it; none when that has failed or is not there.
    #[serde(default)]
    pub journal: Option<u16>,
    /// Bytes that a member must have from its partition's start to the end of its data; 0 when that was not looked at.
    #[serde(default)]
    pub needs: u64,
    /// Bytes that it has room for beside those that the array uses of it.
    #[serde(default)]
    pub room: u64,
    /// This member's number among all disks that the array has and had.
    #[serde(default)]
    pub number: u16,
    /// The positions of the array's disks by number, as this member knows them; none for a spare and for one that is not in
    /// it. Nothing when that was not looked at.
    #[serde(default)]
    pub positions: Vec<Option<u16>>,
    /// How far back the write-intent bitmap on this member tells what was written: a member that has missed nothing before
    /// this event can be brought up to date by it. None without a bitmap.
    #[serde(default)]
    pub bitmap_since: Option<u64>,
}

impl MdMember {
    /// Whether it is the journal itself, and holds none of the array's data.
    pub fn is_journal(&self) -> bool {
        self.journal == Some(self.number)
    }
}

/// An md array that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunningArray {
    /// Kernel name in this boot (`md127`).
    pub name: String,
    /// Its UUID, if it has one.
    pub uuid: Option<Uuid>,
    /// RAID level as the kernel says it (`raid1`).
    pub level: String,
    /// Kernel names of its working members.
    pub members: Vec<String>,
    /// Kernel names of those that stand by or are being filled.
    #[serde(default)]
    pub spares: Vec<String>,
    /// Kernel names of those that failed, or whose disks are gone.
    #[serde(default)]
    pub failed: Vec<String>,
    /// Whether it has a journal on a disk of its own, also while it lacks it.
    #[serde(default)]
    pub journaled: bool,
    /// Kernel name of its journal, while that works.
    #[serde(default)]
    pub journal: Option<String>,
    /// Members it should have.
    pub wanted: u32,
    /// Whether it was started so that nothing is written to it.
    #[serde(default)]
    pub read_only: bool,
    /// What it is doing (`idle`, `resync`, `recover`).
    pub sync_action: String,
    /// How far that is, in sectors done and of all.
    pub sync_progress: Option<(u64, u64)>,
    /// Bytes; 0 when that was not looked at.
    #[serde(default)]
    pub size: u64,
    /// How many of them the file system on it fills, as it says itself; none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filled: Option<u64>,
    /// How many sectors of its members told different things when it was last read through.
    #[serde(default)]
    pub mismatches: u64,
    /// Signatures on the array.
    pub signatures: Vec<Signature>,
    /// What uses it.
    pub uses: Uses,
}

impl RunningArray {
    /// Whether its journal has failed or is gone: nothing can be written to it any more.
    pub fn lacks_journal(&self) -> bool {
        self.journaled && self.journal.is_none()
    }

    /// Whether the file system on it fills it, but for what it may have no use for: XFS wants 16 MiB for one more allocation
    /// group.
    pub fn is_filled(&self) -> bool {
        self.filled.is_none_or(|filled| filled + (20 << 20) > self.size)
    }
}

impl Device {
    /// Size of its logical sectors, if a GPT can be on it.
    pub fn sector(&self) -> Option<SectorSize> {
        SectorSize::from_bytes(u64::from(self.logical_sector))
    }

    /// What identifies it for good: its serial number, or its world wide name when it tells no serial number.
    pub fn identity(&self) -> Option<&str> {
        let told = |s: &'_ &str| !s.trim().is_empty();
        self.serial.as_deref().filter(told).or_else(|| self.wwn.as_deref().filter(told))
    }

    /// Whether the two can't be told apart for good: they have one [identity](Device::identity), or one world wide name
    /// whatever serial numbers they tell. A path that has failed may tell no serial number.
    pub fn is_twin_of(&self, other: &Device) -> bool {
        let told = |wwn: &&str| !wwn.trim().is_empty();
        let same = |one: Option<&str>, two: Option<&str>| one.filter(told).is_some_and(|one| Some(one) == two);
        same(self.identity(), other.identity()) || same(self.wwn.as_deref(), other.wwn.as_deref())
    }

    /// Kind of medium.
    pub fn media(&self) -> Media {
        match (self.transport, self.rotational) {
            (Some(Transport::Nvme), _) => Media::Nvme,
            (_, true) => Media::Hdd,
            (_, false) => Media::Ssd,
        }
    }

    /// How a person finds it: bay, model, serial number, size; the kernel's name only as a last help.
    pub fn words(&self) -> String {
        let bay = self.slot.as_ref().map(|s| format!("bay {} (enclosure {})", s.bay, s.enclosure));
        let place = bay.or_else(|| self.by_path.first().cloned()).unwrap_or_else(|| self.name.clone());
        let model = self.model.as_deref().unwrap_or("disk of unknown model");
        let serial = match (&self.serial, &self.wwn) {
            (Some(serial), _) => format!("serial {serial}"),
            (None, Some(wwn)) => format!("wwn {wwn}"),
            (None, None) => "no serial number".into(),
        };
        format!("{place}  {model}  {serial}  {}", size_words(self.size))
    }

    /// What uses it or one of its partitions, in words.
    pub fn in_use(&self) -> Option<String> {
        let inside = self.partitions.iter().filter_map(|p| Some((p.number, p.uses.words()?)));
        let inside = inside.map(|(number, how)| format!("its partition {number} is {how}"));
        let words: Vec<String> = self.uses.words().into_iter().chain(inside).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// The partition of this number that the kernel shows.
    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions.iter().find(|p| p.number == number)
    }

    /// All that is on it, layer by layer, in words.
    pub fn holds(&self) -> Vec<String> {
        let mut words: Vec<String> = self.signatures.iter().filter(|s| !s.is_gpt()).map(Signature::words).collect();
        if self.table.usable().is_some() {
            words.push(self.table.to_string());
        }
        for partition in &self.partitions {
            let on = partition.signatures.iter().map(|s| format!("{} on partition {}", s.words(), partition.number));
            words.extend(on);
        }
        words
    }
}

/// The serial number by which a namespace of an NVMe subsystem is known: all of them tell the subsystem's, so those after
/// the first have their number behind it (`S5P2NG0R-n2`). The first has it plain, as a disk of one namespace has.
pub fn namespace_serial(subsystem: &str, namespace: u32) -> String {
    if namespace <= 1 { subsystem.to_owned() } else { format!("{subsystem}-n{namespace}") }
}

/// Whether these look like one disk that is reached over several paths: each has the same world wide name, and the same
/// size. World wide names are given once for all time, unlike serial numbers.
pub fn is_one_disk(paths: &[&Device]) -> bool {
    let told = |device: &&Device| {
        device.wwn.as_ref().filter(|wwn| !wwn.trim().is_empty()).map(|wwn| (wwn.clone(), device.size))
    };
    let Some(first) = paths.first().and_then(told) else { return false };
    paths.len() > 1 && paths.iter().all(|path| told(path).as_ref() == Some(&first))
}

/// `12.0 TB`, in decimal units as on a disk's label.
pub fn size_words(bytes: u64) -> String {
    let units = [("TB", 1_000_000_000_000u64), ("GB", 1_000_000_000), ("MB", 1_000_000)];
    let (unit, factor) = units.into_iter().find(|(_, f)| bytes >= *f).unwrap_or(("kB", 1000));
    let tenths = u128::from(bytes) * 10 / u128::from(factor);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_as_on_the_label() {
        assert_eq!(size_words(12_000_138_625_024), "12.0 TB");
        assert_eq!(size_words(1_500_000_000), "1.5 GB");
    }

    #[test]
    fn namespaces_are_told_apart_and_the_first_keeps_its_name() {
        assert_eq!([1, 2, 12].map(|n| namespace_serial("S1", n)), ["S1", "S1-n2", "S1-n12"]);
        assert_eq!(namespace_serial("S1", 0), "S1");
    }

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
