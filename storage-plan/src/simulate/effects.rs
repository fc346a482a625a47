//! The smallest things that happen to disks and arrays, and what the kernel makes of them by itself.

use super::{Area, Model, ModelGroup, ModelLogical};
use crate::action::{GroupPlace, LogicalPlace, PartitionRef, Target};
use crate::inventory::{MdMember, Rest, Signature};
use crate::layer::lvm::{self, Room, Shape};
use crate::layer::{luks, md};
use std::collections::BTreeSet;
use uuid::Uuid;

/// The smallest thing that happens to a disk or not.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// One sector of a table is written.
    Sector {
        /// Kernel name of the disk.
        disk: String,
        /// Where, in bytes.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
        /// What was written before it has reached the medium when this effect has.
        flush: bool,
    },
    /// What the partition of the first disk holds is copied into the same place on the second.
    Copied(String, String, u64),
    /// A partition is cleared.
    Clear(PartitionRef),
    /// An md superblock is written.
    Superblock(PartitionRef, MdMember),
    /// An array that runs takes a partition in, and notes so on all its members.
    Joined(Uuid, PartitionRef),
    /// An array that runs takes a member back, and notes so on all its members.
    Returned(Uuid, PartitionRef),
    /// An array that runs begins to copy the first partition onto the second, and notes so on all its members.
    Copying(Uuid, PartitionRef, PartitionRef),
    /// A partition leaves an array that runs, which notes so on all others.
    Left(Uuid, PartitionRef),
    /// An array that runs takes up all that its members have room for, and notes so on them.
    Enlarged(Uuid),
    /// The file system on an array that runs fills it.
    Fills(Uuid),
    /// What a partition, an array or an encrypted volume that is open holds is replaced.
    Holds(Target, Vec<Signature>),
    /// A LUKS header with this UUID is written, with a new key: nothing that was encrypted can be read any more.
    Encrypted(Target, Uuid),
    /// A key for the TPM is added to the LUKS header in this place.
    Sealed(Target),
    /// An encrypted volume is opened, by the UUID of its header.
    Opened(Target, Uuid),
    /// A volume group is noted on a physical volume.
    Grouped(String, Vec<GroupPlace>, PartitionRef),
    /// A volume is in a group, with these tags and nothing in it; or is no more.
    Cut(LogicalPlace, Option<(Shape, u64)>),
    /// A volume of a group gets this tag, beside the one that says whose it is.
    Tagged(LogicalPlace, String),
    /// A volume of a group is so many extents larger, and tagged so; what it holds is not.
    Grown(LogicalPlace, u64),
    /// What a volume of a group holds fills all of it, and it is tagged as made and no more.
    Filled(LogicalPlace),
    /// The kernel shows a volume of a group.
    Active(LogicalPlace),
    /// An array starts; read-only, where that is said.
    Run(Uuid, String, Vec<PartitionRef>, bool),
    /// A file system is mounted.
    Mounted(Target, String),
    /// A path leads to a raw volume.
    Linked(Target, String),
    /// Something that was on a disk is zeroed.
    Zeroed(String, Trace),
    /// It is noted on the state partition that a permit was used.
    Used(Uuid),
}

/// What a disk of the model holds, piece by piece.
#[derive(Debug, Clone, PartialEq)]
pub enum Trace {
    /// A signature on the whole disk.
    Signature(Signature),
    /// What lies in the partition that begins at this byte.
    Area(u64),
    /// A sector in the places of a table.
    Sector(u64),
    /// Everything else.
    Rest,
}

