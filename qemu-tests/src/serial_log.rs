//! What a node says on its serial port: phases, pages, status. Parsing is pure; one function reads the file.
//!
//! The lines are those of `docs/agent.md`: `bedplate: phase NAME SECONDS` with seconds since the kernel's start, and
//! `bedplate: status JSON`. A page begins where the screen is cleared.

use serde_json::Value;
use std::path::Path;

const CLEAR: &str = "\x1b[H\x1b[2J";

/// The text of a serial port so far.
#[derive(Debug, Clone, Default)]
pub struct SerialLog {
    text: String,
}

/// A phase of the boot that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Seconds since the kernel's start at its end.
    pub at: f64,
}

impl SerialLog {
    /// What `file` holds now; nothing if it is not there yet.
    pub fn read(file: &Path) -> SerialLog {
        SerialLog::parse(&std::fs::read(file).unwrap_or_default())
    }

    /// A log of these bytes.
    pub fn parse(bytes: &[u8]) -> SerialLog {
        SerialLog { text: String::from_utf8_lossy(bytes).replace('\r', "") }
    }

    /// All of it, with control sequences.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Phases in the order in which they ended. A line that the kernel broke into is not one.
    pub fn phases(&self) -> Vec<Phase> {
        let phase = |rest: &str| {
            let (name, seconds) = rest.trim().split_once(' ')?;
            Some(Phase { name: name.into(), at: seconds.parse().ok()? })
        };
        self.said("phase ").filter_map(phase).collect()
    }

    /// Whether the emulator lost a timer interrupt: the kernel waits for ever, before any program of the image ran.
    /// It happens to few of a hundred boots, on a loaded host, and says nothing about the image.
    pub fn lost_timer(&self) -> bool {
        self.phases().is_empty() && self.text.contains("Possible timer handling issue")
    }

    /// The last status that came through whole.
    pub fn status(&self) -> Option<Value> {
        self.said("status ").filter_map(|json| serde_json::from_str(json.trim()).ok()).last()
    }

    /// The page that was painted last.
    pub fn page(&self) -> Option<String> {
        let (_, page) = self.text.rsplit_once(CLEAR)?;
        Some(without_sequences(page))
    }

    /// How many times a page was painted.
    pub fn pages(&self) -> usize {
        self.text.matches(CLEAR).count()
    }

    /// How many kernels were started; more than one means the machine went round.
    pub fn kernels(&self) -> usize {
        self.said("phase kernel ").count()
    }

    /// The last lines, for a person who asks what went wrong.
    pub fn tail(&self, lines: usize) -> String {
        let text = without_sequences(&self.text);
        let all: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn said<'a>(&'a self, what: &'a str) -> impl Iterator<Item = &'a str> {
        // A line without its end may still grow.
        let whole = self.text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter_map(move |line| line.split_once("bedplate: ")?.1.strip_prefix(what))
    }
}

/// The text without terminal control sequences (`ESC [ ... letter`).
fn without_sequences(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\x1b' {
            plain.push(c);
        } else if rest.next() == Some('[') {
            let _ = rest.find(|c| ('@'..='~').contains(c));
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str) -> SerialLog {
        SerialLog::parse(text.as_bytes())
    }

    #[test]
    fn phases_are_read_and_broken_lines_passed_over() {
        let log = log("bedplate: phase kernel 1.50\r\n[ 2.0] noise\r\nbedplate: phase stage1 [ 2.1] x\r\n\
             bedplate: phase stage1 2.25\r\nbedplate: phase storage 5");
        let names: Vec<_> = log.phases().into_iter().map(|p| (p.name, p.at)).collect();
        assert_eq!(names, [("kernel".to_owned(), 1.5), ("stage1".into(), 2.25)]);
        assert_eq!(log.kernels(), 1);
    }

    #[test]
    fn the_last_whole_status_counts() {
        let log = log("bedplate: status {\"a\":1}\nbedplate: status {\"a\":2}\nbedplate: status {\"a\":\n");
        assert_eq!(log.status().unwrap()["a"], 2);
        assert!(log.page().is_none());
    }

    #[test]
    fn the_last_page_is_shown_without_control_sequences() {
        let log =
            log("boot\n\x1b[H\x1b[2JBedplate STOPPED one\n\x1b[H\x1b[2JBedplate \x1b[1mSTOPPED\x1b[0m two\nBP-S001\n");
        assert_eq!(log.page().unwrap(), "Bedplate STOPPED two\nBP-S001\n");
        assert_eq!(log.pages(), 2);
    }

    #[test]
    fn a_timer_is_lost_only_before_the_first_phase() {
        let stall = "[   21.0] rcu: \tPossible timer handling issue on cpu=0 timer-softirq=32\n";
        assert!(SerialLog::parse(stall.as_bytes()).lost_timer());
        assert!(!SerialLog::parse(format!("bedplate: phase kernel 2.7\n{stall}").as_bytes()).lost_timer());
        assert!(!SerialLog::parse(b"[    0.1] rcu: Hierarchical RCU implementation.\n").lost_timer());
    }

    #[test]
    fn the_tail_has_no_empty_lines() {
        assert_eq!(log("a\n\nb\nc\n").tail(2), "b\nc");
    }
}
