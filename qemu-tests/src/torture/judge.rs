//! What a start after a power cut must come to.

use super::bed::Recorded;
use super::scenario::{Scenario, image_on};
use super::talk::Compared;
use crate::block_server::Event;
use crate::block_server::contents::Contents;
use firstboot::storage::Status;
use storage_plan::{Verdict, refusal};

/// What mdadm says of an array that lacks a member and was cut off in the middle of a write (its Assemble.c).
const MDADM_ON_DIRTY_DEGRADED: &str = "Not enough devices to start the array while not clean";

/// What a start came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every volume is there, and another run would do nothing.
    Converged,
    /// It stopped, said why, and wrote nothing: what it needs is not its own, or lost.
    Stopped(String),
    /// As that, and all it needs is its own and there.
    Refused(String),
    /// Neither; in words.
    Neither(String),
}

/// Judges one start of `scenario`.
pub(super) fn outcome(scenario: &Scenario, recorded: &Recorded) -> Outcome {
    let ran = &recorded.ran;
    let writes = recorded.events.iter().filter(|e| matches!(e, Event::Write { .. })).count();
    let said = || ran.refusals.join(" | ");
    if let Some(outcome) = holding(recorded) {
        return outcome;
    }
    if ran.status == Status::Stopped {
        return match writes {
            0 if ran.refusals.is_empty() => Outcome::Neither("it stopped and did not say why".into()),
            0 if scenario.stops => Outcome::Stopped(said()),
            // Nobody may guess what stood on the lacking member in the stripe that was being written.
            0 if scenario.has_write_hole() && said().contains(refusal::DIRTY_DEGRADED) => Outcome::Stopped(said()),
            0 => Outcome::Refused(said()),
            // Whether an array lacks a member can't be told before that one's table is put right; mdadm then tells.
            _ if scenario.has_write_hole() && said().contains(MDADM_ON_DIRTY_DEGRADED) => Outcome::Stopped(said()),
            _ => Outcome::Neither(format!("it stopped after {writes} writes: {}", said())),
        };
    }
    let wanted = |volume: &str| scenario.is_wanted(volume);
    let lacking = ran.volumes.iter().find(|(name, _, available)| wanted(name) && !available);
    let moving = ran.again.iter().find(|(name, verdict)| wanted(name) && *verdict != Verdict::Keep);
    match (lacking, moving) {
        _ if scenario.stops => Outcome::Neither("it went on, and should have stopped".into()),
        (Some((name, verdict, _)), _) => Outcome::Neither(format!("{name} ({verdict:?}) is not there: {}", said())),
        (_, Some((name, verdict))) => Outcome::Neither(format!("another run would {verdict:?} {name}")),
        _ if lacks_image(scenario, &recorded.after) => Outcome::Neither("a system disk lacks the image".into()),
        _ if ran.steps_left > 0 => Outcome::Neither(format!("another run would take {} steps", ran.steps_left)),
        _ => recorded.compared.as_ref().and_then(at_odds).map_or(Outcome::Converged, Outcome::Neither),
    }
}

/// What is wrong with any start, also one in which something failed, that leaves an array which holds its members and does not
/// run: the next start on this machine would find them in use.
pub(super) fn holding(recorded: &Recorded) -> Option<Outcome> {
    let waiting = &recorded.ran.waiting;
    let held = || Outcome::Neither(format!("{} was not started and holds its members", waiting.join(", ")));
    (!waiting.is_empty()).then(held)
}

/// Whether disks that the node is to be started from hold different images.
fn lacks_image(scenario: &Scenario, disks: &[Contents]) -> bool {
    let mut images = scenario.system_disks().into_iter().filter_map(|at| disks.get(at)).map(image_on);
    let first = images.next();
    first.is_some_and(|first| images.any(|other| other != first))
}

/// What is wrong with what is stored.
fn at_odds(compared: &Compared) -> Option<String> {
    match compared {
        Compared { changed, .. } if !changed.is_empty() => {
            Some(format!("what {} held is not there", changed.join(", ")))
        }
        Compared { intact, .. } if intact.is_empty() => Some("there is nothing that could be compared".into()),
        Compared { mismatches: 1.., .. } => Some(format!("members are at odds in {} sectors", compared.mismatches)),
        _ => None,
    }
}

