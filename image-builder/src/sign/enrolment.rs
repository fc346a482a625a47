//! What a machine's firmware is enrolled with: our own certificates, and those of vendors that the recipe names.
//!
//! Guarantees: `KEK` and `db` of a release carry our certificate and exactly the vendors of its recipe; each signed
//! write carries the list that lies beside it; what a build reads of it are public files alone.

use super::keys::{KeyFolder, SECURE_BOOT, SECURE_BOOT_FILES};
use crate::digest::Sha256;
use crate::recipe::{Keys, VendorCertificate, VendorVariable};
use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use on_disk::efi_keys::{self, Trusted};
use std::collections::BTreeMap;
use std::path::Path;
use uuid::Uuid;
use x509_cert::Certificate;
use x509_cert::der::{Decode, DecodePem, Encode};

/// A vendor's certificate, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vendor {
    /// Its owner's GUID.
    pub owner: Uuid,
    /// X.509, DER.
    pub certificate: Vec<u8>,
    /// Where it goes.
    pub variables: Vec<VendorVariable>,
}

/// Reads the vendors' certificates of a recipe that lies in `folder`.
///
/// # Errors
/// When one can't be read, has another digest, or is no certificate; it is named.
pub fn vendors(keys: &Keys, folder: &Path) -> Result<Vec<Vendor>> {
    keys.vendor.iter().map(|vendor| read(vendor, folder)).collect()
}

fn read(vendor: &VendorCertificate, folder: &Path) -> Result<Vendor> {
    let path = folder.join(&vendor.certificate);
    let failed = || format!("the vendor's certificate {} can't be used", path.display());
    let bytes = std::fs::read(&path).with_context(failed)?;
    let found = Sha256::of(&bytes);
    if found != vendor.sha256 {
        bail!("{}: its SHA-256 is {found}, the recipe says {}", failed(), vendor.sha256);
    }
    let certificate = der(&bytes).with_context(failed)?;
    Certificate::from_der(&certificate).context("it is no X.509 certificate in DER or PEM").with_context(failed)?;
    Ok(Vendor { owner: vendor.owner, certificate, variables: vendor.variables.clone() })
}

/// The bytes that the certificate's signature is over stay as they are: nothing is encoded anew.
fn der(bytes: &[u8]) -> Result<Vec<u8>> {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.trim_start().starts_with("-----BEGIN ")) else {
        return Ok(bytes.to_vec());
    };
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----").context("its PEM holds no certificate")?;
    let (body, after) = rest.split_once("-----END CERTIFICATE-----").context("its PEM has no end")?;
    ensure!(!after.contains("-----BEGIN "), "its PEM holds more than one certificate; name each by a file of its own");
    BASE64.decode(body.split_ascii_whitespace().collect::<String>()).context("its PEM is no base64")
}

/// What `variable` is to hold: the own certificate of the key folder, then those of vendors.
pub(super) fn wanted(keys: &KeyFolder, variable: &str, vendors: &[Vendor]) -> Result<Vec<u8>> {
    let own = certificate(keys, variable)?;
    let list = keys.secure_boot(variable, "esl")?;
    let entries = efi_keys::entries(&list).with_context(|| format!("{variable}.esl can't be used"))?;
    let first = entries.into_iter().find(|entry| entry.trusted == Trusted::Certificate(own.clone()));
    let Some(first) = first else { bail!("{variable}.esl does not hold the certificate {variable}.crt") };
    let mut list = efi_keys::signature_list(first.owner, &own);
    for vendor in vendors.iter().filter(|v| v.variables.iter().any(|at| at.name() == variable)) {
        list.extend(efi_keys::signature_list(vendor.owner, &vendor.certificate));
    }
    Ok(list)
}

fn certificate(keys: &KeyFolder, variable: &str) -> Result<Vec<u8>> {
    let pem = keys.secure_boot(variable, "crt")?;
    let certificate = Certificate::from_pem(&pem).with_context(|| format!("{variable}.crt is no X.509 in PEM"))?;
    Ok(certificate.to_der()?)
}

/// The enrolment files of a release, by name (`db.esl`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment(BTreeMap<String, Vec<u8>>);

impl Enrolment {
    /// The public files of a key folder.
    ///
    /// # Errors
    /// When one is missing, they don't belong together, or they carry other vendors than these.
    pub fn read(keys: &KeyFolder, vendors: &[Vendor]) -> Result<Enrolment> {
        let mut files = BTreeMap::new();
        for (variable, ..) in SECURE_BOOT {
            for end in SECURE_BOOT_FILES {
                files.insert(format!("{variable}.{end}"), keys.secure_boot(variable, end)?);
            }
            let list = &files[&format!("{variable}.esl")];
            if *list != wanted(keys, variable, vendors)? {
                bail!(
                    "{variable}.esl of the key folder does not hold the vendors' certificates that the recipe names; \
                     `bedplate keys vendors` puts them there"
                );
            }
            let write = efi_keys::value_of_signed_write(&files[&format!("{variable}.auth")]);
            if write.with_context(|| format!("{variable}.auth can't be used"))? != list {
                bail!("{variable}.auth of the key folder does not carry {variable}.esl");
            }
        }
        Ok(Enrolment(files))
    }

