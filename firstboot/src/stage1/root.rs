//! Which partitions may hold the root: known by the signed root hash, never by name or order. Pure.
//!
//! Equal partition UUIDs on several disks are normal (mirrored system disks, a USB stick): every pair is a
//! candidate, those on the disk that the firmware started from first, and dm-verity has the last word.

use super::command_line::Signed;
use super::refuse;
use machine_config::Diagnostic;
use on_disk::gpt::Table;
use uuid::Uuid;

/// A partition as the kernel sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Kernel name (`vda2`).
    pub name: String,
    /// Kernel name of its disk (`vda`).
    pub disk: String,
    /// Number in the partition table.
    pub number: u32,
    /// GPT partition UUID.
    pub uuid: Option<Uuid>,
    /// GPT name.
    pub label: String,
}

/// Two partitions that may belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Holds the file system.
    pub root: Partition,
    /// Holds the hash tree.
    pub verity: Partition,
    /// Whether the root is on the disk that the node was started from; unknown when the firmware does not say.
    pub started_from: Option<bool>,
}

impl Pair {
    /// Name of the slot, from the root partition's name: `bedplate-root-a` gives `a`.
    #[must_use]
    pub fn slot(&self) -> Option<String> {
        self.root.label.strip_prefix("bedplate-root-").map(String::from)
    }
}

/// Reads the properties of a block device's `uevent` file (keys `DEVNAME`, `DEVTYPE`, `PARTN`, `PARTNAME`); the
/// UUID, which Linux 6.12 does not tell, is that of the disk's own table. Not a partition: none.
#[must_use]
pub fn parse_partition(uevent: &str, disk: &str, table: Option<&Table>) -> Option<Partition> {
    let value = |key: &str| uevent.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
    if value("DEVTYPE") != Some("partition") {
        return None;
    }
    let number = value("PARTN")?.parse().ok()?;
    Some(Partition {
        name: value("DEVNAME")?.to_owned(),
        disk: disk.to_owned(),
        number,
        uuid: table.and_then(|t| t.partitions.iter().find(|p| p.number == number)).map(|p| p.guid),
        label: value("PARTNAME").unwrap_or_default().to_owned(),
    })
}

/// Every pair that may be the root, best first: on the disk that was started from, both on one disk, by name.
#[must_use]
pub fn candidates(partitions: &[Partition], signed: &Signed, started_from: Option<Uuid>) -> Vec<Pair> {
    let with = |uuid: Uuid| partitions.iter().filter(move |p| p.uuid == Some(uuid));
    let boot_disks: Vec<&str> =
        started_from.map(|uuid| with(uuid).map(|p| p.disk.as_str()).collect()).unwrap_or_default();
    let mut pairs: Vec<Pair> = with(signed.root_partition())
        .flat_map(|root| with(signed.verity_partition()).map(move |verity| (root, verity)))
        .map(|(root, verity)| Pair {
            root: root.clone(),
            verity: verity.clone(),
            started_from: (!boot_disks.is_empty()).then(|| boot_disks.contains(&root.disk.as_str())),
        })
        .collect();
    pairs.sort_by_key(|p| {
        let apart = p.root.disk != p.verity.disk;
        (p.started_from == Some(false), apart, p.root.name.clone(), p.verity.name.clone())
    });
    pairs
}

/// The refusal when no pair turned up.
#[must_use]
pub fn not_found(signed: &Signed, partitions: &[Partition], disks: &[String], waited: u64) -> Diagnostic {
    let mut there: Vec<String> = disks
        .iter()
        .map(|disk| {
            let parts = partitions.iter().filter(|p| p.disk == *disk);
            let parts: Vec<String> = parts
                .map(|p| {
                    let uuid = p.uuid.map_or_else(|| "no UUID".into(), |u| u.to_string());
                    format!("{} {} {uuid}", p.name, p.label)
                })
                .collect();
            if parts.is_empty() {
                format!("  {disk}: no partitions")
            } else {
                format!("  {disk}: {}", parts.join(", "))
            }
        })
        .collect();
    if there.is_empty() {
        there.push("  no disk at all".into());
    }
    refuse(
        "BP-B004",
        "The root of this image is on no disk.",
        &format!(
            "Looked {waited} s for partitions {} (root) and {} (hash tree). There is:\n{}",
            signed.root_partition(),
            signed.verity_partition(),
            there.join("\n")
        ),
        "Write the image's disk.raw to a disk of this machine. If it is there: its controller needs a driver that \
         is not in the initrd (recipe: kernel.initrd-modules).",
    )
}

