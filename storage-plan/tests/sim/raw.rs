//! Raw volumes: made like any other, never looked into once they are made, found by a path that leads nowhere else.

use crate::world::*;
use machine_config::schema::MachineConfig;
use storage_plan::inventory::{Inventory, MdMember};
use storage_plan::simulate::{Area, Effect, Model};
use storage_plan::{Action, Target, Verdict, links, plan};

const PATHS: [&str; 3] = ["/dev/bedplate/meta/db", "/dev/bedplate/object/B1", "/dev/bedplate/object/B2"];

/// Every path that leads to a device, and the kernel's name of that.
fn led(inventory: &Inventory) -> Vec<(String, String)> {
    let partitions = inventory.devices.iter().flat_map(|d| &d.partitions).map(|p| (&p.name, &p.uses));
    let all = partitions.chain(inventory.arrays.iter().map(|a| (&a.name, &a.uses)));
    let mut led: Vec<(String, String)> =
        all.flat_map(|(name, uses)| uses.links.iter().map(|link| (link.clone(), name.clone()))).collect();
    led.sort();
    led
}

/// The node as it runs, and what its plan was.
fn runs() -> (Model, MachineConfig) {
    let (mut model, config) = raw();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    (model, config)
}

/// Puts what programs keep on raw volumes where it may lie: another file system, a member of somebody's array, a pool.
fn filled(model: &mut Model) {
    let md = MdMember {
        array: uuid::Uuid::from_u128(0xfeed),
        member: uuid::Uuid::from_u128(0xfade),
        name: "elsewhere:0".into(),
        level: 1,
        members: 2,
        role: Some(0),
        events: 3,
        clean: false,
        recovering: false,
        replaces: false,
        ppl: false,
        journaled: false,
        journal: None,
        needs: 1 << 20,
        room: 0,
        number: 0,
        positions: vec![Some(0), Some(1)],
        bitmap_since: None,
    };
    let member = signature("linux_raid_member", &md.array.to_string(), "");
    let held = [("vdd", vec![member], Some(md)), ("vde", vec![signature("ceph_bluestore", "", "")], None)];
    for (name, signatures, md) in held {
        let areas = &mut model.disk_mut(name).unwrap().areas;
        areas.insert(1 << 20, Area { signatures, md, group: None });
    }
    let array = model.inventory().arrays[0].uuid.unwrap();
    model.apply(Effect::Holds(Target::Array(array), vec![signature("LVM2_member", "", ""), signature("ext4", "", "")]));
}

#[test]
fn they_are_cleared_finished_and_then_found_and_kept_after_that() {
    let (mut model, config) = raw();
    let made = plan(&model.inventory(), &config);
    assert!(!made.is_blocked(), "{:#?}", made.all_refusals());
    let of = |volume: &str| -> Vec<String> {
        made.graph.steps.iter().filter(|s| s.volume == volume).map(|s| s.action.words()).collect()
    };
    assert_eq!(
        of("object/B1"),
        [
            "write partition table on vdd, its content still to be made",
            "clear both ends of vdd partition 1",
            "write partition table on vdd, its content finished",
            "let /dev/bedplate/object/B1 lead to vdd partition 1",
        ]
    );
    assert_eq!(of("meta/db").last().unwrap(), "let /dev/bedplate/meta/db lead to the array");
    let first = volume(&made, "object/B1");
    assert_eq!((first.format.as_str(), first.mount.as_str()), ("raw", PATHS[1]));
    model.carry_out(&made).unwrap();
    let lead = led(&model.inventory());
    assert_eq!(lead.iter().map(|(at, _)| at.as_str()).collect::<Vec<_>>(), PATHS);
    assert_eq!(lead[1].1, "vdd1");
    let again = plan(&model.inventory(), &config);
    assert!(again.graph.steps.is_empty() && again.volumes.iter().all(|v| v.verdict == Verdict::Keep), "{again:#?}");
    assert_eq!(links::wrong(&model.inventory(), &again), Vec::<String>::new());
}

#[test]
fn invariant_2_what_a_program_keeps_on_one_is_left_alone_whatever_it_is() {
    let (mut model, config) = runs();
    filled(&mut model);
    let running = plan(&model.inventory(), &config);
    assert!(running.graph.steps.is_empty() && !running.is_blocked(), "{running:#?}");
    model.power_cut();
    let next = plan(&model.inventory(), &config);
    assert!(next.volumes.iter().all(|v| v.verdict == Verdict::Keep), "{:#?}", next.all_refusals());
    assert_eq!((next.writes(), steps(&next)), (0, vec!["link", "link", "assemble", "link", "mount"]));
    // In use by the program before the path leads there: by the node's own plan only the path is lacking.
    let mut inventory = model.inventory();
    let used = inventory.devices.iter_mut().find(|d| d.name == "vde").unwrap();
    used.partitions[0].uses.holders.push("dm-0".into());
    assert_eq!(plan(&inventory, &config), next);
}

