//! Tier *guest*: the kernel and the agent's own storage code in an initrd, all cases in one boot.
//!
//! Each case of [`guest::CASES`] is one test, and holds only if the guest said so. What must not have changed is
//! compared by the host: by the digest of the disks' files before and after the boot.

use anyhow::{Context, Result, bail, ensure};
use image_builder::qemu::Disk;
use qemu_tests::fault::foreign::Foreign;
use qemu_tests::guest::boot::{Evidence, boot};
use qemu_tests::guest::{self, CASES, FOREIGN, LZ4_IMAGE, MISSING, Said, TAKEN_PLACE, ZSTD_IMAGE, disks, images, many};
use qemu_tests::tiers::{self, Shared};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// The guest's first program, built by cargo together with this test.
const INIT: &str = env!("CARGO_BIN_EXE_guest-init");

type Check = Box<dyn Fn(&Evidence) -> Result<()> + Send>;

fn main() -> ExitCode {
    let shared: Arc<Shared<Evidence>> = Arc::default();
    let test = |name: &str, check: Check| {
        let shared = shared.clone();
        tiers::case(name, move || check(shared.get(|| boot(Path::new(INIT)))?))
    };
    let mut trials = Vec::new();
    for name in CASES {
        trials.push(test(name, Box::new(|evidence| case(evidence, name))));
    }
    trials.push(test("the foreign disks are what blkid takes them for", Box::new(foreign_as_blkid_sees_it)));
    trials.push(test("the guest came to its end", Box::new(came_to_its_end)));
    trials
        .push(tiers::case("invariant 1: thirty disks in another order at each boot are the same volumes", many_disks));
    tiers::run("guest", trials)
}

/// The guest said that it held, and the disks it must not touch are as they were.
fn case(evidence: &Evidence, name: &str) -> Result<()> {
    let (said, log) = guest::said(&evidence.log, name);
    match said {
        Some(Said::Ok) => {}
        Some(Said::Failed(why)) => bail!("{why}\n{}", tail(log)),
        None if log.is_empty() => bail!("it did not run; the guest's last words:\n{}", tail(&evidence.log)),
        None => bail!("it did not come to an end:\n{}", tail(log)),
    }
    if let Some((_, foreign)) = FOREIGN.iter().find(|(case, _)| *case == name) {
        unchanged(evidence, &disks::serial(*foreign))?;
        unchanged(evidence, disks::LONE)?;
    }
    if let Some(number) = [ZSTD_IMAGE, LZ4_IMAGE].iter().position(|case| *case == name) {
        unchanged(evidence, images::IMAGES[number].0)?;
    }
    if name == TAKEN_PLACE {
        unchanged(evidence, &disks::serial(Foreign::Ext4))?;
        unchanged(evidence, disks::SPARE)?;
    }
    if name == MISSING {
        unchanged(evidence, disks::LONE)?;
        unchanged(evidence, disks::SPARE)?;
    }
    Ok(())
}

fn unchanged(evidence: &Evidence, serial: &str) -> Result<()> {
    let (before, after) = evidence.digests.get(serial).with_context(|| format!("there is no disk {serial}"))?;
    ensure!(before == after, "the disk {serial} was written to: its SHA-256 was {before} and is {after}");
    Ok(())
}

