//! The state on a mirror of system disks: made, started from either, without one, and with another in its place.

use crate::world::*;
use machine_config::schema::{MachineConfig, Replace};
use on_disk::gpt::kind;
use std::collections::BTreeSet;
use storage_plan::inventory::{Device, Rest};
use storage_plan::simulate::{Effect, Model};
use storage_plan::{Action, Plan, Verdict, plan};

/// The node of [`mirrored`], made, started from `vda` again.
fn made_mirror() -> (Model, MachineConfig) {
    let (model, config) = mirrored();
    (made(model, &config), config)
}

/// Plans and carries out what is to be done, and insists that nothing is left to do then, whichever disk it is started from.
fn converge(mut model: Model, config: &MachineConfig, disks: &[&str], context: &str) -> Model {
    let first = plan(&model.inventory(), config);
    assert!(!first.is_blocked(), "{context}: {:#?}", first.all_refusals());
    model.carry_out(&first).unwrap_or_else(|e| panic!("{context}: {e:?}"));
    assert!(plan(&model.inventory(), config).graph.steps.is_empty(), "{context}: a second plan has nothing to do");
    for name in disks {
        assert!(can_be_started(&model, name) && has_image_of(&model, name, disks[0]), "{context}: {name}");
        model.start_from(name);
        let again = plan(&model.inventory(), config);
        let verdicts: Vec<_> = again.volumes.iter().map(|v| (v.volume.clone(), v.verdict, v.reasons.clone())).collect();
        assert!(verdicts.iter().all(|(_, v, _)| *v == Verdict::Keep), "{context}, from {name}: {verdicts:?}");
        assert_eq!(again.writes(), 0, "{context}, from {name}");
        let state = volume(&again, "state").array.as_ref().unwrap();
        assert_eq!((state.present, state.wanted), (2, 2), "{context}, from {name}");
        model.carry_out(&again).unwrap_or_else(|e| panic!("{context}, from {name}: {e:?}"));
    }
    model
}

#[test]
fn the_state_is_made_on_both_and_the_image_copied_beside() {
    let (model, config) = mirrored();
    let plan = plan(&model.inventory(), &config);
    let state = volume(&plan, "state");
    assert_eq!(state.verdict, Verdict::Create, "{:#?}", plan.all_refusals());
    assert_eq!((state.disks.len(), state.array.as_ref().unwrap().level, state.mount.as_str()), (2, 1, "/var"));
    let copies = plan.graph.steps.iter().filter_map(|s| match &s.action {
        Action::CopyImage { from, disk, partitions } => Some((from.as_str(), disk.as_str(), partitions.len())),
        _ => None,
    });
    assert_eq!(copies.collect::<Vec<_>>(), [("vda", "vdb", 3)]);
    // The table of the disk that was started from keeps what it has, and gets one partition more.
    for step in &plan.graph.steps {
        if let Action::WriteTable { disk, table, .. } = &step.action
            && disk == "vda"
        {
            assert_eq!(table.partitions[..3], image_table().partitions[..]);
        }
    }
    converge(model, &config, &["vda", "vdb"], "from blank");
}

#[test]
fn invariant_4_a_cut_while_system_disks_are_made_converges_whichever_is_started() {
    let (model, config) = mirrored();
    let effects = effects(&model, &plan(&model.inventory(), &config));
    assert!(effects.iter().any(|e| matches!(e, Effect::Copied(..))) && effects.len() > 300, "{}", effects.len());
    let mut from_the_second = 0;
    for cut in 0..=effects.len() {
        let mut torn = model.clone();
        effects[..cut].iter().for_each(|e| torn.apply(e.clone()));
        let context = format!("cut after {cut} of {} effects", effects.len());
        for name in ["vda", "vdb"] {
            if !can_be_started(&torn, name) {
                continue;
            }
            assert!(has_image_of(&torn, name, "vda"), "{context}: {name} can be started before it has the image");
            from_the_second += usize::from(name == "vdb");
            let mut torn = torn.clone();
            torn.start_from(name);
            converge(torn, &config, &["vda", "vdb"], &format!("{context}, started from {name}"));
        }
    }
    assert!(from_the_second > 10, "the second disk was started only {from_the_second} times");
}

