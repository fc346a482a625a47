//! Disks of a guest.
#![allow(clippy::disallowed_methods, reason = "edge: makes the files that disks lie in")]

use super::guest::{Arguments, doubled};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A disk of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The file it lies in.
    pub file: PathBuf,
    /// Serial number the guest sees; at most 20 characters.
    pub serial: Option<String>,
    /// How it is attached.
    pub bus: Bus,
    /// Whether the guest can't write it.
    pub read_only: bool,
    /// Whether what the guest writes goes to a file of QEMU's own, which is gone afterwards.
    pub throw_away: bool,
    /// Format of the file.
    pub format: Format,
    /// Bytes of its sectors, logical and physical: 512, or 4096 as of a 4Kn disk.
    pub sector: u32,
}

/// Format of a disk's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    Raw,
    Qcow2,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Bus {
    VirtioBlk,
    VirtioScsi,
    Nvme,
    /// A USB stick that is there from the beginning.
    Usb,
    /// A disc in a drive.
    Disc,
}

impl Disk {
    /// A raw disk on virtio-blk, writable, without a serial number.
    pub fn raw(file: impl Into<PathBuf>) -> Disk {
        Disk {
            file: file.into(),
            serial: None,
            bus: Bus::VirtioBlk,
            read_only: false,
            throw_away: false,
            format: Format::Raw,
            sector: 512,
        }
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
        File::create_new(file)
            .and_then(|f| f.set_len(size))
            .with_context(|| format!("the disk {} can't be made", file.display()))?;
        Ok(Disk { serial: Some(serial.into()), ..Disk::raw(file) })
    }

    /// A disk that begins with the bytes of `base` and goes on blank up to `size`, in a new sparse file. What the
    /// guest writes stays in `file`; `base` is only read.
    ///
    /// # Errors
    /// When `base` is larger than `size` or can't be read, or `file` exists or can't be written.
    pub fn grown_copy(base: &Path, file: &Path, size: u64) -> Result<Disk> {
        let from = File::open(base).with_context(|| format!("the disk image {} can't be read", base.display()))?;
        let length = from.metadata()?.len();
        if length > size {
            bail!("the disk image {} has {length} bytes; a disk of {size} has no room for it", base.display());
        }
        File::create_new(file)
            .and_then(|to| {
                to.set_len(size)?;
                copy_data(&from, &to, length)
            })
            .with_context(|| format!("{} can't be copied to {}", base.display(), file.display()))?;
        Ok(Disk::raw(file))
    }

    pub(super) fn arguments(&self, index: usize, boot_index: usize, to: &mut Arguments) {
        // The host's page cache is as durable as a guest that is thrown away needs, and discards keep files sparse.
        let mut options = format!(
            "if=none,id=disk{index},format={},cache=writeback,discard=unmap,readonly={},",
            match self.format {
                Format::Raw => "raw",
                Format::Qcow2 => "qcow2",
            },
            if self.read_only { "on" } else { "off" }
        );
        if self.bus == Bus::Disc {
            options.push_str("media=cdrom,");
        }
        if self.throw_away {
            options.push_str("snapshot=on,");
        }
        options.push_str("file=");
        to.option("-drive", &options, &self.file);
        to.0.extend([
            "-device".into(),
            self.device(&format!("disk{index}"), &format!("dev{index}"), boot_index).into(),
        ]);
    }

    fn device(&self, drive: &str, id: &str, boot_index: usize) -> String {
        let driver = match self.bus {
            Bus::VirtioBlk => "virtio-blk-pci",
            Bus::VirtioScsi => "scsi-hd,bus=scsi.0",
            Bus::Nvme => "nvme",
            Bus::Usb => "usb-storage,bus=usb.0",
            // The controller that the machine has.
            Bus::Disc => "ide-cd,bus=ide.0",
        };
        let mut device = format!("{driver},drive={drive},id={id},bootindex={boot_index}");
        if let Some(serial) = &self.serial {
            device.push_str(&format!(",serial={}", doubled(serial)));
        }
        if self.sector != 512 {
            device.push_str(&format!(",logical_block_size={0},physical_block_size={0}", self.sector));
        }
        device
    }
}

/// Copies what is data in `from`; its holes stay holes.
fn copy_data(from: &File, to: &File, length: u64) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < length {
        let begin = match lseek(from, at as i64, Whence::SeekData) {
            Ok(begin) => begin as u64,
            // Nothing but a hole from here on.
            Err(Errno::ENXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let end = lseek(from, begin as i64, Whence::SeekHole)? as u64;
        at = begin;
        while at < end {
            let part = &mut buffer[..usize::try_from(end - at).unwrap_or(usize::MAX).min(1 << 20)];
            from.read_exact_at(part, at)?;
            to.write_all_at(part, at)?;
            at += part.len() as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_grown_copy_has_the_same_bytes_and_stays_sparse() {
        let folder = tempfile::tempdir().unwrap();
        let (base, copy) = (folder.path().join("base"), folder.path().join("copy"));
        let file = File::create(&base).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"head", 0).unwrap();
        file.write_all_at(&vec![7; 3 << 20], 20 << 20).unwrap();
        let disk = Disk::grown_copy(&base, &copy, 100 << 20).unwrap();
        let (base, bytes) = (std::fs::read(&base).unwrap(), std::fs::read(&disk.file).unwrap());
        assert!(bytes[..64 << 20] == base[..] && bytes[64 << 20..].iter().all(|b| *b == 0));
        let metadata = std::fs::metadata(&disk.file).unwrap();
        assert_eq!(metadata.len(), 100 << 20);
        assert!(metadata.blocks() * 512 < 16 << 20, "{} blocks", metadata.blocks());
    }

    #[test]
    fn an_image_that_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base");
        std::fs::write(&base, [1; 4096]).unwrap();
        let error = Disk::grown_copy(&base, &folder.path().join("copy"), 512).unwrap_err().to_string();
        assert!(error.contains("no room"), "{error}");
    }

    #[test]
    fn a_serial_number_that_would_be_cut_off_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Disk::blank(&folder.path().join("d"), 512, "123456789012345678901").is_err());
    }
}
