//! `bedplate plan`: what a node would do with its disks, told at a desk.
//!
//! The inventory is what `firstboot observe` printed on the machine; the decision is the agent's own.
#![allow(clippy::disallowed_methods, reason = "edge: reads the files it is given and writes the picture")]

use super::{Console, print};
use anyhow::{Context, Result, bail};
use clap::Args;
use machine_config::schema::MachineConfig;
use machine_config::site::SiteFile;
use machine_config::{Diagnostic, check, delivered, document, merge};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use storage_plan::{Inventory, explain, picture, plan};

/// Tell what a node would do with its disks, without the node.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  firstboot observe > n1.json     # on the machine, or on one like it
  bedplate plan --inventory n1.json --config site.toml --machine n1
  bedplate plan --inventory n1.json --config n1.bundle.toml --svg n1.svg
  bedplate plan --inventory n1.json --config site.toml --machine n1 --json | jq .volumes

Nothing is written but the picture.
Exit codes: 0 the node would go on; 1 something that it needs is refused, or a file has a fault; 2 wrong usage.")]
pub struct Plan {
    /// What `firstboot observe` printed.
    #[arg(long, value_name = "FILE")]
    inventory: PathBuf,
    /// The site file, or a machine's bundle.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The machine [default: the bundle's, or the only one of the site file].
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
    /// Draw the plan into this file, too.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Plan {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        let inventory = inventory(&self.inventory)?;
        let config = match self.config()? {
            Ok(config) => config,
            Err(faults) => return told(console, &faults),
        };
        let plan = plan(&inventory, &config);
        if let Some(path) = &self.svg {
            std::fs::write(path, picture::svg(&inventory, &plan))
                .with_context(|| format!("can't write {}", path.display()))?;
        }
        let printed = match console.json {
            true => console.give("", &plan)?,
            false => print(&explain::table(&plan))?,
        };
        Ok(if plan.is_blocked() { ExitCode::FAILURE } else { printed })
    }

    /// The machine's configuration, or all that is wrong with the file.
    fn config(&self) -> Result<Result<MachineConfig, Vec<Diagnostic>>> {
        let file = self.config.display().to_string();
        let bytes = std::fs::read(&self.config).with_context(|| format!("can't read {file}"))?;
        let text = match document::text(&bytes, &file) {
            Ok(text) => text,
            Err(fault) => return Ok(Err(vec![fault])),
        };
        if !delivered::is_bundle(text) {
            return self.of_site(text, &file);
        }
        match delivered::open(text, &file, &[]) {
            Err(faults) => Ok(Err(faults)),
            Ok(bundle) => {
                let named = Plan { machine: self.machine.clone().or(bundle.machine), ..self.clone() };
                named.of_site(&bundle.site, &bundle.file)
            }
        }
    }

    fn of_site(&self, text: &str, file: &str) -> Result<Result<MachineConfig, Vec<Diagnostic>>> {
        let site = match SiteFile::read(text, file) {
            Ok(site) => site,
            Err(faults) => return Ok(Err(faults)),
        };
        let names: Vec<&String> = site.site().machine.keys().collect();
        let name = match (&self.machine, &names[..]) {
            (Some(name), _) => name,
            (None, [only]) => only,
            (None, all) => {
                let all: Vec<&str> = all.iter().map(|name| name.as_str()).collect();
                bail!("{file} has the machines {}; say with --machine which one the disks are in", all.join(", "))
            }
        };
        let faults = check::file(text, file, Some(name));
        if !faults.is_empty() {
            return Ok(Err(faults));
        }
        Ok(merge::resolve(&site, name).map(|resolved| resolved.config))
    }
}

pub(super) fn inventory(path: &Path) -> Result<Inventory> {
    let text = std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    // serde_json tells line and column.
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not what `firstboot observe` of this version prints", path.display()))
}

pub(super) fn told(console: &Console, faults: &[Diagnostic]) -> Result<ExitCode> {
    match console.json {
        true => drop(console.give("", &faults)?),
        false => faults.iter().for_each(|fault| eprintln!("{fault}")),
    }
    Ok(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;

    const SITE: &str = include_str!("../../../examples/site/rack.toml");

    struct Desk(tempfile::TempDir);

    impl Desk {
        fn new(inventory: &str) -> Desk {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("n1.json"), inventory).unwrap();
            std::fs::write(folder.path().join("site.toml"), SITE).unwrap();
            Desk(folder)
        }

        fn plan(&self, machine: Option<&str>) -> Plan {
            let at = |name: &str| self.0.path().join(name);
            let machine = machine.map(str::to_owned);
            Plan { inventory: at("n1.json"), config: at("site.toml"), machine, svg: Some(at("n1.svg")) }
        }
    }

    fn console() -> Console {
        Console { progress: Progress::silent(), json: true }
    }

    /// A machine without disks: everything that it needs is missing.
    fn nothing() -> String {
        serde_json::to_string(&Inventory::default()).unwrap()
    }

    #[test]
    fn a_refused_plan_is_drawn_and_fails() {
        let desk = Desk::new(&nothing());
        let code = desk.plan(Some("n1")).run(&console()).unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
        let svg = std::fs::read_to_string(desk.0.path().join("n1.svg")).unwrap();
        assert!(svg.contains("state: refuse") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn without_a_name_the_machines_are_told() {
        let error = Desk::new(&nothing()).plan(None).run(&console()).unwrap_err().to_string();
        assert!(error.contains("n1, ") && error.contains("--machine"), "{error}");
    }

    #[test]
    fn another_file_is_no_inventory_and_nothing_is_drawn() {
        let desk = Desk::new("{\"devices\": 1}");
        let error = format!("{:#}", desk.plan(Some("n1")).run(&console()).unwrap_err());
        assert!(error.contains("firstboot observe") && error.contains("line 1 column 13"), "{error}");
        assert!(!desk.0.path().join("n1.svg").exists());
    }
}
