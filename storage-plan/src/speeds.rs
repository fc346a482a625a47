//! How fast each array of a configuration is rebuilt, to be told to those that run. Pure.

use crate::identity::{Layer, Owner, VolumeKey};
use machine_config::schema::{MachineConfig, Rebuild};
use uuid::Uuid;

/// By the arrays' UUIDs.
pub fn speeds(config: &MachineConfig) -> Vec<(Uuid, Rebuild)> {
    let owner = Owner { cluster: config.cluster.id, machine: config.name.clone() };
    let arrays = config.storage.array.iter().map(|(name, array)| {
        let key = VolumeKey { name: format!("array.{name}"), generation: array.generation };
        (owner.uuid(&key, Layer::Array, ""), array.rebuild)
    });
    arrays.collect()
}
