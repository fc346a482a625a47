//! A blank disk in place of a lost member: which is taken, and that nothing else is. Cuts are in `cuts.rs`.

use crate::world::*;
use machine_config::schema::{Level, MachineConfig, Replace, Selector, Transport};
use proptest::prelude::*;
use std::collections::BTreeSet;
use storage_plan::inventory::{Device, Inventory, Rest, Slot};
use storage_plan::remember::remember;
use storage_plan::simulate::Model;
use storage_plan::{Action, Verdict, plan};

const MIRROR: &str = "meta/db";

/// Nothing is taken, nothing is written, and the mirror is there as it was.
fn nothing_is_taken(model: &Model, config: &MachineConfig, refused: &[&str], context: &str) {
    for reboot in [false, true] {
        let mut model = model.clone();
        if reboot {
            model.power_cut();
        }
        let plan = plan(&model.inventory(), config);
        assert_eq!(codes(&plan), refused, "{context}");
        assert!(!plan.is_blocked(), "{context}");
        assert_eq!((volume(&plan, MIRROR).verdict, plan.writes()), (Verdict::Keep, 0), "{context}");
        assert!(volume(&plan, MIRROR).reasons.iter().any(|r| r.contains("1 of 2")), "{context}");
        model.carry_out(&plan).unwrap();
        assert_eq!(model.inventory().arrays.len(), 1, "{context}: it runs");
    }
}

#[test]
fn a_named_blank_disk_takes_the_place_of_a_lost_member_and_is_filled() {
    let (mut model, config) = lost(true);
    let before = model.clone();
    let first = plan(&model.inventory(), &config);
    assert_eq!((volume(&first, MIRROR).verdict, codes(&first)), (Verdict::Repair, Vec::new()));
    assert_eq!(steps(&first), ["table", "add", "table"]);
    assert_eq!(written(&first), BTreeSet::from(["vdf".to_owned()]));
    let words = storage_plan::explain::table(&first);
    assert!(words.contains("A3  2.1 GB is blank and named for it") && words.contains("add vdf partition 1"), "{words}");
    model.carry_out(&first).unwrap();
    let again = plan(&model.inventory(), &config);
    assert_eq!((volume(&again, MIRROR).verdict, steps(&again).len()), (Verdict::Keep, 0));
    assert_eq!(volume(&again, MIRROR).array.as_ref().unwrap().present, 1, "it is not filled yet");
    model.fill();
    assert_eq!(volume(&plan(&model.inventory(), &config), MIRROR).array.as_ref().unwrap().present, 2);
    // The same when the member was lost while the node was off.
    let mut model = before;
    model.power_cut();
    let first = plan(&model.inventory(), &config);
    assert_eq!(volume(&first, MIRROR).verdict, Verdict::Repair);
    let of_mirror: Vec<_> = first.graph.steps.iter().filter(|s| s.volume == MIRROR).map(|s| s.action.words()).collect();
    assert_eq!(of_mirror.len(), 5, "{of_mirror:?}");
    let mount = first.graph.steps.iter().find(|s| s.volume == MIRROR && matches!(s.action, Action::Mount { .. }));
    let waits_for = mount.unwrap().after.iter().map(|a| first.graph.steps[*a].action.clone());
    assert!(waits_for.clone().all(|a| !matches!(a, Action::AddMember { .. })), "its mount does not wait for the disk");
    model.carry_out(&first).unwrap();
    assert_eq!(plan(&model.inventory(), &config).writes(), 0);
}

#[test]
fn invariant_1_a_blank_disk_that_nobody_names_is_never_taken() {
    let (model, mut config) = lost(true);
    config.storage.array.get_mut("meta").unwrap().disks = serials(&["A1", "A2"]);
    nothing_is_taken(&model, &config, &[], "named are A1 and A2, and A3 is there");
    // A selector that counts has chosen once; it names nothing.
    config.storage.array.get_mut("meta").unwrap().disks = Selector {
        size: Some(machine_config::schema::SizeRange { min: Some(2 * GIB), max: None }),
        count: Some(2),
        ..Selector::default()
    };
    nothing_is_taken(&model, &config, &[], "any two of this size");
}

