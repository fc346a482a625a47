//! What of a recipe says whom a machine's firmware trusts, and what is signed for some machines alone.

use crate::digest::Sha256;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use uuid::Uuid;

/// Somebody else's certificate that the firmware is to trust, such as the one that option ROMs are signed under.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VendorCertificate {
    /// Its file, X.509 in DER or PEM.
    pub certificate: PathBuf,
    /// Digest of the file.
    pub sha256: Sha256,
    /// GUID that the vendor goes by in key databases.
    pub owner: Uuid,
    /// Where it is put: `db`, whose certificates let programs start, or `KEK`, whose let `db` and `dbx` be changed.
    #[serde(default = "db_alone")]
    pub variables: Vec<VendorVariable>,
}

/// A key database that vendors' certificates can be put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum VendorVariable {
    /// Who may change `db` and `dbx`.
    #[serde(rename = "KEK")]
    Kek,
    /// Whose programs start.
    #[serde(rename = "db")]
    Db,
}

fn db_alone() -> Vec<VendorVariable> {
    vec![VendorVariable::Db]
}

impl VendorVariable {
    /// Its name in the firmware.
    pub fn name(self) -> &'static str {
        match self {
            VendorVariable::Kek => "KEK",
            VendorVariable::Db => "db",
        }
    }
}

/// When an image brings its keys into the firmware.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Enrol {
    /// Never: a person does, from the release's `secure-boot` folder.
    #[default]
    Never,
    /// At a start in setup mode, which is where firmware is whose platform key somebody took out.
    SetupMode,
}

/// Arguments behind the signed command line on some models of server, signed as well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Addon {
    /// Name; becomes the file `NAME.addon.efi`.
    pub name: String,
    /// The models it is for.
    #[serde(rename = "match")]
    pub matches: AddonMatch,
    /// The arguments.
    pub arguments: Vec<String>,
}

/// Models of server by what SMBIOS says; `*` is any text, `?` any character.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AddonMatch {
    /// Maker (`/sys/class/dmi/id/sys_vendor`).
    pub vendor: Option<String>,
    /// Model (`/sys/class/dmi/id/product_name`).
    pub product: Option<String>,
}
