//! A member that still works is copied away and let go of: when that begins, what it waits for, and that nothing else is
//! touched. Cuts are in `cuts.rs`.

use crate::world::*;
use machine_config::schema::{Level, MachineConfig, Replace};
use proptest::prelude::*;
use std::collections::BTreeSet;
use storage_plan::inventory::{Device, Inventory};
use storage_plan::remember::remember;
use storage_plan::simulate::Model;
use storage_plan::verdict::Stage;
use storage_plan::{Action, Plan, Verdict, plan};

const MIRROR: &str = "meta/db";

fn stages(plan: &Plan, name: &str) -> Vec<Stage> {
    volume(plan, name).retiring.iter().map(|r| r.stage).collect()
}

fn array<'a>(inventory: &'a Inventory, level: &str) -> &'a storage_plan::inventory::RunningArray {
    inventory.arrays.iter().find(|a| a.level == level).unwrap()
}

/// Nothing begins: the mirror runs as it was, and says what is waited for.
fn it_waits(model: &Model, config: &MachineConfig, refused: &[&str], words: &str, context: &str) {
    let plan = plan(&model.inventory(), config);
    writes_nothing(&plan, MIRROR, refused, context);
    assert_eq!(stages(&plan, MIRROR), [Stage::Waits], "{context}");
    let says = &volume(&plan, MIRROR).retiring[0].says;
    assert!(says.contains(words) && says.contains("It serves until then."), "{context}: {says}");
}

#[test]
fn a_member_is_copied_onto_the_named_blank_disk_while_it_serves_and_then_let_go_of() {
    let (mut model, config) = retiring();
    let first = plan(&model.inventory(), &config);
    assert_eq!((volume(&first, MIRROR).verdict, codes(&first)), (Verdict::Repair, Vec::new()));
    assert_eq!(steps(&first), ["table", "add", "table", "copy"]);
    assert_eq!(first.graph.steps[3].after, [2]);
    let words = storage_plan::explain::table(&first);
    assert!(words.contains("serial A2  2.1 GB is copied onto pci-A3"), "{words}");
    assert!(words.contains("copy vdc partition 1 onto vdf partition 1 in \"meta\""), "{words}");
    model.carry_out(&first).unwrap();
    for reboot in [false, true] {
        let mut model = model.clone();
        if reboot {
            model.power_cut();
            model.carry_out(&plan(&model.inventory(), &config)).unwrap();
        }
        let inventory = model.inventory();
        assert_eq!(array(&inventory, "raid1").members, ["vdb1", "vdc1"], "both serve");
        let during = plan(&inventory, &config);
        assert_eq!((volume(&during, MIRROR).verdict, steps(&during).len()), (Verdict::Keep, 0));
        assert_eq!(stages(&during, MIRROR), [Stage::Copied]);
        assert_eq!(volume(&during, MIRROR).array.as_ref().unwrap().present, 2);
        model.fill();
        let whole = plan(&model.inventory(), &config);
        assert_eq!(steps(&whole), ["release"], "reboot {reboot}");
        assert_eq!(stages(&whole, MIRROR), [Stage::Over]);
        assert!(volume(&whole, MIRROR).retiring[0].says.contains("serial A2  2.1 GB is retired and safe to pull"));
        model.carry_out(&whole).unwrap();
        over(&model, &config);
    }
}

/// With the disk still in and still in the configuration there is nothing to do, now and after a restart; nor is there
/// when it is pulled.
fn over(model: &Model, config: &MachineConfig) {
    for (reboot, pulled) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut model = model.clone();
        if pulled {
            model.pull("vdc");
        }
        if reboot {
            model.power_cut();
        }
        let plan = plan(&model.inventory(), config);
        let mirror = volume(&plan, MIRROR);
        assert_eq!((mirror.verdict, plan.writes(), codes(&plan)), (Verdict::Keep, 0, Vec::new()), "{mirror:#?}");
        assert_eq!(stages(&plan, MIRROR), vec![Stage::Over; usize::from(!pulled)]);
        assert!(mirror.disks.iter().all(|d| !d.contains("A2")), "{:?}", mirror.disks);
        assert!(mirror.reasons.iter().all(|r| !r.contains("left out") && !r.contains("has failed")), "{mirror:#?}");
        model.carry_out(&plan).unwrap();
        assert_eq!(array(&model.inventory(), "raid1").members, ["vdb1", "vdf1"], "reboot {reboot}, pulled {pulled}");
    }
}

