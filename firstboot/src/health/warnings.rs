//! From what was counted and told to what a person should know. Pure; nothing here refuses anything.

use super::smart::{Nvme, Smart};
use machine_config::Diagnostic;
use storage_plan::refusal::diagnostic;

/// The disk's own judgement is that it fails.
pub const FAILING: &str = "BP-H001";
/// Sectors were lost, or are about to be.
pub const SECTORS: &str = "BP-H002";
/// An NVMe disk warns.
pub const CRITICAL: &str = "BP-H003";
/// A disk is worn out, or has little spare space left.
pub const WORN: &str = "BP-H004";
/// An NVMe disk could not give back what was stored.
pub const MEDIA: &str = "BP-H005";
/// Commands to a disk failed.
pub const COMMANDS: &str = "BP-H006";
/// An array has read what a member could not give it from the others.
pub const MEMBER: &str = "BP-H007";
/// Copies or parity of an array say different things.
pub const MISMATCH: &str = "BP-H008";

/// How many commands must have failed while the watch ran. Single ones fail on good disks, too: programs ask for what a
/// disk does not have.
const COMMANDS_FAILED: u64 = 10;

/// What is known of one disk's health.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskHealth {
    /// The disk, in words.
    pub words: String,
    /// What it says of itself, if it was asked and answered.
    pub smart: Option<Smart>,
    /// Commands to it that failed while the watch ran, but for those of asking.
    pub failed_commands: u64,
}

/// What md has counted of one array.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArrayHealth {
    /// The volume on it, or its kernel name.
    pub name: String,
    /// RAID level as the kernel says it.
    pub level: String,
    /// Sectors that differed at the last check.
    pub mismatches: u64,
    /// Members in words, each with the read errors that md put right.
    pub members: Vec<(String, u64)>,
}

/// Everything that is wrong with these, in a fixed order.
pub fn warnings(disks: &[DiskHealth], arrays: &[ArrayHealth]) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = disks.iter().flat_map(of_disk).collect();
    found.extend(arrays.iter().flat_map(of_array));
    found.sort_by(|a, b| (&a.code, &a.what).cmp(&(&b.code, &b.what)));
    found
}

/// What goes for each warning about a disk.
const REPLACE: &str =
    "Have another disk ready. On an array replace it as a lost one; if it is alone, copy away what is on it first.";
const RUNS: &str = "The node runs on, and nothing was done about it.";

fn of_disk(disk: &DiskHealth) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut warn = |code: &str, what: String, why: &str| {
        let why = format!("{why} {RUNS}");
        found.push(diagnostic(code, format!("{} {what}.", disk.words), why, REPLACE.into()));
    };
    if let Some(smart) = &disk.smart {
        let critical = smart.nvme.is_some_and(|nvme| nvme.critical_warning != 0);
        if smart.passed == Some(false) && !critical {
            let below = match &smart.failing[..] {
                [] => String::new(),
                names => format!(": {} below the threshold of its maker", names.join(", ")),
            };
            warn(FAILING, format!("says of itself that it is failing{below}"), "Such a disk may stop at any time.");
        }
        let counts = [
            (smart.reallocated, "put aside"),
            (smart.pending, "unreadable until they are written"),
            (smart.uncorrectable, "found unreadable"),
        ];
        let counts: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, how)| format!("{n} {how}")).collect();
        if !counts.is_empty() {
            let why = "A few that stay as many are no danger; a disk on which they become more is failing.";
            warn(SECTORS, format!("has lost sectors: {}", counts.join(", ")), why);
        }
        if let Some(nvme) = &smart.nvme {
            of_nvme(nvme, &mut warn);
        }
    }
    if disk.failed_commands >= COMMANDS_FAILED {
        let why = "The kernel counted them (ioerr_cnt); its log says which. Disk, cable or backplane may be the cause.";
        warn(COMMANDS, "did not do what it was asked for, many times since the node watches it".into(), why);
    }
    found
}

fn of_nvme(nvme: &Nvme, warn: &mut impl FnMut(&str, String, &str)) {
    const BITS: [&str; 6] = [
        "its spare space is used up",
        "it is too hot or too cold",
        "it has become unreliable",
        "it takes no more writes",
        "what keeps its cache over a power cut has failed",
        "its persistent memory has become unreliable",
    ];
    let says: Vec<&str> =
        (0..).zip(BITS).filter(|(bit, _)| nvme.critical_warning >> bit & 1 == 1).map(|(_, w)| w).collect();
    if nvme.critical_warning != 0 {
        let says =
            if says.is_empty() { "of something that this version does not know".into() } else { says.join(", ") };
        warn(CRITICAL, format!("warns: {says}"), "It says so itself (Critical Warning of its health log).");
    }
    if nvme.spare < nvme.spare_threshold && nvme.critical_warning & 1 == 0 {
        let what =
            format!("has {} % of its spare space left, less than its maker's {} %", nvme.spare, nvme.spare_threshold);
        warn(WORN, what, "When none is left it takes no more writes.");
    } else if nvme.used >= 100 {
        let why =
            "Its maker's estimate of its life is reached. It may work on for long, and lose data sooner without power.";
        warn(WORN, format!("is worn out: {} % of its life are used", nvme.used), why);
    }
    if nvme.media_errors > 0 {
        let why = "What was there is lost, unless an array has it elsewhere.";
        let times =
            if nvme.media_errors == u64::MAX { "very often".into() } else { format!("{} times", nvme.media_errors) };
        warn(MEDIA, format!("could not give back what was stored, {times}"), why);
    }
}