    /// Names and contents.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, bytes)| (name.as_str(), &bytes[..]))
    }

    /// What goes into the initrd of an image that enrols its keys itself: the signed writes, and who each certificate
    /// in them belongs to, for the person at the console.
    ///
    /// # Errors
    /// When a certificate can't be read.
    pub fn for_initrd(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        let mut names = String::new();
        for (variable, ..) in SECURE_BOOT {
            let write = &self.0[&format!("{variable}.auth")];
            for entry in efi_keys::entries(efi_keys::value_of_signed_write(write)?)? {
                let Trusted::Certificate(der) = entry.trusted else { continue };
                let name = Certificate::from_der(&der)?.tbs_certificate.subject.to_string();
                names.push_str(&format!("{} {name}\n", Sha256::of(&der)));
            }
            files.push((format!("/enrol/{variable}.auth"), write.clone()));
        }
        files.push(("/enrol/names".into(), names.into_bytes()));
        Ok(files)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test with folders of its own")]
mod tests {
    use super::*;
    use crate::recipe::Enrol;
    use crate::sign::keys;

    struct Site {
        folder: tempfile::TempDir,
        keys: Keys,
    }

    /// A site with keys, and with the certificate of another set as its vendor's, in DER and PEM.
    fn site() -> Site {
        let folder = tempfile::tempdir().unwrap();
        for set in ["keys", "others"] {
            keys::new(&folder.path().join(set)).unwrap();
        }
        let pem = std::fs::read(folder.path().join("others/db.crt")).unwrap();
        std::fs::write(folder.path().join("vendor.der"), Certificate::from_pem(&pem).unwrap().to_der().unwrap())
            .unwrap();
        let keys = Keys {
            folder: "keys".into(),
            db: None,
            release: None,
            pcr: None,
            require_signed_config: true,
            vendor: Vec::new(),
            enrol: Enrol::Never,
        };
        Site { folder, keys }
    }

    impl Site {
        fn named(&self, file: &str) -> VendorCertificate {
            let sha256 = Sha256::of(std::fs::read(self.folder.path().join(file)).unwrap());
            let variables = vec![VendorVariable::Db, VendorVariable::Kek];
            VendorCertificate { certificate: file.into(), sha256, owner: Uuid::from_u128(7), variables }
        }
    }

    #[test]
    fn a_certificate_is_the_same_in_der_and_pem_and_known_by_its_digest() {
        let mut site = site();
        site.keys.vendor = vec![site.named("vendor.der"), site.named("others/db.crt")];
        let read = vendors(&site.keys, site.folder.path()).unwrap();
        assert_eq!(read[0], read[1]);
        let error = |keys: &Keys| format!("{:#}", vendors(keys, site.folder.path()).unwrap_err());
        let mut wrong = site.keys.clone();
        wrong.vendor[0].sha256 = Sha256::of("another");
        assert!(error(&wrong).contains("vendor.der can't be used: its SHA-256 is"), "{}", error(&wrong));
        wrong.vendor = vec![site.named("others/release.pub")];
        assert!(error(&wrong).contains("it is no X.509 certificate in DER or PEM"), "{}", error(&wrong));
    }

    #[test]
    fn a_release_takes_the_folder_only_with_the_vendors_of_its_recipe() {
        let mut site = site();
        site.keys.vendor = vec![site.named("vendor.der")];
        let set = KeyFolder::at(site.folder.path().join("keys"));
        let vendors = vendors(&site.keys, site.folder.path()).unwrap();
        Enrolment::read(&set, &[]).unwrap();
        let error = Enrolment::read(&set, &vendors).unwrap_err().to_string();
        assert!(error.contains("`bedplate keys vendors` puts them there"), "{error}");

        keys::add_vendors(&site.folder.path().join("keys"), &vendors).unwrap();
        let enrolment = Enrolment::read(&set, &vendors).unwrap();
        assert_eq!(enrolment.files().count(), 9);
        let names = enrolment.for_initrd().unwrap().pop().unwrap();
        let names = String::from_utf8(names.1).unwrap();
        assert!(names.contains(&Sha256::of(&vendors[0].certificate).to_string()), "{names}");
        assert_eq!(names.matches("CN=Bedplate Secure Boot ").count(), 5, "{names}");
        Enrolment::read(&set, &[]).unwrap_err();

        let auth = site.folder.path().join("keys/db.auth");
        std::fs::copy(site.folder.path().join("others/db.auth"), auth).unwrap();
        let error = Enrolment::read(&set, &vendors).unwrap_err().to_string();
        assert_eq!(error, "db.auth of the key folder does not carry db.esl");
    }
}
