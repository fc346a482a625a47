//! Invariant 2, its second half: what is not ours is erased only as a permit for it allows.

use crate::world::*;
use machine_config::permit::{Granted, Method};
use machine_config::schema::MachineConfig;
use storage_plan::inventory::{Device, Rest, Signature};
use storage_plan::simulate::{Effect, Model};
use storage_plan::{Action, Inventory, Plan, Verdict, erase, explain, plan};

/// Kernel names of the disks that a plan erases.
fn erased(plan: &Plan) -> Vec<&str> {
    let erases = |s: &'_ &storage_plan::Step| matches!(s.action, Action::Erase { .. });
    plan.graph.steps.iter().filter(erases).flat_map(|s| s.action.disks()).collect()
}

/// The node of [`full`] with this file system on `B1`.
fn with_ext4(uuid: &str, label: &str) -> (Model, MachineConfig) {
    let (mut model, config) = full();
    model.disk_mut("vdd").unwrap().device.signatures.push(signature("ext4", uuid, label));
    (model, config)
}

const UUID: &str = "3f2a6c1e-0000-4000-8000-000000000000";

fn device(inventory: &Inventory, name: &str) -> Device {
    inventory.devices.iter().find(|d| d.name == name).unwrap().clone()
}

#[test]
fn invariant_2_a_permit_for_what_is_there_frees_the_disk_and_no_other() {
    let (mut model, config) = with_ext4(UUID, "backup-2019");
    model.grant(permit("B1", &["ext4 3f2a6c1e"]));
    let plan = plan(&model.inventory(), &config);
    assert_eq!((codes(&plan), erased(&plan)), (Vec::new(), vec!["vdd"]));
    let table = explain::table(&plan);
    assert!(table.contains("erase vdd (serial B1) with ext4 3f2a6c1e on it"), "{table}");
    let volume = plan.volumes.iter().find(|v| v.volume == "object/B1").unwrap();
    assert_eq!(volume.verdict, Verdict::Create);
    assert!(volume.reasons[0].contains("is erased first") && volume.reasons[0].contains("signed with config"));
    // Nothing is written to it before it is erased, and it is not erased before that can be noted.
    let of_it: Vec<_> = plan.graph.steps.iter().filter(|s| s.action.disks() == ["vdd"]).collect();
    assert!(matches!(of_it[0].action, Action::Erase { .. }) && of_it[1].after.len() == 1);
    let var = plan.graph.steps.iter().position(|s| matches!(&s.action, Action::Mount { at, .. } if at == "/var"));
    assert_eq!(of_it[0].after, [var.unwrap()]);
    model.carry_out(&plan).unwrap();
    assert_eq!(storage_plan::plan(&model.inventory(), &config).writes(), 0, "it is made, and the permit is used");
    assert_eq!(model.inventory().permits, []);
}

#[test]
fn invariant_2_every_kind_of_content_can_be_named_by_what_the_refusal_says() {
    let (mut model, config) = foreign();
    model.revoke();
    let refused = plan(&model.inventory(), &config);
    assert_eq!(refused.writes(), 3, "only the state partition could be made");
    for (name, expect) in [
        ("vdb", "A1 --expect \"ext4 3f2a6c1e\""),
        ("vdc", "A2 --expect \"gpt 00000000 with 1 partition\" --expect \"xfs 3f2a6c1e on partition 1\""),
        ("vdd", "B1 --expect \"unknown data\""),
        ("vde", "B2 --expect \"crypto_LUKS 3f2a6c1e\" --expect 'zfs_member \"tank\"'"),
    ] {
        let words = device(&model.inventory(), name).words();
        let refusal = refused.all_refusals().into_iter().find(|r| r.what.starts_with(&words)).unwrap();
        assert!(refusal.mend.ends_with(&format!("  bedplate permit erase n1 {expect}")), "{refusal}");
    }
}

/// A permit that is not for what is there changes no step of the plan.
fn does_nothing(model: &Model, config: &MachineConfig, granted: Granted, said: Option<&str>) {
    let without = plan(&model.inventory(), config);
    let mut with = model.clone();
    with.grant(granted.clone());
    let plan = plan(&with.inventory(), config);
    assert_eq!(plan.graph, without.graph, "{granted:?}");
    assert!(plan.is_blocked() && erased(&plan).is_empty(), "{granted:?}");
    let told = plan.all_refusals().iter().map(ToString::to_string).collect::<String>();
    match said {
        Some(said) => assert!(told.contains(said), "{said}: {told}"),
        None => assert_eq!(plan, without, "{granted:?}"),
    }
}

