//! `bedplate permit`: leave for a node to erase a disk, once.
//!
//! What a permit is worth on the node is said in docs/storage.md, "Giving a disk away".
#![allow(clippy::disallowed_methods, reason = "edge: reads the files it is given")]

use super::config::{NewFile, private_key, replace};
use super::plan::{inventory, told};
use super::{Console, print};
use crate::sign::keys::public_key;
use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use machine_config::permit::{self, FORMAT, Leave, Method, Permit as Text, Psid};
use machine_config::site::SiteFile;
use machine_config::utc::{DAY, Utc};
use machine_config::{Diagnostic, delivered, document};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use storage_plan::erase::layers;
use storage_plan::inventory::Device;
use uuid::Uuid;

/// Give leave to erase a disk, once, and show what a permit is for.
#[derive(Debug, Clone, Subcommand)]
pub enum Permit {
    /// Sign leave for a machine to destroy all that one of its disks holds.
    Erase(Erase),
    /// Show what a permit is for.
    Show(Show),
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  bedplate permit erase n1 ZL2ABCDE --expect \"ext4 3f2a6c1e\"
  bedplate permit erase n1 ZL2ABCDE --inventory n1.json --method write-zeroes --expires 3d
  bedplate permit erase n1 S5P2NG0R --inventory n1.json --method psid-revert --psid 0A1B2C3D4E5F6G7H8I9JKLMNOPQRSTUV

A node that refuses a disk shows the command for it. Copy the permit to a FAT file system labelled BEDPLATE and plug that in;
the node looks again when Enter is pressed. It erases the disk only if its configuration selects the disk, all that it finds
there is named, nothing uses it, and the permit was not used before.
Exit codes: 0 signed; 1 a file has a fault, or the disk can't be erased; 2 wrong usage.")]
pub struct Erase {
    /// The machine, by its name in the site file.
    machine: String,
    /// Serial number of the disk, or its wwn if it tells no serial number.
    device: String,
    /// A layer that is on the disk, in the node's words; once for each.
    #[arg(long, value_name = "LAYER", required_unless_present = "inventory", conflicts_with = "inventory")]
    expect: Vec<String>,
    /// Expect what `firstboot observe` printed of the disk, in place of --expect.
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
    /// How long the permit is good: minutes, hours or days, 30 days at most.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = seconds)]
    expires: u64,
    /// How the disk is erased.
    #[arg(long, value_enum, default_value = "wipe")]
    method: How,
    /// The PSID on the drive's label, for --method psid-revert: 32 characters, in groups or not.
    #[arg(long, value_name = "PSID")]
    psid: Option<String>,
    /// The site file, or a machine's bundle.
    #[arg(long, value_name = "FILE", default_value = "site.toml")]
    config: PathBuf,
    /// The private config key of the image that the node runs.
    #[arg(long, value_name = "KEY", default_value = "keys/config.key")]
    key: PathBuf,
    /// The permit [default: MACHINE-DEVICE.permit].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  bedplate permit show n1-ZL2ABCDE.permit
  bedplate permit show n1-ZL2ABCDE.permit --key keys/config.pub
  bedplate permit show n1-ZL2ABCDE.permit --json | jq -r .expires

Exit codes: 0 shown; 1 it is no permit, or the key did not sign it; 2 wrong usage.")]
pub struct Show {
    /// The permit.
    file: PathBuf,
    /// The public key that must have signed it.
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,
}

/// How a disk is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    /// Zeroes where anything is looked for, in seconds; most of what was stored stays on the medium.
    Wipe,
    /// Zeroes every sector; hours on a large disk.
    WriteZeroes,
    /// Gives every sector back to a disk that answers zeroes then, as most flash does; seconds.
    Discard,
    /// Has an NVMe or ATA disk erase all that was ever stored by its own command; seconds to hours.
    SecureErase,
    /// Has an NVMe, ATA or SCSI disk erase all of its medium and caches for good by its own command; seconds to days.
    Sanitize,
    /// Has an NVMe, ATA or SCSI disk throw away the key by which it stores; seconds.
    CryptoErase,
    /// Has a drive that speaks TCG (Opal) throw away that key and all passwords, by the PSID on its label (--psid); seconds.
    PsidRevert,
}

impl Permit {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        match self {
            Permit::Erase(erase) => erase.run(console, now()?),
            Permit::Show(show) => show.run(console),
        }
    }
}

