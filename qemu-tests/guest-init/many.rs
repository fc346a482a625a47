//! Runs the storage unit once for a node with thirty disks, and says what came of it.

use crate::{cases, lay};
use qemu_tests::guest::many::{SAID, Seen, numbers, wanted};
use std::fs;

pub fn run() {
    let numbers = numbers();
    numbers.iter().for_each(|serial| lay::wait_for(serial));
    let (outcome, _) = cases::run_watched(&wanted());
    let volumes: Vec<(String, String, bool)> =
        outcome.volumes.into_iter().map(|v| (v.volume, v.mount, v.available)).collect();
    let mounted = volumes.iter().filter(|(.., available)| *available);
    let files = mounted.map(|(volume, mount, _)| {
        let file = format!("{mount}/volume");
        let before = fs::read_to_string(&file).ok();
        fs::write(&file, volume).unwrap();
        (mount.clone(), before)
    });
    let seen = Seen {
        names: numbers.iter().map(|serial| lay::name(serial)).collect(),
        files: files.collect(),
        volumes,
        writes: outcome.writes,
        refusals: outcome.refusals.iter().map(ToString::to_string).collect(),
    };
    cases::stop_all();
    // A line of its own, whatever was printed last.
    println!("\n{SAID}{}", serde_json::to_string(&seen).unwrap());
}
