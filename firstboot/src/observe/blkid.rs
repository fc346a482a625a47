//! Signatures, by libblkid: every one it knows, not just the most likely.

use super::torn;
use anyhow::Context;
use libblkid_rs::{BlkidProbe, BlkidProbeRet};
use on_disk::ext4;
use std::fs::File;
use std::os::fd::AsRawFd;
use storage_plan::inventory::Signature;

/// Every signature on an open device, sorted. An ext4 whose superblock a power cut tore is one, too.
///
/// # Errors
/// When the device can't be read.
pub(super) fn signatures(device: &File) -> anyhow::Result<Vec<Signature>> {
    let mut probe = BlkidProbe::new().context("libblkid gives no probe")?;
    probe.set_device(device.as_raw_fd(), 0, 0).context("libblkid can't take the device")?;
    probe.enable_superblocks(true).context("libblkid can't look for superblocks")?;
    probe.enable_partitions(true).context("libblkid can't look for partition tables")?;
    let mut found = Vec::new();
    // Each round gives the result of one probing function, so ambivalent signatures come one after the other.
    while probe.do_probe().context("libblkid can't read the device")? == BlkidProbeRet::Success {
        let value = |name: &str| probe.lookup_value(name).ok().filter(|v| !v.is_empty());
        if let Some(kind) = value("TYPE").or_else(|| value("PTTYPE")) {
            let is_table = probe.lookup_value("TYPE").is_err();
            let uuid = if is_table { value("PTUUID") } else { value("UUID") };
            found.push(Signature { kind, uuid, label: value("LABEL") });
        }
    }
    if found.is_empty()
        && let Some(superblock) = torn::ext4_superblock(device)
    {
        let ext4::Identity { uuid, label } = ext4::identity(&superblock);
        found.push(Signature { kind: "ext4".into(), uuid: Some(uuid.to_string()), label });
    }
    found.sort();
    found.dedup();
    Ok(found)
}
