//! `bedplate lock`: every input by SHA-256.

use super::{Console, Place};
use crate::resolve::{self, Options};
use anyhow::Result;
use clap::Args;
use serde_json::json;
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
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        let store = self.place.store.open()?;
        resolve::lock(&self.place.recipe, &store, &console.progress, &Options::of_host(self.local)?)?;
        let lock = crate::lock::Lock::path_for(&self.place.recipe);
        console.give(lock.display(), &json!({ "lock": lock }))
    }
}
