//! `bedplate agent`: the agent's programs in a folder.
#![allow(clippy::disallowed_methods, reason = "edge: writes the programs")]

use super::{Console, Place};
use crate::resolve::{self, local};
use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Compile the agent's programs as the lock says, and put them into a folder.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  bedplate agent --out agent
  BEDPLATE_AGENT_DIR=agent bedplate build     # on a host that allows no namespaces

The same lock gives the same bytes, anywhere. Once compiled they are in the store.")]
pub struct Agent {
    #[command(flatten)]
    place: Place,
    /// Where the programs go.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Ask no network; what is not in the store is named.
    #[arg(long)]
    offline: bool,
}

impl Agent {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        let store = self.place.store.open()?;
        let recipe = crate::recipe::Recipe::read(&self.place.recipe)?;
        let told = local::agent_folder()?;
        let made = resolve::current(&self.place.recipe, &recipe, &told, &store, &console.progress, self.offline)?.agent;
        let cant = || format!("can't write to {}", self.out.display());
        std::fs::create_dir_all(&self.out).with_context(cant)?;
        for name in local::AGENT {
            // A program that runs is not written over.
            let mut file = tempfile::Builder::new()
                .permissions(std::fs::Permissions::from_mode(0o755))
                .tempfile_in(&self.out)
                .with_context(cant)?;
            let from = made.join(name);
            let mut program = std::fs::File::open(&from).with_context(|| format!("can't read {}", from.display()))?;
            std::io::copy(&mut program, &mut file).with_context(cant)?;
            file.persist(self.out.join(name)).with_context(cant)?;
        }
        console.give(self.out.display(), &json!({ "agent": self.out, "programs": local::AGENT }))
    }
}