#[test]
fn invariant_2_a_permit_for_another_device_machine_or_cluster_does_nothing() {
    let (model, config) = with_ext4(UUID, "");
    let good = permit("B1", &["ext4 3f2a6c1e"]);
    type Change = fn(&mut Granted);
    let changes: [Change; 4] = [
        |g| g.permit.device = "B2".into(),
        |g| g.permit.device = "b1".into(),
        |g| g.permit.machine = "n2".into(),
        |g| g.permit.cluster = uuid::Uuid::from_u128(8),
    ];
    for change in changes {
        let mut granted = good.clone();
        change(&mut granted);
        does_nothing(&model, &config, granted, None);
    }
}

#[test]
fn invariant_2_a_permit_that_names_less_or_more_does_nothing_and_says_why() {
    let (mut model, config) = with_ext4(UUID, "");
    model.disk_mut("vdd").unwrap().device.signatures.push(signature("zfs_member", "", "tank"));
    for (expect, said) in [
        (&["ext4 3f2a6c1e"][..], "it does not name `zfs_member \"tank\"`."),
        (
            &["zfs_member \"tank\"", "ext4 3f2a6c1f"],
            "does not name `ext4 3f2a6c1e`, and names `ext4 3f2a6c1f`, which is not",
        ),
        (&["zfs_member \"tank\"", "ext4 3f2a6c1e", "ext4 3f2a6c1e"], "names `ext4 3f2a6c1e`, which is not there."),
        (&["zfs_member \"tank\"", "ext4 3f2a6c1e", "unknown data"], "names `unknown data`, which is not there."),
        (&["ext4 3f2a6c1e, zfs_member \"tank\""], "does nothing"),
    ] {
        does_nothing(&model, &config, permit("B1", expect), Some(said));
    }
    model.grant(permit("B1", &["ext4 3f2a6c1e"]));
    model.grant(permit("B1", &["zfs_member \"tank\"", "ext4 3f2a6c1e"]));
    assert_eq!(erased(&plan(&model.inventory(), &config)), ["vdd"], "one that fits, beside one that does not");
}

#[test]
fn invariant_2_a_permit_for_a_disk_that_no_selector_names_does_nothing() {
    let (mut model, mut config) = with_ext4(UUID, "");
    model.grant(permit("B1", &["ext4 3f2a6c1e"]));
    config.storage.each.get_mut("object").unwrap().disks = serials(&["B2"]);
    let plan = plan(&model.inventory(), &config);
    assert_eq!((codes(&plan), erased(&plan)), (Vec::new(), Vec::new()));
    assert!(plan.graph.steps.iter().all(|s| !s.action.disks().contains(&"vdd")));
}

#[test]
fn permits_are_asked_for_only_when_one_could_be_of_use() {
    let of = |model: &Model, config: &MachineConfig| {
        let (mut inventory, mut asked) = (model.inventory(), 0);
        let plan = storage_plan::plan_with(&mut inventory, config, |_| {
            asked += 1;
            vec![permit("B1", &["ext4 3f2a6c1e"])]
        });
        (asked, erased(&plan).len(), plan.is_blocked())
    };
    let (blank, config) = full();
    assert_eq!(of(&blank, &config), (0, 0, false));
    let (ext4, config) = with_ext4(UUID, "");
    assert_eq!(of(&ext4, &config), (1, 1, false));
    let (other, config) = with_ext4(&UUID.replace("3f2a", "4f2a"), "");
    assert_eq!(of(&other, &config), (1, 0, true));
}

