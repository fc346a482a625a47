//! Encryption of what volumes hold, and the secrets that open them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What opens an encrypted volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encrypt {
    /// The passphrase that the machine's bundle brings.
    Passphrase,
    /// The machine's TPM, under releases that the same key signed; and a recovery key.
    Tpm,
}

/// What opens a machine's encrypted volumes: the passphrase of its bundle, or its recovery key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Passphrase(String);

impl Passphrase {
    /// The fewest characters. One that is drawn at random has as many for 80 bits; one that people made up is worth less.
    pub const LEAST: usize = 16;

    /// A passphrase as it was written. White space around it, such as the end of a line, is not a part of it.
    pub fn new(written: &str) -> Passphrase {
        Passphrase(written.trim().to_owned())
    }

    /// Its bytes, for what opens volumes, and for nothing that shows or keeps them.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether it can be told apart from others, and is long enough not to be tried out.
    pub fn is_good(&self) -> bool {
        self.0.chars().count() >= Self::LEAST && self.0.trim() == self.0 && !self.0.contains(char::is_control)
    }
}

/// The file on a volume labelled `BEDPLATE` in which a machine's recovery key is found.
pub fn recovery_file(machine: &str) -> String {
    format!("{machine}.recovery")
}

/// A debug print must not leak it.
impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(secret)")
    }
}
