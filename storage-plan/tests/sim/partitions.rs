//! Several partitions on each disk: made as a whole, kept as a whole, refused as a whole, and never cut anew.

use crate::world::*;
use machine_config::schema::{Content, Each, MachineConfig};
use on_disk::gpt::{Table, kind};
use proptest::prelude::*;
use std::collections::BTreeSet;
use storage_plan::inventory::{Device, Keys};
use storage_plan::simulate::{Area, Effect, Model, ModelDisk};
use storage_plan::{Plan, Verdict, links, plan};

const MIB: u64 = 1 << 20;
/// The volumes of one disk, in their order on it.
const PARTS: [&str; 3] = ["meta", "secret", "data"];

fn object(config: &mut MachineConfig) -> &mut Each {
    config.storage.each.get_mut("object").unwrap()
}

/// What is done for the disks of `object`, in words.
fn of(plan: &Plan, volume: &str) -> Vec<String> {
    plan.graph.steps.iter().filter(|s| s.volume == volume).map(|s| s.action.words()).collect()
}

fn on<'a>(model: &'a Model, name: &str) -> &'a ModelDisk {
    model.disks().iter().find(|d| d.device.name == name).unwrap()
}

fn table(model: &Model, name: &str) -> Table {
    on(model, name).table().agreed().unwrap().clone()
}

/// The node as it runs.
fn runs() -> (Model, MachineConfig) {
    let (mut model, config) = partitioned();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    (model, config)
}

/// All is there, at its place, and nothing is left to do.
fn is_whole(model: &Model, config: &MachineConfig, context: &str) {
    let next = plan(&model.inventory(), config);
    assert!(next.graph.steps.is_empty() && next.all_refusals().is_empty(), "{context}: {next:#?}");
    assert!(next.volumes.iter().all(|v| v.verdict == Verdict::Keep), "{context}: {next:#?}");
    for disk in ["vdd", "vde"] {
        let table = table(model, disk);
        assert!(
            table.partitions.len() == 3 && table.partitions.iter().all(|p| p.kind == kind::DATA),
            "{context}: {table:?}"
        );
    }
}

#[test]
fn a_disk_is_made_as_a_whole_and_then_kept() {
    let (mut model, config) = partitioned();
    let made = plan(&model.inventory(), &config);
    assert!(!made.is_blocked(), "{:#?}", made.all_refusals());
    let names: Vec<&str> = made.volumes.iter().map(|v| v.volume.as_str()).filter(|v| v.contains("B1")).collect();
    assert_eq!(names, PARTS.map(|part| format!("object/B1/{part}")));
    assert_eq!(
        of(&made, "object/B1/meta"),
        [
            "write partition table on vdd, its content still to be made",
            "make xfs on vdd partition 1",
            "write partition table on vdd, its content finished",
            "mount vdd partition 1 on /var/lib/meta/B1",
        ]
    );
    assert_eq!(
        of(&made, "object/B1/secret"),
        [
            "encrypt vdd partition 2",
            "open vdd partition 2",
            "make ext4 on what is encrypted",
            "mount what is encrypted on /var/lib/secret/B1",
        ]
    );
    let raw = ["clear both ends of vdd partition 3", "let /dev/bedplate/object/B1/data lead to vdd partition 3"];
    assert_eq!(of(&made, "object/B1/data"), raw);
    // Nothing is offered before all of the disk is finished, and that is said once all of it is made.
    let steps = &made.graph.steps;
    let finished = steps.iter().position(|s| s.action.words().contains("vdd, its content finished")).unwrap();
    let waits: BTreeSet<String> = steps[finished].after.iter().map(|i| steps[*i].volume.clone()).collect();
    assert_eq!(waits, PARTS.map(|part| format!("object/B1/{part}")).into());
    let offers = steps.iter().filter(|s| s.volume.contains("B1") && s.action.words().contains("/B1"));
    assert!(offers.clone().count() == 3 && offers.into_iter().all(|s| s.after.contains(&finished)), "{steps:#?}");

    model.carry_out(&made).unwrap();
    is_whole(&model, &config, "once made");
    let (inventory, again) = (model.inventory(), plan(&model.inventory(), &config));
    assert_eq!(links::wrong(&inventory, &again), Vec::<String>::new());
    model.power_cut();
    let next = plan(&model.inventory(), &config);
    assert!(next.writes() == 0 && next.volumes.iter().all(|v| v.verdict == Verdict::Keep), "{next:#?}");
    assert_eq!(of(&next, "object/B2/secret").len(), 2, "opened and mounted");
    model.carry_out(&next).unwrap();
    is_whole(&model, &config, "after a restart");
}

