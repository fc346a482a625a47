//! Mounting, after a look at whether the device holds the file system that belongs there.

use anyhow::{Context, bail};
use machine_config::schema::Format;
use std::path::Path;
use storage_plan::layer::filesystem::kind;
use storage_plan::ownership::{Inside, inside};
use sys_mount::{Mount, MountFlags};
use uuid::Uuid;

/// Mounts `node` on `at`; makes the mount point.
pub(super) fn mount(node: &Path, format: Format, uuid: &Uuid, at: &str) -> anyhow::Result<()> {
    match inside(&crate::observe::signatures(node)?, kind(format), uuid) {
        Inside::Ours => {}
        Inside::Nothing => bail!("{} holds no file system; it should hold {} {uuid}", node.display(), kind(format)),
        Inside::Other(holds) => bail!("{} holds {holds}; it should hold {} {uuid}", node.display(), kind(format)),
    }
    std::fs::create_dir_all(at).with_context(|| format!("cannot make the mount point {at}"))?;
    // Containers keep their root file systems in /var; volumes of data need no device nodes.
    let flags = if at == "/var" { MountFlags::NOATIME } else { MountFlags::NOATIME | MountFlags::NODEV };
    Mount::builder()
        .fstype(kind(format))
        .flags(flags)
        .mount(node, at)
        .with_context(|| format!("cannot mount {} on {at}", node.display()))?;
    Ok(())
}
