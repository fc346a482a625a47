//! One machine: first boot, a pod, a reboot, and a disk of its mirror that is replaced. It is also handed units of systemd's by SMBIOS, which must do nothing.
#![allow(clippy::disallowed_methods, reason = "edge: writes what SMBIOS hands over")]

use crate::replaced_disk::{self, Replaced};
use crate::{Check, Tier};
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image_builder::images::PAUSE_IMAGE;
use image_builder::qemu::{Bus, Disk};
use qemu_tests::machine::{BOOT, Machine};
use qemu_tests::site;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

pub const CHECKS: &[(&str, Check)] = &[
    ("a node joins the cluster and becomes ready", |t| joins(evidence(t)?)),
    ("its disks are a mounted mirror", |t| mirror(evidence(t)?)),
    ("what is on the mirror is encrypted, and the TPM opens it after a reboot", |t| sealed(evidence(t)?)),
    ("a volume of a group is made, and activated after a reboot", |t| grouped(evidence(t)?)),
    ("a disk that warns of itself is told of, and nothing is done to it", |t| warned(evidence(t)?)),
    ("the first sync is let go when the node is ready", |t| sync_let_go(evidence(t)?)),
    ("a pod runs under the default seccomp profile", |t| seccomp(evidence(t)?)),
    ("secure boot locks the kernel down, and modules of the image load there", |t| locked_down(evidence(t)?)),
    ("an image of the root outlives garbage collection and a restart of containerd", |t| images(evidence(t)?)),
    ("units handed over by smbios have no effect", |t| no_foreign_unit(evidence(t)?)),
    ("a reboot in order ends by itself", |t| went_down(evidence(t)?)),
    ("the second boot keeps every volume and writes nothing", |t| keeps(evidence(t)?)),
    ("the machine-id survives the reboot", |t| machine_id(evidence(t)?)),
    ("a file written before survives the reboot", |t| file(evidence(t)?)),
];

/// What a unit that must not run would print.
const EVIL: &str = "a unit from SMBIOS runs";

/// What the machine showed.
pub struct Evidence {
    node: Value,
    first: Seen,
    /// What containerd knows, before and after it was collected, killed and started again.
    images: [Vec<String>; 2],
    went_down: bool,
    second: Seen,
    /// What a disk that was pulled and another in its place came to, at the end.
    pub replaced: Replaced,
    token: String,
    serial: String,
}

/// What a pod saw from inside, and the status file.
struct Seen {
    status: Value,
    lines: Vec<String>,
}

impl Seen {
    fn line(&self, name: &str) -> Result<&str> {
        let found = self.lines.iter().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        found.with_context(|| format!("the pod did not print {name:?} but {:?}", self.lines))
    }
}

pub fn evidence(tier: &Tier) -> Result<&Evidence> {
    tier.lifecycle.get(|| gather(tier))
}

