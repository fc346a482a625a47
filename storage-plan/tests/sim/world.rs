//! Machines and configurations that the tests plan on.

use machine_config::permit::{Granted, Leave, Method, Permit};
use machine_config::schema::{
    Array, Cluster, Content, DirtyDegraded, Each, Encrypt, Group, Layout, Level, Logical, MachineConfig, Media, Mkfs,
    Node, Partition as Part, Pool, Rebuild, Replace, Scrub, Selector, Storage, System, Time, Transport, Volume,
};
use machine_config::utc::Utc;
use on_disk::gpt::{Partition, SectorSize, Table, kind, layout};
use std::collections::{BTreeMap, BTreeSet};
use storage_plan::inventory::{BootDisk, Device, Keys, Rest, Signature, Uses};
use storage_plan::simulate::{Area, Effect, Model};
use storage_plan::{Action, Plan, Verdict, VolumeVerdict, plan};
use uuid::Uuid;

pub const GIB: u64 = 1 << 30;
pub const ROOT: Uuid = Uuid::from_u128(0xabc);

pub fn disk(name: &str, serial: &str, size: u64) -> Device {
    let model = Model::blank(Vec::new(), None).inventory();
    assert!(model.devices.is_empty());
    Device {
        name: name.into(),
        number: format!("254:{}", name.bytes().map(u32::from).sum::<u32>()),
        sysfs: format!("/sys/devices/pci0000:00/{serial}"),
        serial: Some(serial.into()),
        namespace: None,
        wwn: None,
        model: Some("HARDDISK".into()),
        by_path: vec![format!("pci-{serial}")],
        slot: None,
        size,
        logical_sector: 512,
        physical_sector: 512,
        rotational: false,
        transport: Some(Transport::Virtio),
        removable: false,
        read_only: false,
        locked: false,
        signatures: Vec::new(),
        table: on_disk::gpt::read(0, SectorSize::B512, |_, n| Ok::<_, ()>(vec![0; n])).unwrap(),
        ends: Vec::new(),
        rest: Rest::Zero,
        free_tail: Rest::Zero,
        partitions: Vec::new(),
        uses: Uses::default(),
    }
}

pub fn serials(serials: &[&str]) -> Selector {
    Selector { serial: serials.iter().map(|s| (*s).to_owned()).collect(), ..Selector::default() }
}

pub fn ssds(count: usize) -> Selector {
    Selector { media: Some(Media::Ssd), count: Some(count), ..Selector::default() }
}

pub fn mirror(disks: Selector, mount: &str) -> Array {
    array(Level::Raid1, disks, 0, mount)
}

pub fn array(level: Level, disks: Selector, spares: u32, mount: &str) -> Array {
    let volume = Volume {
        format: Content::Xfs,
        mount: Some(mount.into()),
        mount_options: Vec::new(),
        mkfs: Mkfs::default(),
        encrypt: None,
        class: None,
        required: true,
    };
    let volume = BTreeMap::from([("db".into(), volume)]);
    Array {
        level,
        disks,
        spares,
        chunk: None,
        rebuild: Rebuild::default(),
        scrub: Scrub::default(),
        write_hole: None,
        journal: None,
        dirty_degraded: DirtyDegraded::Stop,
        reserve: None,
        replace: Replace::Named,
        retire: Vec::new(),
        grow: false,
        volume,
        generation: 0,
    }
}

/// A node with an array of each level that has stripes: 0 of two disks, 5 of three and a spare, 6 and 10 of four.
pub fn striped() -> (Model, MachineConfig) {
    let named = |level: u8, count: u8| -> Vec<String> { (0..count).map(|n| format!("R{level}-{n}")).collect() };
    let layout = [(Level::Raid0, 2, 0), (Level::Raid5, 4, 1), (Level::Raid6, 4, 0), (Level::Raid10, 4, 0)];
    let mut disks = Vec::new();
    let mut arrays = Vec::new();
    for (level, count, spares) in layout {
        let number = u8::from(level);
        for serial in named(number, count) {
            disks.push(disk(&format!("vd{}", char::from(b'b' + disks.len() as u8)), &serial, GIB));
        }
        let selector = Selector { serial: named(number, count), ..Selector::default() };
        arrays.push((format!("r{number}"), array(level, selector, spares, &format!("/var/lib/volumes/r{number}"))));
    }
    let arrays: Vec<(&str, Array)> = arrays.iter().map(|(name, array)| (name.as_str(), array.clone())).collect();
    (node(disks), config(&[], &arrays))
}

