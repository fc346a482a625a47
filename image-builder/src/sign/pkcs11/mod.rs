//! Signers whose keys lie on a token: an HSM, a smart card, SoftHSM. PKCS#11 3.1.
//!
//! Guarantees: a private key never leaves its token; no PIN stands in a recipe; what a token gives back is checked
//! against the public key before it is used, so that a wrong key can't sign a release.

mod uri;

pub use uri::Uri;

use super::{ReleaseSigner, Signer};
use anyhow::{Context, Result, anyhow, bail, ensure};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use machine_config::signature::PublicKey;
use rsa::RsaPublicKey;
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::pkcs8::DecodePublicKey;
use rsa::signature::Verifier;
use rsa::traits::PublicKeyParts;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use x509_cert::Certificate;
use x509_cert::der::{DecodePem, Encode};

/// Variable with the PIN, where no `pin-source` names a file.
pub const PIN: &str = "BEDPLATE_PKCS11_PIN";

/// A module may be initialised once in a process, so each is opened once and stays.
static MODULES: LazyLock<Mutex<BTreeMap<PathBuf, Pkcs11>>> = LazyLock::new(Mutex::default);

/// A key on a token, ready to sign.
#[derive(Debug)]
struct TokenKey {
    session: Session,
    key: ObjectHandle,
    uri: Uri,
}

impl TokenKey {
    fn open(uri: Uri) -> Result<TokenKey> {
        let failed = format!("the signing key {uri} can't be used");
        TokenKey::find(uri).with_context(|| failed)
    }

    fn find(uri: Uri) -> Result<TokenKey> {
        let module = module(&uri.module)?;
        let slot = slot(&module, &uri)?;
        let session = module.open_ro_session(slot).context("the token opens no session")?;
        if module.get_token_info(slot)?.login_required() {
            let pin = pin(&uri)?;
            match session.login(UserType::User, Some(&AuthPin::new(pin.into()))) {
                // Whoever is logged in is so for all sessions of the process.
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(Error::Pkcs11(RvError::PinIncorrect, _)) => bail!("the token does not take this PIN"),
                Err(error) => return Err(error).context("the token lets nobody in"),
            }
        }
        let mut wanted = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
        wanted.extend(uri.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
        wanted.extend(uri.id.clone().map(Attribute::Id));
        let key = match session.find_objects(&wanted)?.as_slice() {
            [key] => *key,
            [] => bail!("the token has no such private key"),
            several => bail!("the token has {} such private keys; name one by its id too", several.len()),
        };
        Ok(TokenKey { session, key, uri })
    }

    fn sign(&self, mechanism: &Mechanism, data: &[u8]) -> Result<Vec<u8>> {
        self.session.sign(mechanism, self.key, data).with_context(|| format!("{} does not sign", self.uri))
    }
}

fn module(path: &Path) -> Result<Pkcs11> {
    let mut modules = MODULES.lock().map_err(|_| anyhow!("a thread that opened a token has failed"))?;
    if let Some(module) = modules.get(path) {
        return Ok(module.clone());
    }
    let module = Pkcs11::new(path).with_context(|| format!("the module {} can't be loaded", path.display()))?;
    let started = module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    started.with_context(|| format!("the module {} does not start", path.display()))?;
    modules.insert(path.to_owned(), module.clone());
    Ok(module)
}

fn slot(module: &Pkcs11, uri: &Uri) -> Result<Slot> {
    let mut fitting = Vec::new();
    let mut seen = Vec::new();
    for slot in module.get_slots_with_initialized_token().context("the module tells no tokens")? {
        let info = module.get_token_info(slot)?;
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value.trim_end());
        if is(&uri.token, info.label()) && is(&uri.serial, info.serial_number()) {
            fitting.push(slot);
        }
        seen.push(format!("{:?} (serial {})", info.label().trim_end(), info.serial_number().trim_end()));
    }
    match (fitting.as_slice(), seen.as_slice()) {
        ([slot], _) => Ok(*slot),
        ([], []) => bail!("the module has no token"),
        ([], seen) => bail!("no such token is there, only {}", seen.join(", ")),
        _ => bail!("several tokens fit; name one by its serial: {}", seen.join(", ")),
    }
}

fn pin(uri: &Uri) -> Result<String> {
    if let Some(file) = &uri.pin_source {
        let text = std::fs::read_to_string(file);
        return Ok(text.with_context(|| format!("the PIN in {} can't be read", file.display()))?.trim_end().to_owned());
    }
    std::env::var(PIN)
        .ok()
        .with_context(|| format!("the token wants a PIN: name a file with pin-source in the URI, or set {PIN}"))
}

/// An RSA key on a token, and its certificate.
#[derive(Debug)]
pub struct TokenSigner {
    key: TokenKey,
    certificate: Certificate,
    public: RsaPublicKey,
}

impl TokenSigner {
    /// The key that `uri` names, whose certificate in PEM is `certificate`.
    ///
    /// # Errors
    /// When it can't be reached, or does not belong to the certificate.
    pub fn open(uri: Uri, certificate: &str) -> Result<TokenSigner> {
        let certificate = Certificate::from_pem(certificate).context("the certificate is no X.509 PEM")?;
        let spki = certificate.tbs_certificate.subject_public_key_info.to_der()?;
        let public = RsaPublicKey::from_public_key_der(&spki).context("the certificate is of no RSA key")?;
        ensure!(public.size() >= 256, "the certificate's key has fewer than 2048 bits");
        let key = TokenKey::open(uri)?;
        let attributes = key.session.get_attributes(key.key, &[AttributeType::Modulus])?;
        let own = attributes.iter().find_map(|a| match a {
            Attribute::Modulus(bytes) => Some(rsa::BigUint::from_bytes_be(bytes)),
            _ => None,
        });
        // Some tokens don't tell; then the first signature does.
        ensure!(
            own.is_none_or(|own| own == *public.n()),
            "the signing key {} does not belong to the certificate {}",
            key.uri,
            certificate.tbs_certificate.subject
        );
        Ok(TokenSigner { key, certificate, public })
    }
}

impl Signer for TokenSigner {
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }
    fn sign_pkcs1_sha256(&self, data: &[u8]) -> Result<Vec<u8>> {
        let signature = self.key.sign(&Mechanism::Sha256RsaPkcs, data)?;
        let holds = Signature::try_from(signature.as_slice())
            .and_then(|s| VerifyingKey::<sha2::Sha256>::new(self.public.clone()).verify(data, &s));
        holds.ok().with_context(|| format!("what {} signs does not fit its certificate", self.key.uri))?;
        Ok(signature)
    }
}

/// An Ed25519 key on a token, and its public key.
#[derive(Debug)]
pub struct TokenReleaseSigner {
    key: TokenKey,
    public: PublicKey,
}

impl TokenReleaseSigner {
    /// The key that `uri` names, which belongs to `public`.
    ///
    /// # Errors
    /// When it can't be reached.
    pub fn open(uri: Uri, public: PublicKey) -> Result<TokenReleaseSigner> {
        Ok(TokenReleaseSigner { key: TokenKey::open(uri)?, public })
    }
}

impl ReleaseSigner for TokenReleaseSigner {
    fn sign_detached(&self, data: &[u8]) -> Result<String> {
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
        let signature = self.key.sign(&mechanism, data)?;
        self.public
            .detached_line(data, &signature)
            .with_context(|| format!("what {} signs does not fit the public key {}", self.key.uri, self.public.name()))
    }
}
