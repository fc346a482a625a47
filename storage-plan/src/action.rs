//! The actions of a plan, on named devices.

use crate::erase::{self, Erase};
use crate::layer::lvm::{self, Shape};
use machine_config::schema::{Encrypt, Format, Mkfs, WriteHole};
use on_disk::gpt::{Partition, Table};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A partition, by where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PartitionRef {
    /// Kernel name of the disk in the inventory that was planned on.
    pub disk: String,
    /// Number in the table.
    pub number: u32,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Its GUID.
    pub guid: Uuid,
}

/// What a volume lies on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A partition.
    Partition(PartitionRef),
    /// An array, by UUID: its kernel name is known only once it runs.
    Array(Uuid),
    /// What an encrypted volume shows once it is open, by the UUID of its LUKS header.
    Opened(Uuid),
    /// A volume of a volume group: its kernel name is known only once it is active.
    Logical {
        /// Name of the group.
        group: String,
        /// Name of the volume.
        volume: String,
    },
}

/// A physical volume of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GroupPlace {
    /// Where it is.
    pub at: PartitionRef,
    /// Its UUID.
    pub uuid: Uuid,
}

/// A volume in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LogicalPlace {
    /// Name of the group.
    pub group: String,
    /// Where its physical volumes are: LVM is shown these, and nothing else.
    pub members: Vec<PartitionRef>,
    /// Name of the volume.
    pub name: String,
    /// What its tag says whose it is.
    pub uuid: Uuid,
}

impl LogicalPlace {
    /// The volume, to put something on it.
    pub fn target(&self) -> Target {
        Target::Logical { group: self.group.clone(), volume: self.name.clone() }
    }
}