pub fn each(disks: Selector, required: bool) -> Each {
    Each {
        disks,
        format: Some(Content::Ext4),
        mount: Some("/var/lib/volumes/{serial}".into()),
        mount_options: Vec::new(),
        mkfs: Mkfs::default(),
        encrypt: None,
        class: None,
        partition: BTreeMap::new(),
        required,
        generation: 0,
    }
}

pub fn config(each: &[(&str, Each)], array: &[(&str, Array)]) -> MachineConfig {
    let owned = |n: &&str| (*n).to_owned();
    MachineConfig {
        name: "n1".into(),
        revision: 1,
        cluster: Cluster {
            id: Uuid::from_u128(7),
            name: "rack".into(),
            api: Vec::new(),
            domain: "cluster.local".into(),
            dns: Vec::new(),
            control_plane: Vec::new(),
        },
        network: BTreeMap::new(),
        address: BTreeMap::new(),
        storage: Storage {
            system: System::default(),
            each: each.iter().map(|(n, e)| (owned(n), e.clone())).collect(),
            array: array.iter().map(|(n, a)| (owned(n), a.clone())).collect(),
            ..Storage::default()
        },
        node: Node::default(),
        time: Time::default(),
    }
}

/// What `config` comes to on `model`, which then loses its power.
pub fn made(mut model: Model, config: &MachineConfig) -> Model {
    let plan = plan(&model.inventory(), config);
    assert!(!plan.is_blocked(), "{:#?}", plan.all_refusals());
    model.carry_out(&plan).unwrap();
    model.power_cut();
    model
}

/// A node with an array `meta` of this level over `members` disks and some spares, `S0` and on, each named.
pub fn named_array(level: Level, members: usize, spares: u32) -> (Model, MachineConfig) {
    let count = members + spares as usize;
    let names: Vec<String> = (0..count).map(|i| format!("S{i}")).collect();
    let disks = (0..count).map(|i| disk(&format!("vd{i}"), &names[i], GIB)).collect();
    let named: Vec<&str> = names.iter().map(String::as_str).collect();
    let config = config(&[], &[("meta", array(level, serials(&named), spares, "/var/lib/volumes/db"))]);
    let mut model = node(disks);
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    (model, config)
}

/// Puts blank disks in, those that are true with a name in `array`. Gives the kernel's names of these.
pub fn plug_blank(model: &mut Model, array: &mut Array, blank: &[bool]) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for (i, is_named) in blank.iter().enumerate() {
        model.plug(disk(&format!("vdn{i}"), &format!("N{i}"), GIB));
        if *is_named {
            array.disks.serial.push(format!("N{i}"));
            named.insert(format!("vdn{i}"));
        }
    }
    named
}

/// The table that an image brings along: ESP, root, hash tree.
pub fn image_table() -> Table {
    let part = |number: u32, kind: Uuid, guid: Uuid, start: u64, size: u64, name: &str| Partition {
        number,
        kind,
        guid,
        start: start << 20,
        size: size << 20,
        attributes: 0,
        name: name.into(),
    };
    Table {
        guid: Uuid::from_u128(0x1111),
        sector: SectorSize::B512,
        partitions: vec![
            part(1, kind::ESP, Uuid::from_u128(0xe5b), 1, 64, "esp"),
            part(2, kind::ROOT_X86_64, ROOT, 65, 200, "root-a"),
            part(3, kind::ROOT_X86_64_VERITY, Uuid::from_u128(0xabd), 265, 16, "root-a-verity"),
        ],
    }
}

/// Writes `table` on a disk of the model as if that disk had `size` bytes.
pub fn lay(model: &mut Model, name: &str, table: &Table, size: u64) {
    let disk = model.disk_mut(name).unwrap();
    let sector = disk.device.logical_sector as usize;
    for write in layout(table, size).unwrap() {
        for (i, bytes) in write.bytes.chunks(sector).enumerate() {
            disk.sectors.insert(write.offset + (i * sector) as u64, bytes.to_vec());
        }
    }
}