#[test]
fn it_waits_for_a_disk_and_says_which_and_the_volume_runs_on() {
    type Change = fn(&mut Model, &mut MachineConfig);
    let cases: [(&str, Change, &[&str], &str); 8] = [
        ("no disk", |m, _| m.pull("vdf"), &[], "waits for a blank disk of 2.1 GB or more that \"meta\" names"),
        (
            "one that nobody names",
            |_, c| c.storage.array.get_mut("meta").unwrap().disks = serials(&["A1", "A9"]),
            &[],
            "names",
        ),
        (
            "one that a selector counts",
            |_, c| {
                let by_size = machine_config::schema::SizeRange { min: Some(2 * GIB), max: None };
                c.storage.array.get_mut("meta").unwrap().disks =
                    machine_config::schema::Selector { size: Some(by_size), count: Some(2), ..Default::default() };
            },
            &[],
            "names",
        ),
        (
            "not blank",
            |m, _| m.disk_mut("vdf").unwrap().device.signatures.push(signature("xfs", "", "mail")),
            &["BP-S014"],
            "blank disk",
        ),
        ("too small", |m, _| m.disk_mut("vdf").unwrap().device.size = 2 * GIB - (64 << 20), &["BP-S010"], "blank disk"),
        ("two of one name", |m, _| m.plug(disk("vdg", "A3", 2 * GIB)), &["BP-S010"], "blank disk"),
        (
            "two where there is room for one",
            |m, c| {
                m.plug(disk("vdg", "A4", 2 * GIB));
                c.storage.array.get_mut("meta").unwrap().disks = serials(&["A3", "A4"]);
            },
            &["BP-S003"],
            "blank disk",
        ),
        (
            "another disk answers to its name",
            |m, _| {
                m.plug(Device { wwn: Some("A2".into()), ..disk("vdg", "A7", 2 * GIB) });
                m.pull("vdf");
            },
            &[],
            "the other disk that answers",
        ),
    ];
    for (name, change, refused, words) in cases {
        let (mut model, mut config) = retiring();
        change(&mut model, &mut config);
        it_waits(&model, &config, refused, words, name);
    }
}

#[test]
fn it_waits_until_the_array_lacks_nothing_and_is_at_rest() {
    let (model, config) = retiring();
    // A lost member is replaced before, by the disk that is there; a copy has to wait for another one.
    let mut lost = model.clone();
    lost.pull("vdb");
    let first = plan(&lost.inventory(), &config);
    assert_eq!((steps(&first), stages(&first, MIRROR)), (vec!["table", "add", "table"], vec![Stage::Waits]));
    assert!(volume(&first, MIRROR).retiring[0].says.contains("the array to lack no member"));
    lost.carry_out(&first).unwrap();
    it_waits(&lost, &config, &[], "the array to lack no member", "it is being rebuilt");
    lost.fill();
    it_waits(&lost, &config, &[], "a blank disk of 2.1 GB or more", "it is whole again");
    // A disk is taken in meanwhile, and the copy begins when nothing else is under way.
    let mut busy = model.inventory();
    busy.arrays[0].sync_action = "check".into();
    let first = plan(&busy, &config);
    assert_eq!((steps(&first), stages(&first, MIRROR)), (vec!["table", "add", "table"], vec![Stage::Waits]));
    assert!(volume(&first, MIRROR).retiring[0].says.contains("the end of its check"));
    // After a power cut it is put in sync first.
    let mut off = model;
    off.power_cut();
    for name in ["vdb", "vdc"] {
        off.disk_mut(name).unwrap().areas.values_mut().filter_map(|a| a.md.as_mut()).for_each(|md| md.clean = false);
    }
    let first = plan(&off.inventory(), &config);
    assert!(!steps(&first).contains(&"copy") && stages(&first, MIRROR) == [Stage::Waits], "{first:#?}");
    off.carry_out(&first).unwrap();
    assert_eq!(steps(&plan(&off.inventory(), &config)), ["copy"]);
}

