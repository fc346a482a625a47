//! The inventories. All are of one kind of node: a system disk, a mirror of `A1` and `A2`, and a file system each on
//! `B1` and `B2`; something is odd about each.

use crate::world::{
    GIB, IMAGE, array, config, disk, each, foreign_partition, full, image_table, lay, lost, mirror, node,
};
use crate::world::{serials, signature, ssds, striped};
use machine_config::schema::{Level, MachineConfig, Replace, Selector, Transport};
use on_disk::gpt::{SectorSize, Table};
use storage_plan::inventory::{Device, MdMember, Rest, Slot, Uses, namespace_serial};
use storage_plan::plan;
use storage_plan::simulate::{Area, Model};
use uuid::Uuid;

/// An inventory, by the model that shows it, and the codes that are to come of it.
pub struct Case {
    pub name: String,
    pub model: Model,
    pub config: MachineConfig,
    pub refused: Vec<String>,
}

fn case(name: &str, (model, config): (Model, MachineConfig), refused: &[&str]) -> Case {
    Case { name: name.into(), model, config, refused: refused.iter().map(|code| (*code).to_owned()).collect() }
}

/// What libblkid knows (its words), and hardware and volume managers leave.
const KINDS: [&str; 48] = [
    "BitLocker",
    "DM_verity_hash",
    "LVM1_member",
    "LVM2_member",
    "VMFS",
    "VMFS_volume_member",
    "adaptec_raid_member",
    "apfs",
    "atari",
    "bcache",
    "befs",
    "bsd",
    "btrfs",
    "ceph_bluestore",
    "cramfs",
    "crypto_LUKS",
    "ddf_raid_member",
    "dos",
    "drbd",
    "erofs",
    "exfat",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "gfs2",
    "hfsplus",
    "iso9660",
    "isw_raid_member",
    "jfs",
    "linux_raid_member",
    "lsi_mega_raid_member",
    "mac",
    "minix",
    "mpath_member",
    "nilfs2",
    "ntfs",
    "nvidia_raid_member",
    "ocfs2",
    "promise_fasttrack_raid_member",
    "reiserfs",
    "squashfs",
    "stratis",
    "sun",
    "swap",
    "vfat",
    "xfs",
    "zfs_member",
];

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in KINDS {
        let (mut model, config) = full();
        model.disk_mut("vdd").unwrap().device.signatures.push(signature(kind, "", "old"));
        cases.push(case(&format!("{kind} on a whole disk"), (model, config), &["BP-S014"]));
        let (mut model, config) = full();
        foreign_partition(&mut model, "vdb", signature(kind, "", ""));
        cases.push(case(&format!("{kind} in a partition"), (model, config), &["BP-S014"]));
    }
    cases.extend(of_others());
    cases.extend(of_ours());
    cases.extend(of_hardware());
    cases.extend(of_use());
    cases.extend(of_replacement());
    cases
}

/// The node with everything made, switched off.
fn made() -> (Model, MachineConfig) {
    let (mut model, config) = full();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.power_cut();
    (model, config)
}

fn changed(
    mut world: (Model, MachineConfig),
    change: impl FnOnce(&mut Model, &mut MachineConfig),
) -> (Model, MachineConfig) {
    change(&mut world.0, &mut world.1);
    world
}

/// Puts what is on the disk `from` onto the disk `to`, as dd(1) would.
fn copied(model: &mut Model, from: &str, to: &str) {
    let source = model.disks().iter().find(|d| d.device.name == from).unwrap().clone();
    let target = model.disk_mut(to).unwrap();
    (target.sectors, target.areas, target.device.size) = (source.sectors, source.areas, source.device.size);
}

