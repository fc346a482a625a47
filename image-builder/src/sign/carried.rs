//! A signer without a private key: it knows the signatures that a release carries.
//!
//! RSA PKCS#1 v1.5 has one signature for a key and a text. So whoever builds the bytes that were signed comes, with
//! the signature that was published, to the very artifact that was published; and nobody can pass one signature for
//! that of other bytes.

use super::Signer;
use crate::assemble::pcr;
use anyhow::{Context, Result, anyhow};
use authenticode::AuthenticodeSignature;
use on_disk::pe::Image;
use rsa::RsaPublicKey;
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::signature::Verifier;
use rsa::traits::PublicKeyParts;
use x509_cert::Certificate;
use x509_cert::der::DecodePem;
use x509_cert::der::referenced::OwnedToRef;

/// The signatures of one key over what a release holds.
#[derive(Debug)]
pub struct Carried {
    certificate: Certificate,
    key: RsaPublicKey,
    signatures: Vec<Vec<u8>>,
}

impl Carried {
    /// The signatures in these PKCS#7 `SignedData`, of the key with this certificate (PEM).
    ///
    /// # Errors
    /// When one of them or the certificate can't be read.
    pub fn by(signed: &[Vec<u8>], certificate: &str) -> Result<Carried> {
        let signature = |signed: &Vec<u8>| {
            let signature = AuthenticodeSignature::from_bytes(signed);
            Ok(signature.map_err(|e| anyhow!("a signature can't be read: {e}"))?.signature().into())
        };
        Carried::of(signed.iter().map(signature).collect::<Result<_>>()?, certificate)
    }

    /// The signatures over the PCR policies of these images, of the key with this certificate (PEM).
    ///
    /// # Errors
    /// When the certificate or a policy can't be read.
    pub fn over_policies(images: &[Image], certificate: &str) -> Result<Carried> {
        let signatures: Vec<Vec<Vec<u8>>> = images.iter().map(pcr::signatures).collect::<Result<_>>()?;
        Carried::of(signatures.concat(), certificate)
    }

    fn of(signatures: Vec<Vec<u8>>, certificate: &str) -> Result<Carried> {
        let certificate = Certificate::from_pem(certificate).context("it is no X.509 certificate in PEM")?;
        let key = RsaPublicKey::try_from(certificate.tbs_certificate.subject_public_key_info.owned_to_ref())
            .map_err(|e| anyhow!("the certificate has no RSA key: {e}"))?;
        Ok(Carried { signatures, key, certificate })
    }
}

impl Signer for Carried {
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The signature over `data` if the release carries it. If not, zeros in its place, which no firmware takes: what
    /// is built differs from the release anyway, and can be compared with it.
    fn sign_pkcs1_sha256(&self, data: &[u8]) -> Result<Vec<u8>> {
        let key = VerifyingKey::<sha2::Sha256>::new(self.key.clone());
        let over = |bytes: &&Vec<u8>| {
            Signature::try_from(bytes.as_slice()).is_ok_and(|signature| key.verify(data, &signature).is_ok())
        };
        Ok(self.signatures.iter().find(over).cloned().unwrap_or_else(|| vec![0; self.key.size()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::authenticode::{self, tests::image};
    use crate::sign::file_key::FileKey;
    use crate::sign::keys;

    #[test]
    fn who_built_the_same_bytes_comes_to_the_signed_image_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("k");
        keys::new(&keys).unwrap();
        let db = FileKey::open(&keys, "db").unwrap();
        let text = |name: &str| std::fs::read_to_string(keys.join(name)).unwrap();
        let signed = [b"roothash=1", b"roothash=2"].map(|line| authenticode::sign(&image(line), &db).unwrap());
        let inside = signed.each_ref().map(|image| image.certificate().unwrap().to_vec());
        let carried = Carried::by(&inside, &text("db.crt")).unwrap();
        for signed in &signed {
            assert_eq!(authenticode::sign(&signed.without_certificate(), &carried).unwrap(), *signed);
        }
        let other = authenticode::sign(&image(b"roothash=3"), &carried).unwrap();
        assert_eq!(other.without_certificate(), image(b"roothash=3"));
        assert!(authenticode::check(&other, db.certificate()).is_err());

        let error = |signed: &[Vec<u8>], pem: &str| Carried::by(signed, pem).unwrap_err().to_string();
        assert!(error(&[b"none".to_vec()], &text("db.crt")).contains("a signature can't be read"));
        assert!(error(&inside, "db").contains("no X.509 certificate"));
        // With another key's certificate no signature holds.
        let carried = Carried::by(&inside, &text("KEK.crt")).unwrap();
        assert_ne!(authenticode::sign(&image(b"roothash=1"), &carried).unwrap(), signed[0]);
    }
}
