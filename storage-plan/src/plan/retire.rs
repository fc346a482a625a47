//! A member that still works, given away: it is copied onto another disk while it serves, and then let go of.
//!
//! Guarantees: only a member that the configuration names is retired, and only onto a disk that the array has taken in as a
//! spare, by the rules of replacing (a blank one that the configuration names) or long before. It begins only when the
//! array lacks nothing and is at rest, one member at a time; until then, and when no disk is there, the array runs on as it is
//! and what is waited for is said. Nothing is ever written to what was retired, and it is not taken in again.
//!
//! The kernel keeps how far the copy is in the superblock of the new member, which has the place of the other and is marked as
//! taking over from it, and goes on after a power cut. When the copy is whole the kernel counts the event without the old
//! member, whose superblock is behind from then on: that another one fills its place says that it is over.

use super::Draft;
use super::array::This;
use crate::PartitionRef;
use crate::action::Action;
use crate::inventory::{Device, MdMember, size_words};
use crate::layer::md::{self, Carrier};
use crate::verdict::{Retiring, Stage};

/// A member that the configuration retires.
pub(super) struct Leaver<'x, 'a> {
    pub(super) carrier: &'x Carrier<'a>,
    pub(super) at: Left,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// It has a place and works in it.
    Works,
    /// It is being copied.
    Copied,
    /// It stands by.
    StandsBy,
    /// The array has all its data without it.
    Over,
    /// It does not work, and nobody else has its place.
    Lost,
}

impl Leaver<'_, '_> {
    /// Whether the array has to have one disk more while it is there.
    pub(super) fn needs_a_seat(&self) -> bool {
        matches!(self.at, Left::Works | Left::Copied)
    }
}

