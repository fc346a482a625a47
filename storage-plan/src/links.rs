//! Which paths lead to a raw volume that is not the one of that name any more. Pure.
//!
//! A path leads to a device by its kernel's name, which another disk has once the first is gone.

use crate::action::Action;
use crate::inventory::{Inventory, Uses};
use crate::verdict::{Plan, Verdict};

/// The paths of `inventory` that do not lead to the volume that `plan` knows by them.
pub fn wrong(inventory: &Inventory, plan: &Plan) -> Vec<String> {
    let of_devices = inventory.devices.iter().flat_map(|d| d.partitions.iter().map(|p| &p.uses).chain([&d.uses]));
    let built = inventory.arrays.iter().map(|a| &a.uses).chain(inventory.opened.iter().map(|o| &o.uses));
    let logical = inventory.groups.iter().flat_map(|g| &g.volumes).map(|v| &v.uses);
    let all = of_devices.chain(built).chain(logical).flat_map(|uses: &Uses| &uses.links);
    // Where it leads to the volume already, the plan does not let it.
    let is_let =
        |link: &str| plan.graph.steps.iter().any(|s| matches!(&s.action, Action::Link { at, .. } if at == link));
    let is_right =
        |link: &str| plan.volumes.iter().any(|v| v.mount == link && v.verdict != Verdict::Refuse) && !is_let(link);
    all.filter(|link| !is_right(link)).cloned().collect()
}
