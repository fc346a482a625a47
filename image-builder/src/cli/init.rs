//! `bedplate init`: a folder to begin with.

use super::Console;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Make a new site: recipe, overlays, site file, development keys.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:
  bedplate init rack7 && cd rack7
  bedplate lock && bedplate build
  bedplate config check site.toml

The image is that of the example. Edit recipe.toml for what it is made of, site.toml for what the machines are.")]
pub struct Init {
    /// The folder; it must not exist or be empty.
    folder: PathBuf,
}

impl Init {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        crate::init::init(&self.folder)?;
        console.give(self.folder.display(), &json!({ "site": self.folder }))
    }
}
