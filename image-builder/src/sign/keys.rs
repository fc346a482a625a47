//! `bedplate keys new`: development keys. They are inputs, so chance and the clock are in order here.
//!
//! Guarantees: no key is overwritten; private keys are mode 0600 from the moment they exist, in a folder of
//! mode 0700; the folder appears under its name complete, or not at all.
#![allow(clippy::disallowed_methods, reason = "edge: writes keys")]

use super::enrolment::{self, Vendor};
use super::file_key::FileKey;
use super::pkcs7::{self, ID_DATA, Signed};
use super::pkcs11::{TokenReleaseSigner, TokenSigner, Uri};
use super::{ReleaseSigner, Signer};
use crate::digest::Sha256;
use crate::recipe;
use anyhow::{Context, Result, bail, ensure};
use cms::signed_data::EncapsulatedContentInfo;
use machine_config::signature::{PrivateKey, PublicKey};
use on_disk::efi_keys;
use on_disk::efi_vars::{self, Time};
use rand::RngCore;
use rand::rngs::OsRng;
use rsa::RsaPrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;
use x509_cert::Certificate;
use x509_cert::builder::{Builder, CertificateBuilder, Profile};
use x509_cert::der::asn1::{GeneralizedTime, ObjectIdentifier};
use x509_cert::der::{DateTime, Encode, EncodePem};
use x509_cert::ext::pkix::ExtendedKeyUsage;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::{Time as CertificateTime, Validity};

/// Bits of the Secure Boot keys: what every firmware takes (UEFI 2.10, 32.4 knows RSA-2048 by name).
const RSA_BITS: usize = 2048;
/// Attributes of key variables: non-volatile, at boot and runtime, time-based authenticated.
const KEY_ATTRIBUTES: u32 =
    efi_vars::NON_VOLATILE | efi_vars::BOOT_SERVICE | efi_vars::RUNTIME | efi_vars::TIME_BASED_AUTHENTICATED;
/// `id-kp-codeSigning` (RFC 5280, 4.2.1.12).
const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");

/// Secure Boot variables, each with its vendor and the one whose key signs its updates.
pub const SECURE_BOOT: [(&str, Uuid, &str); 3] =
    [("PK", efi_vars::GLOBAL, "PK"), ("KEK", efi_vars::GLOBAL, "PK"), ("db", efi_vars::IMAGE_SECURITY_DATABASE, "KEK")];
/// What of each is public and goes into a release.
pub const SECURE_BOOT_FILES: [&str; 3] = ["crt", "esl", "auth"];
/// The folder that these are in, in a release.
pub const SECURE_BOOT_FOLDER: &str = "secure-boot";
/// The public keys that configurations are signed with, in a folder of keys and in a release.
pub const CONFIG_PUBLIC: &str = "config.pub";

/// A folder of keys, as far as a build needs them.
#[derive(Debug, Clone)]
pub struct KeyFolder {
    folder: PathBuf,
    /// Where what firmware is enrolled with is.
    secure_boot: PathBuf,
    /// Where the private keys are instead.
    db: Option<String>,
    release: Option<String>,
    pcr: Option<String>,
}

impl KeyFolder {
    /// The keys in this folder.
    pub fn at(folder: impl Into<PathBuf>) -> KeyFolder {
        let folder = folder.into();
        KeyFolder { secure_boot: folder.clone(), folder, db: None, release: None, pcr: None }
    }

    /// What a release ships of its keys: all that is public.
    pub fn of_release(release: &Path) -> KeyFolder {
        KeyFolder { secure_boot: release.join(SECURE_BOOT_FOLDER), ..KeyFolder::at(release) }
    }

    /// The keys of a recipe that lies in `recipe`.
    pub fn of_recipe(keys: &recipe::Keys, recipe: &Path) -> KeyFolder {
        let (db, release, pcr) = (keys.db.clone(), keys.release.clone(), keys.pcr.clone());
        KeyFolder { db, release, pcr, ..KeyFolder::at(recipe.join(&keys.folder)) }
    }

