//! The part of CycloneDX 1.6 that a bill of materials here is made of, as types.
//!
//! Format: <https://cyclonedx.org/docs/1.6/json/>.

use super::licence::Licence;
use crate::digest::Sha256;
use serde::Serialize;

/// The document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    pub bom_format: &'static str,
    pub spec_version: &'static str,
    /// `urn:uuid:...`, from the digest of everything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    pub version: u32,
    pub metadata: Metadata,
    pub components: Vec<Component>,
    pub dependencies: Vec<Dependency>,
    pub compositions: Vec<Composition>,
}

#[derive(Debug, Serialize)]
pub(super) struct Metadata {
    /// RFC 3339.
    pub timestamp: String,
    pub lifecycles: Vec<Lifecycle>,
    pub tools: Tools,
    pub component: Component,
}

#[derive(Debug, Serialize)]
pub(super) struct Lifecycle {
    pub phase: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct Tools {
    pub components: Vec<Component>,
}

/// A piece of software. Two with one reference are the same.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Component {
    #[serde(rename = "type")]
    pub kind: &'static str,
    #[serde(rename = "bom-ref", skip_serializing_if = "String::is_empty")]
    pub reference: String,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub licenses: Vec<LicenseChoice>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub purl: String,
    #[serde(rename = "externalReferences", skip_serializing_if = "Vec::is_empty")]
    pub external_references: Vec<ExternalReference>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Hash {
    alg: &'static str,
    content: Sha256,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct LicenseChoice {
    license: License,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
enum License {
    Id(String),
    Name(String),
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct ExternalReference {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub url: String,
    pub hashes: Vec<Hash>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Property {
    name: &'static str,
    value: String,
}

/// Where in the image it was found.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Evidence {
    pub occurrences: Vec<Occurrence>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Occurrence {
    pub location: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Dependency {
    #[serde(rename = "ref")]
    pub reference: String,
    pub depends_on: Vec<String>,
}

/// How complete the document is about some of its components.
#[derive(Debug, Serialize)]
pub(super) struct Composition {
    pub aggregate: &'static str,
    pub assemblies: Vec<String>,
}

pub(super) fn sha256(digest: Sha256) -> Vec<Hash> {
    vec![Hash { alg: "SHA-256", content: digest }]
}

pub(super) fn property(name: &'static str, value: impl Into<String>) -> Property {
    Property { name, value: value.into() }
}

/// What nobody has told is said to be unknown, not left open.
pub(super) fn licenses(known: Option<impl IntoIterator<Item = Licence>>) -> Vec<LicenseChoice> {
    let choice = |licence| LicenseChoice {
        license: match licence {
            Licence::Spdx(id) => License::Id(id),
            Licence::Named(name) => License::Name(name),
        },
    };
    match known {
        Some(all) => all.into_iter().map(choice).collect(),
        None => vec![choice(Licence::Named("NOASSERTION".into()))],
    }
}
