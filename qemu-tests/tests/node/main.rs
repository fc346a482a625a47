//! Tier *node*: the whole image under Secure Boot, as it would run on a server.
//!
//! Boots are dear, so tests share them: `lifecycle` is one machine from its first power-on over a reboot to another disk in
//! its mirror, the others are machines that must stop, and one whose root has an image of an archive.

mod lifecycle;
mod ready_image;
mod refused_boot;
mod refused_config;
mod refused_disks;
mod replaced_disk;
mod system_disks;

use anyhow::Result;
use qemu_tests::bench::Bench;
use qemu_tests::tiers::{self, Shared};
use std::process::ExitCode;
use std::sync::Arc;

/// What the tests of this tier share.
#[derive(Default)]
struct Tier {
    bench: Shared<Bench>,
    lifecycle: Shared<lifecycle::Evidence>,
    ready_image: Shared<ready_image::Evidence>,
    system_disks: Shared<system_disks::Evidence>,
    refused_disks: Shared<refused_disks::Evidence>,
}

impl Tier {
    fn bench(&self) -> Result<&Bench> {
        self.bench.get(Bench::of_example)
    }
}

type Check = fn(&Tier) -> Result<()>;

fn main() -> ExitCode {
    let tier = Arc::new(Tier::default());
    let checks = [
        lifecycle::CHECKS,
        replaced_disk::CHECKS,
        system_disks::CHECKS,
        ready_image::CHECKS,
        refused_boot::CHECKS,
        refused_disks::CHECKS,
        refused_config::CHECKS,
    ]
    .concat();
    let trials = checks.into_iter().map(|(name, check)| {
        let tier = tier.clone();
        tiers::case(name, move || check(&tier))
    });
    tiers::run("node", trials.collect())
}