#[test]
fn invariant_1_only_the_place_of_the_lost_member_counts_and_only_where_the_config_says_so() {
    let (model, config) = lost(false);
    let taken = plan(&model.inventory(), &config);
    assert_eq!(
        (volume(&taken, MIRROR).verdict, written(&taken)),
        (Verdict::Repair, BTreeSet::from(["vdf".to_owned()]))
    );
    let words = storage_plan::explain::table(&taken);
    assert!(words.contains("is blank and in the place of the lost member A2"), "{words}");

    let mut by_name = config.clone();
    by_name.storage.array.get_mut("meta").unwrap().replace = Replace::Named;
    nothing_is_taken(&model, &by_name, &[], "the config does not say so");

    type Change = fn(&mut Model, &mut MachineConfig);
    let cases: [(&str, Change); 8] = [
        ("another path", |m, _| m.disk_mut("vdf").unwrap().device.by_path = vec!["pci-A9".into()]),
        ("another bay", |m, _| {
            let slot = |bay: &str| Some(Slot { enclosure: "0".into(), bay: bay.into() });
            m.remembered.iter_mut().for_each(|r| r.slot = slot("1"));
            m.disk_mut("vdf").unwrap().device.slot = slot("2");
        }),
        ("nothing is remembered", |m, _| m.remembered.clear()),
        ("of another array", |m, _| m.remembered.iter_mut().for_each(|r| r.array = uuid::Uuid::nil())),
        ("the member is there, elsewhere, with something else on it", |m, _| {
            m.plug(disk("vdg", "A2", 2 * GIB));
            m.disk_mut("vdg").unwrap().device.signatures.push(signature("ext4", "", "mail"));
        }),
        ("a stick", |m, _| m.disk_mut("vdf").unwrap().device.removable = true),
        ("not as the selector asks", |_, c| {
            c.storage.array.get_mut("meta").unwrap().disks.transport = Some(Transport::Sas);
        }),
        ("selected for another volume, which is not made either", |m, c| {
            let mut object = each(serials(&["A3"]), false);
            object.mount = Some("/var/lib/volumes/b-{serial}".into());
            c.storage.each.insert("backup".into(), object);
            m.disk_mut("vdf").unwrap().device.read_only = true;
        }),
    ];
    for (name, change) in cases {
        let (mut model, mut config) = (model.clone(), config.clone());
        change(&mut model, &mut config);
        let refused: &[&str] = match name {
            name if name.starts_with("selected") => &["BP-S010"],
            name if name.starts_with("the member is there") => &["BP-S014"],
            _ => &[],
        };
        nothing_is_taken(&model, &config, refused, name);
    }
    // A bay tells the place where there are bays, whatever path leads to it.
    let mut model = model;
    let slot = Some(Slot { enclosure: "0".into(), bay: "1".into() });
    model.remembered.iter_mut().filter(|r| r.identity == "A2").for_each(|r| r.slot = slot.clone());
    let device = &mut model.disk_mut("vdf").unwrap().device;
    (device.slot, device.by_path) = (slot, vec!["pci-new".into()]);
    assert_eq!(volume(&plan(&model.inventory(), &config), MIRROR).verdict, Verdict::Repair);
}

#[test]
fn invariant_2_what_is_not_blank_or_does_not_fit_is_said_and_the_volume_runs_on() {
    type Change = fn(&mut Model);
    let cases: [(&str, Change, &str); 9] = [
        ("ext4", |m| m.disk_mut("vdf").unwrap().device.signatures.push(signature("ext4", "", "mail")), "BP-S014"),
        ("another's partition", |m| foreign_partition(m, "vdf", signature("xfs", "", "mail")), "BP-S014"),
        ("raw data", |m| m.disk_mut("vdf").unwrap().device.rest = Rest::Data { offset: 77 << 20 }, "BP-S015"),
        ("not looked at", |m| m.disk_mut("vdf").unwrap().device.rest = Rest::NotProbed, "BP-S015"),
        ("too small", |m| m.disk_mut("vdf").unwrap().device.size = 2 * GIB - (3 << 20), "BP-S010"),
        ("write-protected", |m| m.disk_mut("vdf").unwrap().device.read_only = true, "BP-S010"),
        ("odd sectors", |m| m.disk_mut("vdf").unwrap().device.logical_sector = 520, "BP-S010"),
        ("in use", |m| m.disk_mut("vdf").unwrap().device.uses.mounts.push("/mnt".into()), "BP-S011"),
        ("two of one name", |m| m.plug(disk("vdg", "A3", 2 * GIB)), "BP-S010"),
    ];
    for named in [true, false] {
        let (model, config) = lost(named);
        for (name, change, code) in cases {
            let mut model = model.clone();
            change(&mut model);
            let refused = vec![code; if named && name == "two of one name" { 2 } else { 1 }];
            nothing_is_taken(&model, &config, &refused, name);
            let refusal = plan(&model.inventory(), &config).all_refusals()[0].clone();
            assert!(refusal.why.contains("It does not become a member of \"meta\", which runs without."), "{refusal}");
        }
    }
}

