//! A model of disks that a plan's actions are applied to, write by write, so that the power can be cut at each.
//!
//! The model knows what survives a power cut (sectors of partition tables, what partitions hold) and what does not
//! (running arrays, mounts). It refuses what the tools would refuse, a file system over a foreign signature, and
//! what the kernel would refuse, a partition that is not in a table. [`Model::inventory`] shows it as observing would,
//! with the permits that are at hand and were not used.

use crate::erase::Erase;
use crate::graph::{Action, PartitionRef, Target};
use crate::inventory::{
    BootDisk, Device, Inventory, MdMember, Partition, Remembered, Rest, RunningArray, Sector, Signature, Uses,
};
use crate::layer::{filesystem, md};
use machine_config::permit::Granted;
use machine_config::schema::{Level, WriteHole};
use on_disk::gpt::{Copy, Found, ProtectiveMbr, SectorSize, kind, layout, read};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Disks with content, and what runs on them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    disks: Vec<ModelDisk>,
    boot: Option<BootDisk>,
    /// What each array holds, whether it runs or not.
    array_contents: BTreeMap<Uuid, Vec<Signature>>,
    running: BTreeMap<Uuid, (String, Vec<PartitionRef>)>,
    /// Which of them were started so that nothing is written to them.
    read_only: BTreeSet<Uuid>,
    /// Members of arrays that run which these call faulty.
    faulty: Vec<PartitionRef>,
    mounts: Vec<(Target, String)>,
    /// What the agent has kept of where members were.
    pub remembered: Vec<Remembered>,
    /// Permits that are at hand.
    permits: Vec<Granted>,
    /// Permits that were used, as the state partition has it noted.
    used: BTreeSet<Uuid>,
}

/// One disk of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelDisk {
    /// What it is; what it holds is shown from the fields below.
    pub device: Device,
    /// Sectors in the places of a partition table.
    pub sectors: BTreeMap<u64, Vec<u8>>,
    /// What lies in partitions, by first byte.
    pub areas: BTreeMap<u64, Area>,
    /// Counts the writes to it.
    pub written: usize,
}

/// What a partition holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Area {
    /// Signatures.
    pub signatures: Vec<Signature>,
    /// md superblock.
    pub md: Option<MdMember>,
}

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
    /// A partition's file system is written.
    Filesystem(PartitionRef, Signature),
    /// What an array holds is replaced.
    ArrayHolds(Uuid, Vec<Signature>),
    /// An array starts; read-only, where that is said.
    Run(Uuid, String, Vec<PartitionRef>, bool),
    /// A file system is mounted.
    Mounted(Target, String),
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

/// An action that the tools or the kernel would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impossible(pub String);

impl Model {
    /// A model of these disks, each described by what it is; nothing is on them.
    pub fn blank(devices: Vec<Device>, boot: Option<BootDisk>) -> Model {
        let disks = devices
            .into_iter()
            .map(|device| ModelDisk { device, sectors: BTreeMap::new(), areas: BTreeMap::new(), written: 0 })
            .collect();
        Model { disks, boot, ..Model::default() }
    }

