//! A blank disk in place of a member that an array of ours lacks, or as one more spare.
//!
//! How many disks an array is to have is told by number: its members, as many as it was made of, and `spares`. Which are
//! taken is told by name. So one more name alone changes nothing, nor does a higher number without a name; and a lower
//! number takes nothing away.
//!
//! Guarantees: only a disk that the configuration names is taken, or, where it says so, one in the very place of a lost
//! member; only a blank one; never one of several of which any would do. What does not fit is said, and the array runs on
//! as it is: nothing here refuses a volume.
//!
//! The table on the new disk says *provisioning* until the array has noted on the disk itself that it belongs to it. From
//! then on the superblock says how full it is, and the kernel goes on filling it after a power cut. Before, nothing on the
//! disk counts, and the next run adds it anew.

use super::array::This;
use super::{Draft, Holds, table_step};
use crate::inventory::{Device, Remembered};
use crate::layer::md::{self, Carrier};
use crate::ownership::{Phase, Standing, Wanted};
use crate::refusal;
use crate::selector;
use crate::{Action, PartitionRef};
use machine_config::Diagnostic;
use machine_config::schema::Replace;

/// A disk that is to become a member.
struct New<'a> {
    device: &'a Device,
    wanted: Wanted,
    /// Its table of type *provisioning* is whole on it already, or will be before the array runs.
    begun: bool,
    /// Why it is taken, in a sentence without its end.
    why: String,
}

/// How many disks an array is to have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seats {
    /// Members with a place.
    pub(super) wanted: u32,
    /// All of them: those, spares, and one for each member that is to leave.
    pub(super) seats: u32,
}

