//! Whose word a clear-signed text is (RFC 9580, section 7).
//!
//! One good signature by a key of the keyring is enough, as archives sign with the keys of several releases.
//! A key counts only if its own self signature holds, it is meant for signing, and it is neither expired nor
//! revoked; a subkey only if it is bound to its primary key in both directions. Nothing of the text is handed
//! on before that.

use pgp::composed::{CleartextSignedMessage, PublicOrSecret, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{Duration, KeyDetails, Tag, Timestamp};

/// The certificates that are trusted to sign.
#[derive(Debug, Clone)]
pub struct Keyring {
    certificates: Vec<SignedPublicKey>,
}

/// A text whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The text, with line ends `\n`.
    pub text: String,
    /// Fingerprint of the primary key of the certificate that signed it, in lower-case hexadecimal.
    pub fingerprint: String,
}

/// Why no signature counts. Completes "the signature of X ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a clear-signed message.
    #[error("can't be read: {0}")]
    Format(String),
    /// By a trusted key, but not over this text.
    #[error("is bad: key {0} of the keyring did not sign this text; the file was altered or cut on its way")]
    Bad(String),
    /// By a key whose time is over.
    #[error("is by key {0}, which expired at {1}")]
    KeyExpired(String, String),
    /// By a key that was called back.
    #[error("is by key {0}, which was revoked")]
    KeyRevoked(String),
    /// The signature's own time is over, or has not come.
    #[error("by key {0} does not hold now (signed {1}); check this machine's clock")]
    Time(String, String),
    /// By a key that may not sign.
    #[error("is by key {0}, which can't be relied on: {1}")]
    Unusable(String, String),
    /// By no key of the keyring.
    #[error("is by unknown keys only ({0}); the keyring has none of them")]
    UnknownKey(String),
}

impl Error {
    // Of several failed signatures, the one that tells most is reported.
    fn weight(&self) -> u8 {
        match self {
            Error::Bad(_) => 5,
            Error::KeyRevoked(_) => 4,
            Error::KeyExpired(..) => 3,
            Error::Time(..) => 2,
            Error::Unusable(..) => 1,
            Error::Format(_) | Error::UnknownKey(_) => 0,
        }
    }
}

impl Keyring {
    /// Reads a keyring: certificates one after the other, binary or armoured. Those that can't be read are left
    /// out; a signature that needs one is then by an unknown key.
    ///
    /// # Errors
    /// When there is not one certificate in it.
    pub fn parse(bytes: &[u8]) -> Result<Keyring, String> {
        let (found, _) = PublicOrSecret::from_reader_many(bytes).map_err(|e| e.to_string())?;
        let certificates: Vec<_> = found
            .filter_map(|key| match key {
                Ok(PublicOrSecret::Public(key)) => Some(key),
                _ => None,
            })
            .collect();
        if certificates.is_empty() {
            Err("there is no OpenPGP certificate in it".into())
        } else {
            Ok(Keyring { certificates })
        }
    }

    /// Checks a clear-signed message at the moment `now` (seconds since 1970).
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn verify(&self, message: &str, now: i64) -> Result<Signed, Error> {
        let (message, _) = CleartextSignedMessage::from_string(message).map_err(|e| Error::Format(e.to_string()))?;
        let text = message.signed_text();
        let mut worst: Option<Error> = None;
        let mut unknown = Vec::new();
        for signature in message.signatures() {
            match self.check(signature, text.as_bytes(), now) {
                Some(Ok(fingerprint)) => return Ok(Signed { text: text.replace("\r\n", "\n"), fingerprint }),
                Some(Err(error)) => {
                    if worst.as_ref().is_none_or(|w| w.weight() < error.weight()) {
                        worst = Some(error);
                    }
                }
                None => unknown.push(issuer(signature)),
            }
        }
        Err(worst.unwrap_or_else(|| Error::UnknownKey(unknown.join(", "))))
    }

