//! The model as observing would show it.

use super::{Model, ModelDisk};
use crate::graph::{PartitionRef, Target};
use crate::inventory::{Device, Inventory, MdMember, Opened, Partition, Rest, RunningArray, Sector, Uses};
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
                spares: self.names(members, |md| md.is_some_and(|md| md.role.is_none() || md.recovering)),
                failed: self.names(members, |md| md.is_none()),
                wanted: self.superblock_of(members).map(|md| md.members).unwrap_or_default(),
                read_only: self.read_only.contains(uuid),
                sync_action: if self.recovers(members) { "recover" } else { "idle" }.into(),
                sync_progress: None,
                mismatches: 0,
                signatures: self.array_contents.get(uuid).cloned().unwrap_or_default(),
                uses: self.uses_of(&Target::Array(*uuid)),
            })
            .collect();
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
        Inventory { devices, arrays, opened, boot, root_in_memory: false, remembered, controllers, keys, permits }
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