/// The refusal when there are pairs, and none verifies.
#[must_use]
pub fn corrupted(failures: &[(Pair, String)]) -> Diagnostic {
    let list: Vec<String> =
        failures.iter().map(|(p, why)| format!("  {} with {}: {why}", p.root.name, p.verity.name)).collect();
    refuse(
        "BP-B006",
        "The root partition is not what was signed: it is damaged or was changed.",
        &format!("Its hash tree does not come out as the root hash of the signed command line.\n{}", list.join("\n")),
        "Write the image to the disk again. If it happens again, the disk is failing: replace it.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed() -> Signed {
        let mut root_hash = [0xaa; 32];
        root_hash[16..].fill(0xbb);
        Signed { root_hash }
    }

    fn part(name: &str, disk: &str, uuid: u8) -> Partition {
        Partition {
            name: name.into(),
            disk: disk.into(),
            number: 1,
            uuid: Some(Uuid::from_bytes([uuid; 16])),
            label: format!("bedplate-{name}"),
        }
    }

    #[test]
    fn a_uevent_file_and_the_table_give_a_partition() {
        let text =
            "MAJOR=254\nMINOR=2\nDEVNAME=vda2\nDEVTYPE=partition\nDISKSEQ=9\nPARTN=2\nPARTNAME=bedplate-root-a\n";
        let entry = |number, guid| on_disk::gpt::Partition {
            number,
            kind: on_disk::gpt::kind::ROOT_X86_64,
            guid: Uuid::from_bytes([guid; 16]),
            start: 0,
            size: 0,
            attributes: 0,
            name: String::new(),
        };
        let table = Table {
            guid: Uuid::nil(),
            sector: on_disk::gpt::SectorSize::B512,
            partitions: vec![entry(1, 0xcc), entry(2, 0xaa)],
        };
        let found = parse_partition(text, "vda", Some(&table)).unwrap();
        assert_eq!(found.uuid, Some(Uuid::from_bytes([0xaa; 16])));
        assert_eq!((found.name.as_str(), found.label.as_str()), ("vda2", "bedplate-root-a"));
        assert_eq!(parse_partition(text, "vda", None).unwrap().uuid, None);
        assert_eq!(parse_partition("DEVNAME=vda\nDEVTYPE=disk\n", "vda", Some(&table)), None);
    }

    #[test]
    fn the_disk_that_was_started_from_comes_first() {
        let parts = [
            part("sda2", "sda", 0xaa),
            part("sda3", "sda", 0xbb),
            part("sdb1", "sdb", 0x01),
            part("sdb2", "sdb", 0xaa),
            part("sdb3", "sdb", 0xbb),
        ];
        let names = |started| -> Vec<(String, String, Option<bool>)> {
            let pairs = candidates(&parts, &signed(), started);
            pairs.into_iter().map(|p| (p.root.name, p.verity.name, p.started_from)).collect()
        };
        let started = names(Some(Uuid::from_bytes([1; 16])));
        assert_eq!(started[0], ("sdb2".into(), "sdb3".into(), Some(true)));
        assert_eq!(started.len(), 4);
        assert_eq!(names(None)[0], ("sda2".into(), "sda3".into(), None));
        // A stick that is gone since the start says nothing about the disks.
        assert_eq!(names(Some(Uuid::from_bytes([9; 16])))[0].2, None);
    }

    #[test]
    fn half_a_pair_and_other_images_are_no_candidates() {
        let parts = [part("sda2", "sda", 0xaa), part("sda4", "sda", 0xcc)];
        assert!(candidates(&parts, &signed(), None).is_empty());
    }

    #[test]
    fn what_was_looked_for_and_what_is_there_is_said() {
        let parts = [part("sda1", "sda", 0xcc)];
        insta::assert_snapshot!(not_found(&signed(), &parts, &["sda".into(), "sdb".into()], 60));
        insta::assert_snapshot!(not_found(&signed(), &[], &[], 60));
    }
}
