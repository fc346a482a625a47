//! Volume groups: made in two phases like arrays, each volume in two of its own, and nothing in them made anew after that.

use crate::world::*;
use machine_config::schema::{Layout, Logical, MachineConfig};
use storage_plan::action::Action;
use storage_plan::inventory::{Inventory, Keys};
use storage_plan::layer::lvm::{self, Shape};
use storage_plan::simulate::{Area, Effect, Model};
use storage_plan::{Plan, Verdict, plan};

/// The node as it runs.
fn runs() -> (Model, MachineConfig) {
    let (mut model, config) = grouped();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    (model, config)
}

/// What the plan does, in words, without what it does for the state.
fn words(plan: &Plan) -> Vec<String> {
    plan.graph.steps.iter().filter(|s| s.volume != "state").map(|s| s.action.words()).collect()
}

fn volumes(config: &mut MachineConfig) -> &mut std::collections::BTreeMap<String, Logical> {
    &mut config.storage.group.get_mut("data").unwrap().volume
}

/// All that is asked for is there and used, and nothing is left to do.
fn is_whole(model: &Model, config: &MachineConfig, context: &str) {
    let inventory = model.inventory();
    let made = &inventory.groups[0].volumes;
    let is_used = |name: &str| {
        let found = made.iter().find(|v| v.name == name).unwrap_or_else(|| panic!("{context}: no {name}"));
        found.uses.mounts.len() + found.uses.links.len() == 1
            || inventory.opened.iter().any(|o| !o.uses.mounts.is_empty())
    };
    let asked = &config.storage.group["data"];
    assert!(asked.volume.keys().all(|name| is_used(name)), "{context}: {made:#?}");
    assert!(made.iter().all(|v| v.tags.iter().any(|t| t == lvm::MADE)), "{context}: {made:#?}");
    assert_eq!(made.len(), asked.volume.len() + asked.pool.len(), "{context}");
    let again = plan(&inventory, config);
    assert!(again.graph.steps.is_empty(), "{context}: {:#?}", again.graph);
    assert!(again.volumes.iter().all(|v| v.verdict == Verdict::Keep), "{context}: {again:#?}");
}

#[test]
fn a_group_is_made_once_for_all_of_its_volumes_and_activated_after_that() {
    let (mut model, config) = grouped();
    let made = plan(&model.inventory(), &config);
    assert!(!made.is_blocked(), "{:#?}", made.all_refusals());
    let words_made = words(&made);
    let count = |of: &str| words_made.iter().filter(|words| words.contains(of)).count();
    assert_eq!((count("its content still to be made"), count("its content finished")), (3, 3), "{words_made:#?}");
    assert_eq!((count("create the volume group"), count("create the thin pool")), (1, 1), "{words_made:#?}");
    assert_eq!((count("create the volume \""), count("note that")), (7, 8), "{words_made:#?}");
    assert!(
        words_made.contains(&"create the volume \"safe\" of 629.1 MB in \"bedplate.data\", raid1 over 2".to_owned())
    );
    model.carry_out(&made).unwrap();
    is_whole(&model, &config, "made");
    let free: u64 = model.inventory().groups[0].members.iter().map(|m| m.free).sum();
    assert_eq!(free, 0, "the volume without a size has all that is left");

    model.power_cut();
    let next = plan(&model.inventory(), &config);
    assert_eq!((next.writes(), next.all_refusals().len()), (0, 0));
    assert_eq!(words(&next).iter().filter(|words| words.starts_with("activate")).count(), 7);
    model.carry_out(&next).unwrap();
    is_whole(&model, &config, "after a restart");
}

#[test]
fn invariant_4_a_cut_after_any_effect_converges_in_one_run() {
    let (model, config) = grouped();
    // Sectors of tables are cut one by one elsewhere; here every other effect is, and a sample of those.
    let which =
        |cut: usize, next: Option<&Effect>| cut.is_multiple_of(29) || !matches!(next, Some(Effect::Sector { .. }));
    converges_after_cuts(&model, &config, which, is_whole);
}