    /// The key that signs UKIs: on a token if the recipe names one, else `db.key`.
    ///
    /// # Errors
    /// When it can't be read or reached, or does not belong to `db.crt`.
    pub fn db(&self) -> Result<Box<dyn Signer>> {
        Ok(match &self.db {
            Some(uri) => Box::new(TokenSigner::open(Uri::parse(uri)?, &self.text("db.crt")?)?),
            None => Box::new(FileKey::open(&self.folder, "db")?),
        })
    }

    /// The certificate of the key that signs PCR policies; folders of earlier versions have none.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn pcr_certificate(&self) -> Result<Option<Vec<u8>>> {
        let path = self.folder.join("pcr.crt");
        match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).with_context(|| missing(&path)),
        }
    }

    /// The key that signs PCR policies: on a token if the recipe names one, else `pcr.key`; none where there is none.
    ///
    /// # Errors
    /// When it can't be read or reached, or does not belong to `pcr.crt`.
    pub fn pcr(&self) -> Result<Option<Box<dyn Signer>>> {
        Ok(match &self.pcr {
            Some(uri) => Some(Box::new(TokenSigner::open(Uri::parse(uri)?, &self.text("pcr.crt")?)?)),
            None if !self.folder.join("pcr.key").exists() => None,
            None => Some(Box::new(FileKey::open(&self.folder, "pcr")?)),
        })
    }

    /// The key that signs releases: on a token if the recipe names one, else `release.key`.
    ///
    /// # Errors
    /// When it can't be read or reached.
    pub fn release(&self) -> Result<Box<dyn ReleaseSigner>> {
        let public = public_key(&self.text("release.pub")?).with_context(|| self.named("release.pub"))?;
        Ok(match &self.release {
            Some(uri) => Box::new(TokenReleaseSigner::open(Uri::parse(uri)?, public)?),
            None => {
                let key = PrivateKey::from_pem(&self.text("release.key")?, public.name());
                Box::new(key.with_context(|| self.named("release.key"))?)
            }
        })
    }

    /// The key that signs configurations.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn config(&self) -> Result<PrivateKey> {
        let public = public_key(&self.text("config.pub")?).with_context(|| self.named("config.pub"))?;
        PrivateKey::from_pem(&self.text("config.key")?, public.name()).with_context(|| self.named("config.key"))
    }

    /// The public keys that configurations are signed with: the text of `config.pub`.
    ///
    /// # Errors
    /// When it can't be read or is none.
    pub fn config_public(&self) -> Result<String> {
        let text = self.text(CONFIG_PUBLIC)?;
        public_key(&text).with_context(|| self.named(CONFIG_PUBLIC))?;
        Ok(text)
    }

    /// A public Secure Boot file, `PK.crt`.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn secure_boot(&self, variable: &str, end: &str) -> Result<Vec<u8>> {
        let path = self.secure_boot.join(format!("{variable}.{end}"));
        std::fs::read(&path).with_context(|| missing(&path))
    }

    fn text(&self, name: &str) -> Result<String> {
        let path = self.folder.join(name);
        std::fs::read_to_string(&path).with_context(|| missing(&path))
    }

    fn named(&self, name: &str) -> String {
        format!("{} can't be used", self.folder.join(name).display())
    }
}

fn missing(path: &Path) -> String {
    format!("can't read the key {}; `bedplate keys new` makes keys", path.display())
}

/// The key in a `.pub` file.
///
/// # Errors
/// When it is none.
pub fn public_key(text: &str) -> Result<PublicKey> {
    PublicKey::parse(text.trim()).context("it is no public key")
}

