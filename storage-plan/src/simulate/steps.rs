//! What a plan's actions would write, and what the tools or the kernel would refuse.

use super::{Area, Effect, Impossible, Model, ModelGroup, ModelLogical, Trace};
use crate::action::{Action, GroupPlace, LogicalPlace, PartitionRef, Target};
use crate::erase::Erase;
use crate::inventory::{MdMember, Signature};
use crate::layer::lvm::{self, Shape};
use crate::layer::{filesystem, luks, md};
use machine_config::schema::{Level, WriteHole};
use on_disk::gpt::{Partition, kind, layout};
use uuid::Uuid;

impl Model {
    /// The effects of an action, in the order in which they happen.
    ///
    /// # Errors
    /// When the action would be refused by the tool or the kernel.
    pub fn effects(&self, action: &Action) -> Result<Vec<Effect>, Impossible> {
        match action {
            Action::Erase { disk, erase } => self.erase(disk, erase),
            Action::WriteTable { disk, table, partitions } => {
                let device = &self.disk(disk)?.device;
                let is_in = |at: &&PartitionRef| {
                    let entry = table.by_guid(&at.guid).filter(|_| at.disk == *disk);
                    entry.is_some_and(|p| (p.number, p.start, p.size) == (at.number, at.start, at.size))
                };
                if let Some(other) = partitions.iter().find(|at| !is_in(at)) {
                    return Err(Impossible(format!("partition {} of {disk} is not in its table", other.number)));
                }
                let writes = layout(table, device.size).map_err(|e| Impossible(e.to_string()))?;
                let sector = device.logical_sector as usize;
                let mut effects = Vec::new();
                for write in writes {
                    let last = write.bytes.len() / sector - 1;
                    for (i, bytes) in write.bytes.chunks(sector).enumerate() {
                        effects.push(Effect::Sector {
                            disk: disk.clone(),
                            offset: write.offset + (i * sector) as u64,
                            bytes: bytes.to_vec(),
                            flush: write.flush_after && i == last,
                        });
                    }
                }
                Ok(effects)
            }
            Action::CopyImage { from, disk, partitions } => {
                let copied = |partition: &Partition| {
                    let Partition { number, start, size, guid, .. } = *partition;
                    let same = |on: &String| PartitionRef { disk: on.clone(), number, start, size, guid };
                    self.entry_kind(&same(from))?;
                    self.must_be_provisioning(&same(disk))?;
                    Ok(Effect::Copied(from.clone(), disk.clone(), start))
                };
                partitions.iter().map(copied).collect()
            }
            Action::CreateArray { uuid, name, level, members, spares, write_hole, journal, remake, .. } => {
                let wanted = members.len().saturating_sub(usize::try_from(*spares).unwrap_or(usize::MAX));
                let least = members.iter().map(|m| m.size).min().unwrap_or(0);
                let mut effects = Vec::new();
                let all: Vec<&PartitionRef> = members.iter().chain(journal).collect();
                let journal = journal.as_ref().and_then(|_| u16::try_from(members.len()).ok());
                for (role, member) in (0u16..).zip(all.iter().copied()) {
                    let least = if Some(role) == journal { 0 } else { least };
                    self.must_be_provisioning(member)?;
                    let area = self.disk(&member.disk)?.areas.get(&member.start).cloned().unwrap_or_default();
                    if !*remake && area != Area::default() {
                        return Err(Impossible(format!("{} holds something", member.disk)));
                    }
                    if *remake {
                        effects.push(Effect::Clear(member.clone()));
                    }
                    let md = MdMember {
                        array: *uuid,
                        member: Uuid::from_u128(u128::from(role) + 1),
                        name: name.clone(),
                        level: i32::from(*level),
                        members: u32::try_from(wanted).unwrap_or(u32::MAX),
                        role: Some(role).filter(|role| usize::from(*role) < wanted),
                        events: 17,
                        clean: true,
                        recovering: false,
                        replaces: false,
                        ppl: *write_hole == WriteHole::Ppl,
                        journaled: journal.is_some(),
                        journal,
                        needs: least,
                        room: if Some(role) == journal { 0 } else { member.size - least },
                        number: role,
                        positions: (0..u16::try_from(wanted).unwrap_or(u16::MAX)).map(Some).collect(),
                        bitmap_since: (*level != 0 && *write_hole == WriteHole::Bitmap).then_some(17),
                    };
                    effects.push(Effect::Superblock(member.clone(), md));
                }
                let all = all.into_iter().cloned().collect();
                effects.push(Effect::Run(*uuid, name.clone(), all, false));
                Ok(effects)
            }
            Action::AssembleArray { uuid, name, members, read_only, .. } => {
                let of_array =
                    |m: &PartitionRef| self.area(m).and_then(|a| a.md.as_ref()).is_some_and(|md| md.array == *uuid);
                let of_it = members.iter().filter(|m| of_array(m));
                // One with a journal is started by the kernel alone, which believes whoever knows most.
                let known = of_it.clone().filter_map(|m| self.superblock(m));
                let newest = match known.clone().any(|md| md.journaled) {
                    true => known.filter(|md| md.role.is_some() || md.is_journal()).max_by_key(|md| md.events),
                    false => self.most_recent(of_it.clone()),
                };
                let current = |m: &&PartitionRef| {
                    self.superblock(m).zip(newest).is_some_and(|(md, newest)| md::counts_beside(md, newest))
                };
                let members: Vec<PartitionRef> = of_it.filter(current).cloned().collect();
                let found: Vec<&MdMember> = members.iter().filter_map(|m| self.superblock(m)).collect();
                let level = found.first().and_then(|md| Level::try_from(u8::try_from(md.level).ok()?).ok());
                let wanted = found.first().map_or(0, |md| md.members);
                if !level.is_some_and(|level| md::is_complete(level, wanted, &md::filled(&found))) {
                    return Err(Impossible(format!("too few members of {name} are there")));
                }
                // Without its journal the kernel starts it read-only, whatever it is told.
                if md::lacks_journal(&found) && !read_only {
                    return Err(Impossible(format!("{name} lacks its journal")));
                }
                // The kernel's raid5_run(): without a log, parity must be true before a member is reckoned from it.
                let lacks = md::filled(&found).len() < usize::try_from(wanted).unwrap_or(usize::MAX);
                let hole = matches!(level, Some(Level::Raid5 | Level::Raid6)) && !found.iter().any(|md| md.ppl);
                if hole && lacks && found.iter().any(|md| !md.clean) && !read_only {
                    return Err(Impossible(format!("{name} is dirty, and lacks a member")));
                }
                Ok(vec![Effect::Run(*uuid, name.clone(), members, *read_only)])
            }
            Action::AddMember { uuid, name, member, remake } => {
                let Some((_, members)) = self.running.get(uuid) else {
                    return Err(Impossible(format!("{name} does not run")));
                };
                self.must_be_writable(uuid)?;
                self.must_be_provisioning(member)?;
                if members.contains(member) {
                    return Err(Impossible(format!("{} is in {name} already", member.disk)));
                }
                if !*remake && self.area(member).is_some_and(|area| *area != Area::default()) {
                    return Err(Impossible(format!("{} holds something", member.disk)));
                }
                let other = self.superblock_of(members).cloned();
                let other = other.ok_or_else(|| Impossible(format!("{name} has no member left")))?;
                if member.size < other.needs {
                    return Err(Impossible(format!("{} is too small for {name}", member.disk)));
                }
                // mdadm writes a superblock that is behind all others; the kernel brings it up to date.
                let known = self.disks.iter().flat_map(|d| d.areas.values()).filter_map(|area| area.md.as_ref());
                let known = known.filter(|md| md.array == *uuid).map(|md| (md.member.as_u128(), md.number));
                let (id, number) = known.max().map_or((1, 0), |(id, number)| (id + 1, number + 1));
                let new = MdMember {
                    member: Uuid::from_u128(id),
                    number,
                    role: None,
                    room: member.size - other.needs,
                    events: 0,
                    recovering: false,
                    replaces: false,
                    ..other
                };
                let clear = remake.then(|| Effect::Clear(member.clone()));
                let rest = [Effect::Superblock(member.clone(), new), Effect::Joined(*uuid, member.clone())];
                Ok(clear.into_iter().chain(rest).collect())
            }
            Action::ReturnMember { uuid, name, member } => {
                let (_, members) = self.running.get(uuid).ok_or_else(|| Impossible(format!("{name} does not run")))?;
                let own = self.superblock(member).filter(|md| md.array == *uuid && !members.contains(member));
                let own = own.ok_or_else(|| Impossible(format!("{} is not away from {name}", member.disk)))?;
                let at_work: Vec<&MdMember> = members.iter().filter_map(|m| self.at_work(uuid, name, m).ok()).collect();
                // As the kernel does: by its number and its place, and by what the bitmap still knows.
                let is_taken = at_work.iter().any(|md| md.number == own.number || md.role == own.role);
                let since = at_work.iter().map(|md| md.bitmap_since).max().flatten();
                if own.role.is_none() || is_taken || since.is_none_or(|since| own.events < since) {
                    return Err(Impossible(format!("{} can't go back into {name}", member.disk)));
                }
                Ok(vec![Effect::Returned(*uuid, member.clone())])
            }
            Action::CopyMember { uuid, name, member, onto } => {
                let (from, to) = (self.at_work(uuid, name, member)?, self.at_work(uuid, name, onto)?);
                let place = from.role.filter(|_| !from.recovering);
                let place = place.ok_or_else(|| Impossible(format!("{} does not work in {name}", member.disk)))?;
                if to.role.is_some() || to.is_journal() {
                    return Err(Impossible(format!("{} does not stand by in {name}", onto.disk)));
                }
                let others = self.running.get(uuid).map(|(_, members)| &members[..]).unwrap_or_default();
                let is_there =
                    |m: &PartitionRef| m != member && self.superblock(m).is_some_and(|md| md.role == Some(place));
                if others.iter().any(is_there) {
                    return Err(Impossible(format!("{} is being copied already", member.disk)));
                }
                Ok(vec![Effect::Copying(*uuid, member.clone(), onto.clone())])
            }
            Action::ReleaseMember { uuid, name, member } => {
                let in_use = self.at_work(uuid, name, member).is_ok_and(|md| md.role.is_some() || md.is_journal());
                let (_, members) = self.running.get(uuid).ok_or_else(|| Impossible(format!("{name} does not run")))?;
                if in_use || !members.contains(member) {
                    return Err(Impossible(format!("{} can't leave {name}", member.disk)));
                }
                Ok(vec![Effect::Left(*uuid, member.clone())])
            }
            Action::GrowArray { uuid, name, members } => {
                let of_it = members.iter().map(|m| self.at_work(uuid, name, m));
                let of_it = of_it.collect::<Result<Vec<_>, _>>()?;
                let lacks = md::filled(&of_it).len() < of_it.first().map_or(0, |md| md.members as usize);
                // The kernel's raid5_resize(): not with a log.
                if lacks || of_it.iter().any(|md| md.ppl || md.journaled || md.recovering || md.room == 0) {
                    return Err(Impossible(format!("{name} can't be made larger")));
                }
                self.must_be_writable(uuid)?;
                Ok(vec![Effect::Enlarged(*uuid)])
            }
            Action::GrowFilesystem { on, at, .. } => {
                if !self.mounts.contains(&(on.clone(), at.clone())) {
                    return Err(Impossible(format!("nothing of it is mounted at {at}")));
                }
                let Target::Array(uuid) = on else { return Err(Impossible("it is not on an array".into())) };
                Ok(vec![Effect::Fills(*uuid)])
            }
            Action::MakeFilesystem { on, format, uuid, .. } => {
                let made =
                    Signature { kind: filesystem::kind(*format).into(), uuid: Some(uuid.to_string()), label: None };
                let found = self.signatures(on)?;
                if let Some(other) = found.iter().find(|s| s.kind != made.kind || s.uuid != made.uuid) {
                    return Err(Impossible(format!("would overwrite {}", other.words())));
                }
                self.must_be_made(on)?;
                Ok(vec![Effect::Holds(on.clone(), Vec::new()), Effect::Holds(on.clone(), vec![made])])
            }
            Action::CreateGroup { name, members, remake } => self.create_group(name, members, *remake),
            Action::CreateLogical { volume, shape, extents, remake } => {
                let group = self.whole_group(volume)?;
                let there = group.volumes.get(&volume.name);
                let is_begun = |made: &ModelLogical| made.tags == [lvm::tag(&volume.uuid), lvm::MAKING.to_owned()];
                if there.is_some_and(|made| !*remake || !is_begun(made)) {
                    return Err(Impossible(format!("{} is in {} already", volume.name, volume.group)));
                }
                self.must_be_unused(&volume.target())?;
                let mut room = group.room.clone();
                room.give_back(there.map(|made| &made.taken[..]).unwrap_or_default());
                if let Shape::Thin(pool) = shape
                    && !group.volumes.get(pool).is_some_and(|pool| pool.tags.iter().any(|tag| tag == lvm::MADE))
                {
                    return Err(Impossible(format!("there is no pool {pool} in {}", volume.group)));
                }
                if room.take(shape, *extents).is_none() {
                    return Err(Impossible(format!("there is no room for {} in {}", volume.name, volume.group)));
                }
                let removed = there.map(|_| Effect::Cut(volume.clone(), None));
                let made = Effect::Cut(volume.clone(), Some((shape.clone(), *extents)));
                Ok(removed.into_iter().chain([made]).collect())
            }
            Action::FinishLogical { volume } => {
                let made = self.whole_group(volume)?.volumes.get(&volume.name);
                if !made.is_some_and(|made| made.tags.contains(&lvm::MAKING.to_owned())) {
                    return Err(Impossible(format!("{} is not being made in {}", volume.name, volume.group)));
                }
                Ok(vec![Effect::Tagged(volume.clone(), lvm::MADE.to_owned())])
            }
            Action::GrowLogical { volume, extents, holds } => {
                let group = self.whole_group(volume)?;
                let made = group.volumes.get(&volume.name).filter(|made| made.is_active && made.extents <= *extents);
                let made = made.ok_or_else(|| Impossible(format!("{} can't be made larger", volume.name)))?;
                let more = extents - made.extents;
                if group.room.clone().take(&made.shape, more).is_none() {
                    return Err(Impossible(format!("there is no room for more of {}", volume.name)));
                }
                let is_mounted = |at: &String| self.mounts.contains(&(volume.target(), at.clone()));
                if holds.as_ref().is_some_and(|(_, at)| !is_mounted(at)) {
                    return Err(Impossible(format!("{} is not mounted", volume.name)));
                }
                // Tagged before anything of it is larger.
                let tagged = Effect::Grown(volume.clone(), 0);
                Ok(vec![tagged, Effect::Grown(volume.clone(), more), Effect::Filled(volume.clone())])
            }
            Action::Activate { volume } => {
                let group = self.groups.get(&volume.group);
                let made = group.and_then(|group| group.volumes.get(&volume.name));
                let made = made.ok_or_else(|| Impossible(format!("{} has no {}", volume.group, volume.name)))?;
                if made.is_active || !made.tags.contains(&lvm::MADE.to_owned()) {
                    return Err(Impossible(format!("{} can't be activated", volume.name)));
                }
                Ok(vec![Effect::Active(volume.clone())])
            }
            Action::Encrypt { on, uuid, .. } => {
                let found = self.signatures(on)?;
                if let Some(other) = found.iter().find(|s| !is_header(s, uuid)) {
                    return Err(Impossible(format!("would overwrite {}", other.words())));
                }
                self.must_be_made(on)?;
                self.must_be_unused(&Target::Opened(*uuid))?;
                Ok(vec![Effect::Holds(on.clone(), Vec::new()), Effect::Encrypted(on.clone(), *uuid)])
            }
            Action::Seal { on, uuid } => {
                if !matches!(&self.signatures(on)?[..], [only] if is_header(only, uuid)) {
                    return Err(Impossible(format!("there is no header {uuid} to seal")));
                }
                Ok(vec![Effect::Sealed(on.clone())])
            }
            Action::Open { on, uuid, .. } => {
                if !matches!(&self.signatures(on)?[..], [only] if is_header(only, uuid)) {
                    return Err(Impossible(format!("there is no header {uuid} to open")));
                }
                if self.opened.contains_key(uuid) {
                    return Err(Impossible(format!("{uuid} is open already")));
                }
                Ok(vec![Effect::Opened(on.clone(), *uuid)])
            }
            Action::Clear { on } => {
                if let Some(other) = self.signatures(on)?.first() {
                    return Err(Impossible(format!("would overwrite {}", other.words())));
                }
                self.must_be_made(on)?;
                Ok(vec![Effect::Holds(on.clone(), Vec::new())])
            }
            Action::Link { on, at } => {
                self.signatures(on)?;
                Ok(vec![Effect::Linked(on.clone(), at.clone())])
            }
            Action::Mount { on, format, uuid, at, read_only, .. } => {
                if let Target::Array(array) = on
                    && !read_only
                {
                    self.must_be_writable(array)?;
                }
                let found = self.signatures(on)?;
                let right = |s: &Signature| s.kind == filesystem::kind(*format) && s.uuid == Some(uuid.to_string());
                if !matches!(&found[..], [only] if right(only)) {
                    return Err(Impossible(format!("{at} would not be what it should")));
                }
                Ok(vec![Effect::Mounted(on.clone(), at.clone())])
            }
        }
    }