fn gather(tier: &Tier) -> Result<Evidence> {
    let bench = tier.bench()?;
    let mut plane = bench.control_plane()?;
    let mut machine = Machine::new(bench, site::NODE)?;
    for serial in site::DISKS {
        // On a bus from which disks can be pulled.
        let disk = Disk::blank(&machine.folder().join(format!("{serial}.raw")), replaced_disk::SIZE, serial)?;
        machine.disks.push(Disk { bus: Bus::VirtioScsi, ..disk });
    }
    let file = machine.folder().join(format!("{GROUP}.raw"));
    machine.disks.push(Disk::blank(&file, 64 << 20, GROUP)?);
    let file = machine.folder().join(format!("{WARNS}.raw"));
    machine.disks.push(Disk { bus: Bus::Nvme, ..Disk::blank(&file, 64 << 20, WARNS)? });
    let text = encrypted(&replaced_disk::asked_for(&site::one_node(&plane.endpoint())?)?)? + &group();
    let key = machine.folder().join("n1.recovery");
    std::fs::write(&key, format!("{}\n", uuid::Uuid::new_v4()))?;
    (machine.lab.tpm, machine.lab.recovery) = (true, Some(key));
    machine.configure(&bench.bundle(&text, site::NODE, &plane.join(site::NODE)?)?)?;
    machine.oem_strings = units(&machine)?;
    machine.power_on()?;
    machine.warn(WARNS, 4)?;
    let (node, _) = machine.wait_until_ready(&mut plane, BOOT)?;
    let token = uuid::Uuid::new_v4().to_string();
    let write = format!("echo {token} > /volumes/data/proof; sync; ");
    let first = look(&mut machine, &mut plane, "first", &write)?;
    let images =
        [images_of(&mut machine, &mut plane, "images", KILL)?, images_of(&mut machine, &mut plane, "again", "")?];
    let serial = machine.log().text().to_owned();
    let went_down = machine.shut_down(Duration::from_secs(90))?;
    // Nobody is there with the recovery key any more.
    machine.lab.recovery = None;
    machine.power_on()?;
    machine.warn(WARNS, 4)?;
    machine.wait_until_ready(&mut plane, BOOT)?;
    let second = look(&mut machine, &mut plane, "second", "")?;
    let replaced = replaced_disk::gather(&mut machine, &mut plane)?;
    Ok(Evidence { node, first, images, went_down, second, replaced, token, serial })
}

/// The site file with a volume that the TPM opens.
fn encrypted(text: &str) -> Result<String> {
    let with = text.replace("volume.data = { ", "volume.data = { encrypt = \"tpm\", ");
    ensure!(with != text, "the example has no volume of data:\n{text}");
    Ok(with)
}

/// A disk that nobody asks for, and that says of itself that it is not reliable any more (bit 2 of Critical Warning).
const WARNS: &str = "WARNS-A";
/// The disk of a volume group.
const GROUP: &str = "GROUP-A";
/// Where its volume is.
const BLOBS: &str = "/var/lib/volumes/blobs";

/// A volume group with one volume, for the end of the site file.
fn group() -> String {
    let volume = format!("volume.blobs = {{ format = \"ext4\", mount = \"{BLOBS}\" }}");
    format!("\n[machine.{}.group.store]\ndisks = {{ serial = [\"{GROUP}\"] }}\n{volume}\n", site::NODE)
}

fn look(
    machine: &mut Machine,
    plane: &mut qemu_tests::control_plane::ControlPlane,
    name: &str,
    before: &str,
) -> Result<Seen> {
    let script = "while read -r key value; do case $key in Seccomp:) echo \"seccomp $value\";; esac; done \
                  < /proc/self/status; echo \"machine-id $(cat /machine-id)\"; echo \"proof $(cat /volumes/data/proof)\"; \
                  echo \"sync-speed $(cat /sys/block/md0/md/sync_speed_max)\"; \
                  echo \"lockdown $(cat /security/lockdown)\"; \
                  while read -r name rest; do echo \"module-$name $rest\"; done < /proc/modules";
    let text = machine.probe(plane, name, &format!("{before}{script}"))?;
    let status = machine.status(plane, &format!("{name}-status"))?;
    Ok(Seen { status, lines: text.lines().map(str::to_owned).collect() })
}

/// Collects garbage, and kills containerd, which systemd starts again. The pod lives on meanwhile, and ends once there is
/// somebody who sees how.
pub const KILL: &str = "ctr -n k8s.io content prune references > /dev/null; for p in /proc/[0-9]*; do \
                    if [ \"$(cat $p/comm 2> /dev/null)\" = containerd ]; then kill -9 ${p#/proc/}; fi; done; \
                    sleep 2; until ctr version > /dev/null 2>&1; do sleep 1; done; sleep 5";

