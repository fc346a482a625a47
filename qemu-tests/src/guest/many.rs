//! A node with thirty disks that come in another order at each boot.
#![allow(clippy::disallowed_methods, reason = "edge: makes the guest's files")]

use super::config::{config, serials};
use super::disks::{self, SYSTEM};
use super::kit::Kit;
use crate::serial_log::SerialLog;
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use firstboot::storage::Took;
use image_builder::progress::Progress;
use image_builder::qemu::{Bus, Disk, Interrupt, RunningGuest, Serial};
use machine_config::schema::{Array, Format, Level, MachineConfig};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};

/// The word in the kernel's command line that has the guest's program run the storage unit once for [`wanted`].
pub const WORD: &str = "many";
/// The word that has it make what a script would: the same arrays and file systems with the same tools, one after the other,
/// on whole disks, with no look at them before.
pub const SCRIPT: &str = "many-script";
/// The word that has it make the same by Ignition's stage of disks, and mount that.
pub const IGNITION: &str = "many-ignition";
/// What that runs of the image.
pub const OF_IGNITION: [&str; 2] = ["/usr/bin/udevadm", "/usr/sbin/wipefs"];
/// What the guest's line begins with that tells what came of it: JSON of [`Seen`] follows.
pub const SAID: &str = "many disks: ";

/// How many boots.
const BOOTS: usize = 3;
const DISKS: usize = 30;
/// From one disk to the next, in each boot: none has a divisor in common with thirty, so every disk is there once.
const STEPS: [usize; BOOTS] = [1, 11, 29];
/// So many of them are the array's; each other one has a file system.
const MEMBERS: usize = 6;
const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(300);

/// What the guest saw and did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The kernel's names of the disks, in the order of [`numbers`].
    pub names: Vec<String>,
    /// Volumes: name, what they are mounted on, whether they are.
    pub volumes: Vec<(String, String, bool)>,
    /// Contents of the file that tells on which volume it was written, by mount point; none where there is no file yet.
    pub files: Vec<(String, Option<String>)>,
    /// Steps of the plan that wrote.
    pub writes: usize,
    /// Refusals and failures.
    pub refusals: Vec<String>,
    /// How long that took.
    pub took: Took,
}

/// Serial numbers of the disks.
pub fn numbers() -> Vec<String> {
    (1..=DISKS).map(|n| format!("D{n:02}")).collect()
}

/// What the node is to have: an array with two parities, and a file system on each other disk.
pub fn wanted() -> MachineConfig {
    let all = numbers();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let (members, each) = all.split_at(MEMBERS);
    let mut wanted = config(each, members, Format::Ext4);
    if let Some(array) = wanted.storage.array.get_mut("meta") {
        *array = Array { level: Level::Raid6, disks: serials(members), ..array.clone() };
    }
    wanted
}

/// Boots the guest three times on the same disks, attached in another order each time, and gives what it saw.
///
/// # Errors
/// When the guest can't be made or started, or does not come to its end.
pub fn boot(init: &Path) -> Result<Vec<Seen>> {
    boots(&Kit::make(init, &Progress::stderr())?, &[WORD; BOOTS])
}

/// Boots the guest on blank disks, once for each of these words, and gives what it saw.
///
/// # Errors
/// As [`boot`].
pub fn boots(kit: &Kit, words: &[&str]) -> Result<Vec<Seen>> {
    let (progress, interrupt) = (Progress::stderr(), Interrupt::catch()?);
    let folder = tempfile::Builder::new().prefix("bedplate-many-").tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let system = Disk::blank(&at(SYSTEM), 576 * MIB, SYSTEM)?;
    disks::image(&system.file)?;
    let many = numbers().into_iter().map(|serial| {
        let disk = Disk::blank(&at(&serial), 24 * MIB, &serial)?;
        Ok(Disk { bus: Bus::VirtioScsi, ..disk })
    });
    let many: Vec<Disk> = many.collect::<Result<_>>()?;
    let mut seen = Vec::new();
    for (number, word) in words.iter().enumerate() {
        let mut guest = kit.guest(2, word);
        guest.disks = vec![system.clone()];
        guest.disks.extend((0..DISKS).map(|place| many[(place * STEPS[number % BOOTS] + 7 * number) % DISKS].clone()));
        let serial = at(&format!("serial-{number}"));
        guest.serial.push(Serial::File(serial.clone()));
        let mut tries = 0;
        let log = loop {
            let began = Instant::now();
            let mut running = RunningGuest::start(&guest, &kit.tools, folder.path())?;
            wait_until("the guest with thirty disks switches itself off", 2 * PATIENCE, &interrupt, || {
                Ok((!running.check()? || began.elapsed() > PATIENCE).then_some(()))
            })?;
            running.cut_power();
            let log = SerialLog::read(&serial);
            match log.kernel_broke() {
                Some(said) if tries == 0 && !log.text().contains(SAID) => {
                    progress.say(format!("the guest's kernel broke down; switched on again. It said:\n{said}"));
                    tries += 1;
                }
                _ => break log,
            }
        };
        let said = log.text().lines().find_map(|line| line.trim_end().strip_prefix(SAID));
        let tail =
            || log.text().lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
        ensure!(said.is_some(), "boot {} did not come to its end:\n{}", number + 1, tail());
        seen.push(serde_json::from_str(said.unwrap_or_default()).with_context(tail)?);
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_has_every_disk_once() {
        for (number, step) in STEPS.into_iter().enumerate() {
            let mut places: Vec<usize> = (0..DISKS).map(|place| (place * step + 7 * number) % DISKS).collect();
            places.sort_unstable();
            assert_eq!(places, (0..DISKS).collect::<Vec<_>>());
        }
    }
}
