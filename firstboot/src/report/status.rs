//! What the node is doing, as data: `/run/bedplate/status.json`.
#![allow(clippy::disallowed_methods, reason = "edge: writes the status file")]

use crate::storage::VolumeState;
use machine_config::Diagnostic;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Where the status lies.
pub const PATH: &str = "/run/bedplate/status.json";

/// The state of the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// On its way.
    #[default]
    Starting,
    /// It waits for something and goes on alone.
    Waiting,
    /// It needs a person.
    Stopped,
    /// Ready, with something missing.
    Degraded,
    /// A node of the cluster.
    Ready,
}

/// A step of the boot, and when it was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// `kernel`, `stage1`, `systemd`, `storage`, `network`, `containerd`, `kubelet`, `registered`, `ready`.
    pub name: String,
    /// Seconds since the kernel's start (CLOCK_BOOTTIME).
    pub seconds: f64,
}

/// Where the configuration came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// Revision of the site file.
    pub revision: u64,
    /// Where it was found.
    pub source: String,
    /// Name of the key that signed it.
    pub signed_by: Option<String>,
}

/// The whole status.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Format of this file; this version writes 1.
    pub format: u32,
    /// What the node is doing.
    pub state: State,
    /// What it waits for, in words.
    pub waiting_for: Option<String>,
    /// The machine's name.
    pub machine: Option<String>,
    /// The slot that was started.
    pub slot: Option<String>,
    /// Whether the root is in memory, of an image that was started without a system disk.
    #[serde(default)]
    pub root_in_memory: bool,
    /// Root hash of the image.
    pub root_hash: Option<String>,
    /// The configuration that counts.
    pub config: Option<ConfigStatus>,
    /// Steps that are done, in order.
    pub phases: Vec<Phase>,
    /// Volumes.
    pub volumes: Vec<VolumeState>,
    /// How many steps wrote to a disk in this boot; 0 when everything was kept.
    pub storage_writes: Option<usize>,
    /// How long storage took in this boot.
    #[serde(default)]
    pub storage_took: Option<crate::storage::Took>,
    /// What was refused.
    pub refusals: Vec<Diagnostic>,
    /// What disks and the kernel tell of disks that are failing.
    #[serde(default)]
    pub warnings: Vec<Diagnostic>,
    /// Versions by name: `agent`, `kernel`, `kubelet`, `containerd`.
    pub versions: std::collections::BTreeMap<String, String>,
    /// Memory of the agent's processes when the node became Ready: proportional set size in KiB, by verb.
    #[serde(default)]
    pub pss_kib: std::collections::BTreeMap<String, u64>,
}

impl Status {
    /// The status on file, or a fresh one.
    #[must_use]
    pub fn read() -> Status {
        let on_file = fs::read(PATH).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        on_file.unwrap_or_else(|| Status { format: 1, ..Status::default() })
    }

    /// Notes that a step is done now; a step that was noted before keeps its time. Gives the console's line.
    pub fn phase(&mut self, name: &str, seconds: f64) -> Option<String> {
        if self.phases.iter().any(|p| p.name == name) {
            return None;
        }
        // Hundredths: more is noise.
        let seconds = (seconds * 100.0).round() / 100.0;
        self.phases.push(Phase { name: name.into(), seconds });
        Some(format!("bedplate: phase {name} {seconds:.2}"))
    }

    /// Changes the status on file and gives it. Units that run side by side change what is theirs by this alone.
    pub fn update(change: impl FnOnce(&mut Status)) -> Status {
        let lock = crate::lock::status();
        if let Err(e) = &lock {
            tracing::warn!("the status is changed without its lock: {e:#}");
        }
        let mut status = Status::read();
        change(&mut status);
        status.write();
        status
    }

    /// Writes the file, so that a reader sees the old one or the new one. A full /run loses the status, not the
    /// node.
    pub fn write(&self) {
        let new = format!("{PATH}.new");
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        if let Some(folder) = Path::new(PATH).parent() {
            let _ = fs::create_dir_all(folder);
        }
        let written = fs::write(&new, text + "\n").and_then(|()| fs::rename(&new, PATH));
        if let Err(e) = written {
            tracing::warn!("{PATH} can't be written: {e}");
        }
    }
}

/// Seconds since the kernel's start.
#[must_use]
pub fn seconds() -> f64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0.0, |t| std::time::Duration::from(t).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_noted_once() {
        let mut status = Status::default();
        assert_eq!(status.phase("storage", 4.567_8), Some("bedplate: phase storage 4.57".into()));
        assert_eq!(status.phase("storage", 9.0), None);
        assert_eq!(status.phases.len(), 1);
    }

    #[test]
    fn a_status_is_read_as_it_was_written() {
        let mut status = Status { format: 1, state: State::Degraded, ..Status::default() };
        status.phase("kernel", 1.0);
        let text = serde_json::to_string(&status).unwrap();
        assert!(text.contains("\"state\":\"degraded\""), "{text}");
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    }
}
