//! Interfaces, addresses, name servers and time servers as files of systemd-networkd and systemd-timesyncd. Pure.
//!
//! Physical interfaces keep the kernel's names; VLANs and bonds get the names of the configuration. A
//! configuration without interfaces takes addresses by DHCP on every Ethernet port. See systemd.network(5) and
//! systemd.netdev(5).

use machine_config::schema::{BondMode, Interface, MachineConfig, Member};
use std::fmt::Write;

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute path.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Folder that networkd reads and that is made anew at every start.
const NETWORK: &str = "/run/systemd/network";

/// All files for this machine.
#[must_use]
pub fn files(config: &MachineConfig) -> Vec<File> {
    let mut files = Vec::new();
    for (name, interface) in &config.network {
        if let Some(id) = interface.vlan {
            files.push(netdev(name, interface, &format!("Kind=vlan\n\n[VLAN]\nId={id}\n")));
        }
        if !interface.bond.is_empty() {
            files.push(netdev(name, interface, &bond(interface.mode)));
            for (i, member) in interface.bond.iter().enumerate() {
                let matching = match_member(member.mac.as_deref(), member.pci.as_deref(), member.name.as_deref());
                let text = format!("[Match]\n{matching}\n[Network]\nBond={name}\nLinkLocalAddressing=no\n");
                files.push(File { path: format!("{NETWORK}/20-{name}-member{i}.network"), text });
            }
        }
        files.push(network(config, name, interface));
    }
    if config.network.is_empty() {
        // Kind is empty for hardware alone.
        let text = format!("[Match]\nType=ether\nKind=!*\n\n[Network]\nDHCP=yes\n{}", dhcp(false));
        files.push(File { path: format!("{NETWORK}/20-every-port.network"), text });
    }
    files.push(clock(config));
    files
}

/// `resolv.conf`: the configured name servers, or those that came by DHCP.
#[must_use]
pub fn resolv_conf(config: &MachineConfig, by_dhcp: &[String]) -> String {
    let configured: Vec<String> = config.network.values().flat_map(|i| &i.dns).map(ToString::to_string).collect();
    let servers = if configured.is_empty() { by_dhcp } else { &configured };
    // resolv.conf(5) takes three.
    servers.iter().take(3).map(|s| format!("nameserver {s}\n")).collect()
}

/// Whether the machine can reach others, and the name servers it was told of, from networkd's
/// `/run/systemd/netif/state`.
#[must_use]
pub fn parse_state(text: &str) -> (bool, Vec<String>) {
    let value = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
    let dns = value("DNS").unwrap_or_default().split_whitespace().map(String::from).collect();
    (value("OPER_STATE") == Some("routable"), dns)
}

fn match_member(mac: Option<&str>, pci: Option<&str>, name: Option<&str>) -> String {
    match (mac, pci, name) {
        // A bond and a VLAN carry their lower interface's address; the permanent one is the hardware's own.
        (Some(mac), _, _) => format!("PermanentMACAddress={mac}\n"),
        (_, Some(pci), _) if pci.matches(':').count() == 1 => format!("Path=pci-0000:{pci}*\nKind=!*\n"),
        (_, Some(pci), _) => format!("Path=pci-{pci}*\nKind=!*\n"),
        (_, _, name) => format!("Name={}\nKind=!*\n", name.unwrap_or_default()),
    }
}

fn matching(name: &str, interface: &Interface) -> String {
    if interface.vlan.is_some() || !interface.bond.is_empty() {
        format!("Name={name}\n")
    } else {
        let Member { mac, pci, name } =
            Member { mac: interface.mac.clone(), pci: interface.pci.clone(), name: interface.name.clone() };
        match_member(mac.as_deref(), pci.as_deref(), name.as_deref())
    }
}

fn netdev(name: &str, interface: &Interface, rest: &str) -> File {
    let mtu = interface.mtu.map(|m| format!("MTUBytes={m}\n")).unwrap_or_default();
    File { path: format!("{NETWORK}/20-{name}.netdev"), text: format!("[NetDev]\nName={name}\n{mtu}{rest}") }
}

fn bond(mode: Option<BondMode>) -> String {
    match mode.unwrap_or(BondMode::ActiveBackup) {
        BondMode::Lacp => "Kind=bond\n\n[Bond]\nMode=802.3ad\nMIIMonitorSec=100ms\nLACPTransmitRate=fast\n\
                           TransmitHashPolicy=layer3+4\n"
            .into(),
        BondMode::ActiveBackup => "Kind=bond\n\n[Bond]\nMode=active-backup\nMIIMonitorSec=100ms\n".into(),
    }
}

