//! How fast each array of a configuration is rebuilt, to be told to those that run. Pure.

use crate::arrays::arrays;
use crate::identity::Owner;
use machine_config::schema::{MachineConfig, Rebuild};
use uuid::Uuid;

/// By the arrays' UUIDs.
pub fn speeds(config: &MachineConfig) -> Vec<(Uuid, Rebuild)> {
    let owner = Owner { cluster: config.cluster.id, machine: config.name.clone() };
    arrays(&config.storage).iter().map(|asked| (asked.uuid(&owner), asked.array.rebuild)).collect()
}
