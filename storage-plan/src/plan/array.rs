//! An array and the volume on it.
//!
//! Selectors choose the members once. As soon as one member is finished, the superblocks say who belongs to
//! the array; a lacking member makes it degraded, not absent.

use super::encryption::Place;
use super::replace::Seats;
use super::retire::Left;
use super::{Context, Draft, Holds, changed_inside, draft, journal, place, table_step, unlike};
use crate::action::{Action, PartitionRef, Target};
use crate::arrays::{Asked, On};
use crate::erase::Erase;
use crate::identity::VolumeKey;
use crate::inventory::{Device, MdMember, RunningArray};
use crate::layer::image::Image;
use crate::layer::md::{self, Carrier};
use crate::ownership::{Inside, Phase, Standing, inside};
use crate::refusal::{self, diagnostic};
use crate::selector;
use crate::verdict::{ArrayVerdict, Kind, Verdict};
use machine_config::Diagnostic;
use machine_config::schema::{Array, Level, Volume, WriteHole};
use std::collections::BTreeSet;
use uuid::Uuid;

pub(super) fn array(context: &Context<'_>, asked: &Asked<'_>, volume: &str, v: &Volume) -> Draft {
    let inner = VolumeKey { name: format!("{}.volume.{volume}", asked.key.name), generation: asked.key.generation };
    let inner = context.inner(&inner, "");
    let name = format!("{}/{volume}", asked.name);
    let place = place(&name, v.mount.as_ref());
    let mut draft = draft(name, Kind::Array, &Holds::of_volume(v), place, v.required, &inner);
    draft.verdict.class.clone_from(&v.class);
    judge(context, asked, v, draft)
}

/// The verdict on an array and on the volume on it.
pub(super) fn judge(context: &Context<'_>, asked: &Asked<'_>, volume: &Volume, draft: Draft) -> Draft {
    let this = This {
        context,
        asked,
        name: asked.name,
        array: &asked.array,
        volume,
        uuid: asked.uuid(&context.owner),
        carriers: carriers(context, asked),
    };
    if let Some(refusal) = this.copied() {
        return draft.refuse(vec![refusal]);
    }
    let done = this.carriers.iter().any(|c| c.phase == Phase::Done);
    if done { this.keep(draft) } else { this.create(draft) }
}

/// An array as the configuration asks for it, and the disks that carry its table.
pub(super) struct This<'a, 'c> {
    pub(super) context: &'c Context<'a>,
    pub(super) asked: &'c Asked<'c>,
    pub(super) name: &'c str,
    pub(super) array: &'c Array,
    pub(super) volume: &'c Volume,
    pub(super) uuid: Uuid,
    pub(super) carriers: Vec<Carrier<'a>>,
}

fn carriers<'a>(context: &Context<'a>, asked: &Asked<'_>) -> Vec<Carrier<'a>> {
    let of = |device: &'a Device| {
        let (wanted, standing) = context.member(asked, device, 0).ok()?;
        let Standing::Ours { phase, whole } = standing else { return None };
        let partition = super::our_partition(device, &wanted);
        Some(Carrier { device, wanted, phase, whole, partition })
    };
    context.candidates(asked.on).iter().filter_map(|d| of(d)).collect()
}