impl Erase {
    fn run(self, console: &Console, now: Utc) -> Result<ExitCode> {
        // Not by the parser of arguments, which would repeat it.
        let psid = self.psid.as_deref().map(str::parse::<Psid>).transpose();
        let psid = psid.map_err(|fault| anyhow!("--psid: {fault}"))?;
        let key = private_key(&self.key)?;
        let cluster = match self.cluster()? {
            Ok(cluster) => cluster,
            Err(faults) => return told(console, &faults),
        };
        let (expect, destroyed) = match &self.inventory {
            None => (self.expect.clone(), self.device.clone()),
            Some(file) => self.found(file)?,
        };
        let text = Text {
            permit: FORMAT,
            action: Leave::Erase,
            id: Uuid::new_v4(),
            cluster,
            machine: self.machine.clone(),
            device: self.device.clone(),
            expect,
            method: match self.method {
                How::Wipe => Method::Wipe,
                How::WriteZeroes => Method::WriteZeroes,
                How::Discard => Method::Discard,
                How::SecureErase => Method::SecureErase,
                How::Sanitize => Method::Sanitize,
                How::CryptoErase => Method::CryptoErase,
                How::PsidRevert => Method::PsidRevert,
            },
            psid,
            issued: now,
            expires: now.after(self.expires),
        };
        console.progress.say(format!("{} is to lose {destroyed}: {}", self.machine, text.expect.join(", ")));
        let signed = match text.sign(&key) {
            Ok(signed) => signed,
            Err(fault) => return told(console, &[fault]),
        };
        let out = self.out.unwrap_or_else(|| default_name(&self.machine, &self.device));
        replace(&NewFile { path: out.clone(), text: signed, private: false })?;
        let line = format!("{}: permit {}, good until {}", out.display(), text.id, text.expires);
        console
            .give(line, &Given { file: out.display().to_string(), signed_by: Some(key.public().name().into()), text })
    }

    /// The cluster of the site that has the machine, or all that is wrong with the file.
    fn cluster(&self) -> Result<Result<Uuid, Vec<Diagnostic>>> {
        let file = self.config.display().to_string();
        let bytes = std::fs::read(&self.config).with_context(|| format!("can't read {file}"))?;
        let read = || -> Result<(Uuid, Vec<String>), Vec<Diagnostic>> {
            let text = document::text(&bytes, &file).map_err(|fault| vec![fault])?;
            let delivered = delivered::open(text, &file, &[])?;
            let site = SiteFile::read(&delivered.site, &delivered.file)?;
            let site = site.site();
            Ok((site.cluster.id, site.machine.keys().cloned().collect()))
        };
        Ok(match read() {
            Err(faults) => Err(faults),
            Ok((_, machines)) if !machines.contains(&self.machine) => {
                bail!("{file} has no machine {}; it has {}", self.machine, machines.join(", "))
            }
            Ok((cluster, _)) => Ok(cluster),
        })
    }

    /// What an observed inventory has on the disk, and the disk in words.
    fn found(&self, file: &Path) -> Result<(Vec<String>, String)> {
        let inventory = inventory(file)?;
        let is_it = |d: &&Device| d.identity() == Some(self.device.as_str());
        let found: Vec<&Device> = inventory.devices.iter().filter(is_it).collect();
        let device = match found[..] {
            [device] => device,
            [] => bail!("{} has no disk {}; {}", file.display(), self.device, disks(&inventory.devices)),
            _ => bail!("{} has {} disks {}: which is meant can't be told", file.display(), found.len(), self.device),
        };
        if inventory.boot.is_some_and(|boot| boot.disk == device.name) {
            bail!("{} is the disk the node was started from; no permit can be for that", device.words());
        }
        if let Some(how) = device.in_use() {
            bail!("{} is in use: {how}; no permit changes that", device.words());
        }
        let layers = layers(device).with_context(|| format!("{} could not be read as a whole", device.words()))?;
        if layers.is_empty() {
            bail!("{} is blank: it can be taken without a permit", device.words());
        }
        Ok((layers, device.words()))
    }
}

