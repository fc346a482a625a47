//! Finds the root, waiting for disks that are slow to come, and starts dm-verity on it.
#![allow(clippy::disallowed_methods, reason = "edge: reads sysfs and block devices")]

use super::command_line::Signed;
use super::dm;
use super::modules::Coldplug;
use super::root::{self, Pair, Partition};
use super::uevent::Events;
use crate::report::console::Consoles;
use machine_config::Diagnostic;
use on_disk::gpt::{self, SectorSize, Table};
use on_disk::verity::{BLOCK, SUPERBLOCK_SIZE, Superblock};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Name of the verity device: `/dev/mapper/root` once udev has made its links.
pub const NAME: &str = "root";
/// How long a disk may take to appear. Big SAS shelves take most of a minute.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long to wait for another copy of the root once one turned out to be damaged.
const SECOND_CHANCE: Duration = Duration::from_secs(10);

/// A root whose superblock verified.
#[derive(Debug)]
pub struct Root {
    /// Where it is.
    pub place: Place,
    /// Its verity device (`/dev/dm-0`).
    pub device: String,
}

/// Where a root is.
#[derive(Debug)]
pub enum Place {
    /// On partitions.
    Disk(Pair),
    /// In the initrd: kernel names of the devices that stand for the files.
    Memory {
        /// Of the file system.
        root: String,
        /// Of its hash tree.
        verity: String,
    },
}

/// Finds and opens the root.
///
/// # Errors
/// BP-B004 when no pair of partitions appears, BP-B006 when those there do not verify.
pub fn open(signed: &Signed, coldplug: &mut Coldplug, consoles: &Consoles) -> Result<Root, Diagnostic> {
    let events = Events::open().ok();
    let began = Instant::now();
    let mut failures: Vec<(Pair, String)> = Vec::new();
    let mut told = false;
    loop {
        coldplug.run();
        let (disks, partitions) = scan();
        for pair in root::candidates(&partitions, signed, started_from()) {
            if failures.iter().any(|(failed, _)| *failed == pair) {
                continue;
            }
            let device = |p: &Partition| format!("/dev/{}", p.name);
            match activate(signed, &device(&pair.root), &device(&pair.verity)) {
                Ok(device) => return Ok(Root { place: Place::Disk(pair), device }),
                Err(why) => failures.push((pair, why)),
            }
        }
        let waited = began.elapsed();
        if !failures.is_empty() && waited > SECOND_CHANCE {
            return Err(root::corrupted(&failures));
        }
        if waited > PATIENCE {
            return Err(root::not_found(signed, &partitions, &disks, waited.as_secs()));
        }
        if !told && waited > Duration::from_secs(5) {
            consoles.line("bedplate: waiting for the disk that holds the root");
            told = true;
        }
        // Devices also come without an event that we see (one was lost, a driver finished late).
        match &events {
            Some(events) => events.wait(Duration::from_secs(1)),
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn scan() -> (Vec<String>, Vec<Partition>) {
    let (mut disks, mut partitions) = (Vec::new(), Vec::new());
    for entry in fs::read_dir("/sys/class/block").into_iter().flatten().flatten() {
        let Ok(path) = fs::canonicalize(entry.path()) else { continue };
        // Loop, RAM and device-mapper devices are no disks that a person looks for.
        if path.join("partition").exists() || !path.join("device").exists() {
            continue;
        }
        let disk = entry.file_name().to_string_lossy().into_owned();
        let table = read_table(&path, &disk);
        for part in fs::read_dir(&path).into_iter().flatten().flatten() {
            let uevent = fs::read_to_string(part.path().join("uevent")).unwrap_or_default();
            partitions.extend(root::parse_partition(&uevent, &disk, table.as_ref()));
        }
        disks.push(disk);
    }
    disks.sort();
    partitions.sort_by(|a, b| a.name.cmp(&b.name));
    (disks, partitions)
}

/// The partition table of a disk; the sound copy when one is damaged, as the kernel does.
#[must_use]
pub fn read_table(sysfs: &Path, disk: &str) -> Option<Table> {
    let number = |file: &str| fs::read_to_string(sysfs.join(file)).ok()?.trim().parse::<u64>().ok();
    let size = number("size")?.checked_mul(512)?;
    let sector = SectorSize::from_bytes(number("queue/logical_block_size")?)?;
    let device = File::open(Path::new("/dev").join(disk)).ok()?;
    let found = gpt::read(size, sector, |offset, length| {
        let mut bytes = vec![0; length];
        device.read_exact_at(&mut bytes, offset).map(|()| bytes)
    });
    found.ok()?.usable().cloned()
}

/// The partition that systemd-stub was loaded from (Boot Loader Interface, `LoaderDevicePartUUID`).
fn started_from() -> Option<uuid::Uuid> {
    uuid::Uuid::parse_str(&loader_variable("LoaderDevicePartUUID")?).ok()
}

/// A text that systemd-stub left in the firmware's variables.
#[must_use]
pub fn loader_variable(name: &str) -> Option<String> {
    let path = format!("/sys/firmware/efi/efivars/{name}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f");
    parse_loader_variable(&fs::read(path).ok()?)
}

/// Four bytes of attributes, then UTF-16 with a NUL at its end.
fn parse_loader_variable(bytes: &[u8]) -> Option<String> {
    let (units, _) = bytes.get(4..)?.as_chunks::<2>();
    let text = char::decode_utf16(units.iter().map(|u| u16::from_le_bytes(*u)));
    Some(text.map_while(|c| c.ok().filter(|c| *c != '\0')).collect())
}

/// Starts dm-verity and reads the file system's superblock through it, so that a wrong tree shows here.
///
/// # Errors
/// What does not fit, in words.
pub fn activate(signed: &Signed, root: &str, verity: &str) -> Result<String, String> {
    let mut bytes = [0; SUPERBLOCK_SIZE];
    let mut tree = File::open(verity).map_err(|e| e.to_string())?;
    tree.read_exact(&mut bytes).map_err(|e| format!("the hash tree can't be read: {e}"))?;
    let superblock = Superblock::parse(&bytes).map_err(|e| e.to_string())?;
    let table = super::verity::table(signed, &superblock, root, verity);
    let device = dm::activate(NAME, &format!("BEDPLATE-VERITY-{}", signed.root_hash_text()), &table)
        .map_err(|e| format!("dm-verity refuses it: {e}"))?;
    let mut block = [0; BLOCK];
    let device = format!("/dev/{device}");
    match File::open(&device).and_then(|mut f| f.read_exact(&mut block)) {
        Ok(()) => Ok(device),
        Err(e) => {
            let _ = dm::remove(NAME);
            Err(format!("its first block does not verify ({e})"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_the_loader_is_read_from_utf_16() {
        let text = "C1E5F6A0-0000-4000-8000-000000000001\0";
        let bytes: Vec<u8> = [6, 0, 0, 0].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
        assert_eq!(parse_loader_variable(&bytes).as_deref(), Some("C1E5F6A0-0000-4000-8000-000000000001"));
        assert_eq!(parse_loader_variable(&bytes[..8]).as_deref(), Some("C1"));
        assert_eq!(parse_loader_variable(&[]), None);
    }
}
