//! What a node says on its serial port: phases, pages, status. Parsing is pure; one function reads the file.
//!
//! The lines are those of `docs/agent.md`: `bedplate: phase NAME SECONDS` with seconds since the kernel's start, and
//! `bedplate: status JSON`. A page begins where the screen is cleared.

use serde_json::Value;
use std::path::Path;

const CLEAR: &str = "\x1b[H\x1b[2J";
/// What a kernel says that does not go on.
const BROKEN: [&str; 5] = ["BUG: ", "Call Trace:", "Kernel panic", "Oops: ", "Possible timer handling issue"];

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

    /// What the kernel said when it broke down before any program of the image ran, from its first word of it on.
    ///
    /// Software emulation brings that about in few of a hundred boots, on a loaded host: a timer interrupt is lost, or
    /// the kernel stumbles over itself. It says nothing about the image, unless it comes again.
    pub fn kernel_broke(&self) -> Option<&str> {
        let at = BROKEN.iter().filter_map(|words| self.text.find(words)).min()?;
        let line = self.text[..at].rfind('\n').map_or(0, |end| end + 1);
        (self.phases().is_empty() && self.pages() == 0).then_some(&self.text[line..])
    }

    /// How it ended, for a person who asks what went wrong: all that a broken kernel said, else the last `lines`.
    pub fn ending(&self, lines: usize) -> String {
        self.kernel_broke().map_or_else(|| self.tail(lines), str::to_owned)
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
    fn a_kernel_breaks_only_before_the_first_phase() {
        let broke = |text: &str| log(text).kernel_broke().map(str::to_owned);
        let stall = "[   21.0] rcu: \tPossible timer handling issue on cpu=0 timer-softirq=32\n[   21.1] Call Trace:\n";
        assert_eq!(broke(stall).as_deref(), Some(stall));
        let oops = "[    1.3] Oops: general protection fault\n[    1.3] Call Trace:\n[    1.3]  <TASK>\n";
        assert_eq!(broke(&format!("[    1.2] fine\n{oops}")).as_deref(), Some(oops));
        assert_eq!(broke(&format!("bedplate: phase kernel 2.7\n{stall}")), None);
        assert_eq!(broke("[    0.1] rcu: Hierarchical RCU implementation.\n"), None);
        assert_eq!(log(&format!("a\n{oops}")).ending(1), oops);
        assert_eq!(log("a\nb\n").ending(1), "b");
    }

    #[test]
    fn the_tail_has_no_empty_lines() {
        assert_eq!(log("a\n\nb\nc\n").tail(2), "b\nc");
    }
}
