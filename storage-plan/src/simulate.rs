//! A model of disks that a plan's actions are applied to, write by write, so that the power can be cut at each.
//!
//! The model knows what survives a power cut (sectors of partition tables, what partitions hold) and what does not
//! (running arrays, mounts). It refuses what the tools would refuse, a file system over a foreign signature, and
//! what the kernel would refuse, a partition that is not in a table. [`Model::inventory`] shows it as observing would,
//! with the permits that are at hand and were not used.

mod effects;
mod shown;
mod steps;

pub use effects::{Effect, Trace};

use crate::action::{GroupPlace, PartitionRef, Target};
use crate::inventory::{
    BootDisk, Device, GroupMember, Inventory, Keys, LogicalVolume, MdMember, Partition, Remembered, Signature,
    VolumeGroup,
};
use crate::layer::lvm::{self, Room, Shape};
use machine_config::permit::Granted;
use on_disk::gpt::{Copy, Found, ProtectiveMbr, SectorSize, read};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Disks with content, and what runs on them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    disks: Vec<ModelDisk>,
    boot: Option<BootDisk>,
    /// What each array holds, whether it runs or not.
    array_contents: BTreeMap<Uuid, Vec<Signature>>,
    /// How many bytes of each array its file system fills.
    array_filled: BTreeMap<Uuid, u64>,
    running: BTreeMap<Uuid, (String, Vec<PartitionRef>)>,
    /// Volume groups by name, whether what tells of them is there or not.
    groups: BTreeMap<String, ModelGroup>,
    /// What each encrypted volume holds, whether it is open or not, by the UUID of its LUKS header.
    encrypted_contents: BTreeMap<Uuid, Vec<Signature>>,
    /// Where those are that are open.
    opened: BTreeMap<Uuid, Target>,
    /// Which of them were started so that nothing is written to them.
    read_only: BTreeSet<Uuid>,
    /// Members of arrays that run which these call faulty.
    faulty: Vec<PartitionRef>,
    mounts: Vec<(Target, String)>,
    /// Paths that lead to raw volumes.
    links: Vec<(Target, String)>,
    /// What the agent has kept of where members were.
    pub remembered: Vec<Remembered>,
    /// What is at hand to open encrypted volumes with.
    pub keys: Keys,
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
    /// The volume group that is noted on it.
    pub group: Option<String>,
}

/// A volume group of the model.
#[derive(Debug, Clone, Default, PartialEq)]
struct ModelGroup {
    members: Vec<GroupPlace>,
    /// Extents that are free on each of them.
    room: Room,
    volumes: BTreeMap<String, ModelLogical>,
}

