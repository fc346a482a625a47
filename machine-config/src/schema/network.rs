//! Network interfaces: plain, VLAN, bond; DHCP or static.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One interface. Exactly one of `mac`, `pci`, `name`, `vlan` + `on`, `bond` says what it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Interface {
    /// A physical interface by MAC address.
    pub mac: Option<String>,
    /// A physical interface by PCI address.
    pub pci: Option<String>,
    /// A physical interface by kernel name pattern (`en*`).
    pub name: Option<String>,
    /// VLAN id, on the interface named by `on`.
    pub vlan: Option<u16>,
    /// The interface a VLAN is on.
    pub on: Option<String>,
    /// Members of a bond.
    #[serde(default)]
    pub bond: Vec<Member>,
    /// Mode of the bond.
    pub mode: Option<BondMode>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Take an address by DHCP.
    #[serde(default)]
    pub dhcp: bool,
    /// Default gateway.
    pub gateway: Option<IpAddr>,
    /// Name servers.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
}

/// A member of a bond.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Member {
    /// By MAC address.
    pub mac: Option<String>,
    /// By PCI address.
    pub pci: Option<String>,
    /// By kernel name.
    pub name: Option<String>,
}

/// Mode of a bond, in the kernel's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum BondMode {
    /// LACP.
    #[serde(rename = "802.3ad")]
    Lacp,
    /// One at a time.
    #[serde(rename = "active-backup")]
    ActiveBackup,
}
