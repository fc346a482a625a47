//! Puts the addons that are for this model where systemd-stub finds them at the next start.
//!
//! The image's disk has every addon in a folder that the stub does not read, because who writes disks knows no
//! models. Nothing is trusted here: the firmware checks the signature of each addon that the stub loads, and stage 1
//! that its arguments are on the signed list for this model.
#![allow(clippy::disallowed_methods, reason = "edge: writes the EFI system partition")]

use crate::boot_record::BootRecord;
use crate::config::sources::esp;
use crate::stage1::addons::file_name;
use crate::stage1::find::loader_variable;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use sys_mount::{Mount, MountFlags, UnmountDrop, UnmountFlags};

/// Where the stub was started from when it does not say: the firmware's default.
const DEFAULT: &str = "EFI/BOOT/BOOTX64.EFI";

/// Copies what is missing, and names it. Nothing is mounted when nothing is missing.
///
/// # Errors
/// When the EFI system partition can't be written, or lacks an addon.
pub fn place(boot: &BootRecord) -> Result<Vec<String>> {
    let missing: Vec<&String> = boot.addons_for_this_model.iter().filter(|a| !boot.addons.contains(a)).collect();
    // A stick or another disk is nothing that this node starts from again.
    if missing.is_empty() || boot.started_from_disk != Some(true) {
        return Ok(Vec::new());
    }
    let device = esp(boot).context("the disk has no EFI system partition")?;
    let at = PathBuf::from("/run/bedplate/esp");
    fs::create_dir_all(&at)?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::SYNCHRONOUS;
    let mounted: UnmountDrop<Mount> = Mount::builder()
        .fstype("vfat")
        .flags(flags)
        .mount_autodrop(Path::new("/dev").join(&device), &at, UnmountFlags::empty())
        .with_context(|| format!("{device} can't be mounted"))?;
    let uki = at.join(loader_variable("StubImageIdentifier").and_then(|p| inside(&p)).unwrap_or(DEFAULT.into()));
    let placed = copy(&uki, &missing);
    drop(mounted);
    placed
}

fn copy(uki: &Path, addons: &[&String]) -> Result<Vec<String>> {
    let beside = |end: &str| {
        let mut path = uki.as_os_str().to_owned();
        path.push(end);
        PathBuf::from(path)
    };
    let (from, to) = (beside(".addons"), beside(".extra.d"));
    fs::create_dir_all(&to).with_context(|| format!("{} can't be made", to.display()))?;
    let mut placed = Vec::new();
    for addon in addons {
        let (source, target) = (from.join(file_name(addon)), to.join(file_name(addon)));
        let bytes = fs::read(&source).with_context(|| format!("{} can't be read", source.display()))?;
        if fs::read(&target).is_ok_and(|there| there == bytes) {
            continue;
        }
        // Under a name that the stub passes by, until it is whole.
        let aside = to.join(format!("{addon}.new"));
        let written = fs::write(&aside, bytes).and_then(|()| File::open(&aside)?.sync_all());
        written
            .and_then(|()| fs::rename(&aside, &target))
            .with_context(|| format!("{} can't be written", target.display()))?;
        placed.push((*addon).clone());
    }
    Ok(placed)
}

/// A path as the firmware writes it, as one below the partition's root.
fn inside(path: &str) -> Option<String> {
    let path = path.trim_start_matches('\\').replace('\\', "/");
    let plain = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    plain.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_firmware_stays_on_its_partition() {
        assert_eq!(inside("\\EFI\\Linux\\bedplate-b.efi").as_deref(), Some("EFI/Linux/bedplate-b.efi"));
        for path in ["", "\\", "\\EFI\\..\\x", "EFI//x"] {
            assert_eq!(inside(path), None, "{path:?}");
        }
    }

    #[test]
    fn what_is_missing_is_copied_once() {
        let folder = tempfile::tempdir().unwrap();
        let uki = folder.path().join("BOOTX64.EFI");
        let (store, extra) = (folder.path().join("BOOTX64.EFI.addons"), folder.path().join("BOOTX64.EFI.extra.d"));
        fs::create_dir(&store).unwrap();
        fs::write(store.join("a.addon.efi"), "signed").unwrap();
        assert_eq!(copy(&uki, &[&"a".into()]).unwrap(), ["a"]);
        assert_eq!(fs::read(extra.join("a.addon.efi")).unwrap(), b"signed");
        assert_eq!(fs::read_dir(&extra).unwrap().count(), 1, "nothing is left beside it");
        assert!(copy(&uki, &[&"a".into()]).unwrap().is_empty());
        // One that was altered is mended.
        fs::write(extra.join("a.addon.efi"), "altered").unwrap();
        assert_eq!(copy(&uki, &[&"a".into()]).unwrap(), ["a"]);
        let error = format!("{:#}", copy(&uki, &[&"b".into()]).unwrap_err());
        assert!(error.contains("b.addon.efi can't be read"), "{error}");
    }
}
