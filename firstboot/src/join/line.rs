//! The line of the join unit: files -> units -> registered -> Ready. It retries for ever.
#![allow(clippy::disallowed_methods, reason = "edge: the order of the steps")]

use super::api::Api;
use super::units::{Unit, Units};
use super::{File, PAUSE_ARCHIVE, containerd, decide, serving};
use crate::apply;
use crate::boot_record::BootRecord;
use crate::config::Chosen;
use crate::network;
use crate::report::console::Consoles;
use crate::report::memory;
use crate::report::page::Title;
use crate::report::status::{State, Status, seconds};
use crate::run;
use anyhow::{Context, Result};
use machine_config::Diagnostic;
use machine_config::schema::{Join, MachineConfig};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the node object is asked for while the node comes up.
const POLL: Duration = Duration::from_millis(300);
/// How often once that takes longer than a start should.
const PATIENT_POLL: Duration = Duration::from_secs(5);
const PATIENT_AFTER: Duration = Duration::from_secs(120);
/// How long the rest of the system lets a joining node go first.
const FIRST: Duration = Duration::from_secs(30);
/// What passes sooner is no news.
const SILENCE: Duration = Duration::from_secs(10);
/// How often the console hears what is waited for, when that does not change.
const REMIND: Duration = Duration::from_secs(30);

/// Joins, and returns when the node is Ready. A node with something missing shows its page until nothing is.
///
/// # Errors
/// When a file can't be written or systemd does not answer; the unit is started again then.
pub fn join() -> Result<()> {
    // What the system starts after this unit would only take processors from the kubelet.
    std::thread::spawn(|| {
        std::thread::sleep(FIRST);
        run::notify("READY=1");
        // How fast arrays are to be is not known before; while storage waits for a person, it lets its own syncs go.
        release_syncs(&wait_for_storage().config);
    });
    let chosen = wait_for_storage();
    let mut consoles = Consoles::open();
    let mut status = Status::read();
    let Some(credentials) = &chosen.join else { no_credentials(consoles, &chosen) };
    for file in decide(&chosen.config, credentials) {
        write(&file)?;
    }
    // A kubelet that runs keeps the certificate it started with.
    if !Path::new(&serving::certificate_path()).exists() {
        for file in serving::files(&chosen.config.name)?.iter().rev() {
            write(file)?;
        }
    }
    let units = Units::connect()?;
    let started = [units.start("containerd.service")?, units.start("kubelet.service")?];
    until_ready(&chosen.config, credentials, &units, &started, &consoles, &mut status)?;
    let pss_kib = memory::pss_kib();
    release_syncs(&chosen.config);
    run::notify("READY=1");
    if credentials.proxy_certificate.is_some() {
        units.start("kube-proxy.service")?;
    }
    end_warden(run::boot_record().as_ref());
    // The watch may have changed what storage says.
    status = Status::update(|s| {
        let degraded = !s.refusals.is_empty() || s.state == State::Degraded;
        s.state = if degraded { State::Degraded } else { State::Ready };
        (s.waiting_for, s.pss_kib) = (None, pss_kib);
    });
    let line = serde_json::to_string(&status).context("the status can't be told")?;
    consoles.line(&format!("bedplate: status {line}"));
    // Until the watch finds everything whole again.
    while status.state == State::Degraded {
        let config = format!("config revision {}, from {}", chosen.config.revision, chosen.source);
        let next = "The node runs. See the status file for each volume.";
        let page = run::page(Title::Degraded, "storage", &status, Some(config), next);
        let (parts, mut shown) = (page.render().len(), 0);
        // Every part once, and the first again.
        consoles.show_until(
            || page.clone(),
            || {
                shown += 1;
                shown > parts
            },
        );
        status = Status::read();
    }
    Ok(())
}

/// The first syncs of arrays have waited for this node to start.
fn release_syncs(config: &MachineConfig) {
    apply::release_syncs(&storage_plan::speeds::speeds(config));
}

