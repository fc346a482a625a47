//! `make demo`: a node, from power-on to Ready in a real cluster, and a table of what came of it.
//!
//! Starts a control plane on the host, boots the release under Secure Boot with two data disks, and shows each phase
//! as it passes. Exits 0 only if the node became Ready with its volume mirrored and mounted.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use image_builder::progress::{Progress, Unit};
use qemu_tests::bench::{Bench, repository};
use qemu_tests::boot::{self, Boot};
use qemu_tests::site;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Boots the example's image and shows the node it becomes.
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  demo --release out/node --recipe examples/node/recipe.toml --json")]
struct Demo {
    /// Folder of the release.
    #[arg(long, value_name = "DIR", default_value_os_t = repository().join("out/node"))]
    release: PathBuf,
    /// The recipe it was built from; its lock says which QEMU to use, its keys sign the configuration.
    #[arg(long, value_name = "FILE", default_value_os_t = repository().join("examples/node/recipe.toml"))]
    recipe: PathBuf,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let demo = Demo::parse();
    let progress = Progress::stderr();
    match demo.run(&progress) {
        Ok(result) if demo.json => println!("{result:#}"),
        Ok(result) => print!("{}", table(&result)),
        Err(error) => {
            progress.say(format!("error: {error:#}"));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

impl Demo {
    fn run(&self, progress: &Progress) -> Result<Value> {
        let bench = Bench::open(&self.release, &self.recipe, progress)?;
        let mut plane = {
            let _task = progress.task("start the control plane", 4, Unit::Count("programs"));
            bench.control_plane()?
        };
        let mut machine = boot::machine(&bench, &plane)?;
        progress.say(format!("power on {}: Secure Boot, two blank disks of 2 GiB", site::NODE));
        let Boot { firmware, ready, node, status } = boot::run(&mut machine, &mut plane, progress)?;
        check(&status["volumes"])?;
        let info = &node["status"]["nodeInfo"];
        Ok(json!({
            "node": site::NODE,
            "ready": true,
            "kubelet": info["kubeletVersion"],
            "containerd": info["containerRuntimeVersion"],
            "kernel": info["kernelVersion"],
            "os": info["osImage"],
            "volumes": status["volumes"],
            "seconds": { "firmware": firmware, "phases": status["phases"], "ready": ready },
        }))
    }
}

/// The volume of the example must be what the site file asks for, or the demo has shown nothing.
fn check(volumes: &Value) -> Result<()> {
    let data = volumes.as_array().into_iter().flatten().find(|v| v["mount"] == "/var/lib/volumes/data");
    let data = data.context("the node's status has no volume at /var/lib/volumes/data")?;
    ensure!(data["level"] == 1 && data["available"] == true, "the volume is not a mounted mirror: {data}");
    Ok(())
}

fn table(result: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut rows = String::from("\n");
    let mut row = |name: &str, value: String| rows.push_str(&format!("{name:<12}{value}\n"));
    row("node", text(&result["node"]));
    row("state", if result["ready"] == true { "Ready".into() } else { "not Ready".into() });
    for name in ["kubelet", "containerd", "kernel", "os"] {
        row(name, text(&result[name]));
    }
    for volume in result["volumes"].as_array().into_iter().flatten() {
        let level = volume["level"].as_u64().map_or_else(|| "no RAID".to_owned(), |l| format!("RAID{l}"));
        let of = format!("{level:<8} {:<5} {:<26} {}", text(&volume["format"]), state(volume), text(&volume["mount"]));
        row("volume", format!("{:<12} {of}", text(&volume["volume"])));
    }
    let seconds = &result["seconds"];
    let firmware = seconds["firmware"].as_f64().unwrap_or_default();
    row("seconds", format!("{:<12} {firmware:6.1}  power-on to kernel", "firmware"));
    let mut before = 0.0;
    for phase in seconds["phases"].as_array().into_iter().flatten() {
        let at = phase["seconds"].as_f64().unwrap_or_default();
        row("", format!("{:<12} {:6.1}  until {at:.1} after the kernel's start", text(&phase["name"]), at - before));
        before = at;
    }
    let ready = seconds["ready"].as_f64().unwrap_or_default();
    row("", format!("{:<12} {ready:6.1}  power-on to Ready, seen from the cluster", "all"));
    rows
}

fn state(volume: &Value) -> &'static str {
    if volume["available"] != true {
        "missing"
    } else if !volume["rebuilding"].is_null() {
        "mounted, first sync runs"
    } else if volume["redundant"] == true {
        "mounted, redundant"
    } else {
        "mounted"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_volume_and_phase() {
        let table = table(&json!({
            "node": "n1", "ready": true, "kubelet": "v1", "containerd": "c", "kernel": "k", "os": "o",
            "volumes": [{ "volume": "data", "level": 1, "format": "xfs", "available": true, "redundant": true,
                          "rebuilding": null, "mount": "/var/lib/volumes/data" }],
            "seconds": { "firmware": 9.0, "ready": 31.0, "phases": [
                { "name": "kernel", "seconds": 1.5 }, { "name": "storage", "seconds": 5.0 }] },
        }));
        assert!(table.contains("RAID1    xfs   mounted, redundant"), "{table}");
        assert!(table.contains("storage         3.5"), "{table}");
    }

    #[test]
    fn a_node_without_its_mirror_fails_the_demo() {
        let volume = |available| json!({ "mount": "/var/lib/volumes/data", "level": 1, "available": available });
        assert!(check(&json!([volume(true)])).is_ok());
        assert!(check(&json!([volume(false)])).is_err());
        assert!(check(&json!([])).is_err());
    }
}