#[test]
fn invariant_8_the_other_system_disk_starts_the_node_alone() {
    for lost in ["vda", "vdb"] {
        let (mut model, config) = made_mirror();
        model.pull(lost);
        model.start_from(if lost == "vda" { "vdb" } else { "vda" });
        let plan = plan(&model.inventory(), &config);
        assert!(!plan.is_blocked(), "{:#?}", plan.all_refusals());
        let state = volume(&plan, "state");
        assert_eq!((state.verdict, plan.writes()), (Verdict::Keep, 0));
        let array = state.array.as_ref().unwrap();
        assert_eq!((array.present, array.wanted), (1, 2));
        assert!(state.reasons.iter().any(|r| r.contains("it is degraded")), "{:?}", state.reasons);
        model.carry_out(&plan).unwrap();
    }
}

/// The node of [`made_mirror`], which lost `vda` and runs from `vdb`, with a blank disk `vdd` (SYS3) in the place of that.
fn lost_one(named: bool) -> (Model, MachineConfig) {
    let (mut model, mut config) = made_mirror();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.remembered = storage_plan::remember::remember(&model.inventory(), &config);
    model.pull("vda");
    model.start_from("vdb");
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.plug(Device { by_path: vec!["pci-SYS".into()], ..disk("vdd", "SYS3", 8 * GIB) });
    if named {
        config.storage.system.disks = Some(serials(&["SYS2", "SYS3"]));
    } else {
        config.storage.system.replace = Replace::SameSlot;
    }
    (model, config)
}

#[test]
fn invariant_9_a_blank_disk_takes_the_place_of_a_system_disk_and_gets_the_image() {
    for named in [true, false] {
        let (model, config) = lost_one(named);
        let first = plan(&model.inventory(), &config);
        assert_eq!(written(&first).into_iter().collect::<Vec<_>>(), ["vdd"], "named {named}");
        // The watch does the same: nothing is made, started or mounted.
        assert_eq!(steps(&first), ["table", "image", "add", "table"], "named {named}");
        assert_eq!(first.repairs().graph.steps.len(), 4);
        let effects = effects(&model, &first);
        for cut in 0..=effects.len() {
            let mut torn = model.clone();
            effects[..cut].iter().for_each(|e| torn.apply(e.clone()));
            let context = format!("named {named}, cut after {cut} of {} effects", effects.len());
            // The agent alone may be killed, too; the array runs on then.
            taken_in(torn.clone(), &config, &context);
            assert!(!can_be_started(&torn, "vdd") || has_image_of(&torn, "vdd", "vdb"), "{context}");
            torn.start_from("vdb");
            taken_in(torn, &config, &context);
        }
    }
}

fn taken_in(mut model: Model, config: &MachineConfig, context: &str) {
    let first = plan(&model.inventory(), config);
    assert!(!first.is_blocked(), "{context}: {:#?}", first.all_refusals());
    assert!(written(&first).iter().all(|name| name == "vdd"), "{context}: {:?}", written(&first));
    model.carry_out(&first).unwrap_or_else(|e| panic!("{context}: {e:?}"));
    model.fill();
    converge(model, config, &["vdb", "vdd"], context);
}

/// The steps that have to end before the one at `step` begins.
fn before(plan: &Plan, step: usize) -> BTreeSet<usize> {
    let direct = &plan.graph.steps[step].after;
    direct.iter().flat_map(|at| before(plan, *at).into_iter().chain([*at])).collect()
}

#[test]
fn nothing_is_finished_before_the_image_is_copied_however_steps_run_side_by_side() {
    for (model, config) in [mirrored(), lost_one(true)] {
        let plan = plan(&model.inventory(), &config);
        let is_copy = |step: &usize| matches!(plan.graph.steps[*step].action, Action::CopyImage { .. });
        let mut waiting = 0;
        for (at, step) in plan.graph.steps.iter().enumerate().filter(|(_, step)| step.volume == "state") {
            let waits = match &step.action {
                Action::WriteTable { table, .. } => table.partitions.iter().any(|p| p.kind == kind::STATE),
                // A member with its place in the array is taken for finished.
                Action::AddMember { .. } => true,
                _ => false,
            };
            waiting += usize::from(waits);
            assert!(!waits || before(&plan, at).iter().any(is_copy), "{:?} waits for no copy", step.action);
        }
        assert_eq!(waiting, 2, "{:#?}", plan.graph);
    }
}

