//! Stands in for the tools that the agent calls, counts the calls, and does to one of them what the host wants.
//!
//! This program is mounted over each tool; called by a tool's name, it calls the real one.

use nix::sys::signal::{Signal, raise};
use qemu_tests::torture::talk::{How, Sabotage};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use sys_mount::{Mount, MountFlags};

const TOOLS: [&str; 6] = [
    "/usr/sbin/mdadm",
    "/usr/sbin/cryptsetup",
    "/usr/sbin/lvm",
    "/usr/sbin/mkfs.xfs",
    "/usr/sbin/mkfs.ext4",
    "/usr/sbin/resize2fs",
];
const REAL: &str = "/run/tools";
const WANTED: &str = "/run/sabotage";
const CALLS: &str = "/run/calls";

/// Takes the place of every tool.
pub fn lie_in_wait() {
    fs::create_dir_all(REAL).unwrap();
    for tool in TOOLS {
        fs::copy(tool, real(tool)).unwrap();
        Mount::builder().flags(MountFlags::BIND).mount("/init", tool).unwrap();
    }
    prepare(None);
}

fn real(tool: &str) -> std::path::PathBuf {
    Path::new(REAL).join(Path::new(tool).file_name().unwrap())
}

/// Forgets the calls there were, and what was wanted of them.
pub fn prepare(sabotage: Option<&Sabotage>) {
    fs::write(CALLS, "").unwrap();
    fs::write(WANTED, serde_json::to_string(&sabotage).unwrap()).unwrap();
}

/// The tools that were called, in order.
pub fn calls() -> Vec<String> {
    fs::read_to_string(CALLS).unwrap().lines().map(str::to_owned).collect()
}

/// Does what this program does when it was called as a tool; gives back if it was not.
pub fn stand_in() {
    let called: Vec<String> = std::env::args().collect();
    let Some(tool) = called.first().filter(|name| TOOLS.contains(&name.as_str())) else { return };
    let mut command = Command::new(real(tool));
    command.arg0(tool).args(&called[1..]);
    let number = note(tool);
    let wanted: Option<Sabotage> = serde_json::from_str(&fs::read_to_string(WANTED).unwrap()).unwrap();
    match wanted.filter(|sabotage| sabotage.call == number).map(|sabotage| sabotage.how) {
        None => panic!("{tool} did not start: {}", command.exec()),
        Some(How::Refuses) => {}
        Some(How::FailsLate) => drop(command.status().unwrap()),
        Some(How::Killed(after)) => {
            let mut real = command.spawn().unwrap();
            std::thread::sleep(Duration::from_millis(after));
            real.kill().unwrap();
            real.wait().unwrap();
            raise(Signal::SIGKILL).unwrap();
        }
        Some(How::Hangs) => std::thread::sleep(Duration::MAX),
    }
    eprintln!("{tool} was sabotaged");
    std::process::exit(1);
}

/// Which call this is, from 0. Tools are called side by side.
fn note(tool: &str) -> usize {
    let mut calls = OpenOptions::new().read(true).append(true).open(CALLS).unwrap();
    calls.lock().unwrap();
    let mut before = String::new();
    calls.read_to_string(&mut before).unwrap();
    writeln!(calls, "{}", Path::new(tool).file_name().unwrap().display()).unwrap();
    before.lines().count()
}