#[test]
fn a_spare_takes_over_when_no_disk_is_named_and_is_not_retired_itself() {
    let (mut model, mut config) = striped();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    config.storage.array.get_mut("r5").unwrap().retire = vec!["R5-0".into()];
    config.storage.array.get_mut("r5").unwrap().disks = serials(&["R5-1", "R5-2", "R5-3", "R5-9"]);
    let first = plan(&model.inventory(), &config);
    assert_eq!(steps(&first), ["copy"]);
    let Action::CopyMember { onto, .. } = &first.graph.steps[0].action else { panic!("{first:?}") };
    assert_eq!(onto.disk, "vdg", "R5-3 is the spare");
    let r5 = config.storage.array.get_mut("r5").unwrap();
    r5.retire = vec!["R5-0".into(), "R5-3".into()];
    let both = plan(&model.inventory(), &config);
    assert_eq!((steps(&both), stages(&both, "r5/db")), (vec!["release"], vec![Stage::Waits, Stage::Over]));
    model.carry_out(&both).unwrap();
    for reboot in [false, true] {
        if reboot {
            model.power_cut();
        }
        let again = plan(&model.inventory(), &config);
        assert_eq!((volume(&again, "r5/db").verdict, again.writes()), (Verdict::Keep, 0));
        model.carry_out(&again).unwrap();
        let inventory = model.inventory();
        let array = array(&inventory, "raid5");
        assert_eq!((array.members.len(), array.spares.len()), (3, 0), "a retired spare is not started again");
    }
}

#[test]
fn a_spare_that_is_to_leave_makes_room_for_another_in_the_same_run() {
    let (mut model, mut config) = striped();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    let r5 = config.storage.array.get_mut("r5").unwrap();
    (r5.retire, r5.disks) = (vec!["R5-3".into()], serials(&["R5-0", "R5-1", "R5-2", "R5-9"]));
    model.plug(disk("vdz", "R5-9", GIB));
    let first = plan(&model.inventory(), &config);
    assert_eq!(written(&first), ["vdg".to_owned(), "vdz".into()].into(), "{:#?}", first.graph);
    model.carry_out(&first).unwrap();
    assert_eq!(array(&model.inventory(), "raid5").spares, ["vdz1"]);
    assert_eq!(plan(&model.inventory(), &config).writes(), 0);
}

#[test]
fn members_are_copied_one_after_the_other() {
    let (mut model, mut config) = striped();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.plug(disk("vdx", "N0", GIB));
    model.plug(disk("vdy", "N1", GIB));
    let r6 = config.storage.array.get_mut("r6").unwrap();
    (r6.disks, r6.retire) = (serials(&["R6-1", "R6-3", "N0", "N1"]), vec!["R6-2".into(), "R6-0".into()]);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let plan = plan(&model.inventory(), &config);
        seen.push((steps(&plan).join(" "), stages(&plan, "r6/db")));
        model.carry_out(&plan).unwrap();
        model.fill();
    }
    let (copied, over) = (Stage::Copied, Stage::Over);
    let wanted = [
        ("table table add add table table copy", [copied, Stage::Waits]),
        ("release copy", [over, copied]),
        ("release", [over, over]),
        ("", [over, over]),
    ];
    for ((words, stages), (wanted, wanted_stages)) in seen.iter().zip(&wanted) {
        let sorted = |words: &str| {
            let mut all: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            all.sort();
            all
        };
        assert_eq!((sorted(words), &stages[..]), (sorted(wanted), &wanted_stages[..]), "{seen:?}");
    }
    let members: BTreeSet<String> = array(&model.inventory(), "raid6").members.iter().cloned().collect();
    assert!(members.contains("vdx1") && members.contains("vdy1") && members.len() == 4, "{members:?}");
}

#[test]
fn a_disk_that_is_retired_is_never_taken_in() {
    // Blank again, and still named by its world wide name.
    let (mut model, mut config) = lost(true);
    model.disk_mut("vdf").unwrap().device.wwn = Some("naa.3".into());
    let meta = config.storage.array.get_mut("meta").unwrap();
    (meta.disks, meta.retire) = (serials(&["A1", "A3"]), vec!["naa.3".into()]);
    assert_eq!(plan(&model.inventory(), &config).writes(), 0);
    config.storage.array.get_mut("meta").unwrap().replace = Replace::SameSlot;
    assert_eq!(plan(&model.inventory(), &config).writes(), 0);
    // Nor is a new array made of it.
    let (model, mut config) = full();
    config.storage.array.get_mut("meta").unwrap().retire = vec!["A2".into()];
    assert_eq!(codes(&plan(&model.inventory(), &config)), ["BP-S010"]);
}

