//! Blank, ours, ours half-made, or foreign: decided layer by layer from evidence, never from a guess.
//!
//! Ours is exact: a table is ours when it equals, entry for entry, the one we would write on that very disk, whose
//! GUIDs follow from its serial number. Fragments are ours when each of their sectors has the bytes
//! that we would write there. Everything else that is not blank is foreign.

use crate::inventory::{Device, Signature};
use on_disk::gpt::{Copy, ProtectiveMbr, Table, layout};

/// The tables that a disk of ours can carry: while its inside is being made, and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// With our partition of type *provisioning*.
    pub provisioning: Table,
    /// With our partition of its final type.
    pub done: Table,
    /// Others by which our partition is of type *provisioning*, too.
    pub others: Vec<Table>,
}

/// How far a table of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The inside is being made; nothing on it counts yet.
    Provisioning,
    /// The inside was verified; it holds data.
    Done,
}

/// Whose disk it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// No signature, and nothing in the places that were looked at.
    Blank,
    /// Nothing but sectors that we would write there ourselves.
    HalfWritten,
    /// A table of ours.
    Ours {
        /// How far it is.
        phase: Phase,
        /// Whether both copies and the protective MBR say the same and are in their places.
        whole: bool,
    },
    /// Something recognised that is not ours, in words.
    Foreign(String),
    /// Data without a signature, in words.
    UnknownData(String),
}

/// Whose `device` is, if it may carry one of the `wanted` tables as a whole disk.
pub fn standing(device: &Device, wanted: &Wanted) -> Standing {
    let foreign: Vec<String> = device.signatures.iter().filter(|s| !s.is_gpt()).map(Signature::words).collect();
    if !foreign.is_empty() {
        return Standing::Foreign(device.holds().join(", "));
    }
    if device.table.mbr == ProtectiveMbr::Other {
        let beside = device.holds().into_iter().map(|holds| format!(", {holds}"));
        return Standing::Foreign(format!("an MBR with partitions or a boot sector{}", beside.collect::<String>()));
    }
    let sound: Vec<&Table> =
        [&device.table.primary, &device.table.backup].into_iter().filter_map(Copy::table).collect();
    if !sound.is_empty() {
        if sound.iter().any(|t| **t != wanted.provisioning && **t != wanted.done && !wanted.others.contains(t)) {
            return Standing::Foreign(device.holds().join(", "));
        }
        let phase = if sound.contains(&&wanted.done) { Phase::Done } else { Phase::Provisioning };
        return Standing::Ours { phase, whole: is_whole(device) };
    }
    // A header with a signature and a wrong checksum is no table any more, and still somebody's.
    let damaged = [&device.table.primary, &device.table.backup].into_iter().any(|c| matches!(c, Copy::Broken(_)));
    let of_others = |what: String| {
        if damaged { Standing::Foreign(device.table.to_string()) } else { Standing::UnknownData(what) }
    };
    if !device.rest.is_blank() {
        return of_others(rest_words(device));
    }
    if device.ends.is_empty() {
        return Standing::Blank;
    }
    match unexplained(device, &[&wanted.provisioning]) {
        None => Standing::HalfWritten,
        Some(offset) => of_others(format!("data without a signature, at byte {offset}")),
    }
}

/// Both copies sound and equal, the backup at the disk's end, the protective MBR there.
pub fn is_whole(device: &Device) -> bool {
    device.table.agreed().is_some() && device.table.backup_at_end && device.table.mbr == ProtectiveMbr::Protective
}

/// The first sector of the table's two places that is neither blank nor as one of `tables` would have it.
pub fn unexplained(device: &Device, tables: &[&Table]) -> Option<u64> {
    let writes: Vec<_> = tables.iter().filter_map(|t| layout(t, device.size).ok()).flatten().collect();
    let explained = |offset: u64, bytes: &[u8]| {
        writes.iter().any(|write| {
            let at = offset.checked_sub(write.offset).and_then(|at| usize::try_from(at).ok());
            at.and_then(|at| write.bytes.get(at..at + bytes.len())) == Some(bytes)
        })
    };
    device.ends.iter().find(|s| !explained(s.offset, &s.bytes)).map(|s| s.offset)
}

fn rest_words(device: &Device) -> String {
    match device.rest {
        crate::inventory::Rest::Data { offset } => format!("data without a signature, at byte {offset}"),
        _ => "data that could not be looked at".into(),
    }
}

/// What is inside a layer of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inside {
    /// Nothing recognised.
    Nothing,
    /// Just what we would make there.
    Ours,
    /// Something else, in words.
    Other(String),
}

/// Compares the signatures inside a layer with the one that belongs there.
pub fn inside(signatures: &[Signature], kind: &str, uuid: &uuid::Uuid) -> Inside {
    let is_ours = |s: &Signature| s.kind == kind && s.is_of(uuid);
    match signatures {
        [] => Inside::Nothing,
        all if all.iter().all(is_ours) => Inside::Ours,
        all => Inside::Other(all.iter().map(Signature::words).collect::<Vec<_>>().join(", ")),
    }
}
