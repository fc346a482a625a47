//! Where members of arrays are while they work, kept for the time when one is lost. Pure.

use crate::arrays::arrays;
use crate::identity::Owner;
use crate::inventory::{Device, Inventory, Remembered};
use machine_config::schema::MachineConfig;
use uuid::Uuid;

/// What is to be kept from now on, sorted: what `inventory` has kept until now, and what it shows.
///
/// A member at work is noted where it is. A lost one keeps its place until another is at work there, or the array lacks
/// nothing any more. An array that does not run tells nothing, so what was kept of it stays; one that `config` does not
/// have is forgotten.
pub fn remember(inventory: &Inventory, config: &MachineConfig) -> Vec<Remembered> {
    let owner = Owner { cluster: config.cluster.id, machine: config.name.clone() };
    let mut all = Vec::new();
    for asked in arrays(&config.storage) {
        let (uuid, array) = (asked.uuid(&owner), &asked.array);
        let kept = inventory.remembered.iter().filter(|member| member.array == uuid).cloned();
        let Some(running) = inventory.arrays.iter().find(|running| running.uuid == Some(uuid)) else {
            all.extend(kept);
            continue;
        };
        let works = |device: &&Device| device.partitions.iter().any(|p| running.members.contains(&p.name));
        let working: Vec<&Device> = inventory.devices.iter().filter(works).collect();
        let seats = usize::try_from(running.wanted.saturating_add(array.spares)).unwrap_or(usize::MAX);
        if running.members.len() + running.spares.len() < seats {
            let lost = kept.filter(|member| {
                working.iter().all(|d| d.identity() != Some(member.identity.as_str()) && !member.is_place_of(d))
            });
            all.extend(lost);
        }
        all.extend(working.into_iter().filter_map(|device| noted(uuid, device)));
    }
    all.sort();
    all.dedup();
    all
}

fn noted(array: Uuid, device: &Device) -> Option<Remembered> {
    let identity = device.identity()?.to_owned();
    Some(Remembered { array, identity, slot: device.slot.clone(), by_path: device.by_path.clone() })
}
