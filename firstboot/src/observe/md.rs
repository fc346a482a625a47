//! md: superblocks of version 1.2 on members, and the arrays that run.

use super::filled::filled;
use super::uses::AllUses;
use super::{blkid, sysfs};
use anyhow::Context;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use storage_plan::inventory::{MdMember, RunningArray, Signature};
use uuid::Uuid;

/// Where a superblock of version 1.2 lies, in bytes from the member's start.
const SUPERBLOCK: u64 = 4096;
/// Bytes of it, with the roles of up to 1920 devices.
const SUPERBLOCK_SIZE: usize = 4096;

/// Bits of `feature_map` (the kernel's `md_p.h`): a bitmap lies beside the superblock; `recovery_offset` counts; the member takes over from an active one with the
/// same role; the array has a journal on a disk of its own; one log or several of partial parity.
const BITMAP_OFFSET: u32 = 0x1;
const RECOVERY_OFFSET: u32 = 0x2;
const REPLACEMENT: u32 = 0x10;
const JOURNAL: u32 = 0x200;
const PPL: u32 = 0x400 | 0x800;

/// The word that stands for the role of a journal (`MD_DISK_ROLE_JOURNAL`). From it on there are no roles but words: journal,
/// faulty, spare.
const JOURNAL_ROLE: u16 = 0xfffd;

/// Parses a superblock of version 1.x (`struct mdp_superblock_1` of the kernel's `md_p.h`). None when there is none
/// or its checksum is wrong.
pub fn parse_superblock(bytes: &[u8]) -> Option<MdMember> {
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let uuid_at = |at: usize| Some(Uuid::from_bytes(bytes.get(at..at + 16)?.try_into().ok()?));
    if u32_at(0)? != 0xa92b_4efc || u32_at(4)? != 1 {
        return None;
    }
    let devices = u32_at(220)? as usize;
    let size = 256usize.checked_add(devices.checked_mul(2)?)?;
    if checksum(bytes.get(..size)?) != u32_at(216)? {
        return None;
    }
    let roles: Vec<u16> = bytes.get(256..size)?.chunks_exact(2).map(|r| u16::from_le_bytes([r[0], r[1]])).collect();
    let journal = roles.iter().position(|role| *role == JOURNAL_ROLE).and_then(|at| u16::try_from(at).ok());
    let mut positions: Vec<Option<u16>> = roles.iter().map(|r| Some(*r).filter(|r| *r < JOURNAL_ROLE)).collect();
    positions.truncate(positions.iter().rposition(Option::is_some).map_or(0, |last| last + 1));
    let number = u32_at(160)?;
    // Of a journal the array uses no part as it does of its members: what these two say is of them.
    let is_member = journal.is_none_or(|journal| u32::from(journal) != number);
    Some(MdMember {
        array: uuid_at(16)?,
        member: uuid_at(168)?,
        name: String::from_utf8_lossy(bytes.get(32..64)?).trim_end_matches('\0').to_owned(),
        level: i32::from_le_bytes(bytes.get(72..76)?.try_into().ok()?),
        members: u32_at(92)?,
        role: positions.get(number as usize).copied().flatten(),
        events: u64_at(200)?,
        clean: u64_at(208)? == u64::MAX,
        recovering: is_member && u32_at(8)? & RECOVERY_OFFSET != 0 && u64_at(152)? != u64::MAX,
        replaces: u32_at(8)? & REPLACEMENT != 0,
        ppl: u32_at(8)? & PPL != 0,
        journaled: u32_at(8)? & JOURNAL != 0,
        journal,
        // Where the data begins, and how much of it the array uses; both in sectors of 512 bytes.
        needs: if is_member { u64_at(128)?.saturating_add(u64_at(80)?).saturating_mul(512) } else { 0 },
        // How much of it there is on this member, without what the array uses.
        room: if is_member { u64_at(136)?.saturating_sub(u64_at(80)?).saturating_mul(512) } else { 0 },
        number: u16::try_from(number).unwrap_or(u16::MAX),
        positions,
        bitmap_since: None,
    })
}

/// Where the bitmap of the member with this superblock lies, in bytes from the superblock; none if it has no internal one.
fn bitmap_place(superblock: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u32::from_le_bytes(superblock.get(at..at + 4)?.try_into().ok()?));
    let sectors = word(96).filter(|_| word(8).is_some_and(|features| features & BITMAP_OFFSET != 0))?;
    // In front of the superblock there is no room for one.
    i32::try_from(sectors).is_ok().then_some(u64::from(sectors) * 512).filter(|at| *at > 0)
}

