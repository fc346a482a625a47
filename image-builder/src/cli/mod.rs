//! The words people type: one verb each; a verb parses, calls and prints, and decides nothing.

mod build;
mod config;
mod diff;
mod keys;
mod lock;
mod run;
mod verify;
mod why;

use crate::progress::Progress;
use crate::store::Store;
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Builds, verifies and runs immutable Kubernetes node images.
#[derive(Debug, Parser)]
#[command(
    name = "bedplate",
    version,
    max_term_width = 100,
    after_help = "Examples:
  bedplate keys new keys
  bedplate lock
  bedplate build --out out
  bedplate verify out --key keys/release.pub
  bedplate why /usr/bin/mount
  bedplate diff former out
  bedplate config check site.toml
  bedplate run out --config bundle.toml --disk 10G,serial=DATA-A

Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make development keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Write bedplate.lock: every input by SHA-256.
    Lock(lock::Lock),
    /// Build the image that recipe and lock describe.
    Build(build::Build),
    /// Check a release: signature, sums, UKI, root hash.
    Verify(verify::Verify),
    /// Tell which input put a path into the image, what it replaced, and who wanted that input.
    Why(why::Why),
    /// Tell what changes from one release or lock to another.
    Diff(diff::Diff),
    /// Check, sign, show and render site files.
    #[command(subcommand)]
    Config(config::Config),
    /// Start a built image in QEMU under Secure Boot.
    Run(run::Run),
}

/// Which recipe, and which store.
#[derive(Debug, Clone, Args)]
struct Place {
    /// The recipe; its lock lies beside it.
    #[arg(long, value_name = "FILE", default_value = "recipe.toml")]
    recipe: PathBuf,
    #[command(flatten)]
    store: StoreFolder,
}

/// Which store.
#[derive(Debug, Clone, Args)]
struct StoreFolder {
    /// The store of verified inputs and finished stages [default: the user's cache folder].
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl StoreFolder {
    fn open(&self) -> Result<Store> {
        Store::open(&self.store.clone().unwrap_or_else(Store::default_folder))
    }
}

/// Writes data to standard output. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e).context("can't write to standard output"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Parses the arguments, runs the verb, and gives the exit code: 0 done, 1 failed, 2 wrong usage.
pub fn main() -> ExitCode {
    let verb = Cli::parse().verb;
    let progress = Progress::stderr();
    let done = match verb {
        Verb::Keys(keys) => keys.run(),
        Verb::Lock(lock) => lock.run(&progress),
        Verb::Build(build) => build.run(&progress),
        Verb::Verify(verify) => verify.run(),
        Verb::Why(why) => why.run(),
        Verb::Diff(diff) => diff.run(),
        Verb::Config(config) => config.run(),
        Verb::Run(run) => run.run(&progress),
    };
    done.unwrap_or_else(|error| {
        progress.say_error(&error);
        ExitCode::FAILURE
    })
}