/// One thing to do. Those that write a disk name it and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Zeroes a disk that a permit gives leave to erase, and sees that it is blank then.
    Erase {
        /// Kernel name of the disk.
        disk: String,
        /// By what right, and how.
        erase: Box<Erase>,
    },
    /// Writes both copies of a table.
    WriteTable {
        /// Kernel name of the disk.
        disk: String,
        /// The table.
        table: Table,
        /// The partitions in it that volumes are on: the kernel is to show them then.
        partitions: Vec<PartitionRef>,
    },
    /// Copies the partitions of the image that the node runs onto another disk, byte for byte, into partitions that are all of
    /// type *provisioning*, and sees that they are the same then.
    CopyImage {
        /// Kernel name of the disk that the node was started from; nothing is written to it.
        from: String,
        /// Kernel name of the disk.
        disk: String,
        /// The partitions: in the same places on both.
        partitions: Vec<Partition>,
    },
    /// Makes an array of partitions that are all of type *provisioning*.
    CreateArray {
        /// Its UUID.
        uuid: Uuid,
        /// Name in the superblock.
        name: String,
        /// RAID level.
        level: u8,
        /// Members; the last of them are the spares.
        members: Vec<PartitionRef>,
        /// How many spares there are.
        spares: u32,
        /// Bytes of a chunk, if it is not mdadm's own.
        chunk: Option<u64>,
        /// How it keeps what a power cut may leave untrue; of no matter for level 0.
        write_hole: WriteHole,
        /// The partition of the journal, where it keeps one; of type *provisioning* like the members.
        journal: Option<PartitionRef>,
        /// What an interrupted run left on the members has to be wiped first.
        remake: bool,
    },
    /// Starts an array from its members. Writes no data.
    AssembleArray {
        /// Its UUID.
        uuid: Uuid,
        /// Name in the superblock.
        name: String,
        /// Members that are there, and its journal behind them.
        members: Vec<PartitionRef>,
        /// How many it should have.
        wanted: u32,
        /// Whether nothing may be written to it: parity that may not be true is then no matter.
        read_only: bool,
    },
    /// Gives a running array that lacks a member, or a spare, a partition of type *provisioning*. What failed in the array
    /// leaves it before. It ends when the kernel has noted on the partition that it belongs to the array, not when it is
    /// filled.
    AddMember {
        /// The array's UUID.
        uuid: Uuid,
        /// Name in the superblock.
        name: String,
        /// The new member.
        member: PartitionRef,
        /// What an interrupted run left on it has to be wiped first.
        remake: bool,
    },
    /// Gives a running array a member back that was away, and whose place is still empty. It ends when the kernel has noted so
    /// on it; what was written meanwhile is copied by the array's write-intent bitmap.
    ReturnMember {
        /// The array's UUID.
        uuid: Uuid,
        /// Name in the superblock.
        name: String,
        /// The member.
        member: PartitionRef,
    },
    /// Has a running array copy a member that works onto one that stands by, while both serve. It ends when the kernel has
    /// noted so on the latter, not when the copy is whole; then the former is out of the array.
    CopyMember {
        /// The array's UUID.
        uuid: Uuid,
        /// Name in the superblock.
        name: String,
        /// The member that works.
        member: PartitionRef,
        /// The one that takes over from it.
        onto: PartitionRef,
    },
    /// Lets a member leave a running array that does not need it: one that was copied, or one that stands by. What is on it
    /// stays.
    ReleaseMember {
        /// The array's UUID.
        uuid: Uuid,
        /// Name in the superblock.
        name: String,
        /// The member.
        member: PartitionRef,
    },
    /// Makes a running array as large as its members let it be. It ends when all of them have noted so; what is new is synced by the
    /// kernel in the background.
    GrowArray {
        /// The array's UUID.
        uuid: Uuid,
        /// Name in the superblock.
        name: String,
        /// Its members.
        members: Vec<PartitionRef>,
    },
    /// Makes a mounted file system as large as what it is on.
    GrowFilesystem {
        /// What it is on.
        on: Target,
        /// Which.
        format: Format,
        /// Where it is mounted.
        at: String,
    },
    /// Makes a volume group of partitions that are all of type *provisioning*.
    CreateGroup {
        /// Its name.
        name: String,
        /// Its physical volumes.
        members: Vec<GroupPlace>,
        /// What an interrupted run left on them has to be wiped first.
        remake: bool,
    },
    /// Makes a volume in a group, active and tagged as being made, with nothing in it.
    CreateLogical {
        /// The volume.
        volume: LogicalPlace,
        /// How it lies in the group.
        shape: Shape,
        /// How large it is.
        extents: u64,
        /// What an interrupted run made of it has to be removed first.
        remake: bool,
    },
    /// Tags a volume as made, once what it holds was verified.
    FinishLogical {
        /// The volume.
        volume: LogicalPlace,
    },
    /// Makes a volume that was made larger, and then the file system that is mounted from it. It is tagged meanwhile, so that an
    /// interrupted run is gone on with.
    GrowLogical {
        /// The volume.
        volume: LogicalPlace,
        /// How large it is to be.
        extents: u64,
        /// The file system, and where it is mounted; none in a raw volume.
        holds: Option<(Format, String)>,
    },
    /// Has the kernel show a volume that was made. Writes no data.
    Activate {
        /// The volume.
        volume: LogicalPlace,
    },
    /// Makes an encrypted volume: a LUKS header with a key of its own. One that an interrupted run left open is closed before.
    Encrypt {
        /// Where.
        on: Target,
        /// UUID of the header.
        uuid: Uuid,
        /// What is to open it.
        by: Encrypt,
    },
    /// Sees that the TPM opens an encrypted volume that the recovery key opens; in place of a TPM that it was made with.
    Seal {
        /// Where it is.
        on: Target,
        /// UUID of its header.
        uuid: Uuid,
    },
    /// Opens an encrypted volume, after a look at whether it is the right one. Writes nothing to it.
    Open {
        /// Where it is.
        on: Target,
        /// UUID of its header.
        uuid: Uuid,
        /// Whether nothing may be written to what it shows.
        read_only: bool,
        /// What opens it.
        by: Encrypt,
    },
    /// Makes a file system.
    MakeFilesystem {
        /// Where.
        on: Target,
        /// Which.
        format: Format,
        /// Its UUID.
        uuid: Uuid,
        /// Its label.
        label: String,
        /// How it is made, where not as its mkfs does by itself.
        mkfs: Mkfs,
    },
    /// Clears what is to be a raw volume: both ends are zeroed, so that nothing is recognised there.
    Clear {
        /// Where.
        on: Target,
    },
    /// Lets a path lead to a raw volume, whatever it holds. Writes nothing to it.
    Link {
        /// What it is on.
        on: Target,
        /// The path, below [`crate::inventory::RAW`].
        at: String,
    },
    /// Mounts a file system, after a look at whether it is the right one.
    Mount {
        /// Where it is.
        on: Target,
        /// Which.
        format: Format,
        /// Its UUID.
        uuid: Uuid,
        /// Mount point.
        at: String,
        /// Options, from the list of its file system.
        options: Vec<String>,
        /// Whether nothing is written to it, not even what its log holds.
        read_only: bool,
    },
}

