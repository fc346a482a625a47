//! Where a configuration and permits are looked for. Nothing is written: file systems are mounted read-only, without a replay
//! of their journals.
#![allow(clippy::disallowed_methods, reason = "edge: reads firmware tables and mounts volumes read-only")]

use super::Found;
use super::mirror::Member;
use crate::boot_record::BootRecord;
use crate::stage1::find::read_table;
use base64::Engine;
use libblkid_rs::{BlkidProbe, BlkidSafeprobeRet, BlkidSublks, BlkidSublksFlags};
use machine_config::schema::{Passphrase, recovery_file};
use machine_config::signature::PublicKey;
use on_disk::gpt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use sys_mount::{Mount, MountFlags, UnmountDrop, UnmountFlags};

/// File names on a volume. All that are there are looked at.
const NAMES: [&str; 3] = ["bedplate.toml", "bundle.toml", "site.toml"];
/// Label of a volume that carries a configuration.
const LABEL: &str = "BEDPLATE";
/// More than this is no configuration.
const LARGEST: u64 = 4 << 20;
/// How the name of a file with a permit ends.
const PERMIT: &str = ".permit";
/// More than this on one volume are not looked at, in the order of their names.
const MOST_PERMITS: usize = 64;
/// What the copy on the state partition is called.
pub const KEPT_COPY: &str = "the copy kept on the state partition";
const OEM_STRING: &str = "io.bedplate.config=";
const OEM_PERMIT: &str = "io.bedplate.permit=";
const OEM_STRINGS: &str = "/sys/firmware/dmi/entries/11-0/raw";

/// Everything that is there now, the kept copy of the state partition included.
#[must_use]
pub fn find(boot: Option<&BootRecord>) -> Vec<Found> {
    let mut found = Vec::new();
    found.extend(fw_cfg("config"));
    found.extend(smbios(&fs::read(OEM_STRINGS).unwrap_or_default(), OEM_STRING));
    for (kind, name) in labelled_volumes() {
        found.extend(read_volume(&name, &kind, "", &volume_words(&name), ""));
    }
    if let Some(disk) = boot.and_then(|boot| boot.disk.as_deref()) {
        found.extend(boot_disk(disk));
    }
    found
}

/// The permits that are there now, in the places of a configuration, whatever they are worth.
#[must_use]
pub fn permits(boot: Option<&BootRecord>) -> Vec<Found> {
    let mut found = Vec::new();
    found.extend(fw_cfg("permit"));
    found.extend(smbios(&fs::read(OEM_STRINGS).unwrap_or_default(), OEM_PERMIT));
    for (kind, name) in labelled_volumes() {
        let read = |at: &Path| permits_in(at, &volume_words(&name));
        found.extend(on_volume(&name, &kind, "", read).unwrap_or_default());
    }
    if let Some(esp) = boot.and_then(esp) {
        let read = |at: &Path| permits_in(&at.join("bedplate"), &esp_words(&esp));
        found.extend(on_volume(&esp, "vfat", "", read).unwrap_or_default());
    }
    found
}

/// The recovery key of the machine with this name, as long as it is plugged in. It is looked for where it can be taken out again.
#[must_use]
pub fn recovery(machine: &str) -> Option<Passphrase> {
    let file = recovery_file(machine);
    let on_volume = |(kind, name): (String, String)| on_volume(&name, &kind, "", |at| read_limited(&at.join(&file)))?;
    let bytes = fw_cfg("recovery").map(|found| found.bytes);
    let bytes = bytes.or_else(|| labelled_volumes().into_iter().find_map(on_volume))?;
    Some(Passphrase::new(std::str::from_utf8(&bytes).ok()?)).filter(Passphrase::is_good)
}

fn permits_in(folder: &Path, source: &str) -> Vec<Found> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = names.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.retain(|name| name.to_ascii_lowercase().ends_with(PERMIT));
    names.sort();
    let read = |name: &String| {
        let bytes = read_limited(&folder.join(name))?;
        Some(Found { source: format!("{name} on {source}"), bytes })
    };
    names.iter().take(MOST_PERMITS).filter_map(read).collect()
}

fn volume_words(name: &str) -> String {
    format!("volume {LABEL} ({name})")
}

