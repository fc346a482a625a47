//! Hardware RAID controllers, their virtual drives, and the disks behind those, as plain data.
//!
//! Guarantees: a disk is known by the same names whether its controller was asked or not; what a controller tells adds
//! words to a plan, and changes no verdict and no step of it.

use crate::inventory::{Device, Inventory, size_words};
use crate::refusal::{LACKING, MISSING, TOO_FEW};
use crate::verdict::Plan;
use machine_config::schema::Media;
use serde::{Deserialize, Serialize};

/// A hardware RAID controller, as its vendor's tool tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Controller {
    /// The tool that was asked (`storcli64`).
    pub tool: String,
    /// What that tool calls it: its number, or its slot.
    pub number: u32,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: Option<String>,
    /// Version of its firmware.
    pub firmware: Option<String>,
    /// What keeps its write cache over a power cut.
    pub backup: Backup,
    /// Disks that it shows to the kernel.
    pub virtual_drives: Vec<VirtualDrive>,
    /// Disks that are attached to it.
    pub physical_drives: Vec<PhysicalDrive>,
}

/// What keeps a write cache over a power cut: a battery, or capacitors and flash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backup {
    /// The tool does not tell.
    #[default]
    Unknown,
    /// There is none.
    Absent,
    /// It works.
    Good,
    /// It does not, or not now.
    Bad {
        /// In the tool's word.
        says: String,
    },
}

/// A disk that a controller makes of others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VirtualDrive {
    /// Its number on the controller.
    pub number: u32,
    /// Its name, if it was given one.
    pub name: Option<String>,
    /// The group of physical drives that it is on.
    pub group: Option<String>,
    /// `RAID 6`, or the tool's word for what is no such level.
    pub level: String,
    /// Bytes, as far as the tool's rounding lets them be told.
    pub size: Option<u64>,
    /// How it is.
    pub state: VirtualState,
    /// When a write counts as done.
    pub cache: WriteCache,
    /// Its world wide name, as the controller tells it to the kernel.
    pub wwn: Option<String>,
    /// Kernel name of the disk that it is in this boot; see [`name_disks`].
    pub disk: Option<String>,
}

/// How a virtual drive is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VirtualState {
    /// As it should be.
    #[default]
    Optimal,
    /// It lacks a drive.
    Degraded,
    /// It lacks a drive, whose place is being filled.
    Rebuilding {
        /// How far, if the tool tells.
        percent: Option<u8>,
    },
    /// It lacks too many.
    Offline,
    /// A word that this version does not know.
    Other {
        /// In the tool's word.
        says: String,
    },
}

/// When a write to a virtual drive counts as done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteCache {
    /// The tool does not tell.
    #[default]
    Unknown,
    /// When it is on the drives.
    Through,
    /// When it is in the cache, while a power cut leaves that as it is.
    Back,
    /// When it is in the cache, whatever a power cut does to that.
    AlwaysBack,
}

/// A disk that is attached to a controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PhysicalDrive {
    /// Where it is, as the tool writes it (`32:4`, `1I:1:4`); none of one that is missing.
    pub place: Option<String>,
    /// The group that it belongs to, if it does.
    pub group: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Bytes, as far as the tool's rounding lets them be told.
    pub size: Option<u64>,
    /// Kind of medium.
    pub media: Option<Media>,
    /// How it is.
    pub state: PhysicalState,
    /// Errors of its medium that the controller counted, if it tells.
    pub media_errors: Option<u64>,
    /// Other errors that the controller counted, if it tells.
    pub other_errors: Option<u64>,
    /// Whether it says of itself that it will fail.
    pub predicts_failure: bool,
}

/// How a physical drive is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhysicalState {
    /// It serves.
    #[default]
    Online,
    /// It is being filled with what its place should hold.
    Rebuilding {
        /// How far, if the tool tells.
        percent: Option<u8>,
    },
    /// The controller does not use it any more.
    Failed,
    /// Its place in a group is empty.
    Missing,
    /// It belongs to nothing.
    Unconfigured,
    /// It carries the configuration of another controller.
    Foreign,
    /// It stands by.
    Spare,
    /// The controller shows it to the kernel as it is.
    PassedThrough,
    /// A word that this version does not know.
    Other {
        /// In the tool's word.
        says: String,
    },
}

impl Controller {
    /// `controller 0 (PERC H740P Mini)`.
    pub fn words(&self) -> String {
        format!("controller {} ({})", self.number, self.model)
    }

    /// `virtual drive 3 of controller 0 (PERC H740P Mini)`.
    pub fn drive(&self, drive: &VirtualDrive) -> String {
        format!("virtual drive {} of {}", drive.number, self.words())
    }

    /// The same with its level and state.
    pub fn drive_words(&self, drive: &VirtualDrive) -> String {
        format!("{}, {}, {}", self.drive(drive), drive.level, drive.state.words())
    }

