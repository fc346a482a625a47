//! Whether and how fast arrays are synced and rebuilt, by sysfs (Documentation/admin-guide/md.rst, `sync_action`,
//! `sync_speed_min`, `sync_speed_max`).
#![allow(clippy::disallowed_methods, reason = "edge: a running array's speed, by sysfs")]

use super::md;
use machine_config::schema::Rebuild;
use std::io;
use std::path::Path;
use storage_plan::inventory::RunningArray;
use uuid::Uuid;

/// Keeps the first sync of a new array at 1 MB/s.
pub(super) fn hold_back(node: &Path) -> io::Result<()> {
    write(node, "max", "1000")
}

/// Lets the array at `node` sync as fast as the configuration says, and disks and system allow.
pub(super) fn set(node: &Path, rebuild: Rebuild) -> io::Result<()> {
    // The kernel holds no sync back that is slower than the least, so what is wanted at most comes first.
    write(node, "max", &in_kib(rebuild.at_most))?;
    write(node, "min", &in_kib(rebuild.at_least))
}

/// Lets the first syncs that [`hold_back`] has slowed down go on; `wanted` says how fast each array is to be.
pub fn release_syncs(wanted: &[(Uuid, Rebuild)]) {
    let Ok(arrays) = crate::observe::arrays() else { return };
    for array in arrays {
        let rebuild = wanted.iter().find(|(uuid, _)| array.uuid == Some(*uuid)).map(|(_, rebuild)| *rebuild);
        if let Err(e) = set(&Path::new("/dev").join(&array.name), rebuild.unwrap_or_default()) {
            tracing::warn!("the sync of {} may not be as fast as it should: {e}", array.name);
        }
    }
}

/// Lets arrays be filled again that stand still. mdadm keeps an array from being rebuilt while it changes its members (its
/// `sysfs_freeze_array`); where it was ended in between, nobody else lets go, and a lost member would not be replaced.
pub fn thaw(arrays: &[RunningArray]) {
    for array in arrays.iter().filter(|array| array.sync_action == "frozen" && !array.read_only) {
        let file = Path::new("/sys/block").join(&array.name).join("md/sync_action");
        match std::fs::write(file, "idle") {
            Ok(()) => tracing::info!("{} stood still, and is let go on", array.name),
            Err(e) => tracing::warn!("{} stands still, and is not rebuilt: {e}", array.name),
        }
    }
}

/// Keeps the array at `node` from being synced and filled, until [`thaw`].
pub(super) fn freeze(node: &Path) -> io::Result<()> {
    std::fs::write(md::folder(node).join("md/sync_action"), "frozen")
}

/// What the kernel takes: KiB a second, or its own for all arrays.
fn in_kib(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "system".into(), |bytes| (bytes / 1024).max(1).to_string())
}

/// An array without redundancy has no such speed, and its folder no such file.
fn write(node: &Path, end: &str, speed: &str) -> io::Result<()> {
    let file = md::folder(node).join(format!("md/sync_speed_{end}"));
    if file.exists() { std::fs::write(file, speed) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_said_as_the_kernel_takes_them() {
        assert_eq!(in_kib(None), "system");
        assert_eq!(in_kib(Some(50_000_000)), "48828");
        assert_eq!(in_kib(Some(1)), "1", "0 is no speed to the kernel");
    }
}