#[test]
fn a_volume_that_is_added_is_made_and_the_others_are_left_alone() {
    let (mut model, mut config) = grouped();
    volumes(&mut config).remove("rest");
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    volumes(&mut config).insert("new".into(), logical(Some(400), Some(Layout::Raid1), "new"));
    let next = plan(&model.inventory(), &config);
    let kept = next.volumes.iter().filter(|v| v.verdict == Verdict::Keep).count();
    assert_eq!((kept, volume(&next, "data/new").verdict), (7, Verdict::Create));
    assert_eq!(
        words(&next),
        [
            "create the volume \"new\" of 419.4 MB in \"bedplate.data\", raid1 over 2",
            "make xfs on \"new\" in \"bedplate.data\"",
            "note that \"new\" in \"bedplate.data\" is finished",
            "mount \"new\" in \"bedplate.data\" on /var/lib/volumes/new",
        ]
    );
    model.carry_out(&next).unwrap();
    is_whole(&model, &config, "one more");
    // One that is not asked for any more is left as it is.
    volumes(&mut config).remove("db");
    let next = plan(&model.inventory(), &config);
    assert_eq!((next.graph.steps.len(), next.all_refusals().len()), (0, 0), "{next:#?}");
}

#[test]
fn a_volume_for_which_there_is_no_room_is_refused_before_any_write() {
    for (name, asked) in [
        ("db", logical(Some(20 << 10), None, "db")),
        // The members have 1,023 extents each; a copy takes one more than it holds.
        ("safe", Logical { over: Some(3), ..logical(Some(1023 * 4), Some(Layout::Raid1), "safe") }),
        ("fast", logical(Some(3 * 1024 * 4), Some(Layout::Striped), "fast")),
    ] {
        let (model, mut config) = grouped();
        volumes(&mut config).retain(|_, v| v.pool.is_none());
        volumes(&mut config).insert(name.into(), asked);
        let refused = plan(&model.inventory(), &config);
        assert_eq!(
            (volume(&refused, &format!("data/{name}")).verdict, refused.is_blocked()),
            (Verdict::Refuse, true),
            "{name}"
        );
        assert!(codes(&refused).contains(&"BP-S027".to_owned()), "{name}: {:?}", codes(&refused));
    }
    let (model, mut config) = grouped();
    config.storage.group.get_mut("data").unwrap().pool.get_mut("thin").unwrap().size = 1 << 40;
    let refused = plan(&model.inventory(), &config);
    let of = |name: &str| volume(&refused, name).verdict;
    assert_eq!((of("data/a"), of("data/b"), of("data/db")), (Verdict::Refuse, Verdict::Refuse, Verdict::Create));
    assert_eq!(codes(&refused), ["BP-S027"], "both for one reason");
}

#[test]
fn what_takes_all_that_is_left_takes_just_that() {
    let room = |layout, over| {
        let (model, mut config) = grouped();
        let group = config.storage.group.get_mut("data").unwrap();
        (group.pool, group.volume) = Default::default();
        group.volume.insert("rest".into(), Logical { over, ..logical(None, layout, "rest") });
        let plan = plan(&model.inventory(), &config);
        let of = |action: &Action| match action {
            Action::CreateLogical { shape, extents, .. } => Some((shape.clone(), *extents)),
            _ => None,
        };
        let found = plan.graph.steps.iter().find_map(|s| of(&s.action));
        found.unwrap_or_else(|| panic!("{:#?}", plan.all_refusals()))
    };
    let of = |mib| {
        let (model, mut config) = grouped();
        volumes(&mut config).insert("fast".into(), logical(Some(mib), Some(Layout::Striped), "fast"));
        let mut made = model.clone();
        made.carry_out(&plan(&model.inventory(), &config)).unwrap();
        is_whole(&made, &config, "stripes");
        made.filled("bedplate.data", "fast").unwrap().1
    };
    assert_eq!((of(900), of(901)), (225, 228), "stripes are equally long, and nothing is said of that");
    // A disk of 4 GiB has a partition of 4,094 MiB, and of that 1,023 extents behind the first MiB.
    assert_eq!(room(None, None), (Shape::Linear, 3069));
    assert_eq!(room(Some(Layout::Striped), None), (Shape::Striped(3), 3069));
    assert_eq!(room(Some(Layout::Striped), Some(2)), (Shape::Striped(2), 2046));
    assert_eq!(room(Some(Layout::Raid1), None), (Shape::Mirrored(2), 1022));
}

