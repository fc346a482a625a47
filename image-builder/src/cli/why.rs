//! `bedplate why`: which input put a path into the image.

use super::{Console, print};
use crate::release::{Contents, why};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Tell which input put a path into the image, what it replaced, and who wanted that input.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  bedplate why /usr/bin/mount
  bedplate why /etc/systemd/system/getty.target --release out/node
  bedplate why /usr/share/man/man1/ls.1.gz     # not in the image: what kept it out
  bedplate why /usr/bin/mount --json | jq .finding

The release is read as it is; `bedplate verify` says whether it can be trusted.
Exit codes: 0 told, also of a path that is not in the image; 1 failed, 2 wrong usage.")]
pub struct Why {
    /// The path, as it is on a node.
    path: String,
    /// The release.
    #[arg(long, value_name = "DIR", default_value = "out")]
    release: PathBuf,
}

impl Why {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        let answer = why(&Contents::read(&self.release)?, &self.path)?;
        match console.json {
            true => console.give("", &answer),
            false => print(&answer.to_string()),
        }
    }
}