#[test]
fn what_a_permit_comes_to_is_said_and_why_it_does_nothing() {
    let (model, config) = with_ext4(UUID, "");
    let outcome = |model: &Model, config: &MachineConfig, serial: &str, layer: &str| {
        let (mut model, granted) = (model.clone(), permit(serial, &[layer]));
        model.grant(granted.clone());
        let inventory = model.inventory();
        erase::outcome(&plan(&inventory, config), &inventory, &granted.permit)
    };
    let words = device(&model.inventory(), "vdd").words();
    assert_eq!(outcome(&model, &config, "B1", "ext4 3f2a6c1e"), Ok(format!("{words} is erased for \"object/B1\"")));
    let nothing =
        |config: &MachineConfig, serial: &str, layer: &str| outcome(&model, config, serial, layer).unwrap_err();
    assert_eq!(nothing(&config, "B9", "ext4 3f2a6c1e"), "no disk here is B9");
    assert_eq!(nothing(&config, "B1", "ext4 4"), format!("\"object/B1\", which {words} is for, is refused"));
    assert!(nothing(&config, "B2", "ext4 3f2a6c1e").ends_with(" is blank"));
    let (mut narrow, mut broken) = (config.clone(), config.clone());
    narrow.storage.each.get_mut("object").unwrap().disks = serials(&["B2"]);
    assert_eq!(nothing(&narrow, "B1", "ext4 3f2a6c1e"), format!("no volume takes {words} anew"));
    broken.storage.each.get_mut("object").unwrap().mount = Some("object".into());
    assert_eq!(nothing(&broken, "B1", "ext4 3f2a6c1e"), "the configuration is refused");
}

#[test]
fn invariant_2_a_disk_in_use_is_never_erased() {
    type Use = fn(&mut Device);
    let uses: [(Use, &str); 5] = [
        (|d| d.uses.mounts.push("/mnt".into()), "mounted on /mnt"),
        (|d| d.uses.holders.push("dm-0".into()), "part of dm-0"),
        (|d| d.uses.swap = true, "in use as swap"),
        (|d| d.partitions[0].uses.mounts.push("/mnt".into()), "its partition 1 is mounted on /mnt"),
        (|d| d.partitions[0].uses.holders.push("md127".into()), "its partition 1 is part of md127"),
    ];
    let (mut model, config) = full();
    foreign_partition(&mut model, "vdd", signature("xfs", UUID, "mail"));
    let granted = permit_for(&model, "vdd");
    model.grant(granted);
    assert_eq!(erased(&plan(&model.inventory(), &config)), ["vdd"], "when nothing uses it");
    for (change, said) in uses {
        let mut inventory = model.inventory();
        change(inventory.devices.iter_mut().find(|d| d.name == "vdd").unwrap());
        let plan = plan(&inventory, &config);
        assert!(plan.is_blocked() && erased(&plan).is_empty(), "{said}");
        let told = plan.all_refusals();
        assert!(told.iter().any(|r| r.why.contains(said) || r.what.contains(said)), "{said}: {told:?}");
        assert!(told.iter().all(|r| !r.mend.contains("bedplate permit")), "{said}: {told:?}");
    }
}

#[test]
fn invariant_2_the_disk_the_node_was_started_from_is_never_erased() {
    let (mut model, config) = full();
    let foreign = signature("ext4", UUID, "");
    model.disk_mut("vda").unwrap().device.signatures.push(foreign);
    let granted = permit_for(&model, "vda");
    does_nothing(&model, &config, granted, None);
    // Nor when it is selected for data, too.
    let config = crate::world::config(&[("object", each(serials(&["SYS"]), true))], &[]);
    let granted = permit_for(&model, "vda");
    does_nothing(&model, &config, granted, None);
}

#[test]
fn invariant_2_two_disks_of_one_identity_are_never_erased() {
    let (mut model, config) = with_ext4(UUID, "");
    model.grant(permit("B1", &["ext4 3f2a6c1e"]));
    model.disk_mut("vda").unwrap().device.serial = Some("B1".into());
    let plan = plan(&model.inventory(), &config);
    assert!(plan.is_blocked() && erased(&plan).is_empty());
    assert!(plan.all_refusals().iter().any(|r| r.why.contains("same serial number")), "{:?}", plan.all_refusals());
}