#[test]
fn invariant_4_either_of_them_may_be_finished_first() {
    for (unfinished, from) in [("vda", "vdb"), ("vdb", "vda"), ("vda", "vda"), ("vdb", "vdb")] {
        let (mut model, config) = made_mirror();
        let disk = model.disk_mut(unfinished).unwrap();
        let (mut table, size) = (disk.table().agreed().unwrap().clone(), disk.device.size);
        table.partitions.iter_mut().filter(|p| p.kind == kind::STATE).for_each(|p| p.kind = kind::PROVISIONING);
        lay(&mut model, unfinished, &table, size);
        model.start_from(from);
        let first = plan(&model.inventory(), &config);
        assert_eq!(volume(&first, "state").verdict, Verdict::Repair, "{unfinished}, from {from}");
        assert_eq!(written(&first).into_iter().collect::<Vec<_>>(), [unfinished]);
        converge(model, &config, &["vda", "vdb"], &format!("{unfinished} unfinished, started from {from}"));
    }
}

#[test]
fn nobody_takes_the_place_of_a_system_disk_unasked() {
    let (model, mut config) = lost_one(false);
    config.storage.system.replace = Replace::Named;
    let plan = plan(&model.inventory(), &config);
    assert_eq!((plan.writes(), volume(&plan, "state").verdict), (0, Verdict::Keep));
}

#[test]
fn invariant_2_a_second_system_disk_that_is_not_blank_is_refused_and_no_permit_changes_that() {
    let (mut model, config) = mirrored();
    model.disk_mut("vdb").unwrap().device.signatures.push(signature(
        "ext4",
        "3f2a6c1e-0000-4000-8000-000000000000",
        "",
    ));
    model.grant(permit_for(&model, "vdb"));
    let plan = plan(&model.inventory(), &config);
    assert!(plan.is_blocked() && written(&plan).iter().all(|name| name == "vdc"), "{:?}", written(&plan));
    let refusals = plan.all_refusals();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert_eq!(refusals[0].code, "BP-S014");
    assert!(!refusals[0].mend.contains("permit erase") && refusals[0].why.contains("No permit"), "{refusals:#?}");
}

#[test]
fn invariant_2_another_disk_with_the_image_is_not_overwritten() {
    let (mut model, config) = mirrored();
    lay(&mut model, "vdb", &image_table(), IMAGE);
    let plan = plan(&model.inventory(), &config);
    assert_eq!((codes(&plan), plan.is_blocked()), (vec!["BP-S014".into()], true));
    assert!(!written(&plan).contains("vdb") && !written(&plan).contains("vda"));
}

#[test]
fn invariant_1_all_system_disks_have_to_be_there_when_they_are_made() {
    let (mut model, config) = mirrored();
    model.pull("vdb");
    let plan = plan(&model.inventory(), &config);
    assert_eq!((codes(&plan), plan.is_blocked()), (vec!["BP-S001".into()], true));
}

#[test]
fn invariant_1_a_system_disk_is_for_nothing_else() {
    let (model, mut config) = mirrored();
    let only = config.storage.each.get_mut("object").unwrap();
    only.disks = ssds(1);
    converge(model.clone(), &config, &["vda", "vdb"], "one is left beside the system disks");
    let (model, _) = made_mirror();
    // Its table says so, also when the selector does not name it any more.
    config.storage.system.disks = Some(serials(&["SYS", "SYS9"]));
    let plan = plan(&model.inventory(), &config);
    assert!(!plan.is_blocked(), "{:#?}", plan.all_refusals());
    assert_eq!(volume(&plan, "state").disks.len(), 2);
}

#[test]
fn a_disk_that_can_not_hold_the_image_or_the_state_is_refused() {
    let change = |d: &mut Device, words: &str| match words {
        "logical sectors" => d.logical_sector = 4096,
        "no room" => d.size = 512 << 20,
        _ => d.size = 2 * GIB,
    };
    for words in ["logical sectors", "no room", "room for"] {
        let (mut model, mut config) = mirrored();
        config.storage.system.state_size = Some(4 * GIB);
        change(&mut model.disk_mut("vdb").unwrap().device, words);
        let plan = plan(&model.inventory(), &config);
        assert!(plan.is_blocked() && !written(&plan).contains("vda"), "{words}");
        let refusals = plan.all_refusals();
        assert!(refusals.iter().any(|r| r.code == "BP-S010" && r.why.contains(words)), "{words}: {refusals:#?}");
    }
}

