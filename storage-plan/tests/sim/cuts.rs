//! Invariant 4: after a power cut at any write the next boot converges in one run.

use crate::world::*;
use machine_config::schema::MachineConfig;
use proptest::prelude::*;
use storage_plan::inventory::MdMember;
use storage_plan::simulate::{Effect, Model};
use storage_plan::{Verdict, plan};

/// Plans, carries out, and insists that everything is then kept and nothing more is written.
fn converge(mut model: Model, config: &MachineConfig, context: &str) {
    let first = plan(&model.inventory(), config);
    assert!(!first.is_blocked(), "{context}: {:#?}", first.all_refusals());
    model.carry_out(&first).unwrap_or_else(|e| panic!("{context}: {e:?}"));
    for reboot in [false, true] {
        if reboot {
            model.power_cut();
        }
        let again = plan(&model.inventory(), config);
        let verdicts: Vec<_> = again.volumes.iter().map(|v| (v.volume.clone(), v.verdict, v.reasons.clone())).collect();
        assert!(verdicts.iter().all(|(_, v, _)| *v == Verdict::Keep), "{context}, reboot {reboot}: {verdicts:?}");
        assert_eq!(again.writes(), 0, "{context}");
        assert_eq!(again.graph.steps.is_empty(), !reboot, "{context}: a second plan has nothing to do");
        model.carry_out(&again).unwrap();
    }
}

#[test]
fn a_model_of_what_a_model_shows_shows_the_same_and_goes_on_alike() {
    for (model, config) in [full(), striped(), grouped()] {
        let first = plan(&model.inventory(), &config);
        let (mut model, mut again) = (model.clone(), Model::of(&model.inventory()));
        for step in &first.graph.steps {
            for effect in model.effects(&step.action).unwrap() {
                model.apply(effect);
            }
            for effect in again.effects(&step.action).unwrap() {
                again.apply(effect);
            }
            assert_eq!(again.inventory(), model.inventory());
            assert_eq!(Model::of(&model.inventory()).inventory(), model.inventory(), "{:?}", step.action);
        }
    }
}

#[test]
fn invariant_4_a_cut_after_any_effect_converges_in_one_run() {
    let (model, config) = full();
    let first = plan(&model.inventory(), &config);
    assert!(!first.is_blocked(), "{:#?}", first.all_refusals());
    let effects = effects(&model, &first);
    assert!(effects.len() > 500, "only {} points to cut at", effects.len());
    for cut in 0..=effects.len() {
        let mut torn = model.clone();
        effects[..cut].iter().for_each(|e| torn.apply(e.clone()));
        torn.power_cut();
        converge(torn, &config, &format!("cut after {cut} of {} effects", effects.len()));
    }
}

#[test]
fn invariant_4_a_cut_while_striped_arrays_are_made_converges_too() {
    let (model, config) = striped();
    let first = plan(&model.inventory(), &config);
    assert!(!first.is_blocked(), "{:#?}", first.all_refusals());
    let effects = effects(&model, &first);
    let tables = |e: &Effect| matches!(e, Effect::Sector { .. });
    // Sectors of tables are cut one by one above; here every other effect is, and a sample of those.
    let cuts = (0..=effects.len()).filter(|cut| cut % 53 == 0 || effects.get(*cut).is_none_or(|e| !tables(e)));
    for cut in cuts {
        let mut torn = model.clone();
        effects[..cut].iter().for_each(|e| torn.apply(e.clone()));
        torn.power_cut();
        converge(torn, &config, &format!("cut after {cut} of {} effects", effects.len()));
    }
}

#[test]
fn invariant_4_what_an_interrupted_run_began_with_another_reserve_is_finished_with_that() {
    let (model, config) = full();
    let with = |reserve: Option<u64>| {
        let mut config = config.clone();
        config.storage.array.get_mut("meta").unwrap().reserve = reserve;
        config
    };
    for (before, after) in [(None, Some(0)), (Some(0), None), (Some(64 << 20), None)] {
        let effects = effects(&model, &plan(&model.inventory(), &with(before)));
        let of_mirror = |e: &Effect| matches!(e, Effect::Sector { disk, .. } if disk == "vdb" || disk == "vdc");
        let tables = |cut: &usize| effects.get(*cut).is_some_and(of_mirror);
        for cut in (0..=effects.len()).filter(|cut| tables(cut) || cut % 19 == 0) {
            let mut torn = model.clone();
            effects[..cut].iter().for_each(|e| torn.apply(e.clone()));
            torn.power_cut();
            converge(torn, &with(after), &format!("{before:?}, then {after:?}: cut after {cut} of {}", effects.len()));
        }
    }
}

