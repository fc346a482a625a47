//! What the storage unit is to do, and on which disks.
//!
//! Both sides know these: the guest its configuration, the host what lies on the disks.

use crate::block_server::Export;
use crate::block_server::contents::{Contents, Data};
use crate::fault::foreign::{self, Foreign};
use crate::guest::FOREIGN;
use crate::guest::config::{config, logical, partitioned, serials};
use crate::guest::disks::{SYSTEM, image_bytes, image_partitions, serial};
use anyhow::Result;
use machine_config::schema::{
    Array, Content, Each, Encrypt, Format, Group, Layout, Level, MachineConfig, Mkfs, WriteHole,
};

const MIB: u64 = 1 << 20;
/// A disk with a file system of its own.
const LONE: &str = "E1";
/// The disk that is to be encrypted, or to have two partitions.
const ENCRYPTED: &str = "C1";
/// Members of a mirror.
const MIRROR: [&str; 2] = ["M1", "M2"];
/// What takes the place of the second of them.
const MIRROR_NEW: &str = "M3";
/// Larger ones, which take the places of both.
const LARGER: [&str; 2] = ["G1", "G2"];
/// Members of arrays with parity and of striped mirrors, as many as the level needs; one more takes the place of the last.
const MEMBERS: [&str; 5] = ["R1", "R2", "R3", "R4", "R5"];
/// Arrays beside the mirror: what each is, its level, its members, and what it has against the write hole if that is not
/// the level's own.
const ARRAYS: [(&str, Level, usize, Option<WriteHole>); 4] = [
    ("an array with parity", Level::Raid5, 3, None),
    ("an array with parity and a bitmap", Level::Raid5, 3, Some(WriteHole::Bitmap)),
    ("an array with two parities", Level::Raid6, 4, None),
    ("an array of striped mirrors", Level::Raid10, 4, None),
];
/// The disk of a journal, for an array that needs no more of the others.
const JOURNAL: &str = MEMBERS[4];
/// A system disk beside the one with the image.
const SECOND: &str = "S2";
/// Members of somebody else's mirror, which whoever starts it writes to.
const UNSYNCED: [&str; 2] = ["U1", "U2"];

/// What lies on the disks that are the node's when a scenario begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// An image, and nothing else.
    Blank,
    /// The state partition.
    State,
    /// What the scenario of this name made, filled; of disks that both have.
    Made(&'static str),
}

/// A configuration, and what is to come of it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What the node is to have.
    pub config: MachineConfig,
    /// Disks, by serial number, that are the node's to take; all others hold somebody else's data.
    pub own: Vec<&'static str>,
    /// What was done before.
    pub begins: Begins,
    /// Whether the node must stop without a write: what it needs is somebody else's.
    pub stops: bool,
}

