//! `bedplate completions` and `bedplate man`: what shells and `man` know of the other verbs, made from the same words.

#![allow(clippy::disallowed_methods, reason = "edge: writes the manual pages")]

use super::{Cli, Console, print};
use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Print the completions of a shell.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  bedplate completions bash > /etc/bash_completion.d/bedplate
  bedplate completions zsh > ~/.zfunc/_bedplate
  bedplate completions fish > ~/.config/fish/completions/bedplate.fish")]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "bedplate", &mut text);
        print(&String::from_utf8(text)?)
    }
}

/// Write the manual pages into a folder, one for each verb.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:
  bedplate man /usr/local/share/man/man1")]
pub struct Man {
    /// The folder; pages that are there are replaced.
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        let Man { folder } = &self;
        let failed = || format!("the manual pages can't be written to {}", folder.display());
        std::fs::create_dir_all(folder).with_context(failed)?;
        let pages = Cli::command().disable_help_subcommand(true);
        clap_mangen::generate_to(pages, folder).with_context(failed)?;
        console.give(folder.display(), &json!({ "pages": folder }))
    }
}