    fn create_group(&self, name: &str, members: &[GroupPlace], remake: bool) -> Result<Vec<Effect>, Impossible> {
        let mut effects = Vec::new();
        for GroupPlace { at, .. } in members {
            self.must_be_provisioning(at)?;
            self.must_be_unused(&Target::Partition(at.clone()))?;
            if !remake && self.area(at).is_some_and(|area| *area != Area::default()) {
                return Err(Impossible(format!("{} holds something", at.disk)));
            }
            effects.extend(remake.then(|| Effect::Clear(at.clone())));
        }
        for GroupPlace { at, uuid } in members {
            let label = Signature { kind: lvm::MEMBER.into(), uuid: Some(lvm::id(uuid)), label: None };
            effects.push(Effect::Holds(Target::Partition(at.clone()), vec![label]));
        }
        let noted = members.iter().map(|m| Effect::Grouped(name.to_owned(), members.to_vec(), m.at.clone()));
        effects.extend(noted);
        Ok(effects)
    }

    /// The group of a volume, with all of its members: LVM changes no other.
    fn whole_group(&self, volume: &LogicalPlace) -> Result<&ModelGroup, Impossible> {
        let group = self
            .groups
            .get(&volume.group)
            .filter(|_| self.members_of(&volume.group).iter().all(|at| self.is_in(at, &volume.group)));
        let group = group.ok_or_else(|| Impossible(format!("{} is not whole", volume.group)))?;
        if group.members.iter().any(|m| !volume.members.contains(&m.at)) {
            return Err(Impossible(format!("{} was not told of all its members", volume.group)));
        }
        Ok(group)
    }

