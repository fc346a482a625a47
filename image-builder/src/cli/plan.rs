//! `bedplate plan`: what a node would do with its disks, told at a desk.
//!
//! The inventory is what `firstboot observe` printed on the machine; the decision is the agent's own, and so is what a permit
//! is worth.
#![allow(clippy::disallowed_methods, reason = "edge: reads the files it is given and writes the picture")]

use super::permit::now;
use super::{Console, print};
use crate::sign::keys::public_key;
use anyhow::{Context, Result, bail};
use clap::Args;
use machine_config::permit::{self, Granted, Worth};
use machine_config::schema::MachineConfig;
use machine_config::site::SiteFile;
use machine_config::utc::Utc;
use machine_config::{Diagnostic, check, delivered, document, merge};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use storage_plan::inventory::Keys;
use storage_plan::{Inventory, erase, explain, picture, plan_with};

/// Tell what a node would do with its disks, without the node.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  firstboot observe > n1.json     # on the machine, or on one like it
  bedplate plan --inventory n1.json --config site.toml --machine n1
  bedplate plan --inventory n1.json --config n1.bundle.toml --svg n1.svg
  bedplate plan --inventory n1.json --config site.toml --machine n1 --permit n1-ZL2ABCDE.permit
  bedplate plan --inventory n1.json --config site.toml --machine n1 --json | jq .volumes

Nothing is written but the picture. Whether a permit was used before, only the node can tell.
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
    /// A permit that the node is to find; once for each.
    #[arg(long, value_name = "FILE")]
    permit: Vec<PathBuf>,
    /// The public config key of the image that the node runs, for permits.
    #[arg(long, value_name = "KEY", default_value = "keys/config.pub")]
    key: PathBuf,
    /// Draw the plan into this file, too.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What a program is told: the plan, and what each permit comes to in it.
#[derive(Debug, serde::Serialize)]
struct Given<'a> {
    #[serde(flatten)]
    plan: &'a storage_plan::Plan,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    permits: Vec<Told>,
}

/// What one permit comes to.
#[derive(Debug, serde::Serialize)]
struct Told {
    file: String,
    /// Whether a disk is erased by it.
    erases: bool,
    /// Which, or why none is.
    says: String,
    /// What is wrong with the permit itself.
    faults: Vec<Diagnostic>,
}