/// The images that containerd knows, each with what it refers to and whether its content is there, before `after` is run.
pub fn images_of(
    machine: &mut Machine,
    plane: &mut qemu_tests::control_plane::ControlPlane,
    pod: &str,
    after: &str,
) -> Result<Vec<String>> {
    let list = "ctr -n k8s.io images check | tail -n +2; ls /usr/share/bedplate/images";
    let text = machine.probe_runtime(plane, pod, &format!("{list}; {after}"))?;
    Ok(text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
}

fn images(seen: &Evidence) -> Result<()> {
    let [before, after] = &seen.images;
    // The second pod ran from it as well.
    ensure!(before == after, "containerd knew {before:?}, and knows {after:?}");
    let complete = |name: &str| {
        before.iter().any(|line| line.starts_with(name) && line.contains(" complete ") && line.ends_with(" true"))
    };
    ensure!(complete(PAUSE_IMAGE) && complete("sha256:"), "the image is not known, or not whole: {before:?}");
    ensure!(before.iter().all(|line| !line.ends_with(".tar")), "an archive waits to be imported: {before:?}");
    Ok(())
}

/// A unit and what would start it, as systemd imports them from SMBIOS unless told not to (systemd.system-credentials(7)).
fn units(machine: &Machine) -> Result<Vec<PathBuf>> {
    let unit = format!("[Service]\nType=oneshot\nExecStart=/usr/bin/dash -c 'echo {EVIL} > /dev/ttyS0'\n");
    let wants = "[Unit]\nWants=evil.service\n";
    let credential = |name: &str, text: &str| -> Result<PathBuf> {
        let file = machine.folder().join(format!("{}.oem", name.replace('/', "_")));
        std::fs::write(&file, format!("io.systemd.credential.binary:{name}={}", STANDARD.encode(text)))?;
        Ok(file)
    };
    Ok(vec![
        credential("systemd.extra-unit.evil.service", &unit)?,
        credential("systemd.unit-dropin.multi-user.target", wants)?,
        credential("systemd.unit-dropin.basic.target", wants)?,
    ])
}

fn joins(seen: &Evidence) -> Result<()> {
    let node = &seen.node;
    ensure!(node["metadata"]["name"] == site::NODE, "the node is called {}", node["metadata"]["name"]);
    ensure!(node["metadata"]["labels"]["example.org/rack"] == "demo", "the site file's label is not on the node");
    let info = &node["status"]["nodeInfo"];
    ensure!(info["containerRuntimeVersion"].as_str().is_some_and(|v| v.starts_with("containerd://2.")), "{info}");
    ensure!(seen.first.status["machine"] == site::NODE, "the status names {}", seen.first.status["machine"]);
    Ok(())
}

fn volume(seen: &Seen) -> Result<&Value> {
    volume_at(seen, "/var/lib/volumes/data")
}

fn volume_at<'a>(seen: &'a Seen, mount: &str) -> Result<&'a Value> {
    let mut volumes = seen.status["volumes"].as_array().into_iter().flatten();
    volumes.find(|v| v["mount"] == mount).with_context(|| format!("the status has no volume at {mount}"))
}

fn mirror(seen: &Evidence) -> Result<()> {
    let data = volume(&seen.first)?;
    ensure!(data["level"] == 1 && data["format"] == "xfs", "{data}");
    ensure!(data["provisioned"] == true && data["available"] == true, "{data}");
    for disk in site::DISKS {
        ensure!(data["disks"].to_string().contains(disk), "{disk} is not a member: {data}");
    }
    ensure!(seen.first.status["storage_writes"].as_u64() > Some(0), "the first boot wrote to no disk");
    Ok(())
}

fn sealed(seen: &Evidence) -> Result<()> {
    for seen in [&seen.first, &seen.second] {
        let data = volume(seen)?;
        ensure!(data["encrypted"] == true && data["available"] == true, "{data}");
    }
    ensure!(seen.second.status["storage_writes"] == 0, "the second boot wrote to a disk");
    let module = seen.second.line("module-dm_crypt")?;
    ensure!(module.contains(" Live "), "dm_crypt: {module}");
    Ok(())
}

