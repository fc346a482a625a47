//! Invariants 1 to 3, 7 and 8 of storage, each test named after what it proves.

use crate::world::*;
use machine_config::schema::MachineConfig;
use proptest::prelude::*;
use std::collections::BTreeSet;
use storage_plan::inventory::{Device, Inventory, Rest};
use storage_plan::simulate::Model;
use storage_plan::{Action, Plan, Verdict, plan};

fn verdict(plan: &Plan, volume: &str) -> Verdict {
    plan.volumes.iter().find(|v| v.volume == volume).unwrap_or_else(|| panic!("no {volume}")).verdict
}

#[test]
fn blank_disks_become_what_the_config_asks_for() {
    let (model, config) = full();
    let plan = plan(&model.inventory(), &config);
    assert_eq!(plan.volumes.len(), 4);
    assert!(plan.volumes.iter().all(|v| v.verdict == Verdict::Create));
    // State: table, mkfs, table, mount. Each: the same, twice. Mirror: 2 tables, create, mkfs, 2 tables, mount.
    assert_eq!(plan.graph.steps.len(), 4 + 2 * 4 + 7);
    let table = storage_plan::explain::table(&plan);
    assert!(table.contains("meta/db  ") && table.contains("RAID1 2/2"), "{table}");
}

#[test]
fn invariant_1_a_missing_disk_is_refused_by_name_and_no_other_is_used() {
    let (mut model, config) = full();
    model.pull("vdc");
    let plan = plan(&model.inventory(), &config);
    let refusals = plan.all_refusals();
    assert_eq!(codes(&plan), ["BP-S001"]);
    assert!(refusals[0].what.contains("A2") && refusals[0].what.contains("meta"), "{refusals:?}");
    assert!(plan.clone().approve().is_err());
    assert!(plan.graph.steps.iter().all(|s| s.action.disks().iter().all(|d| *d != "vdb")));
}

#[test]
fn invariant_1_counts_are_exact() {
    let disks = |n: usize| (0..n).map(|i| disk(&format!("vd{i}"), &format!("S{i}"), 2 * GIB)).collect::<Vec<_>>();
    let config = config(&[], &[("meta", mirror(ssds(2), "/var/lib/volumes/db"))]);
    assert_eq!(codes(&plan(&node(disks(1)).inventory(), &config)), ["BP-S002"]);
    assert_eq!(codes(&plan(&node(disks(2)).inventory(), &config)), Vec::<String>::new());
    assert_eq!(codes(&plan(&node(disks(3)).inventory(), &config)), ["BP-S003"]);
}

#[test]
fn invariant_1_two_disks_with_one_serial_number_are_refused() {
    let (mut model, config) = full();
    model.disk_mut("vde").unwrap().device.serial = Some("A1".into());
    let plan = plan(&model.inventory(), &config);
    assert!(codes(&plan).contains(&"BP-S004".into()), "{:?}", codes(&plan));
    assert!(plan.approve().is_err());
}

#[test]
fn invariant_1_two_paths_to_one_disk_are_no_mirror() {
    let path = |name: &str, serial: Option<&str>| Device {
        serial: serial.map(Into::into),
        wwn: Some("naa.5000c500a1b2c3d4".into()),
        ..disk(name, "A1", 2 * GIB)
    };
    let config = config(&[], &[("meta", mirror(ssds(2), "/var/lib/volumes/db"))]);
    for second in [Some("A1"), None, Some("A2")] {
        let plan = plan(&node(vec![path("sda", Some("A1")), path("sdb", second)]).inventory(), &config);
        assert_eq!(codes(&plan), ["BP-S004"], "{second:?}");
        let what = &plan.all_refusals()[0].what;
        assert!(what.contains("is reached over 2 paths") && plan.approve().is_err(), "{what}");
    }
    // Equal serial numbers alone say nothing of the kind: cheap bridges all tell the same.
    let twins = node(vec![disk("sda", "A1", 2 * GIB), disk("sdb", "A1", 2 * GIB)]);
    let plan = plan(&twins.inventory(), &config);
    assert_eq!(codes(&plan), ["BP-S004"]);
    assert!(plan.all_refusals()[0].what.contains("2 disks answer to A1"), "{:?}", plan.all_refusals());
}