fn disks(devices: &[Device]) -> String {
    let names: Vec<&str> = devices.iter().filter_map(Device::identity).collect();
    if names.is_empty() { "it has none that tells what it is".into() } else { format!("it has {}", names.join(", ")) }
}

impl Show {
    fn run(self, console: &Console) -> Result<ExitCode> {
        let file = self.file.display().to_string();
        let bytes = std::fs::read(&self.file).with_context(|| format!("can't read {file}"))?;
        let key = self.key.as_ref().map(|path| {
            let text = std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
            public_key(&text).with_context(|| format!("can't use the key {}", path.display()))
        });
        let key = key.transpose()?;
        let read = || -> Result<(Text, Option<String>), Vec<Diagnostic>> {
            let text = document::text(&bytes, &file).map_err(|fault| vec![fault])?;
            let signed_by =
                key.map(|key| permit::signer(text, &file, &[key])).transpose().map_err(|fault| vec![fault])?;
            Ok((permit::read(text, &file)?, signed_by))
        };
        let (text, signed_by) = match read() {
            Ok(read) => read,
            Err(faults) => return told(console, &faults),
        };
        if !console.json {
            return print(&shown(&text, signed_by.as_deref()));
        }
        console.give("", &Given { file, signed_by, text })
    }
}

fn shown(text: &Text, signed_by: Option<&str>) -> String {
    let signed = match signed_by {
        Some(name) => format!("with {name}"),
        None => "not checked: give --key".into(),
    };
    let rows = [
        ("permit", text.id.to_string()),
        ("leave", format!("to erase {} of {}, by {}", text.device, text.machine, text.method.word())),
        ("cluster", text.cluster.to_string()),
        ("issued", text.issued.to_string()),
        ("expires", text.expires.to_string()),
        ("signed", signed),
    ];
    let rows = rows.into_iter().chain(text.expect.iter().map(|layer| ("expects", layer.clone())));
    rows.map(|(name, value)| format!("{name:<8} {value}\n")).collect()
}

/// What a program is told of a permit.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
struct Given {
    file: String,
    signed_by: Option<String>,
    #[serde(flatten)]
    text: Text,
}

/// A name that is plain in a path and ends as the node looks for it.
fn default_name(machine: &str, device: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = format!("{machine}-{device}").chars().map(plain).collect();
    PathBuf::from(format!("{}.permit", name.trim_start_matches('.')))
}

pub(super) fn now() -> Result<Utc> {
    let since = std::time::UNIX_EPOCH.elapsed().context("this machine's clock is before 1970")?;
    Ok(Utc(since.as_secs()))
}