pub const IMAGE: u64 = 300 << 20;

/// A node started from `vda`, with an image written to a disk larger than the image, and these further disks.
pub fn node(others: Vec<Device>) -> Model {
    let mut devices = vec![disk("vda", "SYS", 8 * GIB)];
    devices.extend(others);
    let mut model = Model::blank(devices, Some(BootDisk { disk: "vda".into(), root_partition: ROOT }));
    lay(&mut model, "vda", &image_table(), IMAGE);
    model
}

pub fn signature(kind: &str, uuid: &str, label: &str) -> Signature {
    Signature {
        kind: kind.into(),
        uuid: Some(uuid.into()).filter(|u: &String| !u.is_empty()),
        label: Some(label.into()).filter(|l: &String| !l.is_empty()),
    }
}

/// A foreign partition table with one file system in it.
pub fn foreign_partition(model: &mut Model, name: &str, signature: Signature) {
    let size = model.disk_mut(name).unwrap().device.size;
    let table = Table {
        guid: Uuid::from_u128(0x4444),
        sector: SectorSize::B512,
        partitions: vec![Partition {
            number: 1,
            kind: kind::DATA,
            guid: Uuid::from_u128(0x5555),
            start: 1 << 20,
            size: 100 << 20,
            attributes: 0,
            name: "data".into(),
        }],
    };
    lay(model, name, &table, size);
    let area = Area { signatures: vec![signature], ..Area::default() };
    model.disk_mut(name).unwrap().areas.insert(1 << 20, area);
}

/// A node with a mirror on two disks and a file system on each of two others.
pub fn full() -> (Model, MachineConfig) {
    let model = node(vec![
        disk("vdb", "A1", 2 * GIB),
        disk("vdc", "A2", 2 * GIB),
        disk("vdd", "B1", GIB),
        disk("vde", "B2", GIB),
    ]);
    let config = config(
        &[("object", each(serials(&["B1", "B2"]), true))],
        &[("meta", mirror(serials(&["A1", "A2"]), "/var/lib/volumes/db"))],
    );
    (model, config)
}

/// A volume of a group with this size in MiB, or all that is left.
pub fn logical(mib: Option<u64>, layout: Option<Layout>, name: &str) -> Logical {
    Logical {
        size: mib.map(|mib| mib << 20),
        layout,
        over: None,
        pool: None,
        format: Content::Xfs,
        mount: Some(format!("/var/lib/volumes/{name}")),
        mount_options: Vec::new(),
        mkfs: Mkfs::default(),
        encrypt: None,
        class: None,
        required: true,
    }
}

/// A node with the volume group `data` over three disks, in it a volume of each layout, one that is encrypted, and two in a thin
/// pool; and the passphrase.
pub fn grouped() -> (Model, MachineConfig) {
    let disks = ["G1", "G2", "G3"];
    let mut model = node(disks.iter().zip(["vdb", "vdc", "vdd"]).map(|(s, name)| disk(name, s, 4 * GIB)).collect());
    model.keys = Keys::ALL;
    let thin = |name: &str| Logical { pool: Some("thin".into()), ..logical(Some(8192), None, name) };
    let secret = Logical { encrypt: Some(Encrypt::Passphrase), ..logical(Some(400), None, "secret") };
    let rest = Logical { format: Content::Raw, mount: None, ..logical(None, None, "rest") };
    let volumes = [
        ("db", logical(Some(500), None, "db")),
        ("fast", logical(Some(900), Some(Layout::Striped), "fast")),
        ("safe", logical(Some(600), Some(Layout::Raid1), "safe")),
        ("secret", secret),
        ("a", thin("a")),
        ("b", thin("b")),
        ("rest", rest),
    ];
    let group = Group {
        disks: serials(&disks),
        volume: volumes.into_iter().map(|(name, volume)| (name.to_owned(), volume)).collect(),
        pool: BTreeMap::from([("thin".to_owned(), Pool { size: 1 << 30 })]),
        generation: 0,
    };
    let mut config = config(&[], &[]);
    config.storage.group.insert("data".into(), group);
    (model, config)
}

