//! Watches over the root while the node starts: a damaged block that is read after stage 1 stops the boot with
//! a page, not with a failing program.
//!
//! dm-verity answers a read of a damaged block with an I/O error and announces the block in a device event. The
//! warden is stage 1's own program in a process of its own, which opens the consoles before the root is
//! switched and needs no file afterwards. The agent ends it when the node is Ready; from then on a damaged
//! block is an I/O error of whoever reads it, and the node runs on.

use super::refuse;
use super::uevent::{Events, value};
use crate::report::console::Consoles;
use crate::report::page::Title;
use machine_config::Diagnostic;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Write;
use std::time::Duration;

/// The argument that makes the program the warden.
pub const ARGUMENT: &str = "warden";

/// Watches for ever.
pub fn run() -> ! {
    let mut consoles = Consoles::open();
    let events = Events::open();
    // Whoever started us waits for this line.
    let _ = std::io::stdout().write_all(b"watching\n");
    let Ok(events) = events else { std::process::exit(1) };
    let refusal = loop {
        if let Some(refusal) = judge(&events.take(Duration::from_secs(3600))) {
            break refusal;
        }
    };
    let page = super::page(Title::Stopped, vec![refusal]);
    loop {
        consoles.show_until(
            || page.clone(),
            || {
                // Everything but process 1, again and again: it may start what it restarts.
                let _ = kill(Pid::from_raw(-1), Signal::SIGSTOP);
                false
            },
        );
    }
}

/// What an event says about the root.
fn judge(event: &[u8]) -> Option<Diagnostic> {
    let (kind, block) = value(event, "DM_VERITY_ERR_BLOCK_NR")?.split_once(',')?;
    let kind = if kind == "1" { "hash tree" } else { "data" };
    Some(refuse(
        "BP-B010",
        "The root is damaged or was changed: a block of it does not verify.",
        &format!("Block {block} ({kind}, 4096 bytes) was read while the node started. Every program is halted."),
        "Write the image to the disk again. If it happens again, the disk is failing: replace it.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_of_verity_stop_the_node() {
        let refusal = judge(b"change@/dm\0DM_VERITY_ERR_BLOCK_NR=2,77\0").unwrap();
        assert!(refusal.why.contains("Block 77 (data"), "{refusal}");
        assert!(judge(b"change@/dm\0ACTION=change\0").is_none());
        assert!(judge(b"").is_none());
    }
}