impl Model {
    /// Lets an effect happen.
    pub fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Sector { disk, offset, bytes, .. } => {
                if let Some(disk) = self.disk_mut(&disk) {
                    disk.written += 1;
                    disk.sectors.insert(offset, bytes);
                }
            }
            Effect::Copied(from, disk, start) => {
                let area = self.disk(&from).ok().and_then(|from| from.areas.get(&start).cloned());
                let Some(disk) = self.disk_mut(&disk) else { return };
                disk.written += 1;
                disk.areas.insert(start, area.unwrap_or_default());
            }
            Effect::Clear(at) => self.change(&at, |area| *area = Area::default()),
            Effect::Superblock(at, md) => self.change(&at, |area| {
                area.signatures =
                    vec![Signature { kind: md::MEMBER.into(), uuid: Some(md.array.to_string()), label: None }];
                area.md = Some(md);
            }),
            Effect::Joined(uuid, at) => self.join(&uuid, at),
            Effect::Returned(uuid, at) => {
                self.running.entry(uuid).or_default().1.push(at.clone());
                self.change(&at, |area| area.md.iter_mut().for_each(|md| md.recovering = true));
                self.note(&uuid);
            }
            Effect::Copying(uuid, from, onto) => {
                let role = self.superblock(&from).and_then(|md| md.role);
                self.change(&onto, |area| {
                    area.md.iter_mut().for_each(|md| (md.role, md.recovering, md.replaces) = (role, true, true));
                });
                self.note(&uuid);
            }
            Effect::Left(uuid, at) => {
                self.running.values_mut().for_each(|(_, members)| members.retain(|member| *member != at));
                self.faulty.retain(|member| *member != at);
                self.note(&uuid);
            }
            Effect::Enlarged(uuid) => {
                let (_, members) = self.running.get(&uuid).cloned().unwrap_or_default();
                let more = members.iter().filter_map(|m| self.superblock(m)).map(|md| md.room).min().unwrap_or(0);
                let take = |md: &mut MdMember| (md.needs, md.room) = (md.needs + more, md.room - more);
                members.iter().for_each(|m| self.change(m, |area| area.md.iter_mut().for_each(take)));
                self.note(&uuid);
            }
            Effect::Fills(uuid) => self.fill_up(&uuid),
            Effect::Holds(on, signatures) => self.hold(&on, signatures),
            Effect::Encrypted(on, uuid) => {
                let header = Signature { kind: luks::HEADER.into(), uuid: Some(uuid.to_string()), label: None };
                self.hold(&on, vec![header]);
                self.encrypted_contents.insert(uuid, Vec::new());
            }
            Effect::Sealed(on) => {
                if let Target::Partition(at) = &on {
                    self.change(at, |_| ());
                }
            }
            Effect::Opened(on, uuid) => drop(self.opened.insert(uuid, on)),
            Effect::Grouped(name, members, at) => {
                self.change(&at, |area| area.group = Some(name.clone()));
                let room = Room(members.iter().map(|m| lvm::extents_of(m.at.size)).collect());
                self.groups.insert(name, ModelGroup { members, room, ..ModelGroup::default() });
            }
            Effect::Cut(volume, made) => self.cut(&volume, made),
            Effect::Tagged(volume, tag) => {
                self.note_on_group(&volume.group);
                if let Some(logical) = self.logical_mut(&volume.group, &volume.name) {
                    logical.tags = vec![lvm::tag(&volume.uuid), tag];
                }
            }
            Effect::Grown(volume, more) => self.grow(&volume, more),
            Effect::Filled(volume) => {
                self.note_on_group(&volume.group);
                if let Some(logical) = self.logical_mut(&volume.group, &volume.name) {
                    logical.filled = logical.extents;
                    logical.tags.retain(|tag| tag != lvm::GROWING);
                }
            }
            Effect::Active(volume) => {
                self.logical_mut(&volume.group, &volume.name).into_iter().for_each(|logical| logical.is_active = true);
            }
            Effect::Run(uuid, name, members, read_only) => {
                self.running.insert(uuid, (name, members));
                self.read_only.extend(read_only.then_some(uuid));
            }
            Effect::Mounted(on, at) => self.mounts.push((on, at)),
            Effect::Linked(on, at) => self.links.push((on, at)),
            Effect::Zeroed(disk, trace) => {
                let Some(disk) = self.disk_mut(&disk) else { return };
                disk.written += 1;
                match trace {
                    Trace::Signature(signature) => disk.device.signatures.retain(|s| *s != signature),
                    Trace::Area(at) => drop(disk.areas.remove(&at)),
                    Trace::Sector(at) => drop(disk.sectors.remove(&at)),
                    Trace::Rest => (disk.device.rest, disk.device.locked) = (Rest::Zero, false),
                }
            }
            Effect::Used(permit) => drop(self.used.insert(permit)),
        }
    }

    /// Replaces what a place holds. What is encrypted in it is closed before, if it is open.
    fn hold(&mut self, on: &Target, signatures: Vec<Signature>) {
        self.opened.retain(|_, place| place != on);
        match on {
            Target::Partition(at) => self.change(at, |area| *area = Area { signatures, ..Area::default() }),
            Target::Array(uuid) => {
                let members = self.running.get(uuid).map(|(_, m)| m.clone()).unwrap_or_default();
                members.iter().for_each(|m| self.change(m, |_| ()));
                self.array_contents.insert(*uuid, signatures);
                self.array_filled.insert(*uuid, self.array_size(&members));
            }
            Target::Logical { group, volume } => {
                self.note_on_group(group);
                self.logical_mut(group, volume)
                    .into_iter()
                    .for_each(|logical| logical.signatures.clone_from(&signatures));
            }
            Target::Opened(uuid) => {
                let members = match self.opened.get(uuid).cloned() {
                    Some(Target::Partition(at)) => vec![at],
                    Some(Target::Array(array)) => self.running.get(&array).map(|(_, m)| m.clone()).unwrap_or_default(),
                    Some(Target::Logical { group, .. }) => self.members_of(&group),
                    Some(Target::Opened(_)) | None => Vec::new(),
                };
                members.iter().for_each(|m| self.change(m, |_| ()));
                self.encrypted_contents.insert(*uuid, signatures);
            }
        }
    }

    fn fill_up(&mut self, array: &Uuid) {
        let (_, members) = self.running.get(array).cloned().unwrap_or_default();
        members.iter().for_each(|m| self.change(m, |_| ()));
        self.array_filled.insert(*array, self.array_size(&members));
    }

    /// Makes a volume in a group, active and with nothing in it; or removes it.
    fn cut(&mut self, at: &LogicalPlace, made: Option<(Shape, u64)>) {
        self.note_on_group(&at.group);
        let Some(group) = self.groups.get_mut(&at.group) else { return };
        if let Some(old) = group.volumes.remove(&at.name) {
            group.room.give_back(&old.taken);
        }
        let Some((shape, extents)) = made else { return };
        let taken = group.room.take(&shape, extents).unwrap_or_default();
        let (tags, signatures) = (vec![lvm::tag(&at.uuid), lvm::MAKING.to_owned()], Vec::new());
        let filled = extents;
        let logical = ModelLogical { shape, extents, taken, filled, tags, signatures, is_active: true };
        group.volumes.insert(at.name.clone(), logical);
    }

    fn grow(&mut self, at: &LogicalPlace, more: u64) {
        self.note_on_group(&at.group);
        let Some(group) = self.groups.get_mut(&at.group) else { return };
        let Some(logical) = group.volumes.get_mut(&at.name) else { return };
        let taken = group.room.take(&logical.shape, more).unwrap_or_default();
        logical.taken.iter_mut().zip(taken).for_each(|(all, more)| *all += more);
        logical.extents += more;
        if !logical.tags.iter().any(|tag| tag == lvm::GROWING) {
            logical.tags.push(lvm::GROWING.to_owned());
        }
    }

    fn logical_mut(&mut self, group: &str, volume: &str) -> Option<&mut ModelLogical> {
        self.groups.get_mut(group)?.volumes.get_mut(volume)
    }

    pub(super) fn members_of(&self, group: &str) -> Vec<PartitionRef> {
        self.groups.get(group).map(|group| group.members.iter().map(|m| m.at.clone()).collect()).unwrap_or_default()
    }

    /// Writes to the members of a group.
    fn note_on_group(&mut self, group: &str) {
        self.members_of(group).iter().for_each(|at| self.change(at, |_| ()));
    }

    fn join(&mut self, uuid: &Uuid, at: PartitionRef) {
        let Some((_, members)) = self.running.get_mut(uuid) else { return };
        members.push(at.clone());
        let members = members.clone();
        let works = |m: &&PartitionRef| !self.faulty.contains(m);
        let known: Vec<&MdMember> = members.iter().filter(works).filter_map(|m| self.superblock(m)).collect();
        let taken: BTreeSet<u16> = known.iter().filter_map(|md| md.role).collect();
        let wanted = known.iter().map(|md| md.members).max().unwrap_or(0);
        let role = (0..u16::try_from(wanted).unwrap_or(u16::MAX)).find(|role| !taken.contains(role));
        self.change(&at, |area| {
            area.md.iter_mut().for_each(|md| (md.role, md.recovering) = (role, role.is_some()));
        });
        self.note(uuid);
    }

    /// Has an array that runs note its state on all members but those that are faulty.
    pub(super) fn note(&mut self, uuid: &Uuid) {
        let members = self.running.get(uuid).map(|(_, members)| members.clone()).unwrap_or_default();
        let members: Vec<PartitionRef> = members.into_iter().filter(|m| !self.faulty.contains(m)).collect();
        let known: Vec<MdMember> = members.iter().filter_map(|m| self.superblock(m)).cloned().collect();
        let events = known.iter().map(|md| md.events).max().unwrap_or(0) + 1;
        let mut positions = Vec::new();
        for md in known.iter().filter(|md| md.role.is_some()) {
            let number = usize::from(md.number);
            positions.resize(positions.len().max(number + 1), None);
            positions[number] = md.role;
        }
        let journal = known.iter().find(|md| md.is_journal()).map(|md| md.number);
        // As long as a member is away, the bitmap forgets nothing.
        let is_whole = known.first().is_some_and(|md| {
            md::filled(&known.iter().collect::<Vec<_>>()).len() >= usize::try_from(md.members).unwrap_or(usize::MAX)
        });
        let since = known.iter().map(|md| md.bitmap_since).max().flatten();
        let since = since.map(|since| if is_whole { events } else { since });
        for member in &members {
            self.change(member, |area| {
                area.md.iter_mut().for_each(|md| {
                    (md.events, md.positions, md.bitmap_since) = (events, positions.clone(), since);
                    md.journal = journal;
                });
            });
        }
    }

    /// Lets something be written to every array that runs.
    pub fn serve(&mut self) {
        let running: Vec<Uuid> = self.running.keys().copied().collect();
        running.iter().for_each(|uuid| self.note(uuid));
    }

    /// Lets every rebuild and every copy of the arrays that run come to its end. What was copied is faulty then.
    pub fn fill(&mut self) {
        for (uuid, (_, members)) in self.running.clone() {
            let new: Vec<PartitionRef> =
                members.iter().filter(|m| self.superblock(m).is_some_and(|md| md.recovering)).cloned().collect();
            for at in &new {
                let (role, replaces) = self.superblock(at).map_or((None, false), |md| (md.role, md.replaces));
                let has_place = |m: &&PartitionRef| *m != at && self.superblock(m).is_some_and(|md| md.role == role);
                let copied: Vec<PartitionRef> =
                    members.iter().filter(|_| replaces).filter(has_place).cloned().collect();
                self.faulty.extend(copied);
                self.change(at, |area| {
                    area.md.iter_mut().for_each(|md| (md.recovering, md.replaces) = (false, false));
                });
            }
            // Once that the copy is whole, and once that what was copied has no place any more.
            for _ in &new {
                self.note(&uuid);
                self.note(&uuid);
            }
        }
    }

    fn change(&mut self, at: &PartitionRef, change: impl FnOnce(&mut Area)) {
        if let Some(disk) = self.disk_mut(&at.disk) {
            disk.written += 1;
            change(disk.areas.entry(at.start).or_default());
        }
    }
}
