//! How long a member of a redundant array may try to read a bad sector: not long, since the array has the same elsewhere.
//!
//! A desktop disk tries for minutes. The kernel gives a command half a minute, resets the disk, and md throws out a member
//! that would only have had to be written anew. So a disk that can be told to give up is told so, and with one that can't
//! the kernel is given more patience than the disk has. Neither outlives the power: it is done anew at each start.
#![allow(clippy::disallowed_methods, reason = "edge: sets limits of disks")]

use super::smart::Recovery;
use run_tool::Tool;
use std::path::{Path, PathBuf};
use storage_plan::inventory::{Device, Partition, RunningArray};

/// What a disk is told, in tenths of a second; what disks made for arrays come with.
pub const LIMIT: u64 = 70;
/// What the kernel is told of a disk that can't be, in seconds: longer than any is known to try.
pub const PATIENCE: u64 = 180;

/// A member of a redundant array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Kernel name of its disk.
    pub disk: String,
    /// What it says of its own limit.
    pub recovery: Recovery,
    /// Seconds that the kernel gives a command to it, if it counts them.
    pub patience: Option<u64>,
}

/// What is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The disk gives up after [`LIMIT`].
    Limit(String),
    /// The kernel waits for [`PATIENCE`].
    Patience(String),
}

/// What is to be set for these, in their order. A disk that says nothing is left as it is.
pub fn steps(members: &[Member]) -> Vec<Step> {
    let step = |member: &Member| match member.recovery {
        Recovery::Unlimited => Some(Step::Limit(member.disk.clone())),
        Recovery::Limited(limit) if limit == 0 || limit > LIMIT => Some(Step::Limit(member.disk.clone())),
        Recovery::None if member.patience.is_some_and(|p| p < PATIENCE) => Some(Step::Patience(member.disk.clone())),
        Recovery::None | Recovery::Limited(_) | Recovery::Unknown => None,
    };
    members.iter().filter_map(step).collect()
}

/// Kernel names of the disks whose arrays can do without one of them, each once.
pub fn members(devices: &[Device], arrays: &[RunningArray]) -> Vec<String> {
    let redundant =
        |array: &&RunningArray| matches!(array.level.as_str(), "raid1" | "raid4" | "raid5" | "raid6" | "raid10");
    let arrays: Vec<&RunningArray> = arrays.iter().filter(redundant).collect();
    let in_one = |partition: &str| arrays.iter().any(|a| a.members.iter().chain(&a.spares).any(|m| m == partition));
    let is_member = |partitions: &[Partition]| partitions.iter().any(|p| in_one(&p.name));
    devices.iter().filter(|d| is_member(&d.partitions)).map(|d| d.name.clone()).collect()
}

/// Seconds that the kernel gives a command to a SCSI or SATA disk; none of another.
pub(super) fn patience(block: &Path, disk: &str) -> Option<u64> {
    std::fs::read_to_string(attribute(block, disk)).ok()?.trim().parse().ok()
}

fn attribute(block: &Path, disk: &str) -> PathBuf {
    block.join(disk).join("device/timeout")
}

/// Sets them. What can't be set is noted in the log: the array runs as it did. If a disk does not take its limit, the kernel
/// has patience with it.
pub(super) fn set(steps: &[Step], smartctl: &Tool, block: &Path) {
    for step in steps {
        match step {
            Step::Limit(disk) => match limit(smartctl, disk) {
                Ok(()) => tracing::info!(disk, "gives up on a bad sector after {LIMIT} tenths of a second from now on"),
                Err(e) => {
                    tracing::warn!(disk, "did not take a limit for bad sectors: {e}");
                    be_patient(block, disk);
                }
            },
            Step::Patience(disk) => be_patient(block, disk),
        }
    }
}

fn limit(smartctl: &Tool, disk: &str) -> Result<(), run_tool::Error> {
    // Bits 3 and up of the exit code tell of the disk's health, and not of what was asked for (smartctl(8)).
    let done: Vec<i32> = (0..=255).filter(|code| code & 7 == 0).collect();
    let value = format!("scterc,{LIMIT},{LIMIT}");
    smartctl.command().args(["-l", &value]).arg(Path::new("/dev").join(disk)).accept(&done).run().map(|_| ())
}

fn be_patient(block: &Path, disk: &str) {
    match std::fs::write(attribute(block, disk), PATIENCE.to_string()) {
        Ok(()) => tracing::info!(disk, "is given {PATIENCE} s for each command from now on"),
        Err(e) => tracing::warn!(disk, "is not given {PATIENCE} s for each command: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::sample::{array, disk};

    fn member(recovery: Recovery, patience: Option<u64>) -> Member {
        Member { disk: "sda".into(), recovery, patience }
    }

    #[test]
    fn a_disk_that_can_be_limited_is_and_with_another_the_kernel_is_patient() {
        let step = |recovery, patience| steps(&[member(recovery, patience)]).pop();
        assert_eq!(step(Recovery::Unlimited, Some(30)), Some(Step::Limit("sda".into())));
        assert_eq!(step(Recovery::Limited(71), Some(30)), Some(Step::Limit("sda".into())));
        assert_eq!(step(Recovery::Limited(0), Some(30)), Some(Step::Limit("sda".into())));
        assert_eq!(step(Recovery::Limited(70), Some(30)), None);
        assert_eq!(step(Recovery::Limited(50), Some(30)), None, "its maker or a person chose less");
        assert_eq!(step(Recovery::None, Some(30)), Some(Step::Patience("sda".into())));
        assert_eq!(step(Recovery::None, Some(180)), None, "a second round sets nothing");
        assert_eq!(step(Recovery::None, Some(600)), None, "a person chose more");
        assert_eq!(step(Recovery::None, None), None);
        assert_eq!(step(Recovery::Unknown, Some(30)), None);
    }

    #[test]
    fn only_disks_that_an_array_can_do_without_are_limited() {
        let disks = ["sda", "sdb", "sdc", "sdd"].map(|name| disk(name, name, "1"));
        let mut mirror = array("md127", "raid1", &["sda1"], &["sdd1"]);
        mirror.spares = vec!["sdb1".into()];
        let arrays = [mirror, array("md126", "raid0", &["sdc1"], &[])];
        assert_eq!(members(&disks, &arrays), ["sda", "sdb"]);
    }

    #[test]
    fn a_disk_that_does_not_take_its_limit_is_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let file = attribute(root.path(), "sda");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let after = |tool: &str| {
            std::fs::write(&file, "30\n").unwrap();
            set(&[Step::Limit("sda".into())], &Tool::at(tool), root.path());
            patience(root.path(), "sda")
        };
        assert_eq!(after("/bin/true"), Some(30));
        assert_eq!(after("/bin/false"), Some(PATIENCE));
    }
}
