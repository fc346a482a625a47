//! The signed envelope of a text, and the order of revisions.
//!
//! A signed text is the text and one last line,
//!
//! ```text
//! # bedplate-signature: <key name> <base64 of an Ed25519 signature over every byte before this line>
//! ```
//!
//! which TOML takes for a comment. [`Signed`] comes only from [`verify`]: who holds one has checked the bytes.
//! Ed25519 is RFC 8032; verification is strict (no small-order keys, no second encoding of a signature). Keys are
//! PKCS#8 PEM (private) and one line `bedplate-ed25519 <base64> <name>` (public).

use crate::Diagnostic;
use crate::document::Source;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fmt;

const PREFIX: &str = "# bedplate-signature: ";
const PUBLIC: &str = "bedplate-ed25519";

/// A key that signs configurations. Its name is a hint for people and for choosing a public key; it proves nothing.
pub struct PrivateKey {
    name: String,
    key: SigningKey,
}

/// A key that signed configurations are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

/// A text whose signature holds, or one that nobody asked to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<'t> {
    text: &'t str,
    by: Option<String>,
}

/// A key that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a private key.
    #[error("this is not an Ed25519 private key in PKCS#8 PEM; `bedplate keys new` makes one")]
    Private,
    /// Not a public key.
    #[error("this is not a config key; expected one line `{PUBLIC} <base64 of 32 bytes> <name>`")]
    Public,
    /// A name that can't stand in a line.
    #[error("{0:?} can't be a key's name; expected letters, digits, `.`, `_`, `@` and `-`")]
    Name(String),
}

impl PrivateKey {
    /// Reads PKCS#8 PEM.
    ///
    /// # Errors
    /// If it is no Ed25519 key, or the name can't be one.
    pub fn from_pem(pem: &str, name: &str) -> Result<PrivateKey, KeyError> {
        let key = SigningKey::from_pkcs8_pem(pem).map_err(|_| KeyError::Private)?;
        Ok(PrivateKey { name: checked_name(name)?, key })
    }

    /// The key of 32 random bytes.
    ///
    /// # Errors
    /// If the name can't be one.
    pub fn from_seed(seed: &[u8; 32], name: &str) -> Result<PrivateKey, KeyError> {
        Ok(PrivateKey { name: checked_name(name)?, key: SigningKey::from_bytes(seed) })
    }

    /// PKCS#8 PEM.
    ///
    /// # Errors
    /// Never for a key that was made here; the encoder's signature says so.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.key.to_pkcs8_pem(LineEnding::LF).map(|pem| pem.to_string()).map_err(|_| KeyError::Private)
    }

    /// A detached signature over bytes: one line `bedplate-ed25519 <base64 of 64 bytes> <name>`.
    pub fn sign_detached(&self, bytes: &[u8]) -> String {
        format!("{PUBLIC} {} {}\n", BASE64.encode(self.key.sign(bytes).to_bytes()), self.name)
    }

    /// The key to check with.
    pub fn public(&self) -> PublicKey {
        PublicKey { name: self.name.clone(), key: self.key.verifying_key() }
    }
}

impl PublicKey {
    /// Reads one line.
    ///
    /// # Errors
    /// If it is not of the form `bedplate-ed25519 <base64> <name>`.
    pub fn parse(line: &str) -> Result<PublicKey, KeyError> {
        let mut words = line.split_whitespace();
        let (Some(PUBLIC), Some(bytes), Some(name), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(KeyError::Public);
        };
        let bytes: [u8; 32] =
            BASE64.decode(bytes).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(KeyError::Public)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Public)?;
        if key.is_weak() {
            return Err(KeyError::Public);
        }
        Ok(PublicKey { name: checked_name(name)?, key })
    }

    /// Whether a line of [`PrivateKey::sign_detached`] is this key's signature over the bytes.
    pub fn verifies_detached(&self, bytes: &[u8], line: &str) -> bool {
        // The whole line is held to the one form it can have, so that no byte of it can change.
        let encoded = line.strip_prefix(PUBLIC).and_then(|rest| rest.strip_suffix(&format!(" {}\n", self.name)));
        let signature = encoded.and_then(|text| BASE64.decode(text.strip_prefix(' ')?).ok());
        let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
        signature.is_some_and(|s| self.key.verify_strict(bytes, &s).is_ok())
    }

    /// The line of [`PrivateKey::sign_detached`] for a signature of 64 bytes that was made elsewhere, by a token. None
    /// if it is not this key's over the bytes.
    pub fn detached_line(&self, bytes: &[u8], signature: &[u8]) -> Option<String> {
        let line = format!("{PUBLIC} {} {}\n", BASE64.encode(signature), self.name);
        self.verifies_detached(bytes, &line).then_some(line)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC} {} {}", BASE64.encode(self.key.as_bytes()), self.name)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.name)
    }
}

