//! Permits on the node: which of those that were found count, and that each is used once.
//!
//! Whether a permit was used is kept on the state partition, one file for each, and that is written before the first byte
//! of a disk is destroyed. The same file is the record of what was destroyed: who gave leave, what was there, when, how.
#![allow(clippy::disallowed_methods, reason = "edge: keeps the records of permits that were used")]

use crate::config::{Found, sources};
use crate::state_file;
use anyhow::{Context, bail};
use machine_config::Diagnostic;
use machine_config::permit::{self, Granted, Method, Worth};
use machine_config::schema::MachineConfig;
use machine_config::signature::PublicKey;
use machine_config::utc::Utc;
use nix::sys::statfs;
use on_disk::gpt::kind;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use storage_plan::erase::Erase;
use storage_plan::identity::Owner;
use storage_plan::inventory::{Device, Uses};
use storage_plan::refusal::{self, diagnostic};
use storage_plan::{Inventory, arrays};
use uuid::Uuid;

/// Where the records lie, seen from the state partition.
const BELOW_STATE: &str = "lib/bedplate/permits";
/// A record is no longer than this.
const LARGEST: u64 = 64 << 10;

/// Permits for this machine, as far as they were looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permits {
    /// Those that count.
    pub granted: Vec<Granted>,
    /// Why the others don't.
    pub refused: Vec<Diagnostic>,
}

/// What was destroyed, and by what right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// The permit.
    pub permit: Uuid,
    /// Name of the key that signed it, if the permit was at hand.
    pub signed_by: Option<String>,
    /// Serial number or world wide name of the device.
    pub device: String,
    /// Its model.
    pub model: Option<String>,
    /// Its bytes.
    pub size: u64,
    /// All that was on it when erasing began.
    pub held: Vec<String>,
    /// How it was erased.
    pub method: Method,
    /// When it began, by this node's clock.
    pub began: Utc,
    /// When it had ended. Without it the permit may be used once more, if nothing was destroyed yet.
    pub ended: Option<Utc>,
}

/// What this node's clock says.
#[must_use]
pub fn now() -> Utc {
    Utc(std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()))
}

/// Opens the permits that are for this machine; those for others are none of its business. Pure.
#[must_use]
pub fn open(found: &[Found], keys: &[PublicKey], now: Utc, config: &MachineConfig) -> Permits {
    let mut permits = Permits::default();
    for one in found {
        match permit::worth(&one.bytes, &one.source, keys, now, config) {
            Worth::Counts(granted) => permits.granted.push(granted),
            Worth::Elsewhere(_) => tracing::info!("{} is a permit for another machine", one.source),
            Worth::Nothing(faults) => permits.refused.extend(faults),
        }
    }
    permits
}

impl Permits {
    /// Without those that were used. If that can't be told, none counts. Pure.
    #[must_use]
    pub fn unused(mut self, records: anyhow::Result<Vec<Record>>) -> Permits {
        let records = match records {
            Ok(records) => records,
            Err(error) => {
                if !self.granted.is_empty() {
                    self.refused.push(unreadable(&error));
                }
                self.granted.clear();
                return self;
            }
        };
        let (refused, used) = (&mut self.refused, |id: Uuid| records.iter().find(|r| r.permit == id)?.ended);
        self.granted.retain(|granted| match used(granted.permit.id) {
            Some(when) => {
                refused.push(used_already(&granted.permit.id, when));
                false
            }
            None => true,
        });
        self
    }
}

fn used_already(id: &Uuid, when: Utc) -> Diagnostic {
    diagnostic(
        refusal::PERMIT,
        format!("Permit {id} was used already, at {when}."),
        "A permit is good for one time.".into(),
        "Sign a new one if the device is to be erased again.".into(),
    )
}

fn unreadable(error: &anyhow::Error) -> Diagnostic {
    diagnostic(
        refusal::PERMIT,
        format!("Whether permits were used before can't be told: {error:#}."),
        "So none of them counts. Nothing was written.".into(),
        "Restart the node; if this stays, the state partition needs a look.".into(),
    )
}