/// The node of [`full`], whose volumes are all raw.
pub fn raw() -> (Model, MachineConfig) {
    let (model, mut config) = full();
    let object = config.storage.each.get_mut("object").unwrap();
    (object.format, object.mount) = (Some(Content::Raw), None);
    let db = config.storage.array.get_mut("meta").unwrap().volume.get_mut("db").unwrap();
    (db.format, db.mount) = (Content::Raw, None);
    (model, config)
}

/// A partition of this many MiB, or all that is left, with a file system that is mounted at `/var/lib/NAME/{serial}`; or raw.
pub fn part(mib: Option<u64>, format: Content, name: &str) -> (String, Part) {
    let mount = format.file_system().map(|_| format!("/var/lib/{name}/{{serial}}"));
    let (mount_options, mkfs) = (Vec::new(), Mkfs::default());
    let size = mib.map(|mib| mib << 20);
    (name.to_owned(), Part { size, format, mount, mount_options, mkfs, encrypt: None, class: None })
}

/// An `each` of these disks with these partitions.
pub fn each_of(disks: Selector, parts: impl IntoIterator<Item = (String, Part)>) -> Each {
    Each { format: None, mount: None, partition: parts.into_iter().collect(), ..each(disks, true) }
}

/// The node of [`full`], each of whose single disks has XFS, an encrypted ext4, and a raw volume on the rest; and the passphrase.
pub fn partitioned() -> (Model, MachineConfig) {
    let (mut model, mut config) = full();
    model.keys = Keys::ALL;
    let mut secret = part(Some(100), Content::Ext4, "secret");
    secret.1.encrypt = Some(Encrypt::Passphrase);
    let parts = [part(None, Content::Raw, "data"), secret, part(Some(320), Content::Xfs, "meta")];
    config.storage.each.insert("object".into(), each_of(serials(&["B1", "B2"]), parts));
    (model, config)
}

/// The node of [`full`], whose volumes of data are all encrypted, and which has the passphrase.
pub fn encrypted() -> (Model, MachineConfig) {
    let (mut model, mut config) = full();
    model.keys = Keys::ALL;
    let storage = &mut config.storage;
    storage.each.values_mut().for_each(|each| each.encrypt = Some(Encrypt::Passphrase));
    let volumes = storage.array.values_mut().flat_map(|array| array.volume.values_mut());
    volumes.for_each(|volume| volume.encrypt = Some(Encrypt::Passphrase));
    (model, config)
}

/// The node of [`full`] as it runs, its mirror without `vdc` (A2), and a blank disk `vdf` (A3) in the place where that was;
/// the configuration names it where `named`, and asks for the same slot where not.
pub fn lost(named: bool) -> (Model, MachineConfig) {
    let (mut model, mut config) = full();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.remembered = storage_plan::remember::remember(&model.inventory(), &config);
    model.pull("vdc");
    model.plug(Device { by_path: vec!["pci-A2".into()], ..disk("vdf", "A3", 2 * GIB) });
    let meta = config.storage.array.get_mut("meta").unwrap();
    if named {
        meta.disks = serials(&["A1", "A3"]);
    } else {
        meta.replace = Replace::SameSlot;
    }
    (model, config)
}

/// A permit of [`config`]'s machine for the disk with this serial number and these layers.
pub fn permit(serial: &str, expect: &[&str]) -> Granted {
    let issued = Utc(1_800_000_000);
    Granted {
        permit: Permit {
            permit: machine_config::permit::FORMAT,
            action: Leave::Erase,
            id: Uuid::new_v5(&Uuid::from_u128(0x9e), format!("{serial} {expect:?}").as_bytes()),
            cluster: Uuid::from_u128(7),
            machine: "n1".into(),
            device: serial.into(),
            expect: expect.iter().map(|layer| (*layer).to_owned()).collect(),
            method: Method::Wipe,
            psid: None,
            issued,
            expires: issued.after(3600),
        },
        signed_by: "config".into(),
    }
}