/// Every cut of a run on `model`: after how many effects, what it leaves, and in words.
fn each_cut(model: &Model, config: &MachineConfig, words: &str) -> Vec<(usize, Model, String)> {
    let effects = effects(model, &plan(&model.inventory(), config));
    assert!(effects.len() > 100, "only {} points to cut at", effects.len());
    let torn = |cut: usize| {
        let mut torn = model.clone();
        effects[..cut].iter().for_each(|e| torn.apply(e.clone()));
        (cut, torn, format!("{words}: cut after {cut} of {} effects", effects.len()))
    };
    (0..=effects.len()).map(torn).collect()
}

#[test]
fn invariant_4_a_cut_after_any_effect_of_a_replacement_converges_in_one_run() {
    for (named, off) in [(true, false), (false, false), (true, true)] {
        let (mut model, config) = lost(named);
        if off {
            model.power_cut();
        }
        for (cut, mut torn, context) in each_cut(&model, &config, &format!("named {named}, off {off}")) {
            // The agent alone may be killed, too; the array runs on then.
            replaced(torn.clone(), &config, &context);
            torn.power_cut();
            let again = replaced(torn.clone(), &config, &context);
            // A sample of what may be cut once more; each takes a plan and a run of its own.
            for second in (0..again.len()).step_by(17).filter(|_| cut % 13 == 0) {
                let mut torn = torn.clone();
                again[..second].iter().for_each(|e| torn.apply(e.clone()));
                torn.power_cut();
                replaced(torn, &config, &format!("{context}, and then after {second}"));
            }
        }
    }
}

/// Converges with the new member in the mirror and only it written to; gives the effects of the run that did it.
fn replaced(model: Model, config: &MachineConfig, context: &str) -> Vec<Effect> {
    taken_in(model, config, &["vdb1"], context)
}

/// As [`replaced`], with the members that work before and after.
fn taken_in(mut model: Model, config: &MachineConfig, at_work: &[&str], context: &str) -> Vec<Effect> {
    let plan = plan(&model.inventory(), config);
    let done = effects(&model, &plan);
    for effect in &done {
        let disk = match effect {
            Effect::Sector { disk, .. } => disk,
            Effect::Clear(at) | Effect::Superblock(at, _) | Effect::Joined(_, at) => &at.disk,
            Effect::Run(..) | Effect::Opened(..) | Effect::Mounted(..) | Effect::Linked(..) => continue,
            Effect::Returned(..) | Effect::Copying(..) | Effect::Left(..) => panic!("{context}: not a new one"),
            Effect::Holds(..) | Effect::Encrypted(..) | Effect::Sealed(..) | Effect::Copied(..) => {
                panic!("{context}: made anew")
            }
            Effect::Grouped(..) | Effect::Cut(..) | Effect::Tagged(..) | Effect::Active(..) => {
                panic!("{context}: of a group")
            }
            Effect::Grown(..) | Effect::Filled(..) => {
                panic!("{context}: of a group")
            }
            Effect::Zeroed(..) | Effect::Used(..) => panic!("{context}: erased"),
            Effect::Enlarged(..) | Effect::Fills(..) => panic!("{context}: larger"),
        };
        assert_eq!(disk, "vdf", "{context}");
    }
    converge(model.clone(), config, context);
    model.carry_out(&plan).unwrap();
    let array = &model.inventory().arrays[0];
    assert_eq!(
        (&array.members[..], &array.spares[..]),
        (&at_work.iter().map(|m| (*m).to_owned()).collect::<Vec<_>>()[..], &["vdf1".to_owned()][..]),
        "{context}"
    );
    done
}

/// Superblocks that are to be altered.
fn superblocks(model: &mut Model) -> impl Iterator<Item = &mut MdMember> {
    model.disks_mut().iter_mut().flat_map(|d| d.areas.values_mut()).filter_map(|area| area.md.as_mut())
}

