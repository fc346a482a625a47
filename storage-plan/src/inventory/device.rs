//! Whole disks and their partitions.

use super::{MdMember, Signature, Uses};
use machine_config::schema::{Media, Transport};
use on_disk::gpt::{Found, SectorSize};
use serde::{Deserialize, Serialize};

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
    /// Whether it says that it is locked (TCG), which it is asked only if a part of it can't be read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
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
}