#[test]
fn invariant_1_of_more_disks_than_members_lack_none_is_taken() {
    let (mut model, mut config) = lost(true);
    model.plug(disk("vdg", "A4", 2 * GIB));
    config.storage.array.get_mut("meta").unwrap().disks = serials(&["A3", "A4"]);
    nothing_is_taken(&model, &config, &["BP-S003"], "two could take the place of one");
}

#[test]
fn a_mirror_that_lacks_nothing_takes_no_further_disk() {
    let (mut model, mut config) = full();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.plug(disk("vdf", "A3", 2 * GIB));
    config.storage.array.get_mut("meta").unwrap().disks = serials(&["A1", "A2", "A3"]);
    let plan = plan(&model.inventory(), &config);
    assert_eq!((volume(&plan, MIRROR).verdict, plan.writes()), (Verdict::Keep, 0), "to grow is another verb");
}

#[test]
fn each_level_with_redundancy_is_made_whole_and_the_others_are_left_alone() {
    let (model, config) = striped();
    for (level, pulled, taken, verdict) in [
        (0, 1, false, Verdict::Refuse),
        (5, 1, true, Verdict::Repair),
        (6, 1, true, Verdict::Repair),
        (6, 2, true, Verdict::Repair),
        (10, 1, true, Verdict::Repair),
        (6, 3, false, Verdict::Refuse),
    ] {
        let (mut model, mut config) = (model.clone(), config.clone());
        model.carry_out(&plan(&model.inventory(), &config)).unwrap();
        let prefix = format!("R{level}-");
        let of_it = |d: &&storage_plan::simulate::ModelDisk| d.device.serial.as_ref().unwrap().starts_with(&prefix);
        let names: Vec<String> = model.disks().iter().filter(of_it).map(|d| d.device.name.clone()).collect();
        let array = config.storage.array.get_mut(&format!("r{level}")).unwrap();
        for (number, name) in names.iter().take(pulled).enumerate() {
            model.pull(name);
            let serial = format!("N{number}");
            model.plug(disk(&format!("vdx{number}"), &serial, GIB));
            array.disks.serial[number] = serial;
        }
        model.power_cut();
        let first = plan(&model.inventory(), &config);
        let name = format!("r{level}/db");
        assert_eq!(
            volume(&first, &name).verdict,
            verdict,
            "RAID {level} without {pulled}: {:#?}",
            first.all_refusals()
        );
        let added = first.graph.steps.iter().filter(|s| matches!(s.action, Action::AddMember { .. })).count();
        assert_eq!(added, if taken { pulled } else { 0 }, "RAID {level} without {pulled}");
        model.carry_out(&first).unwrap();
        model.fill();
        let again = plan(&model.inventory(), &config);
        let array = volume(&again, &name).array.clone();
        assert!(!taken || array.is_some_and(|a| a.present == a.wanted), "RAID {level} without {pulled}");
        assert_eq!(again.writes(), 0);
    }
}

#[test]
fn a_spare_that_is_lost_is_replaced_as_a_spare() {
    let (mut model, mut config) = striped();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.pull("vdg");
    model.plug(disk("vdx", "N0", GIB));
    let disks = &mut config.storage.array.get_mut("r5").unwrap().disks;
    assert_eq!(disks.serial.pop().as_deref(), Some("R5-3"), "the last is the spare");
    disks.serial.push("N0".into());
    let first = plan(&model.inventory(), &config);
    assert_eq!(written(&first), BTreeSet::from(["vdx".to_owned()]));
    model.carry_out(&first).unwrap();
    let array = model.inventory().arrays.into_iter().find(|a| a.level == "raid5").unwrap();
    assert_eq!((array.members.len(), array.spares), (3, vec!["vdx1".to_owned()]));
    assert_eq!(plan(&model.inventory(), &config).writes(), 0);
}

