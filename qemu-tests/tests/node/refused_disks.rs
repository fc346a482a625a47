//! Disks of somebody else, and a disk that is not there: the node stops, names each, and writes to none but those that permits
//! on a stick are for.
#![allow(clippy::disallowed_methods, reason = "edge: lays out the desk at which permits are signed")]

use crate::{Check, Tier};
use anyhow::{Context, Result, ensure};
use image_builder::qemu::Disk;
use qemu_tests::bench::Bench;
use qemu_tests::fault::{self, foreign::Foreign};
use qemu_tests::machine::{BOOT, Machine};
use qemu_tests::site::NODE;
use qemu_tests::tiers::target_folder;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

pub const CHECKS: &[(&str, Check)] = &[
    ("foreign disks and a missing one are named, and no byte of any disk changes", named),
    ("permits on a stick, made by the commands on the page, free their disks and no others", freed),
];

const FOREIGN: [(Foreign, &str); 4] = [
    (Foreign::Ext4, "FOREIGN-EXT4"),
    (Foreign::Luks, "FOREIGN-LUKS"),
    (Foreign::Zfs, "FOREIGN-ZFS"),
    (Foreign::Md, "FOREIGN-MD"),
];
/// Of each: room for XFS.
const SIZE: u64 = 320 << 20;
/// Those that permits are given for: all of the one array that the node must not run without.
const FREED: [&str; 2] = ["FOREIGN-EXT4", "FOREIGN-LUKS"];
/// Blank, and asked for together with one that is not there.
const LONELY: &str = "BLANK-1";
const MISSING: &str = "GONE-1";
/// Blank, and nowhere in the site file: what a careless program would take instead.
const SPARE: &str = "SPARE-1";

const SITE: &str = r#"
format = 1
revision = 1

[cluster]
id = "5b0a7d0e-3a54-4b52-9a3e-8f2d3c6f7a10"
name = "test"
api = ["https://10.0.2.2:6443"]

[machine.n1]
match = { serial = "BEDPLATE-N1" }
network.uplink = { name = "en*", dhcp = true }

[machine.n1.array.one]
level = 1
disks = { serial = ["FOREIGN-EXT4", "FOREIGN-LUKS"] }
volume.one = { format = "xfs", mount = "/var/lib/volumes/one" }

[machine.n1.array.two]
level = 1
disks = { serial = ["FOREIGN-ZFS", "FOREIGN-MD"] }
volume.two = { format = "xfs", mount = "/var/lib/volumes/two", required = false }

[machine.n1.array.three]
level = 1
disks = { serial = ["BLANK-1", "GONE-1"] }
volume.three = { format = "xfs", mount = "/var/lib/volumes/three", required = false }
"#;

/// What was seen of it.
pub struct Evidence {
    /// The page with which it stopped.
    page: String,
    /// Disks that had other bytes when it had looked at them for a while.
    changed: Vec<String>,
    /// The same when permits for those of the first array had been plugged in.
    freed: Vec<String>,
}

fn evidence(tier: &Tier) -> Result<&Evidence> {
    tier.refused_disks.get(|| gather(tier))
}

fn gather(tier: &Tier) -> Result<Evidence> {
    let bench = tier.bench()?;
    let mut machine = Machine::new(bench, "foreign")?;
    machine.lab.serial = Some("BEDPLATE-N1".into());
    machine.usb = true;
    for serial in FOREIGN.map(|(_, serial)| serial).into_iter().chain([LONELY, SPARE]) {
        machine.disks.push(Disk::blank(&machine.folder().join(format!("{serial}.raw")), SIZE, serial)?);
    }
    for ((kind, _), disk) in FOREIGN.iter().zip(&machine.disks) {
        kind.write(&disk.file)?;
    }
    let disks = machine.disks.clone();
    let digests = || disks.iter().map(|disk| fault::digest(&disk.file)).collect::<Result<Vec<_>>>();
    let before = digests()?;
    let changed = || -> Result<Vec<String>> {
        let now = digests()?;
        let other = disks.iter().zip(before.iter().zip(&now)).filter(|(_, (before, now))| before != now);
        Ok(other.filter_map(|(disk, _)| disk.serial.clone()).collect())
    };
    let join = qemu_tests::control_plane::pki::Authority::new("test")?.join(NODE)?;
    machine.configure(&bench.bundle(SITE, NODE, &join)?)?;
    machine.power_on()?;
    let page = machine.wait_for_page("STOPPED", BOOT)?;
    // It looks at the disks again and again; none of those looks may write.
    std::thread::sleep(Duration::from_secs(35));
    let looked_at = changed()?;
    let permits = FREED.map(|serial| permit(bench, &machine, &page, serial));
    let permits = permits.into_iter().collect::<Result<Vec<_>>>()?;
    let said = machine.log().text().len();
    machine.plug_stick_with("permits", &permits)?;
    machine.wait("the array is made of the disks that it may erase", BOOT, |log| {
        Ok(log.text()[said..].contains("bedplate: phase storage ").then_some(()))
    })?;
    machine.cut_power();
    Ok(Evidence { page, changed: looked_at, freed: changed()? })
}

/// The file that the command makes which the page shows for this disk, at a desk with the site file and the keys.
fn permit(bench: &Bench, machine: &Machine<'_>, page: &str, serial: &str) -> Result<PathBuf> {
    let begins = format!("bedplate permit erase n1 {serial} ");
    let command = page.lines().find_map(|line| line.trim().starts_with(&begins).then(|| line.trim()));
    let command = command.with_context(|| format!("the page has no command for {serial}:\n{page}"))?;
    let desk = machine.folder().join("desk");
    if !desk.exists() {
        std::fs::create_dir(&desk)?;
        std::fs::write(desk.join("site.toml"), SITE)?;
        std::os::unix::fs::symlink(bench.keys(), desk.join("keys"))?;
    }
    let mut shell = Command::new("/bin/sh");
    let with = shell.arg("-euc").arg(command).current_dir(&desk).env("PATH", target_folder().join("debug"));
    let done = with.output()?;
    ensure!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(desk.join(format!("n1-{serial}.permit")))
}

fn named(tier: &Tier) -> Result<()> {
    let seen = evidence(tier)?;
    let page = &seen.page;
    for (kind, serial) in FOREIGN {
        ensure!(page.contains(serial), "the page does not name {serial}:\n{page}");
        ensure!(page.to_lowercase().contains(&kind.name().to_lowercase()), "it does not say {}:\n{page}", kind.name());
    }
    ensure!(page.contains("BP-S014"), "{page}");
    ensure!(page.contains("BP-S001") && page.contains(MISSING), "the page does not name {MISSING}:\n{page}");
    ensure!(!page.contains(SPARE), "the page names a disk that nobody asked for:\n{page}");
    ensure!(seen.changed.is_empty(), "{:?} were written to", seen.changed);
    Ok(())
}

fn freed(tier: &Tier) -> Result<()> {
    let freed = &evidence(tier)?.freed;
    ensure!(*freed == FREED, "{freed:?} were written to");
    Ok(())
}