impl Action {
    /// Whether it writes to a disk.
    pub fn writes(&self) -> bool {
        let only_starts = matches!(self, Action::AssembleArray { .. } | Action::Open { .. } | Action::Activate { .. });
        !only_starts && !matches!(self, Action::Mount { .. } | Action::Link { .. })
    }

    /// Whether it changes an array that runs: who is a member, or how large it is. The volume is there without.
    pub fn changes_array(&self) -> bool {
        matches!(
            self,
            Action::AddMember { .. }
                | Action::ReturnMember { .. }
                | Action::CopyMember { .. }
                | Action::ReleaseMember { .. }
                | Action::GrowArray { .. }
        )
    }

    /// Whether it puts right what is around the data of a volume, which is there without: a table, a copy of the image, a member,
    /// the TPM, more space.
    pub fn mends(&self) -> bool {
        let around = matches!(self, Action::WriteTable { .. } | Action::CopyImage { .. } | Action::Seal { .. });
        let grows = matches!(self, Action::GrowLogical { .. } | Action::GrowFilesystem { .. });
        around || grows || self.changes_array()
    }

    /// The permit that it needs.
    pub fn permit(&self) -> Option<Uuid> {
        match self {
            Action::Erase { erase, .. } => Some(erase.permit),
            _ => None,
        }
    }

