//! The kernel's own account of disks, below `/sys/block`.
//!
//! Serial numbers come from here and never from udev: they are part of every derived UUID, so they must be the
//! same whether udev has run or not.

use anyhow::Context;
use machine_config::schema::Transport;
use std::path::{Path, PathBuf};
use storage_plan::inventory::Slot;

/// Where a whole disk's attributes lie.
pub(super) fn folder(name: &str) -> PathBuf {
    Path::new("/sys/block").join(name)
}

/// Kernel names of all whole disks that can hold data, sorted.
pub(super) fn disks() -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir("/sys/block").context("cannot list /sys/block")? {
        let entry = entry.context("cannot list /sys/block")?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let target = std::fs::canonicalize(entry.path()).unwrap_or_default();
        if is_disk(&name, &target.to_string_lossy()) && number(&folder(&name), "size") > 0 {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether this is a disk: not an optical drive, a floppy, a boot area of an MMC, or something the kernel made up.
fn is_disk(name: &str, sysfs: &str) -> bool {
    let other = ["loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd"];
    let made_up = sysfs.contains("/devices/virtual/") && !sysfs.contains("/nvme-subsystem/");
    let mmc_area = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
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
    text(folder, "serial").or_else(|| text(folder, "device/serial")).or_else(page)
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