#[test]
fn invariant_1_a_disk_without_identity_is_refused() {
    let mut model = node(vec![disk("vdb", "X", 2 * GIB), disk("vdc", "Y", 2 * GIB)]);
    model.disk_mut("vdc").unwrap().device.serial = None;
    let config = config(&[], &[("meta", mirror(ssds(2), "/var/lib/volumes/db"))]);
    assert_eq!(codes(&plan(&model.inventory(), &config)), ["BP-S006"]);
}

#[test]
fn invariant_1_one_disk_for_two_volumes_is_refused() {
    let model = node(vec![disk("vdb", "A1", 2 * GIB), disk("vdc", "A2", 2 * GIB)]);
    let config = config(
        &[("object", each(serials(&["A1"]), true))],
        &[("meta", mirror(serials(&["A1", "A2"]), "/var/lib/volumes/db"))],
    );
    let plan = plan(&model.inventory(), &config);
    assert_eq!(codes(&plan), ["BP-S005"]);
    assert!(plan.approve().is_err());
}

#[test]
fn invariant_2_anything_foreign_on_a_selected_disk_is_refused_and_said() {
    type Lay = fn(&mut Model);
    let cases: [(&str, Lay, &str, &str); 8] = [
        (
            "file system",
            |m| {
                let found = signature("ext4", "3f2a6c1e-0000-4000-8000-000000000000", "backup-2019");
                m.disk_mut("vdb").unwrap().device.signatures.push(found);
            },
            "BP-S014",
            "ext4 \"backup-2019\" (3f2a6c1e)",
        ),
        (
            "LUKS",
            |m| m.disk_mut("vdb").unwrap().device.signatures.push(signature("crypto_LUKS", "", "")),
            "BP-S014",
            "crypto_LUKS",
        ),
        (
            "ZFS",
            |m| m.disk_mut("vdb").unwrap().device.signatures.push(signature("zfs_member", "", "tank")),
            "BP-S014",
            "zfs_member \"tank\"",
        ),
        (
            "another array",
            |m| m.disk_mut("vdb").unwrap().device.signatures.push(signature("linux_raid_member", "", "other:0")),
            "BP-S014",
            "linux_raid_member",
        ),
        (
            "GPT",
            |m| foreign_partition(m, "vdb", signature("xfs", "", "mail")),
            "BP-S014",
            "xfs \"mail\" on partition 1",
        ),
        (
            "MBR",
            |m| {
                let mut mbr = vec![0; 512];
                mbr[450] = 0x83;
                mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
                m.disk_mut("vdb").unwrap().sectors.insert(0, mbr);
            },
            "BP-S014",
            "MBR",
        ),
        (
            "raw data in the middle",
            |m| m.disk_mut("vdb").unwrap().device.rest = Rest::Data { offset: 77 << 20 },
            "BP-S015",
            "data without a signature",
        ),
        (
            "raw data where a table would be",
            |m| {
                m.disk_mut("vdb").unwrap().sectors.insert(1024, vec![7; 512]);
            },
            "BP-S015",
            "at byte 1024",
        ),
    ];
    for (name, lay, code, words) in cases {
        let (mut model, config) = full();
        lay(&mut model);
        let before = model.clone();
        let plan = plan(&model.inventory(), &config);
        let refusals = plan.all_refusals();
        assert_eq!(codes(&plan), [code], "{name}");
        assert!(refusals[0].what.contains(words) && refusals[0].what.contains("serial A1"), "{name}: {refusals:?}");
        assert!(plan.clone().approve().is_err(), "{name}");
        // Whatever is carried out of it for other volumes leaves this disk and its partner alone.
        model.carry_out(&plan).unwrap();
        for disk in ["vdb", "vdc"] {
            let of = |m: &Model| m.disks().iter().find(|d| d.device.name == disk).unwrap().clone();
            assert_eq!(of(&model), of(&before), "{name}");
        }
    }
}

#[test]
fn invariant_2_a_disk_that_could_not_be_looked_at_is_not_blank() {
    let (mut model, config) = full();
    model.disk_mut("vdd").unwrap().device.rest = Rest::NotProbed;
    assert_eq!(codes(&plan(&model.inventory(), &config)), ["BP-S015"]);
}

