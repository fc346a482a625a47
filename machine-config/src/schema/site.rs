//! Site, cluster, machines, profiles.

use super::{Array, Each, Group, Interface, Storage, System, text};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The whole site file, as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Site {
    /// Format of this file; this version reads 1.
    pub format: u32,
    /// Counts up with every change. A node never goes back to a lower one.
    pub revision: u64,
    /// The cluster these machines belong to.
    pub cluster: Cluster,
    /// Machines by name; the name is the node's name in the cluster.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "dns-label" }))]
    pub machine: BTreeMap<String, MachineEntry>,
    /// Parts that several machines share, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "dns-label" }))]
    pub profile: BTreeMap<String, Part>,
}

/// The cluster: its minted identity and how a node reaches it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cluster {
    /// Random, minted once (`uuidgen`). Names are for people, this is the identity.
    pub id: Uuid,
    /// Name for people.
    #[schemars(extend("format" = "dns-label"))]
    pub name: String,
    /// API server endpoints, `https://host:port`, tried in order.
    #[schemars(with = "Vec<text::Endpoint>", extend("minItems" = 1))]
    pub api: Vec<String>,
    /// DNS domain of services.
    #[serde(default = "default_domain")]
    #[schemars(extend("format" = "dns-name"))]
    pub domain: String,
    /// Addresses of the cluster's DNS service.
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
///
/// Beside these keys it takes every key of a profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    pub own: Part,
}

/// The keys of [`MachineEntry`] that a profile does not have, for the schema: serde can't refuse unknown keys
/// beside a flattened field, so the entry's schema is put together by hand.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(dead_code, reason = "only its schema is used")]
struct MachineKeys {
    /// Facts that single this machine out; all that are given must hold.
    #[serde(rename = "match")]
    matches: Match,
    /// Profiles, merged left to right, later wins; the machine's own keys win over all.
    #[serde(default)]
    profiles: Vec<String>,
    /// Static addresses by interface name, in CIDR notation.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, text::Cidr>")]
    address: BTreeMap<String, String>,
}

impl JsonSchema for MachineEntry {
    fn schema_name() -> Cow<'static, str> {
        "MachineEntry".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = MachineKeys::json_schema(generator);
        let part = Part::json_schema(generator);
        let own = part.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        if let Some(Value::Object(keys)) = schema.get_mut("properties") {
            keys.extend(own);
        }
        schema.insert(
            "description".into(),
            "One machine: how it is recognised, which profiles it takes, and what is its own.".into(),
        );
        schema
    }
}

/// A part of a [`Profile`], as written: merging puts parts together before anything is asked of the whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Part(pub toml::Table);

impl JsonSchema for Part {
    fn schema_name() -> Cow<'static, str> {
        "Part".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        });
        let mut schema = settings.into_generator().into_root_schema_for::<Profile>();
        schema.remove("title");
        if let Some(object) = schema.as_object_mut() {
            object.values_mut().for_each(nothing_required);
            object.remove("required");
        }
        schema
    }
}

/// Takes the required keys out of a schema, but for those of list elements: lists are replaced whole.
fn nothing_required(schema: &mut Value) {
    if let Value::Object(object) = schema {
        if object.get("required").is_some_and(Value::is_array) {
            object.remove("required");
        }
        object.iter_mut().filter(|(key, _)| *key != "items").for_each(|(_, inner)| nothing_required(inner));
    }
}

/// Facts a machine is recognised by. Placeholder values (zeros, "To be filled by O.E.M.") match nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Match {
    /// SMBIOS system (chassis) serial number.
    pub serial: Option<String>,
    /// SMBIOS system UUID.
    pub uuid: Option<Uuid>,
    /// MAC address of any of its network interfaces.
    #[schemars(extend("format" = "mac"))]
    pub mac: Option<String>,
}

/// A part of a machine's configuration that can be shared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// Network interfaces by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "dns-label" }))]
    pub network: BTreeMap<String, Interface>,
    /// The disk that holds image and state.
    pub system: Option<System>,
    /// One file system on each disk of a selection.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "dns-label" }))]
    pub each: BTreeMap<String, Each>,
    /// RAID arrays by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "dns-label" }))]
    pub array: BTreeMap<String, Array>,
    /// Volume groups (LVM) by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "dns-label" }))]
    pub group: BTreeMap<String, Group>,
    /// What the Kubernetes node carries.
    #[serde(default)]
    pub node: Node,
    /// Clock.
    #[serde(default)]
    pub time: Time,
}

/// What the Kubernetes node object carries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Node {
    /// Labels of the node object.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, text::LabelValue>", extend("propertyNames" = { "format": "label-key" }))]
    pub labels: BTreeMap<String, String>,
    /// Taints at registration.
    #[serde(default)]
    pub taints: Vec<Taint>,
    /// Pod network of this node in CIDR notation; without it the one the cluster assigns is used.
    #[schemars(extend("format" = "cidr"))]
    pub pod_cidr: Option<String>,
}

/// One taint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Taint {
    /// Key.
    #[schemars(extend("format" = "label-key"))]
    pub key: String,
    /// Value, may be empty.
    #[serde(default)]
    #[schemars(extend("format" = "label-value"))]
    pub value: String,
    /// What it does to pods that do not tolerate it.
    #[schemars(extend("enum" = ["NoSchedule", "PreferNoSchedule", "NoExecute"]))]
    pub effect: String,
}

/// Clock.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Time {
    /// NTP servers.
    #[serde(default)]
    #[schemars(with = "Vec<text::Host>")]
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
