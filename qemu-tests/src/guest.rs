//! The test guest: the kernel and the agent's own functions in an initrd, on disks that the host laid. Many cases in
//! one boot.
//!
//! What both sides must agree on stands here once: the disks, and the list of cases. [`boot`] is the host's side;
//! the guest's is the program in `qemu-tests/guest-init/`.

pub mod boot;
pub mod config;
pub mod disks;
pub mod images;
mod initrd;
pub mod kit;
mod libraries;
pub mod many;
pub mod policies;

use crate::fault::foreign::Foreign;

/// Every case, in the order in which they run; later ones build on what earlier ones left on the disks.
///
/// The guest runs exactly these, and the host asks for exactly these: one that did not run has failed.
pub const CASES: &[&str] = &[
    OBSERVE,
    "invariant 2: a disk with ext4 is refused by name",
    "invariant 2: a disk with LUKS2 is refused by name",
    "invariant 2: a member of a ZFS pool is refused by name",
    "invariant 2: a member of another host's array is refused by name, and the array is not started",
    "invariant 2: a disk with data and no signature is refused by name",
    "invariant 2: a disk with another's partitions is refused by name",
    MISSING,
    FORMATS,
    "invariant 4: what an interrupted run began is known as ours",
    "begun and blank disks become RAID1 with XFS, ext4 on each disk, and the state partition",
    "a second run keeps every volume and runs no action",
    "a restart keeps every volume and every file, and writes nothing",
    "invariant 4: a volume of type provisioning is made anew, and no other",
    "a damaged table is repaired, and nothing else is written",
    "invariant 4: an ext4 whose superblock a power cut tore is mounted with its files",
    "invariant 8: a mirror without one disk runs, and says that it is degraded",
    TAKEN_PLACE,
    "a mirror takes the named blank disk in place of the lost one, is filled from the other, and runs on it alone",
    "a RAID0 of two disks is made and kept, and refused without one of them",
    "a RAID5 of three disks and a spare is made and kept, and runs without a member",
    "a RAID6 of four disks is made and kept, and runs without two of them",
    "a RAID10 of four disks is made and kept, and runs without one of each pair",
    "invariant 2: a permit for something else, elsewhere or of yesterday does nothing",
    "invariant 2: a permit that names what is there frees the disk",
    "an NVMe disk erases itself by a permit for that, and one that can't is not written to",
    "an ATA disk erases itself by its security commands, and one that is frozen or has a password is not written to",
    "an ATA disk that fails to erase itself is left without a password, and gone on with by its note",
    "ATA and SCSI disks are sanitized by their own commands",
    "a disk without the erase command of the permit's method is not written to",
    "an Opal drive is reverted by the PSID on its label, and by no other",
    "a locked Opal drive, of which nothing can be read, is reverted and taken",
    "a drive that a revert would not erase is not written to",
    "an Opal drive that was reverted when the power went is gone on with by its note, without the PSID",
    "invariant 2: a permit is used once",
    "invariant 4: a disk that was half erased when the power went is erased without the permit",
    "a volume whose generation is raised is made anew with a permit, and no other",
    "a volume is made and mounted with the options that the site file gives",
    "raw volumes are made, left alone whatever is on them, and found by a path",
    "two partitions on each disk are made together, kept over a restart, and never cut anew",
    "encrypted volumes are made, opened with the passphrase and with no other, and hold nothing that can be read without",
    "a volume group and a volume of each layout are made, and found again with what they hold",
    "invariant 4: a half-made volume of a group is made anew, and no other",
    "a volume of a group is made larger while it is mounted, and an interrupted run is gone on with",
    "invariant 4: a mirror of a group that lost a copy while it was made is not finished, and made anew",
    "a lost disk of a group stops what lies on it, and a mirror runs without a copy",
    "a RAID1 with XFS is made as large as the disks that its members were replaced by, while it is mounted",
    "a RAID5 with ext4 is made as large as the disks that its members were replaced by, while it is mounted",
    "invariant 4: a file system that an interrupted run left smaller than its array is made larger",
    "a member of a larger RAID1 that leaves before what is new was synced gets that when it comes back after a restart",
    "disks with sectors of 4096 bytes become arrays, groups and encrypted volumes that are found again",
    "a disk with sectors of another size is no member of an array or a group, also not in place of a lost one",
    "what the TPM opens is opened under releases of the same key alone, and with the recovery key when the TPM is cleared",
    "invariant 6: a dirty array that lacks a member is read where the site file says so, and nothing is written to it",
    "an array keeps its journal on a disk of its own, is not written to without it, and says so when it fails",
    "invariant 5: each disk is locked and looked at again before the first write to any",
    "invariant 7: a program that is missing is named before anything is written",
    "an array is synced as fast as the site file says",
    "an array is scrubbed when that is due, and what came of it is told",
    "after each step the model shows what observing sees",
    "invariant 9: a higher number of spares and a name add a spare, which takes over when a member fails",
    "a member of a RAID1 that was away comes back and gets what it missed",
    "invariant 3: halves of a RAID1 that were used apart stay apart",
    "a RAID1 copies a retired member onto the named blank disk while it serves, over a restart, and lets it go",
    "a RAID5 with a parity log copies a retired member onto the named blank disk, and lets it go",
    "a RAID5 takes the blank disk in the slot of the lost one while it runs, also after an interrupted run",
    "a mirror whose member is pulled under load is filled onto the blank disk put in its place",
    "a RAID5 whose member is pulled under load is filled onto the blank disk put in its place",
    "what a member of a RAID5 altered is found by a scrub, and comes back whole on the disk put in its place",
    "what a member of a RAID6 altered is found by a scrub, and comes back whole on the disk put in its place",
    "the state is mirrored on two system disks with the image on both, started from either, and made whole again",
    "an array that fails while it runs is refused, and everything else is looked at",
    ZSTD_IMAGE,
    LZ4_IMAGE,
];

