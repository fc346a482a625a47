//! Tiers of tests, and the seconds each takes.
//!
//! Tests that boot machines share boots, so they run one after the other, in order, on the thread that began: what
//! a test starts ends with that thread. Those that build run two at a time: each has stretches on one processor.
#![allow(clippy::disallowed_methods, reason = "edge: keeps the list of tiers and their seconds")]

use image_builder::resolve::local::AGENT_FOLDER;
use libtest_mimic::{Arguments, Failed, Trial};
use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

/// Runs a tier and says how long it took: on standard error, and in `target/tiers.txt`, where the last run of each
/// tier is kept.
pub fn run(tier: &str, trials: Vec<Trial>) -> ExitCode {
    run_side_by_side(tier, 1, trials)
}

/// As [`run`], with so many tests at a time.
pub fn run_side_by_side(tier: &str, tests: usize, trials: Vec<Trial>) -> ExitCode {
    let began = Instant::now();
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(tests);
    let all = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    let conclusion = libtest_mimic::run(&arguments, trials);
    if all {
        let line = format!("tier {tier:<6} {:7.1} s, {} tests", began.elapsed().as_secs_f64(), conclusion.num_passed);
        let _ = writeln!(std::io::stderr(), "{line}");
        keep(tier, &line);
    }
    conclusion.exit_code()
}

/// One test of a tier.
pub fn case<E: Display>(name: &str, check: impl FnOnce() -> Result<(), E> + Send + 'static) -> Trial {
    Trial::test(name, move || check().map_err(|e| Failed::from(format!("{e:#}"))))
}

fn keep(tier: &str, line: &str) {
    let file = target_folder().join("tiers.txt");
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    let others: Vec<&str> = before.lines().filter(|l| !l.starts_with(&format!("tier {tier} "))).collect();
    let text: String = others.into_iter().chain([line]).map(|l| format!("{l}\n")).collect();
    let _ = std::fs::write(file, text);
}

/// The folder cargo builds into.
pub fn target_folder() -> PathBuf {
    let from_program = || {
        // TARGET/PROFILE/PROGRAM, or TARGET/PROFILE/deps/PROGRAM.
        let program = std::env::current_exe().ok()?;
        let folder = program.parent()?;
        let profile = if folder.ends_with("deps") { folder.parent()? } else { folder };
        profile.parent().map(PathBuf::from)
    };
    from_program().unwrap_or_else(|| PathBuf::from("target"))
}

/// The folder of the agent's programs, for builders that are to take them from there: what [`AGENT_FOLDER`] says, else
/// where `make agent` puts them.
pub fn agent_folder() -> PathBuf {
    std::env::var_os(AGENT_FOLDER).map_or_else(|| target_folder().join("agent"), PathBuf::from)
}

/// Something that several tests look at and that is made once, by the first that asks: a boot and what came of it.
#[derive(Debug)]
pub struct Shared<T>(OnceLock<Result<T, String>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Shared(OnceLock::new())
    }
}

impl<T> Shared<T> {
    /// What `make` gave when it was asked first; so is its error.
    ///
    /// # Errors
    /// That of `make`, to each test that needs the thing.
    pub fn get(&self, make: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<&T> {
        let made = self.0.get_or_init(|| make().map_err(|e| format!("{e:#}")));
        made.as_ref().map_err(|e| anyhow::anyhow!("{e}"))
    }
}
