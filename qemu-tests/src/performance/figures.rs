//! Figures as data, and their middle.
#![allow(clippy::disallowed_methods, reason = "edge: keeps the figures in a file")]

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that was measured. A part that never was is missing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Builds.
    pub builds: Option<Builds>,
    /// The release that was there at the last run.
    pub image: Option<Image>,
    /// mkosi, which makes an image of the same things.
    #[serde(default)]
    pub mkosi: Option<Mkosi>,
    /// Provisioning.
    #[serde(default)]
    pub provision: Option<Provision>,
    /// Boots.
    pub boots: Option<Boots>,
}

/// What something was measured on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Model of the processor.
    pub processor: String,
    /// Processors that this program may use.
    pub processors: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Runnable processes over the last minute (proc(5), `loadavg`), before the measurement began.
    pub load: f64,
}

/// Builds of one recipe.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Builds {
    /// On what.
    pub host: Host,
    /// Inputs and components in the store, nothing else.
    pub cold: Vec<Run>,
    /// Inputs, components, tools and compressed clusters in the store, nothing else.
    #[serde(default)]
    pub clusters: Vec<Run>,
    /// The same to a draft.
    #[serde(default)]
    pub clusters_draft: Vec<Run>,
    /// Everything in the store.
    pub warm: Vec<Run>,
    /// The overlay file that was changed before the next two, and again before the last.
    pub changed_file: String,
    /// Reading the local inputs anew.
    pub changed_lock: Vec<Run>,
    /// The build behind it.
    pub changed: Vec<Run>,
    /// A draft after another change.
    #[serde(default)]
    pub changed_draft: Vec<Run>,
    /// What no build can be faster than.
    #[serde(default)]
    pub floor: Option<Floor>,
}

/// The bytes of a build read once and written once, and nothing else done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// Bytes of the packages that the root is made of, as they were fetched.
    pub inputs: u64,
    /// Seconds in which they were read, each round.
    pub read: Vec<f64>,
    /// Bytes of the disk image, without its holes.
    pub outputs: u64,
    /// Seconds in which they were written, each round.
    pub written: Vec<f64>,
}

/// Builds of mkosi.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mkosi {
    /// On what.
    pub host: Host,
    /// Its version.
    pub version: String,
    /// Packages fetched, nothing else there.
    pub cold: Vec<Run>,
    /// The same once more.
    pub warm: Vec<Run>,
    /// With its incremental cache, after one overlay file was changed.
    pub changed: Vec<Run>,
    /// Its root, EROFS, in bytes.
    pub root: u64,
}

/// One run of the builder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Seconds from its start to its end.
    pub seconds: f64,
    /// Processor time of all its processes, in seconds: what is left of it when others keep the host busy.
    pub processor: f64,
    /// Peak resident set of the largest of its processes, in KiB.
    pub peak_kib: u64,
    /// Seconds of each step that it told of, in their order.
    pub steps: Vec<Step>,
}

/// A step with its time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Seconds: how long it took in a build; since the kernel's start in a boot.
    pub seconds: f64,
}

/// Sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Name and version.
    pub name: String,
    /// Release of the kernel.
    pub kernel_release: String,
    /// Versions of the components.
    pub components: BTreeMap<String, String>,
    /// The disk image, as it appears.
    pub disk: u64,
    /// What of it takes room.
    pub disk_allocated: u64,
    /// The EROFS root.
    pub root: u64,
    /// Its verity superblock and hash tree.
    pub verity: u64,
    /// Content of all files in the root.
    pub content: u64,
    /// How many files, folders and links it has.
    pub entries: usize,
    /// The signed UKI.
    pub uki: u64,
    /// The initrd in it.
    pub initrd: u64,
    /// The kernel in it.
    pub kernel: u64,
}