fn esp_words(name: &str) -> String {
    format!("EFI system partition ({name})")
}

/// The keys that the image was made with. `None` is an image that takes any configuration.
///
/// # Errors
/// When a line of the file is no key: a node must not fall back to taking anything.
pub fn keys() -> Result<Vec<PublicKey>, String> {
    let path = "/run/bedplate/config-key";
    let text = match fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|e| format!("{path}: {e}"))?,
    };
    let keys: Result<Vec<_>, _> = text.lines().filter(|l| !l.trim().is_empty()).map(PublicKey::parse).collect();
    let keys = keys.map_err(|e| format!("{path}: {e}"))?;
    if keys.is_empty() {
        return Err(format!("{path} has no key in it"));
    }
    Ok(keys)
}

fn fw_cfg(what: &str) -> Option<Found> {
    let folder = Path::new("/sys/firmware/qemu_fw_cfg");
    if !folder.exists() && Path::new("/sys/bus/acpi/devices/QEMU0002:00").exists() {
        let _ = run_tool::Tool::at("/usr/sbin/modprobe").command().arg("qemu_fw_cfg").run();
    }
    let bytes = read_limited(&folder.join(format!("by_name/opt/io.bedplate/{what}/raw")))?;
    Some(Found { source: "QEMU fw_cfg".into(), bytes })
}

/// OEM strings: SMBIOS structure type 11 (DSP0134, 7.12), a header of its own length, then strings that end with
/// a NUL each.
fn smbios(raw: &[u8], begins: &str) -> Vec<Found> {
    let strings = raw.get(usize::from(raw.get(1).copied().unwrap_or(0))..).unwrap_or_default();
    let encoded = strings.split(|b| *b == 0).filter_map(|s| s.strip_prefix(begins.as_bytes()));
    let decoded = encoded.filter_map(|text| base64::engine::general_purpose::STANDARD.decode(text.trim_ascii()).ok());
    decoded.map(|bytes| Found { source: "SMBIOS".into(), bytes }).collect()
}

/// Kind and kernel name of each file system labelled `BEDPLATE`.
fn labelled_volumes() -> Vec<(String, String)> {
    let mut names: Vec<String> = fs::read_dir("/sys/class/block")
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| !["dm-", "md", "loop", "ram", "zram"].iter().any(|p| n.starts_with(p)))
        .collect();
    names.sort();
    let mut labelled: Vec<(String, String)> = Vec::new();
    for name in names {
        let Some((kind, label)) = probe(&Path::new("/dev").join(&name)) else { continue };
        // A FAT volume may look like a table of one partition, which is the volume itself.
        let seen = labelled.iter().any(|(_, disk)| Path::new("/sys/class/block").join(disk).join(&name).exists());
        // Kinds that sticks and discs have; a label alone on anything else is somebody's data.
        if label == LABEL && ["vfat", "iso9660"].contains(&kind.as_str()) && !seen {
            labelled.push((kind, name));
        }
    }
    labelled
}

/// The kind and the label (empty without one) of the one file system that a device holds.
fn probe(device: &Path) -> Option<(String, String)> {
    let mut probe = BlkidProbe::new_from_filename(device).ok()?;
    probe.enable_superblocks(true).ok()?;
    probe.set_superblock_flags(BlkidSublksFlags::new(vec![BlkidSublks::Label, BlkidSublks::Type])).ok()?;
    if !matches!(probe.do_safeprobe().ok()?, BlkidSafeprobeRet::Success) {
        return None;
    }
    Some((probe.lookup_value("TYPE").ok()?, probe.lookup_value("LABEL").unwrap_or_default()))
}

/// The EFI system partition and the state partition of the disk that the node was started from.
fn boot_disk(disk: &str) -> Vec<Found> {
    let table = read_table(&Path::new("/sys/class/block").join(disk), disk);
    let mut found = Vec::new();
    for partition in table.iter().flat_map(|t| &t.partitions) {
        let name = partition_name(disk, partition.number);
        if partition.kind == gpt::kind::ESP {
            found.extend(read_volume(&name, "vfat", "", &esp_words(&name), "bedplate"));
        } else if partition.kind == gpt::kind::STATE {
            let read = |at: &Path| configurations_in(&at.join(super::keep::BELOW_STATE), KEPT_COPY);
            found.extend(on_state(&name, read).unwrap_or_default());
        }
    }
    found
}

