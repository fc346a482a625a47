//! Boots, measured: a machine with blank disks from power-on to Ready, shut down, and switched on again.

use super::figures::{BootRun, Boots, Step, hundredths};
use super::host;
use crate::bench::Bench;
use crate::boot::{self, Boot};
use anyhow::{Context, Result, bail, ensure};
use image_builder::progress::Progress;
use image_builder::qemu::Accelerator;
use std::time::{Duration, Instant};

/// How long a shutdown may take.
const SHUTDOWN: Duration = Duration::from_secs(90);

/// Measures `rounds` machines, each in a cluster of its own.
///
/// # Errors
/// When a machine stops, is not Ready in time, or writes to its disks at the second boot.
pub fn measure(bench: &Bench, rounds: usize, progress: &Progress) -> Result<Boots> {
    let mut boots = Boots { host: host::read(), qemu: qemu(bench)?, ..Boots::default() };
    boots.accelerator = match bench.accelerator {
        Accelerator::Kvm => "KVM".into(),
        Accelerator::Tcg => "TCG".into(),
    };
    for round in 1..=rounds {
        let mut plane = bench.control_plane()?;
        let mut machine = boot::machine(bench, &plane)?;
        (boots.guest_processors, boots.guest_memory_mib) = (machine.lab.cpus, machine.lab.memory);
        progress.say(format!("boot {round} of {rounds}: blank disks"));
        let first = boot::run(&mut machine, &mut plane, progress)?;
        ensure!(writes(&first)? > 0, "the first boot wrote to no disk: it was not one with blank disks");
        let down = Instant::now();
        if !machine.shut_down(SHUTDOWN)? {
            bail!("the machine did not shut down in {} s:\n{}", SHUTDOWN.as_secs(), machine.log().tail(25));
        }
        progress.say(format!("  switched off {:4.1} s after its power button", down.elapsed().as_secs_f64()));
        progress.say(format!("boot {round} of {rounds}: the same disks again"));
        let second = boot::run(&mut machine, &mut plane, progress)?;
        ensure!(writes(&second)? == 0, "the second boot wrote to a disk: it was not one that keeps everything");
        boots.first.push(figures(first)?);
        boots.second.push(figures(second)?);
    }
    Ok(boots)
}

fn writes(boot: &Boot) -> Result<u64> {
    boot.status["storage_writes"].as_u64().context("the node does not say how often it wrote to a disk")
}

fn figures(boot: Boot) -> Result<BootRun> {
    let phases: Vec<Step> =
        serde_json::from_value(boot.status["phases"].clone()).context("the node's phases are not as expected")?;
    ensure!(!phases.is_empty(), "the node tells no phases");
    // An image of before the agent told it has none.
    let pss_kib = serde_json::from_value(boot.status["pss_kib"].clone()).unwrap_or_default();
    Ok(BootRun { firmware: hundredths(boot.firmware), phases, ready: hundredths(boot.ready), pss_kib })
}

fn qemu(bench: &Bench) -> Result<String> {
    let said = bench.tools.tool("qemu-system-x86_64")?.command().arg("--version").run()?.stdout_text();
    let version = said.split_once("version ").and_then(|(_, rest)| rest.split([' ', '\n', '(']).next());
    Ok(version.context("QEMU does not tell its version")?.to_owned())
}
