//! The page of a node that does not simply run: 80 columns, 24 rows, plain ASCII. Pure.
//!
//! All refusals are on it at once; what does not fit goes on further pages with the same head and foot. Text
//! that comes from outside (a disk's model, a file system's label) can't move the cursor or clear the screen:
//! everything that is not printable ASCII becomes `?`.

use machine_config::Diagnostic;

/// Columns of a page.
pub const WIDTH: usize = 80;
/// Rows of a page.
pub const HEIGHT: usize = 24;
/// Columns that the texts under a code are indented by.
const INDENT: usize = 9;

/// What the node is doing, as the person needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Title {
    /// It needs a person.
    Stopped,
    /// It goes on alone.
    Waiting,
    /// It runs, with something missing.
    Degraded,
}

impl Title {
    fn word(self) -> &'static str {
        match self {
            Title::Stopped => "STOPPED",
            Title::Waiting => "WAITING",
            Title::Degraded => "DEGRADED",
        }
    }
}

/// Everything that stands on the page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// STOPPED, WAITING or DEGRADED.
    pub title: Title,
    /// Where in the line: `boot`, `config`, `storage`, `network`, `join`.
    pub at: String,
    /// Image and slot: `Bedplate 1.0 (slot A)`.
    pub product: String,
    /// The machine's name, once the configuration is known.
    pub machine: Option<String>,
    /// The chassis' serial number, if it has a usable one.
    pub chassis: Option<String>,
    /// Seconds since 1970, UTC, when the page was made.
    pub time: Option<u64>,
    /// Which configuration counts, and where it came from.
    pub config: Option<String>,
    /// What is wrong, everything at once.
    pub refusals: Vec<Diagnostic>,
    /// What happens next: `The node looks again when a disk or the config changes.`
    pub next: String,
}

impl Page {
    /// The pages, each of at most [`HEIGHT`] lines of at most [`WIDTH`] characters, without a line end.
    #[must_use]
    pub fn render(&self) -> Vec<Vec<String>> {
        let head = self.head();
        let room = HEIGHT - head.len() - 2;
        let mut bodies: Vec<Vec<String>> = vec![Vec::new()];
        for refusal in &self.refusals {
            let block = refusal_lines(refusal);
            let last = bodies.last().map_or(0, Vec::len);
            let gap = usize::from(last > 0);
            // A refusal that fits on one page is not torn apart.
            if last + gap + block.len() > room && block.len() <= room {
                bodies.push(Vec::new());
            } else if gap > 0
                && let Some(body) = bodies.last_mut()
            {
                body.push(String::new());
            }
            for line in block {
                if bodies.last().is_none_or(|b| b.len() == room) {
                    bodies.push(Vec::new());
                }
                if let Some(body) = bodies.last_mut() {
                    body.push(line);
                }
            }
        }
        let count = bodies.len();
        bodies
            .into_iter()
            .enumerate()
            .map(|(i, body)| {
                let foot = if count == 1 {
                    self.next.clone()
                } else {
                    format!("Page {} of {count}, Enter shows the next. {}", i + 1, self.next)
                };
                let foot = wrap(&foot, WIDTH).into_iter().next().unwrap_or_default();
                head.iter().cloned().chain(body).chain([String::new(), foot]).collect()
            })
            .collect()
    }

    fn head(&self) -> Vec<String> {
        let mut left = plain(&self.product);
        if let Some(machine) = &self.machine {
            left.push_str(&format!("   {}", plain(machine)));
        }
        if let Some(chassis) = &self.chassis {
            left.push_str(&format!("   chassis {}", plain(chassis)));
        }
        let mut right = format!("{} at {}", self.title.word(), plain(&self.at));
        if let Some(time) = self.time {
            let minutes = time / 60;
            right.push_str(&format!(", {:02}:{:02} UTC", minutes / 60 % 24, minutes % 60));
        }
        let space = WIDTH.saturating_sub(right.chars().count() + 1);
        let left: String = left.chars().take(space).collect();
        let mut head = vec![format!("{left:space$} {right}")];
        if let Some(config) = &self.config {
            head.extend(wrap(config, WIDTH).into_iter().take(1));
        }
        head.push(String::new());
        head
    }
}

/// One refusal as lines: its code before the first, the rest indented.
fn refusal_lines(refusal: &Diagnostic) -> Vec<String> {
    let mut texts = vec![refusal.what.clone()];
    if let Some(place) = &refusal.place {
        texts.push(format!("at {place}"));
    }
    texts.extend([refusal.why.clone(), refusal.mend.clone()].into_iter().filter(|t| !t.is_empty()));
    let lines = texts.iter().flat_map(|t| wrap(t, WIDTH - INDENT)).enumerate();
    let code = plain(&refusal.code);
    lines.map(|(i, l)| format!("{:INDENT$}{l}", if i == 0 { code.as_str() } else { "" })).collect()
}