/// The disks of every scenario, in the order in which the guest has them.
///
/// As small as the agent takes them, and ZFS: a look at a blank disk reads all of it.
pub fn exports() -> Vec<Export> {
    let small = [LONE].into_iter().chain(MIRROR).chain([MIRROR_NEW]).chain(MEMBERS).chain(UNSYNCED);
    let small = small.map(|serial| (serial.to_owned(), 24));
    let foreign = FOREIGN.iter().map(|(_, foreign)| (serial(*foreign), 64));
    let system = [SYSTEM, SECOND].map(|serial| (serial.to_owned(), 576));
    // In front of what is encrypted there are 16 MiB.
    let encrypted = [(ENCRYPTED.to_owned(), 48)];
    // 64 MiB more are the least that an array is made larger for.
    let larger = LARGER.map(|serial| (serial.to_owned(), 96));
    let all = system.into_iter().chain(small).chain(encrypted).chain(larger).chain(foreign);
    all.map(|(serial, size)| Export { serial, size: size * MIB }).collect()
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let scenario = |name: &str, own: &[&'static str], config: MachineConfig| Scenario {
        name: name.to_owned(),
        config,
        own: [&[SYSTEM], own].concat(),
        begins: Begins::State,
        stops: false,
    };
    let mut all = vec![
        Scenario { begins: Begins::Blank, ..scenario("the state partition", &[], config(&[], &[], Format::Ext4)) },
        scenario(
            "a mirror and a disk",
            &[LONE, MIRROR[0], MIRROR[1]],
            beside_foreign(config(&[LONE], &MIRROR, Format::Ext4)),
        ),
        Scenario {
            begins: Begins::Made("a mirror and a disk"),
            ..scenario(
                "a mirror takes in a disk",
                &[LONE, MIRROR[0], MIRROR_NEW],
                config(&[LONE], &[MIRROR[0], MIRROR_NEW], Format::Ext4),
            )
        },
    ];
    for (name, level, count, write_hole) in ARRAYS {
        let of = |members: &[&str]| array_of(level, write_hole, members);
        let (members, rest) = MEMBERS.split_at(count);
        all.push(scenario(name, members, beside_foreign(of(members))));
        let then = [&members[..count - 1], &rest[..1]].concat();
        let takes_in = scenario(&format!("{name} takes in a disk"), &then, of(&then));
        all.push(Scenario { begins: Begins::Made(name), ..takes_in });
    }
    let (then, name) = ([MEMBERS[0], MEMBERS[1], MEMBERS[3], JOURNAL], "an array with a journal");
    let own = [MEMBERS[0], MEMBERS[1], MEMBERS[2], JOURNAL];
    all.push(scenario(name, &own, beside_foreign(journaled(&own[..3]))));
    let takes_in = scenario(&format!("{name} takes in a disk"), &then, journaled(&then[..3]));
    all.push(Scenario { begins: Begins::Made(name), ..takes_in });
    let unequal = [MIRROR[1], LARGER[0]];
    all.push(scenario("a mirror of unequal disks", &unequal, config(&[], &unequal, Format::Ext4)));
    let larger = scenario("a mirror on larger disks", &LARGER, config(&[], &LARGER, Format::Ext4));
    let mut grows = Scenario { name: "a mirror grows".to_owned(), ..larger.clone() };
    grows.config.storage.array.values_mut().for_each(|array| array.grow = true);
    all.push(Scenario { begins: Begins::Made("a mirror of unequal disks"), ..larger });
    all.push(Scenario { begins: Begins::Made("a mirror on larger disks"), ..grows });
    all.push(scenario("raw volumes", &[LONE, MIRROR[0], MIRROR[1]], beside_foreign(raw())));
    all.push(scenario("an encrypted disk", &[ENCRYPTED], beside_foreign(encrypted())));
    let two = beside_foreign(partitioned(&[ENCRYPTED]));
    all.push(scenario("a disk with two partitions", &[ENCRYPTED], two));
    all.push(scenario("a volume group", &MEMBERS[..3], beside_foreign(grouped(&MEMBERS[..3]))));
    for (_, foreign) in FOREIGN {
        let serial = serial(*foreign);
        let config = config(&[LONE], &[MIRROR[0], &serial], Format::Ext4);
        let name = format!("a mirror half on {}", foreign.name());
        all.push(Scenario { stops: true, ..scenario(&name, &[LONE, MIRROR[0]], config) });
    }
    let mut mirrored = config(&[], &[], Format::Ext4);
    mirrored.storage.system.disks = Some(serials(&[SYSTEM, SECOND]));
    all.push(Scenario { begins: Begins::Blank, ..scenario("a mirror of system disks", &[SECOND], mirrored) });
    let pair = config(&[LONE], &UNSYNCED, Format::Ext4);
    all.push(Scenario { stops: true, ..scenario("a mirror on members of an unsynced one", &[LONE], pair) });
    all
}