#[test]
fn partitions_follow_each_other_in_whole_mib_on_any_sectors() {
    let (mut model, mut config) = partitioned();
    for (part, bytes) in [("meta", 320 * MIB + 1), ("secret", 100 * MIB - 1)] {
        object(&mut config).partition.get_mut(part).unwrap().size = Some(bytes);
    }
    model.disk_mut("vde").unwrap().device.logical_sector = 4096;
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    for disk in ["vdd", "vde"] {
        let places: Vec<(u64, u64)> =
            table(&model, disk).partitions.iter().map(|p| (p.start / MIB, p.size / MIB)).collect();
        assert_eq!(places, [(1, 321), (322, 100), (422, 601)], "{disk}");
        assert!(table(&model, disk).partitions.iter().all(|p| p.start % MIB == 0 && p.size % MIB == 0));
    }
    is_whole(&model, &config, "once made");
}

#[test]
fn invariant_3_a_disk_that_is_one_volume_keeps_its_identity_and_partitions_have_their_own() {
    let (model, config) = full();
    let whole = made(model, &config);
    let guids = |table: &Table| -> Vec<String> {
        [table.guid].into_iter().chain(table.partitions.iter().map(|p| p.guid)).map(|g| g.to_string()).collect()
    };
    // On disks by now: these never change.
    assert_eq!(
        guids(&table(&whole, "vdd")),
        ["f3adb741-8077-51bd-94c8-8512e9ac1fa7", "3c56bceb-3b43-5f83-9874-da3785fa8056"]
    );
    assert_eq!(
        volume(&plan(&whole.inventory(), &config), "object/B1").filesystem.to_string(),
        "122dfbbf-3b50-5c2c-a044-328c82099483"
    );
    let (model, config) = runs();
    let (one, other) = (table(&model, "vdd"), table(&model, "vde"));
    assert_eq!(guids(&one)[0], guids(&table(&whole, "vdd"))[0], "the disk is the section's, however it is cut");
    assert_eq!(one.partitions[0].guid.to_string(), "44db1335-634d-534f-9edc-41b68ef98eb2");
    let now = plan(&model.inventory(), &config);
    let all: Vec<String> = guids(&one).into_iter().chain(guids(&other)).collect();
    let all = all.into_iter().chain(guids(&table(&whole, "vdd"))[1..].to_vec());
    let all: Vec<String> = all.chain(now.volumes.iter().map(|v| v.filesystem.to_string())).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
}

#[test]
fn invariant_4_a_cut_after_any_effect_converges_in_one_run() {
    let (model, config) = partitioned();
    converges_after_cuts(&model, &config, |_, _| true, is_whole);
}

#[test]
fn invariant_2_something_inside_one_of_them_refuses_all_of_the_disk_and_no_other() {
    let (blank, config) = partitioned();
    let begun = plan(&blank.inventory(), &config);
    let btrfs = || vec![signature("btrfs", "", "home")];
    for (at, part) in PARTS.iter().enumerate() {
        let mut model = blank.clone();
        for step in begun.graph.steps.iter().filter(|s| s.action.words().contains("vdd, its content still")) {
            model.effects(&step.action).unwrap().into_iter().for_each(|effect| model.apply(effect));
        }
        let start = table(&model, "vdd").partitions[at].start;
        let area = Area { signatures: btrfs(), ..Area::default() };
        model.disk_mut("vdd").unwrap().areas.insert(start, area);
        refuses_the_disk(model, &config, &format!("{part} half-made"));
    }
    // What a raw one holds is for its user to say.
    for (at, part) in PARTS.iter().enumerate().take(2) {
        let (mut model, config) = runs();
        model.power_cut();
        let start = table(&model, "vdd").partitions[at].start;
        model.disk_mut("vdd").unwrap().areas.insert(start, Area { signatures: btrfs(), ..Area::default() });
        refuses_the_disk(model, &config, part);
    }
}