/// The records of permits on the state partition, read without a replay of its journal while it is not mounted. None
/// are there before the partition is made.
///
/// # Errors
/// When there is a state partition whose records can't be read.
pub fn records(inventory: &Inventory, config: &MachineConfig) -> anyhow::Result<Vec<Record>> {
    let Some((name, uses)) = state(inventory, config)? else { return Ok(Vec::new()) };
    match uses.mounts.first() {
        Some(at) => records_in(&Path::new(at).join(BELOW_STATE)),
        None => sources::on_state(name, |at| records_in(&at.join(BELOW_STATE)))
            .context("the state partition can't be read")?,
    }
}

/// The kernel name of what the state is on, and what uses that: the mirror, if it runs; one of its members; or a partition of
/// the disk that the node was started from.
fn state<'a>(inventory: &'a Inventory, config: &MachineConfig) -> anyhow::Result<Option<(&'a str, &'a Uses)>> {
    if let Some(mirror) = arrays::mirror(&config.storage.system) {
        let uuid = mirror.uuid(&Owner { cluster: config.cluster.id, machine: config.name.clone() });
        let running = inventory.arrays.iter().find(|array| array.uuid == Some(uuid));
        let mut partitions = inventory.devices.iter().flat_map(|device| &device.partitions);
        let mut member = || partitions.find(|p| p.md.as_ref().is_some_and(|md| md.array == uuid));
        let running = running.map(|array| (array.name.as_str(), &array.uses));
        return Ok(running.or_else(|| member().map(|p| (p.name.as_str(), &p.uses))));
    }
    let disk = inventory.boot.as_ref().and_then(|boot| inventory.devices.iter().find(|d| d.name == boot.disk));
    let Some(disk) = disk else { return Ok(None) };
    let entries = disk.table.usable().map(|table| table.partitions.as_slice()).unwrap_or_default();
    let Some(entry) = entries.iter().find(|p| p.kind == kind::STATE) else { return Ok(None) };
    let partition = disk.partition(entry.number).context("the kernel does not show the state partition")?;
    Ok(Some((&partition.name, &partition.uses)))
}

fn records_in(folder: &Path) -> anyhow::Result<Vec<Record>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot list {}", folder.display()))?,
    };
    let mut records = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            records.push(read(&path)?);
        }
    }
    Ok(records)
}