impl<'a> This<'a, '_> {
    /// Plans that lost members of this array are replaced, after the steps at `started` by which it runs. Gives what becomes a
    /// member, each with its last step.
    ///
    /// `begun` are disks that an earlier run chose and the array has not taken in.
    pub(super) fn replace(
        &self,
        draft: &mut Draft,
        members: &[&Carrier<'a>],
        begun: &[&Carrier<'a>],
        seats: Seats,
        started: &[usize],
    ) -> Vec<(PartitionRef, usize)> {
        let mut vacant = self.vacant(members, seats);
        let mut new = Vec::new();
        for carrier in begun {
            let words = carrier.device.words();
            if let Some(how) = carrier.seen().and_then(|p| p.uses.words()) {
                draft.verdict.refusals.push(self.not_taken(refusal::in_use(carrier.device, &how, self.name)));
                continue;
            }
            if vacant == 0 || !self.still_asked_for(carrier.device) {
                draft.verdict.reasons.push(format!("{words} was chosen for it and never became a member."));
                continue;
            }
            vacant -= 1;
            new.push(New {
                device: carrier.device,
                wanted: carrier.wanted.clone(),
                begun: carrier.whole || carrier.phase == Phase::Done,
                why: format!("An interrupted run chose {words}"),
            });
        }
        if vacant > 0 {
            new.extend(self.fitting(draft, members, vacant));
        }
        // The kernel gives places first.
        let lacks = draft.verdict.array.as_ref().is_some_and(|array| array.present < array.wanted);
        let becomes = if lacks { "it is made a member" } else { "it is made a spare" };
        let mut added = Vec::new();
        for new in &new {
            draft.verdict.reasons.push(format!("{}; {becomes}.", new.why));
            let (begin, partition) = table_step(new.device, &new.wanted, false);
            let mut after = started.to_vec();
            if !new.begun {
                after.push(draft.add(begin, &[]));
            }
            added.push((partition.clone(), self.add(draft, new, partition, &after)));
        }
        added
    }

    fn add(&self, draft: &mut Draft, new: &New<'_>, member: PartitionRef, after: &[usize]) -> usize {
        // A disk that was blank can hold nothing yet but zeros or ones.
        let remake = self.carriers.iter().any(|c| c.device.name == new.device.name);
        let add = Action::AddMember { uuid: self.uuid, name: self.name.to_owned(), member, remake };
        // A member with its place in the array is taken for finished, whatever its table says.
        let copied = self.copy_image(draft, new.device, after);
        let after = copied.map_or(after.to_vec(), |copied| vec![copied]);
        let added = draft.add(add, &after);
        draft.verdict.disks.push(new.device.words());
        draft.add(table_step(new.device, &new.wanted, true).0, &[added])
    }

    /// How many members and spares it lacks; none while that can't be told, or when it is past help.
    fn vacant(&self, members: &[&Carrier<'_>], Seats { wanted, seats }: Seats) -> u32 {
        if !self.array.level.is_redundant() || members.iter().any(|c| c.seen().is_none()) {
            return 0;
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut fresh = md::fresh(members, &self.uuid);
        fresh.retain(|md| !md.is_journal());
        let (filled, taken) = self.running().map_or_else(
            || (count(md::filled(&fresh).len()), count(fresh.len())),
            |r| (count(r.members.len()), count(r.members.len() + r.spares.len())),
        );
        // A spare that is to leave is none.
        let leaving = members.iter().filter(|c| self.is_retired(c.device) && self.stands_by(c));
        let taken = taken.saturating_sub(count(leaving.count()));
        if wanted.saturating_sub(filled) > md::can_lose(self.array.level, wanted) {
            return 0;
        }
        seats.saturating_sub(taken)
    }

    /// Whether a disk that was chosen is to be a member still: names may have been taken back since. Where the lost member was
    /// may be forgotten by now, and was looked at when the disk was chosen.
    fn still_asked_for(&self, device: &Device) -> bool {
        if self.is_retired(device) {
            return false;
        }
        let selector = &self.array.disks;
        let by_name = self.array.replace == Replace::Named && !selector::names(selector).is_empty();
        !by_name || selector::is_named(selector, device)
    }

    /// Disks to fill at most `vacant` places; what is asked for and does not fit is said.
    fn fitting(&self, draft: &mut Draft, members: &[&Carrier<'_>], vacant: u32) -> Vec<New<'a>> {
        let least = md::least(members, &md::fresh(members, &self.uuid));
        let mut new = Vec::new();
        for device in self.context.candidates(self.asked.on) {
            if self.carriers.iter().any(|c| c.device.name == device.name) {
                continue;
            }
            let Some(why) = self.asked_for(device) else { continue };
            match self.made_of(device, least) {
                Ok(wanted) => new.push(New { device, wanted, begun: false, why }),
                Err(refusal) => draft.verdict.refusals.push(self.not_taken(refusal)),
            }
        }
        if u32::try_from(new.len()).is_ok_and(|n| n <= vacant) {
            return new;
        }
        let words: Vec<String> = new.iter().map(|n| n.device.words()).collect();
        draft.verdict.refusals.push(refusal::diagnostic(
            refusal::TOO_MANY,
            format!(
                "\"{}\" has room for {vacant} more, and {} disks could be taken: {}.",
                self.name,
                new.len(),
                words.join("; ")
            ),
            "Which of them is meant can't be told, so none is taken. Nothing was written.".into(),
            format!("Name just the disks of \"{}\" in the site file, or take the others out.", self.name),
        ));
        Vec::new()
    }

    /// Why `device` is to be taken in, in a sentence without its end; none if nobody asks for that.
    fn asked_for(&self, device: &Device) -> Option<String> {
        let (selector, words) = (&self.array.disks, device.words());
        if self.is_retired(device) {
            return None;
        }
        if selector::is_named(selector, device) {
            return Some(format!("{words} is blank and named for it"));
        }
        if self.array.replace != Replace::SameSlot || device.removable || !selector::fits(selector, device) {
            return None;
        }
        let others = self.context.claims.get(device.name.as_str());
        if others.is_some_and(|names| names.iter().any(|name| name != self.name)) {
            return None;
        }
        let lost = self.lost().find(|member| member.is_place_of(device))?;
        Some(format!("{words} is blank and in the place of the lost member {}", lost.identity))
    }

    /// Members that were once seen at work and whose disks are not there any more.
    fn lost(&self) -> impl Iterator<Item = &'a Remembered> {
        let inventory = self.context.inventory;
        let is_there = |member: &Remembered| {
            inventory.devices.iter().any(|device| device.identity() == Some(member.identity.as_str()))
        };
        let uuid = self.uuid;
        inventory.remembered.iter().filter(move |member| member.array == uuid && !is_there(member))
    }

    /// The tables that make `device` a member of `least` bytes.
    fn made_of(&self, device: &Device, least: u64) -> Result<Wanted, Diagnostic> {
        let unfit = |why: String| refusal::unfit(device, why, self.name);
        let Some(identity) = device.identity() else {
            return Err(unfit("It tells neither a serial number nor a world wide name".into()));
        };
        if self.context.inventory.devices.iter().filter(|d| d.is_twin_of(device)).count() > 1 {
            return Err(unfit(format!("Another disk answers to {identity} too")));
        }
        let (wanted, standing) = self.context.member(self.asked, device, least).map_err(unfit)?;
        // While an array runs nothing is erased, whoever gave leave: what is not blank stays out.
        let foreign = |code: &str, holds: &str| {
            let why = ["No permit makes a member of it.".to_owned()];
            Err(refusal::foreign(code, device, holds, self.name, &why, None))
        };
        match standing {
            Standing::Foreign(holds) => return foreign(refusal::FOREIGN, &holds),
            Standing::UnknownData(holds) => return foreign(refusal::UNKNOWN_DATA, &holds),
            Standing::Blank | Standing::HalfWritten | Standing::Ours { .. } => {}
        }
        if let Some(refusal) = self.context.unfit(device, Holds::of_volume(self.volume).least(), self.name) {
            return Err(refusal);
        }
        let room = wanted.done.partitions.last().map_or(0, |p| p.size);
        if room < least {
            let words = crate::inventory::size_words;
            return Err(unfit(format!("It has room for {}, and a member has {}", words(room), words(least))));
        }
        let members = self.carriers.iter().filter(|c| self.took_in(c) && !self.is_journal(c));
        if let Some(why) = super::unlike(device, members.map(|c| c.device)) {
            return Err(unfit(why));
        }
        Ok(wanted)
    }

    /// A disk that an earlier run chose and that holds something else by now.
    pub(super) fn changed_since(&self, device: &Device, holds: &str) -> Diagnostic {
        self.not_taken(super::changed_inside(device, holds, self.name))
    }

    /// As `refusal`, but of a disk without which the array runs.
    fn not_taken(&self, refusal: Diagnostic) -> Diagnostic {
        let why = format!("It does not become a member of \"{}\", which runs without.", self.name);
        let own = refusal.why.strip_suffix(" Nothing was written.").map(|own| format!("{own} "));
        Diagnostic { why: format!("{}{why} Nothing was written to it.", own.unwrap_or_default()), ..refusal }
    }
}
