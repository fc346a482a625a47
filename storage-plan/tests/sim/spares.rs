//! One more spare for an array that runs: taken by name, counted by number, and nothing else. Cuts are in `cuts.rs`.

use crate::world::*;
use machine_config::schema::{Level, MachineConfig, Replace, Selector, SizeRange};
use proptest::prelude::*;
use std::collections::BTreeSet;
use storage_plan::inventory::Rest;
use storage_plan::simulate::Model;
use storage_plan::{Verdict, plan};

const MIRROR: &str = "meta/db";

/// Nothing is taken, nothing is written, and the mirror has what it had.
fn nothing_is_added(model: &Model, config: &MachineConfig, refused: &[&str], context: &str) {
    for reboot in [false, true] {
        let mut model = model.clone();
        if reboot {
            model.power_cut();
        }
        let plan = plan(&model.inventory(), config);
        writes_nothing(&plan, MIRROR, refused, context);
        model.carry_out(&plan).unwrap();
        let array = &model.inventory().arrays[0];
        assert_eq!((array.members.len(), array.spares.len()), (2, 0), "{context}");
    }
}

#[test]
fn a_higher_number_and_a_name_add_a_blank_disk_as_a_spare() {
    for off in [false, true] {
        let (mut model, config) = with_one_spare_more();
        if off {
            model.power_cut();
        }
        let first = plan(&model.inventory(), &config);
        assert_eq!((volume(&first, MIRROR).verdict, codes(&first)), (Verdict::Repair, Vec::new()));
        assert_eq!(written(&first), BTreeSet::from(["vdf".to_owned()]));
        let words = storage_plan::explain::table(&first);
        assert!(words.contains("A3  2.1 GB is blank and named for it; it is made a spare."), "{words}");
        assert!(words.contains("a spare is added"), "{words}");
        model.carry_out(&first).unwrap();
        let inventory = model.inventory();
        let array = &inventory.arrays[0];
        assert_eq!(
            (&array.members[..], &array.spares[..]),
            (&["vdb1".to_owned(), "vdc1".to_owned()][..], &["vdf1".to_owned()][..])
        );
        let again = plan(&inventory, &config);
        assert_eq!((volume(&again, MIRROR).verdict, again.graph.steps.len()), (Verdict::Keep, 0));
        assert_eq!(volume(&again, MIRROR).array.as_ref().unwrap().wanted, 2, "it has not grown");
    }
}

#[test]
fn invariant_9_a_name_or_a_number_alone_adds_nothing() {
    let (model, config) = with_one_spare_more();
    let with = |change: fn(&mut machine_config::schema::Array)| {
        let mut config = config.clone();
        change(config.storage.array.get_mut("meta").unwrap());
        config
    };
    nothing_is_added(&model, &with(|meta| meta.spares = 0), &[], "one more name");
    nothing_is_added(&model, &with(|meta| meta.disks = serials(&["A1", "A2", "A9"])), &[], "one that is not there");
    let by_size = with(|meta| {
        let size = Some(SizeRange { min: Some(2 * GIB), max: None });
        meta.disks = Selector { size, count: Some(3), ..Selector::default() };
    });
    nothing_is_added(&model, &by_size, &[], "a selector that counts has chosen once");
    let in_slot = with(|meta| {
        (meta.disks, meta.replace) = (serials(&["A1", "A2", "A9"]), Replace::SameSlot);
    });
    nothing_is_added(&model, &in_slot, &[], "nothing was lost, so no slot is asked for");
}

#[test]
fn invariant_2_what_is_not_blank_or_does_not_fit_is_no_spare() {
    type Change = fn(&mut Model);
    let cases: [(&str, Change, &str); 5] = [
        ("ext4", |m| m.disk_mut("vdf").unwrap().device.signatures.push(signature("ext4", "", "mail")), "BP-S014"),
        ("raw data", |m| m.disk_mut("vdf").unwrap().device.rest = Rest::Data { offset: 77 << 20 }, "BP-S015"),
        ("too small", |m| m.disk_mut("vdf").unwrap().device.size = 2 * GIB - (64 << 20), "BP-S010"),
        ("write-protected", |m| m.disk_mut("vdf").unwrap().device.read_only = true, "BP-S010"),
        ("in use", |m| m.disk_mut("vdf").unwrap().device.uses.mounts.push("/mnt".into()), "BP-S011"),
    ];
    for (name, change, code) in cases {
        let (mut model, config) = with_one_spare_more();
        change(&mut model);
        nothing_is_added(&model, &config, &[code], name);
    }
}

#[test]
fn a_lower_number_takes_nothing_away() {
    let (mut model, mut config) = with_one_spare_more();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    let meta = config.storage.array.get_mut("meta").unwrap();
    (meta.spares, meta.disks) = (0, serials(&["A1", "A2"]));
    for reboot in [false, true] {
        if reboot {
            model.power_cut();
        }
        let plan = plan(&model.inventory(), &config);
        assert_eq!((volume(&plan, MIRROR).verdict, plan.writes()), (Verdict::Keep, 0));
        model.carry_out(&plan).unwrap();
        assert_eq!(model.inventory().arrays[0].spares, ["vdf1"], "reboot {reboot}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn invariant_9_spares_are_as_many_as_the_number_says_and_members_as_many_as_they_were(
        level in prop::sample::select(vec![Level::Raid1, Level::Raid5, Level::Raid6, Level::Raid10]),
        before in 0..2u32,
        after in 0..4u32,
        blank in prop::collection::vec(any::<bool>(), 0..4),
        reboot in any::<bool>(),
    ) {
        let (mut model, mut config) = named_array(level, 4, before);
        let meta = config.storage.array.get_mut("meta").unwrap();
        meta.spares = after;
        let allowed = plug_blank(&mut model, meta, &blank);
        (0..after).for_each(|i| meta.disks.serial.push(format!("X{i}")));
        if reboot {
            model.power_cut();
        }
        let first = plan(&model.inventory(), &config);
        prop_assert!(written(&first).is_subset(&allowed), "{first:#?}");
        model.carry_out(&first).map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
        let array = &model.inventory().arrays[0];
        let room = after.saturating_sub(before) as usize;
        let taken = if allowed.len() <= room { allowed.len() } else { 0 };
        prop_assert_eq!((array.members.len(), array.spares.len()), (4, before as usize + taken));
        prop_assert_eq!(array.wanted, 4);
        prop_assert_eq!(plan(&model.inventory(), &config).writes(), 0);
    }
}