/// Volumes made on blank disks, and kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provision {
    /// On what.
    pub host: Host,
    /// Disks beside the system disk.
    pub disks: usize,
    /// Volumes made of them, and the state partition.
    pub volumes: usize,
    /// With blank disks.
    pub first: Vec<ProvisionRun>,
    /// At the boot behind it.
    pub second: Vec<ProvisionRun>,
    /// Seconds of the same tools, one after the other.
    pub script: Vec<f64>,
    /// Seconds of Ignition.
    #[serde(default)]
    pub ignition: Vec<f64>,
    /// Which Ignition.
    #[serde(default)]
    pub ignition_version: String,
}

/// One run of the storage unit, in seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvisionRun {
    /// Looking at all disks, and planning.
    pub look: f64,
    /// All steps, side by side.
    pub steps: f64,
    /// The longest chain of steps that wait for each other.
    pub critical_path: f64,
}

/// Boots of one release.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boots {
    /// On what.
    pub host: Host,
    /// `KVM` or `TCG`.
    pub accelerator: String,
    /// QEMU's version.
    pub qemu: String,
    /// Processors of the guest.
    pub guest_processors: u32,
    /// Memory of the guest in MiB.
    pub guest_memory_mib: u32,
    /// Boots with blank disks.
    pub first: Vec<BootRun>,
    /// The boot of the same machine behind it.
    pub second: Vec<BootRun>,
}

/// One boot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootRun {
    /// Seconds from power-on to the kernel's start.
    pub firmware: f64,
    /// When each phase ended, in seconds since the kernel's start, as the node says.
    pub phases: Vec<Step>,
    /// Seconds from power-on to Ready, as the cluster says.
    pub ready: f64,
    /// Proportional set size of the agent's processes at Ready, in KiB.
    pub pss_kib: BTreeMap<String, u64>,
}

impl Figures {
    /// Those of an earlier run; none if there was none.
    ///
    /// # Errors
    /// When the file can't be read, or is of another version.
    pub fn read(file: &Path) -> Result<Figures> {
        if !file.exists() {
            return Ok(Figures::default());
        }
        let text = std::fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} holds no figures of this version; remove it and measure anew", file.display()))
    }

    /// Keeps them.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(file, text).with_context(|| format!("{} can't be written", file.display()))
    }
}

/// Seconds to hundredths: more is noise.
pub fn hundredths(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

/// The median; the mean of the two in the middle when they are even in number, 0 when there are none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// The median of each step by name; in the order of the first list, what only later ones have behind it.
pub fn median_steps<'a>(runs: impl IntoIterator<Item = &'a [Step]>) -> Vec<Step> {
    let mut all: Vec<(&str, Vec<f64>)> = Vec::new();
    for step in runs.into_iter().flatten() {
        match all.iter_mut().find(|(name, _)| *name == step.name) {
            Some((_, seconds)) => seconds.push(step.seconds),
            None => all.push((&step.name, vec![step.seconds])),
        }
    }
    all.into_iter().map(|(name, seconds)| Step { name: name.into(), seconds: median(seconds) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_not_the_mean() {
        assert_eq!(median([9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 100.0]), 3.0);
        assert_eq!(median([]), 0.0);
    }

    #[test]
    fn steps_are_taken_by_name_whatever_their_order() {
        let step = |name: &str, seconds| Step { name: name.into(), seconds };
        let runs = [
            vec![step("a", 1.0), step("b", 5.0)],
            vec![step("b", 7.0), step("a", 3.0)],
            vec![step("a", 2.0), step("b", 6.0), step("c", 1.0)],
        ];
        let middle = median_steps(runs.iter().map(Vec::as_slice));
        assert_eq!(middle, [step("a", 2.0), step("b", 6.0), step("c", 1.0)]);
    }

    #[test]
    fn figures_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("performance.json");
        assert_eq!(Figures::read(&file).unwrap(), Figures::default());
        let figures = Figures { builds: Some(Builds::default()), ..Figures::default() };
        figures.write(&file).unwrap();
        assert_eq!(Figures::read(&file).unwrap(), figures);
        std::fs::write(&file, "{\"speed\": 1}").unwrap();
        assert!(Figures::read(&file).unwrap_err().to_string().contains("measure anew"));
    }
}
