//! Disks of somebody else, and a disk that is not there: the node stops, names each, and writes to none.

use crate::{Check, Tier};
use anyhow::{Result, ensure};
use image_builder::qemu::Disk;
use qemu_tests::fault::{self, foreign::Foreign};
use qemu_tests::machine::{BOOT, Machine};
use qemu_tests::site::NODE;
use std::time::Duration;

pub const CHECKS: &[(&str, Check)] =
    &[("foreign disks and a missing one are named, and no byte of any disk changes", foreign_and_missing)];

const FOREIGN: [(Foreign, &str); 4] = [
    (Foreign::Ext4, "FOREIGN-EXT4"),
    (Foreign::Luks, "FOREIGN-LUKS"),
    (Foreign::Zfs, "FOREIGN-ZFS"),
    (Foreign::Md, "FOREIGN-MD"),
];
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
volume.two = { format = "xfs", mount = "/var/lib/volumes/two" }

[machine.n1.array.three]
level = 1
disks = { serial = ["BLANK-1", "GONE-1"] }
volume.three = { format = "xfs", mount = "/var/lib/volumes/three" }
"#;

fn foreign_and_missing(tier: &Tier) -> Result<()> {
    let bench = tier.bench()?;
    let mut machine = Machine::new(bench, "foreign")?;
    machine.lab.serial = Some("BEDPLATE-N1".into());
    for serial in FOREIGN.map(|(_, serial)| serial).into_iter().chain([LONELY, SPARE]) {
        machine.disks.push(Disk::blank(&machine.folder().join(format!("{serial}.raw")), 256 << 20, serial)?);
    }
    for ((kind, _), disk) in FOREIGN.iter().zip(&machine.disks) {
        kind.write(&disk.file)?;
    }
    let digests = |machine: &Machine| machine.disks.iter().map(|d| fault::digest(&d.file)).collect::<Result<Vec<_>>>();
    let before = digests(&machine)?;
    let join = qemu_tests::control_plane::pki::Authority::new("test")?.join(NODE)?;
    machine.configure(&bench.bundle(SITE, NODE, &join)?)?;
    machine.power_on()?;
    let page = machine.wait_for_page("STOPPED", BOOT)?;
    for (kind, serial) in FOREIGN {
        ensure!(page.contains(serial), "the page does not name {serial}:\n{page}");
        ensure!(page.to_lowercase().contains(&kind.name().to_lowercase()), "it does not say {}:\n{page}", kind.name());
    }
    ensure!(page.contains("BP-S014"), "{page}");
    ensure!(page.contains("BP-S001") && page.contains(MISSING), "the page does not name {MISSING}:\n{page}");
    ensure!(!page.contains(SPARE), "the page names a disk that nobody asked for:\n{page}");
    // It looks at the disks again and again; none of those looks may write.
    std::thread::sleep(Duration::from_secs(35));
    machine.cut_power();
    let after = digests(&machine)?;
    for ((disk, before), after) in machine.disks.iter().zip(before).zip(after) {
        ensure!(before == after, "{} was written to", disk.file.display());
    }
    Ok(())
}
