//! Volume groups and the volumes in them, by LVM. Never told to overwrite or to go on in spite of anything.
//!
//! Guarantees: a volume is removed only if its tags say that this node was still making it.

use super::{LockedDevice, Tools, filesystem, locked_device, md, partition};
use crate::observe;
use anyhow::{Context, bail};
use machine_config::schema::Format;
use run_tool::Command;
use std::path::{Path, PathBuf};
use storage_plan::PartitionRef;
use storage_plan::action::{GroupPlace, LogicalPlace};
use storage_plan::inventory::{LogicalVolume, VolumeGroup};
use storage_plan::layer::lvm::{self, Shape};

/// Makes a group of partitions that are all being provisioned.
pub(super) fn create_group(
    tools: &Tools,
    disks: &[&LockedDevice],
    name: &str,
    members: &[GroupPlace],
    remake: bool,
) -> anyhow::Result<()> {
    let places: Vec<PartitionRef> = members.iter().map(|m| m.at.clone()).collect();
    let nodes = nodes(&places)?;
    for ((disk, node), member) in disks.iter().zip(&nodes).zip(members) {
        if remake {
            disk.wipe_partition(node)?;
        }
        md::must_be_empty(disk, node, &member.at)?;
    }
    for (node, member) in nodes.iter().zip(members) {
        let command = command(tools, "pvcreate", &nodes)?.args(["--norestorefile", "--dataalignment", "1m", "--uuid"]);
        command.arg(lvm::id(&member.uuid)).arg(node).run()?;
    }
    command(tools, "vgcreate", &nodes)?.args(["--physicalextentsize", "4m"]).arg(name).args(&nodes).run()?;
    flush(disks)?;
    let made = observe::groups(&nodes)?.into_iter().find(|group| group.name == name);
    let has = |member: &GroupPlace| {
        made.as_ref().is_some_and(|made| made.members.iter().any(|m| m.uuid == lvm::id(&member.uuid)))
    };
    if !members.iter().all(has) {
        bail!("\"{name}\" does not have the disks that it was made of");
    }
    Ok(())
}

/// Makes a volume with nothing in it, tagged as being made, and active.
pub(super) fn create(
    tools: &Tools,
    disks: &[&LockedDevice],
    volume: &LogicalPlace,
    shape: &Shape,
    extents: u64,
    remake: bool,
) -> anyhow::Result<()> {
    let nodes = nodes(&volume.members)?;
    if remake {
        remove(tools, volume, &nodes)?;
    }
    let command = command(tools, "lvcreate", &nodes)?.args(["--activate", "y", "--name", &volume.name]);
    let command = command.args(["--addtag", lvm::MAKING, "--addtag", &lvm::tag(&volume.uuid)]);
    command.args(words(shape, extents, &volume.group)).run()?;
    flush(disks)?;
    // What was freed before may still lie there. In a pool nothing does.
    match shape {
        Shape::Linear | Shape::Striped(_) | Shape::Mirrored(_) => {
            locked_device::wipe(&shown(&volume.group, &volume.name)?)
        }
        Shape::Pool(_) | Shape::Thin(_) => Ok(()),
    }
}

/// What lvcreate(8) is told of a volume's shape.
fn words(shape: &Shape, extents: u64, group: &str) -> Vec<String> {
    let (size, bytes) = (extents.to_string(), format!("{}b", extents * lvm::EXTENT));
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    // Wiped by us, at both ends; LVM would ask.
    let plain = own(&["--zero", "n", "--wipesignatures", "n", "--extents", &size]);
    let words = match shape {
        Shape::Linear => [own(&["--type", "linear"]), plain].concat(),
        Shape::Striped(over) => [own(&["--type", "striped", "--stripes", &over.to_string()]), plain].concat(),
        // In sync from its first sync on, and not said to be before.
        Shape::Mirrored(copies) => {
            let more = copies.saturating_sub(1).to_string();
            [own(&["--type", "raid1", "--mirrors", &more]), plain].concat()
        }
        Shape::Pool(beside) => {
            let beside = format!("{}b", beside * lvm::EXTENT);
            own(&["--type", "thin-pool", "--extents", &size, "--poolmetadatasize", &beside])
        }
        Shape::Thin(pool) => own(&["--type", "thin", "--virtualsize", &bytes, "--thinpool", pool]),
    };
    [words, own(&[group])].concat()
}