/// The one with this name.
pub fn of(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// What lies on the disks before anything was done, the state partition apart.
    ///
    /// # Errors
    /// When the image's table can't be laid out.
    pub fn contents(&self) -> Result<Vec<Contents>> {
        let pair = |size: u64, at: usize| foreign::unsynced_pair(size)[at].clone();
        let holds = |export: &Export| -> Result<Vec<(u64, Vec<u8>)>> {
            if export.serial == SYSTEM {
                return image();
            }
            if self.own.contains(&export.serial.as_str()) {
                return Ok(Vec::new());
            }
            let named = FOREIGN.iter().find(|(_, foreign)| serial(*foreign) == export.serial);
            let member = UNSYNCED.iter().position(|serial| *serial == export.serial);
            Ok(match (named, member) {
                (Some((_, foreign)), _) => foreign.bytes(export.size),
                (None, Some(member)) => pair(export.size, member),
                (None, None) => Foreign::Ext4.bytes(export.size),
            })
        };
        let laid = |export: &Export| {
            let mut contents = Contents::default();
            for (offset, bytes) in holds(export)? {
                contents.write(offset, &Data::Bytes(bytes.into()));
            }
            Ok(contents)
        };
        exports().iter().map(laid).collect()
    }

    /// The places of the disks that must never be written to.
    pub fn foreign_disks(&self) -> Vec<usize> {
        let is_foreign = |export: &Export| !self.own.contains(&export.serial.as_str());
        exports().iter().enumerate().filter(|(_, export)| is_foreign(export)).map(|(at, _)| at).collect()
    }

    /// The places of the disks that are the node's both here and in `other`.
    pub fn common_disks(&self, other: &Scenario) -> Vec<usize> {
        let is_common = |export: &Export| [self, other].iter().all(|s| s.own.contains(&export.serial.as_str()));
        exports().iter().enumerate().filter(|(_, export)| is_common(export)).map(|(at, _)| at).collect()
    }

    /// Whether arrays are filled from what other members hold, and what is stored then compared.
    pub fn rebuilds(&self) -> bool {
        matches!(self.begins, Begins::Made(_))
    }

    /// Whether an array may be lost with the loss of one member: it has lost another already, or it is RAID 5, which is made so
    /// that its last member is filled from the others.
    pub fn bears_no_loss(&self) -> bool {
        self.arrays(|array| array.level == Level::Raid5) || self.lacks_one(|array| array.level == Level::Raid10)
    }

    /// Whether an array lacks a member for some of the time, and has nothing that closes its write hole: RAID 5 is made so that
    /// its last member is filled from the others.
    pub fn has_write_hole(&self) -> bool {
        self.lacks_one(|array| array.level == Level::Raid6) || self.arrays(|a| a.write_hole == Some(WriteHole::Bitmap))
    }

    /// Whether an array that loses a member has nothing that closes its write hole.
    pub fn has_write_hole_without_one(&self) -> bool {
        self.has_write_hole() || self.arrays(|array| array.level == Level::Raid6)
    }

    /// Whether an array has its journal on a disk of its own, without which it is not written to.
    pub fn has_journal(&self) -> bool {
        self.arrays(|array| array.journal.is_some())
    }

    /// Whether another begins with what this one made.
    pub fn is_begun_with(&self) -> bool {
        all().iter().any(|other| matches!(other.begins, Begins::Made(by) if by == self.name))
    }

    /// Whether an array is made larger, which goes on once it is at rest.
    pub fn grows(&self) -> bool {
        self.arrays(|array| array.grow)
    }

    /// The places of the disks that the node is to be started from, if they are several.
    pub fn system_disks(&self) -> Vec<usize> {
        let Some(selector) = self.config.storage.system.disks.as_ref() else { return Vec::new() };
        let is_one = |export: &Export| selector.serial.contains(&export.serial);
        exports().iter().enumerate().filter(|(_, export)| is_one(export)).map(|(at, _)| at).collect()
    }

    fn arrays(&self, which: impl Fn(&Array) -> bool) -> bool {
        self.config.storage.array.values().any(which)
    }

    fn lacks_one(&self, which: impl Fn(&Array) -> bool) -> bool {
        self.rebuilds() && self.arrays(which)
    }

    /// The volumes that must be there in the end.
    pub fn is_wanted(&self, volume: &str) -> bool {
        !volume.starts_with("others/")
    }
}