impl<'a> This<'a, '_> {
    /// Where a new member gets the image from, if it is to hold one that it has not.
    pub(super) fn image_for(&self, device: &Device) -> Option<&Image<'a>> {
        let image = self.context.image.as_ref().filter(|_| self.asked.on == On::SystemDisks)?;
        (!image.is_on(device)).then_some(image)
    }

    pub(super) fn running(&self) -> Option<&RunningArray> {
        self.context.inventory.arrays.iter().find(|a| a.uuid == Some(self.uuid))
    }

    /// A superblock of this array on a disk that it was not made on: a clone, or a disk altered by hand.
    fn copied(&self) -> Option<Diagnostic> {
        let ours = |d: &Device| self.carriers.iter().any(|c| c.device.name == d.name);
        let strays = self.context.inventory.devices.iter().filter(|d| !ours(d));
        let mut strays: Vec<&Device> = strays
            .filter(|d| d.partitions.iter().any(|p| p.md.as_ref().is_some_and(|md| md.array == self.uuid)))
            .collect();
        strays.sort_by_key(|d| (d.identity().map(str::to_owned), d.sysfs.clone()));
        strays.first().map(|device| {
            diagnostic(
                refusal::COPY,
                format!("{} carries a member of \"{}\" that was made on another disk.", device.words(), self.name),
                "It is a copy, and which of the two is the true one can't be told. Nothing was written.".into(),
                "Take the copy out.".into(),
            )
        })
    }

    fn fill(&self, draft: &mut Draft, present: u32, wanted: u32) {
        let level = u8::from(self.array.level);
        let rebuild = self.array.rebuild;
        draft.verdict.array = Some(ArrayVerdict { uuid: self.uuid, level, present, wanted, rebuild });
    }

    fn keep(&self, mut draft: Draft) -> Draft {
        let volume = draft.verdict.volume.clone();
        let mut refusals = Vec::new();
        let mut members: Vec<&Carrier<'_>> = Vec::new();
        let mut begun: Vec<&Carrier<'_>> = Vec::new();
        for carrier in &self.carriers {
            let chosen = self.is_begun(carrier);
            match carrier.seen().map(|p| inside(&p.signatures, md::MEMBER, &self.uuid)) {
                Some(Inside::Ours | Inside::Nothing) | None if chosen => begun.push(carrier),
                Some(Inside::Other(holds)) if chosen => {
                    draft.verdict.refusals.push(self.changed_since(carrier.device, &holds));
                }
                Some(Inside::Ours) | None => members.push(carrier),
                Some(Inside::Nothing) => draft
                    .verdict
                    .reasons
                    .push(format!("{} has lost its md superblock and is left out.", carrier.device.words())),
                Some(Inside::Other(holds)) => refusals.push(changed_inside(carrier.device, &holds, &volume)),
            }
        }
        for carrier in members.iter().filter(|c| self.is_journal(c) && self.is_retired(c.device)) {
            let words = carrier.device.words();
            draft.verdict.reasons.push(format!("{words} is its journal, and a journal is not retired: it serves on."));
        }
        let leavers = self.leavers(&members);
        let over =
            |c: &Carrier<'_>| leavers.iter().any(|l| l.at == Left::Over && l.carrier.device.name == c.device.name);
        draft.verdict.disks =
            members.iter().filter(|c| !over(c) && self.belongs(c)).map(|c| c.device.words()).collect();
        if members.is_empty() && refusals.is_empty() {
            refusals.extend(self.carriers.iter().map(|c| changed_inside(c.device, "no md superblock", &volume)));
        }
        let wanted_inside = Holds::of_volume(self.volume);
        let found = self.running().map(|running| self.context.found(&draft, &wanted_inside, in_array(running)));
        if let Some(first) = members.first() {
            refusals.extend(found.as_ref().and_then(|found| found.refusal(first.device, &volume)));
        }
        let (offered, open) = found.map_or((false, false), |found| (found.is_offered, found.is_open));
        refusals.extend(self.context.closed(&wanted_inside, &volume).filter(|_| !open));
        for carrier in &members {
            let Some(seen) = carrier.seen() else { continue };
            let others = seen.uses.holders.iter().filter(|h| self.running().is_none_or(|r| r.name != **h)).count();
            if others > 0 || !seen.uses.mounts.is_empty() {
                let how = seen.uses.words().unwrap_or_default();
                refusals.push(refusal::in_use(carrier.device, &how, &volume));
            }
        }
        if !refusals.is_empty() {
            return draft.refuse(refusals);
        }
        let fresh = md::fresh(&members, &self.uuid);
        let wanted = fresh.iter().map(|md| md.members).max();
        let wanted = wanted.unwrap_or_else(|| u32::try_from(members.len()).unwrap_or(0));
        let present = md::present(&fresh, self.running());
        if let Some(refusal) = self.other_level(&members, &fresh) {
            return draft.refuse(vec![refusal]);
        }
        self.fill(&mut draft, present, wanted);
        draft.verdict.reasons.extend(self.other_write_hole(&fresh));
        draft.verdict.reasons.extend(members.iter().filter_map(|c| self.other_image(c)));
        let refusal = match self.running() {
            Some(running) => self.broken(&members, running, wanted),
            // A member whose partition the kernel does not show yet can't be judged before its table is put right.
            None if members.iter().any(|c| c.seen().is_none()) => None,
            None => self.lacking(&members, &fresh, wanted).or_else(|| self.dirty(&members, &fresh, wanted)),
        };
        let refusal = refusal.or_else(|| self.without_journal(&members, &fresh));
        if let Some(refusal) = refusal {
            return draft.refuse(vec![refusal]);
        }
        if self.is_read_only(&members, &fresh, wanted) {
            return self.read_only(draft, &members, wanted, (offered, open));
        }
        let mut repaired = Vec::new();
        let put_right = |c: &&&Carrier<'_>| (!c.whole || c.phase == Phase::Provisioning) && !self.failed(c) && !over(c);
        for carrier in members.iter().filter(put_right) {
            let (action, _) = table_step(carrier.device, &carrier.wanted, true);
            repaired.push(draft.add(action, &[]));
        }
        // Before the array runs: from then on nothing tells such a disk from one that missed writes.
        for carrier in begun.iter().filter(|c| c.phase == Phase::Done) {
            repaired.push(draft.add(table_step(carrier.device, &carrier.wanted, false).0, &[]));
        }
        let mut after = repaired.clone();
        if self.running().is_none() {
            let members = self.in_order(members.iter().copied().filter(|c| !over(c)));
            let (uuid, name) = (self.uuid, self.name.to_owned());
            let start = Action::AssembleArray { uuid, name, members, wanted, read_only: false };
            after = vec![draft.add(start, &repaired)];
        }
        let on = Target::Array(self.uuid);
        let offering = (!offered).then(|| draft.open_and_offer(self.context, on, &wanted_inside, open, &after));
        let back = self.give_back(&mut draft, &members, &after);
        let is_back = |c: &Carrier<'_>| back.contains(&c.device.name.as_str());
        for carrier in members.iter().filter(|c| c.seen().is_some() && !self.took_in(c) && !over(c) && !is_back(c)) {
            let words = carrier.device.words();
            draft.verdict.reasons.push(format!("{words} was a member, has missed writes since, and is left out."));
        }
        for carrier in members.iter().filter(|c| self.failed(c) && !over(c)) {
            draft
                .verdict
                .reasons
                .push(format!("{} has failed, and the array runs without it.", carrier.device.words()));
        }
        if present < wanted {
            let recovers = self.running().is_some_and(|r| r.sync_action == "recover");
            let how = if recovers { "it is degraded, and being rebuilt" } else { "it is degraded" };
            draft.verdict.reasons.push(format!("{present} of {wanted} members are in the array: {how}."));
        }
        let leaving = u32::try_from(leavers.iter().filter(|l| l.needs_a_seat()).count()).unwrap_or(0);
        let seats = wanted.saturating_add(self.array.spares).saturating_add(leaving);
        let seats = seats.saturating_sub(u32::try_from(back.len()).unwrap_or(0));
        let added = self.replace(&mut draft, &members, &begun, Seats { wanted, seats }, &after);
        let retired = self.retire(&mut draft, &members, &leavers, &added, &after);
        let is_changing = retired || !(repaired.is_empty() && back.is_empty() && added.is_empty());
        let there: Vec<usize> = after.iter().copied().chain(offering).collect();
        let grown = self.grow(&mut draft, &members, &leavers, is_changing, &there);
        let done = [
            (!repaired.is_empty(), "a partition table of a member is put right"),
            (!back.is_empty(), "a member that was away is taken back"),
            (!added.is_empty() && present < wanted, "a lost member is replaced"),
            (!added.is_empty() && present >= wanted, "a spare is added"),
            (retired, "a member is retired"),
            (grown, "it is made larger"),
        ];
        let done: Vec<&str> = done.into_iter().filter(|(is_done, _)| *is_done).map(|(_, what)| what).collect();
        if done.is_empty() {
            return draft.because(Verdict::Keep, "The array is this volume's.");
        }
        draft.because(Verdict::Repair, format!("The array is this volume's; {}.", done.join(", and ")))
    }

    /// Whether the array has this disk: the running one, or the latest of its superblocks.
    pub(super) fn took_in(&self, carrier: &Carrier<'_>) -> bool {
        if let Some(running) = self.running() {
            return carrier.seen().is_some_and(|p| p.uses.holders.contains(&running.name));
        }
        let all: Vec<&Carrier<'_>> = self.carriers.iter().collect();
        let own = carrier.superblock(&self.uuid);
        own.is_some_and(|own| md::fresh(&all, &self.uuid).iter().any(|md| md.member == own.member))
    }

    /// Whether it was chosen and the array does not have it yet: what it holds, if anything, is a part of what the others do.
    fn is_begun(&self, carrier: &Carrier<'_>) -> bool {
        let newest = || md::newest(self.carriers.iter().filter_map(|c| c.superblock(&self.uuid)));
        let is_unknown = || carrier.superblock(&self.uuid).zip(newest()).is_some_and(|(md, n)| md::is_unknown(md, n));
        !self.took_in(carrier) && (carrier.phase == Phase::Provisioning || (self.running().is_none() && is_unknown()))
    }

    /// Members as mdadm is to be told of them: those that the array has, and no other, whatever mdadm would make of it. By the
    /// first of those that know most it judges the others, and one that is being filled may know more than one of them.
    pub(super) fn in_order<'c>(&self, members: impl Iterator<Item = &'c Carrier<'a>>) -> Vec<PartitionRef>
    where
        'a: 'c,
    {
        let is_filled = |c: &&Carrier<'_>| c.superblock(&self.uuid).is_none_or(|md| !md.recovering);
        let (journal, members): (Vec<_>, Vec<_>) =
            members.filter(|c| self.belongs(c)).partition(|c| self.is_journal(c));
        let (mut first, last): (Vec<_>, Vec<_>) = members.into_iter().partition(is_filled);
        first.extend(last.into_iter().chain(journal));
        first.into_iter().map(|c| c.partition.clone()).collect()
    }

    /// Whether the array has it, as far as that can be told before its table is put right.
    fn belongs(&self, carrier: &Carrier<'_>) -> bool {
        carrier.seen().is_none() || self.took_in(carrier)
    }

    /// Whether it failed in the array that runs.
    pub(super) fn failed(&self, carrier: &Carrier<'_>) -> bool {
        let running = self.running();
        running.is_some_and(|r| carrier.seen().is_some_and(|p| r.failed.contains(&p.name)))
    }

    fn other_level(&self, members: &[&Carrier<'_>], fresh: &[&MdMember]) -> Option<Diagnostic> {
        let (name, level) = (self.name, u8::from(self.array.level));
        let made = fresh.iter().map(|md| md.level).find(|made| *made != i32::from(level))?;
        let there: Vec<String> = members.iter().map(|c| c.device.words()).collect();
        Some(diagnostic(
            refusal::OTHER_LEVEL,
            format!("\"{name}\" was made as RAID {made}, and the configuration says RAID {level}."),
            format!("It is on {}. Nothing was written.", there.join("; ")),
            format!("Write level = {made} for \"{name}\", or raise its generation to make it anew."),
        ))
    }

    /// It goes on as it was made; only in its superblock stands how.
    fn other_write_hole(&self, fresh: &[&MdMember]) -> Option<String> {
        let made = match fresh.first()? {
            md if md.journaled => WriteHole::Journal,
            md if md.ppl => WriteHole::Ppl,
            _ => WriteHole::Bitmap,
        };
        let wanted = self.array.write_hole();
        let words = |of: WriteHole| match of {
            WriteHole::Ppl => "a partial parity log",
            WriteHole::Bitmap => "a bitmap",
            WriteHole::Journal => "a journal",
        };
        let differs = matches!(self.array.level, Level::Raid5 | Level::Raid6) && made != wanted;
        differs.then(|| format!("It was made with {}, and not with {}.", words(made), words(wanted)))
    }

    /// A system disk that would start another release. What is on it is left as it is.
    fn other_image(&self, carrier: &Carrier<'_>) -> Option<String> {
        let image = self.image_for(carrier.device).filter(|_| carrier.phase == Phase::Done)?;
        let words = carrier.device.words();
        (!image.is_that_of(&carrier.wanted)).then(|| format!("{words} holds another image than the node runs."))
    }

    /// Too few members for the data to be there. The kernel would not start it either; nobody is to try harder.
    fn lacking(&self, members: &[&Carrier<'_>], fresh: &[&MdMember], wanted: u32) -> Option<Diagnostic> {
        let filled = md::filled(fresh);
        let has = format!("has {} of its {wanted} members with all their data", filled.len());
        let done = "It was not started, and nothing was written.";
        let mend = "Put the missing disks back in. If they are lost, so is what was on the array: raise its generation to make it \
                    anew.";
        self.too_few(members, wanted, &filled, [&has, done, mend])
    }

    /// As [`This::lacking`], of an array that has lost too many members while it ran. What it still answers may be old.
    fn broken(&self, members: &[&Carrier<'_>], running: &RunningArray, wanted: u32) -> Option<Diagnostic> {
        let working = md::working(members, &self.uuid, running)?;
        let has = format!("has failed while it ran: {} of its {wanted} members work", working.len());
        let mend =
            "Put the disks that went back in and restart the node: it starts the array again if its data is there.";
        self.too_few(members, wanted, &working, [&has, "Nothing was written.", mend])
    }

    fn too_few(
        &self,
        members: &[&Carrier<'_>],
        wanted: u32,
        roles: &BTreeSet<u16>,
        [has, done, mend]: [&str; 3],
    ) -> Option<Diagnostic> {
        let there: Vec<String> = members.iter().map(|c| c.device.words()).collect();
        (!md::is_complete(self.array.level, wanted, roles)).then(|| {
            let level = u8::from(self.array.level);
            diagnostic(
                refusal::LACKING,
                format!("\"{}\" {has}, too few for RAID {level}.", self.name),
                format!("There are: {}. {done}", there.join("; ")),
                mend.into(),
            )
        })
    }

    /// Plans that a new member gets the image, after the steps at `after`. None where it has it, or is to have none.
    pub(super) fn copy_image(&self, draft: &mut Draft, device: &Device, after: &[usize]) -> Option<usize> {
        let image = self.image_for(device)?;
        let (from, disk) = (image.disk.name.clone(), device.name.clone());
        Some(draft.add(Action::CopyImage { from, disk, partitions: image.table.partitions.clone() }, after))
    }

    /// As [`Context::claim`]. Of a system disk nothing is erased: that a permit was used is noted on the state, which is not
    /// there before.
    fn claim(&self, device: &Device, standing: &Standing, volume: &str) -> Result<Option<Erase>, Diagnostic> {
        let (code, holds) = match (self.asked.on, standing) {
            (On::SystemDisks, Standing::Foreign(holds)) => (refusal::FOREIGN, holds),
            (On::SystemDisks, Standing::UnknownData(holds)) => (refusal::UNKNOWN_DATA, holds),
            _ => return self.context.claim(device, standing, volume),
        };
        let why = ["No permit makes a system disk of it: clear it on another machine.".to_owned()];
        Err(refusal::foreign(code, device, holds, volume, &why, None))
    }

    /// The disks that it is to be made of, the one for its journal behind all others, and what is wrong with the selection.
    fn select(&self) -> (Vec<&'a Device>, Vec<Diagnostic>) {
        let (mut disks, mut refusals) = (Vec::new(), Vec::new());
        for selector in [Some(&self.array.disks), self.array.journal.as_ref()].into_iter().flatten() {
            let selected = selector::select(selector, self.context.candidates(self.asked.on), self.name);
            refusals.extend(selected.refusals);
            refusals.extend(selected.missing.into_iter().map(|(_, refusal)| refusal));
            disks.extend(selected.disks);
        }
        (disks, refusals)
    }

    fn create(&self, mut draft: Draft) -> Draft {
        let volume = draft.verdict.volume.clone();
        let (selected, mut refusals) = self.select();
        draft.verdict.disks = selected.iter().map(|d| d.words()).collect();
        for device in selected.iter().filter(|d| self.is_retired(d)) {
            refusals.push(refusal::unfit(device, "It is to be retired, and the selector chooses it".into(), &volume));
        }
        for carrier in self.carriers.iter().filter(|c| selected.iter().all(|d| d.name != c.device.name)) {
            let why = "An interrupted run began to make it a member, and the selector no longer names it".into();
            refusals.push(refusal::unfit(carrier.device, why, &volume));
        }
        let running = self.running();
        let wanted_inside = Holds::of_volume(self.volume);
        refusals.extend(self.context.not_encrypted(&wanted_inside, &volume));
        let mut begun = Vec::new();
        let mut members: Vec<(&Device, PartitionRef, crate::ownership::Wanted)> = Vec::new();
        let (mut remake, mut erases) = (false, false);
        for (at, device) in selected.iter().enumerate() {
            let is_journal = self.array.journal.is_some() && at + 1 == selected.len();
            let smallest = members.iter().map(|(_, partition, _)| partition.size).min();
            let least = if is_journal { journal::least(smallest) } else { wanted_inside.least() };
            let (wanted, standing) = match self.context.member(self.asked, device, 0) {
                Ok(looked) => looked,
                Err(why) => {
                    refusals.push(refusal::unfit(device, why, &volume));
                    continue;
                }
            };
            refusals.extend(self.context.unfit(device, least, &volume));
            // What the kernel writes to a journal is in blocks of 4096 bytes anyway.
            let unlike = unlike(device, members.first().map(|(first, ..)| *first)).filter(|_| !is_journal);
            refusals.extend(unlike.map(|why| refusal::unfit(device, why, &volume)));
            let erase = self.claim(device, &standing, &volume).unwrap_or_else(|refusal| {
                refusals.push(refusal);
                None
            });
            erases |= erase.is_some();
            remake |= matches!(standing, Standing::Ours { .. });
            let (begin, partition) = table_step(device, &wanted, false);
            if partition.size < least && refusals.is_empty() {
                let words = crate::inventory::size_words;
                let (room, least) = (words(partition.size), words(least));
                let why = format!("Beside what is reserved it has {room}, and {least} are the least");
                refusals.push(refusal::unfit(device, why, &volume));
            }
            if let Some(seen) = device.partition(partition.number).filter(|_| matches!(standing, Standing::Ours { .. }))
            {
                if let Inside::Other(holds) = inside(&seen.signatures, md::MEMBER, &self.uuid) {
                    refusals.push(changed_inside(device, &holds, &volume));
                }
                let foreign_holder = seen.uses.holders.iter().any(|h| running.is_none_or(|r| r.name != *h));
                if foreign_holder || !seen.uses.mounts.is_empty() || seen.uses.swap {
                    refusals.push(refusal::in_use(device, &seen.uses.words().unwrap_or_default(), &volume));
                }
            }
            if !matches!(standing, Standing::Ours { whole: true, .. }) {
                begun.push((begin, erase.map(|erase| (*device, erase))));
            }
            members.push((device, partition, wanted));
        }
        if let Some(running) = running {
            let (holds, used) = self.context.in_the_way(&draft, &wanted_inside, in_array(running));
            if let Some(holds) = holds {
                refusals.extend(members.first().map(|(d, ..)| changed_inside(d, &holds, &volume)));
            }
            let holds = |(device, at, _): &(&Device, PartitionRef, _)| {
                device.partition(at.number).is_some_and(|p| p.uses.holders.contains(&running.name))
            };
            if !members.iter().all(holds) || used.is_some() {
                refusals.extend(members.first().map(|(d, ..)| {
                    refusal::in_use(d, &format!("part of {} that was not finished", running.name), &volume)
                }));
            }
        }
        if !refusals.is_empty() {
            return draft.refuse(refusals);
        }
        let spares = self.array.spares;
        let journals = u32::from(self.array.journal.is_some());
        let wanted = u32::try_from(members.len()).unwrap_or(u32::MAX).saturating_sub(spares + journals);
        self.fill(&mut draft, wanted, wanted);
        let mut after = Vec::new();
        for (begin, erase) in begun {
            let erased: Vec<usize> = erase.into_iter().map(|(device, erase)| draft.erase(device, erase)).collect();
            after.push(draft.add(begin, &erased));
        }
        // The image is no part of the array: both are made side by side, and all of it is finished at once.
        let copied: Vec<usize> =
            members.iter().filter_map(|(device, ..)| self.copy_image(&mut draft, device, &after)).collect();
        let mut partitions: Vec<PartitionRef> = members.iter().map(|(_, p, _)| p.clone()).collect();
        if running.is_none() {
            let (name, level) = (self.name.to_owned(), u8::from(self.array.level));
            let journal = if self.array.journal.is_some() { partitions.pop() } else { None };
            let (uuid, members, chunk) = (self.uuid, partitions, self.array.chunk);
            let write_hole = self.array.write_hole();
            let create = Action::CreateArray { uuid, name, level, members, spares, chunk, write_hole, journal, remake };
            after = vec![draft.add(create, &after)];
        }
        let mut made = vec![draft.make(Target::Array(self.uuid), &wanted_inside, &after)];
        made.extend(copied);
        let flips: Vec<usize> =
            members.iter().map(|(device, _, wanted)| draft.add(table_step(device, wanted, true).0, &made)).collect();
        draft.open_and_offer(self.context, Target::Array(self.uuid), &wanted_inside, true, &flips);
        let reason = match (remake, erases) {
            (true, _) => "An interrupted run began to make it; it is made anew.",
            (false, true) => "Its disks are blank then.",
            (false, false) => "Its disks are blank.",
        };
        draft.because(Verdict::Create, reason)
    }
}

fn in_array(running: &RunningArray) -> Place<'_> {
    Place { signatures: &running.signatures, uses: &running.uses }
}
