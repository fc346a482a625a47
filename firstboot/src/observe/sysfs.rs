//! The kernel's own account of disks, below `/sys/block`.
//!
//! Serial numbers come from here and never from udev: they are part of every derived UUID, so they must be the
//! same whether udev has run or not.

use anyhow::Context;
use machine_config::schema::Transport;
use std::path::{Path, PathBuf};
use storage_plan::inventory::{Slot, namespace_serial};

/// Where a whole disk's attributes lie.
pub(super) fn folder(name: &str) -> PathBuf {
    Path::new("/sys/block").join(name)
}

/// Kernel names of all whole disks that can hold data, sorted.
pub(super) fn disks() -> anyhow::Result<Vec<String>> {
    disks_below(Path::new("/sys/block"))
}

/// As [`disks`], of any such folder.
fn disks_below(block: &Path) -> anyhow::Result<Vec<String>> {
    let listing = || format!("cannot list {}", block.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(block).with_context(listing)? {
        let path = entry.with_context(listing)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let target = std::fs::canonicalize(&path).unwrap_or_default();
        // One path of several to an NVMe namespace has no node: the namespace is shown beside it.
        let is_shown = number(&path, "hidden") == 0 && number(&path, "size") > 0;
        if is_disk(&name, &target.to_string_lossy()) && is_shown {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether this is a disk: not an optical drive, a floppy, raw flash, an area of an MMC beside the one for users, or
/// something the kernel made up.
fn is_disk(name: &str, sysfs: &str) -> bool {
    let other = ["loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd", "mtdblock"];
    let made_up = sysfs.contains("/devices/virtual/") && !sysfs.contains("/nvme-subsystem/");
    // mmcblk0boot0, mmcblk0gp0, mmcblk0rpmb.
    let number = name.strip_prefix("mmcblk");
    let mmc_area = number.is_some_and(|number| number.chars().any(|c| !c.is_ascii_digit()));
    !made_up && !mmc_area && !other.iter().any(|p| name.starts_with(p))
}

/// An attribute's text, without the blanks around it; none when it is empty or absent.
pub(super) fn text(folder: &Path, attribute: &str) -> Option<String> {
    let bytes = std::fs::read(folder.join(attribute)).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned();
    (!text.is_empty()).then_some(text)
}

/// An attribute's number, 0 when there is none.
pub(super) fn number(folder: &Path, attribute: &str) -> u64 {
    text(folder, attribute).and_then(|t| t.parse().ok()).unwrap_or(0)
}

/// The serial number: of NVMe and virtio as the kernel tells it, of SCSI and SATA from VPD page 0x80.
pub(super) fn serial(folder: &Path) -> Option<String> {
    let page = || std::fs::read(folder.join("device/vpd_pg80")).ok().and_then(|page| parse_vpd_80(&page));
    let told = text(folder, "serial").or_else(|| text(folder, "device/serial")).or_else(page)?;
    Some(namespace_serial(&told, namespace(folder).unwrap_or(0)))
}

/// The number of the NVMe namespace.
pub(super) fn namespace(folder: &Path) -> Option<u32> {
    text(folder, "nsid").and_then(|number| number.parse().ok())
}

/// The serial number in a SCSI Unit Serial Number page (SPC-5, section 7.7.19).
fn parse_vpd_80(page: &[u8]) -> Option<String> {
    let length = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
    let text = String::from_utf8_lossy(page.get(4..4 + length)?).trim().to_owned();
    (page[1] == 0x80 && !text.is_empty()).then_some(text)
}

/// The world wide name, as the kernel writes it (`naa.5000c500...`, `eui.0025...`).
pub(super) fn wwn(folder: &Path) -> Option<String> {
    text(folder, "wwid").or_else(|| text(folder, "device/wwid")).filter(|w| !w.starts_with("t10."))
}

/// The kind of bus, from the path of the device in sysfs.
pub(super) fn transport(name: &str, sysfs: &str) -> Option<Transport> {
    // A USB stick's path has the PCI path of its controller in it: the closest bus decides.
    let has = |part: &str| sysfs.split('/').any(|p| p.starts_with(part));
    match () {
        () if name.starts_with("nvme") => Some(Transport::Nvme),
        () if name.starts_with("mmcblk") => Some(Transport::Mmc),
        () if has("usb") => Some(Transport::Usb),
        () if has("ata") => Some(Transport::Sata),
        () if has("end_device-") => Some(Transport::Sas),
        () if has("virtio") => Some(Transport::Virtio),
        () => None,
    }
}

/// The bay in an enclosure that answers over SES.
pub(super) fn slot(folder: &Path) -> Option<Slot> {
    let device = std::fs::read_dir(folder.join("device")).ok()?;
    let mut links = device.flatten().filter_map(|entry| {
        let link = entry.file_name().to_string_lossy().into_owned();
        let bay = link.strip_prefix("enclosure_device:")?.to_owned();
        let target = std::fs::canonicalize(entry.path()).ok()?;
        let enclosure = target.parent()?.file_name()?.to_string_lossy().into_owned();
        let bay = text(&target, "slot").unwrap_or(bay);
        Some(Slot { enclosure, bay })
    });
    links.next()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "lays files as the kernel shows them")]
mod tests {
    use super::*;

    #[test]
    fn only_disks_are_disks() {
        assert!(is_disk("sdaa", "/sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sdaa"));
        assert!(is_disk("nvme0n1", "/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1"));
        assert!(!is_disk("loop0", "/sys/devices/virtual/block/loop0"));
        assert!(!is_disk("sr0", "/sys/devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0/block/sr0"));
        assert!(!is_disk("mmcblk0boot0", "/sys/devices/platform/mmc/mmcblk0/mmcblk0boot0"));
    }

    /// A folder such as `/sys/block`: a link for each device, which lies below `devices` with its attributes.
    fn sys(devices: &[(&str, &[(&str, &str)])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("block")).unwrap();
        for (path, attributes) in devices {
            let folder = root.path().join("devices").join(path);
            for (attribute, text) in attributes.iter().chain(&[("size", "2048\n")]) {
                let file = folder.join(attribute);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                // What is given first counts.
                if !file.exists() {
                    std::fs::write(file, text).unwrap();
                }
            }
            let name = path.rsplit('/').next().unwrap();
            std::os::unix::fs::symlink(&folder, root.path().join("block").join(name)).unwrap();
        }
        root
    }

    #[test]
    fn of_all_block_devices_disks_alone_are_found() {
        let root = sys(&[
            ("pci0/ata1/host0/block/sda", &[]),
            ("pci0/ata1/host0/block/sdaa", &[]),
            ("pci0/ata1/host0/block/sdb", &[("size", "0\n")]),
            ("pci0/nvme/nvme1/nvme1n1", &[("hidden", "0\n")]),
            ("pci0/nvme/nvme0/nvme0c0n1", &[("hidden", "1\n")]),
            ("virtual/nvme-subsystem/nvme-subsys0/nvme0n1", &[("hidden", "0\n")]),
            ("platform/mmc0/mmc0:0001/block/mmcblk0", &[]),
            ("platform/mmc0/mmc0:0001/block/mmcblk0/mmcblk0boot0", &[]),
            ("platform/mmc0/mmc0:0001/block/mmcblk0/mmcblk0gp1", &[]),
            ("platform/mmc0/mmc0:0001/block/mmcblk0/mmcblk0rpmb", &[]),
            ("platform/floppy.0/block/fd0", &[]),
            ("platform/spi/mtd/mtd0/mtdblock0", &[]),
            ("pci0/ata2/host1/block/sr0", &[]),
            ("pci0/virtio3/block/vda", &[]),
            ("virtual/block/loop0", &[]),
            ("virtual/block/ram0", &[]),
            ("virtual/block/zram0", &[]),
            ("virtual/block/nbd0", &[]),
            ("virtual/block/dm-0", &[]),
            ("virtual/block/md127", &[]),
            ("virtual/block/zd16", &[]),
            ("virtual/block/bcache0", &[]),
        ]);
        let found = disks_below(&root.path().join("block")).unwrap();
        assert_eq!(found, ["mmcblk0", "nvme0n1", "nvme1n1", "sda", "sdaa", "vda"]);
    }

    #[test]
    fn namespaces_of_one_subsystem_have_serial_numbers_of_their_own() {
        let of = |nsid: &'static str| {
            let root = sys(&[("pci0/nvme/nvme0/nvme0n1", &[("nsid", nsid), ("device/serial", "S5P2NG0R     \n")])]);
            let folder = root.path().join("block/nvme0n1");
            (namespace(&folder), serial(&folder))
        };
        assert_eq!(of("1\n"), (Some(1), Some("S5P2NG0R".into())));
        assert_eq!(of("2\n"), (Some(2), Some("S5P2NG0R-n2".into())));
        let root = sys(&[("pci0/virtio3/block/vda", &[("serial", "A1")])]);
        let folder = root.path().join("block/vda");
        assert_eq!((namespace(&folder), serial(&folder)), (None, Some("A1".into())));
    }

    #[test]
    fn the_serial_number_page_is_read() {
        let page = b"\x00\x80\x00\x14      ZL2ABCDE      ";
        assert_eq!(parse_vpd_80(page).as_deref(), Some("ZL2ABCDE"));
        assert_eq!(parse_vpd_80(b"\x00\x80\x00\x40short"), None);
        assert_eq!(parse_vpd_80(b"\x00\x83\x00\x02ab"), None);
    }

    #[test]
    fn the_closest_bus_decides() {
        let usb = "/sys/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sdb";
        assert_eq!(transport("sdb", usb), Some(Transport::Usb));
        let virtio = "/sys/devices/pci0000:00/0000:00:05.0/virtio2/block/vda";
        assert_eq!(transport("vda", virtio), Some(Transport::Virtio));
        let sas = "/sys/devices/pci0000:17/0000:17:00.0/host0/port-0:0/end_device-0:0/target0:0:0/0:0:0:0/block/sda";
        assert_eq!(transport("sda", sas), Some(Transport::Sas));
    }
}