    /// How a person finds a physical drive.
    pub fn physical(&self, drive: &PhysicalDrive) -> String {
        let Some(place) = &drive.place else {
            return format!("a drive of group {} of {}", drive.group.as_deref().unwrap_or("?"), self.words());
        };
        let rest =
            [drive.model.clone(), drive.serial.as_ref().map(|s| format!("serial {s}")), drive.size.map(size_words)];
        let rest = rest.into_iter().flatten().map(|word| format!("  {word}"));
        std::iter::once(format!("bay {place} of {}", self.words())).chain(rest).collect()
    }
}

impl VirtualState {
    /// In words.
    pub fn words(&self) -> String {
        match self {
            VirtualState::Optimal => "optimal".into(),
            VirtualState::Degraded => "degraded".into(),
            VirtualState::Rebuilding { percent: Some(percent) } => format!("being rebuilt ({percent} %)"),
            VirtualState::Rebuilding { percent: None } => "being rebuilt".into(),
            VirtualState::Offline => "offline".into(),
            VirtualState::Other { says } => format!("in state {says:?}"),
        }
    }
}

impl Inventory {
    /// The virtual drive that `device` is, with its controller.
    pub fn virtual_drive(&self, device: &Device) -> Option<(&Controller, &VirtualDrive)> {
        let drives = self.controllers.iter().flat_map(|c| c.virtual_drives.iter().map(move |drive| (c, drive)));
        drives.into_iter().find(|(_, drive)| drive.disk.as_ref() == Some(&device.name))
    }
}

/// Says of each virtual drive which disk it is: the one with its world wide name. One that has none is the disk that the
/// tool calls it, if there is one of that name.
pub fn name_disks(controllers: &mut [Controller], devices: &[Device]) {
    for drive in controllers.iter_mut().flat_map(|c| &mut c.virtual_drives) {
        let is_it = |device: &&Device| match &drive.wwn {
            Some(wwn) => device.wwn.as_ref().is_some_and(|told| bare(told) == bare(wwn)),
            None => drive.disk.as_ref() == Some(&device.name),
        };
        drive.disk = devices.iter().find(is_it).map(|device| device.name.clone());
    }
}

/// A world wide name without what says of which kind it is: the kernel writes `naa.6...`, the tools write digits.
fn bare(wwn: &str) -> String {
    let wwn = wwn.trim().to_ascii_lowercase();
    wwn.strip_prefix("naa.").or(wwn.strip_prefix("0x")).unwrap_or(&wwn).to_owned()
}

/// Adds to a plan what controllers tell of its disks, and of virtual drives that may be the disks it misses.
pub(crate) fn explain(plan: &mut Plan, inventory: &Inventory) {
    let is = |device: &Device| {
        let (controller, drive) = inventory.virtual_drive(device)?;
        let words = device.words();
        Some((format!("{words} is {}.", controller.drive_words(drive)), words))
    };
    let disks: Vec<(String, String)> = inventory.devices.iter().filter_map(is).collect();
    let drives = inventory.controllers.iter().flat_map(|c| c.virtual_drives.iter().map(move |drive| (c, drive)));
    let gone: Vec<String> = drives
        .filter(|(_, drive)| drive.disk.is_none())
        .map(|(controller, drive)| format!("There is no disk that is {}.", controller.drive_words(drive)))
        .collect();
    for volume in &mut plan.volumes {
        let of_it = disks.iter().filter(|(_, words)| volume.disks.contains(words));
        volume.reasons.extend(of_it.map(|(says, _)| says.clone()));
        for refusal in &mut volume.refusals {
            let named = disks.iter().filter(|(_, words)| refusal.what.contains(words)).map(|(says, _)| says);
            let lacks = [MISSING, TOO_FEW, LACKING].contains(&refusal.code.as_str());
            let says: Vec<&String> = named.chain(gone.iter().filter(|_| lacks)).collect();
            says.iter().for_each(|says| refusal.why.push_str(&format!(" {says}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_physical_drive_is_found_by_its_bay() {
        let controller = Controller { model: "PERC H740P Mini".into(), ..Controller::default() };
        let drive = PhysicalDrive {
            place: Some("32:4".into()),
            model: Some("ST12000NM0127".into()),
            serial: Some("ZL2ABCDE".into()),
            size: Some(12_000_138_625_024),
            ..PhysicalDrive::default()
        };
        assert_eq!(
            controller.physical(&drive),
            "bay 32:4 of controller 0 (PERC H740P Mini)  ST12000NM0127  serial ZL2ABCDE  12.0 TB"
        );
        let missing = PhysicalDrive { group: Some("1".into()), ..PhysicalDrive::default() };
        assert_eq!(controller.physical(&missing), "a drive of group 1 of controller 0 (PERC H740P Mini)");
    }

    #[test]
    fn world_wide_names_are_one_however_they_are_written() {
        let one = "600605b010e9437000000000c0ffee01";
        for written in [
            "naa.600605b010e9437000000000c0ffee01",
            "600605B010E9437000000000C0FFEE01",
            " 0x600605b010e9437000000000c0ffee01",
        ] {
            assert_eq!(bare(written), one);
        }
    }
}
