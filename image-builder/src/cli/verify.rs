//! `bedplate verify`: is this release what its key signed?

use super::{Console, StoreFolder};
use crate::release::Rebuild;
use crate::resolve::local;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Check a release: signature, sums, UKI, root hash.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  bedplate verify out --key keys/release.pub
  bedplate verify out --key release.pub --rebuild --recipe site/recipe.toml
  bedplate verify out --key release.pub --rebuild --keep again && bedplate diff out again

--rebuild asks whether the recipe gives this very release. It takes the lock, the public keys and the signatures of the
release, so that no private key is needed, and compares every artifact.")]
pub struct Verify {
    /// The release.
    folder: PathBuf,
    /// The public key that releases are signed with.
    #[arg(long, value_name = "PUB")]
    key: PathBuf,
    /// Build it again from its recipe and its lock, and name what differs.
    #[arg(long)]
    rebuild: bool,
    /// The recipe that the release was built from, with its overlays beside it.
    #[arg(long, value_name = "FILE", default_value = "recipe.toml", requires = "rebuild")]
    recipe: PathBuf,
    /// Ask no network while rebuilding; what is not in the store is named.
    #[arg(long, requires = "rebuild")]
    offline: bool,
    /// Keep the rebuilt release, unsigned, in this folder.
    #[arg(long, value_name = "DIR", requires = "rebuild")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    store: StoreFolder,
}

impl Verify {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        let key = std::fs::read_to_string(&self.key)
            .with_context(|| format!("the public key {} can't be read", self.key.display()))?;
        let verified = crate::release::verify(&self.folder, &key)?;
        if self.rebuild {
            let Verify { recipe, offline, keep, .. } = self;
            let rebuild = Rebuild { recipe, agent: local::agent_folder()?, offline, keep };
            rebuild.run(&self.folder, &verified.manifest, &self.store.open()?, &console.progress)?;
        }
        let done = if self.rebuild { "verified, and rebuilt to the same bytes" } else { "verified" };
        console.give(
            format_args!("{}: {done}", self.folder.display()),
            &json!({ "verified": self.folder, "rebuilt": self.rebuild }),
        )
    }
}
