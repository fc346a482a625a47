//! Rules over interfaces: each is one thing, what it stands on exists, addresses and gateways fit.

use super::Rules;
use crate::merge::{did_you_mean, listed};
use crate::schema::{Interface, Member};
use crate::units;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Longest name of an interface in Linux (`IFNAMSIZ` - 1).
const LONGEST_NAME: usize = 15;

pub(super) fn check(rules: &mut Rules<'_>) {
    let config = rules.config();
    let names: Vec<&str> = config.network.keys().map(String::as_str).collect();
    let mut devices: BTreeMap<String, String> = BTreeMap::new();
    for (name, interface) in &config.network {
        kind(rules, name, interface);
        vlan(rules, name, interface, &names);
        bond(rules, name, interface);
        let own = Member { mac: interface.mac.clone(), pci: interface.pci.clone(), name: interface.name.clone() };
        for (index, member) in std::iter::once(&own).chain(&interface.bond).enumerate() {
            for (key, value) in [("mac", &member.mac), ("pci", &member.pci), ("name", &member.name)] {
                let Some(value) = value else { continue };
                if let Some(other) = devices.insert(format!("{key} {}", value.to_lowercase()), name.clone()) {
                    let member = index.wrapping_sub(1).to_string();
                    let path: &[&str] =
                        if index == 0 { &["network", name, key] } else { &["network", name, "bond", &member] };
                    rules.fault(
                        "BP-C049",
                        path,
                        format!("the device with {key} {value} is in `network.{other}` and in `network.{name}`"),
                        "A device is one interface, or a member of one bond.",
                        "Take it out of one of them.",
                    );
                }
            }
        }
        mtu(rules, name, interface);
        addresses(rules, name, interface);
    }
    for name in config.address.keys().filter(|name| !names.contains(&name.as_str())) {
        rules.fault(
            "BP-C043",
            &["address", name],
            format!("an address is given for the interface {name:?}, which this machine does not have"),
            &listed("Its interfaces", &names),
            &did_you_mean(name, &names, || format!("Write a [network.{name}] in the machine or one of its profiles.")),
        );
    }
    gateways(rules);
}

fn kind(rules: &mut Rules<'_>, name: &str, interface: &Interface) {
    let given: Vec<&str> = [
        ("mac", interface.mac.is_some()),
        ("pci", interface.pci.is_some()),
        ("name", interface.name.is_some()),
        ("vlan", interface.vlan.is_some()),
        ("bond", !interface.bond.is_empty()),
    ]
    .into_iter()
    .filter_map(|(key, given)| given.then_some(key))
    .collect();
    if given.len() != 1 {
        let what = match given.as_slice() {
            [] => format!("`network.{name}` does not say which interface it is"),
            many => format!("`network.{name}` says in {} ways what it is: {}", many.len(), many.join(", ")),
        };
        rules.fault(
            "BP-C040",
            &["network", name],
            what,
            "An interface is exactly one of: a device by `mac`, `pci` or `name`, a `vlan`, a `bond`.",
            "Give exactly one of these keys (a profile's and the machine's own are merged).",
        );
    }
    let made = interface.vlan.is_some() || !interface.bond.is_empty();
    if made && name.len() > LONGEST_NAME {
        rules.fault(
            "BP-C051",
            &["network", name],
            format!("{name:?} is too long a name for an interface"),
            &format!("Linux allows {LONGEST_NAME} characters, and a VLAN or bond is created under this name."),
            "Choose a shorter name.",
        );
    }
}

fn vlan(rules: &mut Rules<'_>, name: &str, interface: &Interface, names: &[&str]) {
    match (interface.vlan, &interface.on) {
        (Some(_), None) => rules.fault(
            "BP-C041",
            &["network", name, "vlan"],
            format!("the VLAN `network.{name}` does not say on which interface it is"),
            "A VLAN is carried by another interface of this machine.",
            "Add `on = \"...\"`.",
        ),
        (None, Some(_)) => rules.fault(
            "BP-C041",
            &["network", name, "on"],
            format!("`network.{name}` has `on`, but is no VLAN"),
            "Only a VLAN is carried by another interface.",
            "Add `vlan = ...`, or take `on` out.",
        ),
        (Some(_), Some(on)) if !names.contains(&on.as_str()) => rules.fault(
            "BP-C041",
            &["network", name, "on"],
            format!("the VLAN `network.{name}` is on {on:?}, which this machine does not have"),
            &listed("Its interfaces", names),
            &did_you_mean(on, names, || format!("Write a [network.{on}], or name another.")),
        ),
        (Some(_), Some(_)) => {
            let mut seen = BTreeSet::from([name]);
            let mut below = interface.on.as_deref();
            while let Some(next) = below {
                if !seen.insert(next) {
                    rules.fault(
                        "BP-C048",
                        &["network", name, "on"],
                        format!("the VLAN `network.{name}` is carried by itself"),
                        "Following `on` leads back to where it began.",
                        "Put the VLAN on a device or a bond.",
                    );
                    break;
                }
                below = rules.config().network.get(next).and_then(|next| next.on.as_deref());
            }
        }
        (None, None) => {}
    }
}