/// A permit for all that is on the disk with this kernel name.
pub fn permit_for(model: &Model, name: &str) -> Granted {
    let inventory = model.inventory();
    let device = inventory.devices.iter().find(|d| d.name == name).unwrap();
    let layers = storage_plan::erase::layers(device).unwrap();
    permit(device.identity().unwrap(), &layers.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The node of [`full`] whose four disks hold what is not ours: a file system, another's partitions, data, and two
/// signatures at once; and a permit for each.
pub fn foreign() -> (Model, MachineConfig) {
    let (mut model, config) = full();
    let found = |kind: &str, label: &str| signature(kind, "3f2a6c1e-0000-4000-8000-000000000000", label);
    model.disk_mut("vdb").unwrap().device.signatures.push(found("ext4", "backup-2019"));
    foreign_partition(&mut model, "vdc", found("xfs", "mail"));
    model.disk_mut("vdd").unwrap().device.rest = Rest::Data { offset: 77 << 20 };
    let both = [found("crypto_LUKS", ""), signature("zfs_member", "", "tank")];
    model.disk_mut("vde").unwrap().device.signatures.extend(both);
    model.disk_mut("vde").unwrap().sectors.insert(1024, vec![7; 512]);
    for name in ["vdb", "vdc", "vdd", "vde"] {
        let permit = permit_for(&model, name);
        model.grant(permit);
    }
    (model, config)
}

/// All that carrying `plan` out on `model` does, in order.
pub fn effects(model: &Model, plan: &Plan) -> Vec<Effect> {
    let mut model = model.clone();
    let mut all = Vec::new();
    for step in &plan.graph.steps {
        for effect in model.effects(&step.action).unwrap() {
            model.apply(effect.clone());
            all.push(effect);
        }
    }
    all
}

/// Cuts a run on `model` after those effects that `which` names, by their number and the effect that comes next, and insists that
/// one run more makes it whole.
pub fn converges_after_cuts(
    model: &Model,
    config: &MachineConfig,
    which: impl Fn(usize, Option<&Effect>) -> bool,
    is_whole: impl Fn(&Model, &MachineConfig, &str),
) {
    let effects = effects(model, &plan(&model.inventory(), config));
    for cut in (0..=effects.len()).filter(|cut| which(*cut, effects.get(*cut))) {
        // With the power, and with the agent alone: then what it activated and opened is so still.
        for power in [true, false] {
            let mut model = model.clone();
            effects[..cut].iter().for_each(|effect| model.apply(effect.clone()));
            if power {
                model.power_cut();
            }
            let context = format!("cut {cut} of {}, with the power: {power}", effects.len());
            let next = plan(&model.inventory(), config);
            assert!(!next.is_blocked(), "{context}: {:#?}", next.all_refusals());
            model.carry_out(&next).unwrap_or_else(|e| panic!("{context}: {e:?}"));
            is_whole(&model, config, &context);
        }
    }
}

pub fn volume<'a>(plan: &'a Plan, name: &str) -> &'a VolumeVerdict {
    plan.volumes.iter().find(|v| v.volume == name).unwrap_or_else(|| panic!("no {name}"))
}

pub fn codes(plan: &Plan) -> Vec<String> {
    plan.all_refusals().into_iter().map(|d| d.code).collect()
}

/// The volume is kept, nothing is written for any, and just this is refused of what was asked for beside them.
pub fn writes_nothing(plan: &Plan, name: &str, refused: &[&str], context: &str) {
    assert_eq!(
        (codes(plan), plan.is_blocked()),
        (refused.iter().map(|c| (*c).to_owned()).collect(), false),
        "{context}"
    );
    assert_eq!((volume(plan, name).verdict, plan.writes()), (Verdict::Keep, 0), "{context}");
}

pub fn written(plan: &Plan) -> BTreeSet<String> {
    let steps = plan.graph.steps.iter().filter(|s| s.action.writes());
    steps.flat_map(|s| s.action.disks()).map(str::to_owned).collect()
}