#[test]
fn invariant_2_a_foreign_file_system_inside_what_is_half_made_is_not_wiped() {
    let (model, config) = full();
    let first = plan(&model.inventory(), &config);
    let mut torn = model;
    let begin = first.graph.steps.iter().find(|s| s.action.disks() == ["vdd"]).unwrap();
    for effect in torn.effects(&begin.action).unwrap() {
        torn.apply(effect);
    }
    let start = torn.inventory().devices.iter().find(|d| d.name == "vdd").unwrap().partitions[0].start;
    let area = storage_plan::simulate::Area {
        signatures: vec![signature("btrfs", "", "home")],
        ..storage_plan::simulate::Area::default()
    };
    torn.disk_mut("vdd").unwrap().areas.insert(start, area);
    let plan = plan(&torn.inventory(), &config);
    assert_eq!(codes(&plan), ["BP-S016"]);
    assert!(plan.all_refusals()[0].what.contains("btrfs \"home\""));
}

#[test]
fn invariant_2_a_finished_volume_whose_inside_changed_is_left_alone() {
    let (model, config) = full();
    let mut model = made(model, &config);
    for (name, area) in [("vdd", None), ("vdd", Some(signature("crypto_LUKS", "", "")))] {
        let disk = model.disk_mut(name).unwrap();
        let start = *disk.areas.keys().next().unwrap();
        disk.areas.insert(
            start,
            storage_plan::simulate::Area {
                signatures: area.into_iter().collect(),
                ..storage_plan::simulate::Area::default()
            },
        );
        let plan = plan(&model.inventory(), &config);
        assert_eq!(codes(&plan), ["BP-S016"]);
        assert_eq!(plan.writes(), 0);
    }
}

#[test]
fn invariant_3_a_disk_of_another_cluster_with_the_same_names_is_foreign() {
    let (model, mut config) = full();
    let model = made(model, &config);
    config.cluster.id = uuid::Uuid::from_u128(8);
    let plan = plan(&model.inventory(), &config);
    assert!(plan.volumes.iter().all(|v| v.verdict == Verdict::Refuse));
    assert!(plan.graph.steps.is_empty());
    assert!(codes(&plan).contains(&"BP-S014".into()) && codes(&plan).contains(&"BP-S020".into()));
}

#[test]
fn invariant_3_a_reimaged_node_adopts_its_data() {
    let (model, config) = full();
    let mut model = made(model, &config);
    let system = model.disk_mut("vda").unwrap();
    system.sectors.clear();
    system.areas.clear();
    lay(&mut model, "vda", &image_table(), IMAGE);
    let plan = plan(&model.inventory(), &config);
    assert_eq!(verdict(&plan, "state"), Verdict::Create);
    for volume in ["meta/db", "object/B1", "object/B2"] {
        assert_eq!(verdict(&plan, volume), Verdict::Adopt, "{volume}");
    }
    let written: BTreeSet<&str> =
        plan.graph.steps.iter().filter(|s| s.action.writes()).flat_map(|s| s.action.disks()).collect();
    assert_eq!(written, BTreeSet::from(["vda"]));
}

#[test]
fn invariant_3_a_copy_of_a_member_is_refused() {
    let (model, config) = full();
    let mut model = made(model, &config);
    let copied = model.disks().iter().find(|d| d.device.name == "vdb").unwrap().clone();
    let target = model.disk_mut("vde").unwrap();
    (target.sectors, target.areas, target.device.size) = (copied.sectors, copied.areas, copied.device.size);
    assert!(codes(&plan(&model.inventory(), &config)).contains(&"BP-S017".into()));
}

#[test]
fn invariant_3_after_the_first_time_superblocks_say_who_is_a_member() {
    let disks = vec![disk("vdb", "A1", 2 * GIB), disk("vdc", "A2", 2 * GIB)];
    let config = config(&[], &[("meta", mirror(ssds(2), "/var/lib/volumes/db"))]);
    let model = made(node(disks), &config);
    let mut inventory = model.inventory();
    inventory.devices.push(disk("vdz", "NEW", 2 * GIB));
    let plan = plan(&inventory, &config);
    assert_eq!(verdict(&plan, "meta/db"), Verdict::Keep, "a third disk that fits changes nothing");
    assert!(plan.graph.steps.iter().all(|s| !s.action.disks().contains(&"vdz")));
}

#[test]
fn invariant_8_an_array_with_one_member_missing_is_started_and_said() {
    let (model, config) = full();
    let mut model = made(model, &config);
    model.pull("vdc");
    let plan = plan(&model.inventory(), &config);
    assert_eq!(verdict(&plan, "meta/db"), Verdict::Keep);
    let volume = plan.volumes.iter().find(|v| v.volume == "meta/db").unwrap();
    assert!(volume.reasons.iter().any(|r| r.contains("1 of 2")), "{:?}", volume.reasons);
    assert_eq!(plan.writes(), 0);
    assert!(
        plan.graph
            .steps
            .iter()
            .any(|s| matches!(&s.action, Action::AssembleArray { members, .. } if members.len() == 1))
    );
}

