//! From what controllers tell to what a person should know. Pure; nothing here refuses anything.

use machine_config::Diagnostic;
use storage_plan::controller::{
    Backup, Controller, PhysicalDrive, PhysicalState, VirtualDrive, VirtualState, WriteCache,
};
use storage_plan::refusal::diagnostic;

/// A virtual drive lacks a drive, or is in a state that this version does not know.
pub const DEGRADED: &str = "BP-H009";
/// A virtual drive lacks more than it can do without.
pub const OFFLINE: &str = "BP-H010";
/// A drive behind a controller has failed, or is missing.
pub const FAILED: &str = "BP-H011";
/// A drive behind a controller says that it will fail.
pub const PREDICTED: &str = "BP-H012";
/// A power cut may take what is in a controller's write cache, or the cache is off for that reason.
pub const CACHE: &str = "BP-H013";
/// A drive behind a controller carries the configuration of another one.
pub const FOREIGN: &str = "BP-H014";

const RUNS: &str = "The node runs on, and nothing was done about it: Bedplate only reads from RAID controllers.";
const REPLACE: &str = "Put another drive of at least its size into its place. Whether the controller fills it by itself is for its \
                       own settings to say.";

/// Everything that is wrong with these, each once and in a fixed order.
pub fn warnings(controllers: &[Controller]) -> Vec<Diagnostic> {
    let of_one = |controller: &Controller| {
        let of_virtual = controller.virtual_drives.iter().filter_map(|drive| of_virtual(controller, drive));
        let of_physical = controller.physical_drives.iter().flat_map(|drive| of_physical(controller, drive));
        of_virtual.chain(of_physical).chain(of_cache(controller)).collect::<Vec<_>>()
    };
    let mut found: Vec<Diagnostic> = controllers.iter().flat_map(of_one).collect();
    found.sort_by(|a, b| (&a.code, &a.what).cmp(&(&b.code, &b.what)));
    found.dedup();
    found
}

fn warn(code: &str, what: String, why: &str, mend: &str) -> Diagnostic {
    diagnostic(code, what, format!("{why} {RUNS}"), mend.into())
}

/// How far a rebuild is says nothing new each time that it is asked, so it is not among what is said.
fn of_virtual(controller: &Controller, drive: &VirtualDrive) -> Option<Diagnostic> {
    let disk = drive.disk.as_ref().map_or_else(String::new, |disk| format!(", the disk {disk}"));
    let words = format!("{}{disk}, {},", capital(&controller.drive(drive)), drive.level);
    let look = "Look at the drives behind it: other warnings name those that have failed.";
    let (code, what, why, mend) = match &drive.state {
        VirtualState::Optimal => return None,
        VirtualState::Degraded => {
            (DEGRADED, "is degraded".into(), "It has all its data, and lacks a drive. Losing more may lose data.", look)
        }
        VirtualState::Rebuilding { .. } => (
            DEGRADED,
            "is being rebuilt".into(),
            "It has all its data. Until that has ended losing more may lose it.",
            look,
        ),
        VirtualState::Other { says } => {
            let why = "This version does not know what that means.";
            (DEGRADED, format!("is in state {says:?}"), why, "Read up on it in the manual of the controller.")
        }
        VirtualState::Offline => {
            let why = "It lacks more drives than its level can do without.";
            let mend = "Look first for drives that were pulled, and for a cable or an enclosure without power: its data may \
                        still be there. To make it anew, or to force it online, is for the controller's own tools.";
            (OFFLINE, "is offline".into(), why, mend)
        }
    };
    Some(warn(code, format!("{words} {what}."), why, mend))
}