fn refuses_the_disk(mut model: Model, config: &MachineConfig, context: &str) {
    let before = on(&model, "vdd").clone();
    let next = plan(&model.inventory(), config);
    assert_eq!(codes(&next), ["BP-S016"], "{context}: {:#?}", next.all_refusals());
    for part in PARTS {
        let (one, other) = (format!("object/B1/{part}"), format!("object/B2/{part}"));
        assert_eq!(volume(&next, &one).verdict, Verdict::Refuse, "{context}: {one}");
        assert_ne!(volume(&next, &other).verdict, Verdict::Refuse, "{context}: {other}");
    }
    model.carry_out(&next).unwrap();
    assert!(next.graph.steps.iter().all(|s| !s.action.disks().contains(&"vdd")), "{context}: {next:#?}");
    assert_eq!(*on(&model, "vdd"), before, "{context}");
}

#[test]
fn a_volume_that_is_refused_for_its_mount_point_takes_those_beside_it_along() {
    let (mut model, mut config) = partitioned();
    let db = config.storage.array.get_mut("meta").unwrap().volume.get_mut("db").unwrap();
    db.mount = Some("/var/lib/meta/B1".into());
    let next = plan(&model.inventory(), &config);
    for (name, verdict) in [("meta/db", Verdict::Refuse), ("object/B2/data", Verdict::Create)] {
        assert_eq!(volume(&next, name).verdict, verdict, "{name}");
    }
    assert!(PARTS.iter().all(|part| volume(&next, &format!("object/B1/{part}")).verdict == Verdict::Refuse));
    assert_eq!(codes(&next), ["BP-S030"], "one reason is said once");
    assert_eq!(written(&next), ["vda".to_owned(), "vde".to_owned()].into());
    model.carry_out(&next).unwrap();
    // As that, and only then something is below what is refused for it.
    let below = "/var/lib/secret/B1/below";
    let (model, mut config) = partitioned();
    let db = config.storage.array.get_mut("meta").unwrap().volume.get_mut("db").unwrap();
    db.mount = Some(below.into());
    object(&mut config).partition.get_mut("meta").unwrap().size = Some(400 * MIB);
    let mut inventory = model.inventory();
    inventory.devices.iter_mut().find(|d| d.name == "vdd").unwrap().read_only = true;
    let next = plan(&inventory, &config);
    assert_eq!(volume(&next, "meta/db").verdict, Verdict::Refuse, "{next:#?}");
    assert_eq!(written(&next), ["vda".to_owned(), "vde".to_owned()].into());
}

type Change = fn(&mut Each);

/// Other ways in which the disks of `object` can be asked for.
fn others() -> Vec<(&'static str, Change)> {
    fn one(parts: &mut Each) {
        *parts = Each { required: parts.required, ..each(parts.disks.clone(), true) };
    }
    vec![
        ("another size", |e| e.partition.get_mut("meta").unwrap().size = Some(321 * MIB)),
        ("larger than the disk", |e| e.partition.get_mut("meta").unwrap().size = Some(64 * GIB)),
        ("another name", |e| {
            let meta = e.partition.remove("meta").unwrap();
            e.partition.insert("index".into(), meta);
        }),
        ("one more", |e| e.partition.extend([part(Some(20), Content::Raw, "more")])),
        ("one less", |e| drop(e.partition.remove("secret"))),
        ("another order", |e| {
            e.partition.get_mut("data").unwrap().size = Some(500 * MIB);
            e.partition.get_mut("secret").unwrap().size = None;
        }),
        ("one volume", one),
    ]
}

