//! Boots of something that was not signed: altered bytes, an added command line.
#![allow(clippy::disallowed_methods, reason = "edge: writes what SMBIOS hands over")]

use crate::{Check, Tier};
use anyhow::{Result, ensure};
use qemu_tests::fault;
use qemu_tests::machine::{BOOT, Machine};
use std::time::Duration;

pub const CHECKS: &[(&str, Check)] = &[
    ("a flipped bit in the uki is refused by the firmware", flipped_uki),
    ("a flipped bit in the root stops the boot with a page", flipped_root),
    ("init=/bin/sh handed over by smbios stops the boot", |t| added(t, "shell", "init=/bin/sh", "init=/bin/sh")),
    ("a second root hash handed over by smbios stops the boot", |t| {
        added(t, "roothash", &format!("roothash={}", "0".repeat(64)), "roothash=0000")
    }),
];

/// Where the magic number of EROFS lies, in the block that every mount reads first.
const EROFS_MAGIC: u64 = 1024;
/// How long a stopped machine is watched for signs of going round.
const WATCH: Duration = Duration::from_secs(15);

fn flipped_uki(tier: &Tier) -> Result<()> {
    let bench = tier.bench()?;
    let mut machine = Machine::new(bench, "flipped-uki")?;
    machine.make_disks()?;
    fault::flip_bit_of_uki(&machine.system_disk(), &bench.tools)?;
    machine.power_on()?;
    machine.wait("the firmware denies access", BOOT, |log| Ok(log.text().contains("Access Denied").then_some(())))?;
    std::thread::sleep(WATCH);
    ensure!(machine.log().kernels() == 0, "a kernel started:\n{}", machine.log().tail(20));
    Ok(())
}

fn flipped_root(tier: &Tier) -> Result<()> {
    let mut machine = Machine::new(tier.bench()?, "flipped-root")?;
    machine.make_disks()?;
    fault::flip_bit_of_root(&machine.system_disk(), EROFS_MAGIC)?;
    machine.power_on()?;
    let page = machine.wait_for_page("STOPPED", BOOT)?;
    ensure!(page.contains("BP-B006"), "{page}");
    stays(&machine)
}

/// systemd-stub appends this string to the signed command line, even under Secure Boot; stage 1 must not go on.
fn added(tier: &Tier, name: &str, words: &str, shown: &str) -> Result<()> {
    let mut machine = Machine::new(tier.bench()?, name)?;
    let file = machine.folder().join("extra.oem");
    std::fs::write(&file, format!("io.systemd.stub.kernel-cmdline-extra={words}"))?;
    machine.oem_strings = vec![file];
    machine.power_on()?;
    let page = machine.wait_for_page("STOPPED", BOOT)?;
    ensure!(page.contains("BP-B001") && page.contains(shown), "{page}");
    stays(&machine)
}

/// The machine neither starts again nor goes on.
fn stays(machine: &Machine) -> Result<()> {
    std::thread::sleep(WATCH);
    let log = machine.log();
    let phases: Vec<_> = log.phases().into_iter().map(|p| p.name).collect();
    ensure!(log.kernels() <= 1, "the machine went round:\n{}", log.tail(20));
    ensure!(!phases.iter().any(|p| p == "systemd"), "the boot went on: {phases:?}");
    Ok(())
}