/// Breaks text into lines of at most `width` characters, at spaces where there are any. Line ends in the text
/// are kept, and so is the indentation of a line (commands to be typed are written indented).
fn wrap(text: &str, width: usize) -> Vec<String> {
    text.lines().flat_map(|line| wrap_line(&plain(line), width)).collect()
}

fn wrap_line(line: &str, width: usize) -> Vec<String> {
    let indent: String = line.chars().take_while(|c| *c == ' ').take(width / 2).collect();
    let mut lines = Vec::new();
    let mut current = indent.clone();
    for word in line.split_whitespace() {
        let mut word = word;
        let gap = usize::from(current.len() > indent.len());
        if current.len() + gap + word.len() > width && gap > 0 {
            lines.push(std::mem::replace(&mut current, indent.clone()));
        } else if gap > 0 {
            current.push(' ');
        }
        // A word that is wider than the page is cut; everything is ASCII here, so bytes are characters.
        while current.len() + word.len() > width {
            let (fits, rest) = word.split_at(width - current.len());
            lines.push(std::mem::replace(&mut current, indent.clone()) + fits);
            word = rest;
        }
        current.push_str(word);
    }
    lines.push(current);
    lines
}

/// Printable ASCII, anything else as `?`, tabs as spaces.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            ' '..='~' => c,
            '\t' => ' ',
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(code: &str, what: &str, why: &str, mend: &str) -> Diagnostic {
        Diagnostic { code: code.into(), what: what.into(), place: None, why: why.into(), mend: mend.into() }
    }

    fn page(refusals: Vec<Diagnostic>) -> Page {
        Page {
            title: Title::Stopped,
            at: "storage".into(),
            product: "Bedplate 1.0 (slot A)".into(),
            machine: Some("n1".into()),
            chassis: Some("J7K2X03".into()),
            time: Some(1_795_788_180),
            config: Some("config revision 42, from USB stick BEDPLATE".into()),
            refusals,
            next: "The node looks again when a disk or the config changes.".into(),
        }
    }

    fn foreign_disk() -> Diagnostic {
        diagnostic(
            "BP-S014",
            "bay 4 (enclosure 0)  ST12000NM0127  serial ZL2ABCDE  12.0 TB",
            "holds ext4 \"backup-2019\" (3f2a6c1e), not made for this node. Nothing was written, to it or to the other disks of \"object\".",
            "To give it to the node:\n  bedplate permit erase n1 ZL2ABCDE --expect \"ext4 3f2a6c1e\"\nor change the selector of \"object\" (site.toml:17).",
        )
    }

    fn text(pages: &[Vec<String>]) -> String {
        pages.iter().map(|p| p.join("\n")).collect::<Vec<_>>().join("\n--------\n")
    }

    #[test]
    fn one_refusal_fits_one_page() {
        insta::assert_snapshot!(text(&page(vec![foreign_disk()]).render()));
    }

    #[test]
    fn many_refusals_are_paged_whole_and_within_the_screen() {
        let pages = page((0..7).map(|_| foreign_disk()).collect()).render();
        assert!(pages.len() > 1);
        for page in &pages {
            assert!(page.len() <= HEIGHT, "{} rows", page.len());
            assert!(page.iter().all(|l| l.chars().count() <= WIDTH), "{page:?}");
        }
        assert_eq!(text(&pages).matches("BP-S014").count(), 7);
        insta::assert_snapshot!(text(&pages));
    }

    #[test]
    fn a_refusal_longer_than_a_page_goes_on_over_pages() {
        let pages = page(vec![diagnostic("BP-C001", &"word ".repeat(600), "", "")]).render();
        assert!(pages.len() >= 2 && pages.iter().all(|p| p.len() <= HEIGHT));
        assert_eq!(text(&pages).matches("word").count(), 600);
    }

    #[test]
    fn text_from_a_disk_cannot_drive_the_terminal() {
        let label = diagnostic("BP-S014", "label \u{1b}[2J\u{9b}31m\r\u{7} caf\u{e9}", "", "");
        let shown = text(&page(vec![label]).render());
        assert!(shown.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{shown:?}");
    }

    #[test]
    fn a_word_wider_than_the_page_is_cut_not_lost() {
        let long = "x".repeat(200);
        let pages = page(vec![diagnostic("BP-S001", &long, "", "")]).render();
        assert!(pages[0].iter().all(|l| l.len() <= WIDTH));
        assert_eq!(text(&pages).matches('x').count(), 200);
    }
}