/// The configuration, once the storage unit is done with it. Meanwhile the consoles are that unit's.
fn wait_for_storage() -> Chosen {
    loop {
        if let Ok(bytes) = fs::read(run::MACHINE)
            && let Ok(chosen) = serde_json::from_slice(&bytes)
        {
            return chosen;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn until_ready(
    config: &MachineConfig,
    join: &Join,
    units: &Units,
    [containerd, kubelet]: &[Unit; 2],
    consoles: &Consoles,
    status: &mut Status,
) -> Result<()> {
    let began = Instant::now();
    let mut told: (String, Instant) = (String::new(), began);
    let mut api: Option<Api> = None;
    let mut name_servers = None;
    let (mut containerd_runs, mut kubelet_runs) = (false, false);
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("this boot has no id")?;
    let mut pause = None;
    let mut asked_before = false;
    loop {
        let tell = |status: &mut Status, phase: &str| {
            let mut line = None;
            *status = Status::update(|s| line = s.phase(phase, seconds()));
            line.iter().for_each(|line| consoles.line(line));
        };
        let waiting_for = 'step: {
            // Each question costs the processors that the node is starting on: nothing is asked again that is known.
            if !containerd_runs && units.is_active(containerd)? {
                containerd_runs = true;
                tell(status, "containerd");
            }
            if containerd_runs && !kubelet_runs && units.is_active(kubelet)? {
                kubelet_runs = true;
                tell(status, "kubelet");
            }
            let Some(dns) = network::apply::routable() else {
                break 'step "an address on the network".to_owned();
            };
            tell(status, "network");
            // A lease may bring other name servers later.
            if name_servers.as_ref() != Some(&dns) {
                network::apply::name_servers(config, &dns)?;
                name_servers = Some(dns);
            }
            if config.node.pod_cidr.is_none() && !std::mem::replace(&mut asked_before, true) {
                earlier_pod_network(config, join)?;
            }
            // A kubelet that waits for the cluster says so only in the journal.
            if !kubelet_runs && began.elapsed() < SILENCE {
                break 'step "the kubelet to start".to_owned();
            }
            if api.is_none() {
                match Api::new(config, join) {
                    Ok(new) => api = Some(new),
                    Err(what) => break 'step what,
                }
            }
            let node = match api.as_ref().map(Api::node) {
                Some(Ok(Some(node))) if node.boot_id == boot_id.trim() => node,
                Some(Err(what)) => break 'step what,
                _ => break 'step "the kubelet to register this node".to_owned(),
            };
            tell(status, "registered");
            // Earlier it would take the processors from the kubelet.
            if pause.is_none() && Path::new(PAUSE_ARCHIVE).exists() {
                pause = Some(std::thread::spawn(import_pause));
            }
            if config.node.pod_cidr.is_none()
                && let Some(cidr) = &node.pod_cidr
            {
                write(&containerd::pod_network(cidr))?;
            }
            let runtime = node.runtime.replace("containerd://", "");
            *status = Status::update(|s| {
                s.versions.extend([("kubelet".into(), node.kubelet), ("containerd".into(), runtime)])
            });
            if node.ready {
                tell(status, "ready");
                let Some(importing) = pause else { return Ok(()) };
                let imported = importing.join().unwrap_or_else(|_| Err(anyhow::anyhow!("its import panicked")));
                return imported.context("the pause image was not imported, so no pod can start");
            }
            if config.node.pod_cidr.is_none() && node.pod_cidr.is_none() {
                break 'step "a pod network: the cluster assigns none, and node.pod-cidr is not set".to_owned();
            }
            format!("the kubelet to be ready: {}", node.message)
        };
        if waiting_for != told.0 || told.1.elapsed() > REMIND {
            if began.elapsed() > SILENCE {
                consoles.line(&format!("bedplate: waiting for {waiting_for}"));
            }
            *status = Status::update(|s| s.waiting_for = Some(waiting_for.clone()));
            told = (waiting_for, Instant::now());
        }
        std::thread::sleep(if began.elapsed() < PATIENT_AFTER { POLL } else { PATIENT_POLL });
    }
}

/// A node that was in the cluster before has its pod network there: a kubelet that starts without one reports that, and
/// only ten seconds later that it has come.
fn earlier_pod_network(config: &MachineConfig, join: &Join) -> Result<()> {
    let node = Api::new(config, join).and_then(|api| api.node());
    match node.ok().flatten().and_then(|node| node.pod_cidr) {
        Some(cidr) => write(&containerd::pod_network(&cidr)),
        None => Ok(()),
    }
}

fn no_credentials(consoles: Consoles, chosen: &Chosen) -> ! {
    let refusal = Diagnostic {
        code: "BP-J001".into(),
        what: "This node has nothing to join the cluster with.".into(),
        place: None,
        why: format!("{} is a bare site file; credentials come in a bundle.", chosen.source),
        mend: format!("Hand it the bundle that bedplate config render makes for {}.", chosen.config.name),
    };
    let status = Status::update(|s| (s.state, s.refusals) = (State::Stopped, vec![refusal]));
    let config = format!("config revision {}, from {}", chosen.config.revision, chosen.source);
    let page =
        run::page(Title::Stopped, "join", &status, Some(config), "The node looks again when it is started again.");
    consoles.show(&page)
}

/// Writes a file with its mode from the start, replacing an old one at once.
fn write(file: &File) -> Result<()> {
    let path = Path::new(&file.path);
    if fs::read_to_string(path).is_ok_and(|text| text == file.text) {
        return Ok(());
    }
    let new = format!("{}.new", file.path);
    let folder = path.parent().context("a file in no folder")?;
    fs::create_dir_all(folder)
        .and_then(|()| {
            let mode = if file.secret { 0o600 } else { 0o644 };
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)
        })
        .and_then(|mut out| out.write_all(file.text.as_bytes()))
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("{} can't be written", file.path))
}

/// Hands the pause image to containerd, once per image: it keeps it on the state partition.
fn import_pause() -> Result<()> {
    let archive = fs::read(PAUSE_ARCHIVE).with_context(|| format!("{PAUSE_ARCHIVE} can't be read"))?;
    let digest: String = Sha256::digest(&archive).iter().map(|b| format!("{b:02x}")).collect();
    let marker = Path::new("/var/lib/containerd/bedplate-imported").join(digest);
    if marker.exists() {
        return Ok(());
    }
    let ctr = run_tool::Tool::at("/usr/bin/ctr").command();
    ctr.args(["--namespace=k8s.io", "images", "import", PAUSE_ARCHIVE]).run()?;
    fs::create_dir_all(marker.parent().context("a marker in no folder")?)?;
    fs::write(&marker, "")?;
    Ok(())
}

/// The node is up: a damaged block is now the matter of whoever reads it.
fn end_warden(boot: Option<&BootRecord>) {
    let Some(pid) = boot.and_then(|b| b.warden) else { return };
    // The number may be another program's by now.
    if fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c == b"/init\0warden\0") {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    }
}