#[test]
fn invariant_2_a_disk_that_was_made_with_other_partitions_is_ours_and_never_cut_anew() {
    let (model, made_with) = runs();
    for (context, change) in others() {
        for restarts in [false, true] {
            let (mut model, mut config) = (model.clone(), made_with.clone());
            change(object(&mut config));
            if restarts {
                model.power_cut();
            }
            for disk in ["vdd", "vde"] {
                let permit = permit_for(&model, disk);
                model.grant(permit);
            }
            is_left_alone(model, &config, context);
        }
    }
    let (model, config) = full();
    let mut model = made(model, &config);
    model.keys = Keys::ALL;
    let (_, config) = partitioned();
    is_left_alone(model, &config, "what was one volume");
}

fn is_left_alone(mut model: Model, config: &MachineConfig, context: &str) {
    let before = model.clone();
    let next = plan(&model.inventory(), config);
    assert_eq!(codes(&next), ["BP-S028"; 2], "{context}: {:#?}", next.all_refusals());
    let refused = next.volumes.iter().filter(|v| v.volume.starts_with("object/"));
    assert!(refused.clone().count() > 1 && refused.into_iter().all(|v| v.verdict == Verdict::Refuse), "{context}");
    let said = &next.all_refusals()[0];
    assert!(said.what.contains("object/B1") && said.mend.contains("as it was made"), "{context}: {said}");
    assert!(!format!("{said}").contains("bedplate permit"), "{context}: {said}");
    model.carry_out(&next).unwrap();
    for disk in ["vdd", "vde"] {
        assert_eq!(on(&model, disk), on(&before, disk), "{context}");
    }
}

#[test]
fn what_it_was_made_with_and_what_is_asked_for_are_both_said() {
    let (model, mut config) = runs();
    object(&mut config).partition.get_mut("meta").unwrap().size = Some(321 * MIB);
    let said = &plan(&model.inventory(), &config).all_refusals()[0];
    assert!(said.what.ends_with(
        "was made with meta of 320 MiB, secret of 100 MiB, data of 602 MiB, and the configuration asks for meta of 321 MiB, \
         secret of 100 MiB, data over the rest."
    ), "{said}");
    let (whole, as_one) = full();
    let whole = made(whole, &as_one);
    let said = &plan(&whole.inventory(), &partitioned().1).all_refusals()[0];
    assert!(said.what.contains("was made with one volume of 1022 MiB, and"), "{said}");
}

#[test]
fn invariant_4_a_disk_that_was_begun_with_other_partitions_is_left_alone_too() {
    let (blank, made_with) = partitioned();
    let first = effects(&blank, &plan(&blank.inventory(), &made_with));
    for (context, change) in others() {
        let mut config = made_with.clone();
        change(object(&mut config));
        for cut in 0..=first.len() {
            let mut model = blank.clone();
            first[..cut].iter().for_each(|effect| model.apply(effect.clone()));
            model.power_cut();
            let before = model.clone();
            model
                .carry_out(&plan(&model.inventory(), &config))
                .unwrap_or_else(|e| panic!("{context}, cut {cut}: {e:?}"));
            for disk in ["vdd", "vde"] {
                let has_table = on(&before, disk).table().usable().is_some();
                assert!(!has_table || on(&model, disk) == on(&before, disk), "{context}, cut {cut}: {disk}");
            }
        }
    }
}

#[test]
fn with_a_raised_generation_and_a_permit_it_is_made_anew() {
    let (mut model, mut config) = runs();
    model.power_cut();
    let meta = object(&mut config).partition.get_mut("meta").unwrap();
    meta.size = Some(400 * MIB);
    object(&mut config).generation = 1;
    let refused = plan(&model.inventory(), &config);
    assert_eq!(codes(&refused), ["BP-S014"; 2]);
    assert!(refused.all_refusals()[0].mend.contains("bedplate permit erase n1 B1"), "{:#?}", refused.all_refusals());
    for disk in ["vdd", "vde"] {
        let permit = permit_for(&model, disk);
        model.grant(permit);
    }
    converges_after_cuts(&model, &config, |cut, _| cut % 3 == 0, is_whole);
    let next = plan(&model.inventory(), &config);
    assert_eq!(steps(&next).iter().filter(|step| **step == "erase").count(), 2, "each disk once");
    for part in PARTS {
        let reasons = &volume(&next, &format!("object/B1/{part}")).reasons;
        assert!(reasons.iter().any(|reason| reason.contains("is erased first")), "{part}: {reasons:?}");
    }
}

