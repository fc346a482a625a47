//! Mounting, after a look at whether the device holds the file system that belongs there.

use crate::observe::torn;
use anyhow::{Context, bail};
use machine_config::schema::Format;
use nix::fcntl::OFlag;
use on_disk::ext4;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use storage_plan::layer::filesystem::kind;
use storage_plan::ownership::{Inside, inside};
use sys_mount::{Mount, MountFlags};
use uuid::Uuid;

/// Mounts `node` on `at`, with options of the list of its file system; makes the mount point.
pub(super) fn mount(node: &Path, format: Format, uuid: &Uuid, at: &str, options: &[String]) -> anyhow::Result<()> {
    let (flags, data) = how(at, options);
    mount_with(node, format, uuid, at, flags, &data)
}

/// Mounts `node` on `at` so that nothing is written to it, not even what its log holds; makes the mount point.
pub(super) fn mount_read_only(node: &Path, format: Format, uuid: &Uuid, at: &str) -> anyhow::Result<()> {
    // Options of the site file are for writing; some are refused without the log.
    let (flags, _) = how(at, &[]);
    let data = match format {
        Format::Xfs => "norecovery",
        Format::Ext4 => "noload",
    };
    mount_with(node, format, uuid, at, flags | MountFlags::RDONLY, data)
}

fn mount_with(node: &Path, format: Format, uuid: &Uuid, at: &str, flags: MountFlags, data: &str) -> anyhow::Result<()> {
    match inside(&crate::observe::signatures(node)?, kind(format), uuid) {
        Inside::Ours => {}
        Inside::Nothing => bail!("{} holds no file system; it should hold {} {uuid}", node.display(), kind(format)),
        Inside::Other(holds) => bail!("{} holds {holds}; it should hold {} {uuid}", node.display(), kind(format)),
    }
    if format == Format::Ext4 && !flags.contains(MountFlags::RDONLY) {
        mend_superblock(node)?;
    }
    std::fs::create_dir_all(at).with_context(|| format!("cannot make the mount point {at}"))?;
    Mount::builder().fstype(kind(format)).flags(flags).data(data).mount(node, at).with_context(|| {
        let with = if data.is_empty() { String::new() } else { format!(" with {data}") };
        format!("cannot mount {} on {at}{with}", node.display())
    })?;
    Ok(())
}

/// Writes the superblock that was being written when the power went, if the one that is there is torn: without it the kernel
/// can't replay the journal. Nothing else uses the device meanwhile, or this fails.
#[allow(clippy::disallowed_methods, reason = "edge: puts a superblock of ours right before it is mounted")]
fn mend_superblock(node: &Path) -> anyhow::Result<()> {
    let open = |options: &mut OpenOptions| {
        let file = options.read(true).custom_flags(OFlag::O_EXCL.bits()).open(node);
        file.with_context(|| format!("cannot open {} for itself", node.display()))
    };
    let Some(superblock) = torn::ext4_superblock(&open(&mut OpenOptions::new())?) else { return Ok(()) };
    tracing::warn!("a power cut tore the superblock of {}; it is put right before it is mounted", node.display());
    let device = open(OpenOptions::new().write(true))?;
    let written = device.write_all_at(&superblock, ext4::OFFSET).and_then(|()| device.sync_all());
    written.with_context(|| format!("cannot write the superblock of {}", node.display()))
}

/// Flags and data of mount(2). The kernel takes by flags what is of all file systems.
fn how(at: &str, options: &[String]) -> (MountFlags, String) {
    // Containers keep their root file systems in /var; volumes of data need no device nodes.
    let mut flags = if at == "/var" { MountFlags::empty() } else { MountFlags::NODEV };
    let (mut access, mut data) = (MountFlags::NOATIME, Vec::new());
    for option in options {
        match option.as_str() {
            "noatime" => {}
            "relatime" => access = MountFlags::RELATIME,
            "noexec" => flags |= MountFlags::NOEXEC,
            "nosuid" => flags |= MountFlags::NOSUID,
            other => data.push(other),
        }
    }
    (flags | access, data.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_all_file_systems_is_a_flag_and_the_rest_is_data() {
        let said = |at: &str, options: &[&str]| how(at, &options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>());
        assert_eq!(said("/var", &[]), (MountFlags::NOATIME, String::new()));
        assert_eq!(said("/var/a", &["noatime"]), (MountFlags::NOATIME | MountFlags::NODEV, String::new()));
        let flags = MountFlags::RELATIME | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOSUID;
        let options = ["prjquota", "relatime", "noexec", "nosuid", "logbsize=256k"];
        assert_eq!(said("/var/a", &options), (flags, "prjquota,logbsize=256k".into()));
    }
}
