//! Runs the storage unit once for a node with thirty disks, and says what came of it.

use crate::{cases, lay, systemd, tool};
use firstboot::storage::Took;
use qemu_tests::guest::many::{SAID, Seen, numbers, wanted};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use std::time::Instant;

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
        took: outcome.took,
    };
    say(&seen);
}

/// The disks' nodes, in the order of their numbers, once all are there.
fn nodes() -> Vec<String> {
    let numbers = numbers();
    numbers.iter().for_each(|serial| lay::wait_for(serial));
    numbers.iter().map(|serial| format!("/dev/{}", lay::name(serial))).collect()
}

/// What [`wanted`] asks for, by its tools alone.
pub fn run_script() {
    let (nodes, wanted) = (nodes(), wanted());
    let array = &wanted.storage.array["meta"];
    let (members, each) = nodes.split_at(array.disks.serial.len());
    let clock = Instant::now();
    let (level, count) = (format!("--level={}", u8::from(array.level)), format!("--raid-devices={}", members.len()));
    let create = ["--create", "--run", "--metadata=1.2", "--bitmap=internal", &level, &count, "/dev/md0"];
    tool("/usr/sbin/mdadm", &create.into_iter().chain(members.iter().map(String::as_str)).collect::<Vec<_>>());
    for (number, node) in ["/dev/md0"].into_iter().chain(each.iter().map(String::as_str)).enumerate() {
        tool("/usr/sbin/mkfs.ext4", &["-q", "-F", node]);
        let at = format!("/var/lib/volumes/{number}");
        fs::create_dir_all(&at).unwrap();
        sys_mount::Mount::builder().fstype("ext4").mount(node, &at).unwrap();
    }
    let took = Took { steps: clock.elapsed().as_secs_f64(), ..Took::default() };
    say(&Seen { took, ..Seen::default() });
}

/// What [`wanted`] asks for, by Ignition's stage of disks: it waits for all of them, makes arrays and then file systems. What it
/// made is mounted by hand, as its next stage would.
pub fn run_ignition() {
    const CONFIG: &str = "/run/ignition.json";
    let (nodes, wanted) = (nodes(), wanted());
    let array = &wanted.storage.array["meta"];
    let (members, each) = nodes.split_at(array.disks.serial.len());
    let raid = json!({
        "name": "meta",
        "level": format!("raid{}", u8::from(array.level)),
        "devices": members,
        "options": ["--metadata=1.2", "--bitmap=internal"],
    });
    let places: Vec<String> = ["/dev/md/meta".to_owned()].into_iter().chain(each.iter().cloned()).collect();
    let filesystem = |device: &String| json!({ "device": device, "format": "ext4", "wipeFilesystem": true });
    let filesystems: Vec<Value> = places.iter().map(filesystem).collect();
    let storage = json!({ "raid": [raid], "filesystems": filesystems });
    let config = json!({ "ignition": { "version": "3.3.0" }, "storage": storage });
    fs::write(CONFIG, config.to_string()).unwrap();
    fs::create_dir_all("/sysroot").unwrap();
    systemd::stand_in();
    let clock = Instant::now();
    let options = ["--platform=metal", "--stage=disks", "--root=/sysroot", "--log-to-stdout"];
    let done = Command::new("/usr/bin/ignition")
        .args(options)
        .arg(format!("--config-cache={CONFIG}"))
        .env("PATH", "/usr/sbin:/usr/bin")
        .env("MDADM_NO_UDEV", "1")
        .output()
        .unwrap();
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
    for (number, node) in places.iter().enumerate() {
        let at = format!("/var/lib/volumes/{number}");
        fs::create_dir_all(&at).unwrap();
        sys_mount::Mount::builder().fstype("ext4").mount(node, &at).unwrap();
    }
    let took = Took { steps: clock.elapsed().as_secs_f64(), ..Took::default() };
    say(&Seen { took, ..Seen::default() });
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn say(seen: &Seen) {
    cases::stop_all();
    // A line of its own, whatever was printed last.
    println!("\n{SAID}{}", serde_json::to_string(seen).unwrap());
}