fn grouped(seen: &Evidence) -> Result<()> {
    for seen in [&seen.first, &seen.second] {
        let blobs = volume_at(seen, BLOBS)?;
        ensure!(blobs["volume"] == "store/blobs" && blobs["available"] == true, "{blobs}");
    }
    let blobs = volume_at(&seen.second, BLOBS)?;
    ensure!(blobs["verdict"] == "keep" && seen.second.status["storage_writes"] == 0, "{blobs}");
    Ok(())
}

fn warned(seen: &Evidence) -> Result<()> {
    // The watch asks disks beside what else it does, so the first boot may have come to its end before.
    let warnings = seen.second.status["warnings"].as_array().context("the status has no warnings")?;
    let told: Vec<&str> = warnings.iter().filter_map(|w| w["what"].as_str()).filter(|w| w.contains(WARNS)).collect();
    ensure!(warnings.iter().any(|w| w["code"] == "BP-H003") && told.len() == 1, "the node warns of {warnings:?}");
    ensure!(seen.serial.contains("bedplate: BP-H003: "), "no console says so");
    Ok(())
}

fn sync_let_go(seen: &Evidence) -> Result<()> {
    let speed = seen.first.line("sync-speed")?;
    ensure!(speed.ends_with("(system)"), "the mirror's sync is still held back: {speed}");
    Ok(())
}

fn seccomp(seen: &Evidence) -> Result<()> {
    let mode = seen.first.line("seccomp")?;
    ensure!(mode == "2", "the pod's seccomp mode is {mode}, not 2 (filter)");
    Ok(())
}

/// The kernel is Debian's, so what is loaded was taken for its signature alone.
fn locked_down(seen: &Evidence) -> Result<()> {
    let mode = seen.first.line("lockdown")?;
    ensure!(mode.contains("[integrity]"), "the kernel is locked down as {mode}");
    // The one stage 1 loads from the initrd, the other udev or the kernel from the root.
    for module in ["dm_verity", "br_netfilter"] {
        let line = seen.first.line(&format!("module-{module}"))?;
        ensure!(line.contains(" Live "), "{module}: {line}");
    }
    Ok(())
}

fn no_foreign_unit(seen: &Evidence) -> Result<()> {
    ensure!(!seen.serial.contains(EVIL), "a unit that SMBIOS handed over was started");
    Ok(())
}

fn went_down(seen: &Evidence) -> Result<()> {
    ensure!(seen.went_down, "90 s after its power button was pressed the node still ran");
    Ok(())
}

fn keeps(seen: &Evidence) -> Result<()> {
    let status = &seen.second.status;
    let writes = status["storage_writes"].as_u64();
    ensure!(writes == Some(0), "the second boot wrote to disks {writes:?} times");
    let volumes = |seen: &Seen| -> Vec<(Value, Value)> {
        let all = seen.status["volumes"].as_array().into_iter().flatten();
        all.map(|v| (v["volume"].clone(), v["filesystem"].clone())).collect()
    };
    let (first, second) = (volumes(&seen.first), volumes(&seen.second));
    ensure!(!first.is_empty() && first == second, "volumes and UUIDs were {first:?} and are {second:?}");
    for volume in status["volumes"].as_array().into_iter().flatten() {
        ensure!(volume["verdict"] == "keep", "the second boot did not keep {volume}");
    }
    Ok(())
}

fn machine_id(seen: &Evidence) -> Result<()> {
    let (first, second) = (seen.first.line("machine-id")?, seen.second.line("machine-id")?);
    ensure!(first.len() == 32 && first == second, "the machine-id was {first} and is {second}");
    Ok(())
}

fn file(seen: &Evidence) -> Result<()> {
    let found = seen.second.line("proof")?;
    ensure!(found == seen.token, "the file held {} and holds {found}", seen.token);
    let found = seen.replaced.line("proof")?;
    ensure!(found == seen.token, "on the mirror with another disk it held {} and holds {found}", seen.token);
    Ok(())
}
