//! The order of stage 1's steps.
#![allow(clippy::disallowed_methods, reason = "edge: process 1 of the initrd")]

use super::find::{self, Place};
use super::{addons, command_line, embedded, enrol, machine_id, modules, mounts, page, refuse, warden};
use crate::boot_record::{BootRecord, PATH};
use crate::report::console::Consoles;
use crate::report::page::Title;
use machine_config::Diagnostic;
use nix::time::{ClockId, clock_gettime};
use std::convert::Infallible;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

/// Runs stage 1 as process 1, or the warden when that is what it was started as. Never returns.
pub fn run() -> ! {
    if std::env::args().nth(1).as_deref() == Some(warden::ARGUMENT) {
        warden::run();
    }
    if std::process::id() != 1 {
        eprintln!("stage1 is the initrd's /init; it runs as process 1 only");
        std::process::exit(2);
    }
    // Process 1 must not end: the kernel would panic over the text.
    std::panic::set_hook(Box::new(|info| {
        let why = format!("{info}");
        stop(refuse("BP-B011", "Stage 1 of the boot failed.", &why, "This is a fault in Bedplate: please report it."))
    }));
    if let Err(refusal) = mounts::kernel_file_systems() {
        stop(refusal);
    }
    // Opened before /dev moves, so that a failure of the very last step is seen too.
    let mut consoles = Consoles::open();
    match boot(&mut consoles) {
        Ok(never) => match never {},
        Err(refusal) => {
            quiet("1");
            consoles.show(&page(Title::Stopped, vec![refusal]))
        }
    }
}

fn boot(consoles: &mut Consoles) -> Result<Infallible, Diagnostic> {
    let began = seconds();
    // Errors and worse on the console, the rest in the log: the page must stay readable.
    quiet("4");
    consoles.line(&format!("bedplate: phase kernel {began:.2}"));
    let read = |path: &str| {
        fs::read(path).map_err(|e| {
            refuse("BP-B002", &format!("{path} can't be read."), &format!("{e}."), "Build the image again.")
        })
    };
    let machine = machine();
    let listed = addons::parse(&if Path::new("/addons").exists() { read("/addons")? } else { Vec::new() })
        .map_err(|why| refuse("BP-B002", "The list of addons can't be read.", &why, "Build the image again."))?;
    let accepted = command_line::judge(&read("/cmdline")?, &read("/proc/cmdline")?, &listed, &machine)?;
    let signed = accepted.signed;
    if !accepted.addons.is_empty() {
        consoles.line(&format!("bedplate: with the arguments of the addons {}", accepted.addons.join(", ")));
    }
    let pcr_11 = pcr_11();
    if let Some(pcr) = &pcr_11 {
        consoles.line(&format!("bedplate: pcr 11 {pcr}"));
    }
    modules::load_listed(Path::new("/lib/modules/load"))?;
    mounts::efi_variables();
    enrol::run(consoles)?;
    let secure_boot = enrol::secure_boot();
    consoles.line(match secure_boot {
        Some(true) => "bedplate: secure boot on",
        _ => "bedplate: secure boot off: nothing checked this image before it was started",
    });
    let mut coldplug = modules::Coldplug::new(Path::new("/lib/modules/alias"));
    let root = match embedded::is_there() {
        true => embedded::open(&signed, &mut coldplug)?,
        false => find::open(&signed, &mut coldplug, consoles)?,
    };
    let warden = start_warden();
    mounts::root(&root.device)?;
    let (id, source) = machine_id::find();
    mounts::etc(&id)?;
    mounts::hand_over_keys()?;
    mounts::hand_over_policy()?;
    let ended = seconds();
    let (slot, started_from_disk) = match &root.place {
        Place::Disk(pair) => (pair.slot(), pair.started_from),
        Place::Memory { .. } => (None, None),
    };
    let (root_device, verity_device, disk) = match root.place {
        Place::Disk(pair) => (pair.root.name, pair.verity.name, Some(pair.root.disk)),
        Place::Memory { root, verity } => (root, verity, None),
    };
    let record = BootRecord {
        root_hash: signed.root_hash_text(),
        slot,
        root_device,
        root_partition: signed.root_partition(),
        verity_device,
        disk,
        secure_boot,
        pcr_11,
        addons: accepted.addons,
        addons_for_this_model: listed.into_iter().filter(|a| a.is_for(&machine)).map(|a| a.name).collect(),
        started_from_disk,
        machine_id: source,
        warden,
        began,
        ended,
    };
    let text = serde_json::to_string(&record).unwrap_or_default();
    fs::write(PATH, text).map_err(|e| {
        refuse("BP-B007", &format!("{PATH} can't be written."), &format!("{e}."), "Memory may be failing.")
    })?;
    consoles.line(&format!("bedplate: phase stage1 {ended:.2}"));
    mounts::switch_root()
}

/// What SMBIOS says of the model.
fn machine() -> addons::Machine {
    let dmi = |file: &str| fs::read_to_string(Path::new("/sys/class/dmi/id").join(file)).unwrap_or_default();
    addons::Machine { vendor: dmi("sys_vendor").trim().to_owned(), product: dmi("product_name").trim().to_owned() }
}

/// What the TPM says was measured into PCR 11 (bank SHA-256), if there is one: the UKI, and nothing since.
fn pcr_11() -> Option<String> {
    let text = fs::read_to_string("/sys/class/tpm/tpm0/pcr-sha256/11").ok()?;
    Some(text.trim().to_ascii_lowercase())
}

/// Seconds since the kernel's start.
fn seconds() -> f64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0.0, |t| std::time::Duration::from(t).as_secs_f64())
}

/// Starts the warden and waits until it watches. Without it the boot goes on: a damaged block is then a
/// program's I/O error.
fn start_warden() -> Option<i32> {
    let warden = run_tool::Tool::at("/init").command().arg(warden::ARGUMENT);
    let mut running = warden.start(Stdio::null(), Stdio::piped(), Stdio::null()).ok()?;
    if let Some(mut output) = running.child.stdout.take() {
        let _ = output.read(&mut [0; 16]);
    }
    let pid = i32::try_from(running.child.id()).ok();
    // Dropping it would end it.
    std::mem::forget(running);
    pid
}

/// Sets what the kernel itself writes to the consoles.
fn quiet(level: &str) {
    let _ = fs::write("/proc/sys/kernel/printk", level);
}

fn stop(refusal: Diagnostic) -> ! {
    // Nothing of the kernel's may paint over the page but its last words.
    quiet("1");
    Consoles::open().show(&page(Title::Stopped, vec![refusal]))
}
