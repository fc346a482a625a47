//! A member that was away comes back: when it is taken back, and that it is left alone whenever it can't be that one. Cuts are
//! in `cuts.rs`.

use crate::world::*;
use machine_config::schema::{Level, MachineConfig};
use proptest::prelude::*;
use std::collections::BTreeSet;
use storage_plan::inventory::MdMember;
use storage_plan::simulate::{Model, ModelDisk};
use storage_plan::{Verdict, plan};

const MIRROR: &str = "meta/db";

/// It is left as it is, and the mirror runs on without it, now and after a restart.
fn it_is_left_alone(model: &Model, config: &MachineConfig, context: &str) {
    for reboot in [false, true] {
        let mut model = model.clone();
        if reboot {
            model.power_cut();
        }
        let plan = plan(&model.inventory(), config);
        assert!(!written(&plan).contains("vdc"), "{context}, reboot {reboot}: {:#?}", plan.graph);
        model.carry_out(&plan).unwrap();
        let inventory = model.inventory();
        let both = ["vdb1", "vdc1"].iter().all(|name| inventory.arrays[0].members.iter().any(|m| m == name));
        assert!(!both, "{context}, reboot {reboot}");
    }
}

fn say(disk: &mut ModelDisk, change: impl Fn(&mut MdMember)) {
    disk.areas.values_mut().filter_map(|area| area.md.as_mut()).for_each(change);
}

#[test]
fn a_member_that_was_away_is_taken_back() {
    for off in [false, true] {
        let (mut model, config) = returned();
        if off {
            model.power_cut();
        }
        let first = plan(&model.inventory(), &config);
        assert_eq!((volume(&first, MIRROR).verdict, codes(&first)), (Verdict::Repair, Vec::new()));
        assert_eq!(written(&first), BTreeSet::from(["vdc".to_owned()]));
        let of_mirror: Vec<&str> = steps(&first).into_iter().filter(|s| *s != "mount").collect();
        assert_eq!(of_mirror, if off { vec!["assemble", "return"] } else { vec!["return"] });
        let words = storage_plan::explain::table(&first);
        assert!(words.contains("serial A2  2.1 GB was away; it is taken back"), "{words}");
        assert!(words.contains("take vdc partition 1 back into \"meta\""), "{words}");
        model.carry_out(&first).unwrap();
        let again = plan(&model.inventory(), &config);
        assert_eq!((volume(&again, MIRROR).verdict, again.graph.steps.len()), (Verdict::Keep, 0));
        assert_eq!(volume(&again, MIRROR).array.as_ref().unwrap().present, 1, "it is not up to date yet");
        model.fill();
        assert_eq!(model.inventory().arrays[0].members, ["vdb1", "vdc1"]);
        assert_eq!(plan(&model.inventory(), &config).writes(), 0);
    }
}

#[test]
fn invariant_1_and_3_what_is_not_positively_that_member_is_left_alone() {
    type Change = fn(&mut Model, &mut ModelDisk);
    let cases: [(&str, Change); 16] = [
        ("it ran without the others", |_, d| {
            say(d, |md| (md.events, md.positions) = (md.events + 1, vec![None, Some(1)]))
        }),
        ("it ran without the others, and longer", |_, d| {
            say(d, |md| (md.events, md.positions) = (md.events + 90, vec![None, Some(1)]));
        }),
        ("it knows more than they do", |_, d| say(d, |md| md.events += 90)),
        ("it knows as much as they do and is not among them", |m, d| {
            let events = m.inventory().devices.iter().find(|d| d.name == "vdb").unwrap().partitions[0].md.clone();
            say(d, |md| md.events = events.as_ref().unwrap().events);
            say(m.disk_mut("vdb").unwrap(), |md| md.positions = vec![Some(0)]);
        }),
        ("its positions were not looked at", |_, d| say(d, |md| md.positions.clear())),
        ("it was a spare", |_, d| say(d, |md| md.role = None)),
        ("it was never full", |_, d| say(d, |md| md.recovering = true)),
        ("it took over from another", |_, d| say(d, |md| md.replaces = true)),
        ("its number is another's", |_, d| say(d, |md| md.number = 0)),
        ("it has the place of another", |_, d| say(d, |md| md.role = Some(0))),
        ("of an array of another size", |_, d| say(d, |md| md.needs += 512)),
        ("of an array with more members", |_, d| say(d, |md| md.members = 3)),
        ("the bitmap has forgotten", |m, _| say(m.disk_mut("vdb").unwrap(), |md| md.bitmap_since = Some(md.events))),
        ("there is no bitmap", |m, _| say(m.disk_mut("vdb").unwrap(), |md| md.bitmap_since = None)),
        ("write-protected", |_, d| d.device.read_only = true),
        ("two of its name", |m, _| m.plug(disk("vdz", "A2", 2 * GIB))),
    ];
    for (name, change) in cases {
        let (mut model, config) = returned();
        let mut old = model.disks().iter().find(|d| d.device.name == "vdc").unwrap().clone();
        model.pull("vdc");
        change(&mut model, &mut old);
        model.put_back(old);
        it_is_left_alone(&model, &config, name);
    }
}

