//! `bedplate verify`: is this release what its key signed?

use super::Console;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Check a release: signature, sums, UKI, root hash.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:
  bedplate verify out --key keys/release.pub")]
pub struct Verify {
    /// The release.
    folder: PathBuf,
    /// The public key that releases are signed with.
    #[arg(long, value_name = "PUB")]
    key: PathBuf,
}

impl Verify {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        let key = std::fs::read_to_string(&self.key)
            .with_context(|| format!("the public key {} can't be read", self.key.display()))?;
        crate::release::verify(&self.folder, &key)?;
        console.give(format_args!("{}: verified", self.folder.display()), &json!({ "verified": self.folder }))
    }
}
