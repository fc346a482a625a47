//! The whole userland of a test guest: storage cases, many in one boot, on disks that the harness attached.
//!
//! It is an example of the agent's crate, so that it drives the very functions the agent does. It prints
//! `case NAME ok` or `case NAME FAILED: why` for each case, then `cases done`, and switches the guest off.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, reason = "a test program that lays bad disks")]

mod cases;
mod lay;

use std::fs;
use std::path::Path;
use std::process::Command;

fn main() {
    if std::process::id() != 1 {
        eprintln!("this is the init of a test guest and does nothing elsewhere");
        std::process::exit(2);
    }
    boot();
    tracing_subscriber::fmt().with_writer(std::io::stdout).with_ansi(false).without_time().init();
    let mut failed = 0;
    for (name, case) in cases::ALL {
        let result = std::panic::catch_unwind(case);
        match result {
            Ok(()) => println!("case {name} ok"),
            Err(panic) => {
                failed += 1;
                let why = panic.downcast_ref::<String>().cloned();
                let why = why.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default();
                println!("case {name} FAILED: {}", why.replace('\n', " | "));
            }
        }
    }
    println!("cases done, {failed} failed");
    nix::unistd::sync();
    let _ = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_POWER_OFF);
}

fn boot() {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run")] {
        fs::create_dir_all(at).unwrap();
        sys_mount::Mount::builder().fstype(kind).mount(kind, at).unwrap();
    }
    // Modules in the order in which they have to be loaded, as the harness wrote them down.
    for module in fs::read_to_string("/modules").unwrap_or_default().lines() {
        let file = fs::File::open(Path::new("/").join(module)).unwrap();
        if let Err(e) = nix::kmod::finit_module(&file, c"", nix::kmod::ModuleInitFlags::empty()) {
            println!("module {module}: {e}");
        }
    }
    let _ = fs::write("/proc/sys/kernel/printk", "3");
    for _ in 0..100 {
        if Path::new("/sys/block/vda").exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Runs a tool of the guest and insists that it ends well.
pub fn tool(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).env("MDADM_NO_UDEV", "1").output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}
