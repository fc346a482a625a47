//! A disk that may be written to: locked, and found to be as it was planned on.
#![allow(clippy::disallowed_methods, reason = "edge: this is where disks are opened for writing")]

use crate::medium::{Medium, Pages};
use crate::observe::{World, read_disk};
use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use storage_plan::inventory::Device;

/// How long another program may hold the lock (udev does, for moments) before that is an error.
const PATIENCE: Duration = Duration::from_secs(30);

/// A whole disk under `flock(LOCK_EX)` that was looked at again after the lock was taken and had not changed.
///
/// It comes only from [`LockedDevice::take`], and every write to a disk is one of its methods or is done by a
/// tool while it is held. udev leaves a locked disk alone.
#[derive(Debug)]
pub struct LockedDevice {
    file: Flock<File>,
    device: Device,
}

impl LockedDevice {
    /// Locks the disk and looks at it again.
    ///
    /// # Errors
    /// When the lock is not to be had, or the disk is not what `planned` says.
    pub fn take(planned: &Device, world: &World) -> anyhow::Result<LockedDevice> {
        let path = Path::new("/dev").join(&planned.name);
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let mut file = file.with_context(|| format!("cannot open {} for writing", path.display()))?;
        let began = Instant::now();
        let file = loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => break locked,
                Err((back, nix::errno::Errno::EWOULDBLOCK)) if began.elapsed() < PATIENCE => {
                    file = back;
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err((_, errno)) => {
                    bail!("cannot lock {} within {} s: {errno}", planned.words(), PATIENCE.as_secs())
                }
            }
        };
        let now = read_disk(&planned.name, world)?;
        if fingerprint(&now) != fingerprint(planned) {
            bail!("{} has changed since the plan was made; nothing was written to it", planned.words());
        }
        Ok(LockedDevice { file, device: now })
    }

    /// The disk.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Path of its node.
    pub fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.device.name)
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Writes `bytes` at `offset`; they reach the medium with the next [`LockedDevice::flush`].
    ///
    /// # Errors
    /// When the disk does.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> anyhow::Result<()> {
        self.file.write_all_at(bytes, offset).with_context(|| format!("cannot write to {}", self.device.words()))
    }

    /// Returns when everything written has reached the medium.
    ///
    /// # Errors
    /// When the disk does.
    pub fn flush(&self) -> anyhow::Result<()> {
        self.file.sync_all().with_context(|| format!("cannot flush {}", self.device.words()))
    }

    /// Bytes as they are on the medium, past the cache.
    ///
    /// # Errors
    /// When the disk does.
    pub fn read_back(&self, offset: u64, length: usize) -> anyhow::Result<Vec<u8>> {
        read_back(&self.path(), offset, length)
    }

    /// Zeroes the first and last 16 MiB of one of its partitions, through the partition's own node, so that
    /// what an interrupted run left there is not recognised any more.
    ///
    /// # Errors
    /// When the partition is in use, or the disk fails.
    pub fn wipe_partition(&self, node: &Path) -> anyhow::Result<()> {
        wipe(node)
    }
}

/// Zeroes both ends of a device that nothing else holds open exclusively.
pub(super) fn wipe(node: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    const EDGE: u64 = 16 << 20;
    let flags = nix::fcntl::OFlag::O_EXCL.bits();
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(node);
    let mut file = file.with_context(|| format!("cannot open {} for itself", node.display()))?;
    let size = file.seek(SeekFrom::End(0)).with_context(|| format!("cannot tell the size of {}", node.display()))?;
    let zeros = vec![0u8; 1 << 20];
    let edge = EDGE.min(size);
    for (from, to) in [(0, edge), (size - edge, size)] {
        let mut at = from;
        while at < to {
            let length = (to - at).min(zeros.len() as u64) as usize;
            file.write_all_at(&zeros[..length], at).with_context(|| format!("cannot wipe {}", node.display()))?;
            at += length as u64;
        }
    }
    file.sync_all().with_context(|| format!("cannot flush {}", node.display()))
}

pub(super) fn read_back(node: &Path, offset: u64, length: usize) -> anyhow::Result<Vec<u8>> {
    let file = File::open(node).with_context(|| format!("cannot open {}", node.display()))?;
    let mut pages = Pages::of(length);
    let bytes = pages.first(length);
    Medium::of(&file).read(bytes, offset).with_context(|| format!("cannot read {}", node.display()))?;
    Ok(bytes.to_vec())
}

/// All that has to be the same: what the disk is, what is on it, and what uses it. Not the names it is given, nor how far
/// an array that runs on one of its partitions has come.
fn fingerprint(device: &Device) -> Device {
    let mut device = Device { by_path: Vec::new(), ..device.clone() };
    device.partitions.iter_mut().map(|p| &mut p.uses).chain([&mut device.uses]).for_each(|uses| uses.links.clear());
    for partition in device.partitions.iter_mut().filter(|p| !p.uses.holders.is_empty()) {
        if let Some(md) = &mut partition.md {
            (md.events, md.clean, md.role) = (0, false, None);
            (md.recovering, md.replaces, md.bitmap_since) = (false, false, None);
            md.positions.clear();
            // As which disk is the journal: that is noted anew when it fails.
            md.journal = None;
        }
    }
    device
}
