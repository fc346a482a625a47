//! `bedplate keys`: development keys.

use super::Console;
use anyhow::Result;
use clap::Subcommand;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Make development keys.
#[derive(Debug, Clone, Subcommand)]
pub enum Keys {
    /// Make Secure Boot, release and config keys in a new folder; nothing is overwritten.
    #[command(after_help = "Example:
  bedplate keys new keys

Private keys (*.key) are readable by their owner alone. Keep PK.key and KEK.key off the build machine.")]
    New {
        /// The folder; it must not exist or be empty.
        folder: PathBuf,
    },
}

impl Keys {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        let Keys::New { folder } = self;
        crate::sign::keys::new(&folder)?;
        console.give(folder.display(), &json!({ "keys": folder }))
    }
}
