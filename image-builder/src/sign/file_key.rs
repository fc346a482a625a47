//! A signer whose key lies in a file.

use super::Signer;
use anyhow::{Context, Result, bail};
use rsa::RsaPrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::signature::{SignatureEncoding, Signer as _};
use rsa::traits::PublicKeyParts;
use std::path::Path;
use x509_cert::Certificate;
use x509_cert::der::DecodePem;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// An RSA key in PKCS#8 PEM and its certificate in PEM.
pub struct FileKey {
    key: SigningKey<sha2::Sha256>,
    certificate: Certificate,
}

impl FileKey {
    /// Reads `FOLDER/NAME.key` and `FOLDER/NAME.crt`.
    ///
    /// # Errors
    /// When one can't be read, or they don't belong together.
    pub fn open(folder: &Path, name: &str) -> Result<FileKey> {
        let text = |end: &str| {
            let path = folder.join(format!("{name}.{end}"));
            std::fs::read_to_string(&path).with_context(|| {
                format!("can't read the signing key {}; `bedplate keys new` makes keys", path.display())
            })
        };
        FileKey::from_pem(&text("key")?, &text("crt")?)
            .with_context(|| format!("the signing key {} can't be used", folder.join(name).display()))
    }

    /// From PEM texts.
    ///
    /// # Errors
    /// When one is no PEM of its kind, or they don't belong together.
    pub fn from_pem(key: &str, certificate: &str) -> Result<FileKey> {
        let key = RsaPrivateKey::from_pkcs8_pem(key).context("it is no RSA key in PKCS#8 PEM")?;
        let certificate = Certificate::from_pem(certificate).context("its certificate is no X.509 PEM")?;
        let own =
            SubjectPublicKeyInfoOwned::from_key(key.to_public_key()).context("its public key can't be encoded")?;
        if own != certificate.tbs_certificate.subject_public_key_info {
            bail!("key and certificate do not belong together");
        }
        if key.size() < 256 {
            bail!("it has fewer than 2048 bits");
        }
        Ok(FileKey { key: SigningKey::new(key), certificate })
    }
}

impl Signer for FileKey {
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }
    fn sign_pkcs1_sha256(&self, data: &[u8]) -> Result<Vec<u8>> {
        Ok(self.key.try_sign(data).context("RSA failed")?.to_vec())
    }
}
