//! `bedplate diff`: what changes from one image to another.

use super::{Console, print};
use crate::release::{Contents, diff};
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Tell what changes from one release or lock to another.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  bedplate diff former out
  bedplate diff former/bedplate.lock bedplate.lock   # before anything is built
  bedplate diff former out --markdown > CHANGES.md
  bedplate diff former out --json | jq .packages

Each side is a release's folder or a lock; a lock alone knows no kernel release, command line, sizes and files.
Releases are read as they are; `bedplate verify` says whether they can be trusted.
Exit codes: 0 told, whether they differ or not; 1 failed, 2 wrong usage.")]
pub struct Diff {
    /// The older release or lock.
    #[arg(value_name = "A")]
    from: PathBuf,
    /// The newer one.
    #[arg(value_name = "B")]
    to: PathBuf,
    /// Print Markdown, for a release note.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// List every file that differs, not only those that a new version of their input does not explain.
    #[arg(long)]
    all_files: bool,
}

impl Diff {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        let diff = diff::compare(&Contents::read(&self.from)?, &Contents::read(&self.to)?);
        let text = match (console.json, self.markdown) {
            (true, _) => {
                serde_json::to_string_pretty(&diff).context("the differences can't be written as JSON")? + "\n"
            }
            (_, true) => diff::markdown(&diff, self.all_files),
            _ => diff::text(&diff, self.all_files),
        };
        print(&text)
    }
}