/// The disks of one of the arrays of [`striped`], as `made` has them.
fn members(model: &Model, level: u8) -> Vec<String> {
    let of_it = |d: &&storage_plan::simulate::ModelDisk| {
        d.device.serial.as_deref().is_some_and(|serial| serial.starts_with(&format!("R{level}-")))
    };
    model.disks().iter().filter(of_it).map(|d| d.device.name.clone()).collect()
}

#[test]
fn invariant_8_each_level_starts_without_what_it_can_lose_and_is_refused_with_less() {
    let (model, config) = striped();
    let whole = made(model, &config);
    // Which disks go, by their place, and what becomes of the array then.
    for (level, pulled, verdict_then, there) in [
        (0, &[1][..], Verdict::Refuse, 1),
        (5, &[3], Verdict::Keep, 3),
        (5, &[0], Verdict::Keep, 2),
        (5, &[0, 1], Verdict::Refuse, 1),
        (6, &[0, 3], Verdict::Keep, 2),
        (6, &[0, 1, 2], Verdict::Refuse, 1),
        (10, &[0, 2], Verdict::Keep, 2),
        (10, &[0, 1], Verdict::Refuse, 2),
    ] {
        let mut model = whole.clone();
        let names = members(&model, level);
        pulled.iter().for_each(|at| model.pull(&names[*at]));
        let plan = plan(&model.inventory(), &config);
        let volume = plan.volumes.iter().find(|v| v.volume == format!("r{level}/db")).unwrap();
        assert_eq!(volume.verdict, verdict_then, "RAID {level} without {pulled:?}: {volume:#?}");
        assert_eq!(volume.array.as_ref().unwrap().present, there, "RAID {level} without {pulled:?}");
        let steps = plan.graph.steps.iter().filter(|s| s.volume == volume.volume).count();
        match verdict_then {
            Verdict::Refuse => assert!(volume.refusals[0].code == "BP-S018" && steps == 0, "{volume:#?}"),
            _ => assert_eq!((steps, plan.writes()), (2, 0), "RAID {level} is started and mounted"),
        }
        for other in plan.volumes.iter().filter(|v| v.volume != volume.volume) {
            assert_eq!(other.verdict, Verdict::Keep, "{}", other.volume);
        }
    }
}

/// Sets what the superblocks of an array say.
fn say(model: &mut Model, level: u8, change: impl Fn(&mut storage_plan::inventory::MdMember)) {
    for name in members(model, level) {
        let disk = model.disk_mut(&name).unwrap();
        disk.areas.values_mut().filter_map(|area| area.md.as_mut()).for_each(&change);
    }
}

#[test]
fn invariant_8_a_dirty_array_that_lacks_a_member_is_refused_unless_its_log_closes_the_hole() {
    let (model, config) = striped();
    let mut model = made(model, &config);
    for level in [5, 6, 10] {
        say(&mut model, level, |md| md.clean = false);
    }
    let all = plan(&model.inventory(), &config);
    assert!(all.volumes.iter().all(|v| v.verdict == Verdict::Keep), "with all members parity is put right");
    for level in [5, 6, 10] {
        let first = members(&model, level)[0].clone();
        model.pull(&first);
    }
    let plan = plan(&model.inventory(), &config);
    assert_eq!(verdict(&plan, "r5/db"), Verdict::Keep, "it has a partial parity log");
    assert_eq!(verdict(&plan, "r10/db"), Verdict::Keep, "it has no parity");
    assert_eq!(verdict(&plan, "r6/db"), Verdict::Refuse);
    assert_eq!(codes(&plan), ["BP-S019"]);
    say(&mut model, 5, |md| md.ppl = false);
    assert_eq!(verdict(&storage_plan::plan(&model.inventory(), &config), "r5/db"), Verdict::Refuse);
}

#[test]
fn invariant_8_a_member_that_is_behind_or_being_filled_does_not_count() {
    let (model, config) = striped();
    let mut model = made(model, &config);
    let change = |model: &mut Model, at: usize, change: fn(&mut storage_plan::inventory::MdMember)| {
        let name = members(model, 5)[at].clone();
        model.disk_mut(&name).unwrap().areas.values_mut().filter_map(|a| a.md.as_mut()).for_each(change);
    };
    change(&mut model, 0, |md| md.recovering = true);
    assert_eq!(verdict(&plan(&model.inventory(), &config), "r5/db"), Verdict::Keep);
    say(&mut model, 5, |md| md.events = 9);
    change(&mut model, 1, |md| md.events = 5);
    let plan = plan(&model.inventory(), &config);
    assert_eq!((verdict(&plan, "r5/db"), codes(&plan)), (Verdict::Refuse, vec!["BP-S018".to_owned()]));
}