    /// A model of a machine as it was observed.
    ///
    /// What observing does not show is not in it: what lies in a partition without a signature, and partitions that the
    /// kernel does not show.
    pub fn of(inventory: &Inventory) -> Model {
        let (boot, remembered) = (inventory.boot.clone(), inventory.remembered.clone());
        let permits = inventory.permits.clone();
        let mut model = Model { boot, remembered, permits, ..Model::default() };
        for device in &inventory.devices {
            let sectors = device.ends.iter().map(|sector| (sector.offset, sector.bytes.clone())).collect();
            let area = |p: &Partition| (p.start, Area { signatures: p.signatures.clone(), md: p.md.clone() });
            let areas = device.partitions.iter().map(area).filter(|(_, area)| *area != Area::default()).collect();
            let bare = Device { ends: Vec::new(), partitions: Vec::new(), ..device.clone() };
            model.disks.push(ModelDisk { device: bare, sectors, areas, written: 0 });
        }
        let all = inventory.devices.iter().flat_map(|d| d.partitions.iter().map(move |p| (place(d, p), p)));
        let all: Vec<(PartitionRef, &Partition)> = all.collect();
        let mounted = |on: &Target, uses: &Uses| -> Vec<(Target, String)> {
            uses.mounts.iter().map(|at| (on.clone(), at.clone())).collect()
        };
        for (at, partition) in &all {
            model.mounts.extend(mounted(&Target::Partition(at.clone()), &partition.uses));
        }
        for array in &inventory.arrays {
            let Some(uuid) = array.uuid else { continue };
            let members = all.iter().filter(|(_, p)| p.uses.holders.contains(&array.name));
            let name = members.clone().find_map(|(_, p)| Some(p.md.as_ref()?.name.clone())).unwrap_or_default();
            let failed = members.clone().filter(|(_, p)| array.failed.contains(&p.name));
            model.faulty.extend(failed.map(|(at, _)| at.clone()));
            model.running.insert(uuid, (name, members.map(|(at, _)| at.clone()).collect()));
            model.array_contents.insert(uuid, array.signatures.clone());
            model.read_only.extend(array.read_only.then_some(uuid));
            model.mounts.extend(mounted(&Target::Array(uuid), &array.uses));
        }
        model
    }

    /// The disk with this kernel name, to lay something on it.
    pub fn disk_mut(&mut self, name: &str) -> Option<&mut ModelDisk> {
        self.disks.iter_mut().find(|d| d.device.name == name)
    }

    /// All disks, to alter what is on them.
    pub fn disks_mut(&mut self) -> &mut [ModelDisk] {
        &mut self.disks
    }

    /// The disks.
    pub fn disks(&self) -> &[ModelDisk] {
        &self.disks
    }

    /// Takes a disk out. An array that runs on it has it as failed, and another disk of the same name is not it.
    pub fn pull(&mut self, name: &str) {
        self.disks.retain(|d| d.device.name != name);
        let mut lost = Vec::new();
        for (uuid, (_, members)) in &mut self.running {
            for member in members.iter_mut().filter(|member| member.disk == name) {
                member.disk.push_str(" that is gone");
                lost.push(*uuid);
            }
        }
        self.faulty.retain(|member| member.disk != name);
        lost.iter().for_each(|uuid| self.note(uuid));
    }

    /// Puts a disk back in with all that was on it.
    pub fn put_back(&mut self, disk: ModelDisk) {
        self.disks.push(disk);
    }

    /// Puts a permit where the node finds it.
    pub fn grant(&mut self, permit: Granted) {
        self.permits.push(permit);
    }

    /// Takes all permits away.
    pub fn revoke(&mut self) {
        self.permits.clear();
    }

    /// What is left after a power cut: nothing runs, nothing is mounted.
    pub fn power_cut(&mut self) {
        self.running.clear();
        self.read_only.clear();
        self.faulty.clear();
        self.mounts.clear();
    }

