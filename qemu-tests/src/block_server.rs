//! The disks of a guest, served from memory over NBD: every write and flush of all of them is kept in one order, any of
//! them can be made to fail, and what the disks hold can be taken and replaced.
//!
//! dm-log-writes keeps an order per disk, and needs a kernel with device-mapper; a power cut hits all disks at once. The
//! one crate that speaks NBD hands a server reads and writes, and no flush, which is what a power cut is about.

pub mod contents;
mod wire;

use anyhow::{Context, Result};
use contents::{Contents, Data};
use image_builder::qemu::{Bus, Disk, Format};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Something that reached a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A write was answered. It is on the medium only after a flush of the same disk, unless it went through the cache.
    Write {
        /// Place of the disk in the server's list.
        disk: usize,
        /// First byte.
        offset: u64,
        /// What was written.
        data: Data,
        /// Whether it went through the cache (FUA).
        through: bool,
    },
    /// A flush was answered: what was written to this disk before is on the medium.
    Flush {
        /// Place of the disk in the server's list.
        disk: usize,
    },
}

impl Event {
    /// The disk it reached.
    pub fn disk(&self) -> usize {
        match self {
            Event::Write { disk, .. } | Event::Flush { disk } => *disk,
        }
    }
}

/// The server. Its threads end with the connections, and those with QEMU.
#[derive(Debug)]
pub struct BlockServer {
    disks: Vec<Export>,
    socket: PathBuf,
    shelf: Arc<Mutex<Shelf>>,
}

/// A disk that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Its serial number, and its name in the protocol.
    pub serial: String,
    /// Bytes; a multiple of [`contents::BLOCK`].
    pub size: u64,
}

/// What lies on the disks, and what has happened to them.
#[derive(Debug, Default)]
struct Shelf {
    contents: Vec<Contents>,
    log: Vec<Event>,
    /// How many more writes succeed before one is refused; none when all do.
    good_writes: Option<usize>,
    refused: usize,
}

impl BlockServer {
    /// Serves blank disks at a socket in `folder`.
    ///
    /// # Errors
    /// When the socket can't be made.
    pub fn start(folder: &Path, disks: Vec<Export>) -> Result<BlockServer> {
        let socket = folder.join("nbd");
        let listener = UnixListener::bind(&socket).with_context(|| format!("no socket at {}", socket.display()))?;
        let contents = disks.iter().map(|_| Contents::default()).collect();
        let shelf = Arc::new(Mutex::new(Shelf { contents, ..Shelf::default() }));
        let (exports, served) = (disks.clone(), shelf.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (exports, shelf) = (exports.clone(), served.clone());
                // A connection that breaks is QEMU's end.
                std::thread::spawn(move || drop(wire::serve(stream, &exports, &Door(&shelf))));
            }
        });
        Ok(BlockServer { disks, socket, shelf })
    }

    /// The disks as a guest gets them, in order.
    pub fn disks(&self) -> Vec<Disk> {
        let disk = |export: &Export| Disk {
            file: format!("nbd+unix:///{}?socket={}", export.serial, self.socket.display()).into(),
            serial: Some(export.serial.clone()),
            bus: Bus::VirtioBlk,
            read_only: false,
            throw_away: false,
            format: Format::Raw,
            sector: 512,
        };
        self.disks.iter().map(disk).collect()
    }

    /// Replaces what all disks hold, forgets what has happened, and lets every write succeed.
    ///
    /// A guest that has read them before does not know: it must have let go of them, and read them anew.
    pub fn set(&self, contents: Vec<Contents>) {
        *lock(&self.shelf) = Shelf { contents, ..Shelf::default() };
    }

    /// Refuses one write with an I/O error, after `good` more that succeed.
    pub fn refuse_a_write_after(&self, good: usize) {
        lock(&self.shelf).good_writes = Some(good);
    }

    /// What has happened since [`BlockServer::set`], and what the disks hold now.
    pub fn taken(&self) -> (Vec<Event>, Vec<Contents>) {
        let shelf = lock(&self.shelf);
        (shelf.log.clone(), shelf.contents.clone())
    }

    /// How many writes were refused since [`BlockServer::set`].
    pub fn refused(&self) -> usize {
        lock(&self.shelf).refused
    }
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A write that the disk refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refused;

/// What connections reach the shelf through. The lock is the one order.
struct Door<'a>(&'a Mutex<Shelf>);

impl Door<'_> {
    fn read(&self, disk: usize, offset: u64, into: &mut [u8]) {
        lock(self.0).contents[disk].read(offset, into);
    }

    fn write(&self, disk: usize, offset: u64, data: Data, through: bool) -> Result<(), Refused> {
        let mut shelf = lock(self.0);
        match shelf.good_writes.as_mut() {
            Some(0) => {
                shelf.good_writes = None;
                shelf.refused += 1;
                return Err(Refused);
            }
            Some(good) => *good -= 1,
            None => {}
        }
        shelf.contents[disk].write(offset, &data);
        shelf.log.push(Event::Write { disk, offset, data, through });
        Ok(())
    }

    fn flush(&self, disk: usize) {
        lock(self.0).log.push(Event::Flush { disk });
    }
}
