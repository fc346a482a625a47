//! Arrays: who is a member, and how whole the array is.

use crate::action::PartitionRef;
use crate::inventory::{Device, MdMember, Partition, RunningArray};
use crate::ownership::{Phase, Wanted};
use machine_config::schema::Level;
use std::collections::BTreeSet;
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

/// Superblocks of the array `uuid` that tell of its latest state. One that is behind has missed writes, and the kernel
/// leaves its member out until it has caught up.
pub fn fresh<'a>(carriers: &[&Carrier<'a>], uuid: &Uuid) -> Vec<&'a MdMember> {
    let all = carriers.iter().filter_map(|c| c.superblock(uuid));
    let newest = newest(all.clone());
    all.filter(|md| newest.is_some_and(|newest| counts_beside(md, newest))).collect()
}

/// The superblock that knows most. A member that is being filled never ran without the others; so where it is ahead by the
/// one event that no other has noted, and says itself that they are all in the array, it is one of them.
pub fn newest<'a>(all: impl Iterator<Item = &'a MdMember> + Clone) -> Option<&'a MdMember> {
    let most = all.clone().max_by_key(|md| (md.events, !md.recovering))?;
    let full = all.filter(|md| !md.recovering && md.events + 1 >= most.events);
    let is_one_of_them = most.recovering && full.clone().all(|md| knows(most, md));
    full.filter(|_| is_one_of_them).max_by_key(|md| md.events).or(Some(most))
}

/// Whether a member with this superblock counts beside the one that knows most. The last event may have reached some and not
/// the others, unless it was that this one has no place any more (the kernel's `super_1_validate`). One that knows of nobody in
/// the place of the other has run without it (mdadm's Assemble). One that is being filled and is ahead counts if the other
/// has noted its place. A journal is one only as long as the others say so, too: they note when it has failed.
pub fn counts_beside(md: &MdMember, newest: &MdMember) -> bool {
    let has_room = newest.role.is_none() || md.positions.is_empty() || md.positions.contains(&newest.role);
    let is_ahead = md.events > newest.events;
    let fits = md.events == newest.events || (md.events.abs_diff(newest.events) == 1 && knows(newest, md));
    let is_told = !md.is_journal() || newest.journal == md.journal;
    has_room && fits && is_told && (!is_ahead || md.recovering)
}

/// Whether what `md` knows of the array gives `other` the place that it has.
pub fn knows(md: &MdMember, other: &MdMember) -> bool {
    md.positions.is_empty() || md.positions.get(usize::from(other.number)).copied().flatten() == other.role
}

/// Whether these superblocks are of an array that has a journal, and that is not among them.
pub fn lacks_journal(fresh: &[&MdMember]) -> bool {
    fresh.iter().any(|md| md.journaled) && !fresh.iter().any(|md| md.is_journal())
}

/// Whether this member got its place by an event that the one that knows most has not noted: it is being filled, and the
/// array runs without it. mdadm would take its word and leave all others out.
pub fn is_unknown(md: &MdMember, newest: &MdMember) -> bool {
    md.recovering && md.events > newest.events && !knows(newest, md)
}

/// The places of an array that `fresh` members fill with all their data; spares and those that are being filled have none.
pub fn filled(fresh: &[&MdMember]) -> BTreeSet<u16> {
    fresh.iter().filter(|md| !md.recovering).filter_map(|md| md.role).collect()
}

/// The places of a running array whose members work; none when that can't be told of each of them.
pub fn working(carriers: &[&Carrier<'_>], uuid: &Uuid, running: &RunningArray) -> Option<BTreeSet<u16>> {
    let role = |name: &String| {
        let carrier = carriers.iter().find(|c| c.seen().is_some_and(|p| p.name == *name))?;
        carrier.superblock(uuid)?.role
    };
    running.members.iter().map(role).collect()
}

/// How many of an array's members are in it: the running array knows best, then the freshest superblocks.
pub fn present(fresh: &[&MdMember], running: Option<&RunningArray>) -> u32 {
    let count = running.map_or_else(|| filled(fresh).len(), |running| running.members.len());
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Whether the members in these places have all the data of an array of `wanted` members (md(4)).
///
/// Level 10 is in its layout `near=2`, which is mdadm's own: copies lie on neighbours, around the end where the number
/// is odd.
pub fn is_complete(level: Level, wanted: u32, filled: &BTreeSet<u16>) -> bool {
    let there = filled.iter().filter(|role| u32::from(**role) < wanted).count();
    let lacking = usize::try_from(wanted).unwrap_or(usize::MAX).saturating_sub(there);
    match level {
        Level::Raid0 => lacking == 0,
        Level::Raid1 => there > 0,
        Level::Raid5 => lacking <= 1,
        Level::Raid6 => lacking <= 2,
        Level::Raid10 => {
            let has = |role: u32| u16::try_from(role).is_ok_and(|role| filled.contains(&role));
            let first = (0..wanted).filter(|role| wanted % 2 == 1 || role % 2 == 0);
            first.into_iter().all(|role| has(role) || has((role + 1) % wanted))
        }
    }
}

/// How many of its members an array of `wanted` can have lost and still run, whichever they are.
pub fn can_lose(level: Level, wanted: u32) -> u32 {
    match level {
        Level::Raid0 => 0,
        Level::Raid1 => wanted.saturating_sub(1),
        Level::Raid5 => 1,
        Level::Raid6 => 2,
        // One of each pair of neighbours; that it still runs says that it was not both.
        Level::Raid10 => wanted / 2,
    }
}

/// The least bytes of a partition that is to become a member: what the superblocks tell, or else the smallest member's.
pub fn least(members: &[&Carrier<'_>], fresh: &[&MdMember]) -> u64 {
    let told = fresh.iter().map(|md| md.needs).max().unwrap_or(0);
    if told > 0 { told } else { members.iter().map(|c| c.partition.size).min().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(level: Level, wanted: u32, roles: &[u16]) -> bool {
        is_complete(level, wanted, &roles.iter().copied().collect())
    }

    #[test]
    fn each_level_stands_the_loss_that_it_is_made_for() {
        assert!(complete(Level::Raid0, 2, &[0, 1]) && !complete(Level::Raid0, 2, &[0]));
        assert!(complete(Level::Raid1, 3, &[2]) && !complete(Level::Raid1, 3, &[]));
        assert!(complete(Level::Raid5, 3, &[0, 2]) && !complete(Level::Raid5, 3, &[1]));
        assert!(complete(Level::Raid6, 4, &[0, 3]) && !complete(Level::Raid6, 4, &[1]));
        assert!(complete(Level::Raid10, 4, &[0, 3]) && complete(Level::Raid10, 4, &[1, 2]));
        assert!(!complete(Level::Raid10, 4, &[0, 1]) && !complete(Level::Raid10, 4, &[2, 3]));
        // Of five every two neighbours hold a copy of the same.
        assert!(complete(Level::Raid10, 5, &[0, 2, 4]) && complete(Level::Raid10, 5, &[1, 2, 4]));
        assert!(!complete(Level::Raid10, 5, &[0, 3, 4]) && !complete(Level::Raid10, 5, &[1, 2, 3]));
    }
}