#[test]
fn invariant_3_one_disk_never_becomes_several_nor_several_one() {
    let (model, mirror) = mirrored();
    let single = MachineConfig { storage: Default::default(), ..mirror.clone() };
    for (before, after) in [(&single, &mirror), (&mirror, &single)] {
        let model = made(model.clone(), before);
        let plan = plan(&model.inventory(), after);
        assert!(plan.is_blocked());
        assert!(codes(&plan).contains(&"BP-S022".to_owned()), "{:#?}", plan.all_refusals());
        assert!(!written(&plan).contains("vda") && !written(&plan).contains("vdb"), "{:?}", written(&plan));
    }
}

#[test]
fn invariant_3_a_disk_with_the_whole_state_of_the_node_is_named_beside_a_mirror_to_be() {
    let (mut model, config) = mirrored();
    let single = MachineConfig { storage: Default::default(), ..config.clone() };
    let mut old = node(vec![]);
    old.disk_mut("vda").unwrap().device = disk("vdd", "OLD", 8 * GIB);
    old.start_from("vdd");
    let old = made(old, &single);
    model.put_back(old.disks()[0].clone());
    let plan = plan(&model.inventory(), &config);
    assert!(plan.is_blocked() && codes(&plan).contains(&"BP-S022".to_owned()), "{:#?}", plan.all_refusals());
    assert!(plan.all_refusals().iter().any(|r| r.why.contains("serial OLD ")), "{:#?}", plan.all_refusals());
    assert!(written(&plan).is_disjoint(&["vda", "vdb", "vdd"].map(str::to_owned).into()), "{:?}", written(&plan));
}

#[test]
fn invariant_6_a_node_whose_first_disk_was_written_anew_finds_its_state_on_the_other() {
    let (mut model, config) = made_mirror();
    let fresh = mirrored().0.disks()[0].clone();
    model.pull("vda");
    model.put_back(fresh);
    let first = plan(&model.inventory(), &config);
    assert!(!first.is_blocked(), "{:#?}", first.all_refusals());
    assert!(!written(&first).contains("vdb"), "{:?}", written(&first));
    model.carry_out(&first).unwrap();
    model.fill();
    converge(model, &config, &["vda", "vdb"], "the image was written anew");
}

#[test]
fn data_behind_an_image_that_was_written_anew_stops_the_node_only_without_another_state() {
    let behind = |model: &mut Model| model.disk_mut("vda").unwrap().device.free_tail = Rest::Data { offset: 400 << 20 };
    let (mut model, config) = mirrored();
    behind(&mut model);
    assert_eq!(codes(&plan(&model.inventory(), &config)), ["BP-S015"]);
    let (mut model, config) = made_mirror();
    let mut fresh = mirrored().0;
    behind(&mut fresh);
    model.pull("vda");
    model.put_back(fresh.disks()[0].clone());
    let plan = plan(&model.inventory(), &config);
    assert!(!plan.is_blocked() && plan.writes() == 0, "{:#?}", plan.all_refusals());
    assert_eq!(codes(&plan), ["BP-S010"]);
}

#[test]
fn a_disk_with_another_image_is_told_of() {
    let (mut model, config) = made_mirror();
    let other = "another release".to_owned();
    let mut table = model.disks()[1].table().agreed().unwrap().clone();
    table.partitions.iter_mut().filter(|p| p.kind == kind::ROOT_X86_64).for_each(|p| p.name = other.clone());
    lay(&mut model, "vdb", &table, 9 * GIB);
    let plan = plan(&model.inventory(), &config);
    let state = volume(&plan, "state");
    assert_eq!((state.verdict, plan.writes()), (Verdict::Keep, 0), "{:#?}", plan.all_refusals());
    assert!(state.reasons.iter().any(|r| r.contains("another image")), "{:?}", state.reasons);
}

#[test]
fn the_plan_is_the_same_in_whatever_order_and_under_whatever_names_disks_appear() {
    let (model, config) = mirrored();
    let verdicts = |plan: &Plan| plan.volumes.iter().map(|v| (v.volume.clone(), v.disks.clone())).collect::<Vec<_>>();
    let first = plan(&model.inventory(), &config);
    let mut inventory = model.inventory();
    inventory.devices.reverse();
    let again = plan(&inventory, &config);
    assert_eq!((verdicts(&first), steps(&first)), (verdicts(&again), steps(&again)));
}
