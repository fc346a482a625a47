//! A machine that is swapped around its disks: another chassis with other controllers and bays, and the same disks in it.

use crate::world::*;
use machine_config::identity::{self, Facts};
use machine_config::schema::{MachineConfig, Media, Transport};
use machine_config::site::SiteFile;
use machine_config::{Diagnostic, check};
use std::collections::BTreeSet;
use storage_plan::inventory::{Device, Inventory, Slot};
use storage_plan::simulate::Model;
use storage_plan::{Action, Verdict, plan};

/// Named disks and counted disks, a mirror and an array with parity and a spare, and places that count.
const SITE: &str = r#"
format = 1
revision = 1
cluster = { id = "0d4f7c1e-8a52-4c0e-9b1f-2f6f0c7e5a11", name = "a", api = ["https://a:1"] }

[machine.n1]
match = { serial = "OLD-CHASSIS" }
profiles = ["storage"]

[machine.n2]
match = { serial = "ANOTHER-CHASSIS" }
profiles = ["storage"]

[profile.storage.each.object]
mount = "/var/lib/volumes/object-{serial}"
format = "ext4"
disks = { serial = ["B1", "B2"] }

[profile.storage.array.meta]
level = 1
disks = { serial = ["A1", "A2"] }
replace = "same-slot"
volume.db = { format = "xfs", mount = "/var/lib/volumes/db" }

[profile.storage.array.bulk]
level = 6
spares = 1
disks = { media = "hdd", count = 5 }
replace = "same-slot"
volume.cold = { format = "xfs", mount = "/var/lib/volumes/cold" }
"#;

/// Serial number and UUID of the new chassis.
const NEW: (&str, &str) = ("NEW-CHASSIS", "8c9d1b5e-50cf-4c52-a2a4-3f1d2f7a9b10");
const VOLUMES: [&str; 5] = ["state", "meta/db", "bulk/cold", "object/B1", "object/B2"];

fn facts(serial: &str, uuid: &str) -> Facts {
    Facts { serial: Some(serial.into()), uuid: Some(uuid.parse().unwrap()), macs: Vec::new() }
}

/// What a chassis takes from this site file: its entry's name and configuration.
fn taken(site: &str, facts: &Facts) -> Result<MachineConfig, Diagnostic> {
    let file = SiteFile::read(site, "site.toml").unwrap();
    let name = identity::name(&file, facts)?;
    Ok(check::machine(&file, &name).unwrap())
}