    /// The effects of an action, in the order in which they happen.
    ///
    /// # Errors
    /// When the action would be refused by the tool or the kernel.
    pub fn effects(&self, action: &Action) -> Result<Vec<Effect>, Impossible> {
        match action {
            Action::Erase { disk, erase } => self.erase(disk, erase),
            Action::WriteTable { disk, table, .. } => {
                let device = &self.disk(disk)?.device;
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
            Action::CreateArray { uuid, name, level, members, spares, write_hole, remake, .. } => {
                let wanted = members.len().saturating_sub(usize::try_from(*spares).unwrap_or(usize::MAX));
                let mut effects = Vec::new();
                for (role, member) in (0u16..).zip(members) {
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
                        needs: members.iter().map(|m| m.size).min().unwrap_or(0),
                        number: role,
                        positions: (0..u16::try_from(wanted).unwrap_or(u16::MAX)).map(Some).collect(),
                        bitmap_since: (*level != 0 && *write_hole == WriteHole::Bitmap).then_some(17),
                    };
                    effects.push(Effect::Superblock(member.clone(), md));
                }
                effects.push(Effect::Run(*uuid, name.clone(), members.clone(), false));
                Ok(effects)
            }
            Action::AssembleArray { uuid, name, members, read_only, .. } => {
                let of_array =
                    |m: &PartitionRef| self.area(m).and_then(|a| a.md.as_ref()).is_some_and(|md| md.array == *uuid);
                let of_it = members.iter().filter(|m| of_array(m));
                let newest = self.most_recent(of_it.clone());
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
                if to.role.is_some() {
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
                let in_use = self.at_work(uuid, name, member).is_ok_and(|md| md.role.is_some());
                let (_, members) = self.running.get(uuid).ok_or_else(|| Impossible(format!("{name} does not run")))?;
                if in_use || !members.contains(member) {
                    return Err(Impossible(format!("{} can't leave {name}", member.disk)));
                }
                Ok(vec![Effect::Left(*uuid, member.clone())])
            }
            Action::MakeFilesystem { on, format, uuid, .. } => {
                let made =
                    Signature { kind: filesystem::kind(*format).into(), uuid: Some(uuid.to_string()), label: None };
                let found = self.signatures(on)?;
                if let Some(other) = found.iter().find(|s| s.kind != made.kind || s.uuid != made.uuid) {
                    return Err(Impossible(format!("would overwrite {}", other.words())));
                }
                Ok(match on {
                    Target::Partition(partition) => {
                        self.must_be_provisioning(partition)?;
                        vec![Effect::Clear(partition.clone()), Effect::Filesystem(partition.clone(), made)]
                    }
                    Target::Array(uuid) => {
                        self.must_be_writable(uuid)?;
                        let members = self.running.get(uuid).map(|(_, m)| m.clone()).unwrap_or_default();
                        members.iter().try_for_each(|m| self.must_be_provisioning(m))?;
                        vec![Effect::ArrayHolds(*uuid, Vec::new()), Effect::ArrayHolds(*uuid, vec![made])]
                    }
                })
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

    /// Lets an effect happen.
    pub fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Sector { disk, offset, bytes, .. } => {
                if let Some(disk) = self.disk_mut(&disk) {
                    disk.written += 1;
                    disk.sectors.insert(offset, bytes);
                }
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
            Effect::Filesystem(at, signature) => self.change(&at, |area| area.signatures = vec![signature]),
            Effect::ArrayHolds(uuid, signatures) => {
                let members = self.running.get(&uuid).map(|(_, m)| m.clone()).unwrap_or_default();
                members.iter().for_each(|m| self.change(m, |_| ()));
                self.array_contents.insert(uuid, signatures);
            }
            Effect::Run(uuid, name, members, read_only) => {
                self.running.insert(uuid, (name, members));
                self.read_only.extend(read_only.then_some(uuid));
            }
            Effect::Mounted(on, at) => self.mounts.push((on, at)),
            Effect::Zeroed(disk, trace) => {
                let Some(disk) = self.disk_mut(&disk) else { return };
                disk.written += 1;
                match trace {
                    Trace::Signature(signature) => disk.device.signatures.retain(|s| *s != signature),
                    Trace::Area(at) => drop(disk.areas.remove(&at)),
                    Trace::Sector(at) => drop(disk.sectors.remove(&at)),
                    Trace::Rest => disk.device.rest = Rest::Zero,
                }
            }
            Effect::Used(permit) => drop(self.used.insert(permit)),
        }
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
    fn note(&mut self, uuid: &Uuid) {
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

    /// Puts a disk in.
    pub fn plug(&mut self, device: Device) {
        self.disks.push(ModelDisk { device, sectors: BTreeMap::new(), areas: BTreeMap::new(), written: 0 });
    }

    /// Carries out every step.
    ///
    /// # Errors
    /// The first step that would be refused.
    pub fn carry_out(&mut self, plan: &crate::Plan) -> Result<(), Impossible> {
        for step in &plan.graph.steps {
            for effect in self.effects(&step.action)? {
                self.apply(effect);
            }
        }
        Ok(())
    }

    /// The model as observing would show it.
    pub fn inventory(&self) -> Inventory {
        let devices = self.disks.iter().map(|d| self.device(d)).collect();
        let arrays = self
            .running
            .iter()
            .zip((0..=127).rev())
            .map(|((uuid, (_, members)), minor)| RunningArray {
                name: format!("md{minor}"),
                uuid: Some(*uuid),
                level: self.superblock_of(members).map(|md| format!("raid{}", md.level)).unwrap_or_default(),
                members: self.names(members, |md| md.is_some_and(|md| md.role.is_some() && !md.recovering)),
                spares: self.names(members, |md| md.is_some_and(|md| md.role.is_none() || md.recovering)),
                failed: self.names(members, |md| md.is_none()),
                wanted: self.superblock_of(members).map(|md| md.members).unwrap_or_default(),
                read_only: self.read_only.contains(uuid),
                sync_action: if self.recovers(members) { "recover" } else { "idle" }.into(),
                sync_progress: None,
                mismatches: 0,
                signatures: self.array_contents.get(uuid).cloned().unwrap_or_default(),
                uses: Uses { mounts: self.mounts_of(&Target::Array(*uuid)), ..Uses::default() },
            })
            .collect();
        let remembered = self.remembered.clone();
        let permits = self.permits.iter().filter(|g| !self.used.contains(&g.permit.id)).cloned().collect();
        let (boot, controllers) = (self.boot.clone(), Vec::new());
        Inventory { devices, arrays, boot, root_in_memory: false, remembered, controllers, permits }
    }

    fn recovers(&self, members: &[PartitionRef]) -> bool {
        let mut at_work = members.iter().filter(|m| !self.faulty.contains(m)).filter_map(|m| self.superblock(m));
        at_work.any(|md| md.recovering)
    }

    /// The superblock of a member of an array that runs, which does not call it faulty.
    fn at_work(&self, uuid: &Uuid, name: &str, member: &PartitionRef) -> Result<&MdMember, Impossible> {
        let is_in = self.running.get(uuid).is_some_and(|(_, members)| members.contains(member));
        let there = self.superblock(member).filter(|_| is_in && !self.faulty.contains(member));
        there.ok_or_else(|| Impossible(format!("{} is not in {name}", member.disk)))
    }

    /// Of an array's members those whose superblock is so; a faulty one counts as one without.
    fn names(&self, members: &[PartitionRef], is: impl Fn(Option<&MdMember>) -> bool) -> Vec<String> {
        let of_it = members.iter().filter(|m| is(self.superblock(m).filter(|_| !self.faulty.contains(m))));
        of_it.map(|m| partition_name(&m.disk, m.number)).collect()
    }

    fn mounts_of(&self, target: &Target) -> Vec<String> {
        let same = |t: &Target| match (t, target) {
            (Target::Partition(a), Target::Partition(b)) => (&a.disk, a.start) == (&b.disk, b.start),
            _ => t == target,
        };
        self.mounts.iter().filter(|(t, _)| same(t)).map(|(_, at)| at.clone()).collect()
    }

    fn device(&self, disk: &ModelDisk) -> Device {
        let mut device = disk.device.clone();
        device.table = disk.table();
        let blank = |bytes: &[u8]| bytes.iter().all(|b| *b == 0) || bytes.iter().all(|b| *b == 0xff);
        device.ends = disk
            .sectors
            .iter()
            .filter(|(_, bytes)| !blank(bytes))
            .map(|(offset, bytes)| Sector { offset: *offset, bytes: bytes.clone() })
            .collect();
        if device.table.usable().is_some() {
            device.rest = Rest::NotProbed;
        }
        if device.table.mbr == ProtectiveMbr::Absent {
            device.partitions = Vec::new();
            return device;
        }
        let table = device.table.usable().cloned();
        let entries = table.iter().flat_map(|t| &t.partitions);
        device.partitions = entries
            .map(|entry| {
                let area = disk.areas.get(&entry.start).cloned().unwrap_or_default();
                let (disk, number, start) = (device.name.clone(), entry.number, entry.start);
                let at = PartitionRef { disk, number, start, size: entry.size, guid: entry.guid };
                let holds =
                    |(_, m): &&(String, Vec<PartitionRef>)| m.iter().any(|m| m.disk == at.disk && m.start == at.start);
                let held = self.running.values().zip((0..=127).rev()).find(|(r, _)| holds(r));
                Partition {
                    number: entry.number,
                    name: partition_name(&device.name, entry.number),
                    start: entry.start,
                    size: entry.size,
                    signatures: area.signatures,
                    md: area.md,
                    uses: Uses {
                        holders: held.map(|(_, minor)| format!("md{minor}")).into_iter().collect(),
                        mounts: self.mounts_of(&Target::Partition(at)),
                        ..Uses::default()
                    },
                }
            })
            .collect();
        device
    }

    fn disk(&self, name: &str) -> Result<&ModelDisk, Impossible> {
        self.disks.iter().find(|d| d.device.name == name).ok_or_else(|| Impossible(format!("{name} is not there")))
    }

    fn area(&self, at: &PartitionRef) -> Option<&Area> {
        self.disk(&at.disk).ok()?.areas.get(&at.start)
    }

    fn superblock(&self, member: &PartitionRef) -> Option<&MdMember> {
        self.area(member)?.md.as_ref()
    }

    /// The member by which mdadm judges the others: the first of those with a place that know most (its Assemble.c).
    fn most_recent<'m>(&self, members: impl Iterator<Item = &'m PartitionRef>) -> Option<&MdMember> {
        let placed = members.filter_map(|m| self.superblock(m)).filter(|md| md.role.is_some());
        placed.fold(None, |most: Option<&MdMember>, md| most.filter(|most| most.events >= md.events).or(Some(md)))
    }

    fn superblock_of(&self, members: &[PartitionRef]) -> Option<&MdMember> {
        members.iter().find_map(|m| self.superblock(m))
    }

    fn change(&mut self, at: &PartitionRef, change: impl FnOnce(&mut Area)) {
        if let Some(disk) = self.disk_mut(&at.disk) {
            disk.written += 1;
            change(disk.areas.entry(at.start).or_default());
        }
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
        }
    }

    fn must_be_writable(&self, array: &Uuid) -> Result<(), Impossible> {
        if self.read_only.contains(array) { Err(Impossible(format!("array {array} is read-only"))) } else { Ok(()) }
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

/// The kernel's name for a partition: `sda1`, but `nvme0n1p1`.
fn partition_name(disk: &str, number: u32) -> String {
    let between = if disk.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{between}{number}")
}

/// Where a partition is, with its GUID as the table tells it.
fn place(device: &Device, partition: &Partition) -> PartitionRef {
    let entries = device.table.usable().map(|table| &table.partitions[..]).unwrap_or_default();
    let guid = entries.iter().find(|entry| entry.number == partition.number).map_or(Uuid::nil(), |entry| entry.guid);
    let (number, start, size) = (partition.number, partition.start, partition.size);
    PartitionRef { disk: device.name.clone(), number, start, size, guid }
}

impl ModelDisk {
    /// Its table, read as from a disk.
    pub fn table(&self) -> Found {
        let absent =
            || Found { mbr: ProtectiveMbr::Absent, primary: Copy::Absent, backup: Copy::Absent, backup_at_end: true };
        let Some(sector) = SectorSize::from_bytes(u64::from(self.device.logical_sector)) else { return absent() };
        // Whoever wrote may have taken the sectors for shorter ones.
        let read_at = |offset: u64, length: usize| -> Result<Vec<u8>, std::convert::Infallible> {
            let mut bytes = vec![0; length];
            for (at, written) in self.sectors.range(offset..offset + length as u64) {
                let to = bytes.iter_mut().skip(usize::try_from(at - offset).unwrap_or(length));
                to.zip(written).for_each(|(to, byte)| *to = *byte);
            }
            Ok(bytes)
        };
        match read(self.device.size, sector, read_at) {
            Ok(found) => found,
            Err(never) => match never {},
        }
    }
}
