//! Disks of a guest.
#![allow(clippy::disallowed_methods, reason = "edge: makes the files that disks lie in")]

use super::guest::{Arguments, doubled};
use anyhow::{Context, Result, bail};
use run_tool::Tool;
use std::path::{Path, PathBuf};

/// A disk of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The file it lies in.
    pub file: PathBuf,
    /// How it lies there.
    pub format: ImageFormat,
    /// Serial number the guest sees; at most 20 characters.
    pub serial: Option<String>,
    /// How it is attached.
    pub bus: Bus,
    /// Whether the guest can't write it.
    pub read_only: bool,
}

/// How a disk lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// Byte by byte.
    Raw,
    /// QEMU's format, with a backing file perhaps.
    Qcow2,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Bus {
    VirtioBlk,
    VirtioScsi,
    Nvme,
}

impl Disk {
    /// A raw disk on virtio-blk, writable, without a serial number.
    pub fn raw(file: impl Into<PathBuf>) -> Disk {
        Disk { file: file.into(), format: ImageFormat::Raw, serial: None, bus: Bus::VirtioBlk, read_only: false }
    }

    /// A new empty disk of `size` bytes in a sparse file.
    ///
    /// # Errors
    /// When the file exists or can't be made.
    pub fn blank(file: &Path, size: u64, serial: &str) -> Result<Disk> {
        // QEMU would cut a longer one off, and then no selector would match.
        if serial.len() > 20 {
            bail!("the serial number {serial:?} has more than the 20 characters a virtio disk can carry");
        }
        std::fs::File::create_new(file)
            .and_then(|f| f.set_len(size))
            .with_context(|| format!("the disk {} can't be made", file.display()))?;
        Ok(Disk { serial: Some(serial.into()), ..Disk::raw(file) })
    }

    /// A disk that shows `base` (raw) and keeps what is written to it in `file`, so that `base` stays as it is.
    ///
    /// # Errors
    /// When `qemu-img` fails.
    pub fn overlay(qemu_img: &Tool, base: &Path, file: &Path) -> Result<Disk> {
        let base = base.canonicalize().with_context(|| format!("the disk image {} can't be read", base.display()))?;
        qemu_img.command().args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(&base).arg(file).run()?;
        Ok(Disk { format: ImageFormat::Qcow2, ..Disk::raw(file) })
    }

    pub(super) fn arguments(&self, index: usize, to: &mut Arguments) {
        let format = match self.format {
            ImageFormat::Raw => "raw",
            ImageFormat::Qcow2 => "qcow2",
        };
        // The host's page cache is as durable as a guest that is thrown away needs, and discards keep files sparse.
        let options = format!(
            "if=none,id=disk{index},format={format},cache=writeback,discard=unmap,readonly={},file=",
            if self.read_only { "on" } else { "off" }
        );
        to.option("-drive", &options, &self.file);
        to.0.extend(["-device".into(), self.device(&format!("disk{index}"), &format!("dev{index}"), index).into()]);
    }

    fn device(&self, drive: &str, id: &str, boot_index: usize) -> String {
        let driver = match self.bus {
            Bus::VirtioBlk => "virtio-blk-pci",
            Bus::VirtioScsi => "scsi-hd,bus=scsi.0",
            Bus::Nvme => "nvme",
        };
        let mut device = format!("{driver},drive={drive},id={id},bootindex={boot_index}");
        if let Some(serial) = &self.serial {
            device.push_str(&format!(",serial={}", doubled(serial)));
        }
        device
    }
}