/// A volume of a group of the model.
#[derive(Debug, Clone, PartialEq)]
struct ModelLogical {
    shape: Shape,
    extents: u64,
    /// What it takes of each member.
    taken: Vec<u64>,
    /// How much of it the file system in it fills.
    filled: u64,
    tags: Vec<String>,
    signatures: Vec<Signature>,
    /// Whether the kernel shows it.
    is_active: bool,
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
        let (permits, keys) = (inventory.permits.clone(), inventory.keys);
        let mut model = Model { boot, remembered, keys, permits, ..Model::default() };
        for device in &inventory.devices {
            let sectors = device.ends.iter().map(|sector| (sector.offset, sector.bytes.clone())).collect();
            let area = |p: &Partition| {
                (p.start, Area { signatures: p.signatures.clone(), md: p.md.clone(), group: group_on(inventory, p) })
            };
            let areas = device.partitions.iter().map(area).filter(|(_, area)| *area != Area::default()).collect();
            let bare = Device { ends: Vec::new(), partitions: Vec::new(), ..device.clone() };
            model.disks.push(ModelDisk { device: bare, sectors, areas, written: 0 });
        }
        let all = inventory.devices.iter().flat_map(|d| d.partitions.iter().map(move |p| (place(d, p), p)));
        let all: Vec<(PartitionRef, &Partition)> = all.collect();
        let at = |on: &Target, places: &[String]| -> Vec<(Target, String)> {
            places.iter().map(|at| (on.clone(), at.clone())).collect()
        };
        for (place, partition) in &all {
            let on = Target::Partition(place.clone());
            model.mounts.extend(at(&on, &partition.uses.mounts));
            model.links.extend(at(&on, &partition.uses.links));
        }
        for array in &inventory.arrays {
            let Some(uuid) = array.uuid else { continue };
            let members = all.iter().filter(|(_, p)| p.uses.holders.contains(&array.name));
            let name = members.clone().find_map(|(_, p)| Some(p.md.as_ref()?.name.clone())).unwrap_or_default();
            let failed = members.clone().filter(|(_, p)| array.failed.contains(&p.name));
            model.faulty.extend(failed.map(|(at, _)| at.clone()));
            model.running.insert(uuid, (name, members.map(|(at, _)| at.clone()).collect()));
            model.array_contents.insert(uuid, array.signatures.clone());
            if let Some(filled) = array.filled {
                let members = model.running.get(&uuid).map(|(_, members)| members.clone()).unwrap_or_default();
                let lacks = array.size.saturating_sub(filled);
                model.array_filled.insert(uuid, model.array_size(&members).saturating_sub(lacks));
            }
            model.read_only.extend(array.read_only.then_some(uuid));
            model.mounts.extend(at(&Target::Array(uuid), &array.uses.mounts));
            model.links.extend(at(&Target::Array(uuid), &array.uses.links));
        }
        for group in &inventory.groups {
            model.add_group(group, &all);
        }
        for opened in &inventory.opened {
            let shows = Target::Opened(opened.uuid);
            let partition = all.iter().find(|(_, p)| p.uses.holders.contains(&opened.name));
            let array = inventory.arrays.iter().find(|a| a.uses.holders.contains(&opened.name)).and_then(|a| a.uuid);
            let logical = inventory.groups.iter().flat_map(|g| g.volumes.iter().map(move |v| (g, v)));
            let mut logical = logical.filter(|(_, v)| v.uses.holders.contains(&opened.name));
            let logical = logical.next().map(|(g, v)| logical_target(&g.name, &v.name));
            let on = partition.map(|(at, _)| Target::Partition(at.clone())).or(array.map(Target::Array)).or(logical);
            model.opened.extend(on.map(|on| (opened.uuid, on)));
            model.encrypted_contents.insert(opened.uuid, opened.signatures.clone());
            model.mounts.extend(at(&shows, &opened.uses.mounts));
            model.links.extend(at(&shows, &opened.uses.links));
        }
        model
    }

    fn add_group(&mut self, group: &VolumeGroup, all: &[(PartitionRef, &Partition)]) {
        let members = group.members.iter().filter_map(|member| {
            let (at, _) = all.iter().find(|(_, p)| member.device.as_ref() == Some(&p.name))?;
            Some((GroupPlace { at: at.clone(), uuid: lvm::uuid(&member.uuid)? }, member.free))
        });
        let (members, room): (Vec<GroupPlace>, Vec<u64>) = members.unzip();
        let mut made = ModelGroup { members, room: Room(room), volumes: BTreeMap::new() };
        let is_on = |member: &GroupMember, volume: &LogicalVolume| {
            let at = all.iter().find(|(_, p)| member.device.as_ref() == Some(&p.name));
            at.zip(volume.mapping.as_ref()).is_some_and(|((_, p), mapping)| p.uses.holders.contains(mapping))
        };
        for volume in &group.volumes {
            let Some(shape) = Shape::of(volume) else { continue };
            let on = logical_target(&group.name, &volume.name);
            self.mounts.extend(volume.uses.mounts.iter().map(|at| (on.clone(), at.clone())));
            self.links.extend(volume.uses.links.iter().map(|at| (on.clone(), at.clone())));
            let logical = ModelLogical {
                shape,
                extents: lvm::extents(volume.size),
                filled: lvm::extents(volume.size),
                // How much of each member is not shown; whose it is on is, while it is active.
                taken: group.members.iter().map(|member| u64::from(is_on(member, volume))).collect(),
                tags: volume.tags.clone(),
                signatures: volume.signatures.clone(),
                is_active: volume.mapping.is_some(),
            };
            made.volumes.insert(volume.name.clone(), logical);
        }
        self.groups.insert(group.name.clone(), made);
    }

    /// How much of its volume in this group the file system fills, and how large the volume is, in extents.
    pub fn filled(&self, group: &str, volume: &str) -> Option<(u64, u64)> {
        let made = self.groups.get(group)?.volumes.get(volume)?;
        Some((made.filled, made.extents))
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
        self.groups.values_mut().flat_map(|g| g.volumes.values_mut()).for_each(|v| v.is_active = false);
        self.opened.clear();
        self.mounts.clear();
        self.links.clear();
    }

    /// The power goes, and the node is started from the disk with this kernel name.
    pub fn start_from(&mut self, name: &str) {
        self.power_cut();
        self.boot.iter_mut().for_each(|boot| boot.disk = name.to_owned());
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

    fn disk(&self, name: &str) -> Result<&ModelDisk, Impossible> {
        self.disks.iter().find(|d| d.device.name == name).ok_or_else(|| Impossible(format!("{name} is not there")))
    }

    fn area(&self, at: &PartitionRef) -> Option<&Area> {
        self.disk(&at.disk).ok()?.areas.get(&at.start)
    }

    fn superblock(&self, member: &PartitionRef) -> Option<&MdMember> {
        self.area(member)?.md.as_ref()
    }

    /// Bytes of an array of these members; where the data of a member begins is left out.
    fn array_size(&self, members: &[PartitionRef]) -> u64 {
        let Some(md) = self.superblock_of(members) else { return 0 };
        let wanted = u64::from(md.members);
        match md.level {
            0 => md.needs * wanted,
            5 => md.needs * wanted.saturating_sub(1),
            6 => md.needs * wanted.saturating_sub(2),
            10 => md.needs * wanted / 2,
            _ => md.needs,
        }
    }

    fn superblock_of(&self, members: &[PartitionRef]) -> Option<&MdMember> {
        members.iter().filter_map(|m| self.superblock(m)).find(|md| !md.is_journal())
    }
}

/// The group that the partition is in, as it is noted on it.
fn group_on(inventory: &Inventory, partition: &Partition) -> Option<String> {
    let is_it = |m: &GroupMember| m.device.as_ref() == Some(&partition.name);
    inventory.groups.iter().find(|group| group.members.iter().any(is_it)).map(|group| group.name.clone())
}

fn logical_target(group: &str, volume: &str) -> Target {
    Target::Logical { group: group.to_owned(), volume: volume.to_owned() }
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
