//! The line of the storage unit: configuration -> network files -> storage -> kept.
#![allow(clippy::disallowed_methods, reason = "edge: the order of the steps")]

use crate::apply;
use crate::boot_record::{self, BootRecord};
use crate::config::{self, Chosen, facts, keep, sources};
use crate::network;
use crate::permits;
use crate::report::console::Consoles;
use crate::report::page::{Page, Title};
use crate::report::status::{ConfigStatus, State, Status, seconds};
use crate::secrets::Secrets;
use crate::storage::{self, StorageOutcome};
use anyhow::{Context, Result};
use machine_config::Diagnostic;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

/// The configuration that counts, for the join unit. Readable by root alone: it holds the node's key.
pub const MACHINE: &str = "/run/bedplate/machine.json";

/// Runs the storage unit to its end. While something is refused it stays, shows the page and looks again; the
/// rest of the system starts meanwhile with a `/var` in memory, and neither containerd nor the kubelet with it.
///
/// # Errors
/// When what it found can't be handed to the join unit.
pub fn storage() -> Result<()> {
    let boot = boot_record();
    let mut status = Status::read();
    let mut held = Held { consoles: Consoles::open(), let_go: false, speeds: Vec::new() };
    if let Some(boot) = &boot {
        // Stage 1 has told these itself.
        status.phase("kernel", boot.began);
        status.phase("stage1", boot.ended);
        status.slot.clone_from(&boot.slot);
        status.root_in_memory = boot.disk.is_none();
        status.root_hash = Some(boot.root_hash.clone());
    }
    status.versions = versions();
    held.tell(&mut status, "systemd");
    let modules = std::thread::spawn(load_modules);
    settle();
    if let Some(boot) = &boot {
        place_addons(boot, &held.consoles);
    }

    let chosen = held.until_accepted(&mut status, "config", |_| configure(boot.as_ref()), |_| None);
    held.speeds = storage_plan::speeds::speeds(&chosen.config);
    status.machine = Some(chosen.config.name.clone());
    status.config = Some(ConfigStatus {
        revision: chosen.config.revision,
        source: chosen.source.clone(),
        signed_by: chosen.signed_by.clone(),
    });
    network::apply::apply(&chosen.config)?;
    let _ = modules.join();

    let outcome = held.until_accepted(
        &mut status,
        "storage",
        |consoles| provision(&chosen, boot.as_ref(), consoles),
        |_| Some(format!("config revision {}, from {}", chosen.config.revision, chosen.source)),
    );
    status.state = if outcome.status == storage::Status::Degraded { State::Degraded } else { State::Starting };
    status.storage_writes = Some(outcome.writes);
    status.storage_took = Some(outcome.took);
    held.consoles.line(&format!("bedplate: storage: {}", outcome.took));
    status.volumes = outcome.volumes;
    status.refusals = outcome.refusals;
    if let Err(e) = keep::keep(&chosen) {
        tracing::warn!("the configuration was not kept: {e:#}");
    }
    held.tell(&mut status, "storage");
    hand_over(&chosen)?;
    if held.let_go {
        // The system made its folders in the /var that was in memory.
        let tmpfiles = run_tool::Tool::at("/usr/bin/systemd-tmpfiles").command();
        tmpfiles.args(["--create", "--prefix=/var"]).run().context("the folders of /var were not made")?;
    }
    notify("READY=1");
    Ok(())
}

/// Not worth a stop: the node runs without them, as it did until now.
fn place_addons(boot: &BootRecord, consoles: &Consoles) {
    match crate::addons::place(boot) {
        Ok(placed) if placed.is_empty() => {}
        Ok(placed) => consoles.line(&format!(
            "bedplate: addons for this model placed: {}; their arguments count from the next start on",
            placed.join(", ")
        )),
        Err(e) => {
            tracing::warn!("the addons for this model were not placed: {e:#}");
            consoles.line(&format!("bedplate: the addons for this model were not placed: {e:#}"));
        }
    }
}

/// What stage 1 left; none when the agent runs on a machine that it did not start.
#[must_use]
pub fn boot_record() -> Option<BootRecord> {
    serde_json::from_slice(&fs::read(boot_record::PATH).ok()?).ok()
}

/// The page of this node with these refusals.
#[must_use]
pub fn page(title: Title, at: &str, status: &Status, config: Option<String>, next: &str) -> Page {
    let slot = match &status.slot {
        Some(slot) => format!(" (slot {})", slot.to_uppercase()),
        None if status.root_in_memory => " (in memory)".into(),
        None => String::new(),
    };
    Page {
        title,
        at: at.into(),
        product: format!("Bedplate {}{slot}", env!("CARGO_PKG_VERSION")),
        machine: status.machine.clone(),
        chassis: facts::chassis(&facts::read()),
        time: std::time::UNIX_EPOCH.elapsed().ok().map(|t| t.as_secs()),
        config,
        refusals: status.refusals.clone(),
        next: next.into(),
    }
}

fn configure(boot: Option<&BootRecord>) -> Result<Chosen, Refused> {
    let keys = sources::keys().map_err(|why| {
        vec![Diagnostic {
            code: "BP-B021".into(),
            what: "The keys that a configuration must be signed with can't be read.".into(),
            place: None,
            why,
            mend: "The image was not built soundly: build it again.".into(),
        }]
    });
    let found = sources::find(boot);
    let chosen = keys.and_then(|keys| {
        let floor = keep::floor(&found, &keys);
        config::choose(&found, &keys, floor, &facts::read())
    });
    chosen.map_err(|refusals| Refused { refusals, volumes: Vec::new() })
}