    /// Whether a group is noted on this partition.
    pub(super) fn is_in(&self, at: &PartitionRef, group: &str) -> bool {
        self.area(at).is_some_and(|area| area.group.as_deref() == Some(group))
    }

    fn erase(&self, name: &str, erase: &Erase) -> Result<Vec<Effect>, Impossible> {
        let disk = self.disk(name)?;
        if !self.mounts.iter().any(|(_, at)| at == "/var") {
            return Err(Impossible("there is no place to note that a permit was used".into()));
        }
        if !erase.begun && self.used.contains(&erase.permit) {
            return Err(Impossible(format!("permit {} was used already", erase.permit)));
        }
        if let Some(how) = self.device(disk).in_use() {
            return Err(Impossible(format!("{name} is in use: {how}")));
        }
        let first = |bytes: Vec<u8>| Effect::Sector { disk: name.into(), offset: 0, bytes, flush: true };
        let zeroed = |trace: Trace| Effect::Zeroed(name.into(), trace);
        let mut effects = vec![first(erase.note.clone())];
        effects.extend(disk.device.signatures.iter().cloned().map(|s| zeroed(Trace::Signature(s))));
        effects.extend(disk.areas.keys().map(|at| zeroed(Trace::Area(*at))));
        effects.extend(disk.sectors.keys().filter(|at| **at != 0).map(|at| zeroed(Trace::Sector(*at))));
        effects.push(zeroed(Trace::Rest));
        effects.push(first(vec![0; erase.note.len()]));
        effects.push(Effect::Used(erase.permit));
        Ok(effects)
    }

