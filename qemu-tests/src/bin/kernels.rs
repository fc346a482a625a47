//! `make kernel`: a release with the kernel of a package and one with a kernel that was compiled, each booted to Ready
//! under Secure Boot, and a table of both.

use anyhow::{Context, Result};
use clap::Parser;
use image_builder::progress::Progress;
use qemu_tests::bench::{Bench, repository};
use qemu_tests::boot::{self, Boot};
use qemu_tests::performance::image;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Boots two releases that differ in their kernel, and compares them.
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  kernels --release out/kernel --recipe out/kernel-site/recipe.toml")]
struct Kernels {
    /// Folder of the release with the kernel that was compiled.
    #[arg(long, value_name = "DIR")]
    release: PathBuf,
    /// The recipe it was built from.
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    /// Folder of the release with the kernel of a package.
    #[arg(long, value_name = "DIR", default_value_os_t = repository().join("out/node"))]
    beside: PathBuf,
    /// The recipe that one was built from.
    #[arg(long, value_name = "FILE", default_value_os_t = repository().join("examples/node/recipe.toml"))]
    beside_recipe: PathBuf,
    /// How often each is booted; the median is shown.
    #[arg(long, default_value_t = 1)]
    runs: usize,
}

/// A row: what, of the one, of the other.
type Row = (&'static str, [String; 2]);

fn main() -> ExitCode {
    let kernels = Kernels::parse();
    let progress = Progress::stderr();
    match kernels.run(&progress) {
        Ok(rows) => print!("{}", table(&rows)),
        Err(error) => {
            progress.say(format!("error: {error:#}"));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

impl Kernels {
    fn run(&self, progress: &Progress) -> Result<Vec<Row>> {
        let columns = [(&self.beside, &self.beside_recipe), (&self.release, &self.recipe)]
            .map(|(release, recipe)| column(release, recipe, self.runs.max(1), progress));
        let [one, other] = columns;
        let rows = one?.into_iter().zip(other?);
        Ok(rows.map(|((what, one), (_, other))| (what, [one, other])).collect())
    }
}

/// Sizes of a release and its boots, as cells of a table.
fn column(release: &Path, recipe: &Path, runs: usize, progress: &Progress) -> Result<Vec<(&'static str, String)>> {
    let image = image::measure(release)?;
    let bench = Bench::open(release, recipe, progress)?;
    let mut boots = Vec::new();
    for _ in 0..runs {
        progress.say(format!("power on {}: {}", release.display(), image.kernel_release));
        let mut plane = bench.control_plane()?;
        let mut machine = boot::machine(&bench, &plane)?;
        boots.push(seconds(&boot::run(&mut machine, &mut plane, progress)?)?);
    }
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    let middle = |of: fn(&Seconds) -> f64| {
        let mut all: Vec<f64> = boots.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        format!("{:.1}", all.get(all.len() / 2).copied().unwrap_or_default())
    };
    Ok(vec![
        ("kernel", image.kernel_release),
        ("kernel in the UKI, MiB", mib(image.kernel)),
        ("initrd in the UKI, MiB", mib(image.initrd)),
        ("UKI, signed, MiB", mib(image.uki)),
        ("root, EROFS, MiB", mib(image.root)),
        ("content of all files in the root, MiB", mib(image.content)),
        ("kernel's start to stage 1, s", middle(|s| s.kernel)),
        ("kernel's start to systemd, s", middle(|s| s.stage1)),
        ("kernel's start to Ready, s", middle(|s| s.ready)),
    ])
}

/// Of one boot, from the kernel's start.
struct Seconds {
    kernel: f64,
    stage1: f64,
    ready: f64,
}

fn seconds(boot: &Boot) -> Result<Seconds> {
    let phases = boot.status["phases"].as_array().context("the node's status has no phases")?;
    let at = |name: &str| {
        let phase = phases.iter().find(|phase| phase["name"] == name);
        phase.and_then(|phase| phase["seconds"].as_f64()).with_context(|| format!("the node told no phase {name}"))
    };
    Ok(Seconds { kernel: at("kernel")?, stage1: at("stage1")?, ready: boot.ready - boot.firmware })
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|(what, _)| what.len()).max().unwrap_or_default();
    let first = rows.iter().map(|(_, [one, _])| one.len()).max().unwrap_or_default();
    rows.iter().map(|(what, [one, other])| format!("{what:width$}  {one:>first$}  {other}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_boot_is_counted_from_the_kernels_start() {
        let status = json!({ "phases": [{ "name": "kernel", "seconds": 2.0 }, { "name": "stage1", "seconds": 3.5 }] });
        let boot = |status| Boot { firmware: 3.0, ready: 25.0, node: json!({}), status };
        let found = seconds(&boot(status)).unwrap();
        assert_eq!((found.kernel, found.stage1, found.ready), (2.0, 3.5, 22.0));
        assert!(seconds(&boot(json!({ "phases": [] }))).is_err());
    }

    #[test]
    fn both_stand_side_by_side() {
        let rows = [("size", ["12.0".to_owned(), "9.0".to_owned()]), ("s", ["2".to_owned(), "1".to_owned()])];
        assert_eq!(table(&rows), "size  12.0  9.0\ns        2  1\n");
    }
}
