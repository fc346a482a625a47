//! `bedplate run`: a built image in QEMU under Secure Boot, on the terminal.

use super::Console;
use crate::qemu::release_disk::ReleaseDisk;
use crate::qemu::{Accelerator, ConfigBy, Interrupt, Lab, NewDisk, RunningGuest, Serial};
use crate::tools::Tools;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How long QEMU may take to end after Ctrl-C before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);

/// Which release, and what machine it runs on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bedplate run out --config n1.bundle
  bedplate run out --config n1.bundle --serial BEDPLATE-N1 --disk 2G,serial=DATA-A --disk 2G,serial=DATA-B
  bedplate run out --config n1.bundle --config-by volume --keep /var/tmp/n1

The guest's first serial port is the terminal. Ctrl-C ends it and removes its disks, unless --keep says where they
stay; the same command with the same --keep then switches the machine on again.")]
pub struct Run {
    /// Folder of the release, as `bedplate build --out` made it.
    #[arg(value_name = "DIR")]
    release: PathBuf,
    /// The machine's configuration: a bundle, or a site file, signed if the image asks for it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How the guest finds it: QEMU's fw_cfg device, a volume labelled BEDPLATE, or an SMBIOS string.
    #[arg(long, value_name = "WAY", value_enum, default_value = "fw-cfg")]
    config_by: ConfigBy,
    /// A data disk, such as `2G,serial=DATA-A`; may be given several times.
    #[arg(long = "disk", value_name = "SIZE,serial=NAME")]
    disks: Vec<NewDisk>,
    /// Size of the system disk: the image, and behind it the node's state.
    #[arg(long, value_name = "SIZE", default_value = "16 GiB", value_parser = machine_config::units::parse_size)]
    system_disk: u64,
    /// Memory in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(256..))]
    memory: u32,
    /// Processors.
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// Give it a TPM 2.0.
    #[arg(long)]
    tpm: bool,
    /// A recovery key for volumes that the TPM opens: once to make them, and when it does not.
    #[arg(long, value_name = "FILE")]
    recovery: Option<PathBuf>,
    /// The machine's serial number, by which a site file knows it.
    #[arg(long, value_name = "NAME")]
    serial: Option<String>,
    /// The machine's UUID.
    #[arg(long, value_name = "UUID")]
    uuid: Option<uuid::Uuid>,
    /// Keep disks and firmware variables in this folder.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    place: super::Place,
}

impl Run {
    /// Runs until the guest switches itself off (exit code 0) or the person ends it (1).
    ///
    /// # Errors
    /// When the release is not complete or QEMU fails.
    pub(super) fn run(&self, console: &Console) -> Result<ExitCode> {
        let progress = &console.progress;
        let store = self.place.store.open()?;
        let tools = Tools::of_recipe(&self.place.recipe, &store, progress)?;
        let interrupt = Interrupt::catch()?;
        let scratch = tempfile::Builder::new().prefix("bedplate-run-").tempdir()?;
        let folder = match &self.keep {
            Some(keep) => kept(keep)?,
            None => scratch.path().to_owned(),
        };
        let lab = Lab {
            config: Some(self.config.clone()),
            config_by: self.config_by,
            system_size: self.system_disk,
            disks: self.disks.clone(),
            tpm: self.tpm,
            recovery: self.recovery.clone(),
            memory: self.memory,
            cpus: self.cpus,
            serial: self.serial.clone(),
            uuid: self.uuid,
            ..Lab::new(&self.release)
        };
        let kernel = scratch.path().join("kernel");
        ReleaseDisk::open(&lab.image())?.extract_kernel(&tools, &kernel)?;
        let accelerator = Accelerator::probe(&tools, &kernel, progress)?;
        let guest = lab.prepare_with_console(&tools, &folder, accelerator, Serial::Stdio)?;
        interrupt.check()?;
        let mut running = RunningGuest::start(&guest, &tools, scratch.path())?;
        loop {
            if interrupt.came() {
                // At a terminal QEMU got the signal too and puts the terminal's settings back before it ends.
                if running.wait(Duration::from_millis(200))?.is_none() {
                    running.quit(PATIENCE)?;
                }
                progress.say("interrupted");
                return Ok(ExitCode::FAILURE);
            }
            if running.wait(Duration::from_millis(100))?.is_some() {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

fn kept(folder: &Path) -> Result<PathBuf> {
    if folder.exists() && !folder.is_dir() {
        bail!("{} is no folder; --keep names one", folder.display());
    }
    std::fs::create_dir_all(folder).with_context(|| format!("the folder {} can't be made", folder.display()))?;
    Ok(folder.canonicalize()?)
}
