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
  bedplate lock --accept-older   # go back to the state of a snapshot

Uids and gids of a lock that is there are kept. A suite that is older than in that lock is refused.")]
pub struct Lock {
    #[command(flatten)]
    place: Place,
    /// Read only the local inputs anew (overlays, the agent). Asks no archive, and the network only for crates that the
    /// agent newly needs.
    #[arg(long)]
    local: bool,
    /// Take suites that are older than in the lock that is there.
    #[arg(long, conflicts_with = "local")]
    accept_older: bool,
}

impl Lock {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        let store = self.place.store.open()?;
        let options = Options { local_only: self.local, accept_older: self.accept_older, ..Options::of_host()? };
        resolve::lock(&self.place.recipe, &store, &console.progress, &options)?;
        let lock = crate::lock::Lock::path_for(&self.place.recipe);
        console.give(lock.display(), &json!({ "lock": lock }))
    }
}
