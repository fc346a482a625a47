//! Encrypted volumes: made in the two phases of all others, opened and never made anew after that, and refused while they can't
//! be opened.

use crate::world::*;
use machine_config::schema::{Content, Encrypt, MachineConfig};
use storage_plan::inventory::{Keys, Signature};
use storage_plan::simulate::{Area, Effect, Model};
use storage_plan::{Plan, Verdict, plan};

/// The node as it runs, and what its plan was.
fn runs() -> (Model, MachineConfig) {
    let (mut model, config) = encrypted();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    (model, config)
}

/// What the plan does for a volume, in words.
fn of(plan: &Plan, volume: &str) -> Vec<String> {
    plan.graph.steps.iter().filter(|s| s.volume == volume).map(|s| s.action.words()).collect()
}

/// The LUKS header of the volume on `vdd`.
fn header(model: &Model) -> Signature {
    model.inventory().devices.iter().find(|d| d.name == "vdd").unwrap().partitions[0].signatures[0].clone()
}

fn is_whole(model: &Model, config: &MachineConfig, context: &str) {
    let inventory = model.inventory();
    assert_eq!(inventory.opened.len(), 3, "{context}");
    let mounted: Vec<&String> = inventory.opened.iter().flat_map(|o| &o.uses.mounts).collect();
    assert_eq!(mounted.len(), 3, "{context}: {mounted:?}");
    let again = plan(&inventory, config);
    assert!(again.graph.steps.is_empty(), "{context}: {:#?}", again.graph);
    assert!(again.volumes.iter().all(|v| v.verdict == Verdict::Keep), "{context}: {again:#?}");
}

#[test]
fn they_are_made_opened_finished_and_then_mounted_and_opened_after_that() {
    let (mut model, config) = encrypted();
    let made = plan(&model.inventory(), &config);
    assert!(!made.is_blocked(), "{:#?}", made.all_refusals());
    assert_eq!(
        of(&made, "object/B1"),
        [
            "write partition table on vdd, its content still to be made",
            "encrypt vdd partition 1",
            "open vdd partition 1",
            "make ext4 on what is encrypted",
            "write partition table on vdd, its content finished",
            "mount what is encrypted on /var/lib/volumes/B1",
        ]
    );
    assert!(of(&made, "meta/db").contains(&"encrypt the array".to_owned()));
    assert!(volume(&made, "meta/db").encrypted && !volume(&made, "state").encrypted);
    model.carry_out(&made).unwrap();
    is_whole(&model, &config, "made");
    assert_eq!(header(&model).kind, "crypto_LUKS");

    model.power_cut();
    let next = plan(&model.inventory(), &config);
    assert_eq!(next.writes(), 0);
    assert_eq!(of(&next, "object/B1"), ["open vdd partition 1", "mount what is encrypted on /var/lib/volumes/B1"]);
    model.carry_out(&next).unwrap();
    is_whole(&model, &config, "after a restart");
}

#[test]
fn a_raw_one_is_found_by_a_path_to_what_is_encrypted() {
    let (mut model, mut config) = encrypted();
    let object = config.storage.each.get_mut("object").unwrap();
    (object.format, object.mount) = (Some(Content::Raw), None);
    let made = plan(&model.inventory(), &config);
    assert_eq!(
        of(&made, "object/B1")[3..5],
        ["clear both ends of what is encrypted", of(&made, "object/B1")[4].as_str()]
    );
    model.carry_out(&made).unwrap();
    let inventory = model.inventory();
    let links = inventory.opened.iter().flat_map(|o| &o.uses.links).count();
    let again = plan(&inventory, &config);
    assert_eq!((links, again.graph.steps.len()), (2, 0));
    assert_eq!(storage_plan::links::wrong(&inventory, &again), Vec::<String>::new());
}

#[test]
fn invariant_4_a_cut_after_any_effect_converges_in_one_run() {
    let (model, config) = encrypted();
    converges_after_cuts(&model, &config, |_, _| true, is_whole);
}