#[test]
fn invariant_2_no_other_section_takes_such_a_disk_whatever_permit_there_is() {
    for change in [|_: &mut Each| (), |e: &mut Each| e.partition.get_mut("meta").unwrap().size = Some(64 * GIB)] {
        let (mut model, mut config) = runs();
        model.power_cut();
        change(object(&mut config));
        object(&mut config).disks = serials(&["B2"]);
        let other = Each { mount: Some("/var/lib/other/{serial}".into()), ..each(serials(&["B1"]), true) };
        config.storage.each.insert("other".into(), other);
        let permit = permit_for(&model, "vdd");
        model.grant(permit);
        let next = plan(&model.inventory(), &config);
        let said = next.all_refusals().into_iter().find(|r| r.code == "BP-S014").unwrap();
        assert!(said.why.contains("It belongs to \"object\" of this node"), "{said}");
        assert!(!said.mend.contains("bedplate permit") && !written(&next).contains("vdd"), "{said}");
    }
}

#[test]
fn a_blank_disk_in_place_of_a_dead_one_gets_all_of_them() {
    let (model, mut config) = partitioned();
    let sized = machine_config::schema::SizeRange { min: Some(GIB), max: Some(GIB) };
    object(&mut config).disks = machine_config::schema::Selector { size: Some(sized), ..ssds(2) };
    let mut model = made(model, &config);
    model.pull("vde");
    let lacking = plan(&model.inventory(), &config);
    assert_eq!(codes(&lacking), ["BP-S002"]);
    assert!(PARTS.iter().all(|part| volume(&lacking, &format!("object/B1/{part}")).verdict == Verdict::Keep));
    assert!(PARTS.iter().all(|part| volume(&lacking, &format!("object/others/{part}")).verdict == Verdict::Refuse));
    model.plug(disk("vdf", "B3", GIB));
    let next = plan(&model.inventory(), &config);
    assert!(!next.is_blocked() && written(&next) == ["vdf".to_owned()].into(), "{:#?}", next.all_refusals());
    assert!(PARTS.iter().all(|part| volume(&next, &format!("object/B3/{part}")).verdict == Verdict::Create));
    model.carry_out(&next).unwrap();
    assert!(plan(&model.inventory(), &config).graph.steps.is_empty());
}

#[test]
fn a_named_disk_that_is_not_there_lacks_all_of_its_volumes() {
    let (mut model, config) = partitioned();
    model.pull("vde");
    let next = plan(&model.inventory(), &config);
    assert_eq!(codes(&next), ["BP-S001"], "said once");
    assert!(PARTS.iter().all(|part| volume(&next, &format!("object/B2/{part}")).verdict == Verdict::Refuse));
}

#[test]
fn a_disk_without_room_for_all_of_them_is_refused_before_anything_is_written() {
    // Room for those with a size and none for the rest; too little for the rest; for those with a size too little.
    for size in [422 * MIB, 436 * MIB, 200 * MIB] {
        let (mut model, config) = partitioned();
        model.disk_mut("vdd").unwrap().device.size = size;
        let next = plan(&model.inventory(), &config);
        assert_eq!(codes(&next), ["BP-S010"], "{size}: {:#?}", next.all_refusals());
        assert!(!written(&next).contains("vdd") && written(&next).contains("vde"), "{size}");
    }
    let (mut model, config) = partitioned();
    model.disk_mut("vdd").unwrap().device.size = 441 * MIB;
    assert_eq!(codes(&plan(&model.inventory(), &config)), Vec::<String>::new());
}

