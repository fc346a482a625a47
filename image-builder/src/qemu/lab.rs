//! A release on a bench: its disk, data disks, firmware with its keys, and its configuration, as one guest.
#![allow(clippy::disallowed_methods, reason = "edge: makes the guest's files")]

use super::guest::{CONFIG_FW_CFG, ConfigBy, RECOVERY_FW_CFG};
use super::vars::{self, EnrolledKeys};
use super::{Accelerator, Bus, Disk, Firmware, Format, Guest, Network, Serial, Smbios, config_volume};
use crate::tools::Tools;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What the OEM string that carries a configuration begins with; the rest is the configuration in base64.
pub const CONFIG_OEM_STRING: &str = "io.bedplate.config=";

/// A data disk that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDisk {
    /// Size in bytes.
    pub size: u64,
    /// Serial number.
    pub serial: String,
}

impl FromStr for NewDisk {
    type Err = String;

    /// `SIZE,serial=NAME`; a size is `2 GiB`, `2GiB` or, as QEMU writes it, `2G`.
    fn from_str(text: &str) -> Result<NewDisk, String> {
        let expected = || format!("expected SIZE,serial=NAME, such as 2G,serial=DATA-A, not {text:?}");
        let (size, serial) = text.split_once(",serial=").ok_or_else(expected)?;
        let size = match size.trim_end_matches(['K', 'M', 'G', 'T']) {
            number if number.len() + 1 == size.len() => format!("{size}iB"),
            _ => size.to_owned(),
        };
        let size = machine_config::units::parse_size(&size)?;
        if serial.is_empty() || serial.len() > 20 || !serial.chars().all(|c| c.is_ascii_graphic() && c != ',') {
            return Err(format!("expected a serial number of 1 to 20 printable characters, not {serial:?}"));
        }
        if size == 0 || !size.is_multiple_of(512) {
            return Err(format!("expected a size in whole sectors of 512 bytes, not {size} bytes"));
        }
        Ok(NewDisk { size, serial: serial.into() })
    }
}

/// A release and what it is to be run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lab {
    /// Folder of the release.
    pub release: PathBuf,
    /// The configuration: a bundle, or a signed envelope around one. Without it the node is told nothing.
    pub config: Option<PathBuf>,
    /// How the configuration is handed over.
    pub config_by: ConfigBy,
    /// What it is started from.
    pub start: Start,
    /// Size of the system disk in bytes: the image, and behind it the state.
    pub system_size: u64,
    /// Its serial number, if it is to have one.
    pub system_serial: Option<String>,
    /// Further disks, blank at first.
    pub disks: Vec<NewDisk>,
    /// Whether it has a TPM.
    pub tpm: bool,
    /// A recovery key for encrypted volumes, as if a person had plugged it in.
    pub recovery: Option<PathBuf>,
    /// Memory in MiB.
    pub memory: u32,
    /// Processors.
    pub cpus: u32,
    /// Serial number of the machine.
    pub serial: Option<String>,
    /// UUID of the machine.
    pub uuid: Option<uuid::Uuid>,
}

/// What a machine is started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// A system disk with the bytes of `disk.raw`.
    Disk,
    /// One of [`Lab::disks`] that has an image on it by now.
    OwnDisks,
    /// `disk.qcow2`; what is written to it is gone afterwards.
    Qcow2,
    /// `node.iso` as a disc in a drive.
    Disc,
    /// `node.iso` as a USB stick.
    Stick,
    /// The network, by PXE.
    Network,
    /// What the firmware fetches from this URI by HTTP boot.
    Uri(String),
}

impl NewDisk {
    /// Where it lies in a machine's folder.
    pub fn file_in(&self, folder: &Path) -> PathBuf {
        folder.join(format!("disk-{}.raw", self.serial.replace('/', "_")))
    }
}

impl Lab {
    /// A release with nothing but a system disk of 16 GiB, 2 GiB of memory and 2 processors.
    pub fn new(release: impl Into<PathBuf>) -> Lab {
        Lab {
            release: release.into(),
            config: None,
            config_by: ConfigBy::FwCfg,
            start: Start::Disk,
            system_size: 16 << 30,
            system_serial: None,
            disks: Vec::new(),
            tpm: false,
            recovery: None,
            memory: 2048,
            cpus: 2,
            serial: None,
            uuid: None,
        }
    }

    /// The release's disk image.
    pub fn image(&self) -> PathBuf {
        self.release.join("disk.raw")
    }

