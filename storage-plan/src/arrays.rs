//! Every array that a configuration asks for: those of `array.NAME`, and the mirror that the state partition is on where
//! `system` selects several disks. Pure.

use crate::identity::{Layer, Owner, VolumeKey};
use machine_config::schema::{Array, DirtyDegraded, Level, Rebuild, Scrub, Storage, System, Volume};
use std::borrow::Cow;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The name of the state partition, of its mirror and in a plan.
pub const STATE: &str = "state";

/// What the members of an array are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Disks as a whole: one partition each.
    WholeDisks,
    /// Partitions behind the image, on disks that a node can be started from.
    SystemDisks,
}

/// An array as the configuration asks for it.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// Its name.
    pub name: &'a str,
    /// By which its UUIDs are derived.
    pub key: VolumeKey,
    /// What its members are.
    pub on: On,
    /// All that is said of it.
    pub array: Cow<'a, Array>,
}

impl Asked<'_> {
    /// The array's UUID.
    pub fn uuid(&self, owner: &Owner) -> Uuid {
        owner.uuid(&self.key, Layer::Array, "")
    }
}

/// All of them, the mirror of the state first.
pub fn arrays(storage: &Storage) -> Vec<Asked<'_>> {
    let of_data = storage.array.iter().map(|(name, array)| {
        let key = VolumeKey { name: format!("array.{name}"), generation: array.generation };
        Asked { name, key, on: On::WholeDisks, array: Cow::Borrowed(array) }
    });
    mirror(&storage.system).into_iter().chain(of_data).collect()
}

/// The volume that the state is, whether it lies on one disk or on a mirror.
pub fn state_key() -> VolumeKey {
    VolumeKey { name: "system.state".into(), generation: 0 }
}

/// The mirror of the state; none where it lies on one disk.
pub fn mirror(system: &System) -> Option<Asked<'_>> {
    let disks = system.disks.as_ref().filter(|_| system.is_mirrored())?;
    let volume = Volume {
        format: system.format.into(),
        mount: Some("/var".into()),
        mount_options: system.mount_options.clone(),
        mkfs: system.mkfs.clone(),
        encrypt: None,
        class: None,
        required: true,
    };
    let array = Array {
        level: Level::Raid1,
        disks: disks.clone(),
        spares: 0,
        chunk: None,
        write_hole: None,
        journal: None,
        dirty_degraded: DirtyDegraded::default(),
        rebuild: Rebuild::default(),
        scrub: Scrub::default(),
        reserve: None,
        replace: system.replace,
        retire: Vec::new(),
        grow: false,
        volume: BTreeMap::from([(STATE.to_owned(), volume)]),
        generation: 0,
    };
    Some(Asked { name: STATE, key: state_key(), on: On::SystemDisks, array: Cow::Owned(array) })
}
