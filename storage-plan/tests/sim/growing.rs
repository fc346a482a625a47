//! An array that is made larger when all its members were replaced by larger disks, and its file system after it.

use crate::world::*;
use machine_config::schema::{Level, MachineConfig, WriteHole};
use std::collections::BTreeSet;
use storage_plan::inventory::RunningArray;
use storage_plan::simulate::Model;
use storage_plan::{Plan, Verdict, plan};

const VOLUME: &str = "meta/db";
const GIB: u64 = 1 << 30;

/// An array of this level, each of whose members was replaced by a disk of so many bytes, one after the other.
fn replaced(level: Level, size: u64) -> (Model, MachineConfig) {
    let (_, mut config) = named_array(level, 4, 0);
    let array = config.storage.array.get_mut("meta").unwrap();
    array.write_hole = (level == Level::Raid5).then_some(WriteHole::Bitmap);
    let disks = (0..4).map(|i| disk(&format!("vd{i}"), &format!("S{i}"), GIB)).collect();
    let mut model = node(disks);
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    for i in 0..4 {
        model.pull(&format!("vd{i}"));
        model.plug(disk(&format!("vdn{i}"), &format!("N{i}"), size));
        config.storage.array.get_mut("meta").unwrap().disks.serial[i] = format!("N{i}");
        model.carry_out(&plan(&model.inventory(), &config)).unwrap();
        model.fill();
    }
    (model, config)
}

/// The same, and it is to grow.
fn growing(level: Level) -> (Model, MachineConfig) {
    let (model, mut config) = replaced(level, 2 * GIB);
    config.storage.array.get_mut("meta").unwrap().grow = true;
    (model, config)
}

fn array(model: &Model) -> RunningArray {
    model.inventory().arrays[0].clone()
}

/// Whether the file system has all of the array.
fn fills(array: &RunningArray) -> bool {
    array.filled == Some(array.size)
}

/// Nothing is written, the array stays as large as it is, and this is said.
fn stays(model: &Model, config: &MachineConfig, says: &str) {
    let next = plan(&model.inventory(), config);
    assert_eq!((volume(&next, VOLUME).verdict, next.writes()), (Verdict::Keep, 0), "{says}: {next:#?}");
    let reasons = volume(&next, VOLUME).reasons.join(" ");
    assert!(reasons.contains(says), "{says}: {reasons}");
}

#[test]
fn invariant_9_an_array_takes_up_what_larger_members_have_only_where_that_is_asked_for() {
    for level in [Level::Raid1, Level::Raid5, Level::Raid6, Level::Raid10] {
        let (mut model, mut config) = growing(level);
        let before = array(&model);
        assert!(before.size < 4 * GIB && fills(&before), "{before:#?}");
        config.storage.array.get_mut("meta").unwrap().grow = false;
        stays(&model, &config, "The array is this volume's.");
        config.storage.array.get_mut("meta").unwrap().grow = true;
        let next = plan(&model.inventory(), &config);
        assert_eq!((volume(&next, VOLUME).verdict, steps(&next)), (Verdict::Repair, vec!["grow", "fill"]));
        assert_eq!(written(&next), (0..4).map(|i| format!("vdn{i}")).collect::<BTreeSet<_>>());
        assert_eq!(next.repairs().graph.steps.len(), 2, "what runs is made larger, too");
        model.carry_out(&next).unwrap();
        let after = array(&model);
        assert!(after.size > before.size * 19 / 10 && fills(&after) && after.wanted == before.wanted, "{after:#?}");
        stays(&model, &config, "The array is this volume's.");
    }
}

#[test]
fn an_array_is_made_larger_when_the_node_starts() {
    let (mut model, config) = growing(Level::Raid6);
    model.power_cut();
    let next = plan(&model.inventory(), &config);
    let of_array = |plan: &Plan| -> Vec<&str> {
        let words = steps(plan);
        words.into_iter().zip(&plan.graph.steps).filter(|(_, s)| s.volume == VOLUME).map(|(w, _)| w).collect()
    };
    assert_eq!(of_array(&next), ["assemble", "mount", "grow", "fill"], "{next:#?}");
    model.carry_out(&next).unwrap();
    assert!(fills(&array(&model)));
}