fn bond(rules: &mut Rules<'_>, name: &str, interface: &Interface) {
    if interface.bond.is_empty() {
        if interface.mode.is_some() {
            rules.fault(
                "BP-C042",
                &["network", name, "mode"],
                format!("`network.{name}` has `mode`, but is no bond"),
                "The mode says how the members of a bond share the traffic.",
                "Add `bond = [...]`, or take `mode` out.",
            );
        }
        return;
    }
    if interface.mode.is_none() {
        rules.fault(
            "BP-C042",
            &["network", name, "bond"],
            format!("the bond `network.{name}` has no mode"),
            "The mode must be the one the switch is set to.",
            "Add `mode = \"802.3ad\"` or `mode = \"active-backup\"`.",
        );
    }
    if interface.bond.len() < 2 {
        rules.fault(
            "BP-C042",
            &["network", name, "bond"],
            format!("the bond `network.{name}` has one member"),
            "A bond of one device is no more than the device.",
            "Add a member, or name the device itself by `mac`, `pci` or `name`.",
        );
    }
    for (index, member) in interface.bond.iter().enumerate() {
        let given = [&member.mac, &member.pci, &member.name].into_iter().flatten().count();
        if given != 1 {
            rules.fault(
                "BP-C042",
                &["network", name, "bond", &index.to_string()],
                format!("member {} of the bond `network.{name}` gives {given} of `mac`, `pci` and `name`", index + 1),
                "A member is one device, known by one of these.",
                "Give exactly one.",
            );
        }
        if member.name.as_ref().is_some_and(|name| name.contains(['*', '?'])) {
            rules.fault(
                "BP-C042",
                &["network", name, "bond", &index.to_string()],
                format!("member {} of the bond `network.{name}` is a pattern", index + 1),
                "A member is one device; a pattern may match several, or those of another member.",
                "Write the kernel's whole name, or use `mac` or `pci`.",
            );
        }
    }
}

fn mtu(rules: &mut Rules<'_>, name: &str, interface: &Interface) {
    let Some(below) = interface.on.as_ref().and_then(|on| rules.config().network.get(on)) else { return };
    let (Some(mtu), carried) = (interface.mtu, below.mtu.unwrap_or(1500)) else { return };
    if mtu > carried {
        rules.fault(
            "BP-C045",
            &["network", name, "mtu"],
            format!("the MTU of `network.{name}` is {mtu}, that of the interface it is on is {carried}"),
            "Frames larger than the carrier's would be dropped.",
            "Lower it, or raise the carrier's `mtu`.",
        );
    }
}

fn addresses(rules: &mut Rules<'_>, name: &str, interface: &Interface) {
    let config = rules.config();
    let own = config.address.get(name).and_then(|text| units::parse_cidr(text));
    if let Some((address, length)) = own {
        if interface.dhcp {
            rules.fault(
                "BP-C046",
                &["address", name],
                format!("`network.{name}` takes its address by DHCP and has a static one"),
                "Which of them the node is reached by would depend on which comes first.",
                "Take `dhcp = true` or the address out (`dhcp = false` in the machine overrides a profile).",
            );
        }
        if is_no_host(address, length) {
            rules.fault(
                "BP-C052",
                &["address", name],
                format!("{address}/{length} is not the address of a machine"),
                "It is the address of the network itself, its broadcast address, or of no network at all.",
                "Write the machine's own address and the network's prefix length, such as \"10.0.7.11/24\".",
            );
        }
    }
    let Some(gateway) = interface.gateway else { return };
    let path = ["network", name, "gateway"];
    match own {
        None => rules.fault(
            "BP-C044",
            &path,
            format!("`network.{name}` has a gateway, but no static address"),
            "By DHCP the gateway comes with the address; without an address there is nothing to route.",
            "Add `address.NAME = \"...\"` to the machine, or take the gateway out.",
        ),
        Some((address, _)) if address == gateway => rules.fault(
            "BP-C044",
            &path,
            format!("the gateway of `network.{name}` is this machine's own address"),
            "A machine is not its own way out.",
            "Write the router's address.",
        ),
        Some((address, length)) if !units::same_network(address, gateway, length) && !is_link_local(gateway) => rules
            .fault(
                "BP-C044",
                &path,
                format!("the gateway {gateway} of `network.{name}` is not in the network of {address}/{length}"),
                "A gateway must be reached without a gateway.",
                "Correct the gateway, the address or its prefix length.",
            ),
        Some(_) => {}
    }
}

fn gateways(rules: &mut Rules<'_>) {
    let mut first: BTreeMap<bool, &str> = BTreeMap::new();
    for (name, interface) in &rules.config().network {
        let Some(gateway) = interface.gateway else { continue };
        if let Some(other) = first.insert(gateway.is_ipv4(), name) {
            rules.fault(
                "BP-C050",
                &["network", name, "gateway"],
                format!("`network.{other}` and `network.{name}` both have a default gateway"),
                "There is one way out; which of two is taken would be a guess.",
                "Keep one of them.",
            );
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The network's own address, its broadcast address, loopback, multicast or unspecified.
fn is_no_host(address: IpAddr, length: u8) -> bool {
    let odd = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    odd || match address {
        IpAddr::V4(v4) if length < 31 => {
            let host = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
            let bits = u32::from(v4) & host;
            bits == 0 || bits == host
        }
        _ => false,
    }
}
