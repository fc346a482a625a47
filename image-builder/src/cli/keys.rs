//! `bedplate keys`: development keys.

use super::Console;
use crate::recipe::Recipe;
use crate::sign::{enrolment, keys};
use anyhow::Result;
use clap::Subcommand;
use serde_json::json;
use std::path::{Path, PathBuf};
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
    /// Make the keys that a folder of an earlier version lacks; what is there stays.
    #[command(after_help = "Example:
  bedplate keys add keys")]
    Add {
        /// The folder that `bedplate keys new` made.
        folder: PathBuf,
    },
    /// Put the vendors' certificates of a recipe ([[keys.vendor]]) into db and KEK, and sign both anew.
    #[command(after_help = "Example:
  bedplate keys vendors --recipe site/recipe.toml

Needs PK.key and KEK.key in the recipe's key folder. Only *.esl and *.auth are written.")]
    Vendors {
        /// The recipe.
        #[arg(long, value_name = "FILE", default_value = "recipe.toml")]
        recipe: PathBuf,
    },
}

impl Keys {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        let folder = match self {
            Keys::New { folder } => {
                keys::new(&folder)?;
                folder
            }
            Keys::Add { folder } => {
                match keys::add(&folder)?[..] {
                    [] => console.progress.say("nothing is lacking"),
                    [..] => console.progress.say("made pcr.key and pcr.crt"),
                }
                folder
            }
            Keys::Vendors { recipe: file } => {
                let (recipe, beside) = (Recipe::read(&file)?, file.parent().unwrap_or(Path::new("")));
                let folder = beside.join(&recipe.keys.folder);
                keys::add_vendors(&folder, &enrolment::vendors(&recipe.keys, beside)?)?;
                folder
            }
        };
        console.give(folder.display(), &json!({ "keys": folder }))
    }
}
