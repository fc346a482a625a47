//! Whether the model that plans are cut on is what happens: after each step, what it shows is held against what observing
//! sees.

use crate::cases::{boot, secrets, wait_for_syncs};
use firstboot::apply::{Tools, carry_out};
use firstboot::observe::{self, World};
use machine_config::schema::MachineConfig;
use qemu_tests::guest::disks;
use storage_plan::inventory::{Device, Inventory, Opened, Signature, Uses};
use storage_plan::simulate::Model;
use storage_plan::{Graph, Plan, Step, plan};

/// Makes what `config` asks for step by step, on disks that are blank.
pub fn is_what_happens(config: &MachineConfig) {
    let look = || Inventory { keys: secrets().at_hand(), ..observe::read(Some(&boot())).unwrap() };
    let mut seen = look();
    let (whole, mut model) = (plan(&seen, config), Model::of(&seen));
    assert!(whole.graph.steps.iter().any(|step| step.action.writes()), "{whole:?}");
    for step in &whole.graph.steps {
        let words = step.action.words();
        println!("  {words}");
        for effect in model.effects(&step.action).unwrap() {
            model.apply(effect);
        }
        one_step(&whole, step, &seen);
        wait_for_syncs(0);
        seen = look();
        let (said, real) = (shown(&model.inventory()), shown(&seen));
        for (said, real) in said.iter().zip(&real) {
            assert_eq!(said, real, "after: {words}; the model is on the left");
        }
        assert_eq!(said.len(), real.len(), "after: {words}");
    }
}

/// As the agent does it: locked, and looked at once more.
fn one_step(whole: &Plan, step: &Step, now: &Inventory) {
    let graph = Graph { steps: vec![Step { after: Vec::new(), ..step.clone() }] };
    let only = Plan { graph, ..whole.clone() };
    let tools = Tools::find(&only).unwrap();
    let world = World::read(Some(&boot())).unwrap();
    let done = carry_out(&only.approve().unwrap(), now, &world, &tools, &secrets(), &|_| ()).unwrap();
    assert!(done.failed.is_empty(), "{done:?}");
}

/// All that the two must agree on, a line for each of the array's disks, their partitions, and each array: not the
/// kernel's names for arrays, labels, or the numbers and counters that mdadm makes up.
fn shown(inventory: &Inventory) -> Vec<String> {
    let signatures = |all: &[Signature]| {
        let mut all: Vec<String> = all.iter().map(signature).collect();
        all.sort();
        all.join(", ")
    };
    // LVM chooses which of its disks a volume lies on, and holds them for what it keeps beside.
    let held = |uses: &Uses| if inventory.groups.is_empty() { uses.holders.len() } else { 0 };
    let uses = |uses: &Uses| format!("held by {}, mounted on {:?}", held(uses), uses.mounts);
    let mut lines = Vec::new();
    let is_the_arrays = |device: &&Device| device.serial.as_ref().is_some_and(|s| disks::STRIPED.contains(&s.as_str()));
    for device in inventory.devices.iter().filter(is_the_arrays) {
        let places: Vec<u64> = device.ends.iter().map(|sector| sector.offset).collect();
        let sum =
            device.ends.iter().flat_map(|sector| &sector.bytes).fold(0u64, |a, b| a.rotate_left(5) ^ u64::from(*b));
        lines.push(format!("{}: {:?}, sectors at {places:?} ({sum:x})", device.name, device.table));
        for partition in &device.partitions {
            let member = partition.md.as_ref().map(|md| {
                let name = md.name.rsplit(':').next().unwrap_or_default();
                format!("{} {name} level {} role {:?} of {}", md.array, md.level, md.role, md.members)
            });
            lines.push(format!(
                "{} partition {} at {}, {} bytes: {}; {member:?}; {}",
                device.name,
                partition.number,
                partition.start,
                partition.size,
                signatures(&partition.signatures),
                uses(&partition.uses)
            ));
        }
    }
    for array in &inventory.arrays {
        lines.push(format!(
            "array {:?}: {}, {:?} of {}, {}; {}",
            array.uuid,
            array.level,
            array.members,
            array.wanted,
            signatures(&array.signatures),
            uses(&array.uses)
        ));
    }
    for group in &inventory.groups {
        let members: Vec<(&str, u64)> = group.members.iter().map(|m| (m.uuid.as_str(), m.extents)).collect();
        let free: u64 = group.members.iter().map(|m| m.free).sum();
        lines.push(format!("group {}: {} free of {members:?}", group.name, free));
        lines.extend(group.volumes.iter().map(|v| {
            let mut tags = v.tags.clone();
            tags.sort();
            let (layout, size) = (&v.layout, v.size);
            // A pool is shown by names of LVM's own.
            let active = v.layout == "thin,pool" || v.mapping.is_some();
            let holds = if v.layout == "thin,pool" { String::new() } else { signatures(&v.signatures) };
            format!("{} {layout} of {size} {tags:?}, active {active}: {holds}; {:?}", v.name, v.uses.mounts)
        }));
    }
    let holds = |o: &Opened| format!("opened {}: {}; {:?}", o.uuid, signatures(&o.signatures), o.uses.mounts);
    lines.extend(inventory.opened.iter().map(holds));
    lines
}

fn signature(signature: &Signature) -> String {
    format!("{} {:?}", signature.kind, signature.uuid)
}