fn of_array(array: &ArrayHealth) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (member, errors) in array.members.iter().filter(|(_, errors)| *errors > 0) {
        let what = format!("\"{}\" could not read from {member}, {errors} times.", array.name);
        let why = format!("It read the same from the other members and wrote it anew. {RUNS}");
        found.push(diagnostic(MEMBER, what, why, REPLACE.into()));
    }
    if array.mismatches > 0 {
        let copies = matches!(array.level.as_str(), "raid1" | "raid10");
        let (what, why) = if copies {
            (
                "copies that differ",
                "On mirrors that can come of writes that were taken back meanwhile (md(4)), or of a failing disk.",
            )
        } else {
            ("parity that differs", "Data or parity is wrong somewhere. Which, md can't tell.")
        };
        found.push(diagnostic(
            MISMATCH,
            format!("\"{}\" has {what} in {} sectors.", array.name, array.mismatches),
            format!("{why} {RUNS}"),
            "Look at the other warnings: the disk that has some is the one to replace. Compare the data with a backup."
                .into(),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::smart::{parse, tests as samples};
    use super::*;

    fn disk(text: &str) -> DiskHealth {
        DiskHealth { words: "bay 4".into(), smart: parse(text).unwrap(), failed_commands: 0 }
    }

    fn said(disk: &DiskHealth) -> Vec<String> {
        let all = warnings(std::slice::from_ref(disk), &[]);
        assert!(all.iter().all(|w| w.why.ends_with(RUNS) && !w.mend.is_empty()), "{all:?}");
        all.into_iter().map(|w| format!("{}: {}", w.code, w.what)).collect()
    }

    #[test]
    fn good_disks_and_silent_ones_are_no_news() {
        for text in [samples::SATA, samples::SATA_DESKTOP, samples::NVME, samples::NOTHING] {
            assert_eq!(said(&disk(text)), Vec::<String>::new());
        }
    }

    #[test]
    fn each_kind_of_disk_says_what_is_wrong_with_it() {
        assert_eq!(
            said(&disk(samples::SATA_FAILING)),
            [
                "BP-H001: bay 4 says of itself that it is failing: Reallocated_Sector_Ct below the threshold of its maker.",
                "BP-H002: bay 4 has lost sectors: 8 put aside, 16 unreadable until they are written, 2 found unreadable.",
            ]
        );
        assert_eq!(said(&disk(samples::SAS)), ["BP-H002: bay 4 has lost sectors: 2 put aside, 1 found unreadable."]);
        assert_eq!(
            said(&disk(samples::NVME_WORN)),
            [
                "BP-H003: bay 4 warns: its spare space is used up, it has become unreliable.",
                "BP-H004: bay 4 is worn out: 107 % of its life are used.",
                "BP-H005: bay 4 could not give back what was stored, very often.",
            ]
        );
    }

    #[test]
    fn thresholds_are_those_that_are_documented() {
        let nvme = |change: fn(&mut Nvme)| {
            let mut log = Nvme { spare: 10, spare_threshold: 10, used: 99, ..Nvme::default() };
            change(&mut log);
            let smart = Smart { passed: Some(true), nvme: Some(log), ..Smart::default() };
            said(&DiskHealth { words: "bay 4".into(), smart: Some(smart), failed_commands: 0 }).len()
        };
        assert_eq!(nvme(|_| ()), 0);
        assert_eq!(nvme(|log| log.spare = 9), 1);
        assert_eq!(nvme(|log| log.used = 100), 1);
        assert_eq!(nvme(|log| log.media_errors = 1), 1);
        // A bit that only a later standard knows is a warning, too.
        assert_eq!(nvme(|log| log.critical_warning = 0x80), 1);
        let commands = |failed_commands| said(&DiskHealth { failed_commands, ..DiskHealth::default() }).len();
        assert_eq!((commands(9), commands(10)), (0, 1));
    }

    #[test]
    fn an_array_that_had_to_help_itself_says_so() {
        let mut array = ArrayHealth {
            name: "meta/db".into(),
            level: "raid1".into(),
            mismatches: 0,
            members: vec![("bay 1".into(), 0), ("bay 2".into(), 3)],
        };
        let codes = |array: &ArrayHealth| -> Vec<String> {
            warnings(&[], std::slice::from_ref(array)).into_iter().map(|w| format!("{} {}", w.code, w.what)).collect()
        };
        assert_eq!(codes(&array), ["BP-H007 \"meta/db\" could not read from bay 2, 3 times."]);
        array.members.clear();
        array.mismatches = 128;
        assert_eq!(codes(&array), ["BP-H008 \"meta/db\" has copies that differ in 128 sectors."]);
        array.level = "raid6".into();
        assert_eq!(codes(&array), ["BP-H008 \"meta/db\" has parity that differs in 128 sectors."]);
    }
}
