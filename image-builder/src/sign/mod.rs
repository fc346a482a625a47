//! [`UnsignedUki`] -> [`Uki`], and the signature over a release.
//!
//! Guarantees: a private key is reached only through [`Signer`] and [`ReleaseSigner`], so that a token
//! ([`pkcs11`]) or a key service can stand in for a file; signatures are deterministic (RSA PKCS#1 v1.5, Ed25519) and carry no time.

pub mod authenticode;
pub mod carried;
pub mod enrolment;
pub mod file_key;
pub mod keys;
pub mod pkcs11;
mod pkcs7;

use crate::assemble::addon::UnsignedAddon;
use crate::assemble::{UnsignedFullUki, UnsignedUki, pcr};
use crate::digest::Sha256;
use anyhow::{Context, Result, anyhow};
use machine_config::signature::PrivateKey;
use on_disk::pe::{Image, NewSection};
use x509_cert::Certificate;

/// Whoever can sign with a private RSA key: a file, a PKCS#11 token, a key service.
pub trait Signer {
    /// The certificate of the key.
    fn certificate(&self) -> &Certificate;

    /// RSASSA-PKCS1-v1_5 with SHA-256 over `data` (RFC 8017, 8.2): equal data, equal signature.
    ///
    /// # Errors
    /// When the key can't be reached or used.
    fn sign_pkcs1_sha256(&self, data: &[u8]) -> Result<Vec<u8>>;
}

/// Whoever can sign releases with a private Ed25519 key (RFC 8032).
pub trait ReleaseSigner {
    /// The line of a detached signature over `data`, as [`PrivateKey::sign_detached`] writes it: equal data, equal
    /// line.
    ///
    /// # Errors
    /// When the key can't be reached or used.
    fn sign_detached(&self, data: &[u8]) -> Result<String>;
}

impl ReleaseSigner for PrivateKey {
    fn sign_detached(&self, data: &[u8]) -> Result<String> {
        Ok(PrivateKey::sign_detached(self, data))
    }
}

/// A UKI that firmware with the signer's certificate in `db` starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uki {
    image: Image,
    unsigned: Sha256,
}

impl Uki {
    /// The image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Digest of the image before it was signed.
    pub fn unsigned_digest(&self) -> Sha256 {
        self.unsigned
    }

    /// Holds the signed PCR policy, if there is one, against the UKI and the key that it names.
    ///
    /// # Errors
    /// When it is of another UKI or another key.
    pub fn check_policy(&self) -> Result<()> {
        if self.image.section(pcr::SIGNATURE).is_none() {
            return Ok(());
        }
        pcr::check(&self.image).map_err(|e| anyhow!("the UKI {e:#}; do pcr.key and pcr.crt belong together?"))
    }
}

/// An addon that firmware with the signer's certificate in `db` lets systemd-stub load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAddon {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub arguments: String,
    /// The image.
    pub image: Image,
    /// Digest of the image before it was signed.
    pub unsigned: Sha256,
}

/// Signs an addon.
///
/// # Errors
/// When the signer fails.
pub fn sign_addon(addon: &UnsignedAddon, signer: &dyn Signer) -> Result<SignedAddon> {
    let image = authenticode::sign(&addon.image, signer)?;
    let (name, arguments) = (addon.name.clone(), addon.arguments.clone());
    Ok(SignedAddon { name, arguments, image, unsigned: addon.digest() })
}

/// Signs a UKI: first what it leaves in the TPM, with `policy` if there is such a key, then the whole, with `signer`.
///
/// # Errors
/// When a signer fails.
pub fn sign(unsigned: &UnsignedUki, signer: &dyn Signer, policy: Option<&dyn Signer>) -> Result<Uki> {
    let mut image = unsigned.image().clone();
    if let Some(policy) = policy {
        let text = pcr::sign(&image, policy)?;
        let section = NewSection { name: pcr::SIGNATURE, data: text.as_bytes(), code: false };
        image = image.with_sections(&[section]).context("the UKI has no room for its PCR policy")?;
    }
    let image = authenticode::sign(&image, signer)?;
    Ok(Uki { image, unsigned: unsigned.digest() })
}

/// A full UKI and its signature, which are put together where the file is to lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullUki {
    /// The image before it was signed.
    pub unsigned: UnsignedFullUki,
    /// PKCS#7 `SignedData` over it.
    pub signature: Vec<u8>,
}

/// Signs a full UKI.
///
/// # Errors
/// When the signer fails.
pub fn sign_full(unsigned: UnsignedFullUki, signer: &dyn Signer) -> Result<FullUki> {
    let signature = authenticode::signed_data(unsigned.authenticode_digest().bytes().to_vec(), signer)?;
    Ok(FullUki { unsigned, signature })
}
