//! Arrays: who is a member, and how whole the array is.

use crate::graph::PartitionRef;
use crate::inventory::{Device, MdMember, Partition, RunningArray};
use crate::ownership::{Phase, Wanted};
use uuid::Uuid;

/// libblkid's word for a member.
pub const MEMBER: &str = "linux_raid_member";

/// A disk that carries our table for the array.
#[derive(Debug, Clone)]
pub struct Carrier<'a> {
    /// The disk.
    pub device: &'a Device,
    /// Its tables.
    pub wanted: Wanted,
    /// How far its table is.
    pub phase: Phase,
    /// Whether its table needs no repair.
    pub whole: bool,
    /// Its partition.
    pub partition: PartitionRef,
}

impl<'a> Carrier<'a> {
    /// The partition as the kernel shows it; none while the protective MBR is missing.
    pub fn seen(&self) -> Option<&'a Partition> {
        self.device.partition(self.partition.number).filter(|p| p.start == self.partition.start)
    }

    /// Its superblock, if it is one of the array `uuid`.
    pub fn superblock(&self, uuid: &Uuid) -> Option<&'a MdMember> {
        self.seen()?.md.as_ref().filter(|md| md.array == *uuid)
    }
}

/// How many of an array's members are in it: the running array knows best, then the freshest superblocks.
pub fn present(carriers: &[&Carrier<'_>], uuid: &Uuid, running: Option<&RunningArray>) -> u32 {
    if let Some(running) = running {
        return u32::try_from(running.members.len()).unwrap_or(u32::MAX);
    }
    let events = |c: &&&Carrier<'_>| c.superblock(uuid).map(|md| md.events);
    let newest = carriers.iter().filter_map(|c| events(&c)).max();
    // A member that is behind is left out by the kernel until it has caught up.
    let fresh = carriers.iter().filter(|c| newest.is_some_and(|n| events(c).is_some_and(|e| e + 1 >= n))).count();
    u32::try_from(fresh).unwrap_or(u32::MAX)
}