#[test]
fn a_member_that_was_away_and_has_no_bitmap_is_left_as_it_is_and_a_blank_disk_takes_its_place() {
    let (model, mut config) = lost(true);
    let (mut whole, _) = full();
    let meta = config.storage.array.get_mut("meta").unwrap();
    meta.disks = serials(&["A1", "A2"]);
    whole.carry_out(&plan(&whole.inventory(), &config)).unwrap();
    let old = whole.disks().iter().find(|d| d.device.name == "vdc").unwrap().clone();
    for reboot in [false, true] {
        let (mut model, mut config) = (model.clone(), config.clone());
        // What ran on without it has counted on.
        let at_work = model.disk_mut("vdb").unwrap();
        at_work.areas.values_mut().filter_map(|area| area.md.as_mut()).for_each(|md| {
            (md.events, md.bitmap_since) = (md.events + 9, None);
        });
        model.plug(old.device.clone());
        let back = model.disk_mut("vdc").unwrap();
        (back.sectors, back.areas) = (old.sectors.clone(), old.areas.clone());
        if reboot {
            model.power_cut();
        }
        let left = plan(&model.inventory(), &config);
        assert_eq!((volume(&left, MIRROR).verdict, left.writes()), (Verdict::Keep, 0));
        let words = "serial A2  2.1 GB was a member, has missed writes since, and is left out.";
        assert!(volume(&left, MIRROR).reasons.iter().any(|r| r.contains(words)), "{left:#?}");
        config.storage.array.get_mut("meta").unwrap().disks = serials(&["A1", "A3"]);
        let taken = plan(&model.inventory(), &config);
        assert_eq!(written(&taken), BTreeSet::from(["vdf".to_owned()]));
        model.carry_out(&taken).unwrap();
        assert_eq!(plan(&model.inventory(), &config).writes(), 0);
    }
}

#[test]
fn a_disk_that_fails_while_it_is_filled_is_not_added_again() {
    let (mut model, config) = lost(true);
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    let mut inventory = model.inventory();
    let array = &mut inventory.arrays[0];
    array.failed = std::mem::take(&mut array.spares);
    let plan = plan(&inventory, &config);
    assert_eq!((volume(&plan, MIRROR).verdict, plan.writes()), (Verdict::Keep, 0));
    assert!(volume(&plan, MIRROR).reasons.iter().any(|r| r.contains("serial A3") && r.contains("has failed")));
}

#[test]
fn a_chosen_disk_whose_name_was_taken_back_is_not_added() {
    let (mut model, config) = lost(true);
    let first = plan(&model.inventory(), &config);
    for effect in model.effects(&first.graph.steps[0].action).unwrap() {
        model.apply(effect);
    }
    assert_eq!(steps(&plan(&model.inventory(), &config)), ["add", "table"]);
    let mut back = config.clone();
    back.storage.array.get_mut("meta").unwrap().disks = serials(&["A1", "A2"]);
    nothing_is_taken(&model, &back, &[], "named are A1 and A2 again");
    // And what somebody put into it since is not wiped.
    let start = model.inventory().devices.iter().find(|d| d.name == "vdf").unwrap().partitions[0].start;
    let area = storage_plan::simulate::Area {
        signatures: vec![signature("btrfs", "", "home")],
        ..storage_plan::simulate::Area::default()
    };
    model.disk_mut("vdf").unwrap().areas.insert(start, area);
    nothing_is_taken(&model, &config, &["BP-S016"], "btrfs in the chosen disk");
}

#[test]
fn where_members_are_is_kept_until_they_are_replaced() {
    let places = |inventory: &Inventory, config: &MachineConfig| -> Vec<String> {
        remember(inventory, config).into_iter().map(|m| format!("{} {}", m.identity, m.by_path[0])).collect()
    };
    let (mut model, config) = lost(false);
    assert_eq!(places(&model.inventory(), &config), ["A1 pci-A1", "A2 pci-A2"], "the lost one too");
    let mut off = model.clone();
    off.power_cut();
    assert_eq!(places(&off.inventory(), &config), ["A1 pci-A1", "A2 pci-A2"], "what does not run tells nothing");
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    assert_eq!(places(&model.inventory(), &config), ["A1 pci-A1"], "a disk stands in, and is not at work yet");
    model.fill();
    assert_eq!(places(&model.inventory(), &config), ["A1 pci-A1", "A3 pci-A2"]);
    model.disk_mut("vdf").unwrap().device.by_path = vec!["pci-elsewhere".into()];
    assert_eq!(places(&model.inventory(), &config), ["A1 pci-A1", "A3 pci-elsewhere"], "where it is now");
    let other = crate::world::config(&[], &[("other", mirror(ssds(2), "/var/lib/volumes/db"))]);
    assert_eq!(places(&model.inventory(), &other), Vec::<String>::new());
}