#[test]
fn invariant_2_something_in_one_that_is_half_made_is_not_overwritten() {
    let (model, config) = encrypted();
    let begun = plan(&model.inventory(), &config);
    let found = |kind: &str| signature(kind, "3f2a6c1e-0000-4000-8000-000000000000", "");
    for foreign in ["crypto_LUKS", "ext4", "LVM2_member"] {
        let mut model = model.clone();
        for step in begun.graph.steps.iter().filter(|s| s.volume == "object/B1").take(1) {
            model.effects(&step.action).unwrap().into_iter().for_each(|effect| model.apply(effect));
        }
        let area = Area { signatures: vec![found(foreign)], ..Area::default() };
        model.disk_mut("vdd").unwrap().areas.insert(1 << 20, area);
        let next = plan(&model.inventory(), &config);
        assert_eq!(volume(&next, "object/B1").verdict, Verdict::Refuse, "{foreign}: {next:#?}");
        assert!(of(&next, "object/B1").is_empty(), "{foreign}");
    }
}

#[test]
fn without_the_passphrase_they_are_refused_and_what_is_open_stays() {
    let (mut model, mut config) = encrypted();
    let keys = Keys { passphrase: false, ..Keys::ALL };
    model.keys = keys;
    config.storage.each.get_mut("object").unwrap().required = false;
    config.storage.array.get_mut("meta").unwrap().volume.get_mut("db").unwrap().required = false;
    let refused = plan(&model.inventory(), &config);
    assert_eq!(codes(&refused), ["BP-S024"; 3]);
    assert_eq!(written(&refused), ["vda".to_owned()].into(), "only the state is made");

    let (mut model, _) = runs();
    model.keys = keys;
    let running = plan(&model.inventory(), &config);
    assert!(running.graph.steps.is_empty() && running.all_refusals().is_empty(), "{running:#?}");
    model.power_cut();
    let next = plan(&model.inventory(), &config);
    assert_eq!((codes(&next), next.writes()), (vec!["BP-S024".to_owned(); 3], 0));
}

#[test]
fn invariant_2_what_is_there_is_never_encrypted_nor_the_reverse() {
    let (plain, asked) = (full().1, encrypted().1);
    for (made, now) in [(&plain, &asked), (&asked, &plain)] {
        let mut model = encrypted().0;
        model.carry_out(&plan(&model.inventory(), made)).unwrap();
        for restarts in [false, true] {
            if restarts {
                model.power_cut();
            }
            let next = plan(&model.inventory(), now);
            // What is on an array that does not run can't be told yet; it is refused when it is looked at before it is mounted.
            let wanted = if restarts { 2 } else { 3 };
            assert_eq!(codes(&next), vec!["BP-S023"; wanted], "{next:#?}");
            assert_eq!(next.writes(), 0, "{next:#?}");
        }
    }
}

#[test]
fn invariant_3_what_else_is_in_their_place_is_refused() {
    let (mut model, config) = runs();
    let ours = header(&model);
    let other = model.inventory().devices.iter().find(|d| d.name == "vde").unwrap().partitions[0].signatures[0].clone();
    assert_ne!(ours, other, "each has a header of its own");
    let (uuid, foreign) = (ours.uuid.as_ref().unwrap().parse().unwrap(), signature("zfs_member", "", "tank"));
    let mut altered = model.clone();
    altered.apply(Effect::Holds(storage_plan::Target::Opened(uuid), vec![foreign]));
    let next = plan(&altered.inventory(), &config);
    assert_eq!((codes(&next), next.writes()), (vec!["BP-S016".to_owned()], 0), "what it shows is something else");
    model.power_cut();
    for (signatures, what) in [(vec![other], "another disk's header"), (vec![], "no header")] {
        model.disk_mut("vdd").unwrap().areas.insert(1 << 20, Area { signatures, ..Area::default() });
        let next = plan(&model.inventory(), &config);
        assert_eq!((codes(&next), next.writes()), (vec!["BP-S016".to_owned()], 0), "{what}");
        assert!(of(&next, "object/B1").is_empty(), "{what}");
    }
}