/// The node as it runs, after its power was cut and a disk was taken out.
fn without(name: &str) -> (Model, MachineConfig) {
    let (mut model, mut config) = runs();
    volumes(&mut config).values_mut().for_each(|v| v.required = false);
    model.power_cut();
    model.pull(name);
    (model, config)
}

#[test]
fn a_lost_disk_stops_what_lies_on_it_and_nothing_else() {
    let lost: Vec<(&str, Vec<String>)> = ["vdb", "vdc", "vdd"]
        .into_iter()
        .map(|name| {
            let (mut model, config) = without(name);
            let next = plan(&model.inventory(), &config);
            assert_eq!((next.writes(), next.is_blocked()), (0, false), "{name}: {next:#?}");
            assert!(codes(&next).iter().all(|code| code == "BP-S018"), "{name}: {:?}", codes(&next));
            assert_eq!(volume(&next, "data/safe").verdict, Verdict::Keep, "{name}: a mirror lives without");
            assert_eq!(volume(&next, "data/fast").verdict, Verdict::Refuse, "{name}: stripes do not");
            model.carry_out(&next).unwrap();
            let refused = next.volumes.iter().filter(|v| v.verdict == Verdict::Refuse).map(|v| v.volume.clone());
            (name, refused.collect())
        })
        .collect();
    let all: std::collections::BTreeSet<&String> = lost.iter().flat_map(|(_, refused)| refused).collect();
    assert!(all.iter().all(|name| name.as_str() != "data/safe"), "{lost:?}");
    let (model, mut config) = without("vdd");
    volumes(&mut config).insert("new".into(), logical(Some(400), None, "new"));
    let next = plan(&model.inventory(), &config);
    assert_eq!(volume(&next, "data/new").verdict, Verdict::Refuse, "LVM changes no group that lacks a disk");
}

#[test]
fn invariant_2_what_is_there_is_never_made_into_something_else() {
    let (model, config) = runs();
    type Change = fn(&mut Logical);
    let changes: [(&str, Change, &str); 4] = [
        ("safe", |v| v.layout = Some(Layout::Striped), "BP-S028"),
        ("fast", |v| v.over = Some(2), "BP-S028"),
        ("a", |v| v.pool = None, "BP-S028"),
        ("db", |v| v.encrypt = Some(machine_config::schema::Encrypt::Passphrase), "BP-S023"),
    ];
    for (name, change, code) in changes {
        let mut config = config.clone();
        change(volumes(&mut config).get_mut(name).unwrap());
        let next = plan(&model.inventory(), &config);
        assert_eq!((codes(&next), next.writes()), (vec![code.to_owned()], 0), "{name}");
        assert_eq!(volume(&next, &format!("data/{name}")).verdict, Verdict::Refuse, "{name}");
    }
}

/// The node as it runs, without the volume that takes all that is left, and a configuration with `db` so large.
fn larger(mib: u64) -> (Model, MachineConfig) {
    let (mut model, mut config) = grouped();
    volumes(&mut config).remove("rest");
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    volumes(&mut config).get_mut("db").unwrap().size = Some(mib << 20);
    (model, config)
}

#[test]
fn a_volume_that_is_asked_for_larger_is_made_so_while_it_is_mounted() {
    for (restarts, steps) in [(false, 1), (true, 15)] {
        let (mut model, config) = larger(700);
        if restarts {
            model.power_cut();
        }
        let next = plan(&model.inventory(), &config);
        assert_eq!((volume(&next, "data/db").verdict, next.graph.steps.len()), (Verdict::Repair, steps), "{next:#?}");
        let last = next.graph.steps.iter().find(|s| matches!(s.action, Action::GrowLogical { .. })).unwrap();
        assert_eq!(last.action.words(), "make \"db\" in \"bedplate.data\" larger, 734.0 MB in all");
        assert_eq!(next.repairs().graph.steps.len(), usize::from(!restarts), "what runs is made larger, too");
        model.carry_out(&next).unwrap();
        assert_eq!(model.filled("bedplate.data", "db"), Some((175, 175)));
        is_whole(&model, &config, "larger");
    }
}

