//! SHA-256 digests: the names of everything the builder handles.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

/// A SHA-256 digest (FIPS 180-4), written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Digest of these bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> Sha256 {
        Sha256(<sha2::Sha256 as sha2::Digest>::digest(bytes.as_ref()).into())
    }

    /// Digest of everything the reader gives, and how many bytes that were.
    ///
    /// # Errors
    /// As the reader.
    pub fn of_reader(mut reader: impl Read) -> io::Result<(Sha256, u64)> {
        let mut hasher = <sha2::Sha256 as sha2::Digest>::new();
        let size = io::copy(&mut reader, &mut hasher)?;
        Ok((Sha256::from_hasher(hasher), size))
    }

    /// The digest a hasher has come to.
    pub fn from_hasher(hasher: sha2::Sha256) -> Sha256 {
        Sha256(<sha2::Sha256 as sha2::Digest>::finalize(hasher).into())
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Sha256 {
    fn from(bytes: [u8; 32]) -> Self {
        Sha256(bytes)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Sha256 {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| format!("{text:?} is not a SHA-256 digest; expected 64 hexadecimal digits"))?;
        Ok(Sha256(bytes))
    }
}

impl schemars::JsonSchema for Sha256 {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sha256".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "sha256" })
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for Sha256 {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A SHA-256 digest as OCI writes it, `sha256:` and the digits (Image Format Specification 1.1, Content Descriptors,
/// "Digests"). Other algorithms are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct OciDigest(pub Sha256);

impl fmt::Display for OciDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl From<OciDigest> for String {
    fn from(digest: OciDigest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for OciDigest {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.strip_prefix("sha256:").and_then(|digits| digits.parse().ok());
        digits
            .map(OciDigest)
            .ok_or_else(|| format!("{text:?} is not a digest of an image; expected sha256: and 64 hexadecimal digits"))
    }
}

impl schemars::JsonSchema for OciDigest {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OciDigest".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" })
    }
}
