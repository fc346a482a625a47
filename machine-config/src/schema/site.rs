//! Site, cluster, machines, profiles.

use super::{Array, Each, Interface, Storage, System};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The whole site file, as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Site {
    /// Format of this file; this version reads 1.
    pub format: u32,
    /// Counts up with every change. A node never goes back to a lower one.
    pub revision: u64,
    /// The cluster these machines belong to.
    pub cluster: Cluster,
    /// Machines by name.
    #[serde(default)]
    pub machine: BTreeMap<String, MachineEntry>,
    /// Parts that several machines share.
    #[serde(default)]
    pub profile: BTreeMap<String, Profile>,
}

/// The cluster: its minted identity and how a node reaches it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cluster {
    /// Random, minted once (`bedplate config new` or `uuidgen`). Names are for people, this is the identity.
    pub id: Uuid,
    /// Name for people.
    pub name: String,
    /// API server endpoints, `https://host:port`, tried in order.
    pub api: Vec<String>,
    /// DNS domain of services.
    #[serde(default = "default_domain")]
    pub domain: String,
    /// Address of the cluster's DNS service.
    #[serde(default)]
    pub dns: Vec<std::net::IpAddr>,
    /// Machines that are control-plane members. Reserved: forming a cluster is not done by this version.
    #[serde(default)]
    pub control_plane: Vec<String>,
}

fn default_domain() -> String {
    "cluster.local".into()
}

/// One machine: how it is recognised, which profiles it takes, and what is its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MachineEntry {
    /// Facts that single this machine out; all that are given must hold.
    #[serde(rename = "match")]
    pub matches: Match,
    /// Profiles, merged left to right, later wins; the machine's own keys win over all.
    #[serde(default)]
    pub profiles: Vec<String>,
    /// Static addresses by interface name, in CIDR notation.
    #[serde(default)]
    pub address: BTreeMap<String, String>,
    /// What a profile may say, for this machine alone.
    #[serde(flatten)]
    pub own: Profile,
}

/// Facts a machine is recognised by. Placeholder values (zeros, "To be filled by O.E.M.") match nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Match {
    /// SMBIOS system (chassis) serial number.
    pub serial: Option<String>,
    /// SMBIOS system UUID.
    pub uuid: Option<Uuid>,
    /// MAC address of any of its network interfaces.
    pub mac: Option<String>,
}

/// A part of a machine's configuration that can be shared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// Network interfaces by name.
    #[serde(default)]
    pub network: BTreeMap<String, Interface>,
    /// The disk that holds image and state.
    pub system: Option<System>,
    /// One file system on each disk of a selection.
    #[serde(default)]
    pub each: BTreeMap<String, Each>,
    /// RAID arrays by name.
    #[serde(default)]
    pub array: BTreeMap<String, Array>,
    /// What the Kubernetes node carries.
    #[serde(default)]
    pub node: Node,
    /// Clock.
    #[serde(default)]
    pub time: Time,
}

/// What the Kubernetes node object carries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Node {
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Taints at registration.
    #[serde(default)]
    pub taints: Vec<Taint>,
    /// Pod network of this node in CIDR notation; without it the one the cluster assigns is used.
    pub pod_cidr: Option<String>,
}

/// One taint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value, may be empty.
    #[serde(default)]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// Clock.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Time {
    /// NTP servers.
    #[serde(default)]
    pub servers: Vec<String>,
}

/// One machine's configuration after matching and merging: what the agent acts on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineConfig {
    /// The machine's name; the node's name.
    pub name: String,
    /// Revision of the site file it came from.
    pub revision: u64,
    /// The cluster.
    pub cluster: Cluster,
    /// Interfaces by name.
    pub network: BTreeMap<String, Interface>,
    /// Static addresses by interface name, CIDR.
    pub address: BTreeMap<String, String>,
    /// Disks.
    pub storage: Storage,
    /// Labels, taints, pod network.
    pub node: Node,
    /// Clock.
    pub time: Time,
}
