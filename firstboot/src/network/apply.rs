//! Lays networkd's files and tells it, when it runs already.
#![allow(clippy::disallowed_methods, reason = "edge: writes the network's files")]

use super::decide;
use anyhow::{Context, Result};
use machine_config::schema::MachineConfig;
use std::fs;
use std::path::Path;

/// Writes the files, the host name and the hosts file; has networkd read them when it runs already.
///
/// # Errors
/// When one can't be written.
pub fn apply(config: &MachineConfig) -> Result<()> {
    for file in decide::files(config) {
        let path = Path::new(&file.path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
        }
        fs::write(path, file.text).with_context(|| format!("{} can't be written", path.display()))?;
    }
    nix::unistd::sethostname(&config.name).context("the host name can't be set")?;
    fs::write("/etc/hostname", format!("{}\n", config.name)).context("/etc/hostname can't be written")?;
    let hosts = format!("127.0.0.1 localhost\n127.0.1.1 {}\n::1 localhost ip6-localhost\n", config.name);
    fs::write("/etc/hosts", hosts).context("/etc/hosts can't be written")?;
    name_servers(config, &[])?;
    if Path::new("/run/systemd/netif/state").exists() {
        let system = zbus::blocking::Connection::system().context("D-Bus does not answer")?;
        system
            .call_method(
                Some("org.freedesktop.network1"),
                "/org/freedesktop/network1",
                Some("org.freedesktop.network1.Manager"),
                "Reload",
                &(),
            )
            .context("systemd-networkd does not read its files again")?;
    }
    Ok(())
}

/// Whether others can be reached; when so, the name servers are known too.
#[must_use]
pub fn routable() -> Option<Vec<String>> {
    let state = fs::read_to_string("/run/systemd/netif/state").ok()?;
    let (routable, dns) = decide::parse_state(&state);
    routable.then_some(dns)
}

/// Writes `resolv.conf`, which `/etc/resolv.conf` points to.
///
/// # Errors
/// When it can't be written.
pub fn name_servers(config: &MachineConfig, by_dhcp: &[String]) -> Result<()> {
    let path = "/run/bedplate/resolv.conf";
    fs::write(path, decide::resolv_conf(config, by_dhcp)).with_context(|| format!("{path} can't be written"))
}
