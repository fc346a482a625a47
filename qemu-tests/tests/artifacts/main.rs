//! Tier *artifacts*: every kind of artifact starts a machine under Secure Boot.
//!
//! A boot counts when stage 1 has verified the root and become systemd, and the agent says so on the serial port. One of
//! them goes on to the page that tells what a node without a system disk does.

use anyhow::{Context, Result, ensure};
use image_builder::package::name;
use image_builder::qemu::{Disk, Network, Start};
use qemu_tests::bench::Bench;
use qemu_tests::fault;
use qemu_tests::machine::{BOOT, Machine};
use qemu_tests::site::{self, NODE};
use qemu_tests::tiers::{self, Shared};
use qemu_tests::web::Web;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

type Check = fn(&Bench) -> Result<()>;

const CHECKS: [(&str, Check); 5] = [
    ("disk.qcow2 starts", qcow2),
    ("node.efi is fetched by http boot, and a node without a system disk says so and writes to none", http),
    ("node.iso starts as a disc", |bench| in_memory(bench, "disc", Start::Disc)),
    ("node.iso starts as a usb stick", |bench| in_memory(bench, "stick", Start::Stick)),
    ("netboot/node.efi is fetched by pxe", pxe),
];

/// Memory of every machine in MiB, to find how little will do.
const MEMORY: &str = "BEDPLATE_MEMORY";
/// Firmware in software emulation fetches some megabytes a second.
const FETCH: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    let bench: Arc<Shared<Bench>> = Arc::default();
    let trials = CHECKS.into_iter().map(|(name, check)| {
        let bench = bench.clone();
        tiers::case(name, move || check(bench.get(Bench::of_example)?))
    });
    tiers::run("artifacts", trials.collect())
}

fn machine<'b>(bench: &'b Bench, name: &str, start: Start) -> Result<Machine<'b>> {
    let mut machine = Machine::new(bench, name)?;
    machine.lab.start = start;
    if let Ok(memory) = std::env::var(MEMORY) {
        machine.lab.memory = memory.parse().with_context(|| format!("{MEMORY} is no number of MiB"))?;
    }
    Ok(machine)
}

/// The agent runs: it has told its first phase, on the root of the release.
fn agent_runs(machine: &mut Machine, patience: Duration) -> Result<()> {
    machine
        .wait("the agent runs", patience, |log| Ok(log.phases().iter().any(|p| p.name == "systemd").then_some(())))?;
    let log = machine.log();
    ensure!(log.phases().iter().any(|p| p.name == "stage1"), "stage 1 did not run:\n{}", log.tail(20));
    ensure!(log.kernels() == 1, "the machine went round:\n{}", log.tail(20));
    Ok(())
}

fn qcow2(bench: &Bench) -> Result<()> {
    let mut machine = machine(bench, "qcow2", Start::Qcow2)?;
    machine.power_on()?;
    agent_runs(&mut machine, BOOT)
}

/// Without a configuration the node waits for one; the page says that the root is in memory.
fn in_memory(bench: &Bench, name: &str, start: Start) -> Result<()> {
    let mut machine = machine(bench, name, start)?;
    machine.power_on()?;
    agent_runs(&mut machine, FETCH)?;
    let page = machine.wait_for_page("WAITING", BOOT)?;
    ensure!(page.contains("(in memory)") && page.contains("BP-B020"), "{page}");
    Ok(())
}

/// A configuration that asks for two blank disks, which are there: what a careless node would take for its own.
fn http(bench: &Bench) -> Result<()> {
    let web = Web::serve(&bench.release)?;
    let mut machine = machine(bench, NODE, Start::Uri(web.uri(name::NODE)))?;
    for serial in site::DISKS {
        machine.disks.push(Disk::blank(&machine.folder().join(format!("{serial}.raw")), 1 << 30, serial)?);
    }
    let digests = |machine: &Machine| machine.disks.iter().map(|d| fault::digest(&d.file)).collect::<Result<Vec<_>>>();
    let before = digests(&machine)?;
    let join = qemu_tests::control_plane::pki::Authority::new("test")?.join(NODE)?;
    machine.configure(&bench.bundle(&site::one_node("https://10.0.2.2:6443")?, NODE, &join)?)?;
    machine.power_on()?;
    agent_runs(&mut machine, FETCH)?;
    let served = web.served();
    ensure!(served.contains(&format!("GET /{}", name::NODE)), "the firmware fetched {served:?}");
    let page = machine.wait_for_page("STOPPED", BOOT)?;
    ensure!(page.contains("BP-S021") && page.contains("(in memory)"), "{page}");
    ensure!(page.matches("BP-S0").count() == 1, "more than that is refused:\n{page}");
    // It looks again every half a minute.
    std::thread::sleep(Duration::from_secs(10));
    ensure!(machine.log().kernels() == 1, "the machine went round");
    machine.cut_power();
    ensure!(digests(&machine)? == before, "a disk was written to");
    Ok(())
}

fn pxe(bench: &Bench) -> Result<()> {
    let mut machine = machine(bench, "pxe", Start::Network)?;
    let file = name::NODE.to_owned();
    machine.network = Some(Network::Pxe { folder: bench.release.join(name::NETBOOT), file });
    machine.power_on()?;
    agent_runs(&mut machine, FETCH)
}