#[test]
fn invariant_3_an_array_of_another_level_is_left_alone() {
    let (model, mut config) = striped();
    let model = made(model, &config);
    config.storage.array.get_mut("r6").unwrap().level = machine_config::schema::Level::Raid5;
    let plan = plan(&model.inventory(), &config);
    assert_eq!((verdict(&plan, "r6/db"), codes(&plan)), (Verdict::Refuse, vec!["BP-S022".to_owned()]));
}

#[test]
fn a_disk_that_died_stops_only_what_is_required() {
    let (model, mut config) = full();
    config.storage.each.get_mut("object").unwrap().required = false;
    let mut model = made(model, &config);
    model.pull("vde");
    let plan = plan(&model.inventory(), &config);
    assert_eq!(verdict(&plan, "object/B2"), Verdict::Refuse);
    assert_eq!(verdict(&plan, "object/B1"), Verdict::Keep);
    assert!(plan.approve().is_ok());
}

#[test]
fn a_config_with_an_error_never_plans() {
    let (model, config) = full();
    type Breaking = fn(&mut MachineConfig);
    let broken: [(&str, Breaking); 6] = [
        ("not below /var", |c| c.storage.each.get_mut("object").unwrap().mount = Some("/srv/{serial}".into())),
        ("climbs", |c| c.storage.each.get_mut("object").unwrap().mount = Some("/var/../etc/{serial}".into())),
        ("one place for two disks", |c| c.storage.each.get_mut("object").unwrap().mount = Some("/var/x".into())),
        ("no count", |c| {
            c.storage.array.get_mut("meta").unwrap().disks = machine_config::schema::Selector { count: None, ..ssds(2) }
        }),
        ("no disks", |c| c.storage.array.get_mut("meta").unwrap().disks = Default::default()),
        ("one disk", |c| c.storage.array.get_mut("meta").unwrap().disks = serials(&["A1"])),
    ];
    for (name, break_it) in broken {
        let mut config = config.clone();
        break_it(&mut config);
        let plan = plan(&model.inventory(), &config);
        assert!(!plan.refusals.is_empty(), "{name}");
        assert!(plan.graph.steps.is_empty() && plan.volumes.is_empty(), "{name}");
    }
}

#[test]
fn all_refusals_are_said_at_once() {
    let (mut model, config) = full();
    model.disk_mut("vdb").unwrap().device.signatures.push(signature("crypto_LUKS", "", ""));
    model.disk_mut("vdd").unwrap().device.read_only = true;
    model.pull("vde");
    assert_eq!(codes(&plan(&model.inventory(), &config)), ["BP-S001", "BP-S010", "BP-S014"]);
}

#[test]
fn a_disk_without_room_behind_the_image_is_refused() {
    let mut model = node(Vec::new());
    model.disk_mut("vda").unwrap().device.size = IMAGE;
    assert_eq!(codes(&plan(&model.inventory(), &config(&[], &[]))), ["BP-S020"]);
}

#[test]
fn data_behind_the_image_is_not_taken_for_room() {
    let mut model = node(Vec::new());
    model.disk_mut("vda").unwrap().device.free_tail = Rest::Data { offset: 400 << 20 };
    assert_eq!(codes(&plan(&model.inventory(), &config(&[], &[]))), ["BP-S015"]);
}

#[test]
fn an_inventory_survives_its_json() {
    let (model, config) = full();
    let inventory = made(model, &config).inventory();
    let text = serde_json::to_string(&inventory).unwrap();
    assert_eq!(serde_json::from_str::<Inventory>(&text).unwrap(), inventory);
}

#[test]
fn a_node_without_a_system_disk_says_so_and_writes_to_no_disk() {
    let (model, config) = full();
    let inventory = Inventory { boot: None, root_in_memory: true, ..model.inventory() };
    let plan = plan(&inventory, &config);
    assert_eq!(codes(&plan), ["BP-S021"], "the other volumes are fine, and nothing else is to be told");
    let refusal = &plan.all_refusals()[0];
    assert!(refusal.what.contains("in memory") && refusal.mend.contains("disk.raw"), "{refusal}");
    assert!(plan.clone().approve().is_err(), "no step may run");
}

