//! `bedplate kernel`: the recipe's kernel, compiled or looked at.

use super::{Console, Place, print};
use crate::kernel::compile::{self, SourceKernel, Workplace};
use crate::kernel::{self, options};
use crate::recipe::Recipe;
use crate::resolve::{self, local};
use crate::store::Output;
use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use serde_json::json;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

/// Compile the recipe's kernel, or show what it has of what a node needs.
#[derive(Debug, Clone, Subcommand)]
pub enum Kernel {
    /// Compile the kernel of a recipe with kernel.source into the store, where `bedplate build` takes it from.
    #[command(after_help = "Examples:
  bedplate kernel build
  bedplate kernel build --check      # compile it a second time and compare every byte

The same lock gives the same bytes, anywhere. A kernel that the store has is not compiled again.")]
    Build {
        #[command(flatten)]
        place: Place,
        /// Ask no network; what is not in the store is named.
        #[arg(long)]
        offline: bool,
        /// Compile it once more, aside, and fail if a byte differs.
        #[arg(long)]
        check: bool,
    },
    /// Show each option that a node needs, why, and what the recipe's kernel has.
    #[command(after_help = "Examples:
  bedplate kernel config
  bedplate kernel config --json | jq '.options[] | select(.enough | not)'

A kernel from a package is not installed for this, nor is one from source compiled.
Exit codes: 0 nothing is missing; 1 something is, or it failed; 2 wrong usage.")]
    Config {
        #[command(flatten)]
        place: Place,
        /// Ask no network; what is not in the store is named.
        #[arg(long)]
        offline: bool,
    },
}

impl Kernel {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        let (Kernel::Build { place, offline, .. } | Kernel::Config { place, offline }) = &self;
        let store = place.store.open()?;
        let recipe = Recipe::read(&place.recipe)?;
        let folder = place.recipe.parent().unwrap_or(Path::new(""));
        let resolve::Current { lock, .. } =
            resolve::current(&place.recipe, &recipe, &local::agent_folder()?, &store, &console.progress, *offline)?;
        let at = Workplace { recipe: &recipe, folder, store: &store, progress: &console.progress, offline: *offline };
        let compiled = SourceKernel::of(&recipe, folder, &lock)?;
        let Kernel::Build { check, .. } = &self else {
            let (release, config) = match (&compiled, &recipe.kernel.package) {
                (Some(kernel), _) => kernel.config(&at)?,
                (None, Some(package)) => {
                    kernel::packaged_config(package, &recipe, folder, &lock, &store, &console.progress, *offline)?
                }
                (None, None) => bail!("the recipe names no kernel"),
            };
            return show(&release, &config, console);
        };
        let kernel = compiled.with_context(|| {
            format!("{} takes its kernel from a package: there is no kernel.source to compile", place.recipe.display())
        })?;
        let output = kernel.build(&at)?;
        if *check {
            let differ = kernel.again(&output, &at)?;
            if !differ.is_empty() {
                bail!("compiled twice, the kernel is not the same: {} differ", differ.join(", "));
            }
            console.progress.say("compiled twice, every byte is the same");
        }
        told(&kernel, &output, console)
    }
}

fn told(kernel: &SourceKernel, output: &Output, console: &Console) -> Result<ExitCode> {
    let (release, (package, version)) = (compile::release(output)?, kernel.source());
    let image = kernel.image(output)?;
    console.give(
        format_args!("{release}: {} bytes, sha256 {}", image.size(), image.digest()),
        &json!({ "kernel": release, "source": package, "version": version, "size": image.size(), "sha256": image.digest() }),
    )
}

/// The table of all that a node needs; fails if something is missing.
fn show(release: &str, config: &str, console: &Console) -> Result<ExitCode> {
    let needed = options::read(options::NODE_OPTIONS).map_err(|why| anyhow!(why))?;
    let found = options::found(&needed, config);
    let missing = options::lacks(&found);
    if console.json {
        console.give("", &json!({ "kernel": release, "options": found }))?;
    } else {
        print(&table(&found)?)?;
    }
    match missing {
        Some(missing) => bail!("the kernel {release} lacks what a node needs: {missing}"),
        None => {
            console.progress.say(format!("the kernel {release} has all that a node needs"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn table(found: &[options::Found]) -> Result<String> {
    let width = found.iter().map(|f| f.option.name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for options::Found { option, has, enough } in found {
        let has = has.as_deref().unwrap_or("-");
        let judged = match enough {
            true => "",
            false => "MISSING: ",
        };
        writeln!(text, "{:width$}  {has}  {judged}{}", option.name, option.reason)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_stands_out() {
        let text = "[[option]]\nname='A'\nneed='any'\nreason='r'\n[[option]]\nname='LONG'\nneed='any'\nreason='s'\n";
        let needed = options::read(text).unwrap();
        let table = table(&options::found(&needed, "CONFIG_A=m\n")).unwrap();
        assert_eq!(table, "A     m  r\nLONG  -  MISSING: s\n");
    }
}