#[test]
fn invariant_4_a_cut_while_a_volume_is_made_larger_is_gone_on_with() {
    let (model, config) = larger(700);
    assert_eq!(effects(&model, &plan(&model.inventory(), &config)).len(), 3);
    converges_after_cuts(
        &model,
        &config,
        |_, _| true,
        |model, config, context| {
            assert_eq!(model.filled("bedplate.data", "db"), Some((175, 175)), "{context}");
            is_whole(model, config, context);
        },
    );
}

#[test]
fn a_volume_that_can_not_be_made_larger_stays_as_it_is_and_says_why() {
    let told = |change: &dyn Fn(&mut MachineConfig), name: &str| {
        let (model, mut config) = larger(500);
        change(&mut config);
        let next = plan(&model.inventory(), &config);
        assert_eq!(
            (volume(&next, name).verdict, next.graph.steps.len(), next.is_blocked()),
            (Verdict::Keep, 0, false),
            "{next:#?}"
        );
        (volume(&next, name).reasons.join(" "), codes(&next))
    };
    let size = |name: &'static str, mib: u64| {
        move |config: &mut MachineConfig| volumes(config).get_mut(name).unwrap().size = Some(mib << 20)
    };
    let (why, refused) = told(&size("db", 100), "data/db");
    assert!(why.contains("It has 524.2 MB, and it is never made smaller.") && refused.is_empty(), "{why}");
    let (why, refused) = told(&size("secret", 800), "data/secret");
    assert!(why.contains("what is encrypted is not made larger") && refused.is_empty(), "{why}");
    let (_, refused) = told(&size("db", 20 << 10), "data/db");
    assert_eq!(refused, ["BP-S027"]);
}

/// The inventory of the node as it runs, altered; it is refused with this code and nothing is written.
fn refused(code: &str, what: &str, alter: impl FnOnce(&mut Inventory)) {
    let (mut model, config) = runs();
    model.power_cut();
    let mut inventory = model.inventory();
    alter(&mut inventory);
    let next = plan(&inventory, &config);
    assert_eq!(
        (codes(&next).contains(&code.to_owned()), next.writes()),
        (true, 0),
        "{what}: {:#?}",
        next.all_refusals()
    );
    let of_group = next.graph.steps.iter().filter(|s| s.volume.starts_with("data/")).count();
    assert!(of_group == 0 || what.starts_with("one volume"), "{what}: {:#?}", next.graph);
}

#[test]
fn invariant_3_a_group_that_is_not_just_ours_is_refused() {
    refused("BP-S016", "another disk is in the group", |inventory| {
        inventory.groups[0].members.push(storage_plan::inventory::GroupMember {
            uuid: "a".into(),
            device: Some("vda9".into()),
            extents: 9,
            free: 9,
        });
    });
    refused("BP-S016", "the group was renamed", |inventory| inventory.groups[0].name = "vg0".into());
    refused("BP-S016", "LVM can't read it", |inventory| inventory.groups.clear());
    refused("BP-S016", "a physical volume is gone", |inventory| {
        let disk = inventory.devices.iter_mut().find(|d| d.name == "vdc").unwrap();
        disk.partitions[0].signatures.clear();
    });
    refused("BP-S017", "a physical volume was copied", |inventory| {
        let signatures = inventory.devices.iter().find(|d| d.name == "vdb").unwrap().partitions[0].signatures.clone();
        let mut copy = disk("vdz", "Z1", 4 * GIB);
        copy.signatures = signatures;
        inventory.devices.push(copy);
    });
    refused("BP-S011", "something else uses a disk of it", |inventory| {
        let disk = inventory.devices.iter_mut().find(|d| d.name == "vdc").unwrap();
        disk.partitions[0].uses.holders.push("dm-7".into());
    });
    refused("BP-S016", "one volume is in a pool that was only being made", |inventory| {
        let half_made = inventory.groups[0].volumes.iter_mut().filter(|v| ["thin", "a"].contains(&v.name.as_str()));
        let tags = half_made.flat_map(|v| &mut v.tags).filter(|tag| *tag == lvm::MADE);
        tags.for_each(|tag| *tag = lvm::MAKING.into());
    });
    refused("BP-S016", "one volume is finished, and another's", |inventory| {
        let volume = inventory.groups[0].volumes.iter_mut().find(|v| v.name == "db").unwrap();
        volume.tags = vec![lvm::tag(&uuid::Uuid::nil()), lvm::MADE.into()];
    });
    refused("BP-S016", "one volume is not ours", |inventory| {
        let volume = inventory.groups[0].volumes.iter_mut().find(|v| v.name == "db").unwrap();
        volume.tags = vec!["theirs".into()];
    });
}