#[test]
fn what_the_configuration_alone_shows_to_be_wrong_is_never_planned() {
    let wrong: [(&str, Change); 7] = [
        ("both", |e| e.format = Some(Content::Raw)),
        ("neither", |e| e.partition.clear()),
        ("two rests", |e| e.partition.get_mut("meta").unwrap().size = None),
        ("too many", |e| e.partition.extend((0..14).map(|n| part(Some(16), Content::Raw, &format!("p{n}"))))),
        ("smaller than XFS", |e| e.partition.get_mut("meta").unwrap().size = Some(299 * MIB)),
        ("smaller than ext4 behind a header", |e| e.partition.get_mut("secret").unwrap().size = Some(31 * MIB)),
        ("one place for two disks", |e| e.partition.get_mut("meta").unwrap().mount = Some("/var/lib/meta".into())),
    ];
    let (model, config) = partitioned();
    for (context, change) in wrong {
        let mut config = config.clone();
        change(object(&mut config));
        let plan = plan(&model.inventory(), &config);
        assert!(plan.volumes.is_empty() && codes(&plan) == ["BP-S030"], "{context}: {:#?}", plan.all_refusals());
    }
}

#[test]
fn a_damaged_copy_of_the_table_is_put_right_while_all_of_them_run() {
    let (mut model, config) = runs();
    let backup = on(&model, "vdd").device.size - 512;
    model.disk_mut("vdd").unwrap().sectors.remove(&backup);
    let next = plan(&model.inventory(), &config);
    assert!(PARTS.iter().all(|part| volume(&next, &format!("object/B1/{part}")).verdict == Verdict::Repair));
    assert_eq!((steps(&next), steps(&next.repairs())), (vec!["table"], vec!["table"]), "{next:#?}");
    model.carry_out(&next).unwrap();
    is_whole(&model, &config, "put right");
}

#[test]
fn without_the_passphrase_the_disk_is_refused_and_what_is_open_stays() {
    let (mut model, config) = runs();
    model.keys = Keys { passphrase: false, ..Keys::ALL };
    is_whole(&model, &config, "open");
    model.power_cut();
    let next = plan(&model.inventory(), &config);
    assert_eq!((codes(&next), next.writes()), (vec!["BP-S024".to_owned(); 2], 0));
    assert!(next.volumes.iter().filter(|v| v.volume.starts_with("object/")).all(|v| v.verdict == Verdict::Refuse));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn invariant_4_any_list_is_made_where_it_fits_and_a_cut_anywhere_converges(
        sizes in prop::collection::vec(16..120u64, 0..6),
        has_rest in any::<bool>(),
        raw in prop::collection::vec(any::<bool>(), 7),
        at in 0.0..1.0f64,
        sector in prop::sample::select(vec![512u32, 4096]),
    ) {
        prop_assume!(has_rest || !sizes.is_empty());
        let content = |i: usize| if raw[i] { Content::Raw } else { Content::Ext4 };
        let mut parts: Vec<_> =
            sizes.iter().enumerate().map(|(i, mib)| part(Some(*mib), content(i), &format!("p{i}"))).collect();
        parts.extend(has_rest.then(|| part(None, content(6), "a-rest")));
        let config = config(&[("object", each_of(serials(&["B1"]), parts.clone()))], &[]);
        let blank = node(vec![Device { logical_sector: sector, ..disk("vdb", "B1", GIB / 2) }]);
        let first = plan(&blank.inventory(), &config);
        let taken: u64 = sizes.iter().map(|mib| mib * MIB).sum();
        if first.is_blocked() {
            prop_assert_eq!(codes(&first), ["BP-S010"]);
            prop_assert!(taken + 24 * MIB > GIB / 2);
            prop_assert!(!written(&first).contains("vdb"));
            return Ok(());
        }
        let all: Vec<Effect> = effects(&blank, &first);
        let cut = (all.len() as f64 * at) as usize;
        let mut model = blank;
        all[..cut].iter().for_each(|effect| model.apply(effect.clone()));
        model.power_cut();
        model.carry_out(&plan(&model.inventory(), &config)).unwrap();
        let next = plan(&model.inventory(), &config);
        prop_assert!(next.graph.steps.is_empty() && next.all_refusals().is_empty(), "{:#?}", next);
        let made = table(&model, "vdb").partitions;
        prop_assert_eq!(made.len(), parts.len());
        let mut end = MIB;
        for partition in &made {
            prop_assert_eq!((partition.start, partition.size % MIB, partition.kind), (end, 0, kind::DATA));
            end = partition.end();
        }
        prop_assert!(end <= GIB / 2 - MIB);
        prop_assert!(!has_rest || end > GIB / 2 - 2 * MIB);
    }
}