    /// The superblock of a member of an array that runs, which does not call it faulty.
    fn at_work(&self, uuid: &Uuid, name: &str, member: &PartitionRef) -> Result<&MdMember, Impossible> {
        let is_in = self.running.get(uuid).is_some_and(|(_, members)| members.contains(member));
        let there = self.superblock(member).filter(|_| is_in && !self.faulty.contains(member));
        there.ok_or_else(|| Impossible(format!("{} is not in {name}", member.disk)))
    }

    /// The member by which mdadm judges the others: the first of those with a place that know most (its Assemble.c).
    fn most_recent<'m>(&self, members: impl Iterator<Item = &'m PartitionRef>) -> Option<&MdMember> {
        let placed = members.filter_map(|m| self.superblock(m)).filter(|md| md.role.is_some());
        placed.fold(None, |most: Option<&MdMember>, md| most.filter(|most| most.events >= md.events).or(Some(md)))
    }

    fn signatures(&self, on: &Target) -> Result<Vec<Signature>, Impossible> {
        match on {
            Target::Partition(partition) => {
                self.entry_kind(partition)?;
                Ok(self.area(partition).map(|a| a.signatures.clone()).unwrap_or_default())
            }
            Target::Array(uuid) if self.running.contains_key(uuid) => {
                Ok(self.array_contents.get(uuid).cloned().unwrap_or_default())
            }
            Target::Array(uuid) => Err(Impossible(format!("array {uuid} does not run"))),
            Target::Opened(uuid) if self.opened.contains_key(uuid) => {
                Ok(self.encrypted_contents.get(uuid).cloned().unwrap_or_default())
            }
            Target::Opened(uuid) => Err(Impossible(format!("{uuid} is not open"))),
            Target::Logical { group, volume } => {
                let made =
                    self.groups.get(group).and_then(|group| group.volumes.get(volume)).filter(|made| made.is_active);
                let made = made.ok_or_else(|| Impossible(format!("{volume} in {group} is not active")))?;
                Ok(made.signatures.clone())
            }
        }
    }

    fn must_be_unused(&self, on: &Target) -> Result<(), Impossible> {
        let used = self.mounts.iter().chain(&self.links).find(|(place, _)| place == on);
        used.map_or(Ok(()), |(_, at)| Err(Impossible(format!("it is in use at {at}"))))
    }

    /// What nobody uses yet may be written to: its partition, or all those of its array, are of type *provisioning*.
    fn must_be_made(&self, on: &Target) -> Result<(), Impossible> {
        match on {
            Target::Partition(partition) => self.must_be_provisioning(partition),
            Target::Array(uuid) => {
                self.must_be_writable(uuid)?;
                let (_, members) = self.running.get(uuid).cloned().unwrap_or_default();
                members.iter().try_for_each(|m| self.must_be_provisioning(m))
            }
            Target::Logical { group, volume } => {
                let made = self.groups.get(group).and_then(|group| group.volumes.get(volume));
                match made.is_some_and(|made| made.tags.contains(&lvm::MAKING.to_owned())) {
                    true => Ok(()),
                    false => Err(Impossible(format!("{volume} in {group} is not being made"))),
                }
            }
            Target::Opened(uuid) => match self.opened.get(uuid) {
                Some(place) => self.must_be_made(place),
                None => Err(Impossible(format!("{uuid} is not open"))),
            },
        }
    }

    fn must_be_writable(&self, array: &Uuid) -> Result<(), Impossible> {
        let members = self.running.get(array).map(|(_, members)| &members[..]).unwrap_or_default();
        let at_work = members.iter().filter(|m| !self.faulty.contains(m)).filter_map(|m| self.superblock(m));
        if self.read_only.contains(array) || md::lacks_journal(&at_work.collect::<Vec<_>>()) {
            return Err(Impossible(format!("nothing can be written to array {array}")));
        }
        Ok(())
    }

    fn entry_kind(&self, at: &PartitionRef) -> Result<Uuid, Impossible> {
        let table = self.disk(&at.disk)?.table();
        let entry = table.usable().and_then(|t| t.by_guid(&at.guid)).filter(|e| e.start == at.start);
        entry.map(|e| e.kind).ok_or_else(|| Impossible(format!("{} has no partition {}", at.disk, at.number)))
    }

    fn must_be_provisioning(&self, at: &PartitionRef) -> Result<(), Impossible> {
        if self.entry_kind(at)? == kind::PROVISIONING {
            Ok(())
        } else {
            Err(Impossible(format!("partition {} of {} is not being provisioned", at.number, at.disk)))
        }
    }
}

fn is_header(signature: &Signature, uuid: &Uuid) -> bool {
    signature.kind == luks::HEADER && signature.uuid == Some(uuid.to_string())
}