#[test]
fn invariant_2_a_disk_that_can_not_be_read_is_never_erased() {
    let (mut model, config) = full();
    let unreadable = Signature { kind: Signature::UNREADABLE.into(), uuid: None, label: None };
    model.disk_mut("vdd").unwrap().device.signatures.push(unreadable);
    does_nothing(&model, &config, permit("B1", &["something unreadable"]), Some("can't be read"));
    let (mut model, config) = full();
    model.disk_mut("vdd").unwrap().device.rest = Rest::NotProbed;
    does_nothing(&model, &config, permit("B1", &["unknown data"]), Some("can't be read"));
}

/// A permit of method psid-revert for the disk with this serial number.
fn by_psid(serial: &str, expect: &[&str]) -> Granted {
    let mut granted = permit(serial, expect);
    granted.permit.method = Method::PsidRevert;
    granted.permit.psid = Some("0A1B2C3D4E5F6G7H8I9JKLMNOPQRSTUV".parse().unwrap());
    granted
}

#[test]
fn invariant_2_a_locked_drive_is_erased_only_by_its_psid_and_as_what_it_is() {
    let (mut model, config) = full();
    let drive = &mut model.disk_mut("vdd").unwrap().device;
    drive.locked = true;
    assert_eq!(erase::layers(drive), Some(vec![]), "one that can be read is what it shows");
    drive.signatures.push(signature("vfat", "", "shadow"));
    drive.signatures.push(Signature { kind: Signature::UNREADABLE.into(), uuid: None, label: None });
    let refused = plan(&model.inventory(), &config);
    let refusal = refused.all_refusals().remove(0);
    assert!(refusal.why.contains("It is locked (TCG)"), "{refusal}");
    let command = "bedplate permit erase n1 B1 --expect \"locked data\" --method psid-revert --psid PSID-ON-ITS-LABEL";
    assert!(refusal.mend.ends_with(command), "{refusal}");
    for other in ["something unreadable", "vfat \"shadow\""] {
        does_nothing(&model, &config, by_psid("B1", &[other]), Some("does not name `locked data`"));
    }
    model.grant(by_psid("B1", &["locked data"]));
    let freed = plan(&model.inventory(), &config);
    assert_eq!((codes(&freed), erased(&freed)), (Vec::new(), vec!["vdd"]));
    let told = format!("{freed:?}{}{}", explain::table(&freed), serde_json::to_string(&freed).unwrap());
    assert!(told.contains("by permit ") && !told.contains("0A1B2C3D"), "{told}");
    model.carry_out(&freed).unwrap();
    assert_eq!(storage_plan::plan(&model.inventory(), &config).writes(), 0, "it is made, and the permit is used");
}

#[test]
fn invariant_2_a_volume_of_the_configuration_is_never_erased() {
    let (mut model, mut config) = full();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.power_cut();
    // The disk of "object" is asked for by another volume, and a permit says exactly what is on it.
    let mut other = each(serials(&["B1"]), true);
    other.mount = Some("/var/lib/other".into());
    config.storage.each.get_mut("object").unwrap().disks = serials(&["B2"]);
    config.storage.each.insert("other".into(), other);
    let granted = permit_for(&model, "vdd");
    does_nothing(&model, &config, granted, Some("It belongs to \"object\" of this node"));
}

#[test]
fn a_volume_is_made_anew_when_its_generation_is_raised_and_a_permit_names_the_old_one() {
    let (mut model, mut config) = full();
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.power_cut();
    config.storage.array.get_mut("meta").unwrap().generation = 1;
    assert_eq!(codes(&plan(&model.inventory(), &config)), ["BP-S014", "BP-S014"]);
    for name in ["vdb", "vdc"] {
        let granted = permit_for(&model, name);
        assert!(granted.permit.expect.iter().any(|l| l.starts_with("linux_raid_member ")), "{granted:?}");
        model.grant(granted);
    }
    let anew = plan(&model.inventory(), &config);
    assert_eq!((codes(&anew), erased(&anew)), (Vec::new(), vec!["vdb", "vdc"]));
    model.carry_out(&anew).unwrap();
    let again = plan(&model.inventory(), &config);
    assert!(again.volumes.iter().all(|v| v.verdict == Verdict::Keep) && again.writes() == 0);
}

