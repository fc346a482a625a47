//! What has changed between two looks, in lines for the consoles. Pure.

use crate::storage::{ScrubState, VolumeState};
use machine_config::Diagnostic;
use std::time::Duration;

/// A line for each change of a volume that a person cares for. `rebuilt_in` says how long a rebuild took.
pub(super) fn of_volumes(
    before: &[VolumeState],
    after: &[VolumeState],
    rebuilt_in: impl Fn(&str) -> Option<Duration>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for now in after {
        let Some(was) = before.iter().find(|v| v.volume == now.volume) else { continue };
        lines.extend(of_volume(was, now, rebuilt_in(&now.volume)));
    }
    let gone = before.iter().filter(|was| was.available && after.iter().all(|now| now.volume != was.volume));
    lines.extend(gone.map(|was| format!("{} is gone", was.volume)));
    lines
}

fn of_volume(was: &VolumeState, now: &VolumeState, rebuilt_in: Option<Duration>) -> Vec<String> {
    let name = &now.volume;
    let mut lines = Vec::new();
    match (was.available, now.available) {
        (true, false) => lines.push(format!("{name} is not available any more")),
        (false, true) => lines.push(format!("{name} is available again")),
        _ => {}
    }
    let at_work =
        now.members.map_or_else(String::new, |(working, of)| format!("{working} of {of} members have its data"));
    if now.members.map(|(working, _)| working) < was.members.map(|(working, _)| working) && now.available {
        let lost: Vec<&str> = was.disks.iter().filter(|d| !now.disks.contains(d)).map(String::as_str).collect();
        let lost = if lost.is_empty() { String::new() } else { format!("; gone is {}", lost.join("; ")) };
        lines.push(format!("{name} lost a member and runs without it: {at_work}{lost}"));
    }
    let new: Vec<&str> = now.disks.iter().filter(|d| !was.disks.contains(d)).map(String::as_str).collect();
    if !new.is_empty() && was.level.is_some() {
        lines.push(format!("{name} takes in {}", new.join("; ")));
    }
    for retiring in &now.retiring {
        if was.retiring.iter().all(|r| (&r.disk, r.stage) != (&retiring.disk, retiring.stage)) {
            lines.push(format!("{name}: {}", retiring.says));
        }
    }
    match (&was.rebuilding, &now.rebuilding) {
        // One that lacks nothing copies a member, which is said above.
        (None, Some(rebuilding)) if !now.redundant => {
            lines.push(format!("{name} is being rebuilt ({})", rebuilding.action))
        }
        (Some(_), None) if !now.redundant && now.level.is_some_and(|level| level != 0) => {
            lines.push(format!("{name} is not being rebuilt any more, and not redundant: {at_work}"));
        }
        _ => {}
    }
    if !was.redundant && now.redundant {
        let took = rebuilt_in.map_or_else(String::new, |took| format!(" after {} s", took.as_secs()));
        lines.push(format!("{name} is redundant{took}: {at_work}"));
    }
    lines.extend(of_scrub(name, was.scrub.as_ref(), now.scrub.as_ref()));
    lines
}

fn of_scrub(name: &str, was: Option<&ScrubState>, now: Option<&ScrubState>) -> Option<String> {
    let (was, now) = (was.cloned().unwrap_or_default(), now?);
    match (was.under_way, now.under_way) {
        (false, true) => Some(format!("{name} is being scrubbed")),
        _ if now.ended == was.ended => {
            (was.under_way && !now.under_way).then(|| format!("{name} is not being scrubbed any more, before its end"))
        }
        _ => now.mismatches.map(|mismatches| match mismatches {
            0 => format!("{name} was scrubbed: its members agree"),
            sectors => {
                format!("WARNING: {name} was scrubbed, and {sectors} sectors tell different things on its members")
            }
        }),
    }
}