/// Makes a set of keys in `folder`, which must not exist or be empty.
///
/// # Errors
/// When there is something already, or it can't be written; nothing is left behind then.
pub fn new(folder: &Path) -> Result<()> {
    let refuse = || format!("{} exists; keys are never overwritten, so choose another folder", folder.display());
    match std::fs::read_dir(folder) {
        Ok(entries) => ensure!(entries.count() == 0, refuse()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(_) => bail!(refuse()),
    }
    let parent = match folder.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let failed = || format!("can't make keys in {}", parent.display());
    std::fs::create_dir_all(parent).with_context(failed)?;
    // Made aside, mode 0700, and renamed: killed halfway it leaves no half set under the name.
    let aside = tempfile::Builder::new().prefix(".bedplate-keys-").tempdir_in(parent).with_context(failed)?;
    std::fs::set_permissions(aside.path(), Permissions::from_mode(0o700)).with_context(failed)?;
    fill(aside.path())?;
    File::open(aside.path()).and_then(|f| f.sync_all()).with_context(failed)?;
    // rename(2) takes the place of an empty folder and of nothing else.
    std::fs::rename(aside.path(), folder).with_context(refuse)?;
    // Its place is taken over: nothing is left to clean up.
    let _ = aside.keep();
    File::open(parent).and_then(|f| f.sync_all()).with_context(failed)
}

/// Puts these certificates beside the own ones into `KEK` and `db` of a key folder, in place of others that were put
/// there before, and signs both anew. Private keys and certificates stay as they are.
///
/// # Errors
/// When `PK.key` or `KEK.key` is not there, or a file can't be written; each file is the old one or the new one then.
pub fn add_vendors(folder: &Path, vendors: &[Vendor]) -> Result<()> {
    let time = efi_time(now()?)?;
    let set = KeyFolder::at(folder);
    for (name, vendor, signed_by) in SECURE_BOOT.into_iter().filter(|(name, ..)| *name != "PK") {
        let list = enrolment::wanted(&set, name, vendors)?;
        if list == set.secure_boot(name, "esl")? {
            continue;
        }
        let signer = FileKey::open(folder, signed_by)
            .with_context(|| format!("{name} can only be changed by a signature of {signed_by}.key"))?;
        let update = update(name, vendor, time, &list, &signer)?;
        replace(folder, &format!("{name}.auth"), &update)?;
        replace(folder, &format!("{name}.esl"), &list)?;
    }
    Ok(())
}

/// Takes a public file's place in one step.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let aside = format!(".{name}.new");
    // Left by a run that was killed.
    let _ = std::fs::remove_file(folder.join(&aside));
    public(folder, &aside, bytes)?;
    std::fs::rename(folder.join(&aside), folder.join(name))
        .with_context(|| format!("can't write {}", folder.join(name).display()))
}

fn fill(folder: &Path) -> Result<()> {
    let now = now()?;
    let owner = Uuid::new_v4();
    pair(folder, "pcr", "PCR policies", now)?;
    for (name, ..) in SECURE_BOOT {
        let certificate = pair(folder, name, &format!("Secure Boot {name}"), now)?;
        public(folder, &format!("{name}.esl"), &efi_keys::signature_list(owner, &certificate.to_der()?))?;
    }
    let time = efi_time(now)?;
    for (name, vendor, signed_by) in SECURE_BOOT {
        let list = std::fs::read(folder.join(format!("{name}.esl")))?;
        let update = update(name, vendor, time, &list, &FileKey::open(folder, signed_by)?)?;
        public(folder, &format!("{name}.auth"), &update)?;
    }
    for what in ["release", "config"] {
        let mut seed = [0; 32];
        OsRng.fill_bytes(&mut seed);
        // The name tells keys of different sets apart; it is no secret and proves nothing.
        let name = format!("{what}-{}", &Sha256::of([b"bedplate key name ", &seed[..]].concat()).to_string()[..8]);
        let key = PrivateKey::from_seed(&seed, &name)?;
        private(folder, &format!("{what}.key"), key.to_pem()?.as_bytes())?;
        public(folder, &format!("{what}.pub"), format!("{}\n", key.public()).as_bytes())?;
    }
    Ok(())
}

/// An RSA key and its certificate.
fn pair(folder: &Path, name: &str, purpose: &str, now: Duration) -> Result<Certificate> {
    let key = RsaPrivateKey::new(&mut OsRng, RSA_BITS).context("can't make an RSA key")?;
    let certificate = certificate(purpose, &key, now)?;
    private(folder, &format!("{name}.key"), key.to_pkcs8_pem(LineEnding::LF)?.as_bytes())?;
    public(folder, &format!("{name}.crt"), certificate.to_pem(LineEnding::LF)?.as_bytes())?;
    Ok(certificate)
}

