//! Inventories as machines have them, the awkward ones among them, and what is to come of each.
//!
//! [`cases::all`] lists them; every promise of a plan is held against every one of them.

mod cases;
use cases::{Case, all};
use std::collections::{BTreeMap, BTreeSet};
use storage_plan::simulate::{Area, ModelDisk};
use storage_plan::{Inventory, Plan, Verdict, picture, plan};

fn codes(plan: &Plan) -> Vec<String> {
    let codes: BTreeSet<String> = plan.all_refusals().into_iter().map(|d| d.code).collect();
    codes.into_iter().collect()
}

/// What a plan does, said without the kernel's names.
fn essence(inventory: &Inventory, plan: &Plan) -> String {
    let mut text = serde_json::to_string(plan).unwrap();
    // Longest first: a name may be the beginning of another.
    let mut names: Vec<(&str, &str)> = inventory.devices.iter().map(|d| (d.name.as_str(), d.sysfs.as_str())).collect();
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, sysfs) in names {
        text = text.replace(&format!("\"{name}\""), &format!("\"{sysfs}\""));
    }
    text
}

fn for_each(check: impl Fn(&Case)) {
    all().iter().for_each(check);
}

#[test]
fn there_are_a_hundred_and_each_has_a_name_of_its_own() {
    let cases = all();
    let names: BTreeSet<&str> = cases.iter().map(|c| c.name.as_str()).collect();
    assert!(names.len() == cases.len() && cases.len() >= 100, "{} of {}", names.len(), cases.len());
}

#[test]
fn each_comes_to_what_it_should() {
    let mut other = Vec::new();
    for case in all() {
        let plan = plan(&case.model.inventory(), &case.config);
        if codes(&plan) != case.refused {
            let table = storage_plan::explain::table(&plan);
            other.push(format!("{}: {:?}, not {:?}\n{table}", case.name, codes(&plan), case.refused));
        }
    }
    assert!(other.is_empty(), "{}", other.join("\n"));
}

/// What its partitions hold. An array that takes in a member numbers that event on all its members, and notes there who is
/// which and how far back its bitmap goes.
fn unnumbered(disk: &ModelDisk) -> BTreeMap<u64, Area> {
    let mut areas = disk.areas.clone();
    for md in areas.values_mut().filter_map(|area| area.md.as_mut()) {
        (md.events, md.positions, md.bitmap_since) = (0, Vec::new(), None);
    }
    areas
}

#[test]
fn invariant_1_and_2_what_is_refused_is_not_touched() {
    for_each(|case| {
        let inventory = case.model.inventory();
        let plan = plan(&inventory, &case.config);
        let mut after = case.model.clone();
        after.carry_out(&plan).unwrap_or_else(|e| panic!("{}: {e:?}", case.name));
        let written: BTreeSet<&str> =
            plan.graph.steps.iter().filter(|s| s.action.writes()).flat_map(|s| s.action.disks()).collect();
        for (old, new) in case.model.disks().iter().zip(after.disks()) {
            if !written.contains(old.device.name.as_str()) {
                let same = (&old.sectors, unnumbered(old)) == (&new.sectors, unnumbered(new));
                assert!(same, "{}: {} was written to", case.name, old.device.name);
            }
        }
        for volume in plan.volumes.iter().filter(|v| v.verdict == Verdict::Refuse) {
            assert!(plan.graph.steps.iter().all(|s| s.volume != volume.volume), "{}: {}", case.name, volume.volume);
            assert!(!volume.refusals.is_empty(), "{}: {} without a reason", case.name, volume.volume);
        }
    });
}

#[test]
fn the_plan_is_the_same_in_any_order_and_under_any_kernel_name() {
    for_each(|case| {
        let inventory = case.model.inventory();
        let mut other = inventory.clone();
        other.devices.reverse();
        // As if the kernel had found them the other way round.
        let names: Vec<String> = inventory.devices.iter().map(|d| d.name.clone()).collect();
        let renamed =
            |name: &str| names.iter().rev().zip(&names).find(|(old, _)| *old == name).map(|(_, new)| new.clone());
        for device in &mut other.devices {
            let old = device.name.clone();
            device.name = renamed(&old).unwrap();
            for partition in &mut device.partitions {
                partition.name = format!("{}p{}", device.name, partition.number);
            }
        }
        if let Some(boot) = &mut other.boot {
            boot.disk = renamed(&boot.disk).unwrap_or_else(|| boot.disk.clone());
        }
        let (one, two) = (plan(&inventory, &case.config), plan(&other, &case.config));
        assert_eq!(essence(&inventory, &one), essence(&other, &two), "{}", case.name);
    });
}

#[test]
fn what_was_made_is_kept_and_nothing_more_is_written() {
    for_each(|case| {
        let first = plan(&case.model.inventory(), &case.config);
        let mut model = case.model.clone();
        model.carry_out(&first).unwrap();
        model.power_cut();
        let again = plan(&model.inventory(), &case.config);
        for (before, after) in first.volumes.iter().filter(|v| v.verdict != Verdict::Refuse).map(|v| {
            (
                v,
                again
                    .volumes
                    .iter()
                    .find(|w| w.volume == v.volume)
                    .unwrap_or_else(|| panic!("{}: {}", case.name, v.volume)),
            )
        }) {
            assert_eq!(after.verdict, Verdict::Keep, "{}: {} was {:?}", case.name, before.volume, before.verdict);
        }
        assert_eq!(again.writes(), 0, "{}", case.name);
        assert_eq!(codes(&again), codes(&first), "{}: what was refused still is", case.name);
    });
}

#[test]
fn each_outlives_json_and_can_be_drawn() {
    for_each(|case| {
        let inventory = case.model.inventory();
        let text = serde_json::to_string(&inventory).unwrap();
        assert_eq!(serde_json::from_str::<Inventory>(&text).unwrap(), inventory, "{}", case.name);
        let svg = picture::svg(&inventory, &plan(&inventory, &case.config));
        assert!(svg.ends_with("</svg>\n"), "{}", case.name);
    });
}