/// A line for each refusal that is new, and one when the last has gone.
pub(super) fn of_refusals(before: &[Diagnostic], after: &[Diagnostic]) -> Vec<String> {
    let new = after.iter().filter(|refusal| !before.contains(refusal));
    let mut lines: Vec<String> = new.map(|refusal| format!("{}: {}", refusal.code, refusal.what)).collect();
    if !before.is_empty() && after.is_empty() {
        lines.push("nothing of storage is refused any more".into());
    }
    lines
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::storage::Rebuilding;
    use storage_plan::Verdict;
    use storage_plan::verdict::{Retiring, Stage};

    /// A mirror with so many of its two members.
    pub fn mirror(working: u64, rebuilding: bool) -> VolumeState {
        VolumeState {
            volume: "meta/db".into(),
            verdict: Verdict::Keep,
            required: true,
            mount: "/var/lib/volumes/db".into(),
            format: "xfs".into(),
            filesystem: uuid::Uuid::nil(),
            encrypted: false,
            class: None,
            level: Some(1),
            disks: vec!["bay 1".into(), "bay 2".into()],
            provisioned: true,
            available: true,
            members: Some((working, 2)),
            redundant: working == 2,
            read_only: false,
            lacks_copy: false,
            rebuilding: rebuilding.then(|| Rebuilding {
                action: "recover".into(),
                sectors: None,
                speed: None,
                seconds_left: None,
            }),
            array: None,
            scrub: None,
            retiring: Vec::new(),
            reasons: Vec::new(),
        }
    }

    fn said(was: &VolumeState, now: &VolumeState) -> Vec<String> {
        let slice = std::slice::from_ref;
        of_volumes(slice(was), slice(now), |_| Some(Duration::from_secs(90)))
    }

    #[test]
    fn a_loss_and_its_replacement_are_said_in_a_line_each() {
        let whole = mirror(2, false);
        let lost = VolumeState { disks: vec!["bay 1".into()], ..mirror(1, false) };
        let line = "meta/db lost a member and runs without it: 1 of 2 members have its data; gone is bay 2";
        assert_eq!(said(&whole, &lost), [line]);
        let filling = VolumeState { disks: vec!["bay 1".into(), "bay 2, new".into()], ..mirror(1, true) };
        assert_eq!(said(&lost, &filling), ["meta/db takes in bay 2, new", "meta/db is being rebuilt (recover)"]);
        let again = VolumeState { disks: filling.disks.clone(), ..mirror(2, false) };
        assert_eq!(said(&filling, &again), ["meta/db is redundant after 90 s: 2 of 2 members have its data"]);
        assert_eq!(said(&again, &again), Vec::<String>::new());
        let more = VolumeState { disks: ["bay 1", "bay 2, new", "bay 3"].map(String::from).into(), ..mirror(2, false) };
        assert_eq!(said(&again, &more), ["meta/db takes in bay 3"], "a spare, too");
    }

    #[test]
    fn a_rebuild_that_fails_and_a_volume_that_goes_are_said() {
        let (filling, left) = (mirror(1, true), mirror(1, false));
        let line = "meta/db is not being rebuilt any more, and not redundant: 1 of 2 members have its data";
        assert_eq!(said(&filling, &left), [line]);
        let gone = VolumeState { available: false, members: None, redundant: false, ..mirror(2, false) };
        assert_eq!(said(&mirror(2, false), &gone), ["meta/db is not available any more"]);
        assert_eq!(of_volumes(&[mirror(2, false)], &[], |_| None), ["meta/db is gone"]);
    }

    #[test]
    fn a_scrub_is_said_when_it_begins_and_what_came_of_it_when_it_ends() {
        let with = |under_way, ended, mismatches| {
            let scrub = ScrubState { under_way, sectors: None, ended, mismatches };
            VolumeState { scrub: Some(scrub), ..mirror(2, false) }
        };
        let (never, begun) = (with(false, None, None), with(true, None, None));
        assert_eq!(said(&mirror(2, false), &never), Vec::<String>::new());
        assert_eq!(said(&never, &begun), ["meta/db is being scrubbed"]);
        assert_eq!(said(&begun, &with(false, Some(9), Some(0))), ["meta/db was scrubbed: its members agree"]);
        let line = "WARNING: meta/db was scrubbed, and 8 sectors tell different things on its members";
        assert_eq!(said(&begun, &with(false, Some(9), Some(8))), [line]);
        assert_eq!(said(&begun, &never), ["meta/db is not being scrubbed any more, before its end"]);
        let twice = (with(true, Some(9), Some(8)), with(false, Some(99), Some(8)));
        assert_eq!(said(&twice.0, &twice.1), [line]);
        assert_eq!(said(&twice.1, &twice.1), Vec::<String>::new());
    }

    #[test]
    fn each_stage_of_a_retirement_is_said_once() {
        let retiring = |stage: Stage, says: &str| Retiring { disk: "bay 2".into(), stage, says: says.into() };
        let at = |stage: Stage, says: &str, rebuilding: bool| VolumeState {
            retiring: vec![retiring(stage, says)],
            redundant: true,
            ..mirror(2, rebuilding)
        };
        let (waits, again) = (at(Stage::Waits, "bay 2 waits.", false), at(Stage::Waits, "bay 2 still waits.", false));
        let (copied, over) = (at(Stage::Copied, "bay 2 is copied.", true), at(Stage::Over, "bay 2 is over.", false));
        assert_eq!(said(&mirror(2, false), &waits), ["meta/db: bay 2 waits."]);
        assert_eq!(said(&waits, &again), Vec::<String>::new());
        assert_eq!(said(&again, &copied), ["meta/db: bay 2 is copied."], "and nothing of a rebuild");
        assert_eq!(said(&copied, &over), ["meta/db: bay 2 is over."]);
        assert_eq!(said(&over, &mirror(2, false)), Vec::<String>::new());
    }

    #[test]
    fn a_refusal_is_said_once() {
        let refusal =
            storage_plan::refusal::diagnostic("BP-S014", "It holds ext4.".into(), String::new(), String::new());
        assert_eq!(of_refusals(&[], std::slice::from_ref(&refusal)), ["BP-S014: It holds ext4."]);
        assert_eq!(of_refusals(std::slice::from_ref(&refusal), std::slice::from_ref(&refusal)), Vec::<String>::new());
        assert_eq!(of_refusals(std::slice::from_ref(&refusal), &[]), ["nothing of storage is refused any more"]);
    }
}