    /// None when no key of the ring made it.
    fn check(&self, signature: &Signature, text: &[u8], now: i64) -> Option<Result<String, Error>> {
        let mut result = None;
        for certificate in &self.certificates {
            let primary = &certificate.primary_key;
            let name = primary.fingerprint().to_string();
            let checked = if names(signature, primary) {
                check_primary(certificate, now).and_then(|()| check_text(signature, primary, &name, text, now))
            } else if let Some(subkey) = certificate.public_subkeys.iter().find(|s| names(signature, &s.key)) {
                check_primary(certificate, now)
                    .and_then(|()| check_subkey(certificate, subkey, now))
                    .and_then(|()| check_text(signature, &subkey.key, &name, text, now))
            } else {
                continue;
            };
            match checked {
                Ok(()) => return Some(Ok(name)),
                // A ring may hold a key twice, an older copy of it expired.
                Err(error) => result = Some(Err(error)),
            }
        }
        result
    }
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|f| f.to_string());
    fingerprint
        .or_else(|| signature.issuer_key_id().first().map(|id| id.to_string()))
        .unwrap_or_else(|| "one without a name".into())
}

fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        return signature.issuer_key_id().into_iter().any(|id| *id == key.legacy_key_id());
    }
    fingerprints.into_iter().any(|f| *f == key.fingerprint())
}

fn check_text(
    signature: &Signature,
    key: &impl pgp::types::VerifyingKey,
    name: &str,
    text: &[u8],
    now: i64,
) -> Result<(), Error> {
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(Error::Unusable(name.into(), "its signature is of a type that is not for texts".into()));
    }
    if !is_strong(signature) {
        return Err(Error::Unusable(name.into(), "its signature uses a broken hash function".into()));
    }
    signature.verify(key, text).map_err(|_| Error::Bad(name.into()))?;
    let made = signature.created().map_or(0, seconds);
    let over = signature.signature_expiration_time().map_or(0, length);
    // A day's grace, for machines that come up before their clock is set.
    if made > now + 86400 || (over > 0 && made + over <= now) {
        return Err(Error::Time(name.into(), super::release::show_moment(made)));
    }
    Ok(())
}

fn is_strong(signature: &Signature) -> bool {
    matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    )
}

fn check_primary(certificate: &SignedPublicKey, now: i64) -> Result<(), Error> {
    let key = &certificate.primary_key;
    let name = key.fingerprint().to_string();
    let details = &certificate.details;
    if details.revocation_signatures.iter().any(|s| s.verify_key(key).is_ok()) {
        return Err(Error::KeyRevoked(name));
    }
    let on_users = details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(move |s| {
            s.typ() != Some(SignatureType::CertRevocation) && s.verify_certification(key, Tag::UserId, &user.id).is_ok()
        })
    });
    let direct = details.direct_signatures.iter().filter(|s| s.verify_key(key).is_ok());
    let Some(newest) = newest(on_users.chain(direct), now) else {
        return Err(Error::Unusable(name, "it has no self signature that holds".into()));
    };
    check_expiry(newest, key.created_at(), &name, now)
}

fn check_subkey(certificate: &SignedPublicKey, subkey: &SignedPublicSubKey, now: i64) -> Result<(), Error> {
    let primary = &certificate.primary_key;
    let name = primary.fingerprint().to_string();
    let holds = |s: &&Signature| s.verify_subkey_binding(primary, &subkey.key).is_ok();
    let of_type = |wanted| subkey.signatures.iter().filter(move |s| s.typ() == Some(wanted));
    if of_type(SignatureType::SubkeyRevocation).any(|s| holds(&s)) {
        return Err(Error::KeyRevoked(format!("{} of {name}", subkey.key.fingerprint())));
    }
    let Some(newest) = newest(of_type(SignatureType::SubkeyBinding).filter(holds), now) else {
        return Err(Error::Unusable(name, "its subkey is not bound to it".into()));
    };
    // Without the signature back, anybody could claim another's signing key for a subkey (RFC 9580, 5.2.1.9).
    let back = newest.embedded_signature().is_some_and(|s| s.verify_primary_key_binding(&subkey.key, primary).is_ok());
    if !newest.key_flags().sign() || !back {
        return Err(Error::Unusable(name, "its subkey is not for signing".into()));
    }
    check_expiry(newest, subkey.key.created_at(), &name, now)
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>, now: i64) -> Option<&'a Signature> {
    signatures
        .filter(|s| s.created().is_some_and(|t| seconds(t) <= now + 86400))
        .max_by_key(|s| s.created().map(seconds))
}