#[test]
fn invariant_2_something_in_one_that_is_half_made_is_not_cleared() {
    let (mut model, config) = raw();
    let begun = plan(&model.inventory(), &config);
    for step in begun.graph.steps.iter().filter(|s| s.volume == "object/B1").take(1) {
        model.effects(&step.action).unwrap().into_iter().for_each(|effect| model.apply(effect));
    }
    let area = Area { signatures: vec![signature("ext4", "", "somebody's")], ..Area::default() };
    model.disk_mut("vdd").unwrap().areas.insert(1 << 20, area);
    let next = plan(&model.inventory(), &config);
    assert_eq!(volume(&next, "object/B1").verdict, Verdict::Refuse, "{next:#?}");
    assert!(next.graph.steps.iter().all(|s| s.volume != "object/B1"));
}

#[test]
fn invariant_4_a_cut_after_any_effect_converges_in_one_run() {
    let (model, config) = raw();
    let effects = effects(&model, &plan(&model.inventory(), &config));
    for cut in 0..=effects.len() {
        let mut model = model.clone();
        effects[..cut].iter().for_each(|effect| model.apply(effect.clone()));
        model.power_cut();
        let next = plan(&model.inventory(), &config);
        assert!(!next.is_blocked(), "cut {cut}: {:#?}", next.all_refusals());
        model.carry_out(&next).unwrap_or_else(|e| panic!("cut {cut}: {e:?}"));
        assert_eq!(led(&model.inventory()).len(), 3, "cut {cut}");
        assert!(plan(&model.inventory(), &config).graph.steps.is_empty(), "cut {cut}");
    }
}

#[test]
fn a_path_that_leads_to_another_disk_is_wrong() {
    let (model, config) = runs();
    // Each disk has the other's name in the kernel, and the paths are from before.
    let mut inventory = model.inventory();
    let at = |name: &str| model.inventory().devices.iter().position(|d| d.name == name).unwrap();
    let (one, other) = (at("vdd"), at("vde"));
    let swap = inventory.devices[one].partitions[0].uses.links.clone();
    inventory.devices[one].partitions[0].uses.links = inventory.devices[other].partitions[0].uses.links.clone();
    inventory.devices[other].partitions[0].uses.links = swap;
    let next = plan(&inventory, &config);
    let mut wrong = links::wrong(&inventory, &next);
    wrong.sort();
    assert_eq!(wrong, PATHS[1..]);
    assert_eq!(steps(&next), ["link", "link"], "they are put right");
    // A path that nobody asks for any more, and one of a volume that is refused.
    let mut without = config.clone();
    without.storage.array.clear();
    without.storage.each.get_mut("object").unwrap().disks = serials(&["B1", "B3"]);
    let inventory = model.inventory();
    let next = plan(&inventory, &without);
    assert_eq!(links::wrong(&inventory, &next), [PATHS[0]], "{next:#?}");
}

#[test]
fn a_raw_volume_with_a_mount_point_and_a_file_system_without_one_are_never_planned() {
    let (model, config) = raw();
    let mut with = config.clone();
    with.storage.each.get_mut("object").unwrap().mount = Some("/var/lib/volumes/{serial}".into());
    let (_, mut without) = full();
    without.storage.each.get_mut("object").unwrap().mount = None;
    for config in [with, without] {
        let plan = plan(&model.inventory(), &config);
        assert!(plan.volumes.is_empty() && codes(&plan) == ["BP-S030"], "{:#?}", plan.all_refusals());
    }
}

#[test]
fn only_members_are_mended_while_one_runs_and_its_path_stays() {
    let (mut model, mut config) = runs();
    filled(&mut model);
    model.pull("vdc");
    model.plug(disk("vdf", "A3", 2 * GIB));
    config.storage.array.get_mut("meta").unwrap().disks = serials(&["A1", "A3"]);
    let next = plan(&model.inventory(), &config);
    let repairs = next.repairs();
    assert_eq!(steps(&repairs), ["table", "add", "table"], "{next:#?}");
    assert!(!repairs.graph.steps.iter().any(|s| matches!(s.action, Action::Clear { .. })));
    assert_eq!(links::wrong(&model.inventory(), &next), Vec::<String>::new());
}