#[test]
fn a_disk_that_is_smaller_than_header_and_file_system_is_refused() {
    for (size, is_refused) in [(28 << 20, true), (40 << 20, false)] {
        let (_, mut config) = encrypted();
        config.storage.array.clear();
        config.storage.each.get_mut("object").unwrap().disks = serials(&["B1"]);
        let mut model = node(vec![disk("vdd", "B1", size)]);
        model.keys = Keys::ALL;
        let codes = codes(&plan(&model.inventory(), &config));
        assert_eq!(codes, if is_refused { vec!["BP-S010"] } else { vec![] }, "{size}");
    }
}

#[test]
fn only_members_are_mended_while_one_runs() {
    let (mut model, mut config) = runs();
    model.pull("vdc");
    model.plug(disk("vdf", "A3", 2 * GIB));
    config.storage.array.get_mut("meta").unwrap().disks = serials(&["A1", "A3"]);
    let next = plan(&model.inventory(), &config);
    assert_eq!(steps(&next), ["table", "add", "table"], "{next:#?}");
    model.carry_out(&next).unwrap();
    is_whole(&model, &config, "after a member was replaced");
}

/// The node of [`encrypted`], whose disks the TPM opens.
fn sealed() -> (Model, MachineConfig) {
    let (model, mut config) = encrypted();
    config.storage.array.clear();
    config.storage.each.values_mut().for_each(|each| each.encrypt = Some(Encrypt::Tpm));
    (model, config)
}

#[test]
fn with_the_tpm_they_are_made_where_it_protects_and_a_recovery_key_is_at_hand() {
    let (mut model, config) = sealed();
    for (code, lacking) in [
        ("BP-S026", Keys { tpm: false, ..Keys::ALL }),
        ("BP-S026", Keys { is_sealed: false, ..Keys::ALL }),
        ("BP-S024", Keys { recovery: false, ..Keys::ALL }),
    ] {
        model.keys = lacking;
        let refused = plan(&model.inventory(), &config);
        assert_eq!((codes(&refused), refused.is_blocked()), (vec![code.to_owned(); 2], true), "{lacking:?}");
    }
    model.keys = Keys { passphrase: false, ..Keys::ALL };
    let made = plan(&model.inventory(), &config);
    assert!(!of(&made, "object/B1").contains(&"see that the TPM opens vdd partition 1".to_owned()), "{made:#?}");
    model.carry_out(&made).unwrap();
    assert!(plan(&model.inventory(), &config).graph.steps.is_empty());
}

#[test]
fn with_the_tpm_or_the_recovery_key_they_are_opened_and_never_made_anew() {
    let (mut model, config) = sealed();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.power_cut();
    let open = "open vdd partition 1".to_owned();
    let mount = "mount what is encrypted on /var/lib/volumes/B1".to_owned();
    let seal = "see that the TPM opens vdd partition 1".to_owned();
    let with = |recovery, tpm, is_sealed| Keys { passphrase: false, recovery, tpm, is_sealed };
    for (keys, steps) in [
        (with(false, true, true), vec![&open, &mount]),
        (with(false, true, false), vec![&open, &mount]),
        (with(true, false, false), vec![&open, &mount]),
        // It may be another TPM than the one it was made with.
        (with(true, true, true), vec![&open, &seal, &mount]),
    ] {
        model.keys = keys;
        let next = plan(&model.inventory(), &config);
        assert_eq!(of(&next, "object/B1").iter().collect::<Vec<_>>(), steps, "{keys:?}");
        assert!(next.volumes.iter().all(|v| v.verdict == Verdict::Keep), "{keys:?}");
        let mut opened = model.clone();
        opened.carry_out(&next).unwrap();
        assert!(plan(&opened.inventory(), &config).graph.steps.is_empty(), "{keys:?}");
    }
    model.keys = with(false, false, false);
    let next = plan(&model.inventory(), &config);
    assert_eq!((codes(&next), next.writes()), (vec!["BP-S024".to_owned(); 2], 0));
}
