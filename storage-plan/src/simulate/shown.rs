//! The model as observing would show it.

use super::{Model, ModelDisk, ModelGroup, ModelLogical, logical_target};
use crate::action::{GroupPlace, PartitionRef, Target};
use crate::inventory::{
    Device, GroupMember, Inventory, LogicalVolume, MdMember, Opened, Partition, Rest, RunningArray, Sector, Uses,
    VolumeGroup,
};
use crate::layer::lvm::{self, Shape};
use on_disk::gpt::ProtectiveMbr;

impl Model {
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
                spares: self
                    .names(members, |md| md.is_some_and(|md| (md.role.is_none() && !md.is_journal()) || md.recovering)),
                failed: self.names(members, |md| md.is_none()),
                journaled: self.superblock_of(members).is_some_and(|md| md.journaled),
                journal: self.names(members, |md| md.is_some_and(MdMember::is_journal)).pop(),
                wanted: self.superblock_of(members).map(|md| md.members).unwrap_or_default(),
                read_only: self.read_only.contains(uuid),
                sync_action: if self.recovers(members) { "recover" } else { "idle" }.into(),
                sync_progress: None,
                size: self.array_size(members),
                filled: self.array_filled.get(uuid).copied(),
                mismatches: 0,
                signatures: self.array_contents.get(uuid).cloned().unwrap_or_default(),
                uses: self.uses_of(&Target::Array(*uuid)),
            })
            .collect();
        let groups = self.groups.iter().filter_map(|(name, group)| self.group(name, group)).collect();
        let opened = self.opened.keys().zip(0..).map(|(uuid, minor)| Opened {
            name: mapping(minor),
            uuid: *uuid,
            signatures: self.encrypted_contents.get(uuid).cloned().unwrap_or_default(),
            uses: self.uses_of(&Target::Opened(*uuid)),
        });
        let opened = opened.collect();
        let remembered = self.remembered.clone();
        let permits = self.permits.iter().filter(|g| !self.used.contains(&g.permit.id)).cloned().collect();
        let (boot, controllers) = (self.boot.clone(), Vec::new());
        let keys = self.keys;
        Inventory {
            devices,
            arrays,
            groups,
            opened,
            boot,
            root_in_memory: false,
            remembered,
            controllers,
            keys,
            permits,
        }
    }

    /// A group, if one of its members that are there tells of it.
    fn group(&self, name: &str, group: &ModelGroup) -> Option<VolumeGroup> {
        let member = |(member, free): (&GroupPlace, &u64)| {
            let device = || partition_name(&member.at.disk, member.at.number);
            GroupMember {
                uuid: lvm::id(&member.uuid),
                device: (self.is_in(&member.at, name) && self.is_shown(&member.at)).then(device),
                extents: lvm::extents_of(member.at.size),
                free: *free,
            }
        };
        let members: Vec<GroupMember> = group.members.iter().zip(&group.room.0).map(member).collect();
        let is_there = members.iter().any(|m| m.device.is_some());
        let lacks = |made: &ModelLogical| made.taken.iter().zip(&members).any(|(n, m)| *n > 0 && m.device.is_none());
        let volume = |(volume, made): (&String, &ModelLogical)| LogicalVolume {
            name: volume.clone(),
            size: made.extents * lvm::EXTENT,
            tags: made.tags.clone(),
            layout: made.shape.layout().into(),
            over: made.shape.over(),
            pool: if let Shape::Thin(pool) = &made.shape { Some(pool.clone()) } else { None },
            lacks_member: lacks(made),
            mapping: made.is_active.then(|| self.shows(name, volume)),
            signatures: if made.is_active { made.signatures.clone() } else { Vec::new() },
            uses: self.uses_of(&logical_target(name, volume)),
        };
        let volumes: Vec<LogicalVolume> = group.volumes.iter().map(volume).collect();
        let mappings = volumes.iter().filter_map(|v| v.mapping.clone()).collect();
        let (name, uuid) = (name.to_owned(), format!("model-{name}"));
        is_there.then_some(VolumeGroup { name, uuid, extent: lvm::EXTENT, members, volumes, mappings })
    }

    /// Whether the kernel shows the partition.
    fn is_shown(&self, at: &PartitionRef) -> bool {
        let disk = self.disks.iter().find(|d| d.device.name == at.disk);
        disk.is_some_and(|disk| self.device(disk).partition(at.number).is_some_and(|p| p.start == at.start))
    }

    /// The kernel's name for what shows a volume of a group, behind those for what is encrypted.
    fn shows(&self, group: &str, volume: &str) -> String {
        let all = self.groups.iter().flat_map(|(g, made)| made.volumes.keys().map(move |v| (g.as_str(), v.as_str())));
        mapping(64 + all.take_while(|at| *at != (group, volume)).count())
    }

    fn recovers(&self, members: &[PartitionRef]) -> bool {
        let mut at_work = members.iter().filter(|m| !self.faulty.contains(m)).filter_map(|m| self.superblock(m));
        at_work.any(|md| md.recovering)
    }

    /// Of an array's members those whose superblock is so; a faulty one counts as one without.
    fn names(&self, members: &[PartitionRef], is: impl Fn(Option<&MdMember>) -> bool) -> Vec<String> {
        let of_it = members.iter().filter(|m| is(self.superblock(m).filter(|_| !self.faulty.contains(m))));
        of_it.map(|m| partition_name(&m.disk, m.number)).collect()
    }

    /// Without the arrays that are built on it.
    fn uses_of(&self, target: &Target) -> Uses {
        let same = |t: &Target| match (t, target) {
            (Target::Partition(a), Target::Partition(b)) => (&a.disk, a.start) == (&b.disk, b.start),
            _ => t == target,
        };
        let of = |all: &[(Target, String)]| all.iter().filter(|(t, _)| same(t)).map(|(_, at)| at.clone()).collect();
        let open = self.opened.values().zip(0..).filter(|(place, _)| same(place));
        let holders = open.map(|(_, minor)| mapping(minor)).collect();
        Uses { holders, mounts: of(&self.mounts), links: of(&self.links), ..Uses::default() }
    }

    /// The kernel's names for active volumes of a group that lie on this partition.
    fn shown_on(&self, at: &PartitionRef) -> Vec<String> {
        let mut names = Vec::new();
        for (name, group) in &self.groups {
            let Some(member) = group.members.iter().position(|m| (&m.at.disk, m.at.start) == (&at.disk, at.start))
            else {
                continue;
            };
            let on = group
                .volumes
                .iter()
                .filter(|(_, made)| made.is_active && made.taken.get(member).is_some_and(|n| *n > 0));
            names.extend(on.map(|(volume, _)| self.shows(name, volume)));
        }
        names
    }

    pub(super) fn device(&self, disk: &ModelDisk) -> Device {
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
                let mut uses = self.uses_of(&Target::Partition(at.clone()));
                uses.holders.extend(held.map(|(_, minor)| format!("md{minor}")));
                uses.holders.extend(self.shown_on(&at));
                Partition {
                    number: entry.number,
                    name: partition_name(&device.name, entry.number),
                    start: entry.start,
                    size: entry.size,
                    signatures: area.signatures,
                    md: area.md,
                    uses,
                }
            })
            .collect();
        device
    }
}

/// The kernel's name for what device mapper shows.
fn mapping(minor: usize) -> String {
    format!("dm-{minor}")
}

/// The kernel's name for a partition: `sda1`, but `nvme0n1p1`.
fn partition_name(disk: &str, number: u32) -> String {
    let between = if disk.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{between}{number}")
}
