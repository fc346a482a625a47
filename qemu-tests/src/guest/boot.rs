//! The one boot of the guest: what was on its disks before and after, and what it said.
#![allow(clippy::disallowed_methods, reason = "edge: makes the guest's files")]

use super::disks;
use super::kit::Kit;
use crate::fault;
use crate::serial_log::SerialLog;
use crate::tiers::target_folder;
use crate::wait::wait_until;
use anyhow::{Context, Result};
use image_builder::progress::Progress;
use image_builder::qemu::{Disk, Interrupt, RunningGuest, Serial};
use image_builder::tools::Tools;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the boot may take with all its cases: in software on two processors, with two other guests beside it, it took 2,390 s
/// for all but the last three.
const PATIENCE: Duration = Duration::from_secs(3000);
/// How long a kernel that has broken down may take to begin with the cases all the same.
const START: Duration = Duration::from_secs(40);

/// What came of the boot.
#[derive(Debug)]
pub struct Evidence {
    /// Its serial port.
    pub log: String,
    /// Whether it switched itself off.
    pub ended: bool,
    /// Digest before and after, by serial number, of each disk that is not to be written to.
    pub digests: BTreeMap<String, (String, String)>,
    /// The tools tree.
    pub tools: Tools,
    /// The disks' files, as the guest left them.
    pub disks: Vec<Disk>,
    /// What they lie in.
    _folder: tempfile::TempDir,
}

impl Evidence {
    /// The file of the disk with this serial number.
    pub fn disk(&self, serial: &str) -> PathBuf {
        let found = self.disks.iter().find(|d| d.serial.as_deref() == Some(serial));
        found.map(|d| d.file.clone()).unwrap_or_default()
    }
}

/// Boots the guest with the program `init`, which the lock's own library folder must serve, and waits for its end.
///
/// A guest that hangs is evidence too: its cases are missing.
///
/// # Errors
/// When there is no lock, or the guest can't be made or started.
pub fn boot(init: &Path) -> Result<Evidence> {
    let (progress, interrupt) = (Progress::stderr(), Interrupt::catch()?);
    let kit = Kit::make(init, &progress)?;
    let folder = tempfile::Builder::new().prefix("bedplate-guest-").tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let parts = std::env::var("BEDPLATE_GUEST_CASES").ok();
    let word = parts.as_ref().map(|parts| format!("\"{}={parts}\"", super::PARTS)).unwrap_or_default();
    let first = super::picked(parts.as_deref()).next().context("BEDPLATE_GUEST_CASES picks no case")?;
    let mut guest = kit.guest(2, &word);
    guest.disks = disks::make(folder.path())?;
    guest.tpm = Some(at("tpm"));
    guest.serial.push(Serial::File(at("serial")));
    let digests = |disks: &[Disk]| {
        let named = disks.iter().filter_map(|disk| Some((disk.serial.clone()?, &disk.file)));
        let kept = named.filter(|(serial, _)| disks::is_kept(serial));
        kept.map(|(serial, file)| Ok((serial, fault::digest(file)?))).collect::<Result<Vec<_>>>()
    };
    let before = digests(&guest.disks)?;
    let began = Instant::now();
    let run = || -> Result<(bool, SerialLog)> {
        let mut running = RunningGuest::start(&guest, &kit.tools, folder.path())?;
        let began = Instant::now();
        let ended = wait_until("the guest switches itself off", 2 * PATIENCE, &interrupt, || {
            let on = running.check()?;
            let log = SerialLog::read(&at("serial"));
            let hangs = !began_cases(&log, first) && log.kernel_broke().is_some() && began.elapsed() > START;
            Ok((!on || hangs || began.elapsed() > PATIENCE).then_some(!on))
        })?;
        running.cut_power();
        Ok((ended, SerialLog::read(&at("serial"))))
    };
    let (mut ended, mut log) = match run() {
        // On a busy host QEMU's threads rarely trip over each other while the guest's firmware moves memory about, and it aborts.
        Err(error) if !began_cases(&SerialLog::read(&at("serial")), first) => {
            interrupt.check()?;
            progress.say(format!("the guest did not start; switched on again. {error:#}"));
            run()?
        }
        done => done?,
    };
    if let Some(said) = log.kernel_broke().filter(|_| !began_cases(&log, first)) {
        progress.say(format!("the guest's kernel broke down as it started; switched on again. It said:\n{said}"));
        (ended, log) = run()?;
    }
    let log = log.text().to_owned();
    let kept = target_folder().join("guest.log");
    std::fs::write(&kept, &log).with_context(|| format!("{} can't be written", kept.display()))?;
    let seconds = began.elapsed().as_secs_f64();
    progress.say(format!("the guest ran for {seconds:.1} s; what it said is in {}", kept.display()));
    let after = digests(&guest.disks)?;
    let digests = before.into_iter().zip(after).map(|((serial, before), (_, after))| (serial, (before, after)));
    Ok(Evidence { log, ended, digests: digests.collect(), tools: kit.tools, disks: guest.disks, _folder: folder })
}

/// Whether the guest's own program ran.
fn began_cases(log: &SerialLog, first: &str) -> bool {
    log.text().contains(&format!("case {first} begins"))
}
