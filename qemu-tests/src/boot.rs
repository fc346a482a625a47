//! The example's node, from power-on to Ready: what the demo shows and the benchmark measures.

use crate::bench::Bench;
use crate::control_plane::ControlPlane;
use crate::machine::{BOOT, Machine};
use crate::site;
use anyhow::{Result, ensure};
use image_builder::progress::Progress;
use image_builder::qemu::NewDisk;
use serde_json::Value;
use std::time::Duration;

/// Size of each data disk in bytes.
const DISK: u64 = 2 << 30;

/// A boot that came to Ready.
#[derive(Debug)]
pub struct Boot {
    /// Seconds from power-on to the kernel's start.
    pub firmware: f64,
    /// Seconds from power-on to Ready, as the cluster says.
    pub ready: f64,
    /// The node object.
    pub node: Value,
    /// What the node says of itself; its phases are in it.
    pub status: Value,
}

/// The machine of the example, switched off: two blank disks, and a bundle for this cluster.
///
/// # Errors
/// When its files can't be made.
pub fn machine<'b>(bench: &'b Bench, plane: &ControlPlane) -> Result<Machine<'b>> {
    let mut machine = Machine::new(bench, site::NODE)?;
    machine.lab.disks = site::DISKS.map(|serial| NewDisk { size: DISK, serial: serial.into() }).into();
    let site = site::one_node(&plane.endpoint())?;
    machine.configure(&bench.bundle(&site, site::NODE, &plane.join(site::NODE)?)?)?;
    Ok(machine)
}

/// Switches it on and waits until it is Ready, saying each phase as it passes.
///
/// # Errors
/// When it stops, or is not Ready in time.
pub fn run(machine: &mut Machine, plane: &mut ControlPlane, progress: &Progress) -> Result<Boot> {
    machine.power_on()?;
    machine.wait("the kernel starts", BOOT, |log| Ok(log.phases().first().cloned()))?;
    let firmware = machine.firmware_seconds().unwrap_or_default();
    progress.say(format!("  firmware   {firmware:6.1} s"));
    let mut shown = 0;
    // Phases pass by while the cluster is asked; one loop watches both.
    let (node, total) = machine.wait_until_ready_watching(plane, BOOT, |log| {
        for phase in log.phases().iter().skip(shown) {
            progress.say(format!("  {:<10} {:6.1} s after the kernel's start", phase.name, phase.at));
            shown += 1;
        }
        let stopped = log.page().filter(|p| p.contains("STOPPED"));
        ensure!(stopped.is_none(), "the node stopped:\n{}", stopped.unwrap_or_default());
        Ok(())
    })?;
    let ready = total.as_secs_f64();
    progress.say(format!("  Ready      {ready:6.1} s after power-on"));
    let status = machine.wait("it tells its status", Duration::from_secs(60), |log| Ok(log.status()))?;
    Ok(Boot { firmware, ready, node, status })
}