    /// The guest, under Secure Boot. Its files (disks, firmware variables, configuration) lie in `folder`; those
    /// that are there already are taken as they are, so that a machine can be switched off and on again.
    ///
    /// # Errors
    /// When the release is not complete, or a file can't be made.
    pub fn prepare(&self, tools: &Tools, folder: &Path, accelerator: Accelerator) -> Result<Guest> {
        let keys = EnrolledKeys::read(&self.release.join("secure-boot"))?;
        let mut guest = Guest::new(self.memory, self.cpus, accelerator);
        guest.firmware = Some(Firmware::secure_boot(tools, &keys, &folder.join("vars.fd"))?);
        guest.smbios = Smbios { serial: self.serial.clone(), uuid: self.uuid, oem_strings: Vec::new() };
        let system = folder.join("system.raw");
        let part = |name: &str| Disk { throw_away: true, ..Disk::raw(self.release.join(name)) };
        match &self.start {
            Start::Disk => {
                let disk = match system.exists() {
                    true => Disk::raw(system),
                    false => Disk::grown_copy(&self.image(), &system, self.system_size)?,
                };
                guest.disks.push(Disk { serial: self.system_serial.clone(), ..disk });
            }
            Start::OwnDisks => {}
            Start::Qcow2 => guest.disks.push(Disk { format: Format::Qcow2, ..part("disk.qcow2") }),
            Start::Disc => {
                guest.disks.push(Disk { bus: Bus::Disc, read_only: true, throw_away: false, ..part("node.iso") });
            }
            Start::Stick => guest.disks.push(Disk { bus: Bus::Usb, ..part("node.iso") }),
            Start::Network => {}
            Start::Uri(uri) => vars::boot_from(uri, &folder.join("vars.fd"))?,
        }
        for disk in &self.disks {
            let file = disk.file_in(folder);
            guest.disks.push(match file.exists() {
                true => Disk { serial: Some(disk.serial.clone()), ..Disk::raw(file) },
                false => Disk::blank(&file, disk.size, &disk.serial)?,
            });
        }
        guest.tpm = self.tpm.then(|| folder.join("tpm"));
        guest.fw_cfg.extend(self.recovery.iter().map(|key| (RECOVERY_FW_CFG.to_owned(), key.clone())));
        guest.network = Network::User { forwards: Vec::new() };
        if let Some(config) = &self.config {
            self.hand_over(config, tools, folder, &mut guest)?;
        }
        Ok(guest)
    }

    /// As [`Lab::prepare`], with its first serial port at `serial`.
    ///
    /// # Errors
    /// As [`Lab::prepare`].
    pub fn prepare_with_console(
        &self,
        tools: &Tools,
        folder: &Path,
        accelerator: Accelerator,
        serial: Serial,
    ) -> Result<Guest> {
        let mut guest = self.prepare(tools, folder, accelerator)?;
        guest.serial.push(serial);
        Ok(guest)
    }

    fn hand_over(&self, config: &Path, tools: &Tools, folder: &Path, guest: &mut Guest) -> Result<()> {
        let read = || std::fs::read(config).with_context(|| format!("the config {} can't be read", config.display()));
        match self.config_by {
            ConfigBy::FwCfg => {
                read()?;
                guest.fw_cfg.push((CONFIG_FW_CFG.into(), config.into()));
            }
            ConfigBy::Smbios => {
                let file = folder.join("config.oem");
                let text = format!("{CONFIG_OEM_STRING}{}", STANDARD.encode(read()?));
                std::fs::write(&file, text).with_context(|| format!("{} can't be written", file.display()))?;
                guest.smbios.oem_strings.push(file);
            }
            ConfigBy::Volume => {
                read()?;
                let volume = folder.join("config.img");
                config_volume::make(tools, &volume)?;
                config_volume::put(tools, &volume, config, config_volume::FILE)?;
                guest.disks.push(Disk { serial: Some("CONFIG".into()), read_only: true, ..Disk::raw(volume) });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_written_as_size_and_serial() {
        let disk = |size, serial: &str| Ok(NewDisk { size, serial: serial.into() });
        assert_eq!("2G,serial=DATA-A".parse(), disk(2 << 30, "DATA-A"));
        assert_eq!("512 MiB,serial=x".parse(), disk(512 << 20, "x"));
        assert_eq!("4GB,serial=x".parse(), disk(4_000_000_000 / 512 * 512, "x"));
        for wrong in ["2G", "2G,serial=", "G,serial=a", "2,serial=a", "0G,serial=a", "513B,serial=a"] {
            assert!(wrong.parse::<NewDisk>().is_err(), "{wrong}");
        }
        assert!(format!("1G,serial={}", "x".repeat(21)).parse::<NewDisk>().is_err());
        assert!("1G,serial=a,file=/etc/shadow".parse::<NewDisk>().is_err());
    }
}