impl<'t> Signed<'t> {
    /// The text, signature line included.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// Name of the key whose signature holds; `None` if no keys were asked for.
    pub fn by(&self) -> Option<&str> {
        self.by.as_deref()
    }
}

/// The text with a signature line; one that is there is replaced.
pub fn sign(text: &str, key: &PrivateKey) -> String {
    let mut signed = match split(text) {
        Some((body, _)) => body.to_owned(),
        None => text.to_owned(),
    };
    if !signed.is_empty() && !signed.ends_with('\n') {
        signed.push('\n');
    }
    let signature = key.key.sign(signed.as_bytes());
    signed.push_str(&format!("{PREFIX}{} {}\n", key.name, BASE64.encode(signature.to_bytes())));
    signed
}

/// Checks that one of the keys has signed the text. Without any key every text passes, as signed by nobody.
///
/// # Errors
/// `BP-C070` unsigned, `BP-C071` signed by a key that is not among these, `BP-C072` altered since it was signed,
/// `BP-C074` a signature line that can't be read.
pub fn verify<'t>(text: &'t str, file: &str, keys: &[PublicKey]) -> Result<Signed<'t>, Diagnostic> {
    const AGAIN: &str = "Sign it: bedplate config sign FILE --key KEY";
    if keys.is_empty() {
        return Ok(Signed { text, by: None });
    }
    let by = verify_as("configuration", AGAIN, text, file, keys)?;
    Ok(Signed { text, by: Some(by) })
}

/// The name of the key whose signature over the text holds. `what` is what diagnostics call the text, `again` how a
/// person comes by a signed one. Without any key nothing passes.
///
/// # Errors
/// As [`verify`].
pub(crate) fn verify_as(
    what: &str,
    again: &str,
    text: &str,
    file: &str,
    keys: &[PublicKey],
) -> Result<String, Diagnostic> {
    let names: Vec<&str> = keys.iter().map(PublicKey::name).collect();
    let fault = |code: &str, what: String, at: usize, why: String, mend: &str| Diagnostic {
        code: code.into(),
        what,
        place: Some(Source::new(text, file).place(at)),
        why,
        mend: mend.into(),
    };
    let accepted = format!("This image takes only a {what} signed with {}.", names.join(" or "));
    let Some((body, line)) = split(text) else {
        return Err(fault("BP-C070", format!("this {what} is not signed"), text.len(), accepted, again));
    };
    let at = body.len();
    let parsed = line[PREFIX.len()..].split_once(' ').and_then(|(name, signature)| {
        let bytes = BASE64.decode(signature).ok()?;
        Some((checked_name(name).ok()?, Signature::from_slice(&bytes).ok()?))
    });
    let Some((name, signature)) = parsed else {
        let why = "Expected a key's name and a signature of 64 bytes in base64.".to_owned();
        return Err(fault("BP-C074", "the signature line can't be read".into(), at, why, again));
    };
    if let Some(key) = keys.iter().find(|key| key.key.verify_strict(body.as_bytes(), &signature).is_ok()) {
        return Ok(key.name.clone());
    }
    if names.contains(&name.as_str()) {
        let why = format!(
            "The signature by {name:?} does not hold for these bytes, with the key of that name that is in this image."
        );
        let what = format!("this {what} was altered after it was signed");
        return Err(fault("BP-C072", what, at, why, "Take the file as it was signed, or sign this one again."));
    }
    let what = format!("this {what} is signed with the key {name:?}, which this image does not know");
    Err(fault("BP-C071", what, at, accepted, again))
}

/// What is signed, and the signature line at the end.
fn split(text: &str) -> Option<(&str, &str)> {
    let trimmed = text.strip_suffix('\n').unwrap_or(text);
    let start = trimmed.rfind('\n').map_or(0, |newline| newline + 1);
    let line = &trimmed[start..];
    line.starts_with(PREFIX).then(|| (&text[..start], line))
}