fn check_expiry(self_signature: &Signature, created: Timestamp, name: &str, now: i64) -> Result<(), Error> {
    let length = self_signature.key_expiration_time().map_or(0, length);
    let end = seconds(created) + length;
    if length > 0 && end <= now {
        return Err(Error::KeyExpired(name.into(), super::release::show_moment(end)));
    }
    Ok(())
}

fn seconds(moment: Timestamp) -> i64 {
    i64::from(moment.as_secs())
}

fn length(duration: Duration) -> i64 {
    i64::from(duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with GnuPG at 2026-01-01: `good` signs by a subkey, `expiring` holds for ten days, `revoked` is, and
    // `stranger` is not in the keyring.
    const KEYRING: &[u8] = include_bytes!("fixtures/signature/keyring.asc");
    const GOOD: &str = include_str!("fixtures/signature/good.asc");
    const EXPIRING: &str = include_str!("fixtures/signature/expiring.asc");
    const REVOKED: &str = include_str!("fixtures/signature/revoked.asc");
    const STRANGER: &str = include_str!("fixtures/signature/stranger.asc");
    const TWO: &str = include_str!("fixtures/signature/two.asc");
    const WEAK: &str = include_str!("fixtures/signature/weak.asc");
    /// 2026-01-02.
    const NEXT_DAY: i64 = 1_767_312_000;

    fn verify(message: &str, now: i64) -> Result<Signed, Error> {
        Keyring::parse(KEYRING).unwrap().verify(message, now)
    }

    #[test]
    fn a_good_signature_gives_the_text_unescaped() {
        let signed = verify(GOOD, NEXT_DAY).unwrap();
        assert_eq!(signed.text, "Origin: Example\n- dashed line\n-----\nSuite: trixie\n\nlast");
        assert_eq!(signed.fingerprint.len(), 40);
        // Another machine's line ends change nothing.
        assert_eq!(verify(&GOOD.replace('\n', "\r\n"), NEXT_DAY).unwrap(), signed);
    }

    #[test]
    fn one_good_signature_of_several_is_enough() {
        assert!(verify(TWO, NEXT_DAY).is_ok());
        assert!(matches!(verify(STRANGER, NEXT_DAY), Err(Error::UnknownKey(_))));
    }

    #[test]
    fn an_altered_text_is_bad() {
        assert!(matches!(verify(&GOOD.replace("Example", "Exampel"), NEXT_DAY), Err(Error::Bad(_))));
        assert!(matches!(verify(&TWO.replace("trixie", "sid"), NEXT_DAY), Err(Error::Bad(_))));
    }

    #[test]
    fn what_stands_before_or_after_the_message_is_refused() {
        assert!(matches!(verify(&format!("Suite: sid\n\n{GOOD}"), NEXT_DAY), Err(Error::Format(_))));
        assert!(matches!(verify(&format!("{GOOD}\nSuite: sid\n"), NEXT_DAY), Err(Error::Format(_))));
        assert!(matches!(verify("Suite: sid\n", NEXT_DAY), Err(Error::Format(_))));
    }

    #[test]
    fn a_key_counts_only_in_its_time() {
        assert!(verify(EXPIRING, NEXT_DAY).is_ok());
        let error = verify(EXPIRING, NEXT_DAY + 10 * 86400).unwrap_err();
        assert!(matches!(&error, Error::KeyExpired(_, at) if at.starts_with("2026-01-11 00:00")), "{error}");
        // Made in what is the future then.
        assert!(verify(GOOD, NEXT_DAY - 30 * 86400).is_err());
    }

    #[test]
    fn a_revoked_key_never_counts() {
        assert!(matches!(verify(REVOKED, NEXT_DAY), Err(Error::KeyRevoked(_))));
    }

    #[test]
    fn a_broken_hash_function_never_counts() {
        assert!(matches!(verify(WEAK, NEXT_DAY), Err(Error::Unusable(_, why)) if why.contains("hash function")));
    }

    #[test]
    fn a_keyring_without_keys_is_none() {
        assert!(Keyring::parse(b"").is_err() && Keyring::parse(GOOD.as_bytes()).is_err());
    }
}