fn of_physical(controller: &Controller, drive: &PhysicalDrive) -> Vec<Diagnostic> {
    let words = capital(&controller.physical(drive));
    let mut found = Vec::new();
    match drive.state {
        PhysicalState::Failed => {
            let why = "The controller does not use it, or can't.";
            found.push(warn(FAILED, format!("{words} has failed."), why, REPLACE));
        }
        PhysicalState::Missing => {
            let why = "Its place is empty, or what is in it does not answer.";
            found.push(warn(FAILED, format!("{words} is missing."), why, REPLACE));
        }
        PhysicalState::Foreign => {
            let why =
                "It was part of a virtual drive elsewhere, or was taken out of one here. What is on it may be wanted.";
            let mend = "If it came from another machine, put it back there. To import or to clear what it carries is for the \
                        controller's own tools, and for a person who knows what is on it.";
            found.push(warn(FOREIGN, format!("{words} carries the configuration of another controller."), why, mend));
        }
        _ => {}
    }
    if drive.predicts_failure {
        let why = "The controller counts what the drive says of its own health.";
        found.push(warn(PREDICTED, format!("{words} says that it will fail."), why, REPLACE));
    }
    found
}

fn of_cache(controller: &Controller) -> Option<Diagnostic> {
    let always = controller.virtual_drives.iter().filter(|d| d.cache == WriteCache::AlwaysBack);
    let always: Vec<String> = always.map(|d| d.number.to_string()).collect();
    let words = capital(&controller.words());
    let what = match (&controller.backup, always.is_empty()) {
        (Backup::Bad { says }, _) => {
            format!("{words} has a write cache whose battery or module is not good: {says:?}.")
        }
        (Backup::Absent | Backup::Unknown, false) => {
            format!("{words} has a write cache with nothing that is known to keep it over a power cut.")
        }
        _ => return None,
    };
    Some(match &always[..] {
        [] => {
            let why = "The controller writes through until it is good, so writes are slower, and safe.";
            warn(CACHE, what, why, "If it says so for more than a day, have the battery or module replaced.")
        }
        drives => {
            let why = format!(
                "Virtual drive {} is set to use it nevertheless: a power cut loses writes that were reported as done, and \
                 what is written by fsync among them.",
                drives.join(", ")
            );
            let mend = "Set the write cache with the controller's own tools so that it is used only while it is protected, and \
                        have the battery or module replaced.";
            warn(CACHE, what, &why, mend)
        }
    })
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{ssacli, storcli};
    use super::*;

    fn said(controllers: &[Controller]) -> Vec<String> {
        let all = warnings(controllers);
        assert!(all.iter().all(|w| w.why.ends_with(RUNS) && !w.mend.is_empty()), "{all:?}");
        all.into_iter().map(|w| format!("{}: {}", w.code, w.what)).collect()
    }

    #[test]
    fn each_thing_that_is_wrong_behind_storcli_is_said_once() {
        use storcli::tests::{CONTROLLERS, PHYSICAL_DRIVES, VIRTUAL_DRIVES};
        let found = storcli::parse("storcli64", CONTROLLERS, VIRTUAL_DRIVES, PHYSICAL_DRIVES).unwrap();
        let perc = "of controller 0 (PERC H740P Mini)";
        assert_eq!(
            said(&found),
            [
                format!("BP-H009: Virtual drive 1 {perc}, the disk sdb, RAID 6, is being rebuilt."),
                format!("BP-H009: Virtual drive 2 {perc}, the disk sdc, RAID 5, is degraded."),
                format!("BP-H009: Virtual drive 4 {perc}, the disk sde, RAID 10, is in state \"Rec\"."),
                format!("BP-H010: Virtual drive 3 {perc}, RAID 0, is offline."),
                format!("BP-H011: A drive of group 2 {perc} is missing."),
                format!("BP-H011: Bay 32:10 {perc}  ST12000NM0127  serial ZL2AAAAA  11.9 TB has failed."),
                format!("BP-H011: Bay 32:5 {perc}  ST12000NM0127  serial ZL2AAAA5  11.9 TB has failed."),
                format!("BP-H012: Bay 32:1 {perc}  MZ7LH480HAHQ  serial S45PNA0R100002  479.5 GB says that it will fail."),
                format!("BP-H012: Bay 32:2 {perc}  ST12000NM0127  serial ZL2AAAA2  11.9 TB says that it will fail."),
                "BP-H013: Controller 1 (AVAGO MegaRAID SAS 9361-8i) has a write cache whose battery or module is not good: \
                 \"Degraded(needs attention)\"."
                    .into(),
                format!("BP-H014: Bay 32:6 {perc}  ST12000NM0127  serial ZL2AAAA6  11.9 TB carries the configuration of \
                         another controller."),
            ]
        );
    }

    #[test]
    fn each_thing_that_is_wrong_behind_ssacli_is_said_once() {
        let (a, b) = ("of controller 0 (HPE Smart Array P408i-a SR Gen10)", "of controller 2 (Smart Array P440)");
        assert_eq!(
            said(&ssacli::parse("ssacli", ssacli::tests::CONFIG).unwrap()),
            [
                format!("BP-H009: Virtual drive 2 {a}, the disk sdb, RAID 5, is degraded."),
                format!("BP-H009: Virtual drive 3 {a}, the disk sdc, RAID 1+0, is being rebuilt."),
                format!("BP-H010: Virtual drive 1 {b}, RAID 0, is offline."),
                format!("BP-H011: Bay 1I:1:1 {b}  ATA MB4000GEFNA  serial K4KAAAA1  4.0 TB has failed."),
                format!("BP-H011: Bay 1I:1:3 {a} has failed."),
                format!("BP-H012: Bay 1I:1:2 {a}  HP EG001200JWJNQ  serial WFKAAAA2  1.2 TB says that it will fail."),
                "BP-H013: Controller 2 (Smart Array P440) has a write cache whose battery or module is not good: \
                 \"Failed (Replace Batteries)\"."
                    .into(),
            ]
        );
    }

    #[test]
    fn a_cache_is_warned_of_where_a_power_cut_or_a_battery_counts() {
        let says = |backup: Backup, cache: WriteCache| {
            let drive = VirtualDrive { cache, ..VirtualDrive::default() };
            let controller = Controller { backup, virtual_drives: vec![drive], ..Controller::default() };
            warnings(&[controller]).pop().map(|w| w.why.contains("loses writes"))
        };
        let bad = || Backup::Bad { says: "Failed".into() };
        let (loses, slow) = (Some(true), Some(false));
        assert_eq!(says(bad(), WriteCache::AlwaysBack), loses);
        assert_eq!(says(bad(), WriteCache::Back), slow);
        assert_eq!(says(bad(), WriteCache::Through), slow);
        assert_eq!(says(Backup::Absent, WriteCache::AlwaysBack), loses);
        assert_eq!(says(Backup::Unknown, WriteCache::AlwaysBack), loses);
        assert_eq!(says(Backup::Absent, WriteCache::Back), None, "it writes through by itself");
        assert_eq!(says(Backup::Good, WriteCache::AlwaysBack), None);
    }

    #[test]
    fn what_is_good_or_only_further_is_no_news() {
        let of = |state: VirtualState, physical: PhysicalState| {
            let virtual_drives = vec![VirtualDrive { state, ..VirtualDrive::default() }];
            let physical_drives =
                vec![PhysicalDrive { place: Some("1:1".into()), state: physical, ..Default::default() }];
            warnings(&[Controller { virtual_drives, physical_drives, ..Controller::default() }])
        };
        for good in
            [PhysicalState::Online, PhysicalState::Unconfigured, PhysicalState::Spare, PhysicalState::PassedThrough]
        {
            assert_eq!(of(VirtualState::Optimal, good), []);
        }
        let at = |percent| of(VirtualState::Rebuilding { percent }, PhysicalState::Rebuilding { percent });
        assert_eq!(at(Some(7)), at(Some(8)));
        assert_eq!(at(Some(7)).len(), 1);
    }
}