fn checked_name(name: &str) -> Result<String, KeyError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'@' | b'-');
    if (1..=64).contains(&name.len()) && name.bytes().all(good) {
        Ok(name.into())
    } else {
        Err(KeyError::Name(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(seed: u8, name: &str) -> PrivateKey {
        PrivateKey::from_seed(&[seed; 32], name).expect("a key")
    }

    #[test]
    fn keys_are_written_and_read() {
        let private = key(7, "config");
        let again = PrivateKey::from_pem(&private.to_pem().expect("PEM"), "config").expect("reads");
        assert_eq!(again.public(), private.public());
        let line = private.public().to_string();
        assert!(line.starts_with("bedplate-ed25519 ") && line.ends_with(" config"), "{line}");
        assert_eq!(PublicKey::parse(&line), Ok(private.public()));
        assert_eq!(PublicKey::parse("bedplate-ed25519 AAAA config"), Err(KeyError::Public));
        let weak = format!("bedplate-ed25519 {} config", BASE64.encode([0u8; 32]));
        assert_eq!(PublicKey::parse(&weak), Err(KeyError::Public));
        assert!(PrivateKey::from_seed(&[1; 32], "two words").is_err());
    }

    #[test]
    fn the_known_answer() {
        // RFC 8032, section 7.1, test 1: the empty message.
        let seed: [u8; 32] = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
            0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        assert_eq!(
            sign("", &PrivateKey::from_seed(&seed, "k").expect("a key")),
            "# bedplate-signature: k 5VZDAMNgrHKQhuLMgG6CioSHfx64\
             5dl02HPgZSJJAVVfuIIVkKM7rMYeOXAc+bRr0lv18FlbviRlUUFDjnoQCw==\n"
        );
    }

    #[test]
    fn each_way_to_fail_has_its_code() {
        let text = "format = 1\nrevision = 3\n";
        let (ours, theirs, namesake) = (key(1, "config"), key(2, "other"), key(3, "config"));
        let keys = [ours.public()];
        let code = |text: &str| verify(text, "f", &keys).map_err(|fault| fault.code).map(|signed| signed.by);
        let signed = sign(text, &ours);
        assert_eq!(code(&signed), Ok(Some("config".into())));
        assert_eq!(code(text), Err("BP-C070".into()));
        assert_eq!(code(&sign(text, &theirs)), Err("BP-C071".into()));
        assert_eq!(code(&sign(text, &namesake)), Err("BP-C072".into()));
        assert_eq!(code(&signed.replace("revision = 3", "revision = 4")), Err("BP-C072".into()));
        assert_eq!(code(&format!("{signed}revision = 4\n")), Err("BP-C070".into()));
        assert_eq!(code(&format!("{text}# bedplate-signature: config AAAA\n")), Err("BP-C074".into()));
        assert_eq!(verify(text, "f", &[]).expect("no keys").by(), None);
        assert_eq!(sign(&sign(text, &theirs), &ours), signed, "a signature is replaced");
    }

    proptest! {
        #[test]
        fn every_text_can_be_signed_and_no_other_byte_passes(text in any::<String>(), at: prop::sample::Index, bit in 0u8..7) {
            let ours = key(1, "config");
            let keys = [ours.public()];
            let signed = sign(&text, &ours);
            prop_assert_eq!(verify(&signed, "f", &keys).map(|s| s.text().len()), Ok(signed.len()));
            let mut bytes = signed.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(altered) = String::from_utf8(bytes) {
                let end = signed.rfind(PREFIX).expect("a line");
                let name = end + PREFIX.len()..end + PREFIX.len() + "config".len();
                // The key's name is not signed, it proves nothing; nor is the line's end.
                if !name.contains(&at) && at < signed.len() - 1 {
                    prop_assert!(verify(&altered, "f", &keys).is_err());
                }
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), line in any::<String>()) {
            let keys = [key(1, "config").public()];
            let _ = verify(&text, "f", &keys);
            let _ = verify(&format!("{text}\n{PREFIX}{line}"), "f", &keys);
            let _ = PublicKey::parse(&line);
            let _ = PrivateKey::from_pem(&line, "config");
        }
    }
}