#[test]
fn a_copy_that_fails_leaves_the_member_at_work_and_is_not_tried_on_the_same_disk() {
    let (mut model, config) = retiring();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    let mut inventory = model.inventory();
    let array = &mut inventory.arrays[0];
    (array.failed, array.sync_action) = (std::mem::take(&mut array.spares), "idle".into());
    let after = plan(&inventory, &config);
    assert_eq!((volume(&after, MIRROR).verdict, after.writes()), (Verdict::Keep, 0), "{after:#?}");
    assert!(volume(&after, MIRROR).reasons.iter().any(|r| r.contains("serial A3") && r.contains("has failed")));
    // The member fails before its copy is whole: then it is not said to be safe to pull.
    let mut inventory = model.inventory();
    let array = &mut inventory.arrays[0];
    array.members.retain(|m| m != "vdc1");
    array.failed.push("vdc1".into());
    let after = plan(&inventory, &config);
    assert_eq!((stages(&after, MIRROR), after.writes()), (Vec::new(), 0), "{after:#?}");
    assert!(volume(&after, MIRROR).reasons.iter().any(|r| r.contains("serial A2") && r.contains("has failed")));
}

#[test]
fn the_place_of_a_retired_member_is_forgotten() {
    let (mut model, mut config) = retiring();
    config.storage.array.get_mut("meta").unwrap().replace = Replace::SameSlot;
    model.remembered = remember(&model.inventory(), &config);
    for _ in 0..2 {
        model.carry_out(&plan(&model.inventory(), &config)).unwrap();
        model.fill();
        model.remembered = remember(&model.inventory(), &config);
    }
    assert_eq!(model.remembered.iter().map(|m| m.identity.as_str()).collect::<Vec<_>>(), ["A1", "A3"]);
    model.pull("vdc");
    model.plug(Device { by_path: vec!["pci-A2".into()], ..disk("vdz", "A9", 2 * GIB) });
    assert_eq!(plan(&model.inventory(), &config).writes(), 0, "a blank disk where it was is not taken");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn invariant_1_retiring_touches_only_what_is_named_and_never_costs_a_member(
        level in prop::sample::select(vec![Level::Raid1, Level::Raid5, Level::Raid6, Level::Raid10]),
        spares in 0..2u32,
        leaving in prop::collection::btree_set(0..6usize, 0..4),
        gone in prop::option::of(0..5usize),
        blank in prop::collection::vec(any::<bool>(), 0..4),
        reboots in prop::collection::vec(any::<bool>(), 8),
    ) {
        let (mut model, mut config) = named_array(level, 5, spares);
        let meta = config.storage.array.get_mut("meta").unwrap();
        meta.retire = leaving.iter().filter_map(|i| meta.disks.serial.get(*i).cloned()).collect();
        meta.disks.serial.retain(|name| !meta.retire.contains(name));
        let kept_back = 5 + spares as usize - meta.disks.serial.len();
        let allowed = plug_blank(&mut model, meta, &blank);
        // What else the selector must name for the configuration to hold, and that is not there.
        (0..kept_back).for_each(|i| meta.disks.serial.push(format!("X{i}")));
        gone.iter().for_each(|i| model.pull(&format!("vd{i}")));
        let is_leaver = |name: &str| {
            let device = model.disks().iter().find(|d| d.device.name == name);
            device.and_then(|d| d.device.serial.clone()).is_some_and(|s| meta.retire.contains(&s))
        };
        let leavers: BTreeSet<String> =
            model.disks().iter().map(|d| d.device.name.clone()).filter(|n| is_leaver(n)).collect();
        let at_work = |model: &Model| model.inventory().arrays[0].members.len();
        let mut least = at_work(&model);
        let mut last = 1;
        for reboot in reboots {
            if reboot {
                model.power_cut();
            }
            let plan = plan(&model.inventory(), &config);
            prop_assert!(!plan.is_blocked(), "{:#?}", plan.all_refusals());
            for step in plan.graph.steps.iter().filter(|s| s.action.writes()) {
                match &step.action {
                    Action::CopyMember { member, onto, .. } => {
                        prop_assert!(leavers.contains(&member.disk) && !leavers.contains(&onto.disk), "{step:?}");
                        prop_assert!(allowed.contains(&onto.disk) || spares > 0, "{step:?}");
                    }
                    Action::ReleaseMember { member, .. } => prop_assert!(leavers.contains(&member.disk), "{step:?}"),
                    action => prop_assert!(action.disks().iter().all(|d| allowed.contains(*d)), "{step:?}"),
                }
            }
            model.carry_out(&plan).map_err(|e| TestCaseError::fail(format!("{e:?}: {plan:#?}")))?;
            prop_assert!(at_work(&model) >= least, "{} of {least}: {plan:#?}", at_work(&model));
            model.fill();
            least = least.max(at_work(&model));
            last = plan.writes();
        }
        prop_assert_eq!(last, 0, "it comes to rest");
    }
}