/// The EFI system partition of the disk that holds the root (`vda1`); none when the root is in memory.
#[must_use]
pub fn esp(boot: &BootRecord) -> Option<String> {
    let disk = boot.disk.as_ref()?;
    let table = read_table(&Path::new("/sys/class/block").join(disk), disk)?;
    let partition = table.partitions.iter().find(|p| p.kind == gpt::kind::ESP)?;
    Some(partition_name(disk, partition.number))
}

/// The kernel's name of a partition: `vda2`, `nvme0n1p2`.
fn partition_name(disk: &str, number: u32) -> String {
    let between = if disk.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{between}{number}")
}

fn read_volume(name: &str, kind: &str, options: &str, source: &str, folder: &str) -> Vec<Found> {
    on_volume(name, kind, options, |at| configurations_in(&at.join(folder), source)).unwrap_or_default()
}

fn configurations_in(folder: &Path, source: &str) -> Vec<Found> {
    let read = |file: &&str| read_limited(&folder.join(file));
    NAMES.iter().filter_map(read).map(|bytes| Found { source: source.into(), bytes }).collect()
}

/// What `read` gives of a state partition that is not mounted, or of the mirror that it is a member of; none if it can't be
/// mounted.
pub(crate) fn on_state<T>(name: &str, read: impl FnOnce(&Path) -> T) -> Option<T> {
    match Member::of_mirror_with(name) {
        Some(member) => on_state_alone(&member.name, read),
        None => on_state_alone(name, read),
    }
}

fn on_state_alone<T>(name: &str, read: impl FnOnce(&Path) -> T) -> Option<T> {
    let (kind, _) = probe(&Path::new("/dev").join(name))?;
    let without_replay = match kind.as_str() {
        "xfs" => "norecovery,nouuid",
        "ext4" => "noload",
        _ => return None,
    };
    on_volume(name, &kind, without_replay, read)
}

/// What `read` gives of a volume, mounted read-only for it; none if it can't be mounted.
fn on_volume<T>(name: &str, kind: &str, options: &str, read: impl FnOnce(&Path) -> T) -> Option<T> {
    let at = PathBuf::from("/run/bedplate/volume");
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    fs::create_dir_all(&at).ok()?;
    let mounted: std::io::Result<UnmountDrop<Mount>> = Mount::builder()
        .fstype(kind)
        .flags(flags)
        .data(options)
        .mount_autodrop(Path::new("/dev").join(name), &at, UnmountFlags::empty());
    let _mounted = mounted.ok()?;
    Some(read(&at))
}

fn read_limited(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LARGEST + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= LARGEST).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oem_strings_are_read_behind_the_header() {
        let text = base64::engine::general_purpose::STANDARD.encode("format = 1\n");
        let mut raw = vec![11, 5, 0, 1, 2];
        raw.extend(format!("something else\0io.bedplate.config={text}\0\0").bytes());
        assert_eq!(smbios(&raw, OEM_STRING), [Found { source: "SMBIOS".into(), bytes: b"format = 1\n".to_vec() }]);
        assert!(smbios(&raw, OEM_PERMIT).is_empty());
        assert!(smbios(&[], OEM_STRING).is_empty());
        assert!(smbios(&[11, 200], OEM_STRING).is_empty());
        assert!(smbios(b"\x0b\x05\0\x01\x01io.bedplate.config=%%%\0\0", OEM_STRING).is_empty());
    }

    #[test]
    fn partitions_are_named_as_the_kernel_does() {
        assert_eq!(partition_name("vda", 2), "vda2");
        assert_eq!(partition_name("nvme0n1", 2), "nvme0n1p2");
    }

    #[test]
    fn permits_are_files_of_that_ending_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.permit", "A.PERMIT", "site.toml", "permit"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let found = permits_in(folder.path(), "a stick");
        let sources: Vec<&str> = found.iter().map(|f| f.source.as_str()).collect();
        assert_eq!(sources, ["A.PERMIT on a stick", "b.permit on a stick"]);
        assert_eq!(found[1].bytes, b"b.permit");
        assert!(permits_in(&folder.path().join("none"), "a stick").is_empty());
    }
}
