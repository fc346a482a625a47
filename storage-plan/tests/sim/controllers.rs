//! What hardware RAID controllers tell is said, and decides nothing.

use crate::world::*;
use storage_plan::controller::{Controller, VirtualDrive, VirtualState, name_disks};
use storage_plan::inventory::Inventory;
use storage_plan::simulate::Model;
use storage_plan::{VolumeVerdict, explain, plan};

const WWN: &str = "naa.600605b010e9437000000000c0ffee03";

/// A controller whose virtual drive 3 has this world wide name, and whose tool calls it `vdb`.
fn controller(state: VirtualState, wwn: Option<&str>) -> Controller {
    let drive = VirtualDrive {
        number: 3,
        level: "RAID 6".into(),
        state,
        wwn: wwn.map(|wwn| wwn.replace("naa.", "").to_uppercase()),
        disk: Some("vdb".into()),
        ..VirtualDrive::default()
    };
    Controller { model: "PERC H740P".into(), virtual_drives: vec![drive], ..Controller::default() }
}

fn asked(model: &Model, controller: Controller) -> Inventory {
    let mut inventory = Inventory { controllers: vec![controller], ..model.inventory() };
    name_disks(&mut inventory.controllers, &inventory.devices);
    inventory
}

#[test]
fn a_virtual_drive_is_the_disk_with_its_world_wide_name_whatever_the_tool_calls_it() {
    let (mut model, _) = full();
    let disk = |model: &Model, wwn| {
        asked(model, controller(VirtualState::Optimal, wwn)).controllers[0].virtual_drives[0].disk.clone()
    };
    assert_eq!(disk(&model, None).as_deref(), Some("vdb"), "there is nothing else to tell it by");
    assert_eq!(disk(&model, Some(WWN)), None, "no disk has it");
    model.disk_mut("vdc").unwrap().device.wwn = Some(WWN.into());
    assert_eq!(disk(&model, Some(WWN)).as_deref(), Some("vdc"));
    model.pull("vdb");
    assert_eq!(disk(&model, None), None);
}

#[test]
fn what_a_controller_tells_is_said_and_decides_nothing() {
    let (mut model, config) = full();
    model.disk_mut("vdc").unwrap().device.wwn = Some(WWN.into());
    let silent = plan(&model.inventory(), &config);
    let inventory = asked(&model, controller(VirtualState::Degraded, Some(WWN)));
    let device = inventory.devices.iter().find(|d| d.name == "vdc").unwrap();
    assert_eq!(device.identity(), Some("A2"));
    let told = plan(&inventory, &config);
    assert_eq!((&told.graph, told.all_refusals()), (&silent.graph, silent.all_refusals()));
    let without_reasons = |volumes: &[VolumeVerdict]| -> Vec<VolumeVerdict> {
        volumes.iter().map(|v| VolumeVerdict { reasons: Vec::new(), ..v.clone() }).collect()
    };
    assert_eq!(without_reasons(&told.volumes), without_reasons(&silent.volumes));
    let says = format!("{} is virtual drive 3 of controller 0 (PERC H740P), RAID 6, degraded.", device.words());
    assert!(volume(&told, "meta/db").reasons.contains(&says), "{:?}", volume(&told, "meta/db").reasons);
    assert_eq!(explain::table(&told).matches(&says).count(), 1, "only at the volume that it is of");
}

#[test]
fn a_refusal_says_which_virtual_drive_a_disk_is() {
    let (mut model, config) = full();
    model.disk_mut("vdc").unwrap().device.wwn = Some(WWN.into());
    model.disk_mut("vdc").unwrap().device.read_only = true;
    let told = plan(&asked(&model, controller(VirtualState::Degraded, Some(WWN))), &config);
    let refusals = told.all_refusals();
    assert_eq!(codes(&told), ["BP-S010"]);
    assert!(
        refusals[0].why.ends_with("is virtual drive 3 of controller 0 (PERC H740P), RAID 6, degraded."),
        "{refusals:?}"
    );
}

#[test]
fn a_missing_disk_may_be_a_virtual_drive_that_is_offline() {
    let (mut model, config) = full();
    model.pull("vdc");
    let told = plan(&asked(&model, controller(VirtualState::Offline, Some(WWN))), &config);
    assert_eq!(codes(&told), ["BP-S001"]);
    let why = &told.all_refusals()[0].why;
    assert!(
        why.ends_with("There is no disk that is virtual drive 3 of controller 0 (PERC H740P), RAID 6, offline."),
        "{why}"
    );
}

#[test]
fn inventories_with_and_without_controllers_are_read() {
    let (model, _) = full();
    let text = serde_json::to_string(&model.inventory()).unwrap();
    assert!(!text.contains("controllers"), "one that has none is as it was");
    assert_eq!(serde_json::from_str::<Inventory>(&text).unwrap(), model.inventory());
    let inventory = asked(&model, controller(VirtualState::Rebuilding { percent: Some(23) }, None));
    let text = serde_json::to_string(&inventory).unwrap();
    assert_eq!(serde_json::from_str::<Inventory>(&text).unwrap(), inventory);
}
