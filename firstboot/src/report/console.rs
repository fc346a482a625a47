//! Every console of the machine: video, and each serial port that is really there.
#![allow(clippy::disallowed_methods, reason = "edge: writes to terminals")]
//!
//! The order of `console=` arguments does not matter, and a port that takes nothing (no cable, hardware flow
//! control) holds up neither the others nor the boot: ports are non-blocking and are given up after a while.

use super::page::Page;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{ControlFlags, LocalFlags, SetArg, tcgetattr, tcsetattr};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a page stands before it is painted again, for whoever plugs in a screen later.
const REPAINT: Duration = Duration::from_secs(30);
/// How long one port may take for one page.
const PATIENCE: Duration = Duration::from_secs(3);

/// The consoles that were there when they were looked for.
#[derive(Debug)]
pub struct Consoles {
    ports: Vec<File>,
}

/// A line each on every console and in the log. The consoles are opened only now: a serial port may have come since, and one
/// who seldom says something holds none.
pub fn say(lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let consoles = Consoles::open();
    for line in lines {
        tracing::info!("{line}");
        consoles.line(&format!("bedplate: {line}"));
    }
}

impl Consoles {
    /// Opens every console. None at all is no error: the node then stops or runs unseen.
    #[must_use]
    pub fn open() -> Consoles {
        let ports = names().iter().filter_map(|name| open_port(name)).collect();
        Consoles { ports }
    }

    /// Writes one line to each.
    pub fn line(&self, text: &str) {
        let clean: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        self.write(format!("{clean}\n").as_bytes());
    }

    /// Shows the page, painted again on Enter and every 30 s, until `done` says so; it is asked after every
    /// painting. The page is made anew for each painting, so it can change.
    pub fn show_until(&mut self, mut page: impl FnMut() -> Page, mut done: impl FnMut() -> bool) {
        let mut index = 0;
        loop {
            let pages = page().render();
            if let Some(lines) = pages.get(index % pages.len().max(1)) {
                self.write(format!("\x1b[H\x1b[2J{}\n", lines.join("\n")).as_bytes());
            }
            index += 1;
            if done() {
                return;
            }
            self.wait_for_enter(REPAINT);
        }
    }

    /// Shows the page for ever.
    pub fn show(mut self, page: &Page) -> ! {
        loop {
            self.show_until(|| page.clone(), || false);
        }
    }

    fn write(&self, bytes: &[u8]) {
        for port in &self.ports {
            write_patiently(port, bytes);
        }
    }

    /// Returns when a line was typed on any console, or after `limit`.
    fn wait_for_enter(&mut self, limit: Duration) {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut watched: Vec<PollFd> =
                self.ports.iter().map(|p| PollFd::new(p.as_fd(), PollFlags::POLLIN)).collect();
            if poll(&mut watched, timeout).is_err() {
                std::thread::sleep(Duration::from_secs(1));
                continue;
            }
            let states: Vec<PollFlags> = watched.iter().map(|w| w.revents().unwrap_or(PollFlags::empty())).collect();
            let mut typed = false;
            let mut index = 0;
            self.ports.retain_mut(|port| {
                let state = states[index];
                index += 1;
                if state.contains(PollFlags::POLLIN) {
                    let mut line = [0; 256];
                    match port.read(&mut line) {
                        // A port that is gone would wake us for ever.
                        Ok(0) => return false,
                        Ok(_) => typed = true,
                        Err(_) => {}
                    }
                }
                !state.intersects(PollFlags::POLLNVAL | PollFlags::POLLERR)
            });
            if typed {
                return;
            }
        }
    }
}

/// Names of the consoles in `/dev`: the first virtual terminal, whatever the kernel writes to, and each serial
/// port with a chip behind it.
fn names() -> BTreeSet<String> {
    let tty = Path::new("/sys/class/tty");
    let active = fs::read_to_string(tty.join("console/active")).unwrap_or_default();
    let mut found: BTreeSet<String> = active.split_whitespace().map(|n| n.replace("tty0", "tty1")).collect();
    if tty.join("tty1").exists() {
        found.insert("tty1".into());
    }
    for entry in fs::read_dir(tty).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // PORT_UNKNOWN, linux/serial_core.h: a port that was configured but not found.
        let chip = fs::read_to_string(entry.path().join("type")).is_ok_and(|t| t.trim() != "0");
        if name.starts_with("ttyS") && chip {
            found.insert(name);
        }
    }
    found
}

fn open_port(name: &str) -> Option<File> {
    let flags = nix::libc::O_NOCTTY | nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
    let port = OpenOptions::new().read(true).write(true).custom_flags(flags).open(Path::new("/dev").join(name)).ok()?;
    if let Ok(mut settings) = tcgetattr(&port) {
        // What is typed is not shown: nothing on this screen takes text.
        settings.local_flags.remove(LocalFlags::ECHO);
        settings.local_flags.insert(LocalFlags::ICANON);
        settings.control_flags.insert(ControlFlags::CLOCAL);
        let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
        if name.starts_with("ttyS") && !active.split_whitespace().any(|n| n == name) {
            // The kernel has set the speed of its own consoles; the others are at 9600.
            // Set as bits: cfsetspeed(3) has a versioned name that a static program can't be linked with.
            settings.control_flags.remove(ControlFlags::CBAUD);
            settings.control_flags.insert(ControlFlags::from_bits_retain(nix::libc::B115200));
        }
        let _ = tcsetattr(&port, SetArg::TCSANOW, &settings);
    }
    Some(port)
}

fn write_patiently(mut port: &File, mut bytes: &[u8]) {
    let until = Instant::now() + PATIENCE;
    while !bytes.is_empty() {
        match port.write(bytes) {
            Ok(0) => return,
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return;
                }
                let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
                let _ = poll(&mut [PollFd::new(port.as_fd(), PollFlags::POLLOUT)], timeout);
            }
            Err(_) => return,
        }
    }
}
