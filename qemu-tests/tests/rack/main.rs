//! Tier *rack*: several machines on one network.

use anyhow::{Result, ensure};
use image_builder::qemu::{Network, NewDisk, RunningGuest};
use qemu_tests::bench::Bench;
use qemu_tests::machine::{BOOT, Machine};
use qemu_tests::site;
use qemu_tests::tiers::{self, case};
use std::process::ExitCode;

fn main() -> ExitCode {
    tiers::run("rack", vec![case("two machines of one site file join one cluster", two_nodes)])
}

fn two_nodes() -> Result<()> {
    let bench = Bench::of_example()?;
    let mut plane = bench.control_plane()?;
    let switch = bench.folder("switch")?;
    let ports = ["n1", "n2"].map(|name| switch.join(name));
    let _switch = RunningGuest::start_switch(&ports, &bench.tools, &switch)?;
    let first = site::one_node(&plane.endpoint())?;
    let text = format!(
        "{first}\n[machine.n2]\nmatch = {{ serial = \"BEDPLATE-N2\" }}\nnetwork.uplink = {{ name = \"en*\", dhcp = true }}\n"
    );
    let mut machines = Vec::new();
    for (index, (name, socket)) in ["n1", "n2"].into_iter().zip(ports).enumerate() {
        let mut machine = Machine::new(&bench, name)?;
        machine.network = Some(Network::Switch { socket, mac: format!("52:54:00:be:d0:0{}", index + 1) });
        if name == site::NODE {
            machine.lab.disks = site::DISKS.map(|serial| NewDisk { size: 1 << 30, serial: serial.into() }).into();
        }
        machine.configure(&bench.bundle(&text, name, &plane.join(name)?)?)?;
        machine.power_on()?;
        machines.push(machine);
    }
    let mut addresses = Vec::new();
    for machine in &mut machines {
        let (node, _) = machine.wait_until_ready(&mut plane, 2 * BOOT)?;
        let all = node["status"]["addresses"].as_array().cloned().unwrap_or_default();
        addresses.extend(all.into_iter().filter(|a| a["type"] == "InternalIP"));
    }
    ensure!(addresses.len() == 2 && addresses[0] != addresses[1], "the nodes' addresses are {addresses:?}");
    Ok(())
}