/// An image: its table, and data at both ends of its partitions.
fn image() -> Result<Vec<(u64, Vec<u8>)>> {
    let mut bytes = image_bytes()?;
    let (start, end) = image_partitions();
    let data: Vec<u8> = (0..64u32 << 10).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    bytes.extend([(start, data.clone()), (end - data.len() as u64, data)]);
    Ok(bytes)
}

/// What the partitions of the image hold on a disk.
pub fn image_on(disk: &Contents) -> Vec<u8> {
    let (start, end) = image_partitions();
    let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
    disk.read(start, &mut bytes);
    bytes
}

/// With a disk of each kind of foreign content selected too, for volumes that the node can do without.
fn beside_foreign(mut config: MachineConfig) -> MachineConfig {
    let foreign: Vec<String> = FOREIGN.iter().map(|(_, foreign)| serial(*foreign)).collect();
    let others = Each {
        disks: serials(&foreign.iter().map(String::as_str).chain(UNSYNCED).collect::<Vec<_>>()),
        format: Some(Content::Ext4),
        mount: Some("/var/lib/volumes/others-{serial}".into()),
        mount_options: Vec::new(),
        mkfs: Mkfs::default(),
        encrypt: None,
        class: None,
        partition: Default::default(),
        required: false,
        generation: 0,
    };
    config.storage.each.insert("others".into(), others);
    config
}

fn encrypted() -> MachineConfig {
    let mut config = config(&[ENCRYPTED], &[], Format::Ext4);
    config.storage.each.values_mut().for_each(|each| each.encrypt = Some(Encrypt::Passphrase));
    config
}

/// A volume in one piece and one with two copies. Of the disks each has five extents.
fn grouped(members: &[&str]) -> MachineConfig {
    let volumes = [("line", None), ("safe", Some(Layout::Raid1))];
    let volume = volumes.map(|(name, layout)| (name.to_owned(), logical(16, layout, name)));
    let group = Group { disks: serials(members), volume: volume.into(), pool: Default::default(), generation: 0 };
    let mut config = config(&[], &[], Format::Ext4);
    config.storage.group.insert("data".into(), group);
    config
}

/// A disk and a mirror without a file system.
fn raw() -> MachineConfig {
    let mut config = config(&[LONE], &MIRROR, Format::Ext4);
    config.storage.each.values_mut().for_each(|each| (each.format, each.mount) = (Some(Content::Raw), None));
    let volumes = config.storage.array.values_mut().flat_map(|array| array.volume.values_mut());
    volumes.for_each(|v| (v.format, v.mount) = (Content::Raw, None));
    config
}

fn array_of(level: Level, write_hole: Option<WriteHole>, members: &[&str]) -> MachineConfig {
    let mut config = config(&[], members, Format::Ext4);
    if let Some(array) = config.storage.array.remove("meta") {
        config.storage.array.insert("striped".into(), Array { level, write_hole, ..array });
    }
    config
}

fn journaled(members: &[&str]) -> MachineConfig {
    let mut config = array_of(Level::Raid5, Some(WriteHole::Journal), members);
    config.storage.array.values_mut().for_each(|array| array.journal = Some(serials(&[JOURNAL])));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scenario_has_a_name_of_its_own_and_lays_foreign_data_where_it_says() {
        let mut names: Vec<String> = all().into_iter().map(|s| s.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().len());
        for scenario in all() {
            let contents = scenario.contents().unwrap();
            let foreign = scenario.foreign_disks();
            assert!(foreign.len() >= FOREIGN.len() + UNSYNCED.len());
            for (at, export) in exports().iter().enumerate() {
                let laid = contents[at] != Contents::default();
                assert_eq!(laid, export.serial == SYSTEM || foreign.contains(&at), "{}", export.serial);
            }
        }
    }
}