#[test]
fn only_what_runs_is_put_right_while_the_node_runs() {
    let (mut model, config) = lost(true);
    model.pull("vde");
    let whole = plan(&model.inventory(), &config);
    assert!(whole.is_blocked(), "a required disk is gone");
    let repairs = whole.repairs();
    assert_eq!(repairs.volumes.iter().map(|v| v.volume.as_str()).collect::<Vec<_>>(), [MIRROR]);
    assert_eq!(steps(&repairs), ["table", "add", "table"]);
    assert!(repairs.graph.steps[1].after == [0] && repairs.graph.steps[2].after == [1]);
    model.carry_out(repairs.approve().unwrap().plan()).unwrap();
    // What does not run is for the next start.
    let (mut model, config) = lost(true);
    model.power_cut();
    let whole = plan(&model.inventory(), &config);
    assert_eq!((volume(&whole, MIRROR).verdict, whole.repairs().graph.steps), (Verdict::Repair, Vec::new()));
}

#[test]
fn an_array_that_lost_more_than_it_can_gets_no_disk_while_its_remains_run() {
    for (level, pulled) in [("r5", ["R5-0", "R5-1"].as_slice()), ("r6", &["R6-0", "R6-1", "R6-2"])] {
        let (mut model, mut config) = striped();
        model.carry_out(&plan(&model.inventory(), &config)).unwrap();
        let array = config.storage.array.get_mut(level).unwrap();
        array.spares = 0;
        for (number, serial) in pulled.iter().enumerate() {
            let of_it = |d: &&storage_plan::simulate::ModelDisk| d.device.serial.as_deref() == Some(serial);
            let name = model.disks().iter().find(of_it).unwrap().device.name.clone();
            model.pull(&name);
            model.plug(disk(&format!("vdx{number}"), &format!("N{number}"), GIB));
            array.disks.serial[number] = format!("N{number}");
        }
        let plan = plan(&model.inventory(), &config);
        assert_eq!(plan.graph.replacements(), BTreeSet::new(), "{level}: {plan:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn invariant_1_no_write_but_on_a_named_disk_or_in_the_lost_slot(
        level in prop::sample::select(vec![Level::Raid1, Level::Raid5, Level::Raid6, Level::Raid10]),
        gone in prop::collection::btree_set(0..5usize, 0..3),
        blank in prop::collection::vec((any::<bool>(), 0..9usize), 1..4),
        same_slot in any::<bool>(),
        reboot in any::<bool>(),
    ) {
        let at = |place: usize| vec![format!("pci-{place}")];
        let members: Vec<Device> =
            (0..5).map(|i| Device { by_path: at(i), ..disk(&format!("vd{i}"), &format!("S{i}"), GIB) }).collect();
        let names: Vec<String> = (0..5).map(|i| format!("S{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut config = config(&[], &[("meta", array(level, serials(&names), 0, "/var/lib/volumes/db"))]);
        let mut model = node(members);
        model.carry_out(&plan(&model.inventory(), &config)).unwrap();
        model.remembered = remember(&model.inventory(), &config);
        gone.iter().for_each(|i| model.pull(&format!("vd{i}")));
        let meta = config.storage.array.get_mut("meta").unwrap();
        meta.replace = if same_slot { Replace::SameSlot } else { Replace::Named };
        let mut allowed = BTreeSet::new();
        for (i, (named, place)) in blank.iter().enumerate() {
            let (name, serial) = (format!("vdn{i}"), format!("N{i}"));
            model.plug(Device { by_path: at(*place), ..disk(&name, &serial, GIB) });
            if *named {
                meta.disks.serial.push(serial);
            }
            if *named || (same_slot && gone.contains(place)) {
                allowed.insert(name);
            }
        }
        if reboot {
            model.power_cut();
        }
        let first = plan(&model.inventory(), &config);
        prop_assert!(written(&first).is_subset(&allowed), "{:?}, allowed {:?}", written(&first), allowed);
        let added = first.graph.replacements().len();
        prop_assert!(added <= gone.len(), "{added} for {gone:?}");
        prop_assert!(gone.is_empty() || added > 0 || allowed.is_empty() || allowed.len() > gone.len()
            || volume(&first, MIRROR).verdict == Verdict::Refuse
            || gone.len() > storage_plan::layer::md::can_lose(level, 5) as usize, "{first:#?}");
    }
}

#[test]
fn invariant_2_no_permit_makes_a_member_of_a_disk_that_is_not_blank() {
    let (mut model, config) = lost(true);
    model.disk_mut("vdf").unwrap().device.rest = storage_plan::inventory::Rest::Data { offset: 5 << 20 };
    model.grant(permit_for(&model, "vdf"));
    nothing_is_taken(&model, &config, &["BP-S015"], "with a permit for it");
}