#[test]
fn one_member_without_a_permit_and_nothing_is_erased() {
    let (mut model, config) = foreign();
    let permits = model.inventory().permits;
    model.revoke();
    permits.into_iter().filter(|g| g.permit.device != "A2").for_each(|g| model.grant(g));
    let plan = plan(&model.inventory(), &config);
    assert_eq!(codes(&plan), ["BP-S014"]);
    assert!(plan.is_blocked() && plan.graph.steps.iter().all(|s| !s.action.disks().contains(&"vdb")));
}

/// The model with `B1` half erased: the note is there, and nothing else has changed.
fn half_erased() -> (Model, MachineConfig) {
    let (mut model, config) = with_ext4(UUID, "");
    model.grant(permit("B1", &["ext4 3f2a6c1e"]));
    let first = plan(&model.inventory(), &config);
    for step in &first.graph.steps {
        for effect in model.effects(&step.action).unwrap() {
            let is_note = matches!(&effect, Effect::Sector { disk, offset: 0, bytes, .. }
                if disk == "vdd" && bytes.starts_with(b"BEDPLATE"));
            model.apply(effect);
            if is_note {
                model.power_cut();
                model.revoke();
                return (model, config);
            }
        }
    }
    panic!("nothing was erased");
}

#[test]
fn invariant_2_a_disk_put_to_another_use_while_it_was_half_erased_is_refused() {
    let (mut model, config) = half_erased();
    assert_eq!(erased(&plan(&model.inventory(), &config)), ["vdd"], "it goes on by the note alone");
    let new = signature("xfs", "aaaaaaaa-0000-4000-8000-000000000000", "");
    model.disk_mut("vdd").unwrap().device.signatures = vec![new];
    let refused = plan(&model.inventory(), &config);
    assert!(refused.is_blocked() && erased(&refused).is_empty());
    let why = &refused.all_refusals()[0].why;
    assert!(
        why.contains("An interrupted run began to erase it") && why.contains("did not name `xfs aaaaaaaa`"),
        "{why}"
    );
    // Another permit, for what is there now, is a way out.
    let granted = permit_for(&model, "vdd");
    model.grant(granted);
    assert_eq!(erased(&plan(&model.inventory(), &config)), ["vdd"]);
}

#[test]
fn invariant_2_a_note_on_a_copy_of_the_disk_gives_leave_for_nothing() {
    let (mut model, config) = half_erased();
    let noted = model.disks().iter().find(|d| d.device.name == "vdd").unwrap().sectors.clone();
    let copy = model.disk_mut("vde").unwrap();
    copy.sectors = noted;
    copy.device.signatures.push(signature("ext4", UUID, ""));
    let plan = plan(&model.inventory(), &config);
    assert!(plan.is_blocked() && erased(&plan) == ["vdd"], "{}", explain::table(&plan));
    assert!(plan.all_refusals()[0].what.contains("serial B2"));
}

#[test]
fn a_permit_for_a_blank_disk_or_one_of_ours_is_not_needed_and_does_nothing() {
    let (mut model, config) = full();
    model.grant(permit("B1", &["ext4 3f2a6c1e"]));
    let blank = plan(&model.inventory(), &config);
    assert_eq!((codes(&blank), erased(&blank)), (Vec::new(), Vec::new()));
    model.carry_out(&blank).unwrap();
    model.power_cut();
    let granted = permit_for(&model, "vdd");
    model.grant(granted);
    let kept = plan(&model.inventory(), &config);
    assert_eq!((kept.writes(), erased(&kept)), (0, Vec::new()));
}

#[test]
fn the_words_of_layers_do_not_depend_on_their_order() {
    let (model, _) = foreign();
    let mut inventory = model.inventory();
    let before = erase::layers(&device(&inventory, "vde"));
    inventory.devices.iter_mut().for_each(|d| d.signatures.reverse());
    assert_eq!(erase::layers(&device(&inventory, "vde")), before);
}

#[test]
fn permits_outlive_the_json_of_an_inventory_and_an_older_one_has_none() {
    let (model, _) = foreign();
    let inventory = model.inventory();
    let text = serde_json::to_string(&inventory).unwrap();
    assert_eq!(serde_json::from_str::<Inventory>(&text).unwrap(), inventory);
    assert!(!text.contains("locked"), "a drive is locked or nothing is said of it");
    let (model, _) = full();
    assert!(!serde_json::to_string(&model.inventory()).unwrap().contains("permits"));
}
