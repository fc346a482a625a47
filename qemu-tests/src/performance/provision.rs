//! Provisioning, measured: thirty blank disks to volumes, the same disks at the next boot, and beside them what a script
//! would do with the same tools, and what Ignition does.

use super::builds::Builder;
use super::figures::{Provision, ProvisionRun, hundredths};
use super::{host, ignition};
use crate::guest::kit::Kit;
use crate::guest::many::{self, IGNITION, OF_IGNITION, SCRIPT, Seen, WORD};
use anyhow::{Result, bail, ensure};
use firstboot::storage::Took;
use image_builder::progress::Progress;
use std::path::Path;

/// Measures `rounds` guests with the first program `init`.
///
/// # Errors
/// When a guest does not come to its end, a volume is not made, or one is not kept.
pub fn measure(init: &Path, builder: &Builder, rounds: usize, progress: &Progress) -> Result<Provision> {
    let mut provision = Provision { host: host::read(), disks: many::numbers().len(), ..Provision::default() };
    let (program, version) = ignition::program(builder, progress)?;
    provision.ignition_version = version;
    let kit = Kit::with(init, vec![program], &OF_IGNITION, progress)?;
    for round in 1..=rounds {
        progress.say(format!("provisioning {round} of {rounds}: {} blank disks, and again", provision.disks));
        let boots = many::boots(&kit, &[WORD, WORD])?;
        let [first, second] = &boots[..] else { bail!("there were {} boots and not two", boots.len()) };
        for seen in &boots {
            ensure!(seen.refusals.is_empty() && seen.volumes.iter().all(|(.., there)| *there), "{seen:?}");
        }
        ensure!(first.writes > 0 && second.writes == 0, "made {} and then {}", first.writes, second.writes);
        provision.volumes = first.volumes.len();
        provision.first.push(run(first.took));
        provision.second.push(run(second.took));
        progress.say(format!("provisioning {round} of {rounds}: by a script"));
        let script = many::boots(&kit, &[SCRIPT])?;
        provision.script.extend(script.iter().map(|seen: &Seen| hundredths(seen.took.steps)));
        progress.say(format!("provisioning {round} of {rounds}: by Ignition"));
        let ignition = many::boots(&kit, &[IGNITION])?;
        provision.ignition.extend(ignition.iter().map(|seen: &Seen| hundredths(seen.took.steps)));
    }
    Ok(provision)
}

fn run(took: Took) -> ProvisionRun {
    ProvisionRun {
        look: hundredths(took.look),
        steps: hundredths(took.steps),
        critical_path: hundredths(took.critical_path),
    }
}
