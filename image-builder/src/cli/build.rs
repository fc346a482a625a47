//! `bedplate build`: the image that recipe and lock describe.

use super::{Console, Place};
use crate::package::Scope;
use crate::pipeline;
use crate::resolve::local;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Build the image that recipe and lock describe.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  bedplate build
  bedplate build --recipe site/recipe.toml --out release
  bedplate build --offline       # everything was fetched before; the network is left alone
  bedplate build --draft         # to try a change: boots like a release, and is none

The same lock and keys give the same bytes, anywhere.")]
pub struct Build {
    #[command(flatten)]
    place: Place,
    /// Where the release goes; a release that is there is replaced.
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Ask no network; what is not in the store is named.
    #[arg(long)]
    offline: bool,
    /// Make no manifest, sums and signature: hashing the disk image takes longer than making it. A draft boots, under
    /// Secure Boot too, but can't be verified.
    #[arg(long)]
    draft: bool,
}

impl Build {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        let store = self.place.store.open()?;
        let agent = local::agent_folder()?;
        let scope = if self.draft { Scope::Draft } else { Scope::Release };
        let build = pipeline::Build { recipe: self.place.recipe, out: self.out, agent, offline: self.offline, scope };
        let built = build.run(&store, &console.progress)?;
        console.give(
            build.out.display(),
            &json!({ "release": build.out, "name": built.name, "version": built.version, "root-hash": built.root_hash }),
        )
    }
}