/// What other machines and other systems left.
fn of_others() -> Vec<Case> {
    let foreign_member = |array: u128| MdMember {
        array: Uuid::from_u128(array),
        member: Uuid::from_u128(array + 1),
        name: "elsewhere:0".into(),
        level: 1,
        members: 2,
        role: Some(0),
        events: 40,
        clean: true,
        recovering: false,
        replaces: false,
        ppl: false,
        journaled: false,
        journal: None,
        needs: 0,
        room: 0,
        number: 0,
        positions: Vec::new(),
        bitmap_since: None,
    };
    let with_member = |both: bool| {
        changed(full(), |m, _| {
            for name in if both { &["vdb", "vdc"][..] } else { &["vdb"] } {
                foreign_partition(m, name, signature("linux_raid_member", "", "elsewhere:0"));
                let disk = m.disk_mut(name).unwrap();
                disk.areas.values_mut().for_each(|area| area.md = Some(foreign_member(0x77)));
            }
        })
    };
    vec![
        case("a member of another host's array", with_member(false), &["BP-S014"]),
        case("both members of another host's array", with_member(true), &["BP-S014"]),
        case(
            "a superblock at the end of a disk that was once a member",
            changed(full(), |m, _| {
                let disk = m.disk_mut("vdb").unwrap();
                disk.device.signatures.push(signature("linux_raid_member", "", "old:0"));
            }),
            &["BP-S014"],
        ),
        case(
            "data at the end of a disk, without a signature that anybody knows",
            changed(full(), |m, _| m.disk_mut("vdb").unwrap().device.rest = Rest::Data { offset: 2 * GIB - 4096 }),
            &["BP-S015"],
        ),
        case(
            "encrypted data without a header",
            changed(full(), |m, _| m.disk_mut("vdd").unwrap().device.rest = Rest::Data { offset: 0 }),
            &["BP-S015"],
        ),
        case("a disk erased to ones", changed(full(), |m, _| m.disk_mut("vdd").unwrap().device.rest = Rest::Ones), &[]),
        case(
            "a disk moved here from another machine of the cluster",
            changed(made(), |_, c| c.name = "n2".into()),
            &["BP-S014", "BP-S020"],
        ),
        case(
            "all disks of a machine of another cluster with the same names",
            changed(made(), |_, c| c.cluster.id = Uuid::from_u128(8)),
            &["BP-S014", "BP-S020"],
        ),
        case(
            "a table of which only the backup copy is left",
            changed(full(), |m, _| {
                foreign_partition(m, "vdd", signature("ext4", "", ""));
                m.disk_mut("vdd").unwrap().sectors.retain(|offset, _| *offset > GIB / 2);
            }),
            &["BP-S014"],
        ),
        case(
            "a table of which only the primary copy is left",
            changed(full(), |m, _| {
                foreign_partition(m, "vdd", signature("ext4", "", ""));
                m.disk_mut("vdd").unwrap().sectors.retain(|offset, _| *offset < GIB / 2);
            }),
            &["BP-S014"],
        ),
        case(
            "two copies of a table that say different things",
            changed(full(), |m, _| {
                foreign_partition(m, "vdd", signature("ext4", "", ""));
                let (mut other, _) = full();
                lay(&mut other, "vdd", &Table { guid: Uuid::from_u128(0x99), ..image_table() }, GIB);
                let other = other.disk_mut("vdd").unwrap().sectors.clone();
                let disk = m.disk_mut("vdd").unwrap();
                disk.sectors.extend(other.into_iter().filter(|(offset, _)| *offset > GIB / 2));
            }),
            &["BP-S014"],
        ),
        case(
            "a table whose checksums don't hold",
            changed(full(), |m, _| {
                foreign_partition(m, "vdd", signature("ext4", "", ""));
                let headers = m.disk_mut("vdd").unwrap().sectors.values_mut().filter(|s| s.starts_with(b"EFI PART"));
                headers.for_each(|header| header[16] ^= 1);
            }),
            &["BP-S014"],
        ),
        case(
            "half of a header of another's table, and nothing else",
            changed(full(), |m, _| {
                foreign_partition(m, "vdd", signature("ext4", "", ""));
                m.disk_mut("vdd").unwrap().sectors.retain(|offset, _| *offset == 512);
                m.disk_mut("vdd").unwrap().sectors.values_mut().for_each(|header| header[48..].fill(0));
            }),
            &["BP-S014"],
        ),
        case(
            "a hybrid of a table and a master boot record",
            changed(full(), |m, _| {
                foreign_partition(m, "vdd", signature("ext4", "", ""));
                m.disk_mut("vdd").unwrap().sectors.get_mut(&0).unwrap()[466] = 0x83;
            }),
            &["BP-S014"],
        ),
        case(
            "a boot signature behind nonsense",
            changed(full(), |m, _| {
                let mut nonsense = vec![0xd5; 512];
                nonsense[510..].copy_from_slice(&[0x55, 0xaa]);
                m.disk_mut("vdd").unwrap().sectors.insert(0, nonsense);
            }),
            &["BP-S014"],
        ),
        case(
            "two signatures at once on one disk",
            changed(full(), |m, _| {
                let both = [signature("crypto_LUKS", "", ""), signature("zfs_member", "", "tank")];
                m.disk_mut("vdd").unwrap().device.signatures.extend(both);
            }),
            &["BP-S014"],
        ),
        case(
            "a master boot record alone",
            changed(full(), |m, _| {
                let mut mbr = vec![0; 512];
                mbr[450] = 0x83;
                mbr[510..].copy_from_slice(&[0x55, 0xaa]);
                m.disk_mut("vdd").unwrap().sectors.insert(0, mbr);
            }),
            &["BP-S014"],
        ),
        case(
            "the node's own image on a second disk",
            changed(full(), |m, _| lay(m, "vdd", &image_table(), IMAGE)),
            &["BP-S014"],
        ),
    ]
}