/// Makes the keys that `folder` lacks because an earlier version made it, and names them. What is there stays.
///
/// # Errors
/// When it is no key folder, or can't be written.
pub fn add(folder: &Path) -> Result<Vec<&'static str>> {
    KeyFolder::at(folder).secure_boot("db", "crt")?;
    if folder.join("pcr.key").exists() || folder.join("pcr.crt").exists() {
        return Ok(Vec::new());
    }
    pair(folder, "pcr", "PCR policies", now()?)?;
    Ok(vec!["pcr"])
}

/// A self-signed certificate, valid for thirty years from yesterday: firmware clocks are not to be relied on.
fn certificate(purpose: &str, key: &RsaPrivateKey, now: Duration) -> Result<Certificate> {
    const DAY: Duration = Duration::from_secs(86_400);
    let mut serial = [0; 16];
    OsRng.fill_bytes(&mut serial);
    serial[0] &= 0x7f;
    let mut tag = [0; 4];
    OsRng.fill_bytes(&mut tag);
    let subject: Name = format!("CN=Bedplate {purpose} {}", hex::encode(tag)).parse()?;
    let time = |at: Duration| -> Result<CertificateTime> {
        Ok(CertificateTime::GeneralTime(GeneralizedTime::from_date_time(DateTime::from_unix_duration(at)?)))
    };
    let validity = Validity { not_before: time(now - DAY)?, not_after: time(now + 30 * 365 * DAY)? };
    let signer = SigningKey::<sha2::Sha256>::new(key.clone());
    let profile =
        Profile::Leaf { issuer: subject.clone(), enable_key_agreement: false, enable_key_encipherment: false };
    let public = SubjectPublicKeyInfoOwned::from_key(key.to_public_key())?;
    let mut builder =
        CertificateBuilder::new(profile, SerialNumber::new(&serial)?, validity, subject, public, &signer)?;
    builder.add_extension(&ExtendedKeyUsage(vec![CODE_SIGNING]))?;
    Ok(builder.build::<rsa::pkcs1v15::Signature>()?)
}

fn now() -> Result<Duration> {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).context("the clock is before 1970")
}

fn efi_time(now: Duration) -> Result<Time> {
    let at = DateTime::from_unix_duration(now)?;
    Ok(Time {
        year: at.year(),
        month: at.month(),
        day: at.day(),
        hour: at.hour(),
        minute: at.minutes(),
        second: at.seconds(),
    })
}

/// An authenticated write of a key variable: `EFI_VARIABLE_AUTHENTICATION_2` and the new value (UEFI 2.10, 8.2.6).
fn update(name: &str, vendor: Uuid, time: Time, value: &[u8], signer: &dyn Signer) -> Result<Vec<u8>> {
    let mut covered: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    covered.extend(vendor.to_bytes_le());
    covered.extend(KEY_ATTRIBUTES.to_le_bytes());
    covered.extend(time.to_bytes());
    covered.extend(value);
    let content = EncapsulatedContentInfo { econtent_type: ID_DATA, econtent: None };
    let signed_data = pkcs7::sign(content, Signed::Detached(&covered), signer)?.to_der()?;
    Ok(efi_keys::signed_write(time, &signed_data, value))
}

fn private(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    write(&folder.join(name), bytes, 0o600)
}