/// Tags a volume as made, after a look at whether it has all its copies. The superblock of one that was given up may never have been
/// written, and the kernel starts no mirror that has one without (dm-raid takes it for one that was put in).
pub(super) fn finish(tools: &Tools, disks: &[&LockedDevice], volume: &LogicalPlace) -> anyhow::Result<()> {
    let nodes = nodes(&volume.members)?;
    let asked =
        command(tools, "lvs", &nodes)?.args(["--noheadings", "--nameprefixes", "--options", "lv_health_status"]);
    match health(&asked.arg(named(volume)).run()?.stdout_text()) {
        Some("") => {}
        Some(ails) => bail!("\"{}\" is not whole: LVM says {ails:?} of it", named(volume)),
        None => bail!("LVM does not say whether \"{}\" is whole", named(volume)),
    }
    let command = command(tools, "lvchange", &nodes)?.args(["--deltag", lvm::MAKING, "--addtag", lvm::MADE]);
    command.arg(named(volume)).run()?;
    flush(disks)?;
    if find(volume, &nodes)?.is_none_or(|found| !has(&found, lvm::MADE)) {
        bail!("\"{}\" is not noted as finished", named(volume));
    }
    Ok(())
}

/// What lvs says of a volume's health with the name of the field before it: nothing of one that is whole. Beside it LVM tells of its own
/// doings, as that it reads again what another volume's making has changed.
fn health(told: &str) -> Option<&str> {
    told.lines().find_map(|line| line.trim().strip_prefix("LVM2_LV_HEALTH_STATUS='")?.strip_suffix('\''))
}

/// Has the kernel show a volume that was made, after a look at whether it is. A mirror that lacks a copy is shown without it.
pub(super) fn activate(tools: &Tools, volume: &LogicalPlace) -> anyhow::Result<()> {
    let nodes = nodes(&volume.members)?;
    let found = find(volume, &nodes)?.with_context(|| format!("there is no volume \"{}\"", named(volume)))?;
    if !has(&found, lvm::MADE) || !has(&found, &lvm::tag(&volume.uuid)) {
        bail!("\"{}\" is not the volume that this node made", named(volume));
    }
    let command = command(tools, "lvchange", &nodes)?.args(["--activate", "y", "--activationmode", "degraded"]);
    command.arg(named(volume)).run()?;
    shown(&volume.group, &volume.name).map(|_| ())
}

/// Makes a volume larger, and then the file system that is mounted from it.
///
/// What grows a file system does nothing where that fills its place, so an interrupted run is gone on with from the start.
pub(super) fn grow(
    tools: &Tools,
    disks: &[&LockedDevice],
    volume: &LogicalPlace,
    extents: u64,
    holds: Option<&(Format, String)>,
) -> anyhow::Result<()> {
    let nodes = nodes(&volume.members)?;
    let change = |tag: &str| -> anyhow::Result<()> {
        command(tools, "lvchange", &nodes)?.args([tag, lvm::GROWING]).arg(named(volume)).run()?;
        flush(disks)
    };
    change("--addtag")?;
    let found = find(volume, &nodes)?.with_context(|| format!("there is no volume \"{}\"", named(volume)))?;
    if lvm::extents(found.size) < extents {
        let command = command(tools, "lvextend", &nodes)?.args(["--extents", &extents.to_string()]);
        command.arg(named(volume)).run()?;
        flush(disks)?;
    }
    if let Some((format, at)) = holds {
        filesystem::grow(tools, &shown(&volume.group, &volume.name)?, *format, at)?;
    }
    change("--deltag")
}