fn network(config: &MachineConfig, name: &str, interface: &Interface) -> File {
    let mut text = format!("[Match]\n{}\n", matching(name, interface));
    if let Some(mtu) = interface.mtu {
        let _ = write!(text, "[Link]\nMTUBytes={mtu}\n\n");
    }
    text.push_str("[Network]\n");
    for (vlan, _) in config.network.iter().filter(|(_, i)| i.on.as_deref() == Some(name)) {
        let _ = writeln!(text, "VLAN={vlan}");
    }
    let _ = writeln!(text, "DHCP={}", if interface.dhcp { "yes" } else { "no" });
    let address = config.address.get(name);
    if !interface.dhcp && address.is_none() {
        // It only carries others.
        text.push_str("LinkLocalAddressing=no\nIPv6AcceptRA=no\n");
    }
    if let Some(address) = address {
        let _ = writeln!(text, "Address={address}");
    }
    if let Some(gateway) = interface.gateway {
        let _ = writeln!(text, "Gateway={gateway}");
    }
    for server in &interface.dns {
        let _ = writeln!(text, "DNS={server}");
    }
    if interface.dhcp {
        text.push_str(&dhcp(!interface.dns.is_empty()));
    }
    File { path: format!("{NETWORK}/20-{name}.network"), text }
}

/// What DHCP may say: addresses and routes, name servers unless they are configured, never the node's name.
fn dhcp(own_dns: bool) -> String {
    let dns = if own_dns { "no" } else { "yes" };
    format!(
        "\n[DHCPv4]\nUseHostname=no\nUseDNS={dns}\nClientIdentifier=mac\n\n[DHCPv6]\nUseHostname=no\nUseDNS={dns}\n"
    )
}

/// Servers of the configuration, else those of DHCP; never the distribution's.
fn clock(config: &MachineConfig) -> File {
    let servers = config.time.servers.join(" ");
    let text = format!("[Time]\nNTP={servers}\nFallbackNTP=\n");
    File { path: "/run/systemd/timesyncd.conf.d/10-bedplate.conf".into(), text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::tests::machine;

    fn text(config: &MachineConfig) -> String {
        files(config).iter().map(|f| format!("# {}\n{}", f.path, f.text)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn without_interfaces_every_port_takes_dhcp() {
        insta::assert_snapshot!(text(&machine()));
    }

    #[test]
    fn a_vlan_on_a_bond_has_the_address() {
        let mut config = machine();
        let member = |pci: &str| Member { pci: Some(pci.into()), ..Member::default() };
        let uplink = Interface {
            bond: vec![member("3b:00.0"), member("0001:3b:00.1")],
            mode: Some(BondMode::Lacp),
            mtu: Some(9000),
            ..Interface::default()
        };
        let lan = Interface {
            vlan: Some(107),
            on: Some("uplink".into()),
            gateway: Some("10.0.7.1".parse().unwrap()),
            dns: vec!["10.0.7.2".parse().unwrap()],
            ..Interface::default()
        };
        config.network = [("uplink".to_owned(), uplink), ("lan".into(), lan)].into();
        config.address = [("lan".to_owned(), "10.0.7.11/24".to_owned())].into();
        config.time.servers = vec!["10.0.7.3".into()];
        insta::assert_snapshot!(text(&config));
        assert_eq!(resolv_conf(&config, &["10.0.0.1".into()]), "nameserver 10.0.7.2\n");
    }

    #[test]
    fn an_address_by_mac_comes_with_dhcp_beside_it() {
        let mut config = machine();
        let lan = Interface { mac: Some("52:54:00:00:00:01".into()), dhcp: true, ..Interface::default() };
        config.network = [("lan".to_owned(), lan)].into();
        insta::assert_snapshot!(text(&config));
        assert_eq!(resolv_conf(&config, &["10.0.2.3".into()]), "nameserver 10.0.2.3\n");
    }

    #[test]
    fn networkd_tells_when_others_can_be_reached() {
        let text = "# This is private data.\nOPER_STATE=routable\nADDRESS_STATE=routable\nDNS=10.0.2.3 fec0::3\n";
        assert_eq!(parse_state(text), (true, vec!["10.0.2.3".into(), "fec0::3".into()]));
        assert!(!parse_state("OPER_STATE=degraded\n").0);
    }
}