/// The same site, with a mirror of the disks at two paths.
fn at_paths() -> String {
    SITE.replace(r#"serial = ["A1", "A2"]"#, r#"path = ["pci-A1", "pci-A2"]"#)
}

/// The machine in its old chassis, as it was switched off.
fn old(site: &str) -> (Model, MachineConfig) {
    let config = taken(site, &facts("OLD-CHASSIS", "11d8e5a0-6b1f-4b52-8d77-1c2f0f3c4d5e")).unwrap();
    let ssd = |name: &str, serial: &str| disk(name, serial, 2 * GIB);
    let hdd = |name: &str, serial: &str| Device {
        rotational: true,
        slot: Some(Slot { enclosure: "0".into(), bay: serial.into() }),
        ..disk(name, serial, 2 * GIB)
    };
    assert_eq!(hdd("x", "x").media(), Media::Hdd);
    let mut model = node(vec![
        ssd("vdb", "A1"),
        ssd("vdc", "A2"),
        ssd("vdd", "B1"),
        ssd("vde", "B2"),
        hdd("vdf", "C1"),
        hdd("vdg", "C2"),
        hdd("vdh", "C3"),
        hdd("vdi", "C4"),
        hdd("vdj", "C5"),
    ]);
    let first = plan(&model.inventory(), &config);
    assert!(!first.is_blocked(), "{:#?}", first.all_refusals());
    model.carry_out(&first).unwrap();
    model.remembered = storage_plan::remember::remember(&model.inventory(), &config);
    assert!(model.remembered.len() >= 6, "{:?}", model.remembered);
    model.power_cut();
    (model, config)
}

/// The same disks in the new chassis: each at another controller, in the bay and at the path that another disk had,
/// found in another order, under names that others had.
fn in_the_new_chassis(model: &Model) -> Inventory {
    let mut inventory = model.inventory();
    let places: Vec<_> = inventory.devices.iter().map(|d| (d.by_path.clone(), d.slot.clone())).collect();
    let names: Vec<String> = inventory.devices.iter().map(|d| d.name.clone()).collect();
    let count = names.len();
    for (at, device) in inventory.devices.iter_mut().enumerate() {
        let (by_path, slot) = places[(at + 3) % count].clone();
        device.name = names[(at + 4) % count].clone();
        device.number = format!("8:{}", 16 * at);
        device.sysfs = format!("/sys/devices/pci0000:3a/0000:3b:00.0/host0/target0:0:{at}");
        (device.by_path, device.slot) = (by_path, slot);
        device.transport = Some(Transport::Sas);
        for partition in &mut device.partitions {
            partition.name = format!("{}{}", device.name, partition.number);
        }
    }
    inventory.boot.as_mut().unwrap().disk = names[4].clone();
    inventory.devices.reverse();
    inventory
}

#[test]
fn invariant_3_a_machine_swapped_around_its_disks_keeps_them() {
    let new = facts(NEW.0, NEW.1);
    assert_eq!(taken(SITE, &new).unwrap_err().code, "BP-C060", "nobody guesses which machine it is");
    let entries = [format!("serial = \"{}\"", NEW.0), format!("uuid = \"{}\"", NEW.1)];
    for (site, entry) in [SITE.to_owned(), at_paths()].iter().flat_map(|site| entries.iter().map(move |e| (site, e))) {
        let (model, config) = old(site);
        let config_now = taken(&site.replace("serial = \"OLD-CHASSIS\"", entry), &new).unwrap();
        assert_eq!((&config_now.name, &config_now.storage), (&"n1".to_owned(), &config.storage));
        let inventory = in_the_new_chassis(&model);
        let plan = plan(&inventory, &config_now);
        for volume in VOLUMES {
            assert_eq!(
                crate::world::volume(&plan, volume).verdict,
                Verdict::Keep,
                "{volume}: {:#?}",
                plan.all_refusals()
            );
        }
        assert_eq!((plan.volumes.len(), plan.writes(), codes(&plan)), (VOLUMES.len(), 0, Vec::new()));
        // Each array starts with all its members, and each volume is mounted where it was.
        let started = plan.graph.steps.iter().filter_map(|step| match &step.action {
            Action::AssembleArray { members, name, .. } => Some((name.as_str(), members.len())),
            _ => None,
        });
        assert_eq!(started.collect::<BTreeSet<_>>(), BTreeSet::from([("bulk", 5), ("meta", 2)]));
        assert_eq!(steps(&plan).iter().filter(|step| **step == "mount").count(), VOLUMES.len());
    }
}

/// A chassis that brings a system disk of its own is a new installation around old data. A blank disk that it brings along
/// is in a bay, and at a path, where a member was; nobody takes it.
#[test]
fn invariant_3_a_chassis_with_a_system_disk_of_its_own_adopts_the_disks() {
    let (mut model, _) = old(&at_paths());
    let system = model.disk_mut("vda").unwrap();
    system.sectors.clear();
    system.areas.clear();
    lay(&mut model, "vda", &image_table(), IMAGE);
    // What was kept of places stood on the state partition.
    model.remembered = Vec::new();
    let config = taken(&at_paths().replace("OLD-CHASSIS", NEW.0), &facts(NEW.0, NEW.1)).unwrap();
    let mut inventory = in_the_new_chassis(&model);
    let place = inventory.devices.iter().find(|d| d.slot.is_some()).unwrap();
    let blank = Device { slot: place.slot.clone(), rotational: true, ..disk("sdz", "BLANK", 2 * GIB) };
    inventory.devices.push(Device { by_path: vec!["pci-A1".into()], ..blank });
    let plan = plan(&inventory, &config);
    for volume in VOLUMES {
        let wanted = if volume == "state" { Verdict::Create } else { Verdict::Adopt };
        assert_eq!(crate::world::volume(&plan, volume).verdict, wanted, "{volume}: {:#?}", plan.all_refusals());
    }
    assert_eq!(written(&plan), BTreeSet::from([inventory.boot.unwrap().disk]));
}

#[test]
fn invariant_3_the_disks_of_a_machine_are_foreign_to_one_of_another_name() {
    let (model, _) = old(SITE);
    // Both in the new chassis and in the old one, which somebody gave the other's name.
    for inventory in [in_the_new_chassis(&model), model.inventory()] {
        let site = SITE.replace("ANOTHER-CHASSIS", NEW.0);
        let config = taken(&site, &facts(NEW.0, NEW.1)).unwrap();
        assert_eq!(config.name, "n2");
        let plan = plan(&inventory, &config);
        assert!(plan.volumes.iter().all(|v| v.verdict == Verdict::Refuse), "{:?}", plan.volumes);
        assert!(plan.graph.steps.is_empty() && plan.clone().approve().is_err());
        let refused: BTreeSet<String> = codes(&plan).into_iter().collect();
        assert_eq!(refused, BTreeSet::from(["BP-S014", "BP-S020"].map(String::from)), "{:#?}", plan.all_refusals());
        // Each disk is named, so that a person sees what was mixed up.
        let said: String = plan.all_refusals().iter().map(ToString::to_string).collect();
        for serial in ["A1", "A2", "B1", "B2", "C1", "C2", "C3", "C4", "C5"] {
            assert!(said.contains(&format!("serial {serial} ")), "{serial} is not named:\n{said}");
        }
    }
}
