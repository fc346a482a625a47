//! Network interfaces: plain, VLAN, bond; DHCP or static.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One interface. Exactly one of `mac`, `pci`, `name`, `vlan` with `on`, or `bond` says what it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Interface {
    /// A physical interface by MAC address.
    #[schemars(extend("format" = "mac"))]
    pub mac: Option<String>,
    /// A physical interface by PCI address.
    #[schemars(extend("format" = "pci"))]
    pub pci: Option<String>,
    /// A physical interface by kernel name pattern (`en*`).
    #[schemars(extend("format" = "interface-pattern"))]
    pub name: Option<String>,
    /// VLAN id (IEEE 802.1Q), on the interface named by `on`.
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<u16>,
    /// The interface a VLAN is on.
    pub on: Option<String>,
    /// Members of a bond.
    #[serde(default)]
    pub bond: Vec<Member>,
    /// Mode of the bond.
    pub mode: Option<BondMode>,
    /// MTU in bytes; without it the driver's.
    #[schemars(range(min = 576, max = 65535))]
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
    #[schemars(extend("format" = "mac"))]
    pub mac: Option<String>,
    /// By PCI address.
    #[schemars(extend("format" = "pci"))]
    pub pci: Option<String>,
    /// By kernel name.
    #[schemars(extend("format" = "interface-pattern"))]
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