impl Plan {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        let mut inventory = inventory(&self.inventory)?;
        let config = match self.config()? {
            Ok(config) => config,
            Err(faults) => return told(console, &faults),
        };
        // Which keys a node has is not seen at a desk, and is no matter of its disks.
        inventory.keys = Keys::ALL;
        let permits = self.permits(&config, now()?)?;
        let granted = || permits.iter().filter_map(|(_, worth)| counts(worth)).cloned().collect();
        let plan = plan_with(&mut inventory, &config, |_| granted());
        let permits: Vec<Told> =
            permits.into_iter().map(|(file, worth)| comes_to(&plan, &inventory, file, worth)).collect();
        let faulty = permits.iter().any(|p| !p.faults.is_empty());
        if let Some(path) = &self.svg {
            std::fs::write(path, picture::svg(&inventory, &plan))
                .with_context(|| format!("can't write {}", path.display()))?;
        }
        let printed = match console.json {
            true => console.give("", &Given { plan: &plan, permits })?,
            false => print(&(explain::table(&plan) + &words(&permits)))?,
        };
        Ok(if plan.is_blocked() || faulty { ExitCode::FAILURE } else { printed })
    }

    /// What the given permits are worth on the machine, by their files.
    fn permits(&self, config: &MachineConfig, now: Utc) -> Result<Vec<(String, Worth)>> {
        if self.permit.is_empty() {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(&self.key)
            .with_context(|| format!("can't read {}; --key names the image's public config key", self.key.display()))?;
        let key = public_key(&text).with_context(|| format!("can't use the key {}", self.key.display()))?;
        let worth = |path: &PathBuf| {
            let file = path.display().to_string();
            let bytes = std::fs::read(path).with_context(|| format!("can't read {file}"))?;
            let worth = permit::worth(&bytes, &file, std::slice::from_ref(&key), now, config);
            Ok((file, worth))
        };
        self.permit.iter().map(worth).collect()
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

fn counts(worth: &Worth) -> Option<&Granted> {
    if let Worth::Counts(granted) = worth { Some(granted) } else { None }
}

/// What a permit comes to in the plan that was made with it.
fn comes_to(plan: &storage_plan::Plan, inventory: &Inventory, file: String, worth: Worth) -> Told {
    let nothing = |says: String, faults| (false, format!("does nothing: {says}"), faults);
    let (erases, says, faults) = match worth {
        Worth::Counts(granted) => match erase::outcome(plan, inventory, &granted.permit) {
            Ok(what) => (true, what, Vec::new()),
            Err(why) => nothing(why, Vec::new()),
        },
        Worth::Elsewhere(p) => nothing(format!("it is for {} of cluster {}", p.machine, p.cluster), Vec::new()),
        Worth::Nothing(faults) => {
            let what: Vec<&str> = faults.iter().map(|fault| fault.what.as_str()).collect();
            nothing(what.join("; "), faults)
        }
    };
    Told { file, erases, says, faults }
}

/// Permits for people, below the table.
fn words(permits: &[Told]) -> String {
    let head = if permits.is_empty() { "" } else { "\npermits\n" };
    let lines = permits.iter().map(|p| format!("  {}: {}\n", p.file, p.says));
    let faults = permits.iter().flat_map(|p| &p.faults).map(|fault| format!("\n{fault}\n"));
    head.to_owned() + &lines.chain(faults).collect::<String>()
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
    use machine_config::permit::{FORMAT, Leave, Method, Permit};
    use machine_config::signature::PrivateKey;
    use on_disk::gpt::{Partition, SectorSize, Table, kind, layout};
    use storage_plan::inventory::{BootDisk, Device, Signature};
    use storage_plan::simulate::Model;
    use uuid::Uuid;

    const SITE: &str = include_str!("../../../examples/site/rack.toml");
    /// One machine with one disk beside the system's.
    const SMALL: &str = "format = 1\nrevision = 1\ncluster = { id = \"0d4f7c1e-8a52-4c0e-9b1f-2f6f0c7e5a11\", \
        name = \"rack7\", api = [\"https://10.0.7.2:6443\"] }\n[machine.n1]\nmatch = { serial = \"J7K2X03\" }\n\
        [machine.n1.each.object]\ndisks = { serial = [\"B1\"] }\nformat = \"xfs\"\nmount = \"/var/lib/volumes/b\"\n";

    struct Desk(tempfile::TempDir);

    impl Desk {
        fn new(inventory: &str) -> Desk {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("n1.json"), inventory).unwrap();
            std::fs::write(folder.path().join("site.toml"), SITE).unwrap();
            std::fs::write(folder.path().join("config.pub"), format!("{}\n", key().public())).unwrap();
            Desk(folder)
        }

        fn plan(&self, machine: Option<&str>) -> Plan {
            let at = |name: &str| self.0.path().join(name);
            let (machine, permit) = (machine.map(str::to_owned), Vec::new());
            let (inventory, config, key, svg) = (at("n1.json"), at("site.toml"), at("config.pub"), Some(at("n1.svg")));
            Plan { inventory, config, machine, permit, key, svg }
        }

        /// The plan of the small site on [`held`] with this permit: what it comes to, whether the node would go on, and
        /// how many disks are erased.
        fn with(&self, permit: &Permit) -> (Told, bool, usize) {
            let text = permit.sign(&key()).unwrap();
            let path = self.0.path().join("x.permit");
            std::fs::write(&path, text).unwrap();
            std::fs::write(self.0.path().join("site.toml"), SMALL).unwrap();
            let verb = Plan { permit: vec![path], ..self.plan(None) };
            let code = verb.clone().run(&console()).unwrap();
            let (mut inventory, config) = (inventory(&verb.inventory).unwrap(), verb.config().unwrap().unwrap());
            let (file, worth) = verb.permits(&config, now().unwrap()).unwrap().remove(0);
            let plan = plan_with(&mut inventory, &config, |_| counts(&worth).cloned().into_iter().collect());
            let erased = plan.graph.steps.iter().filter(|s| s.action.permit() == Some(permit.id)).count();
            let told = comes_to(&plan, &inventory, file, worth);
            (told, format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS), erased)
        }
    }

    fn console() -> Console {
        Console { progress: Progress::silent(), json: true }
    }

    fn key() -> PrivateKey {
        PrivateKey::from_seed(&[1; 32], "config").unwrap()
    }

    /// A machine without disks: everything that it needs is missing.
    fn nothing() -> String {
        serde_json::to_string(&Inventory::default()).unwrap()
    }

    /// A machine with its image, and a disk that is blank or has an ext4.
    fn held(foreign: bool) -> String {
        let disk = |name: &str, serial: &str| -> Device {
            let device = serde_json::json!({
                "name": name, "number": "8:16", "sysfs": format!("/sys/devices/{name}"), "serial": serial, "wwn": null,
                "model": null, "by-path": [], "slot": null, "size": 8u64 << 30, "logical-sector": 512,
                "physical-sector": 512, "rotational": true, "transport": null, "removable": false, "read-only": false,
                "signatures": [], "ends": [], "rest": "zero", "free-tail": "zero", "partitions": [],
                "table": { "mbr": "absent", "primary": "absent", "backup": "absent", "backup-at-end": true },
                "uses": { "holders": [], "mounts": [], "swap": false },
            });
            serde_json::from_value(device).unwrap()
        };
        let root = Partition {
            number: 1,
            kind: kind::ROOT_X86_64,
            guid: Uuid::from_u128(0xabc),
            start: 1 << 20,
            size: 64 << 20,
            attributes: 0,
            name: "root-a".into(),
        };
        let table = Table { guid: Uuid::from_u128(1), sector: SectorSize::B512, partitions: vec![root] };
        let boot = BootDisk { disk: "sda".into(), root_partition: Uuid::from_u128(0xabc) };
        let mut model = Model::blank(vec![disk("sda", "SYS"), disk("sdb", "B1")], Some(boot));
        for write in layout(&table, 8 << 30).unwrap() {
            for (sector, bytes) in (write.offset..).step_by(512).zip(write.bytes.chunks(512)) {
                model.disk_mut("sda").unwrap().sectors.insert(sector, bytes.to_vec());
            }
        }
        let uuid = Some("3f2a6c1e-0000-4000-8000-000000000000".to_owned());
        let ext4 = foreign.then(|| Signature { kind: "ext4".into(), uuid, label: None });
        model.disk_mut("sdb").unwrap().device.signatures.extend(ext4);
        serde_json::to_string(&model.inventory()).unwrap()
    }

    fn permit() -> Permit {
        let now = now().unwrap();
        Permit {
            permit: FORMAT,
            action: Leave::Erase,
            id: Uuid::from_u128(0x1d),
            cluster: "0d4f7c1e-8a52-4c0e-9b1f-2f6f0c7e5a11".parse().unwrap(),
            machine: "n1".into(),
            device: "B1".into(),
            expect: vec!["ext4 3f2a6c1e".into()],
            method: Method::Wipe,
            psid: None,
            issued: now,
            expires: now.after(3600),
        }
    }

    #[test]
    fn a_permit_shows_what_is_erased_by_it() {
        let desk = Desk::new(&held(true));
        let (told, goes_on, erased) = desk.with(&permit());
        assert!(goes_on && told.erases && told.faults.is_empty(), "{told:?}");
        assert!(erased == 1 && told.says.ends_with("is erased for \"object/B1\""), "{told:?}");
        let svg = std::fs::read_to_string(desk.0.path().join("n1.svg")).unwrap();
        assert!(svg.contains("erase sdb (serial B1) with ext4 3f2a6c1e on it, by permit 00000000"), "{svg}");
        let words = words(&[told]);
        assert!(words.starts_with("\npermits\n  ") && words.ends_with("is erased for \"object/B1\"\n"), "{words}");
    }

    #[test]
    fn a_permit_that_is_not_good_says_why() {
        let desk = Desk::new(&held(true));
        let old = |p: Permit| Permit { issued: Utc(p.issued.0 - 7200), expires: Utc(p.issued.0 - 3600), ..p };
        let other = Permit { expect: vec!["ext4 4".into()], ..permit() };
        for (permit, says, faults) in [
            (other, "\"object/B1\", which ", 0),
            (Permit { device: "B9".into(), ..permit() }, "no disk here is B9", 0),
            (Permit { machine: "n2".into(), ..permit() }, "it is for n2 of cluster 0d4f7c1e-", 0),
            (old(permit()), "x.permit ended at ", 1),
        ] {
            let (told, goes_on, erased) = desk.with(&permit);
            assert!(!goes_on && !told.erases && erased == 0, "{told:?}");
            assert!(told.says.starts_with("does nothing: ") && told.says.contains(says), "{says}: {told:?}");
            assert_eq!(told.faults.len(), faults, "{told:?}");
        }
        let blank = Desk::new(&held(false));
        assert!(blank.with(&permit()).1, "the node would go on without it");
        assert!(!blank.with(&old(permit())).1, "and so it would here, but the file has a fault");
    }

    #[test]
    fn a_permit_needs_the_key_that_the_image_has() {
        let desk = Desk::new(&held(true));
        let other = PrivateKey::from_seed(&[2; 32], "other").unwrap().public();
        std::fs::write(desk.0.path().join("config.pub"), format!("{other}\n")).unwrap();
        let (told, goes_on, _) = desk.with(&permit());
        assert!(!goes_on && told.faults[0].code == "BP-C071", "{told:?}");
        assert!(words(&[told]).contains("x.permit:11:1: BP-C071: "));
        std::fs::remove_file(desk.0.path().join("config.pub")).unwrap();
        let verb = Plan { permit: vec![desk.0.path().join("x.permit")], ..desk.plan(None) };
        let error = format!("{:#}", verb.run(&console()).unwrap_err());
        assert!(error.contains("config.pub; --key names"), "{error}");
        assert!(desk.plan(None).run(&console()).is_ok(), "without a permit none is needed");
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
