//! Progress of long work: events in, bars on a terminal or plain lines elsewhere, always on standard error.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where progress goes. Cheap to clone; every stage takes one.
#[derive(Clone, Debug)]
pub struct Progress {
    bars: Option<MultiProgress>,
    started: Instant,
    silent: bool,
}

/// What a task counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things of this name (`packages`).
    Count(&'static str),
}

impl Progress {
    /// Bars if standard error is a terminal, lines if not.
    pub fn stderr() -> Progress {
        let bars =
            std::io::stderr().is_terminal().then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Progress { bars, started: Instant::now(), silent: false }
    }

    /// Nothing at all, for tests.
    pub fn silent() -> Progress {
        Progress { bars: None, started: Instant::now(), silent: true }
    }

    /// Says one line.
    pub fn say(&self, line: impl AsRef<str>) {
        if self.silent {
            return;
        }
        let line = format!("[{:6.1}] {}", self.started.elapsed().as_secs_f64(), line.as_ref());
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(line);
            }
            None => eprintln!("{line}"),
        }
    }

    /// Says why a verb failed: the sentence, then its causes, each on a line of its own.
    pub fn say_error(&self, error: &anyhow::Error) {
        let mut text = format!("bedplate: {error}");
        for cause in error.chain().skip(1) {
            text.push_str(&format!("\n  because: {cause}"));
        }
        match &self.bars {
            Some(bars) => bars.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Begins a task of `total` units (0 if unknown). It ends when the task is dropped.
    pub fn task(&self, what: impl Into<String>, total: u64, unit: Unit) -> Task {
        let what = what.into();
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(total));
            let template = match unit {
                Unit::Bytes => "{msg:<40} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}".to_owned(),
                Unit::Count(name) => format!("{{msg:<40}} {{bar:24}} {{pos}}/{{len}} {name}"),
            };
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style);
            }
            bar.set_message(what.clone());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            self.say(format!("{what} ..."));
        }
        Task {
            inner: Arc::new(TaskInner {
                progress: self.clone(),
                what,
                unit,
                bar,
                total: AtomicU64::new(total),
                done: AtomicU64::new(0),
                began: Instant::now(),
                last_line: AtomicU64::new(0),
            }),
        }
    }
}

/// A task that is going on. Clones count together.
#[derive(Clone, Debug)]
pub struct Task {
    inner: Arc<TaskInner>,
}

#[derive(Debug)]
struct TaskInner {
    progress: Progress,
    what: String,
    unit: Unit,
    bar: Option<ProgressBar>,
    total: AtomicU64,
    done: AtomicU64,
    began: Instant,
    last_line: AtomicU64,
}

impl Task {
    /// Counts `n` more units.
    pub fn add(&self, n: u64) {
        let inner = &self.inner;
        let done = inner.done.fetch_add(n, Ordering::Relaxed) + n;
        match &inner.bar {
            Some(bar) => bar.set_position(done),
            None => {
                // Without a terminal: a line every ten seconds.
                let now = inner.began.elapsed().as_secs();
                let last = inner.last_line.load(Ordering::Relaxed);
                if now >= last + 10
                    && inner.last_line.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
                {
                    inner.progress.say(format!("{}: {}", inner.what, inner.amount(done)));
                }
            }
        }
    }

    /// Sets the total once it is known.
    pub fn set_total(&self, total: u64) {
        self.inner.total.store(total, Ordering::Relaxed);
        if let Some(bar) = &self.inner.bar {
            bar.set_length(total);
        }
    }
}

impl TaskInner {
    fn amount(&self, done: u64) -> String {
        let total = self.total.load(Ordering::Relaxed);
        let show = |n: u64| match self.unit {
            Unit::Bytes => indicatif::HumanBytes(n).to_string(),
            Unit::Count(_) => n.to_string(),
        };
        let name = match self.unit {
            Unit::Bytes => String::new(),
            Unit::Count(name) => format!(" {name}"),
        };
        if total > 0 { format!("{} of {}{name}", show(done), show(total)) } else { format!("{}{name}", show(done)) }
    }
}

impl Drop for TaskInner {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.began.elapsed().as_secs_f64();
        self.progress.say(format!(
            "{}: {} in {seconds:.1} s",
            self.what,
            self.amount(self.done.load(Ordering::Relaxed))
        ));
    }
}