/// The cases of the images that the builder sealed.
pub const ZSTD_IMAGE: &str = "an image with zstd shows every path as the tree has it";
/// As [`ZSTD_IMAGE`].
pub const LZ4_IMAGE: &str = "an image with LZ4 shows every path as the tree has it";

/// The case that looks at disks before anything is written.
pub const OBSERVE: &str = "disks are observed as they are";
/// The case of the disk that is not there.
pub const MISSING: &str = "invariant 1: a missing disk is refused by name, and no other disk is used";

/// The case of all other formats, one after the other on the same disks.
pub const FORMATS: &str = "invariant 2: a disk with any other format is refused by name, and nothing is written to it";

/// The case of the foreign disk that is named in place of a lost member.
pub const TAKEN_PLACE: &str =
    "invariant 2: a foreign disk in place of a lost member is refused, and the mirror runs on";

/// The variable of the guest's first program, handed over by the kernel's command line, that says which cases it runs: parts of
/// their names, separated by commas.
pub const PARTS: &str = "bedplate_cases";

/// The cases that these parts of names pick, all of them without any, in the order of [`CASES`].
pub fn picked(parts: Option<&str>) -> impl Iterator<Item = &'static str> {
    let is_picked = move |name: &str| parts.is_none_or(|parts| parts.split(',').any(|part| name.contains(part)));
    CASES.iter().copied().filter(move |name| is_picked(name))
}

/// Which foreign content which case is about.
pub const FOREIGN: &[(&str, Foreign)] = &[
    (CASES[1], Foreign::Ext4),
    (CASES[2], Foreign::Luks),
    (CASES[3], Foreign::Zfs),
    (CASES[4], Foreign::Md),
    (CASES[5], Foreign::Raw),
    (CASES[6], Foreign::Gpt),
];

/// How the guest says what came of a case: `case NAME ok` or `case NAME FAILED: why`, after `case NAME begins`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It held.
    Ok,
    /// It did not; why.
    Failed(String),
}

/// What was said of the case `name`, and all lines from its beginning to there. None if it did not come to an end.
pub fn said<'a>(log: &'a str, name: &str) -> (Option<Said>, &'a str) {
    let (begins, end) = (format!("case {name} begins\n"), format!("case {name} "));
    let Some(at) = log.find(&begins) else { return (None, "") };
    let log = &log[at..];
    let Some(at) = log[begins.len()..].find(&end).map(|at| at + begins.len()) else { return (None, log) };
    // A line without its end may still grow.
    let Some(line) = log[at + end.len()..].split_once('\n').map(|(line, _)| line.trim_end()) else {
        return (None, log);
    };
    let said = match line.strip_prefix("FAILED: ") {
        Some(why) => Said::Failed(why.to_owned()),
        None if line == "ok" => Said::Ok,
        None => return (None, log),
    };
    (Some(said), &log[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_and_each_foreign_disk_stands_once() {
        let mut names = CASES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CASES.len());
        assert!(FOREIGN.iter().all(|(name, _)| CASES.contains(name)));
    }

    #[test]
    fn a_case_that_did_not_end_is_no_success() {
        let log = "case a begins\nx\ncase a ok\ncase b begins\ny\ncase b FAILED: no | z\ncase c begins\nsome\ncase c o";
        assert_eq!(said(log, "a"), (Some(Said::Ok), "case a begins\nx\n"));
        assert_eq!(said(log, "b").0, Some(Said::Failed("no | z".into())));
        assert_eq!(said(log, "c").0, None);
        assert_eq!(said(log, "d").0, None);
    }
}