/// What was ours, and what became of it.
fn of_ours() -> Vec<Case> {
    let striped_made = || {
        let (mut model, config) = striped();
        model.carry_out(&plan(&model.inventory(), &config)).unwrap();
        model.power_cut();
        (model, config)
    };
    let start = |m: &mut Model, name: &str| *m.disk_mut(name).unwrap().areas.keys().next().unwrap();
    vec![
        case("blank disks", full(), &[]),
        case("everything as it was made", made(), &[]),
        case("arrays of all levels on blank disks", striped(), &[]),
        case("arrays of all levels as they were made", striped_made(), &[]),
        case("half a mirror that was never made", changed(full(), |m, _| m.pull("vdc")), &["BP-S001"]),
        case("half a mirror", changed(made(), |m, _| m.pull("vdc")), &[]),
        case(
            "no member of a mirror",
            changed(made(), |m, _| ["vdb", "vdc"].iter().for_each(|n| m.pull(n))),
            &["BP-S001"],
        ),
        case("a file system's disk is gone", changed(made(), |m, _| m.pull("vde")), &["BP-S001"]),
        case(
            "half of a RAID0, too little of the others",
            changed(striped_made(), |m, _| {
                ["vdb", "vdd", "vde", "vdh", "vdi", "vdj", "vdl", "vdm"].iter().for_each(|n| m.pull(n));
            }),
            &["BP-S018"],
        ),
        case(
            "a member's copy beside the member",
            changed(made(), |m, _| copied(m, "vdb", "vde")),
            &["BP-S014", "BP-S017"],
        ),
        case(
            "a disk's copy on a disk of another volume",
            changed(made(), |m, _| copied(m, "vdd", "vde")),
            &["BP-S014"],
        ),
        case(
            "a member copied to a larger disk, with its serial number",
            changed(made(), |m, _| {
                copied(m, "vdb", "vde");
                m.pull("vdb");
                m.disk_mut("vde").unwrap().device.serial = Some("A1".into());
                m.disk_mut("vde").unwrap().device.size = 4 * GIB;
            }),
            &["BP-S001", "BP-S017"],
        ),
        case(
            "our table over what is now a whole-disk file system",
            changed(made(), |m, _| m.disk_mut("vdd").unwrap().device.signatures.push(signature("ext4", "", "over"))),
            &["BP-S014"],
        ),
        case(
            "nothing in our partition",
            changed(made(), |m, _| {
                let at = start(m, "vdd");
                m.disk_mut("vdd").unwrap().areas.insert(at, Area::default());
            }),
            &["BP-S016"],
        ),
        case(
            "another's file system in our partition",
            changed(made(), |m, _| {
                let at = start(m, "vdd");
                m.disk_mut("vdd")
                    .unwrap()
                    .areas
                    .insert(at, Area { signatures: vec![signature("xfs", "", "")], ..Area::default() });
            }),
            &["BP-S016"],
        ),
        case(
            "a member whose superblock is gone",
            changed(made(), |m, _| {
                let at = start(m, "vdb");
                m.disk_mut("vdb").unwrap().areas.insert(at, Area::default());
            }),
            &[],
        ),
        case(
            "a table of ours with a broken primary copy",
            changed(made(), |m, _| drop(m.disk_mut("vdd").unwrap().sectors.insert(512, vec![7; 512]))),
            &[],
        ),
        case(
            "a disk of ours shrunk by a host protected area",
            changed(made(), |m, _| m.disk_mut("vdd").unwrap().device.size = GIB - (64 << 20)),
            &["BP-S014"],
        ),
        case(
            "the node was imaged anew",
            changed(made(), |m, _| {
                let system = m.disk_mut("vda").unwrap();
                (system.sectors, system.areas) = Default::default();
                lay(m, "vda", &image_table(), IMAGE);
            }),
            &[],
        ),
        case(
            "a volume's name changed in the configuration",
            changed(made(), |_, c| {
                let each = c.storage.each.remove("object").unwrap();
                c.storage.each.insert("objects".into(), each);
            }),
            &["BP-S014"],
        ),
        case(
            "another level in the configuration",
            changed(striped_made(), |_, c| c.storage.array.get_mut("r10").unwrap().level = Level::Raid6),
            &["BP-S022"],
        ),
    ]
}