/// What each step does, in a word.
pub fn steps(plan: &Plan) -> Vec<&'static str> {
    let word = |action: &Action| match action {
        Action::Erase { .. } => "erase",
        Action::WriteTable { .. } => "table",
        Action::CopyImage { .. } => "image",
        Action::AddMember { .. } => "add",
        Action::ReturnMember { .. } => "return",
        Action::CopyMember { .. } => "copy",
        Action::ReleaseMember { .. } => "release",
        Action::AssembleArray { .. } => "assemble",
        Action::Mount { .. } => "mount",
        Action::Link { .. } => "link",
        Action::Encrypt { .. } => "encrypt",
        Action::Seal { .. } => "seal",
        Action::Open { .. } => "open",
        Action::CreateGroup { .. } => "group",
        Action::CreateLogical { .. } => "cut",
        Action::FinishLogical { .. } => "finish",
        Action::GrowLogical { .. } | Action::GrowArray { .. } => "grow",
        Action::GrowFilesystem { .. } => "fill",
        Action::Activate { .. } => "activate",
        Action::CreateArray { .. } | Action::MakeFilesystem { .. } | Action::Clear { .. } => "make",
    };
    plan.graph.steps.iter().map(|s| word(&s.action)).collect()
}

/// The node of [`full`] as it runs, and a blank disk `vdf` (A3) that its mirror names, and that A2 is to be copied onto.
pub fn retiring() -> (Model, MachineConfig) {
    let (mut model, mut config) = full();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.plug(disk("vdf", "A3", 2 * GIB));
    let meta = config.storage.array.get_mut("meta").unwrap();
    (meta.disks, meta.retire) = (serials(&["A1", "A3"]), vec!["A2".into()]);
    (model, config)
}

/// The node of [`full`] as it runs, and a blank disk `vdf` (A3) that its mirror names and is to have as a spare.
pub fn with_one_spare_more() -> (Model, MachineConfig) {
    let (model, mut config) = retiring();
    let meta = config.storage.array.get_mut("meta").unwrap();
    (meta.disks, meta.spares, meta.retire) = (serials(&["A1", "A2", "A3"]), 1, Vec::new());
    (model, config)
}

/// The node of [`full`] as it runs, with `vdc` (A2) back in, which was away from the mirror while something was written.
pub fn returned() -> (Model, MachineConfig) {
    let (mut model, config) = full();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.serve();
    let old = model.disks().iter().find(|d| d.device.name == "vdc").unwrap().clone();
    model.pull("vdc");
    model.serve();
    model.serve();
    model.put_back(old);
    (model, config)
}

/// A node whose state is mirrored on the disk with the image, `vda` (SYS), and on `vdb` (SYS2), which is blank; and a file
/// system on `vdc` (B1). What the image's partitions hold can be told apart.
pub fn mirrored() -> (Model, MachineConfig) {
    let mut model = node(vec![disk("vdb", "SYS2", 9 * GIB), disk("vdc", "B1", GIB)]);
    let holds = ["vfat", "erofs", "DM_verity_hash"].map(|kind| signature(kind, "", ""));
    for (partition, holds) in image_table().partitions.iter().zip(holds) {
        let area = Area { signatures: vec![holds], ..Area::default() };
        model.disk_mut("vda").unwrap().areas.insert(partition.start, area);
    }
    let mut config = config(&[("object", each(serials(&["B1"]), true))], &[]);
    config.storage.system.disks = Some(serials(&["SYS", "SYS2"]));
    (model, config)
}

/// Whether firmware starts a node from the disk with this kernel name: its table, or the backup where that is broken, has an EFI
/// system partition.
pub fn can_be_started(model: &Model, name: &str) -> bool {
    let Some(disk) = model.disks().iter().find(|d| d.device.name == name) else { return false };
    disk.table().usable().is_some_and(|t| t.partitions.iter().any(|p| p.kind == kind::ESP))
}

/// Whether the partitions of the image hold the same on both disks.
pub fn has_image_of(model: &Model, name: &str, of: &str) -> bool {
    let area = |name: &str, start: u64| {
        let disk = model.disks().iter().find(|d| d.device.name == name).unwrap();
        disk.areas.get(&start).cloned().unwrap_or_default()
    };
    image_table()
        .partitions
        .iter()
        .all(|p| area(of, p.start) == area(name, p.start) && area(name, p.start) != Area::default())
}