#[test]
fn invariant_4_a_cut_while_an_array_is_made_larger_is_gone_on_with() {
    let (model, config) = growing(Level::Raid10);
    assert_eq!(effects(&model, &plan(&model.inventory(), &config)).len(), 2);
    converges_after_cuts(
        &model,
        &config,
        |_, _| true,
        |model, config, context| {
            let mut model = model.clone();
            // How full it is can be seen once it is mounted, so the watch sees it first.
            let next = plan(&model.inventory(), config);
            assert!(matches!(&steps(&next)[..], [] | ["fill"]), "{context}: {next:#?}");
            model.carry_out(&next).unwrap();
            assert!(fills(&array(&model)) && array(&model).size > 3 * GIB, "{context}");
            stays(&model, config, "The array is this volume's.");
        },
    );
}

#[test]
fn an_array_that_is_not_at_rest_stays_as_large_as_it_is_and_says_what_it_waits_for() {
    let (mut model, config) = growing(Level::Raid6);
    model.pull("vdn0");
    stays(&model, &config, "before it is made larger it waits for the array to lack no member");
    // The member that takes its place is no larger than it was: then all of them have that room.
    model.plug(disk("vdo", "O", GIB));
    let mut named = config.clone();
    named.storage.array.get_mut("meta").unwrap().disks.serial[0] = "O".into();
    let next = plan(&model.inventory(), &named);
    assert!(!steps(&next).contains(&"grow"), "{next:#?}");
    model.carry_out(&next).unwrap();
    model.fill();
    stays(&model, &named, "The array is this volume's.");

    let (mut model, mut config) = growing(Level::Raid6);
    model.plug(disk("vdr", "R", 2 * GIB));
    let array = config.storage.array.get_mut("meta").unwrap();
    (array.retire, array.disks.serial[0]) = (vec!["N0".into()], "R".into());
    let next = plan(&model.inventory(), &config);
    assert!(steps(&next).contains(&"copy") && !steps(&next).contains(&"grow"), "{next:#?}");
    assert!(volume(&next, VOLUME).reasons.join(" ").contains("once its members are settled"), "{next:#?}");
    model.carry_out(&next).unwrap();
    stays(&model, &config, "before it is made larger it waits for that another member has been copied");
}

#[test]
fn a_file_system_follows_whatever_its_array_does_meanwhile() {
    let (model, config) = growing(Level::Raid6);
    let effects = effects(&model, &plan(&model.inventory(), &config));
    let mut model = model;
    model.apply(effects[0].clone());
    model.pull("vdn0");
    let next = plan(&model.inventory(), &config);
    assert_eq!((volume(&next, VOLUME).verdict, steps(&next)), (Verdict::Repair, vec!["fill"]));
    model.carry_out(&next).unwrap();
    assert!(fills(&array(&model)));
    stays(&model, &config, "3 of 4 members are in the array: it is degraded.");
}

#[test]
fn a_member_that_left_after_its_array_grew_comes_back_and_one_that_left_before_does_not() {
    let (mut model, mut config) = replaced(Level::Raid6, 2 * GIB);
    let pulled = |model: &mut Model| {
        let away = model.disks().iter().find(|disk| disk.device.name == "vdn0").unwrap().clone();
        model.pull("vdn0");
        model.serve();
        away
    };
    let before = pulled(&mut model.clone());
    config.storage.array.get_mut("meta").unwrap().grow = true;
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    let after = pulled(&mut model);

    let mut early = model.clone();
    early.put_back(before);
    stays(&early, &config, "was a member, has missed writes since, and is left out");
    // Nor one whose array was made larger by somebody while it was away.
    let (mut by_hand, mut smaller) = (model.clone(), after.clone());
    smaller.areas.values_mut().filter_map(|area| area.md.as_mut()).for_each(|md| md.needs /= 2);
    by_hand.put_back(smaller);
    stays(&by_hand, &config, "was a member, has missed writes since, and is left out");
    model.put_back(after);
    let next = plan(&model.inventory(), &config);
    assert_eq!((volume(&next, VOLUME).verdict, steps(&next)), (Verdict::Repair, vec!["return"]));
}

#[test]
fn a_little_room_is_none_and_a_partial_parity_log_keeps_an_array_as_large_as_it_is() {
    let (model, mut config) = replaced(Level::Raid1, GIB + (48 << 20));
    config.storage.array.get_mut("meta").unwrap().grow = true;
    stays(&model, &config, "The array is this volume's.");

    // The site file says otherwise by now; the array is as it was made.
    let (mut model, config) = growing(Level::Raid5);
    for i in 0..4 {
        let areas = &mut model.disk_mut(&format!("vdn{i}")).unwrap().areas;
        areas.values_mut().filter_map(|area| area.md.as_mut()).for_each(|md| md.ppl = true);
    }
    stays(&model, &config, "made with a partial parity log, with which it stays as large as it is");
}
