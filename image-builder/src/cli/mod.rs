//! The words people type: one verb each; a verb parses, calls and prints, and decides nothing.

mod agent;
mod build;
mod config;
mod diff;
mod init;
mod inputs;
mod kernel;
mod keys;
mod lock;
mod pages;
mod permit;
mod plan;
mod run;
mod verify;
mod why;

use crate::progress::Progress;
use crate::store::Store;
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Builds, verifies and runs immutable Kubernetes node images.
#[derive(Debug, Parser)]
#[command(
    name = "bedplate",
    version,
    max_term_width = 100,
    after_help = "Examples:
  bedplate init rack7
  bedplate keys new keys
  bedplate lock
  bedplate build --out out
  bedplate inputs export /archive/node-0.1.0
  bedplate kernel config
  bedplate verify out --key keys/release.pub
  bedplate verify out --key keys/release.pub --rebuild
  bedplate why /usr/bin/mount
  bedplate diff former out
  bedplate config check site.toml
  bedplate plan --inventory n1.json --config site.toml --machine n1
  bedplate permit erase n1 ZL2ABCDE --expect \"ext4 3f2a6c1e\"
  bedplate run out --config bundle.toml --disk 10G,serial=DATA-A

Data goes to standard output, progress and errors to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
struct Cli {
    #[command(flatten)]
    form: Form,
    #[command(subcommand)]
    verb: Verb,
}

/// How what is said looks.
#[derive(Debug, Clone, Copy, Args)]
struct Form {
    /// Speak to programs: results as JSON on standard output, one JSON object per event on standard error.
    #[arg(long, global = true)]
    json: bool,
    /// Say nothing but why it failed.
    #[arg(long, short, global = true, conflicts_with = "json")]
    quiet: bool,
}

/// Where a verb's words go.
#[derive(Debug)]
struct Console {
    progress: Progress,
    json: bool,
}

impl Console {
    fn new(form: Form) -> Console {
        let progress = match form {
            Form { json: true, .. } => Progress::json(),
            Form { quiet: true, .. } => Progress::quiet(),
            _ => Progress::stderr(),
        };
        Console { progress, json: form.json }
    }

    /// Prints what a verb has to give: a line for people, or a JSON object for programs.
    fn give(&self, line: impl std::fmt::Display, data: &impl Serialize) -> Result<ExitCode> {
        match self.json {
            true => print(&(serde_json::to_string(data).context("the result can't be written as JSON")? + "\n")),
            false => print(&format!("{line}\n")),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a new site: recipe, overlays, site file, development keys.
    Init(init::Init),
    /// Make development keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Write bedplate.lock: every input by SHA-256.
    Lock(lock::Lock),
    /// Build the image that recipe and lock describe.
    Build(build::Build),
    /// Compile the agent's programs as the lock says, and put them into a folder.
    Agent(agent::Agent),
    /// Keep all that a lock names in a folder, or take it from there.
    #[command(subcommand)]
    Inputs(inputs::Inputs),
    /// Compile the recipe's kernel, or show what it has of what a node needs.
    #[command(subcommand)]
    Kernel(kernel::Kernel),
    /// Check a release: signature, sums, UKI, root hash.
    Verify(verify::Verify),
    /// Tell which input put a path into the image, what it replaced, and who wanted that input.
    Why(why::Why),
    /// Tell what changes from one release or lock to another.
    Diff(diff::Diff),
    /// Check, sign, show and render site files.
    #[command(subcommand)]
    Config(config::Config),
    /// Tell what a node would do with its disks, without the node.
    Plan(plan::Plan),
    /// Give leave to erase a disk, once, and show what a permit is for.
    #[command(subcommand)]
    Permit(permit::Permit),
    /// Start a built image in QEMU under Secure Boot.
    Run(run::Run),
    /// Print the completions of a shell.
    Completions(pages::Completions),
    /// Write the manual pages into a folder.
    Man(pages::Man),
}

/// Which recipe, and which store.
#[derive(Debug, Clone, Args)]
struct Place {
    /// The recipe; its lock lies beside it.
    #[arg(long, value_name = "FILE", default_value = "recipe.toml")]
    recipe: PathBuf,
    #[command(flatten)]
    store: StoreFolder,
}

/// Which store.
#[derive(Debug, Clone, Args)]
struct StoreFolder {
    /// The store of verified inputs and finished stages [default: the user's cache folder].
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl StoreFolder {
    fn open(&self) -> Result<Store> {
        Store::open(&self.store.clone().unwrap_or_else(Store::default_folder))
    }
}

/// Writes data to standard output. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e).context("can't write to standard output"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Parses the arguments, runs the verb, and gives the exit code: 0 done, 1 failed, 2 wrong usage.
pub fn main() -> ExitCode {
    let Cli { form, verb } = Cli::parse();
    let console = Console::new(form);
    let done = match verb {
        Verb::Init(init) => init.run(&console),
        Verb::Keys(keys) => keys.run(&console),
        Verb::Lock(lock) => lock.run(&console),
        Verb::Build(build) => build.run(&console),
        Verb::Agent(agent) => agent.run(&console),
        Verb::Inputs(inputs) => inputs.run(&console),
        Verb::Kernel(kernel) => kernel.run(&console),
        Verb::Verify(verify) => verify.run(&console),
        Verb::Why(why) => why.run(&console),
        Verb::Diff(diff) => diff.run(&console),
        Verb::Config(config) => config.run(&console),
        Verb::Plan(plan) => plan.run(&console),
        Verb::Permit(permit) => permit.run(&console),
        Verb::Run(run) => run.run(&console),
        Verb::Completions(completions) => completions.run(),
        Verb::Man(man) => man.run(&console),
    };
    done.unwrap_or_else(|error| {
        console.progress.say_error(&error);
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_verb_has_an_example_and_no_word_means_two_things() {
        fn look(command: &clap::Command, missing: &mut Vec<String>) {
            let below: Vec<_> = command.get_subcommands().filter(|c| c.get_name() != "help").collect();
            let shown = command.get_after_help().is_some_and(|text| text.to_string().contains("  bedplate "));
            if below.is_empty() && !shown {
                missing.push(command.get_name().to_owned());
            }
            below.into_iter().for_each(|command| look(command, missing));
        }
        let mut cli = Cli::command();
        cli.build();
        cli.clone().debug_assert();
        let mut missing = Vec::new();
        look(&cli, &mut missing);
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn forms_are_understood_before_and_after_the_verb() {
        for (line, json, quiet) in [
            ("bedplate --json lock", true, false),
            ("bedplate lock --json", true, false),
            ("bedplate build -q", false, true),
            ("bedplate build", false, false),
        ] {
            let form = Cli::try_parse_from(line.split(' ')).unwrap().form;
            assert_eq!((form.json, form.quiet), (json, quiet), "{line}");
        }
        assert!(Cli::try_parse_from(["bedplate", "lock", "--json", "--quiet"]).is_err());
    }
}
