//! md: what a member's superblock tells, and arrays that run.

use super::{Signature, Uses};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Facts of an md superblock of version 1.x.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MdMember {
    /// The array's UUID.
    pub array: Uuid,
    /// This member's UUID.
    pub member: Uuid,
    /// The array's name, as written there.
    pub name: String,
    /// RAID level.
    pub level: i32,
    /// Members of the whole array.
    pub members: u32,
    /// Position in the array; none for a spare or a failed member.
    pub role: Option<u16>,
    /// Event counter: a member with a lower one has missed writes.
    pub events: u64,
    /// Whether the array was stopped cleanly and its last sync had ended.
    pub clean: bool,
    /// Whether this member was still being filled with its part of the data.
    #[serde(default)]
    pub recovering: bool,
    /// Whether it takes over from the member that has the same position: it is copied from that one while both serve.
    #[serde(default)]
    pub replaces: bool,
    /// Whether the array keeps a partial parity log, which closes the write hole of RAID 5.
    #[serde(default)]
    pub ppl: bool,
    /// Whether the array has a journal on a disk of its own, which closes the write hole; also while it lacks it.
    #[serde(default)]
    pub journaled: bool,
    /// The number of the disk that is its journal, as this member knows it; none when that has failed or is not there.
    #[serde(default)]
    pub journal: Option<u16>,
    /// Bytes that a member must have from its partition's start to the end of its data; 0 when that was not looked at.
    #[serde(default)]
    pub needs: u64,
    /// Bytes that it has room for beside those that the array uses of it.
    #[serde(default)]
    pub room: u64,
    /// This member's number among all disks that the array has and had.
    #[serde(default)]
    pub number: u16,
    /// The positions of the array's disks by number, as this member knows them; none for a spare and for one that is not in
    /// it. Nothing when that was not looked at.
    #[serde(default)]
    pub positions: Vec<Option<u16>>,
    /// How far back the write-intent bitmap on this member tells what was written: a member that has missed nothing before
    /// this event can be brought up to date by it. None without a bitmap.
    #[serde(default)]
    pub bitmap_since: Option<u64>,
}

impl MdMember {
    /// Whether it is the journal itself, and holds none of the array's data.
    pub fn is_journal(&self) -> bool {
        self.journal == Some(self.number)
    }
}

/// An md array that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunningArray {
    /// Kernel name in this boot (`md127`).
    pub name: String,
    /// Its UUID, if it has one.
    pub uuid: Option<Uuid>,
    /// RAID level as the kernel says it (`raid1`).
    pub level: String,
    /// Kernel names of its working members.
    pub members: Vec<String>,
    /// Kernel names of those that stand by or are being filled.
    #[serde(default)]
    pub spares: Vec<String>,
    /// Kernel names of those that failed, or whose disks are gone.
    #[serde(default)]
    pub failed: Vec<String>,
    /// Whether it has a journal on a disk of its own, also while it lacks it.
    #[serde(default)]
    pub journaled: bool,
    /// Kernel name of its journal, while that works.
    #[serde(default)]
    pub journal: Option<String>,
    /// Members it should have.
    pub wanted: u32,
    /// Whether it was started so that nothing is written to it.
    #[serde(default)]
    pub read_only: bool,
    /// What it is doing (`idle`, `resync`, `recover`).
    pub sync_action: String,
    /// How far that is, in sectors done and of all.
    pub sync_progress: Option<(u64, u64)>,
    /// Bytes; 0 when that was not looked at.
    #[serde(default)]
    pub size: u64,
    /// How many of them the file system on it fills, as it says itself; none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filled: Option<u64>,
    /// How many sectors of its members told different things when it was last read through.
    #[serde(default)]
    pub mismatches: u64,
    /// Signatures on the array.
    pub signatures: Vec<Signature>,
    /// What uses it.
    pub uses: Uses,
}

impl RunningArray {
    /// Whether its journal has failed or is gone: nothing can be written to it any more.
    pub fn lacks_journal(&self) -> bool {
        self.journaled && self.journal.is_none()
    }

    /// Whether the file system on it fills it, but for what it may have no use for: XFS wants 16 MiB for one more allocation
    /// group.
    pub fn is_filled(&self) -> bool {
        self.filled.is_none_or(|filled| filled + (20 << 20) > self.size)
    }
}
