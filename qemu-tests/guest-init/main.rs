//! The whole userland of a test guest: storage cases, many in one boot, on disks that the host laid and attached.
//!
//! It drives the very functions that the agent does, and says what came of each case as [`qemu_tests::guest`] reads it.
//! A case that fails does not keep later ones from running.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, reason = "a test program that lays bad disks")]

mod cases;
mod drive;
mod lay;
mod many;
mod model;
mod orders;
mod saboteur;
mod systemd;

use qemu_tests::guest;
use qemu_tests::torture::talk;
use std::any::Any;
use std::fs;
use std::panic::catch_unwind;
use std::process::Command;

fn main() {
    saboteur::stand_in();
    if std::process::id() != 1 {
        eprintln!("this is the init of a test guest and does nothing elsewhere");
        std::process::exit(2);
    }
    boot();
    tracing_subscriber::fmt().with_writer(std::io::stdout).with_ansi(false).without_time().init();
    if std::env::args().any(|word| word == talk::WORD) {
        orders::serve();
    }
    if std::env::args().any(|word| word == guest::many::WORD) {
        many::run();
        switch_off();
    }
    if std::env::args().any(|word| word == guest::many::SCRIPT) {
        many::run_script();
        switch_off();
    }
    if std::env::args().any(|word| word == guest::many::IGNITION) {
        many::run_ignition();
        switch_off();
    }
    lay::wait_for_all();
    cases::system_disks::put_away();
    for name in guest::picked(std::env::var(guest::PARTS).ok().as_deref()) {
        println!("\n{} s since the kernel's start", uptime());
        // A line of its own, whatever was printed last.
        println!("\ncase {name} begins");
        let case = cases::of(name);
        match catch_unwind(|| case.unwrap_or_else(|| panic!("the guest knows no such case"))()) {
            Ok(()) => println!("\ncase {name} ok"),
            Err(panic) => println!("\ncase {name} FAILED: {}", words(panic.as_ref()).replace('\n', " | ")),
        }
    }
    switch_off();
}

fn switch_off() {
    nix::unistd::sync();
    let _ = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_POWER_OFF);
}

fn uptime() -> String {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn boot() {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run")] {
        sys_mount::Mount::builder().fstype(kind).mount(kind, at).unwrap();
    }
    // Modules in the order in which they have to be loaded, as the host wrote them down.
    for module in fs::read_to_string("/modules/order").unwrap().lines() {
        let file = fs::File::open(module).unwrap();
        if let Err(e) = nix::kmod::finit_module(&file, c"", nix::kmod::ModuleInitFlags::empty()) {
            println!("module {module}: {e}");
        }
    }
}

/// What a panic said.
pub fn words(panic: &(dyn Any + Send)) -> String {
    let why = panic.downcast_ref::<String>().cloned();
    why.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
}

/// Runs a tool of the guest and insists that it ends well.
pub fn tool(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).env("MDADM_NO_UDEV", "1").env("DM_DISABLE_UDEV", "1").output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}