fn public(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    write(&folder.join(name), bytes, 0o644)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let failed = || format!("can't write {}", path.display());
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode & 0o600).open(path).with_context(failed)?;
    // Whatever the umask took away.
    file.set_permissions(Permissions::from_mode(mode)).with_context(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::VendorVariable;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_set_is_complete_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("deep/keys");
        new(&keys).unwrap();
        let mut names: Vec<String> =
            std::fs::read_dir(&keys).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let mut wanted = vec!["config.key", "config.pub", "release.key", "release.pub"];
        wanted.extend(["KEK.auth", "KEK.crt", "KEK.esl", "KEK.key", "PK.auth", "PK.crt", "PK.esl", "PK.key"]);
        wanted.extend(["pcr.crt", "pcr.key"]);
        wanted.extend(["db.auth", "db.crt", "db.esl", "db.key"]);
        wanted.sort_unstable();
        assert_eq!(names, wanted);
        assert_eq!(mode(&keys), 0o700);
        for name in names {
            let expected = if name.ends_with(".key") { 0o600 } else { 0o644 };
            assert_eq!(mode(&keys.join(&name)), expected, "{name}");
        }
        let before = std::fs::read(keys.join("db.key")).unwrap();
        let error = new(&keys).unwrap_err().to_string();
        assert!(error.contains("exists; keys are never overwritten"), "{error}");
        assert_eq!(std::fs::read(keys.join("db.key")).unwrap(), before);
        // Nothing is left beside it.
        assert_eq!(std::fs::read_dir(keys.parent().unwrap()).unwrap().count(), 1);

        let set = KeyFolder::at(&keys);
        let release = set.release().unwrap();
        let public = public_key(&std::fs::read_to_string(keys.join("release.pub")).unwrap()).unwrap();
        assert!(public.verifies_detached(b"x", &release.sign_detached(b"x").unwrap()));
        assert!(!public.verifies_detached(b"y", &release.sign_detached(b"x").unwrap()));
        assert!(set.config_public().unwrap().starts_with("bedplate-ed25519 "));
        set.db().unwrap();
    }

    #[test]
    fn vendors_are_put_beside_the_own_certificates_and_taken_out_again() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        new(&keys).unwrap();
        let before: Vec<_> = ["KEK.esl", "db.esl", "db.key"].map(|n| std::fs::read(keys.join(n)).unwrap()).into();
        let vendor = |variables| Vendor { owner: Uuid::from_u128(7), certificate: b"DER".to_vec(), variables };
        add_vendors(&keys, &[vendor(vec![VendorVariable::Db])]).unwrap();
        let set = KeyFolder::at(&keys);
        let list = set.secure_boot("db", "esl").unwrap();
        assert_eq!(list, [&before[1][..], &efi_keys::signature_list(Uuid::from_u128(7), b"DER")].concat());
        assert_eq!(efi_keys::value_of_signed_write(&set.secure_boot("db", "auth").unwrap()).unwrap(), list);
        assert_eq!(set.secure_boot("KEK", "esl").unwrap(), before[0], "it was asked for db alone");
        assert_eq!(std::fs::read(keys.join("db.key")).unwrap(), before[2]);

        std::fs::remove_file(keys.join("KEK.key")).unwrap();
        let error = format!("{:#}", add_vendors(&keys, &[]).unwrap_err());
        assert!(error.contains("db can only be changed by a signature of KEK.key"), "{error}");
        add_vendors(&keys, &[vendor(vec![VendorVariable::Db])]).unwrap();
    }

    #[test]
    fn an_earlier_folder_gets_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        new(&keys).unwrap();
        for file in ["pcr.key", "pcr.crt"] {
            std::fs::remove_file(keys.join(file)).unwrap();
        }
        let set = KeyFolder::at(&keys);
        assert!(set.pcr().unwrap().is_none() && set.pcr_certificate().unwrap().is_none());
        let before = std::fs::read(keys.join("db.key")).unwrap();
        assert_eq!(add(&keys).unwrap(), ["pcr"]);
        assert_eq!(mode(&keys.join("pcr.key")), 0o600);
        set.pcr().unwrap().unwrap();
        let made = set.pcr_certificate().unwrap();
        assert!(add(&keys).unwrap().is_empty());
        assert_eq!((set.pcr_certificate().unwrap(), std::fs::read(keys.join("db.key")).unwrap()), (made, before));
        assert!(add(folder.path()).is_err(), "no key folder");
    }

    #[test]
    fn a_file_in_the_folders_place_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        std::fs::write(&file, "mine").unwrap();
        assert!(new(&file).unwrap_err().to_string().contains("exists"));
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    }

    #[test]
    fn a_missing_key_says_how_to_make_one() {
        let error = KeyFolder::at("/nonexistent").db().err().unwrap();
        assert!(format!("{error:#}").contains("bedplate keys new"), "{error:#}");
    }
}
