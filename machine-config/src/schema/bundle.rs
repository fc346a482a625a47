//! The bundle: one machine's copy of the site file and just the secrets that machine needs.

use super::Passphrase;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is handed to one machine. Private: it carries keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bundle {
    /// Format of the bundle; this version reads 1.
    pub bundle: u32,
    /// The machine it is for. A node that is another machine refuses it.
    pub machine: String,
    /// The site file's text, with its own signature line if it has one.
    pub site: String,
    /// What opens the machine's encrypted volumes: at least 16 characters.
    pub disk_passphrase: Option<Passphrase>,
    /// How the machine authenticates to the cluster.
    pub join: Option<Join>,
}

/// Credentials to join with: a client certificate, or a bootstrap token.
#[derive(Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Join {
    /// The cluster's certificate authority, PEM.
    pub ca: String,
    /// Client certificate (`CN=system:node:NAME, O=system:nodes`), PEM.
    pub certificate: Option<String>,
    /// Its private key, PEM.
    pub key: Option<String>,
    /// Bootstrap token, `abcdef.0123456789abcdef`, in place of certificate and key.
    pub token: Option<String>,
    /// Client certificate and key of kube-proxy (`CN=system:kube-proxy`), PEM; without them it does not run.
    pub proxy_certificate: Option<String>,
    /// Its private key, PEM.
    pub proxy_key: Option<String>,
}

/// Says which credentials there are, never what they are: a debug print must not leak a key.
impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join")
            .field("certificate", &self.certificate.is_some())
            .field("token", &self.token.is_some())
            .field("proxy_certificate", &self.proxy_certificate.is_some())
            .finish_non_exhaustive()
    }
}
