//! Partition tables on the disk, and partitions in the kernel.

use super::LockedDevice;
use anyhow::{Context, bail};
use on_disk::gpt::{self, Table};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use storage_plan::PartitionRef;

/// Writes both copies of `table` in the order that is safe against power cuts, reads them back, and tells the
/// kernel of these partitions in it.
pub(super) fn write_table(disk: &LockedDevice, table: &Table, partitions: &[PartitionRef]) -> anyhow::Result<()> {
    let size = disk.device().size;
    for write in gpt::layout(table, size)? {
        disk.write(write.offset, &write.bytes).with_context(|| format!("while writing the {}", write.what))?;
        if write.flush_after {
            disk.flush()?;
        }
    }
    let found = gpt::read(size, table.sector, |offset, length| disk.read_back(offset, length))?;
    if found.agreed() != Some(table) || !found.backup_at_end {
        bail!("{} does not hold what was written to it: found {found}", disk.device().words());
    }
    partitions.iter().try_for_each(|partition| add_to_kernel(disk, partition))
}

/// Makes the partition known to the kernel (`BLKPG`), unless it is already, as devtmpfs then shows it.
///
/// Nothing waits for udev: under the lock it leaves the disk alone.
fn add_to_kernel(disk: &LockedDevice, partition: &PartitionRef) -> anyhow::Result<()> {
    match known(&partition.disk, partition.number)? {
        Some((_, start, size)) if (start, size) == (partition.start, partition.size) => return Ok(()),
        Some(_) => bail!("the kernel shows another partition {} on {}", partition.number, disk.device().words()),
        None => {}
    }
    let signed = |n: u64| i64::try_from(n).context("a partition's place does not fit the kernel's interface");
    let mut argument = BlkpgPartition {
        start: signed(partition.start)?,
        length: signed(partition.size)?,
        number: i32::try_from(partition.number)?,
        devname: [0; 64],
        volname: [0; 64],
    };
    blkpg(disk.file(), BLKPG_ADD_PARTITION, &mut argument)
        .with_context(|| format!("cannot add partition {} of {}", partition.number, disk.device().words()))?;
    node(partition).map(|_| ())
}

/// Takes a partition from the kernel (`BLKPG`), if it still shows it.
///
/// # Errors
/// When something has it open.
pub(super) fn remove_from_kernel(disk: &LockedDevice, number: u32) -> anyhow::Result<()> {
    if known(&disk.device().name, number)?.is_none() {
        return Ok(());
    }
    let number_there = i32::try_from(number)?;
    let mut argument = BlkpgPartition { start: 0, length: 0, number: number_there, devname: [0; 64], volname: [0; 64] };
    blkpg(disk.file(), BLKPG_DEL_PARTITION, &mut argument)
        .with_context(|| format!("cannot take partition {number} of {} from the kernel", disk.device().words()))
}

/// The node of a partition, after a look at whether it is the one that is meant.
pub(super) fn node(partition: &PartitionRef) -> anyhow::Result<PathBuf> {
    match known(&partition.disk, partition.number)? {
        Some((name, start, size)) if (start, size) == (partition.start, partition.size) => {
            Ok(Path::new("/dev").join(name))
        }
        _ => bail!("the kernel does not show partition {} of {} as planned", partition.number, partition.disk),
    }
}

/// Name, first byte and size of a partition that the kernel shows.
fn known(disk: &str, number: u32) -> anyhow::Result<Option<(String, u64, u64)>> {
    let folder = Path::new("/sys/block").join(disk);
    let read = |path: PathBuf| std::fs::read_to_string(path).ok().and_then(|t| t.trim().parse::<u64>().ok());
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?.flatten() {
        if read(entry.path().join("partition")) == Some(u64::from(number)) {
            let sectors = |name: &str| read(entry.path().join(name)).unwrap_or(0) * 512;
            let name = entry.file_name().to_string_lossy().into_owned();
            return Ok(Some((name, sectors("start"), sectors("size"))));
        }
    }
    Ok(None)
}

/// `struct blkpg_partition` of `linux/blkpg.h`.
#[repr(C)]
struct BlkpgPartition {
    start: i64,
    length: i64,
    number: i32,
    devname: [u8; 64],
    volname: [u8; 64],
}

/// `struct blkpg_ioctl_arg` of `linux/blkpg.h`.
#[repr(C)]
struct BlkpgArgument {
    operation: i32,
    flags: i32,
    length: i32,
    data: *mut BlkpgPartition,
}

const BLKPG_ADD_PARTITION: i32 = 1;
const BLKPG_DEL_PARTITION: i32 = 2;

#[allow(unsafe_code, reason = "BLKPG has no safe wrapper")]
fn blkpg(disk: &std::fs::File, operation: i32, partition: &mut BlkpgPartition) -> anyhow::Result<()> {
    mod ioctl {
        nix::ioctl_write_ptr_bad!(blkpg, 0x1269, super::BlkpgArgument);
    }
    let length = i32::try_from(size_of::<BlkpgPartition>())?;
    let argument = BlkpgArgument { operation, flags: 0, length, data: partition };
    // SAFETY: both structures have the kernel's layout and outlive the call, which keeps no pointer to them.
    unsafe { ioctl::blkpg(disk.as_raw_fd(), &argument) }?;
    Ok(())
}