/// `30m`, `24h`, `3d`.
fn seconds(text: &str) -> Result<u64, String> {
    let expected = || format!("expected a time such as 30m, 24h or 3d, {} days at most", permit::LONGEST / DAY);
    let unit = text.chars().last().ok_or_else(expected)?;
    let factor = match unit {
        'm' => 60,
        'h' => 3600,
        'd' => DAY,
        _ => return Err(expected()),
    };
    let number = text.strip_suffix(unit).filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let seconds = number.and_then(|n| n.parse::<u64>().ok()).and_then(|n| n.checked_mul(factor));
    seconds.filter(|s| (1..=permit::LONGEST).contains(s)).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;
    use machine_config::signature::{PrivateKey, PublicKey};
    use storage_plan::Inventory;
    use storage_plan::inventory::Signature;

    const SITE: &str = include_str!("../../../examples/site/rack.toml");
    const NOW: Utc = Utc(1_800_000_000);

    struct Desk {
        folder: tempfile::TempDir,
        key: PublicKey,
    }

    impl Desk {
        fn new() -> Desk {
            let folder = tempfile::tempdir().unwrap();
            let key = PrivateKey::from_seed(&[1; 32], "config").unwrap();
            std::fs::write(folder.path().join("config.key"), key.to_pem().unwrap()).unwrap();
            std::fs::write(folder.path().join("config.pub"), format!("{}\n", key.public())).unwrap();
            std::fs::write(folder.path().join("site.toml"), SITE).unwrap();
            Desk { folder, key: key.public() }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn erase(&self) -> Erase {
            Erase {
                machine: "n1".into(),
                device: "ZL2ABCDE".into(),
                expect: vec!["ext4 3f2a6c1e".into()],
                inventory: None,
                expires: 3600,
                method: How::WriteZeroes,
                psid: None,
                config: self.at("site.toml"),
                key: self.at("config.key"),
                out: Some(self.at("out.permit")),
            }
        }

        fn run(&self, erase: Erase) -> Result<ExitCode> {
            erase.run(&console(), NOW)
        }

        fn permit(&self) -> machine_config::permit::Granted {
            let text = std::fs::read_to_string(self.at("out.permit")).unwrap();
            permit::open(&text, "f", std::slice::from_ref(&self.key), NOW).unwrap()
        }

        fn observed(&self, change: impl Fn(&mut Inventory)) -> Option<PathBuf> {
            let device = serde_json::json!({
                "name": "sdb", "number": "8:16", "sysfs": "/sys/devices/sdb", "serial": "ZL2ABCDE", "wwn": null,
                "model": null, "by-path": [], "slot": null, "size": 1u64 << 30, "logical-sector": 512,
                "physical-sector": 512, "rotational": true, "transport": null, "removable": false, "read-only": false,
                "signatures": [{ "kind": "xfs", "uuid": "3f2a6c1e-0000-4000-8000-000000000000", "label": null }],
                "table": { "mbr": "absent", "primary": "absent", "backup": "absent", "backup-at-end": true },
                "ends": [], "rest": "not-probed", "free-tail": "not-probed", "partitions": [],
                "uses": { "holders": [], "mounts": [], "swap": false },
            });
            let mut inventory =
                Inventory { devices: vec![serde_json::from_value(device).unwrap()], ..Default::default() };
            change(&mut inventory);
            std::fs::write(self.at("n1.json"), serde_json::to_string(&inventory).unwrap()).unwrap();
            Some(self.at("n1.json"))
        }
    }

    fn console() -> Console {
        Console { progress: Progress::silent(), json: true }
    }

    fn is(code: ExitCode, wanted: ExitCode) {
        assert_eq!(format!("{code:?}"), format!("{wanted:?}"));
    }

    #[test]
    fn what_is_asked_for_is_signed_and_a_node_takes_it() {
        let desk = Desk::new();
        is(desk.run(desk.erase()).unwrap(), ExitCode::SUCCESS);
        let granted = desk.permit();
        let permit = &granted.permit;
        assert_eq!((permit.machine.as_str(), permit.device.as_str()), ("n1", "ZL2ABCDE"));
        assert_eq!(permit.cluster.to_string(), "0d4f7c1e-8a52-4c0e-9b1f-2f6f0c7e5a11");
        assert_eq!((permit.expect.as_slice(), permit.method), (&["ext4 3f2a6c1e".to_owned()][..], Method::WriteZeroes));
        assert_eq!((permit.issued, permit.expires, granted.signed_by.as_str()), (NOW, NOW.after(3600), "config"));
        is(desk.run(desk.erase()).unwrap(), ExitCode::SUCCESS);
        assert_ne!(desk.permit().permit.id, permit.id, "each is used once");
    }

    #[test]
    fn a_psid_goes_into_the_file_and_is_not_shown() {
        const PSID: &str = "0A1B2C3D4E5F6G7H8I9JKLMNOPQRSTUV";
        let desk = Desk::new();
        let by = |method: How, psid: Option<&str>| Erase { method, psid: psid.map(Into::into), ..desk.erase() };
        for erase in [by(How::PsidRevert, None), by(How::Wipe, Some(PSID))] {
            is(desk.run(erase).unwrap(), ExitCode::FAILURE);
        }
        let error = format!("{:#}", desk.run(by(How::PsidRevert, Some(&PSID[1..]))).unwrap_err());
        assert!(
            error.contains("--psid: ") && error.contains("this one has 31") && !error.contains(&PSID[1..]),
            "{error}"
        );
        assert!(!desk.at("out.permit").exists());
        is(desk.run(by(How::PsidRevert, Some("0A1B2C3D-4E5F6G7H-8I9JKLMN-OPQRSTUV"))).unwrap(), ExitCode::SUCCESS);
        let permit = desk.permit().permit;
        assert_eq!((permit.method, permit.psid.as_ref().unwrap().bytes()), (Method::PsidRevert, PSID.as_bytes()));
        let given = Given { file: "f".into(), signed_by: None, text: permit.clone() };
        let told = format!("{}{}", shown(&permit, None), serde_json::to_string(&given).unwrap());
        assert!(told.contains("by psid-revert\n") && !told.contains(PSID), "{told}");
    }

    #[test]
    fn an_inventory_says_what_is_expected() {
        let desk = Desk::new();
        let inventory = desk.observed(|_| ());
        is(desk.run(Erase { inventory, expect: Vec::new(), ..desk.erase() }).unwrap(), ExitCode::SUCCESS);
        assert_eq!(desk.permit().permit.expect, ["xfs 3f2a6c1e"]);
    }

    #[test]
    fn nothing_is_signed_for_a_disk_that_no_permit_can_be_for() {
        let desk = Desk::new();
        type Change = fn(&mut Inventory);
        let changes: [(Change, &str); 6] = [
            (|i| i.devices[0].serial = Some("S2".into()), "it has S2"),
            (|i| i.devices.extend(i.devices.clone()), "2 disks"),
            (|i| i.devices[0].uses.mounts.push("/mnt".into()), "in use: mounted on /mnt"),
            (|i| i.devices[0].signatures[0].kind = Signature::UNREADABLE.into(), "could not be read"),
            (
                |i| {
                    i.devices[0].signatures.clear();
                    i.devices[0].rest = storage_plan::inventory::Rest::Zero;
                },
                "is blank",
            ),
            (
                |i| {
                    let root_partition = Uuid::nil();
                    i.boot = Some(storage_plan::inventory::BootDisk { disk: "sdb".into(), root_partition });
                },
                "started from",
            ),
        ];
        for (change, said) in changes {
            let inventory = desk.observed(change);
            let error = desk.run(Erase { inventory, ..desk.erase() }).unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
            assert!(!desk.at("out.permit").exists(), "{said}");
        }
    }

    #[test]
    fn a_machine_that_the_site_does_not_have_gets_none() {
        let desk = Desk::new();
        let error = desk.run(Erase { machine: "n9".into(), ..desk.erase() }).unwrap_err().to_string();
        assert!(error.contains("no machine n9") && error.contains("n1, n2"), "{error}");
        is(desk.run(Erase { expect: vec![String::new()], ..desk.erase() }).unwrap(), ExitCode::FAILURE);
        assert!(!desk.at("out.permit").exists());
    }

    #[test]
    fn a_permit_is_shown_and_its_signature_checked_if_a_key_is_given() {
        let desk = Desk::new();
        desk.run(desk.erase()).unwrap();
        let show = |key: Option<PathBuf>| Show { file: desk.at("out.permit"), key }.run(&console()).unwrap();
        is(show(None), ExitCode::SUCCESS);
        is(show(Some(desk.at("config.pub"))), ExitCode::SUCCESS);
        let other = PrivateKey::from_seed(&[2; 32], "other").unwrap().public();
        std::fs::write(desk.at("other.pub"), format!("{other}\n")).unwrap();
        is(show(Some(desk.at("other.pub"))), ExitCode::FAILURE);
        let text = shown(&desk.permit().permit, Some("config"));
        assert!(text.contains("leave    to erase ZL2ABCDE of n1, by write-zeroes\n"), "{text}");
        assert!(text.ends_with("signed   with config\nexpects  ext4 3f2a6c1e\n"), "{text}");
    }

    #[test]
    fn times_and_names() {
        for (text, wanted) in [("30m", Some(1800)), ("24h", Some(86_400)), ("30d", Some(30 * DAY))] {
            assert_eq!(seconds(text).ok(), wanted, "{text}");
        }
        for text in ["", "h", "0h", "31d", "-1h", "1w", "1.5h", "99999999999999999999h", "24"] {
            assert!(seconds(text).is_err(), "{text:?}");
        }
        assert_eq!(default_name("n1", "S/1 x"), PathBuf::from("n1-S-1-x.permit"));
    }
}