/// What the hardware makes of it.
fn of_hardware() -> Vec<Case> {
    let more_disks = |extra: &[(&str, &str)]| {
        let mut disks = vec![
            disk("vdb", "A1", 2 * GIB),
            disk("vdc", "A2", 2 * GIB),
            disk("vdd", "B1", GIB),
            disk("vde", "B2", GIB),
        ];
        disks.extend(extra.iter().map(|(name, serial)| disk(name, serial, 2 * GIB)));
        (node(disks), full().1)
    };
    let device = |name: &'static str, change: fn(&mut storage_plan::inventory::Device)| {
        changed(full(), |m, _| change(&mut m.disk_mut(name).unwrap().device))
    };
    let thirty: Vec<_> =
        (0..30).map(|i| disk(&format!("sda{}", char::from(b'a' + i)), &format!("T{i:02}"), GIB)).collect();
    vec![
        case("two disks with one serial number", more_disks(&[("vdf", "A1")]), &["BP-S004"]),
        case("a disk that fits and is not named", more_disks(&[("vdf", "NEW")]), &[]),
        case(
            "two paths to one disk",
            changed(more_disks(&[("vdf", "B1")]), |m, _| {
                for name in ["vdd", "vdf"] {
                    m.disk_mut(name).unwrap().device.wwn = Some("0x5000c500a1b2c3d4".into());
                }
            }),
            &["BP-S004"],
        ),
        case(
            "two paths to one disk, of which one tells no serial number",
            changed(more_disks(&[("vdf", "B1")]), |m, _| {
                for name in ["vdd", "vdf"] {
                    m.disk_mut(name).unwrap().device.wwn = Some("naa.5000c500a1b2c3d4".into());
                }
                m.disk_mut("vdf").unwrap().device.serial = None;
            }),
            &["BP-S004"],
        ),
        case(
            "a path of a multipath map",
            device("vdd", |d| d.uses = Uses { holders: vec!["dm-0".into()], multipath: true, ..Uses::default() }),
            &["BP-S011"],
        ),
        case("two namespaces of one NVMe subsystem, each for a volume", namespaces(&["A1", "A1-n2"]), &[]),
        case("the second namespace of an NVMe subsystem alone", namespaces(&["B1", "A1-n2"]), &[]),
        case("a namespace that is named and not there", namespaces(&["A1", "A1-n3"]), &["BP-S001"]),
        case("a disk without serial number and wwn", device("vdd", |d| d.serial = None), &["BP-S001"]),
        case("a disk with blanks for a serial number", device("vdd", |d| d.serial = Some("   ".into())), &["BP-S001"]),
        case("a write-protected disk", device("vdd", |d| d.read_only = true), &["BP-S010"]),
        case("a disk of 8 MiB", device("vdd", |d| d.size = 8 << 20), &["BP-S010"]),
        case("a disk with sectors of 520 bytes", device("vdd", |d| d.logical_sector = 520), &["BP-S010"]),
        case("a disk that can't be read", device("vdd", |d| d.rest = Rest::NotProbed), &["BP-S015"]),
        case("disks in bays", device("vdd", |d| d.slot = Some(Slot { enclosure: "0".into(), bay: "7".into() })), &[]),
        case("a 512e disk", device("vdd", |d| d.physical_sector = 4096), &[]),
        case("a 4Kn disk", device("vdd", |d| (d.logical_sector, d.physical_sector) = (4096, 4096)), &[]),
        case(
            "a 4Kn disk in a mirror of 512e ones",
            device("vdb", |d| (d.logical_sector, d.physical_sector) = (4096, 4096)),
            &["BP-S010"],
        ),
        case("a larger disk in a mirror", device("vdb", |d| d.size = 4 * GIB), &[]),
        case(
            "a stick that nobody named",
            {
                let mut stick = disk("sdz", "STICK", 8 * GIB);
                (stick.removable, stick.transport) = (true, Some(Transport::Usb));
                (
                    node(vec![disk("vdb", "A1", 2 * GIB), disk("vdc", "A2", 2 * GIB), stick]),
                    config(&[], &[("meta", mirror(ssds(2), "/var/lib/volumes/db"))]),
                )
            },
            &[],
        ),
        case(
            "thirty disks, by their count",
            {
                let disks = Selector { count: Some(30), ..ssds(30) };
                (node(thirty), config(&[("object", each(disks, true))], &[]))
            },
            &[],
        ),
        case(
            "one disk more than the count",
            {
                let disks = (0..5).map(|i| disk(&format!("vd{i}"), &format!("C{i}"), GIB)).collect();
                (node(disks), config(&[], &[("r6", array(Level::Raid6, ssds(4), 0, "/var/lib/volumes/db"))]))
            },
            &["BP-S003"],
        ),
        case(
            "a disk for two volumes",
            {
                let (model, mut config) = full();
                config.storage.each.get_mut("object").unwrap().disks = serials(&["A2", "B1"]);
                (model, config)
            },
            &["BP-S005"],
        ),
        case(
            "a 4Kn system disk with a table for sectors of 512 bytes",
            {
                let (mut model, config) = full();
                model.disk_mut("vda").unwrap().device.logical_sector = 4096;
                assert_eq!(image_table().sector, SectorSize::B512);
                (model, config)
            },
            &["BP-S020"],
        ),
        case(
            "a system disk without room behind the image",
            changed(full(), |m, _| m.disk_mut("vda").unwrap().device.size = IMAGE),
            &["BP-S020"],
        ),
        case(
            "data behind the image",
            changed(full(), |m, _| m.disk_mut("vda").unwrap().device.free_tail = Rest::Data { offset: 400 << 20 }),
            &["BP-S015"],
        ),
    ]
}