#[test]
fn it_waits_while_something_else_is_under_way_and_is_left_out_when_its_place_is_taken() {
    let (model, mut config) = returned();
    let mut busy = model.inventory();
    busy.arrays[0].sync_action = "check".into();
    let left = plan(&busy, &config);
    assert_eq!((volume(&left, MIRROR).verdict, left.writes()), (Verdict::Keep, 0));
    let words = "serial A2  2.1 GB was a member, has missed writes since, and is left out.";
    assert!(volume(&left, MIRROR).reasons.iter().any(|r| r.contains(words)), "{left:#?}");
    // One that it failed in while it ran is no such.
    let mut failed = model.inventory();
    failed.arrays[0].failed = vec!["vdc1".into()];
    let device = failed.devices.iter_mut().find(|d| d.name == "vdc").unwrap();
    device.partitions[0].uses.holders = vec![failed.arrays[0].name.clone()];
    assert_eq!(plan(&failed, &config).writes(), 0);
    // Retired.
    let mut retired = config.clone();
    let meta = retired.storage.array.get_mut("meta").unwrap();
    (meta.disks, meta.retire) = (serials(&["A1", "A9"]), vec!["A2".into()]);
    it_is_left_alone(&model, &retired, "it is to be retired");
    // A blank disk stood in for it meanwhile, and was at work before it came back.
    let mut model = model;
    let old = model.disks().iter().find(|d| d.device.name == "vdc").unwrap().clone();
    model.pull("vdc");
    model.plug(disk("vdf", "A3", 2 * GIB));
    config.storage.array.get_mut("meta").unwrap().disks = serials(&["A1", "A3"]);
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    for whole in [false, true] {
        if whole {
            model.fill();
        }
        let mut model = model.clone();
        model.put_back(old.clone());
        it_is_left_alone(&model, &config, "its place is taken");
    }
}

#[test]
fn its_table_is_put_right_before_it_is_taken_back() {
    let (mut model, config) = returned();
    model.disk_mut("vdc").unwrap().sectors.insert(512, vec![7; 512]);
    for wanted in [vec!["table"], vec!["return"], vec![]] {
        let plan = plan(&model.inventory(), &config);
        assert_eq!(steps(&plan), wanted);
        model.carry_out(&plan).unwrap();
    }
}

#[test]
fn a_member_that_is_back_is_preferred_to_a_blank_disk() {
    let (mut model, mut config) = returned();
    model.plug(disk("vdf", "A3", 2 * GIB));
    config.storage.array.get_mut("meta").unwrap().disks = serials(&["A1", "A3"]);
    assert_eq!(steps(&plan(&model.inventory(), &config)), ["return"]);
}

#[test]
fn a_member_without_a_place_in_the_latest_state_is_not_started_with_the_others() {
    let (mut model, config) = full();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.power_cut();
    // The last event before the power went was that it had failed.
    say(model.disk_mut("vdb").unwrap(), |md| (md.events, md.positions) = (md.events + 1, vec![Some(0)]));
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    assert_eq!(model.inventory().arrays[0].members, ["vdb1"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn invariant_3_halves_that_were_used_apart_never_come_together(
        level in prop::sample::select(vec![Level::Raid1, Level::Raid6, Level::Raid10]),
        // Who is there in which time, and whether something is written then.
        times in prop::collection::vec((prop::collection::btree_set(0..4usize, 1..5), any::<bool>()), 1..6),
    ) {
        let names: Vec<String> = (0..4).map(|i| format!("S{i}")).collect();
        let named: Vec<&str> = names.iter().map(String::as_str).collect();
        let config = config(&[], &[("meta", array(level, serials(&named), 0, "/var/lib/volumes/db"))]);
        let mut model = node((0..4).map(|i| disk(&format!("vd{i}"), &names[i], GIB)).collect());
        model.carry_out(&plan(&model.inventory(), &config)).unwrap();
        // What each disk has of all that was written: the writes by number.
        let mut content = vec![BTreeSet::new(); 4];
        let mut away: Vec<ModelDisk> = Vec::new();
        for (number, (there, writes)) in times.into_iter().enumerate() {
            model.power_cut();
            let gone: Vec<String> = (0..4).filter(|i| !there.contains(i)).map(|i| format!("vd{i}")).collect();
            away.extend(model.disks().iter().filter(|d| gone.contains(&d.device.name)).cloned().collect::<Vec<_>>());
            gone.iter().for_each(|name| model.pull(name));
            let (back, still): (Vec<_>, Vec<_>) = away.into_iter().partition(|d| !gone.contains(&d.device.name));
            away = still;
            back.into_iter().for_each(|d| model.put_back(d));
            let at = |name: &str| name.as_bytes()[2] as usize - usize::from(b'0');
            let plan = plan(&model.inventory(), &config);
            model.carry_out(&plan).map_err(|e| TestCaseError::fail(format!("{e:?}: {plan:#?}")))?;
            let array = |model: &Model| model.inventory().arrays.first().map(|a| a.members.clone()).unwrap_or_default();
            let before = array(&model);
            model.fill();
            let at_work = array(&model);
            let Some(first) = before.first() else { continue };
            // The bitmap copies only what was written while they were apart: all else must be there already.
            let newest = content[at(first)].clone();
            for name in &at_work {
                prop_assert!(content[at(name)].is_subset(&newest), "{name} has what {first} has not: {content:?}");
                content[at(name)] = newest.clone();
            }
            if writes {
                model.serve();
                for name in &at_work {
                    content[at(name)].insert(number);
                }
            }
        }
    }
}
