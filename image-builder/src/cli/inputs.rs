//! `bedplate inputs`: all that a lock names, in a folder that can be kept for years.

use super::{Console, Place, StoreFolder};
use crate::inputs::export::{Export, export};
use crate::inputs::import::import;
use crate::inputs::{SUMS, Told};
use crate::resolve::local;
use anyhow::Result;
use clap::Subcommand;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Keep all that a lock names in a folder, or take it from there.
#[derive(Debug, Clone, Subcommand)]
pub enum Inputs {
    /// Write all that the lock names into a new folder: packages, tools, Go modules, files, overlays, the agent.
    #[command(after_help = "Example:
  bedplate inputs export /archive/node-0.1.0

The folder needs nothing else to be checked: `cd /archive/node-0.1.0 && sha256sum -c SHA256SUMS`. What the store lacks is
fetched first.")]
    Export {
        /// The folder; it must not exist or be empty.
        folder: PathBuf,
        #[command(flatten)]
        place: Place,
        /// Leave the network alone: everything must be in the store.
        #[arg(long)]
        offline: bool,
    },
    /// Take an export into the store, each byte held against its list and its lock.
    #[command(after_help = "Example:
  bedplate inputs import /archive/node-0.1.0
  bedplate build --offline

The build is that of the recipe and the lock in the current folder; the export has copies of both.")]
    Import {
        /// The folder that `bedplate inputs export` wrote.
        folder: PathBuf,
        #[command(flatten)]
        store: StoreFolder,
    },
}

impl Inputs {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        let (folder, told) = match self {
            Inputs::Export { folder, place, offline } => {
                let store = place.store.open()?;
                let what = Export { recipe: place.recipe, agent: local::agent_folder()?, out: folder, offline };
                let told = export(&what, &store, &console.progress)?;
                (what.out, told)
            }
            Inputs::Import { folder, store } => {
                let told = import(&folder, &store.open()?, &console.progress)?;
                (folder, told)
            }
        };
        console.give(
            line(&folder, told),
            &json!({ "inputs": folder, "files": told.files, "bytes": told.bytes, "sums": told.sums }),
        )
    }
}

fn line(folder: &Path, told: Told) -> String {
    let Told { files, bytes, sums } = told;
    format!("{}: {files} files, {} MB, SHA-256 of {SUMS} {sums}", folder.display(), bytes / 1_000_000)
}