#[test]
fn invariant_3_another_node_takes_the_disks_for_foreign() {
    let (mut model, mut config) = runs();
    model.power_cut();
    config.name = "n2".into();
    let next = plan(&model.inventory(), &config);
    let of_data: Vec<&str> =
        next.volumes.iter().filter(|v| v.volume.starts_with("data/")).map(|v| v.verdict.word()).collect();
    assert_eq!(of_data, ["refuse"; 7], "{next:#?}");
    assert!(codes(&next).contains(&"BP-S014".to_owned()), "{:?}", codes(&next));
    config.name = "n1".into();
    config.storage.group.get_mut("data").unwrap().generation = 1;
    let next = plan(&model.inventory(), &config);
    assert!(codes(&next).iter().all(|code| code == "BP-S014"), "a generation makes it anew only with permits");
    for name in ["vdb", "vdc", "vdd"] {
        let permit = permit_for(&model, name);
        model.grant(permit);
    }
    let next = plan(&model.inventory(), &config);
    assert!(!next.is_blocked(), "{:#?}", next.all_refusals());
    model.carry_out(&next).unwrap();
    is_whole(&model, &config, "of the next generation");
}

#[test]
fn invariant_2_what_something_else_put_into_a_half_made_group_is_not_overwritten() {
    let (model, config) = grouped();
    let effects = effects(&model, &plan(&model.inventory(), &config));
    let noted = effects.iter().position(|e| matches!(e, Effect::Grouped(..))).unwrap();
    let mut model = model;
    effects[..noted].iter().for_each(|e| model.apply(e.clone()));
    model.power_cut();
    let found = signature("LVM2_member", "3f2a6c-1e00-0040-0080-0000-0000-000000", "");
    model.disk_mut("vdc").unwrap().areas.insert(1 << 20, Area { signatures: vec![found], ..Area::default() });
    let next = plan(&model.inventory(), &config);
    assert!(codes(&next).iter().all(|code| code == "BP-S016"), "{:?}", codes(&next));
    assert_eq!((next.is_blocked(), next.writes()), (true, 0), "{:#?}", words(&next));
}

#[test]
fn a_torn_table_is_put_right_and_the_volumes_are_there_in_the_same_run() {
    let (mut model, config) = runs();
    model.power_cut();
    let torn = model.disk_mut("vdc").unwrap();
    // Without the protective MBR the kernel shows no partition.
    torn.sectors.insert(0, vec![0; 512]);
    let next = plan(&model.inventory(), &config);
    assert!(!next.is_blocked(), "{:#?}", next.all_refusals());
    assert_eq!(next.writes(), 1, "{:#?}", words(&next));
    model.carry_out(&next).unwrap();
    is_whole(&model, &config, "a table was put right");
}

#[test]
fn an_encrypted_volume_of_a_group_is_refused_without_what_opens_it() {
    let (mut model, config) = runs();
    model.power_cut();
    model.keys = Keys::default();
    let next = plan(&model.inventory(), &config);
    assert_eq!((codes(&next), next.writes()), (vec!["BP-S024".to_owned()], 0));
    assert_eq!(volume(&next, "data/db").verdict, Verdict::Keep);
}