/// Two namespaces of the NVMe subsystem with serial number A1 and a disk B1; a file system on each disk that is named.
fn namespaces(named: &[&str]) -> (Model, MachineConfig) {
    let namespace = |name: &str, number: u32| Device {
        namespace: Some(number),
        wwn: Some(format!("eui.36344630528{number:05}0025384300000001")),
        transport: Some(Transport::Nvme),
        ..disk(name, &namespace_serial("A1", number), GIB)
    };
    let disks = vec![namespace("nvme0n1", 1), namespace("nvme0n2", 2), disk("vdb", "B1", GIB)];
    (node(disks), config(&[("object", each(serials(named), true))], &[]))
}

/// What something uses already.
fn of_use() -> Vec<Case> {
    let used = |change: fn(&mut storage_plan::inventory::Uses)| {
        changed(full(), |m, _| change(&mut m.disk_mut("vdd").unwrap().device.uses))
    };
    vec![
        case("a disk that is mounted", used(|u| u.mounts.push("/mnt".into())), &["BP-S011"]),
        case("a disk that is swap", used(|u| u.swap = true), &["BP-S011"]),
        case("a disk that a map is on", used(|u| u.holders.push("dm-0".into())), &["BP-S011"]),
    ]
}

/// A mirror that lost a member, and what stands in its place.
fn of_replacement() -> Vec<Case> {
    type Change = fn(&mut Model, &mut MachineConfig);
    let case =
        |name: &str, named: bool, refused: &[&str], change: Change| case(name, changed(lost(named), change), refused);
    let foreign: Change = |m, _| foreign_partition(m, "vdf", signature("xfs", "", "mail"));
    let small: Change = |m, _| m.disk_mut("vdf").unwrap().device.size = GIB;
    vec![
        case("a named blank disk in place of a lost member", true, &[], |_, _| ()),
        case("a named blank disk after the node was off", true, &[], |m, _| m.power_cut()),
        case("a blank disk in the slot of a lost member", false, &[], |_, _| ()),
        case("a blank disk in the slot after the node was off", false, &[], |m, _| m.power_cut()),
        case("a blank disk in the slot, and only names count", false, &[], |_, c| {
            c.storage.array.get_mut("meta").unwrap().replace = Replace::Named;
        }),
        case("a blank disk in another slot", false, &[], |m, _| {
            m.disk_mut("vdf").unwrap().device.by_path = vec!["pci-other".into()];
        }),
        case("a named disk of another's in place of a lost member", true, &["BP-S014"], foreign),
        case("a disk of another's in the slot of a lost member", false, &["BP-S014"], foreign),
        case("a named disk that is too small for a member", true, &["BP-S010"], small),
        case("a disk in the slot that is too small for a member", false, &["BP-S010"], small),
        case("a larger disk in the slot of a lost member", false, &[], |m, _| {
            m.disk_mut("vdf").unwrap().device.size = 4 * GIB;
        }),
        case("a 4Kn disk in the slot of a lost member", false, &["BP-S010"], |m, _| {
            let device = &mut m.disk_mut("vdf").unwrap().device;
            (device.logical_sector, device.physical_sector) = (4096, 4096);
        }),
        case("two named disks where one member is lacking", true, &["BP-S003"], |m, c| {
            m.plug(disk("vdg", "A4", 2 * GIB));
            c.storage.array.get_mut("meta").unwrap().disks = serials(&["A3", "A4"]);
        }),
    ]
}