fn read(path: &Path) -> anyhow::Result<Record> {
    let size = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > LARGEST {
        bail!("{} is too large for a record", path.display());
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is no record of a permit", path.display()))
}

/// The records on the mounted state partition.
#[derive(Debug)]
pub struct Records {
    folder: std::path::PathBuf,
}

impl Records {
    /// Those below `/var`.
    ///
    /// # Errors
    /// When `/var` is in memory, where nothing outlives a restart.
    pub fn on_state() -> anyhow::Result<Records> {
        let kind = statfs::statfs("/var").context("cannot tell what /var is")?.filesystem_type();
        if [statfs::TMPFS_MAGIC, statfs::OVERLAYFS_SUPER_MAGIC].contains(&kind) {
            bail!("/var is in memory, so that a permit was used could not be kept");
        }
        Ok(Records { folder: Path::new("/var").join(BELOW_STATE) })
    }

    /// Notes that a disk is being erased by a permit, and gives the record. When it returns, that is on the medium.
    ///
    /// # Errors
    /// When the permit was used already, or this can't be kept.
    pub fn begin(&self, erase: &Erase, device: &Device) -> anyhow::Result<Record> {
        let path = self.path(erase.permit);
        if fs::exists(&path).with_context(|| format!("cannot look for {}", path.display()))? {
            let record = read(&path)?;
            return match record.ended {
                // A disk that carries the note goes on, whatever else is known.
                Some(when) if !erase.begun => bail!("permit {} was used already, at {when}", erase.permit),
                _ => Ok(record),
            };
        }
        let record = Record {
            permit: erase.permit,
            signed_by: erase.signed_by.clone(),
            device: erase.device.clone(),
            model: device.model.clone(),
            size: device.size,
            held: erase.holds.clone(),
            method: erase.method,
            began: now(),
            ended: None,
        };
        self.write(&record)?;
        Ok(record)
    }

    /// Notes that the disk is erased: the permit is used up.
    ///
    /// # Errors
    /// When this can't be kept.
    pub fn end(&self, record: Record) -> anyhow::Result<()> {
        self.write(&Record { ended: Some(now()), ..record })
    }

    /// Ends every record that no disk was erased for in this run: its disk was blank already when the power went, or it
    /// was never touched and is now something else.
    ///
    /// # Errors
    /// When a record can't be read or written.
    pub fn settle(&self, erased: &[Uuid]) -> anyhow::Result<()> {
        for record in records_in(&self.folder)? {
            if record.ended.is_none() && !erased.contains(&record.permit) {
                self.end(record)?;
            }
        }
        Ok(())
    }

    fn path(&self, id: Uuid) -> std::path::PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    fn write(&self, record: &Record) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(record).context("the record can't be written as JSON")?;
        state_file::replace(&self.path(record.permit), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine_config::permit::{FORMAT, Leave, Permit};
    use machine_config::signature::PrivateKey;

    const NOW: Utc = Utc(1_800_000_000);

    fn config() -> MachineConfig {
        let site = include_str!("../../examples/site/rack.toml");
        let delivered = machine_config::delivered::open(site, "rack.toml", &[]).unwrap();
        let facts = machine_config::identity::Facts { serial: Some("J7K2X03".into()), ..Default::default() };
        delivered.machine_config(&facts).unwrap()
    }

    fn permit(id: u128) -> Permit {
        let config = config();
        Permit {
            permit: FORMAT,
            action: Leave::Erase,
            id: Uuid::from_u128(id),
            cluster: config.cluster.id,
            machine: config.name,
            device: "ZL2ABCDE".into(),
            expect: vec!["ext4 3f2a6c1e".into()],
            method: Method::Wipe,
            psid: None,
            issued: NOW,
            expires: NOW.after(3600),
        }
    }

    fn key() -> PrivateKey {
        PrivateKey::from_seed(&[1; 32], "config").unwrap()
    }

    fn opened(permit: &Permit, keys: &[PublicKey], now: Utc) -> (usize, Vec<String>) {
        let found = [Found { source: "a stick".into(), bytes: permit.sign(&key()).unwrap().into_bytes() }];
        let permits = open(&found, keys, now, &config());
        (permits.granted.len(), permits.refused.into_iter().map(|d| d.code).collect())
    }

    #[test]
    fn only_what_is_signed_timely_and_for_this_machine_counts() {
        let (keys, code) = ([key().public()], |code: &str| (0, vec![code.to_owned()]));
        assert_eq!(opened(&permit(1), &keys, NOW), (1, Vec::new()));
        assert_eq!(opened(&permit(1), &[], NOW), code("BP-C085"));
        assert_eq!(opened(&permit(1), &keys, NOW.after(3600)), code("BP-C086"));
        assert_eq!(opened(&permit(1), &keys, Utc(0)), code("BP-C087"));
        let other = PrivateKey::from_seed(&[2; 32], "other").unwrap().public();
        assert_eq!(opened(&permit(1), &[other], NOW), code("BP-C071"));
        // One for another machine is nothing to be told of, not even when it has ended.
        for elsewhere in
            [Permit { machine: "n2".into(), ..permit(1) }, Permit { cluster: Uuid::from_u128(8), ..permit(1) }]
        {
            assert_eq!(opened(&elsewhere, &keys, NOW.after(9999)), (0, Vec::new()));
        }
        let found = [Found { source: "a stick".into(), bytes: vec![0xff] }];
        assert_eq!(open(&found, &keys, NOW, &config()).refused[0].code, "BP-C006");
    }

    fn erase(id: u128, begun: bool) -> Erase {
        Erase {
            permit: Uuid::from_u128(id),
            signed_by: Some("config".into()),
            device: "ZL2ABCDE".into(),
            holds: vec!["ext4 3f2a6c1e".into()],
            method: Method::Wipe,
            psid: None,
            begun,
            note: vec![0; 512],
        }
    }

    fn device() -> Device {
        let mut device = serde_json::json!({
            "name": "sdb", "number": "8:16", "sysfs": "/sys/devices/sdb", "by-path": [], "size": 1u64 << 30,
            "logical-sector": 512, "physical-sector": 512, "rotational": true, "removable": false, "read-only": false,
            "signatures": [], "ends": [], "rest": "zero", "free-tail": "not-probed", "partitions": [],
            "uses": { "holders": [], "mounts": [], "swap": false },
            "table": { "mbr": "absent", "primary": "absent", "backup": "absent", "backup-at-end": true },
        });
        for none in ["serial", "wwn", "model", "slot", "transport"] {
            device[none] = serde_json::Value::Null;
        }
        serde_json::from_value(device).unwrap()
    }

    #[test]
    fn a_permit_is_used_once_and_what_was_destroyed_stays_told() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records { folder: folder.path().join("var/lib/bedplate/permits") };
        let begun = records.begin(&erase(1, false), &device()).unwrap();
        assert_eq!((begun.ended, begun.held.as_slice()), (None, &["ext4 3f2a6c1e".to_owned()][..]));
        assert_eq!(records.begin(&erase(1, false), &device()).unwrap(), begun, "nothing was destroyed yet");
        records.end(begun.clone()).unwrap();
        let kept = records_in(&records.folder).unwrap();
        assert!(kept.len() == 1 && kept[0].ended.is_some() && kept[0].signed_by.as_deref() == Some("config"));
        let error = records.begin(&erase(1, false), &device()).unwrap_err().to_string();
        assert!(error.contains("used already"), "{error}");
        assert!(records.begin(&erase(1, true), &device()).is_ok(), "the disk's own note goes on");
        assert!(records.begin(&erase(2, false), &device()).is_ok(), "another permit");
    }

    #[test]
    fn disks_erased_side_by_side_have_each_its_record() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records { folder: folder.path().join("permits") };
        std::thread::scope(|scope| {
            for id in 0..16 {
                let records = &records;
                scope.spawn(move || {
                    for id in (0..8).map(|n| 8 * id + n) {
                        let record = records.begin(&erase(id, false), &device()).unwrap();
                        records.end(record).unwrap();
                    }
                });
            }
        });
        let kept = records_in(&records.folder).unwrap();
        assert_eq!(kept.iter().filter(|record| record.ended.is_some()).count(), 128);
    }

    #[test]
    fn used_permits_and_all_permits_on_an_unreadable_state_partition_do_not_count() {
        let all = || Permits {
            granted: [1, 2, 3].map(|id| Granted { permit: permit(id), signed_by: "config".into() }).into(),
            refused: Vec::new(),
        };
        let folder = tempfile::tempdir().unwrap();
        let records = Records { folder: folder.path().into() };
        let ended = records.begin(&erase(1, false), &device()).unwrap();
        records.end(ended).unwrap();
        records.begin(&erase(2, false), &device()).unwrap();
        let left = all().unused(records_in(folder.path()));
        assert_eq!(left.granted.iter().map(|g| g.permit.id.as_u128()).collect::<Vec<_>>(), [2, 3]);
        assert!(left.refused.len() == 1 && left.refused[0].code == "BP-S043", "{:?}", left.refused);

        fs::write(folder.path().join("x.json"), "{").unwrap();
        let none = all().unused(records_in(folder.path()));
        assert!(none.granted.is_empty() && none.refused[0].what.contains("x.json"), "{:?}", none.refused);
        assert_eq!(Permits::default().unused(records_in(folder.path())), Permits::default(), "nobody asked");
        assert_eq!(records_in(&folder.path().join("none")).unwrap(), []);
    }

    #[test]
    fn what_was_begun_and_found_no_disk_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records { folder: folder.path().into() };
        for id in [1, 2] {
            records.begin(&erase(id, false), &device()).unwrap();
        }
        records.settle(&[Uuid::from_u128(2)]).unwrap();
        let ended = |id: u128| read(&records.path(Uuid::from_u128(id))).unwrap().ended.is_some();
        assert!(ended(1) && !ended(2));
    }
}