fn provision(chosen: &Chosen, boot: Option<&BootRecord>, consoles: &Consoles) -> Result<StorageOutcome, Refused> {
    // The watch of an earlier start of this unit may be at work.
    let _lock = crate::lock::storage().map_err(|e| tracing::warn!("storage runs without its lock: {e:#}"));
    // Keys that can't be read have stopped the node before; if they can't be read now, no permit counts.
    let permits = || {
        let keys = sources::keys().unwrap_or_default();
        permits::open(&sources::permits(boot), &keys, permits::now(), &chosen.config)
    };
    let tell = |step: apply::Progress| {
        tracing::info!("{step:?}");
        if let apply::Progress::Going { .. } = step {
            consoles.line(&format!("bedplate: {step}"));
        }
    };
    let recovery = sources::recovery(&chosen.config.name);
    let secrets = Secrets::gather(boot, &chosen.config.name, chosen.passphrase.clone(), recovery);
    let outcome = storage::run(&chosen.config, boot, &permits, &secrets, &tell);
    tracing::info!("{}", outcome.table);
    if outcome.status == storage::Status::Stopped {
        return Err(Refused { refusals: outcome.refusals, volumes: outcome.volumes });
    }
    Ok(outcome)
}

struct Refused {
    refusals: Vec<Diagnostic>,
    volumes: Vec<storage::VolumeState>,
}

/// The consoles, and whether the rest of the system was let go with a `/var` in memory.
struct Held {
    consoles: Consoles,
    let_go: bool,
    /// How fast arrays are to be rebuilt, once that is known.
    speeds: Vec<(uuid::Uuid, machine_config::schema::Rebuild)>,
}

impl Held {
    fn tell(&mut self, status: &mut Status, phase: &str) {
        if let Some(line) = status.phase(phase, seconds()) {
            self.consoles.line(&line);
        }
        status.write();
    }

    /// Tries until it works. From the first refusal on the page is shown, and it is tried again on Enter and
    /// every 30 s.
    fn until_accepted<T>(
        &mut self,
        status: &mut Status,
        at: &str,
        mut attempt: impl FnMut(&Consoles) -> Result<T, Refused>,
        config: impl Fn(&Status) -> Option<String>,
    ) -> T {
        let mut refused = match attempt(&self.consoles) {
            Ok(done) => return done,
            Err(refused) => refused,
        };
        self.let_go();
        loop {
            // Without a configuration the node waits for one; a refusal needs a person.
            let waits = refused.refusals.iter().all(|r| r.code == "BP-B020");
            status.state = if waits { State::Waiting } else { State::Stopped };
            status.refusals = std::mem::take(&mut refused.refusals);
            status.volumes = std::mem::take(&mut refused.volumes);
            status.write();
            let title = if waits { Title::Waiting } else { Title::Stopped };
            let page =
                page(title, at, status, config(status), "The node looks again when Enter is pressed, and every 30 s.");
            let (parts, mut shown) = (page.render().len(), 0);
            // The refusal is fresh at the first painting.
            self.consoles.show_until(
                || page.clone(),
                || {
                    shown += 1;
                    // Every part once, and the first again: that is Enter on the last, or time.
                    shown > parts
                },
            );
            match attempt(&self.consoles) {
                Ok(done) => {
                    status.refusals.clear();
                    return done;
                }
                Err(again) => refused = again,
            }
        }
    }

    /// Lets the system start with a `/var` in memory. The state partition is mounted over it later.
    fn let_go(&mut self) {
        if self.let_go {
            return;
        }
        self.let_go = true;
        apply::release_syncs(&self.speeds);
        let flags = sys_mount::MountFlags::NOSUID | sys_mount::MountFlags::NODEV;
        let mounted =
            sys_mount::Mount::builder().fstype("tmpfs").flags(flags).data("mode=0755,size=10%").mount("tmpfs", "/var");
        if let Err(e) = mounted {
            tracing::warn!("/var is no tmpfs: {e}");
        }
        notify("READY=1");
    }
}

/// Waits until udev has loaded drivers for what is there: a mirror must not be started without the half whose
/// controller comes late.
pub(crate) fn settle() {
    let settle = run_tool::Tool::at("/usr/bin/udevadm").command().args(["settle", "--timeout=120"]);
    if let Err(e) = settle.run() {
        tracing::warn!("devices may be missing: {e}");
    }
}

/// Loads what storage is most often made of while udev is still busy; anything else is loaded when it is first used.
fn load_modules() {
    let modprobe = run_tool::Tool::at("/usr/sbin/modprobe").command().args(["--all", "raid1", "xfs"]);
    if let Err(e) = modprobe.run() {
        tracing::warn!("modules were not loaded ahead: {e}");
    }
}

fn hand_over(chosen: &Chosen) -> Result<()> {
    let text = serde_json::to_string(chosen).context("the configuration can't be handed to the join unit")?;
    let new = format!("{MACHINE}.new");
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&new, MACHINE))
        .with_context(|| format!("{MACHINE} can't be written"))
}

fn versions() -> std::collections::BTreeMap<String, String> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    [("agent".to_owned(), env!("CARGO_PKG_VERSION").to_owned()), ("kernel".to_owned(), kernel.trim().to_owned())].into()
}

/// Tells systemd (sd_notify(3)).
pub(crate) fn notify(state: &str) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else { return };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address.and_then(|a| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &a));
    if let Err(e) = sent {
        tracing::warn!("systemd was not told {state}: {e}");
    }
}