/// The node of [`lost`] right after its mirror took the new disk in, `finished` with its table or not.
fn joined(finished: bool) -> (Model, MachineConfig, MdMember) {
    let (mut model, config) = lost(true);
    let effects = effects(&model, &plan(&model.inventory(), &config));
    let joined = effects.iter().position(|e| matches!(e, Effect::Joined(..))).unwrap();
    let done = if finished { effects.len() } else { joined + 1 };
    effects[..done].iter().for_each(|e| model.apply(e.clone()));
    let new = superblocks(&mut model).find(|md| md.recovering).cloned().expect("one is being filled");
    (model, config, new)
}

#[test]
fn invariant_4_a_cut_when_the_new_member_alone_has_noted_its_place_converges() {
    for finished in [false, true] {
        let (mut model, config, new) = joined(finished);
        for md in superblocks(&mut model).filter(|md| md.array == new.array && !md.recovering) {
            md.events = new.events - 1;
            md.positions.iter_mut().filter(|position| **position == new.role).for_each(|position| *position = None);
        }
        model.power_cut();
        replaced(model, &config, &format!("the event reached the new member alone, finished {finished}"));
    }
}

#[test]
fn invariant_3_a_member_that_the_new_one_ran_without_is_not_taken_for_the_array() {
    let says_gone = |new: &mut MdMember, other: &MdMember| new.positions[usize::from(other.number)] = None;
    let knows_more = |new: &mut MdMember, _: &MdMember| new.events += 1;
    for changed in [&says_gone as &dyn Fn(&mut MdMember, &MdMember), &knows_more] {
        let (mut model, config, new) = joined(true);
        let others = |md: &&mut MdMember| md.array == new.array && !md.recovering;
        let mut other = superblocks(&mut model).find(others).map(|md| md.clone()).expect("one has all data");
        other.events = new.events - 1;
        superblocks(&mut model).filter(others).for_each(|md| md.events = other.events);
        superblocks(&mut model).filter(|md| md.recovering).for_each(|md| changed(md, &other));
        model.power_cut();
        let plan = plan(&model.inventory(), &config);
        let codes: Vec<String> = plan.all_refusals().into_iter().map(|r| r.code).collect();
        assert_eq!(codes, ["BP-S018"]);
        let touched = plan.graph.steps.iter().any(|s| format!("{:?}", s.action).contains(&new.array.to_string()));
        assert!(!touched, "{:#?}", plan.graph);
    }
}

#[test]
fn invariant_4_a_cut_after_any_effect_of_adding_a_spare_converges_in_one_run() {
    for off in [false, true] {
        let (mut model, config) = with_one_spare_more();
        if off {
            model.power_cut();
        }
        for (_, mut torn, context) in each_cut(&model, &config, &format!("off {off}")) {
            taken_in(torn.clone(), &config, &["vdb1", "vdc1"], &context);
            torn.power_cut();
            taken_in(torn, &config, &["vdb1", "vdc1"], &context);
        }
    }
}

#[test]
fn invariant_4_a_cut_while_a_member_comes_back_converges_in_one_run() {
    for off in [false, true] {
        let (mut model, config) = returned();
        if off {
            model.power_cut();
        }
        let effects = effects(&model, &plan(&model.inventory(), &config));
        assert!(effects.iter().any(|e| matches!(e, Effect::Returned(_, at) if at.disk == "vdc")), "{effects:?}");
        for cut in 0..=effects.len() {
            let mut torn = model.clone();
            effects[..cut].iter().for_each(|e| torn.apply(e.clone()));
            for reboot in [false, true] {
                let mut torn = torn.clone();
                if reboot {
                    torn.power_cut();
                }
                let context = format!("off {off}, reboot {reboot}: cut after {cut} of {} effects", effects.len());
                converge(torn.clone(), &config, &context);
                torn.carry_out(&plan(&torn.inventory(), &config)).unwrap();
                torn.fill();
                assert_eq!(torn.inventory().arrays[0].members, ["vdb1", "vdc1"], "{context}");
            }
        }
    }
}

#[test]
fn invariant_4_a_cut_after_any_effect_of_a_retirement_goes_on_where_it_was() {
    for off in [false, true] {
        let (mut model, config) = retiring();
        if off {
            model.power_cut();
        }
        for (_, mut torn, context) in each_cut(&model, &config, &format!("off {off}")) {
            // The agent alone may be killed, too; the array runs on then.
            retired(torn.clone(), &config, false, &context);
            torn.power_cut();
            retired(torn.clone(), &config, false, &context);
            retired(torn, &config, true, &format!("{context}, and again when the copy is whole"));
        }
    }
}