    /// Kernel names of the disks it is about, without one that is only read; for an array only where the action names its
    /// members.
    pub fn disks(&self) -> Vec<&str> {
        let of = |target: &'_ Target| match target {
            Target::Partition(partition) => Some(partition.disk.clone()),
            Target::Array(_) | Target::Opened(_) | Target::Logical { .. } => None,
        };
        match self {
            Action::Erase { disk, .. } | Action::WriteTable { disk, .. } | Action::CopyImage { disk, .. } => vec![disk],
            Action::CreateArray { members, journal, .. } => {
                members.iter().chain(journal).map(|m| m.disk.as_str()).collect()
            }
            Action::AssembleArray { members, .. } | Action::GrowArray { members, .. } => {
                members.iter().map(|m| m.disk.as_str()).collect()
            }
            Action::CreateGroup { members, .. } => members.iter().map(|m| m.at.disk.as_str()).collect(),
            Action::CreateLogical { volume, .. }
            | Action::FinishLogical { volume }
            | Action::GrowLogical { volume, .. }
            | Action::Activate { volume } => volume.members.iter().map(|m| m.disk.as_str()).collect(),
            Action::AddMember { member, .. }
            | Action::ReturnMember { member, .. }
            | Action::ReleaseMember { member, .. } => vec![&member.disk],
            Action::CopyMember { member, onto, .. } => vec![&member.disk, &onto.disk],
            Action::Encrypt { on, .. }
            | Action::Seal { on, .. }
            | Action::Open { on, .. }
            | Action::MakeFilesystem { on, .. }
            | Action::GrowFilesystem { on, .. }
            | Action::Mount { on, .. }
            | Action::Clear { on }
            | Action::Link { on, .. } => match (of(on), on) {
                (Some(_), Target::Partition(partition)) => vec![&partition.disk],
                _ => Vec::new(),
            },
        }
    }

    /// In words, for progress and the table.
    pub fn words(&self) -> String {
        match self {
            Action::Erase { disk, erase } => {
                let (permit, holds) = (erase::short(erase.permit), erase.holds.join(", "));
                format!("erase {disk} (serial {}) with {holds} on it, by permit {permit}", erase.device)
            }
            Action::WriteTable { disk, partitions, table } => {
                let mut ours = partitions.iter().filter_map(|partition| table.by_guid(&partition.guid));
                if ours.any(|p| p.kind == on_disk::gpt::kind::PROVISIONING) {
                    format!("write partition table on {disk}, its content still to be made")
                } else {
                    format!("write partition table on {disk}, its content finished")
                }
            }
            Action::CopyImage { from, disk, .. } => format!("copy the image from {from} onto {disk}"),
            Action::CreateArray { name, level, members, spares, journal, .. } => {
                let spares = if *spares == 0 { String::new() } else { format!(", the last {spares} spare") };
                let journal = journal.as_ref().map_or(String::new(), |journal| {
                    format!(", with its journal on {} partition {}", journal.disk, journal.number)
                });
                format!("create RAID{level} \"{name}\" on {}{spares}{journal}", places(members))
            }
            Action::AssembleArray { name, members, read_only, .. } => {
                let how = if *read_only { " read-only" } else { "" };
                format!("assemble \"{name}\"{how} from {}", places(members))
            }
            Action::AddMember { name, member, .. } => {
                format!("add {} partition {} to \"{name}\"", member.disk, member.number)
            }
            Action::ReturnMember { name, member, .. } => {
                format!("take {} partition {} back into \"{name}\"", member.disk, member.number)
            }
            Action::CopyMember { name, member, onto, .. } => format!(
                "copy {} partition {} onto {} partition {} in \"{name}\"",
                member.disk, member.number, onto.disk, onto.number
            ),
            Action::ReleaseMember { name, member, .. } => {
                format!("let {} partition {} leave \"{name}\"", member.disk, member.number)
            }
            Action::GrowArray { name, .. } => format!("make \"{name}\" as large as its members let it be"),
            Action::GrowFilesystem { on, format, .. } => {
                format!("make the {} on {} as large as that is", crate::layer::filesystem::kind(*format), target(on))
            }
            Action::MakeFilesystem { on, format, .. } => {
                format!("make {} on {}", crate::layer::filesystem::kind(*format), target(on))
            }
            Action::CreateGroup { name, members, .. } => {
                let members: Vec<PartitionRef> = members.iter().map(|m| m.at.clone()).collect();
                format!("create the volume group \"{name}\" on {}", places(&members))
            }
            Action::CreateLogical { volume, shape, extents, .. } => {
                let size = crate::inventory::size_words(extents * lvm::EXTENT);
                let kind = if matches!(shape, Shape::Pool(_)) { "thin pool" } else { "volume" };
                let how = if matches!(shape, Shape::Pool(_)) { String::new() } else { format!(", {}", shape.words()) };
                format!("create the {kind} \"{}\" of {size} in \"{}\"{how}", volume.name, volume.group)
            }
            Action::FinishLogical { volume } => {
                format!("note that \"{}\" in \"{}\" is finished", volume.name, volume.group)
            }
            Action::GrowLogical { volume, extents, .. } => {
                let size = crate::inventory::size_words(extents * lvm::EXTENT);
                format!("make \"{}\" in \"{}\" larger, {size} in all", volume.name, volume.group)
            }
            Action::Activate { volume } => format!("activate \"{}\" in \"{}\"", volume.name, volume.group),
            Action::Encrypt { on, .. } => format!("encrypt {}", target(on)),
            Action::Seal { on, .. } => format!("see that the TPM opens {}", target(on)),
            Action::Open { on, read_only: true, .. } => format!("open {} read-only", target(on)),
            Action::Open { on, .. } => format!("open {}", target(on)),
            Action::Clear { on } => format!("clear both ends of {}", target(on)),
            Action::Link { on, at } => format!("let {at} lead to {}", target(on)),
            Action::Mount { on, at, read_only: true, .. } => format!("mount {} read-only on {at}", target(on)),
            Action::Mount { on, at, options, .. } => {
                let with = if options.is_empty() { String::new() } else { format!(" with {}", options.join(",")) };
                format!("mount {} on {at}{with}", target(on))
            }
        }
    }
}

fn places(members: &[PartitionRef]) -> String {
    members.iter().map(|m| format!("{} partition {}", m.disk, m.number)).collect::<Vec<_>>().join(", ")
}

fn target(target: &Target) -> String {
    match target {
        Target::Partition(p) => format!("{} partition {}", p.disk, p.number),
        Target::Array(_) => "the array".into(),
        Target::Opened(_) => "what is encrypted".into(),
        Target::Logical { group, volume } => format!("\"{volume}\" in \"{group}\""),
    }
}