impl<'a> This<'a, '_> {
    /// Whether the configuration retires this disk.
    pub(super) fn is_retired(&self, device: &Device) -> bool {
        self.array.retire.iter().any(|name| answers(device, name))
    }

    /// Those of `members` that are to leave.
    pub(super) fn leavers<'x>(&self, members: &[&'x Carrier<'a>]) -> Vec<Leaver<'x, 'a>> {
        let fresh = md::fresh(members, &self.uuid);
        let of = |carrier: &'x Carrier<'a>| Leaver { carrier, at: self.left(carrier, members, &fresh) };
        members.iter().filter(|c| self.is_retired(c.device) && !self.is_journal(c)).map(|c| of(c)).collect()
    }

    fn left(&self, carrier: &Carrier<'a>, members: &[&Carrier<'a>], fresh: &[&MdMember]) -> Left {
        let Some(own) = carrier.superblock(&self.uuid) else { return Left::Lost };
        let took_in = self.took_in(carrier);
        let Some(role) = own.role else {
            // One that stands by while the array is off is not started with it again.
            return if took_in && self.running().is_some() { Left::StandsBy } else { Left::Over };
        };
        let works = |c: &Carrier<'a>, md: &MdMember| {
            let is_fresh = fresh.iter().any(|f| f.member == md.member);
            !md.recovering && self.running().map_or(is_fresh, |r| c.seen().is_some_and(|p| r.members.contains(&p.name)))
        };
        let others = members.iter().filter(|c| c.device.name != carrier.device.name);
        let in_place: Vec<(&Carrier<'a>, &MdMember)> =
            others.filter_map(|c| Some((*c, c.superblock(&self.uuid).filter(|md| md.role == Some(role))?))).collect();
        let filled = in_place.iter().any(|(c, md)| works(c, md));
        match (works(carrier, own), filled) {
            (true, true) if self.running().is_some() => Left::Copied,
            (_, true) => Left::Over,
            (true, false) if in_place.iter().any(|(c, md)| md.replaces && self.took_in(c)) => Left::Copied,
            (true, false) => Left::Works,
            (false, false) => Left::Lost,
        }
    }

    /// Plans that leavers are copied and let go of, after the steps at `started` by which the array runs. Whether any is.
    ///
    /// `added` are disks that the array takes in by steps of this plan.
    pub(super) fn retire(
        &self,
        draft: &mut Draft,
        members: &[&Carrier<'a>],
        leavers: &[Leaver<'_, 'a>],
        added: &[(PartitionRef, usize)],
        started: &[usize],
    ) -> bool {
        let standing_by = members.iter().filter(|c| self.stands_by(c) && !self.is_retired(c.device));
        let standing_by = standing_by.map(|c| (c.partition.clone(), None));
        let mut free: Vec<(PartitionRef, Option<usize>)> =
            added.iter().map(|(at, step)| (at.clone(), Some(*step))).chain(standing_by).collect();
        let mut waits_for = self.waits_for(draft, members, leavers);
        let mut acts = false;
        for leaver in leavers {
            let (words, member) = (leaver.carrier.device.words(), leaver.carrier.partition.clone());
            let (uuid, name) = (self.uuid, self.name.to_owned());
            let (stage, says) = match leaver.at {
                Left::Lost => continue,
                Left::Over | Left::StandsBy => {
                    if self.took_in(leaver.carrier) && self.running().is_some() {
                        draft.add(Action::ReleaseMember { uuid, name, member }, started);
                        acts = true;
                    }
                    (Stage::Over, format!("{words} is retired and safe to pull. What is on it is left as it is."))
                }
                Left::Copied => {
                    (Stage::Copied, format!("{words} is being copied onto another disk; it serves until then."))
                }
                Left::Works => match self.onto(leaver.carrier, members, &mut free, waits_for.take()) {
                    Ok((onto, step)) => {
                        let says = format!("{words} is copied onto {}; it serves until then.", self.disk_words(&onto));
                        let after: Vec<usize> = started.iter().copied().chain(step).collect();
                        draft.add(Action::CopyMember { uuid, name, member, onto }, &after);
                        acts = true;
                        waits_for = Some("that another member has been copied".into());
                        (Stage::Copied, says)
                    }
                    Err(why) => {
                        waits_for = Some(why.clone());
                        (Stage::Waits, format!("{words} is to be retired and waits for {why}. It serves until then."))
                    }
                },
            };
            draft.verdict.reasons.push(says.clone());
            draft.verdict.retiring.push(Retiring { disk: words, stage, says });
        }
        acts
    }

    /// Where the data of a member that works goes to, and the step that has to come before; or what has to happen first.
    fn onto(
        &self,
        leaver: &Carrier<'a>,
        members: &[&Carrier<'a>],
        free: &mut Vec<(PartitionRef, Option<usize>)>,
        waits_for: Option<String>,
    ) -> Result<(PartitionRef, Option<usize>), String> {
        let names = |device: &Device| self.array.retire.iter().any(|n| answers(leaver.device, n) && answers(device, n));
        if self.context.inventory.devices.iter().filter(|d| names(d)).count() > 1 {
            return Err("the other disk that answers to the same name to be taken out".into());
        }
        if let Some(why) = waits_for {
            return Err(why);
        }
        if free.is_empty() {
            let least = size_words(md::least(members, &md::fresh(members, &self.uuid)));
            return Err(format!("a blank disk of {least} or more that \"{}\" names, or for a spare", self.name));
        }
        Ok(free.remove(0))
    }

    /// What the array has to come to before a copy begins, or it is made larger.
    pub(super) fn waits_for(
        &self,
        draft: &Draft,
        members: &[&Carrier<'a>],
        leavers: &[Leaver<'_, 'a>],
    ) -> Option<String> {
        if draft.verdict.array.as_ref().is_none_or(|array| array.present < array.wanted) {
            return Some("the array to lack no member".into());
        }
        if leavers.iter().any(|leaver| leaver.at == Left::Copied) {
            return Some("that another member has been copied".into());
        }
        let fresh = md::fresh(members, &self.uuid);
        match self.running() {
            Some(running) if running.sync_action != "idle" => Some(format!("the end of its {}", running.sync_action)),
            Some(_) => None,
            // After a power cut it is put in sync first.
            None if fresh.iter().all(|md| md.clean && !md.recovering) && members.iter().all(|c| c.seen().is_some()) => {
                None
            }
            None => Some("the array to be in sync".into()),
        }
    }

    pub(super) fn stands_by(&self, carrier: &Carrier<'a>) -> bool {
        let has_no_place = carrier.superblock(&self.uuid).is_some_and(|md| md.role.is_none() && !md.is_journal());
        let is_spare =
            |p: &crate::inventory::Partition| self.running().is_none_or(|running| running.spares.contains(&p.name));
        has_no_place && self.took_in(carrier) && carrier.seen().is_some_and(is_spare)
    }

    fn disk_words(&self, at: &PartitionRef) -> String {
        let device = self.context.all.iter().find(|d| d.name == at.disk);
        device.map_or_else(|| at.disk.clone(), |d| d.words())
    }
}

fn answers(device: &Device, name: &str) -> bool {
    device.serial.as_deref() == Some(name) || device.wwn.as_deref() == Some(name)
}