/// Copies `vdc` onto `vdf` in one run, and lets it go in another when the copy is whole. Nothing else is written to, and
/// both members of the mirror serve all the time.
fn retired(mut model: Model, config: &MachineConfig, cut: bool, context: &str) {
    for whole in [false, true] {
        if whole {
            model.fill();
        }
        if whole && cut {
            model.power_cut();
        }
        let run = plan(&model.inventory(), config);
        assert!(!run.is_blocked(), "{context}: {:#?}", run.all_refusals());
        for effect in effects(&model, &run) {
            match &effect {
                Effect::Sector { disk, .. } => assert_eq!(disk, "vdf", "{context}"),
                Effect::Clear(at) | Effect::Superblock(at, _) | Effect::Joined(_, at) => {
                    assert_eq!(at.disk, "vdf", "{context}")
                }
                Effect::Copying(_, from, onto) => {
                    assert_eq!((from.disk.as_str(), onto.disk.as_str(), whole), ("vdc", "vdf", false), "{context}");
                }
                Effect::Left(_, at) => assert_eq!((at.disk.as_str(), whole), ("vdc", true), "{context}"),
                Effect::Run(..) | Effect::Mounted(..) | Effect::Linked(..) => {}
                _ => panic!("{context}: {effect:?}"),
            }
        }
        model.carry_out(&run).unwrap_or_else(|e| panic!("{context}: {e:?}"));
        let wanted = if whole { ["vdb1", "vdf1"] } else { ["vdb1", "vdc1"] };
        assert_eq!(model.inventory().arrays[0].members, wanted, "{context}");
        let again = plan(&model.inventory(), config);
        assert_eq!(again.graph.steps.len(), 0, "{context}: {:#?}", again.graph);
    }
    converge(model, config, context);
}

#[test]
fn invariant_4_a_cut_right_when_a_copy_is_whole_leaves_out_what_was_copied() {
    let (mut model, config) = retiring();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    // The kernel notes first that the copy is whole, and then that what was copied has no place any more.
    for name in ["vdb", "vdf"] {
        let areas = model.disk_mut(name).unwrap().areas.values_mut();
        areas.filter_map(|area| area.md.as_mut()).for_each(|md| (md.events, md.recovering) = (md.events + 1, false));
    }
    model.power_cut();
    let run = plan(&model.inventory(), &config);
    model.carry_out(&run).unwrap();
    assert_eq!(model.inventory().arrays[0].members, ["vdb1", "vdf1"]);
    converge(model, &config, "the copy is whole");
}

#[test]
fn invariant_4_a_second_cut_during_the_second_run_converges_too() {
    let (model, config) = full();
    let effects_1 = effects(&model, &plan(&model.inventory(), &config));
    for cut in (0..effects_1.len()).step_by(41) {
        let mut torn = model.clone();
        effects_1[..cut].iter().for_each(|e| torn.apply(e.clone()));
        torn.power_cut();
        let effects_2 = effects(&torn, &plan(&torn.inventory(), &config));
        for again in (0..effects_2.len()).step_by(29) {
            let mut torn = torn.clone();
            effects_2[..again].iter().for_each(|e| torn.apply(e.clone()));
            torn.power_cut();
            converge(torn, &config, &format!("cuts after {cut} and then {again}"));
        }
    }
}

/// What was not flushed when the power went may have reached the disk in part and in any order.
fn torn(model: &Model, effects: &[Effect], cut: usize, keep: &[bool]) -> Model {
    let mut torn = model.clone();
    let is_flush = |e: &Effect| matches!(e, Effect::Sector { flush: true, .. });
    let disk = |e: &Effect| match e {
        Effect::Sector { disk, .. } => Some(disk.clone()),
        _ => None,
    };
    for (i, effect) in effects[..cut].iter().enumerate() {
        let settled = disk(effect).is_none()
            || effects[i..cut].iter().any(|later| disk(later) == disk(effect) && is_flush(later));
        if settled || keep[i % keep.len()] {
            torn.apply(effect.clone());
        }
    }
    torn.power_cut();
    torn
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn invariant_4_any_part_of_what_was_not_flushed_converges(
        at in 0usize..10_000,
        keep in prop::collection::vec(any::<bool>(), 97),
    ) {
        let (model, config) = full();
        let effects = effects(&model, &plan(&model.inventory(), &config));
        let cut = at % (effects.len() + 1);
        converge(torn(&model, &effects, cut, &keep), &config, &format!("cut after {cut}, keeping {keep:?}"));
    }
}