fn shuffled(inventory: &Inventory, order: &[usize], names: &[usize]) -> Inventory {
    let mut devices: Vec<_> = order.iter().map(|i| inventory.devices[*i].clone()).collect();
    let new_name = |old: &str| {
        let at = inventory.devices.iter().position(|d| d.name == old).unwrap();
        inventory.devices[names[at]].name.clone()
    };
    for device in &mut devices {
        let name = new_name(&device.name);
        for partition in &mut device.partitions {
            partition.name = format!("{name}p{}", partition.number);
        }
        device.name = name;
    }
    let boot = inventory.boot.clone().map(|mut b| {
        b.disk = new_name(&b.disk);
        b
    });
    Inventory { devices, boot, ..inventory.clone() }
}

/// A plan in terms of serial numbers: what must not depend on order and kernel names.
fn essence(plan: &Plan, inventory: &Inventory) -> Vec<String> {
    let serial = |name: &str| inventory.devices.iter().find(|d| d.name == name).unwrap().serial.clone().unwrap();
    let mut lines: Vec<String> =
        plan.volumes.iter().map(|v| format!("{} {:?} {:?}", v.volume, v.verdict, v.disks)).collect();
    for step in &plan.graph.steps {
        let disks: Vec<String> = step.action.disks().into_iter().map(serial).collect();
        lines.push(format!("{} {:?} {}", step.volume, disks, std::any::type_name_of_val(&step.action)));
    }
    lines.extend(plan.all_refusals().iter().map(ToString::to_string));
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn same_plan_under_any_order_and_renaming(
        order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle(),
        names in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle(),
        foreign in any::<bool>(),
        finished in any::<bool>(),
    ) {
        let (model, config) = full();
        let mut model = if finished { made(model, &config) } else { model };
        if foreign {
            model.disk_mut("vdd").unwrap().device.signatures.push(signature("ext4", "", "x"));
        }
        let mut inventory = model.inventory();
        inventory.devices.push(disk("vdz", "BYSTANDER", GIB));
        let other = shuffled(&inventory, &order, &names);
        prop_assert_eq!(essence(&plan(&inventory, &config), &inventory), essence(&plan(&other, &config), &other));
    }

    #[test]
    fn invariant_1_never_an_action_on_a_disk_that_no_selector_names(
        selected in prop::collection::btree_set(0..6usize, 1..4),
        mirrored in any::<bool>(),
    ) {
        let disks: Vec<_> = (0..6).map(|i| disk(&format!("vd{i}"), &format!("S{i}"), 2 * GIB)).collect();
        let named: Vec<String> = selected.iter().map(|i| format!("S{i}")).collect();
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        let config = if mirrored {
            config(&[], &[("meta", mirror(serials(&named), "/var/lib/volumes/db"))])
        } else {
            config(&[("object", each(serials(&named), true))], &[])
        };
        let model = node(disks);
        let plan = plan(&model.inventory(), &config);
        let allowed: BTreeSet<String> = selected.iter().map(|i| format!("vd{i}")).chain(["vda".into()]).collect();
        for step in &plan.graph.steps {
            prop_assert!(step.action.disks().iter().all(|d| allowed.contains(*d)), "{:?}", step);
        }
    }
}

#[test]
fn invariant_8_an_array_that_loses_members_while_it_runs_is_kept_as_long_as_its_data_is_there() {
    let (mut model, config) = striped();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    for (level, lost, kept) in [(0, 1, false), (5, 1, true), (5, 2, false), (6, 2, true), (6, 3, false), (10, 1, true)]
    {
        let mut inventory = model.inventory();
        let array = inventory.arrays.iter_mut().find(|a| a.level == format!("raid{level}")).unwrap();
        array.members.truncate(array.members.len() - lost);
        let plan = plan(&inventory, &config);
        let volume = plan.volumes.iter().find(|v| v.volume == format!("r{level}/db")).unwrap();
        let codes: Vec<&str> = volume.refusals.iter().map(|r| r.code.as_str()).collect();
        if kept {
            assert_eq!((volume.verdict, codes), (Verdict::Keep, vec![]), "RAID {level} without {lost}");
        } else {
            assert_eq!((volume.verdict, codes), (Verdict::Refuse, vec!["BP-S018"]), "RAID {level} without {lost}");
            assert_eq!(plan.writes(), 0);
        }
    }
}
