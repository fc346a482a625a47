//! `bedplate lock`: every input by SHA-256.

use super::Place;
use crate::progress::Progress;
use crate::resolve::{self, Options};
use anyhow::Result;
use clap::Args;
use std::process::ExitCode;

/// Write bedplate.lock beside the recipe: every input by SHA-256.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  bedplate lock
  bedplate lock --recipe site/recipe.toml
  bedplate lock --local          # after an overlay changed; asks no archive

Uids and gids of a lock that is there are kept.")]
pub struct Lock {
    #[command(flatten)]
    place: Place,
    /// Read only the local inputs anew (overlays, the agent), without the network.
    #[arg(long)]
    local: bool,
}

impl Lock {
    pub(super) fn run(self, progress: &Progress) -> Result<ExitCode> {
        let store = self.place.store.open()?;
        resolve::lock(&self.place.recipe, &store, progress, &Options::of_host(self.local)?)?;
        println!("{}", crate::lock::Lock::path_for(&self.place.recipe).display());
        Ok(ExitCode::SUCCESS)
    }
}