/// Parses the head of a bitmap (`struct bitmap_super_s` of the kernel's `md-bitmap.h`): the event up to which it has
/// forgotten what was written, if it is a bitmap of this array.
fn parse_bitmap(bytes: &[u8], array: &Uuid) -> Option<u64> {
    let is_one = bytes.get(..4)? == b"bitm" && bytes.get(8..24)? == array.as_bytes();
    is_one.then_some(u64::from_le_bytes(bytes.get(32..40)?.try_into().ok()?))
}

/// The superblock of version 1.2 on a member's node, if one is there and can be read.
///
/// What the system remembers of the node is dropped before: a running array writes past that.
pub fn superblock(node: &Path) -> Option<MdMember> {
    let file = File::open(node).ok()?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).ok()?;
    let mut bytes = vec![0; SUPERBLOCK_SIZE];
    file.read_exact_at(&mut bytes, SUPERBLOCK).ok()?;
    let member = parse_superblock(&bytes)?;
    let bitmap = bitmap_place(&bytes).and_then(|at| {
        let mut head = [0; 40];
        file.read_exact_at(&mut head, SUPERBLOCK + at).ok()?;
        parse_bitmap(&head, &member.array)
    });
    Some(MdMember { bitmap_since: bitmap, ..member })
}

/// Where the data of a member of a mirror lies, and how much of it is the array's: its first sector and their number, of 512
/// bytes.
pub fn data_of_member(node: &Path) -> Option<(u64, u64)> {
    let mut bytes = vec![0; SUPERBLOCK_SIZE];
    File::open(node).ok()?.read_exact_at(&mut bytes, SUPERBLOCK).ok()?;
    parse_superblock(&bytes).filter(|md| md.level == 1)?;
    let sectors = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    Some((sectors(128)?, sectors(80)?))
}

/// The superblock's checksum: 32-bit words added up in 64 bits and folded, its own field taken as zero.
fn checksum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(4).enumerate().filter(|(i, _)| *i != 216 / 4);
    let sum: u64 = words
        .map(|(_, w)| match *w {
            [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
            [a, b] => u64::from(u16::from_le_bytes([a, b])),
            _ => 0,
        })
        .sum();
    ((sum & 0xffff_ffff) + (sum >> 32)) as u32
}

/// Parses `sync_completed`: `1024 / 4096`, or `none`.
pub fn parse_sync_completed(text: &str) -> Option<(u64, u64)> {
    let (done, of) = text.trim().split_once(" / ")?;
    Some((done.parse().ok()?, of.parse().ok()?))
}

/// What a partition is in an array that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// It has all its data.
    Working,
    /// It stands by, or is being filled.
    Spare,
    /// Everything is written to it first.
    Journal,
    /// It failed, or its disk is gone.
    Failed,
}

impl Place {
    /// By the words of `state` (Documentation/admin-guide/md.rst, `dev-XXX`) and whether the disk is there.
    fn of(state: &str, is_there: bool) -> Place {
        let says = |word: &str| state.split(',').any(|s| s == word);
        match () {
            () if !is_there || says("faulty") => Place::Failed,
            () if says("journal") => Place::Journal,
            () if says("in_sync") => Place::Working,
            () => Place::Spare,
        }
    }
}

/// The arrays that run, sorted by name. An array's UUID is that of its members' superblocks.
pub(super) fn running(uses: &AllUses) -> anyhow::Result<Vec<RunningArray>> {
    let mut arrays = Vec::new();
    for entry in std::fs::read_dir("/sys/block").context("cannot list /sys/block")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let md = entry.path().join("md");
        let state = sysfs::text(&md, "array_state").unwrap_or_default();
        if !md.is_dir() || matches!(state.as_str(), "" | "clear" | "inactive") {
            continue;
        }
        let slots = std::fs::read_dir(&md).with_context(|| format!("cannot list {}", md.display()))?.flatten();
        let mut members: Vec<(String, Place)> = slots
            .filter_map(|slot| {
                let member = slot.file_name().to_string_lossy().strip_prefix("dev-")?.to_owned();
                let state = sysfs::text(&slot.path(), "state").unwrap_or_default();
                // The link stays, and leads nowhere, when a disk is pulled before the array has noticed.
                Some((member, Place::of(&state, slot.path().join("block").exists())))
            })
            .collect();
        members.sort();
        let of = |place: Place| members.iter().filter(|(_, p)| *p == place).map(|(m, _)| m.clone()).collect();
        // Another disk may have the name of one that was pulled, so those that failed are asked last.
        let asked = |failed: bool| members.iter().filter(move |(_, place)| (*place == Place::Failed) == failed);
        let mut asked = asked(false).chain(asked(true));
        let uuid = asked.find_map(|(m, _)| superblock(&Path::new("/dev").join(m)).map(|md| md.array));
        // An array that failed while it runs can't be read any more; that is no reason to look at nothing else.
        let signatures = signatures(&name).unwrap_or_else(|error| {
            tracing::warn!(array = name, "cannot read: {error:#}");
            vec![super::unreadable()]
        });
        let uses = uses.of(&name, &sysfs::text(&entry.path(), "dev").unwrap_or_default(), &entry.path());
        let device = File::open(Path::new("/dev").join(&name)).ok();
        let filled = device.and_then(|device| filled(&device, uses.mounts.first().map(String::as_str)));
        arrays.push(RunningArray {
            uuid,
            level: sysfs::text(&md, "level").unwrap_or_default(),
            members: of(Place::Working),
            spares: of(Place::Spare),
            failed: of(Place::Failed),
            journaled: sysfs::text(&md, "consistency_policy").as_deref() == Some("journal"),
            journal: of(Place::Journal).pop(),
            wanted: u32::try_from(sysfs::number(&md, "raid_disks")).unwrap_or(0),
            read_only: state == "readonly",
            sync_action: sysfs::text(&md, "sync_action").unwrap_or_else(|| "idle".into()),
            sync_progress: sysfs::text(&md, "sync_completed").and_then(|t| parse_sync_completed(&t)),
            size: sysfs::number(&entry.path(), "size").saturating_mul(512),
            filled,
            mismatches: sysfs::number(&md, "mismatch_cnt"),
            signatures,
            uses,
            name,
        });
    }
    arrays.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(arrays)
}

