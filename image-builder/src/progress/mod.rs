//! Progress of long work: events in; bars on a terminal, plain lines elsewhere, or one JSON object per line for
//! pipelines; always on standard error.

mod event;

use console::style;
use event::{Count, Event};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where progress goes. Cheap to clone; every stage takes one.
#[derive(Clone, Debug)]
pub struct Progress {
    form: Form,
    started: Instant,
    tasks: Arc<AtomicU64>,
}

/// How progress looks.
#[derive(Clone, Debug)]
enum Form {
    /// Bars, and lines above them.
    Bars(MultiProgress),
    /// A line per event, and one every ten seconds of a task.
    Lines,
    /// JSON, a line per event, and one a second of a task.
    Json,
    /// Only why a verb failed.
    Quiet,
    /// Nothing at all.
    Silent,
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
        let bars = std::io::stderr().is_terminal();
        Progress::of(match bars {
            true => Form::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr())),
            false => Form::Lines,
        })
    }

    /// One JSON object per line.
    pub fn json() -> Progress {
        Progress::of(Form::Json)
    }

    /// Only why a verb failed.
    pub fn quiet() -> Progress {
        Progress::of(Form::Quiet)
    }

    /// Nothing at all, for tests.
    pub fn silent() -> Progress {
        Progress::of(Form::Silent)
    }

    fn of(form: Form) -> Progress {
        Progress { form, started: Instant::now(), tasks: Arc::default() }
    }

    /// Says one line.
    pub fn say(&self, line: impl AsRef<str>) {
        let (text, at) = (line.as_ref(), self.started.elapsed().as_secs_f64());
        match &self.form {
            Form::Bars(bars) => {
                let _ = bars.println(format!("{} {text}", style(format!("[{at:6.1}]")).for_stderr().dim()));
            }
            Form::Lines => eprintln!("[{at:6.1}] {text}"),
            Form::Json => self.event(&Event::Note { text }),
            Form::Quiet | Form::Silent => {}
        }
    }

    /// Says why a verb failed: the sentence, then its causes, each on a line of its own.
    pub fn say_error(&self, error: &anyhow::Error) {
        let causes = || error.chain().skip(1).map(ToString::to_string);
        let mut text = format!("{} {error}", style("bedplate:").for_stderr().red().bold());
        for cause in causes() {
            text.push_str(&format!("\n  {} {cause}", style("because:").for_stderr().bold()));
        }
        match &self.form {
            Form::Bars(bars) => bars.suspend(|| eprintln!("{text}")),
            Form::Lines | Form::Quiet => eprintln!("{text}"),
            Form::Json => self.event(&Event::Failed { error: error.to_string(), causes: causes().collect() }),
            Form::Silent => {}
        }
    }

    /// Begins a task of `total` units (0 if unknown). It ends when the task is dropped.
    pub fn task(&self, what: impl Into<String>, total: u64, unit: Unit) -> Task {
        let (what, number) = (what.into(), self.tasks.fetch_add(1, Ordering::Relaxed) + 1);
        let bar = match &self.form {
            Form::Bars(bars) => Some(new_bar(bars, &what, total, unit)),
            Form::Json => {
                self.event(&Event::Begin { task: number, what: &what, count: Count::new(unit, 0, total) });
                None
            }
            _ => {
                self.say(format!("{what} ..."));
                None
            }
        };
        Task {
            inner: Arc::new(TaskInner {
                progress: self.clone(),
                number,
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

    fn event(&self, event: &Event) {
        eprintln!("{}", event::line(event, self.started.elapsed().as_secs_f64()));
    }
}

fn new_bar(bars: &MultiProgress, what: &str, total: u64, unit: Unit) -> ProgressBar {
    let bar = bars.add(ProgressBar::new(total));
    let template = match unit {
        Unit::Bytes => "{msg:<40} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}".to_owned(),
        Unit::Count(name) => format!("{{msg:<40}} {{bar:24}} {{pos}}/{{len}} {name}"),
    };
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A task that is going on. Clones count together.
#[derive(Clone, Debug)]
pub struct Task {
    inner: Arc<TaskInner>,
}

#[derive(Debug)]
struct TaskInner {
    progress: Progress,
    number: u64,
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
        match (&inner.bar, &inner.progress.form) {
            (Some(bar), _) => bar.set_position(done),
            (None, Form::Lines) if inner.is_time(10) => {
                inner.progress.say(format!("{}: {}", inner.what, inner.amount(done)));
            }
            (None, Form::Json) if inner.is_time(1) => {
                inner.progress.event(&Event::Going { task: inner.number, count: inner.count(done) });
            }
            _ => {}
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
    /// Whether so many seconds have passed since this was last so.
    fn is_time(&self, seconds: u64) -> bool {
        let now = self.began.elapsed().as_secs();
        let last = self.last_line.load(Ordering::Relaxed);
        now >= last + seconds
            && self.last_line.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn count(&self, done: u64) -> Count {
        Count::new(self.unit, done, self.total.load(Ordering::Relaxed))
    }

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
        let (seconds, done) = (self.began.elapsed().as_secs_f64(), self.done.load(Ordering::Relaxed));
        match &self.progress.form {
            Form::Json => self.progress.event(&Event::End {
                task: self.number,
                what: &self.what,
                count: self.count(done),
                seconds: (seconds * 1000.0).round() / 1000.0,
            }),
            _ => self.progress.say(format!("{}: {} in {seconds:.1} s", self.what, self.amount(done))),
        }
    }
}
