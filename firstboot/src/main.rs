//! `firstboot`: the agent's verbs, started by systemd's units and by people who look.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "The agent of a Bedplate node.

  firstboot storage   take the configuration, set up network files and storage (unit bedplate-storage)
  firstboot join      start containerd and the kubelet, wait until the node is Ready (unit bedplate-join)
  firstboot watch     keep storage up while the node runs: replace lost members, say what changes (unit bedplate-watch)
  firstboot observe   print what the machine's disks are and hold, as JSON
  firstboot status    print what the node is doing, as JSON

Example: firstboot status
";

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().with_ansi(false).init();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["storage"] => firstboot::run::storage(),
        ["join"] => firstboot::join::line::join(),
        ["watch"] => firstboot::watch::watch(),
        ["observe"] => observe(),
        ["status"] => print(&firstboot::report::status::Status::read()),
        ["--help" | "-h" | "help"] => {
            let _ = std::io::stdout().write_all(HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        _ => {
            let _ = std::io::stderr().write_all(HELP.as_bytes());
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

fn observe() -> anyhow::Result<()> {
    let mut inventory = firstboot::observe::read(firstboot::run::boot_record().as_ref())?;
    let told = firstboot::controllers::read(&inventory.devices, Duration::from_secs(120));
    told.silent.iter().for_each(|line| tracing::warn!("{line}"));
    inventory.controllers = told.controllers;
    print(&inventory)
}

fn print(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