/// Removes what an interrupted run left of a volume.
fn remove(tools: &Tools, volume: &LogicalPlace, nodes: &[PathBuf]) -> anyhow::Result<()> {
    let Some(group) = group(volume, nodes)? else { return Ok(()) };
    let Some(found) = group.volumes.iter().find(|found| found.name == volume.name) else { return Ok(()) };
    if !has(found, lvm::MAKING) || !has(found, &lvm::tag(&volume.uuid)) || has(found, lvm::MADE) {
        bail!("\"{}\" is not one that this node was making", named(volume));
    }
    // With a pool LVM removes all that is in it.
    if group.volumes.iter().any(|v| v.pool.as_ref() == Some(&volume.name)) {
        bail!("\"{}\" has volumes in it, so it is not one that was only being made", named(volume));
    }
    // --yes only answers "Do you really want to remove active logical volume?", after our own look.
    command(tools, "lvremove", nodes)?.arg("--yes").arg(named(volume)).run()?;
    Ok(())
}

/// The node that shows a volume. Device mapper has one name once, and LVM doubles the hyphens in it.
pub(super) fn shown(group: &str, volume: &str) -> anyhow::Result<PathBuf> {
    let name = [group, volume].map(|name| name.replace('-', "--")).join("-");
    for entry in std::fs::read_dir("/sys/block").context("cannot list /sys/block")?.flatten() {
        let text =
            |attribute: &str| std::fs::read_to_string(entry.path().join("dm").join(attribute)).unwrap_or_default();
        if text("name").trim() == name && text("uuid").starts_with("LVM-") {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    bail!("\"{group}/{volume}\" is not active")
}

fn group(volume: &LogicalPlace, nodes: &[PathBuf]) -> anyhow::Result<Option<VolumeGroup>> {
    Ok(observe::groups(nodes)?.into_iter().find(|group| group.name == volume.group))
}

fn find(volume: &LogicalPlace, nodes: &[PathBuf]) -> anyhow::Result<Option<LogicalVolume>> {
    Ok(group(volume, nodes)?.and_then(|group| group.volumes.into_iter().find(|found| found.name == volume.name)))
}

fn has(volume: &LogicalVolume, tag: &str) -> bool {
    volume.tags.iter().any(|found| found == tag)
}

fn named(volume: &LogicalPlace) -> String {
    format!("{}/{}", volume.group, volume.name)
}

fn nodes(members: &[PartitionRef]) -> anyhow::Result<Vec<PathBuf>> {
    members.iter().map(partition::node).collect()
}

fn flush(disks: &[&LockedDevice]) -> anyhow::Result<()> {
    disks.iter().try_for_each(|disk| disk.flush())
}

fn command(tools: &Tools, name: &str, nodes: &[PathBuf]) -> anyhow::Result<Command> {
    Ok(observe::lvm_command(tools.lvm()?, name, nodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_of_a_volume_is_told_from_what_else_is_said() {
        assert_eq!(health("  LVM2_LV_HEALTH_STATUS=''\n"), Some(""));
        assert_eq!(health("  Retrying metadata scan.\n  LVM2_LV_HEALTH_STATUS=''\n"), Some(""));
        assert_eq!(health("  LVM2_LV_HEALTH_STATUS='refresh needed'\n"), Some("refresh needed"));
        assert_eq!((health(""), health("  Retrying metadata scan.\n")), (None, None));
    }

    #[test]
    fn lvcreate_is_told_the_shape_and_nothing_that_overwrites() {
        let said = |shape| words(&shape, 30, "bedplate.data").join(" ");
        let plain = "--zero n --wipesignatures n --extents 30 bedplate.data";
        assert_eq!(said(Shape::Linear), format!("--type linear {plain}"));
        assert_eq!(said(Shape::Striped(3)), format!("--type striped --stripes 3 {plain}"));
        assert_eq!(said(Shape::Mirrored(2)), format!("--type raid1 --mirrors 1 {plain}"));
        let pool = "--type thin-pool --extents 30 --poolmetadatasize 4194304b bedplate.data";
        assert_eq!(said(Shape::Pool(1)), pool);
        assert_eq!(said(Shape::Thin("p".into())), "--type thin --virtualsize 125829120b --thinpool p bedplate.data");
    }
}