/// As [`outcome`], of a start after a disk refused a write. An array does without that member; if another was lost before, too
/// few may be left, and nobody may guess what they held. It does not without its journal.
pub(super) fn outcome_after_failing_write(scenario: &Scenario, recorded: &Recorded) -> Outcome {
    let is_right = |why: &str| {
        (scenario.bears_no_loss() && why.contains(refusal::LACKING))
            || (scenario.has_write_hole_without_one() && why.contains(refusal::DIRTY_DEGRADED))
            || (scenario.has_journal() && why.contains(refusal::NO_JOURNAL))
    };
    match outcome(scenario, recorded) {
        Outcome::Refused(why) if is_right(&why) => Outcome::Stopped(why),
        outcome => outcome,
    }
}

/// As [`outcome`], of a start beside which nothing went wrong: then members are there again, too.
pub(super) fn outcome_in_full(scenario: &Scenario, recorded: &Recorded) -> Outcome {
    match (outcome(scenario, recorded), &recorded.compared) {
        (Outcome::Converged, Some(compared)) if !compared.lacking.is_empty() => {
            Outcome::Neither(format!("{} lacks a member", compared.lacking.join(", ")))
        }
        (outcome, _) => outcome,
    }
}

/// How many bytes of somebody else's were changed, or only written to: a byte that was written anew counts as one.
pub(super) fn foreign_bytes(scenario: &Scenario, before: &[Contents], recorded: &Recorded) -> u64 {
    let foreign = scenario.foreign_disks();
    let written: u64 = recorded
        .events
        .iter()
        .filter(|event| foreign.contains(&event.disk()))
        .map(|event| match event {
            Event::Write { data, .. } => data.length(),
            Event::Flush { .. } => 0,
        })
        .sum();
    let changed: u64 = foreign.iter().map(|at| before[*at].differing(&recorded.after[*at])).sum();
    written.max(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_server::contents::Data;
    use crate::torture::scenario;
    use crate::torture::talk::Ran;

    fn recorded(status: Status, events: Vec<Event>) -> Recorded {
        let volumes =
            vec![("state".to_owned(), Verdict::Keep, true), ("others/F-MD".to_owned(), Verdict::Refuse, false)];
        let again = vec![("state".to_owned(), Verdict::Keep), ("others/F-MD".to_owned(), Verdict::Refuse)];
        let ran = Ran {
            status,
            refusals: vec!["BP-S014".into()],
            volumes,
            again,
            steps_left: 0,
            waiting: Vec::new(),
            calls: Vec::new(),
        };
        Recorded { ran, events, after: Vec::new(), refused: 0, compared: None }
    }

    fn write(disk: usize) -> Event {
        Event::Write { disk, offset: 0, data: Data::Zeros(512), through: false }
    }

    #[test]
    fn a_start_converges_or_stops_without_a_write_and_nothing_else_counts() {
        let scenario = scenario::all().remove(1);
        assert_eq!(outcome(&scenario, &recorded(Status::Degraded, vec![write(0)])), Outcome::Converged);
        assert_eq!(outcome(&scenario, &recorded(Status::Stopped, Vec::new())), Outcome::Refused("BP-S014".into()));
        let neither = |change: fn(&mut Recorded)| {
            let mut one = recorded(Status::Degraded, Vec::new());
            change(&mut one);
            assert!(matches!(outcome(&scenario, &one), Outcome::Neither(_)), "{one:?}");
        };
        neither(|r| *r = recorded(Status::Stopped, vec![write(0)]));
        neither(|r| r.ran.volumes[0].2 = false);
        neither(|r| r.ran.again[0].1 = Verdict::Create);
        neither(|r| r.ran.steps_left = 1);
        neither(|r| r.ran.waiting = vec!["md0".into()]);
        neither(|r| (r.ran.status, r.ran.waiting) = (Status::Stopped, vec!["md0".into()]));
        let stops = Scenario { stops: true, ..scenario.clone() };
        assert!(matches!(outcome(&stops, &recorded(Status::Ready, Vec::new())), Outcome::Neither(_)));
        assert_eq!(outcome(&stops, &recorded(Status::Stopped, Vec::new())), Outcome::Stopped("BP-S014".into()));
    }

    #[test]
    fn a_system_disk_without_the_image_is_not_what_was_wanted() {
        let scenario = scenario::of("a mirror of system disks").unwrap();
        let [first, second] = scenario.system_disks()[..] else { panic!("{:?}", scenario.system_disks()) };
        let mut one = recorded(Status::Ready, Vec::new());
        one.after = scenario.contents().unwrap();
        assert!(matches!(outcome(&scenario, &one), Outcome::Neither(_)));
        one.after[second] = one.after[first].clone();
        assert_eq!(outcome(&scenario, &one), Outcome::Converged);
    }

    #[test]
    fn an_array_that_lacks_a_member_may_stop_when_another_fails_and_for_nothing_else() {
        let stopped = |code: &str| {
            let mut one = recorded(Status::Stopped, Vec::new());
            one.ran.refusals = vec![code.into()];
            one
        };
        let of = |name: &str, code: &str| outcome_after_failing_write(&scenario::of(name).unwrap(), &stopped(code));
        let degraded = "an array with parity takes in a disk";
        assert_eq!(of(degraded, "BP-S018"), Outcome::Stopped("BP-S018".into()));
        assert_eq!(of(degraded, "BP-S016"), Outcome::Refused("BP-S016".into()));
        assert_eq!(of("an array with parity", "BP-S018"), Outcome::Stopped("BP-S018".into()), "as it is filled");
        for bears_it in
            ["an array of striped mirrors", "a mirror takes in a disk", "an array with two parities takes in a disk"]
        {
            assert_eq!(of(bears_it, "BP-S018"), Outcome::Refused("BP-S018".into()), "{bears_it}");
        }
    }

    #[test]
    fn an_array_that_lacks_a_member_may_stop_for_its_write_hole_alone() {
        let of = |name: &str| {
            let mut one = recorded(Status::Stopped, Vec::new());
            one.ran.refusals = vec!["BP-S019".into()];
            outcome(&scenario::of(name).unwrap(), &one)
        };
        let stopped = Outcome::Stopped("BP-S019".into());
        assert_eq!(of("an array with two parities takes in a disk"), stopped);
        assert_eq!(of("an array with parity and a bitmap takes in a disk"), stopped);
        for closed in ["an array with two parities", "an array with parity takes in a disk", "a mirror takes in a disk"]
        {
            assert_eq!(of(closed), Outcome::Refused("BP-S019".into()), "{closed}");
        }
    }

    #[test]
    fn what_was_stored_must_be_there_and_members_be_equal() {
        let scenario = scenario::of("a mirror takes in a disk").unwrap();
        let with = |change: fn(&mut Compared)| {
            let mut compared = Compared { intact: vec!["/var".into()], ..Compared::default() };
            change(&mut compared);
            Recorded { compared: Some(compared), ..recorded(Status::Ready, Vec::new()) }
        };
        assert_eq!(outcome_in_full(&scenario, &with(|_| ())), Outcome::Converged);
        let neither = |change: fn(&mut Compared)| matches!(outcome(&scenario, &with(change)), Outcome::Neither(_));
        assert!(neither(|c| c.changed.push("/var".into())));
        assert!(neither(|c| c.intact.clear()));
        assert!(neither(|c| c.mismatches = 8));
        let lacks = with(|c| c.lacking.push("md0".into()));
        assert_eq!(outcome(&scenario, &lacks), Outcome::Converged);
        assert!(matches!(outcome_in_full(&scenario, &lacks), Outcome::Neither(_)));
    }

    #[test]
    fn a_write_to_a_foreign_disk_counts_even_if_it_changes_nothing() {
        let scenario = scenario::all().remove(1);
        let before = scenario.contents().unwrap();
        let foreign = scenario.foreign_disks()[0];
        let at =
            |events, after| foreign_bytes(&scenario, &before, &Recorded { after, ..recorded(Status::Ready, events) });
        assert_eq!(at(vec![write(0)], before.clone()), 0);
        assert_eq!(at(vec![write(foreign)], before.clone()), 512);
        let mut after = before.clone();
        after[foreign] = Contents::default();
        assert!(at(Vec::new(), after) > 0);
    }
}