/// The effects of erasing one disk, as (first, one behind the last).
fn erasing(effects: &[Effect], name: &str) -> (usize, usize) {
    let of_it = |e: &Effect| match e {
        Effect::Sector { disk, offset: 0, flush: true, bytes, .. } => {
            disk == name && bytes.starts_with(b"BEDPLATE-ERASE")
        }
        _ => false,
    };
    let first = effects.iter().position(of_it).unwrap();
    let used = effects[first..].iter().position(|e| matches!(e, Effect::Used(_))).unwrap();
    (first, first + used + 1)
}

#[test]
fn invariant_4_a_cut_after_any_effect_of_erasing_converges_with_the_permit_and_without() {
    let (model, config) = foreign();
    let first = plan(&model.inventory(), &config);
    assert!(!first.is_blocked(), "{:#?}", first.all_refusals());
    let effects = effects(&model, &first);
    let mut cuts = 0;
    for name in ["vdb", "vdc", "vdd", "vde"] {
        let (begins, ends) = erasing(&effects, name);
        assert!(ends - begins >= 4, "{name}");
        for cut in begins..=ends {
            let mut torn = model.clone();
            effects[..cut].iter().for_each(|e| torn.apply(e.clone()));
            torn.power_cut();
            converge(torn.clone(), &config, &format!("{name}: cut after {cut} of {}", effects.len()));
            cuts += 1;
            if cut == begins {
                continue;
            }
            // From the note on, the disk itself says that it is erased; only the others still need their permits.
            let others = torn.inventory().permits.into_iter().filter(|g| {
                let of = |d: &storage_plan::inventory::Device| d.serial.as_deref() == Some(g.permit.device.as_str());
                torn.inventory().devices.iter().any(|d| of(d) && d.name != name)
            });
            let others: Vec<_> = others.collect();
            torn.revoke();
            others.into_iter().for_each(|g| torn.grant(g));
            converge(torn, &config, &format!("{name}: cut after {cut}, and its permit is gone"));
        }
    }
    assert!(cuts > 80, "only {cuts} points to cut at");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn invariant_4_any_part_of_a_disk_may_be_zeroed_when_the_power_goes(
        keep in prop::collection::vec(any::<bool>(), 97),
        which in 0usize..4,
    ) {
        let (model, config) = foreign();
        let effects = effects(&model, &plan(&model.inventory(), &config));
        let (begins, ends) = erasing(&effects, ["vdb", "vdc", "vdd", "vde"][which]);
        let mut torn = model.clone();
        effects[..=begins].iter().for_each(|e| torn.apply(e.clone()));
        // All but the note's end, which comes after a flush.
        let zeroed = effects[begins + 1..ends - 2].iter().enumerate().filter(|(i, _)| keep[i % keep.len()]);
        zeroed.for_each(|(_, e)| torn.apply(e.clone()));
        torn.power_cut();
        converge(torn, &config, &format!("{which}, keeping {keep:?}"));
    }
}

#[test]
fn invariant_4_a_finished_volume_is_never_made_again_after_a_damaged_table() {
    let (mut model, config) = full();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.power_cut();
    for name in ["vda", "vdb", "vdd"] {
        let size = model.disks().iter().find(|d| d.device.name == name).unwrap().device.size;
        for offset in [512, 1024, size - 512, size - 512 - 16384, 0] {
            let mut damaged = model.clone();
            damaged.disk_mut(name).unwrap().sectors.insert(offset, vec![0; 512]);
            let plan = plan(&damaged.inventory(), &config);
            assert!(!plan.is_blocked(), "{name} at {offset}: {:#?}", plan.all_refusals());
            assert!(plan.volumes.iter().all(|v| matches!(v.verdict, Verdict::Keep | Verdict::Repair)));
            assert!(plan.volumes.iter().any(|v| v.verdict == Verdict::Repair), "{name} at {offset}");
            converge(damaged, &config, &format!("{name} damaged at {offset}"));
        }
    }
}