fn signatures(name: &str) -> anyhow::Result<Vec<Signature>> {
    let device = File::open(Path::new("/dev").join(name)).with_context(|| format!("cannot open {name}"))?;
    blkid::signatures(&device)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `mdadm --create --metadata=1.2 --level=1 --raid-devices=2` writes it, by the offsets of `md_p.h`.
    fn superblock() -> Vec<u8> {
        let mut b = vec![0; SUPERBLOCK_SIZE];
        b[0..4].copy_from_slice(&0xa92b_4efcu32.to_le_bytes());
        b[4..8].copy_from_slice(&1u32.to_le_bytes());
        b[16..32].copy_from_slice(Uuid::from_u128(0x1234).as_bytes());
        b[32..39].copy_from_slice(b"n1:meta");
        b[72..76].copy_from_slice(&1i32.to_le_bytes());
        b[92..96].copy_from_slice(&2u32.to_le_bytes());
        b[160..164].copy_from_slice(&1u32.to_le_bytes());
        b[168..184].copy_from_slice(Uuid::from_u128(0x77).as_bytes());
        b[200..208].copy_from_slice(&19u64.to_le_bytes());
        b[208..216].copy_from_slice(&u64::MAX.to_le_bytes());
        b[220..224].copy_from_slice(&3u32.to_le_bytes());
        b[256..262].copy_from_slice(&[0, 0, 1, 0, 0xff, 0xff]);
        let sum = checksum(&b[..262]);
        b[216..220].copy_from_slice(&sum.to_le_bytes());
        b
    }

    #[test]
    fn a_superblock_is_read() {
        let found = parse_superblock(&superblock()).unwrap();
        assert_eq!((found.array, found.member), (Uuid::from_u128(0x1234), Uuid::from_u128(0x77)));
        assert_eq!((found.name.as_str(), found.level, found.members), ("n1:meta", 1, 2));
        assert_eq!((found.role, found.events, found.clean), (Some(1), 19, true));
        assert!(!found.recovering && !found.ppl);
        assert_eq!((found.number, found.positions, found.bitmap_since), (1, vec![Some(0), Some(1)], None));
    }

    #[test]
    fn a_bitmap_is_found_beside_the_superblock_and_tells_how_far_back_it_goes() {
        let mut bytes = superblock();
        assert_eq!(bitmap_place(&bytes), None);
        bytes[8] = 1;
        for (sectors, place) in [(8i32, Some(4096)), (-16, None), (0, None)] {
            bytes[96..100].copy_from_slice(&sectors.to_le_bytes());
            assert_eq!(bitmap_place(&bytes), place, "{sectors}");
        }
        let array = Uuid::from_u128(0x1234);
        let mut head = [0; 40];
        head[..4].copy_from_slice(&0x6d74_6962u32.to_le_bytes());
        head[8..24].copy_from_slice(array.as_bytes());
        head[24..32].copy_from_slice(&30u64.to_le_bytes());
        head[32..40].copy_from_slice(&21u64.to_le_bytes());
        assert_eq!(parse_bitmap(&head, &array), Some(21));
        assert_eq!(parse_bitmap(&head, &Uuid::nil()), None, "of another array");
        head[0] ^= 1;
        assert_eq!(parse_bitmap(&head, &array), None);
        assert_eq!(parse_bitmap(&head[..39], &array), None);
    }

    #[test]
    fn features_say_whether_a_member_is_being_filled_and_parity_logged() {
        let with = |features: u32, recovered: u64| {
            let mut bytes = superblock();
            bytes[8..12].copy_from_slice(&features.to_le_bytes());
            bytes[152..160].copy_from_slice(&recovered.to_le_bytes());
            let sum = checksum(&bytes[..262]);
            bytes[216..220].copy_from_slice(&sum.to_le_bytes());
            let found = parse_superblock(&bytes).unwrap();
            (found.recovering, found.replaces, found.ppl)
        };
        assert_eq!(with(0x2, 1024), (true, false, false));
        assert_eq!(with(0x2, u64::MAX), (false, false, false));
        assert_eq!(with(0x12, 1024), (true, true, false));
        assert_eq!(with(0x400, 1024), (false, false, true), "without its feature the offset means something else");
    }

    /// As mdadm 4.4 and the kernel 6.12 write them for a RAID 6 of four members whose journal was given after them.
    #[test]
    fn a_journal_is_known_by_its_own_superblock_and_by_those_of_the_members() {
        let with = |number: u32, roles: [u16; 5]| {
            let mut bytes = superblock();
            bytes[8..12].copy_from_slice(&0x200u32.to_le_bytes());
            bytes[72..76].copy_from_slice(&6i32.to_le_bytes());
            bytes[80..88].copy_from_slice(&405_504u64.to_le_bytes());
            bytes[128..136].copy_from_slice(&4096u64.to_le_bytes());
            bytes[136..144].copy_from_slice(&500_000u64.to_le_bytes());
            // Where a member has how far it is filled a journal has its tail.
            bytes[152..160].copy_from_slice(&0x6218u64.to_le_bytes());
            bytes[160..164].copy_from_slice(&number.to_le_bytes());
            bytes[220..224].copy_from_slice(&5u32.to_le_bytes());
            bytes[256..266].copy_from_slice(&roles.map(u16::to_le_bytes).concat());
            let sum = checksum(&bytes[..266]);
            bytes[216..220].copy_from_slice(&sum.to_le_bytes());
            parse_superblock(&bytes).unwrap()
        };
        let (member, journal) = (with(0, [0, 1, 2, 3, 0xfffd]), with(4, [0, 1, 2, 3, 0xfffd]));
        assert!(member.journaled && !member.is_journal() && member.journal == Some(4));
        assert!(member.needs > 0 && member.room > 0);
        assert!(journal.journaled && journal.is_journal() && journal.role.is_none() && !journal.recovering);
        assert_eq!((journal.needs, journal.room), (0, 0), "its size is nobody's measure");
        assert_eq!(journal.positions, [Some(0), Some(1), Some(2), Some(3)]);
        // When it has failed, or is not there, the members say so.
        for gone in [0xfffe, 0xffff] {
            let member = with(0, [0, 1, 2, 3, gone]);
            assert!(member.journaled && member.journal.is_none());
        }
    }

    #[test]
    fn a_superblock_tells_how_large_a_member_must_be_and_what_it_has_room_for() {
        let mut bytes = superblock();
        bytes[80..88].copy_from_slice(&1000u64.to_le_bytes());
        bytes[128..136].copy_from_slice(&2048u64.to_le_bytes());
        bytes[136..144].copy_from_slice(&5000u64.to_le_bytes());
        let sum = checksum(&bytes[..262]);
        bytes[216..220].copy_from_slice(&sum.to_le_bytes());
        let found = parse_superblock(&bytes).unwrap();
        assert_eq!((found.needs, found.room), (3048 * 512, 4000 * 512));
    }

    #[test]
    fn a_member_works_only_while_its_disk_is_there() {
        assert_eq!(Place::of("in_sync,write_mostly", true), Place::Working);
        assert_eq!(Place::of("in_sync", false), Place::Failed);
        assert_eq!(Place::of("faulty,in_sync", true), Place::Failed);
        assert_eq!(Place::of("spare", true), Place::Spare);
        assert_eq!(Place::of("journal", true), Place::Journal);
        assert_eq!(Place::of("journal", false), Place::Failed);
        assert_eq!(Place::of("faulty,journal", true), Place::Failed);
    }

    #[test]
    fn a_broken_superblock_is_none() {
        for at in [0, 17, 200, 258] {
            let mut bytes = superblock();
            bytes[at] ^= 1;
            assert_eq!(parse_superblock(&bytes), None, "{at}");
        }
        assert_eq!(parse_superblock(&superblock()[..100]), None);
    }

    #[test]
    fn sync_progress_is_read() {
        assert_eq!(parse_sync_completed("1024 / 4096\n"), Some((1024, 4096)));
        assert_eq!(parse_sync_completed("none\n"), None);
    }
}
