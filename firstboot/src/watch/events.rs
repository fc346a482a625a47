//! What wakes the watch: the kernel's word that a disk came, went or changed, and that an array did.
#![allow(clippy::disallowed_methods, reason = "edge: waits for the kernel")]

use crate::stage1::uevent::{Events, value};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long it must have been quiet: one disk that goes makes many events.
const QUIET: Duration = Duration::from_millis(500);
/// After that it is looked even if it never becomes quiet.
const AT_MOST: Duration = Duration::from_secs(5);

/// The two sources of events.
#[derive(Debug)]
pub struct Wakes {
    uevents: Events,
    /// None where the kernel has no md.
    arrays: Option<File>,
}

impl Wakes {
    /// Listens from now on.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn open() -> Result<Wakes> {
        let uevents = Events::open().context("the kernel's device events can't be had")?;
        let mut arrays = File::open("/proc/mdstat").ok();
        if let Some(arrays) = &mut arrays {
            reread(arrays);
        }
        Ok(Wakes { uevents, arrays })
    }

    /// Sleeps until there is something to look at, and then until it is quiet; no longer than to `until`. Whether there is
    /// something.
    ///
    /// # Errors
    /// When the kernel can't be waited for.
    pub fn wait(&self, until: Option<Instant>) -> Result<bool> {
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            // What is too long for one wait is waited for again.
            if self.next(left)? {
                break;
            }
        }
        let began = Instant::now();
        let mut last = began;
        loop {
            let left = QUIET.saturating_sub(last.elapsed()).min(AT_MOST.saturating_sub(began.elapsed()));
            if left.is_zero() {
                return Ok(true);
            }
            if self.next(Some(left))? {
                last = Instant::now();
            }
        }
    }

    /// Waits for an event, at most so long. Whether there was one that is about disks or arrays.
    fn next(&self, limit: Option<Duration>) -> Result<bool> {
        let timeout = limit.map_or(PollTimeout::NONE, |l| PollTimeout::try_from(l).unwrap_or(PollTimeout::MAX));
        let mut sources = vec![PollFd::new(self.uevents.as_fd(), PollFlags::POLLIN)];
        // The file can be read at any time; what is awaited is its change (md(4), "polled with select").
        sources.extend(self.arrays.iter().map(|arrays| PollFd::new(arrays.as_fd(), PollFlags::POLLPRI)));
        match poll(&mut sources, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e).context("the kernel's events can't be waited for"),
        }
        let came = |source: &PollFd<'_>| source.revents().is_some_and(|events| !events.is_empty());
        let (device, array) = (came(&sources[0]), sources.get(1).is_some_and(came));
        if array && let Some(arrays) = &self.arrays {
            reread(arrays);
        }
        // An empty one stands for those that the kernel had to drop.
        let disk = device && {
            let event = self.uevents.take(Duration::ZERO);
            event.is_empty() || is_about_a_disk(&event)
        };
        Ok(disk || array)
    }
}

/// Only what is read to its end counts as seen.
fn reread(mut arrays: &File) {
    let mut text = String::new();
    let _ = arrays.seek(SeekFrom::Start(0)).and_then(|_| arrays.read_to_string(&mut text));
}

/// Whether an event is about a whole disk of the machine: containers make and drop block devices of their own all the
/// time, and arrays tell of themselves.
fn is_about_a_disk(event: &[u8]) -> bool {
    let is = |key: &str, wanted: &str| value(event, key) == Some(wanted);
    let made_up = value(event, "DEVPATH").is_none_or(|path| path.starts_with("/devices/virtual/block/"));
    is("SUBSYSTEM", "block") && is("DEVTYPE", "disk") && !made_up
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_disks_of_the_machine_wake_it() {
        let event = |path: &str, kind: &str| {
            format!("add@{path}\0ACTION=add\0DEVPATH={path}\0SUBSYSTEM=block\0DEVNAME=x\0DEVTYPE={kind}\0SEQNUM=7\0")
        };
        let about = |path: &str, kind: &str| is_about_a_disk(event(path, kind).as_bytes());
        let disk = "/devices/pci0000:00/0000:00:05.0/virtio2/block/vdb";
        assert!(about(disk, "disk"));
        assert!(!about(&format!("{disk}/vdb1"), "partition"));
        assert!(about("/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "disk"));
        assert!(!about("/devices/virtual/block/loop7", "disk") && !about("/devices/virtual/block/md127", "disk"));
        assert!(!is_about_a_disk(b"add@/x\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=net\0DEVTYPE=disk\0"));
    }

    #[test]
    fn it_is_waited_no_longer_than_asked() {
        let wakes = Wakes::open().unwrap();
        let began = Instant::now();
        wakes.wait(began.checked_add(Duration::from_millis(20))).unwrap();
        assert!(!wakes.wait(Some(began)).unwrap(), "only time has gone by");
        assert!(began.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn the_kernels_events_can_be_listened_to() {
        let wakes = Wakes::open().unwrap();
        assert!(!wakes.next(Some(Duration::from_millis(1))).unwrap() || wakes.arrays.is_some());
    }
}
