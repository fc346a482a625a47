//! A node whose state is mirrored on two system disks: the firmware starts it from either, under Secure Boot, and it goes on.
#![allow(clippy::disallowed_methods, reason = "edge: renames the file of a disk")]

use crate::{Check, Tier};
use anyhow::{Context, Result, ensure};
use image_builder::qemu::{NewDisk, Start};
use qemu_tests::control_plane::ControlPlane;
use qemu_tests::machine::{BOOT, Machine};
use qemu_tests::site;
use serde_json::{Value, json};
use std::time::Duration;

pub const CHECKS: &[(&str, Check)] = &[
    ("the state is mirrored on a second system disk, which gets the image", |t| made(evidence(t)?)),
    ("a node whose first system disk is gone starts from the other, by the configuration that it kept", |t| {
        started_from_the_other(evidence(t)?)
    }),
    ("both system disks in the place of the other are known, and the one that was away is taken back", |t| {
        swapped(evidence(t)?)
    }),
];

/// How long the first boot may take: five gigabytes are read from either disk, in software some 60 MB a second.
const COPYING: Duration = BOOT.saturating_mul(4);
const FIRST: &str = "SYSTEM-A";
const SECOND: &str = "SYSTEM-B";

/// What pods saw at each start.
pub struct Evidence {
    token: String,
    first: Value,
    without_the_first: Seen,
    swapped: Seen,
}

struct Seen {
    status: Value,
    proof: String,
}

fn evidence(tier: &Tier) -> Result<&Evidence> {
    tier.system_disks.get(|| gather(tier))
}

fn gather(tier: &Tier) -> Result<Evidence> {
    let bench = tier.bench()?;
    let mut plane = bench.control_plane()?;
    let mut machine = Machine::new(bench, site::NODE)?;
    let disk = |serial: &str| NewDisk { size: 8 << 30, serial: serial.into() };
    let data = || site::DISKS.map(|serial| NewDisk { size: 1 << 30, serial: serial.into() });
    machine.lab.system_size = disk(FIRST).size;
    machine.lab.system_serial = Some(FIRST.into());
    machine.lab.disks = std::iter::once(disk(SECOND)).chain(data()).collect();
    let mirrored = format!("\n[machine.n1.system]\ndisks = {{ serial = [{FIRST:?}, {SECOND:?}] }}\n");
    let text = site::one_node(&plane.endpoint())? + &mirrored;
    machine.configure(&bench.bundle(&text, site::NODE, &plane.join(site::NODE)?)?)?;
    machine.power_on()?;
    machine.wait_until_ready(&mut plane, COPYING)?;
    let token = uuid::Uuid::new_v4().to_string();
    machine.probe(&mut plane, "first", &format!("echo {token} > /volumes/on-state; sync"))?;
    // What was never written is no matter, so nothing waits for the first sync.
    let first = machine.status(&mut plane, "first-status")?;
    ensure!(machine.shut_down(Duration::from_secs(90))?, "the node did not go down by itself");

    std::fs::rename(machine.system_disk(), disk(FIRST).file_in(machine.folder()))?;
    machine.lab.start = Start::OwnDisks;
    machine.lab.config = None;
    let without_the_first = start(&mut machine, &mut plane, "without")?;
    ensure!(machine.shut_down(Duration::from_secs(90))?, "the node did not go down by itself");

    machine.lab.disks = [SECOND, FIRST].into_iter().map(disk).chain(data()).collect();
    let swapped = start(&mut machine, &mut plane, "swapped")?;
    Ok(Evidence { token, first, without_the_first, swapped })
}

fn start(machine: &mut Machine, plane: &mut ControlPlane, pod: &str) -> Result<Seen> {
    machine.power_on()?;
    machine.wait_until_ready(plane, BOOT)?;
    let proof = machine.probe(plane, pod, "cat /volumes/on-state")?.trim().to_owned();
    Ok(Seen { status: machine.status(plane, &format!("{pod}-status"))?, proof })
}

fn state(status: &Value) -> Result<&Value> {
    let mut volumes = status["volumes"].as_array().into_iter().flatten();
    volumes.find(|v| v["volume"] == "state").context("the status has no state")
}

fn made(seen: &Evidence) -> Result<()> {
    let state = state(&seen.first)?;
    ensure!(state["level"] == 1 && state["members"] == json!([2, 2]) && state["mount"] == "/var", "{state}");
    for serial in [FIRST, SECOND] {
        ensure!(state["disks"].to_string().contains(serial), "{serial} is no member: {state}");
    }
    Ok(())
}

fn started_from_the_other(seen: &Evidence) -> Result<()> {
    let Seen { status, proof } = &seen.without_the_first;
    ensure!(*proof == seen.token, "the file on the state holds {proof:?}, and was written as {}", seen.token);
    ensure!(status["state"] == "degraded", "{status}");
    ensure!(status["config"]["source"].to_string().contains("kept"), "the configuration is another: {status}");
    let state = state(status)?;
    ensure!(state["members"] == json!([1, 2]) && state["available"] == true, "{state}");
    Ok(())
}

fn swapped(seen: &Evidence) -> Result<()> {
    let Seen { status, proof } = &seen.swapped;
    ensure!(*proof == seen.token, "the file on the state holds {proof:?}, and was written as {}", seen.token);
    let state = state(status)?;
    ensure!(state["disks"].to_string().contains(FIRST) && state["available"] == true, "{state}");
    let back = state["members"] == json!([2, 2]) || state["rebuilding"].is_object();
    ensure!(back, "the first disk is not taken back: {state}");
    Ok(())
}
