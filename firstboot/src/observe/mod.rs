//! What the disks are and hold, read-only: nothing here opens a device for writing.
//!
//! Parsers take text or bytes and are pure; [`read`] is the edge that gathers what they parse.

mod blank;
mod blkid;
mod disk;
mod filled;
mod lvm;
mod md;
mod opened;
pub mod remembered;
#[cfg(test)]
pub(crate) mod sample;
mod sysfs;
pub mod torn;
mod udev;
mod uses;

pub use disk::{places_looked_at, read_disk};
pub(crate) use lvm::command as lvm_command;
pub use md::{data_of_member, parse_superblock, parse_sync_completed, superblock};

use crate::boot_record::BootRecord;
use anyhow::Context;
use std::path::{Path, PathBuf};
use storage_plan::inventory::{BootDisk, Inventory, Keys, Opened, RunningArray, Signature, VolumeGroup};

/// What a look at the machine needs beyond the machine itself.
#[derive(Debug, Clone, Default)]
pub struct World {
    uses: uses::AllUses,
    boot: Option<BootDisk>,
}

impl World {
    /// Reads what is mounted and swapped on, once for all disks.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn read(boot: Option<&BootRecord>) -> anyhow::Result<World> {
        let boot = boot.and_then(|b| Some(BootDisk { disk: b.disk.clone()?, root_partition: b.root_partition }));
        Ok(World { uses: uses::read()?, boot })
    }

    fn is_boot(&self, name: &str) -> bool {
        self.boot.as_ref().is_some_and(|b| b.disk == name)
    }
}

/// The whole inventory. Disks are looked at side by side.
///
/// # Errors
/// When `/sys` or `/proc` can't be read, or a disk vanishes meanwhile.
pub fn read(boot: Option<&BootRecord>) -> anyhow::Result<Inventory> {
    let world = World::read(boot)?;
    let names = sysfs::disks()?;
    let devices = std::thread::scope(|scope| {
        let looks: Vec<_> = names.iter().map(|name| scope.spawn(|| read_disk(name, &world))).collect();
        looks
            .into_iter()
            .map(|look| look.join().unwrap_or_else(|_| Err(anyhow::anyhow!("looking at a disk panicked"))))
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    let (arrays, opened) = (md::running(&world.uses)?, opened::opened(&world.uses)?);
    let groups = lvm::groups(&lvm::members(&devices), &world.uses)?;
    let root_in_memory = boot.is_some_and(|boot| boot.disk.is_none());
    let remembered = remembered::read();
    // Only the disks themselves say what they are and hold: who asks their controllers adds what those tell.
    let (controllers, permits, keys) = (Vec::new(), Vec::new(), Keys::default());
    Ok(Inventory {
        devices,
        arrays,
        groups,
        opened,
        boot: world.boot,
        root_in_memory,
        remembered,
        controllers,
        keys,
        permits,
    })
}

/// The arrays that run, with their state; cheap enough to ask often.
///
/// # Errors
/// As [`read`].
pub fn arrays() -> anyhow::Result<Vec<RunningArray>> {
    md::running(&uses::read()?)
}

/// The volume groups of these physical volumes.
///
/// # Errors
/// As [`read`].
pub(crate) fn groups(members: &[PathBuf]) -> anyhow::Result<Vec<VolumeGroup>> {
    lvm::groups(members, &uses::read()?)
}

/// The encrypted volumes that are open.
///
/// # Errors
/// As [`read`].
pub fn opened() -> anyhow::Result<Vec<Opened>> {
    opened::opened(&uses::read()?)
}

/// Every signature on the device with this node.
///
/// # Errors
/// When it can't be read.
pub fn signatures(node: &Path) -> anyhow::Result<Vec<Signature>> {
    let file = std::fs::File::open(node).with_context(|| format!("cannot open {}", node.display()))?;
    blkid::signatures(&file).with_context(|| format!("cannot look at {}", node.display()))
}

/// In the place of signatures on what can't be read: nobody takes it for blank, or for ours.
fn unreadable() -> Signature {
    Signature { kind: Signature::UNREADABLE.into(), uuid: None, label: None }
}

/// Every mount point there is, and every path that leads to a raw volume.
///
/// # Errors
/// When `/proc` can't be read.
pub fn places() -> anyhow::Result<Vec<String>> {
    Ok(uses::read()?.places())
}

/// Paths of raw volumes that lead nowhere: their devices are gone.
///
/// # Errors
/// When `/proc` can't be read.
pub fn dangling_links() -> anyhow::Result<Vec<String>> {
    Ok(uses::read()?.dangling())
}