/// Not our probe but util-linux's program of the tools tree: a fixture that nobody recognises would prove nothing.
fn foreign_as_blkid_sees_it(evidence: &Evidence) -> Result<()> {
    for (foreign, expected) in [
        (Foreign::Ext4, &["LABEL=backup-2019", "UUID=3f2a6c1e-7b1d-4c55-9d0a-0f6f2d9b8e11", "TYPE=ext4"][..]),
        (Foreign::Luks, &["VERSION=2", "UUID=3f2a6c1e-7b1d-4c55-9d0a-0f6f2d9b8e11", "TYPE=crypto_LUKS"]),
        (Foreign::Zfs, &["VERSION=5000", "LABEL=tank", "UUID=4551569251581643861", "TYPE=zfs_member"]),
        (Foreign::Md, &["VERSION=1.2", "LABEL=elsewhere:0", "TYPE=linux_raid_member"]),
        (Foreign::Gpt, &["PTTYPE=gpt", "PTUUID=3f2a6c1e-7b1d-4c55-9d0a-0f6f2d9b8e11"]),
    ] {
        let disk = evidence.disk(&disks::serial(foreign));
        is_to_blkid(evidence, &disk, expected)?;
    }
    // The others have no disk of their own in the guest.
    let folder = tempfile::tempdir()?;
    for (foreign, expected) in [
        (Foreign::Luks1, &["VERSION=1", "UUID=3f2a6c1e-7b1d-4c55-9d0a-0f6f2d9b8e11", "TYPE=crypto_LUKS"][..]),
        (Foreign::Md0, &["VERSION=0.90.0", "TYPE=linux_raid_member"]),
        (Foreign::MdEnd, &["VERSION=1.0", "LABEL=elsewhere:0", "TYPE=linux_raid_member"]),
        (Foreign::MdStart, &["VERSION=1.1", "LABEL=elsewhere:0", "TYPE=linux_raid_member"]),
        (Foreign::Imsm, &["VERSION=1.3.00", "TYPE=isw_raid_member"]),
        (Foreign::Ddf, &["VERSION=02.00.00", "TYPE=ddf_raid_member"]),
        (Foreign::Lvm2, &[r"VERSION=LVM2\ 001", "TYPE=LVM2_member"]),
        (Foreign::Bcache, &["UUID=3f2a6c1e-7b1d-4c55-9d0a-0f6f2d9b8e11", "TYPE=bcache"]),
        (Foreign::Swap, &["LABEL=backup-2019", "VERSION=1", "TYPE=swap"]),
        (Foreign::Hybrid, &["PTTYPE=gpt", "PTUUID=3f2a6c1e-7b1d-4c55-9d0a-0f6f2d9b8e11"]),
        (Foreign::Dos, &["PTTYPE=dos", "PTUUID=3f2a6c1e"]),
    ] {
        let disk = Disk::blank(&folder.path().join(disks::serial(foreign)), 64 << 20, "")?;
        foreign.write(&disk.file)?;
        is_to_blkid(evidence, &disk.file, expected)?;
    }
    Ok(())
}

fn is_to_blkid(evidence: &Evidence, disk: &Path, expected: &[&str]) -> Result<()> {
    let blkid = evidence.tools.tool("blkid")?;
    let said = blkid.command().args(["--probe", "--output", "export"]).arg(disk).run()?.stdout_text();
    for line in expected {
        ensure!(said.lines().any(|l| l == *line), "blkid does not say {line} of {}:\n{said}", disk.display());
    }
    Ok(())
}

/// The first boot makes all volumes, the others find each on the disk it was made on, and write nothing.
fn many_disks() -> Result<()> {
    let seen = many::boot(Path::new(INIT))?;
    let [first, later @ ..] = &seen[..] else { bail!("there were no boots") };
    ensure!(first.refusals.is_empty() && first.volumes.iter().all(|(.., there)| *there), "{first:?}");
    ensure!(first.volumes.len() == 26 && first.files.iter().all(|(_, file)| file.is_none()), "{first:?}");
    ensure!(first.names.iter().any(|name| name.len() > 3), "the kernel knows no disk sdaa: {:?}", first.names);
    for boot in later {
        ensure!(boot.names != first.names, "the disks came in the same order: {:?}", boot.names);
        ensure!(boot.refusals.is_empty() && boot.writes == 0, "{boot:?}");
        ensure!(boot.volumes == first.volumes, "{:?} were {:?}", boot.volumes, first.volumes);
        for (volume, mount, _) in &boot.volumes {
            let file = boot.files.iter().find(|(at, _)| at == mount).and_then(|(_, file)| file.as_ref());
            ensure!(file == Some(volume), "{mount} should have what was written to {volume}, and has {file:?}");
        }
    }
    Ok(())
}

/// A guest that hangs or falls over after its last case is no success either.
fn came_to_its_end(evidence: &Evidence) -> Result<()> {
    ensure!(evidence.ended, "it did not switch itself off; its last words:\n{}", tail(&evidence.log));
    let ran = evidence.log.lines().filter(|l| l.starts_with("case ") && l.ends_with(" begins")).count();
    ensure!(ran == CASES.len(), "it ran {ran} cases, not {}", CASES.len());
    Ok(())
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
