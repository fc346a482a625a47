//! What a UKI leaves in the TPM: the value of PCR 11 right behind systemd-stub, and a signature over the policy
//! "PCR 11 has this value" that the UKI carries along. Pure but for the signer.
//!
//! A secret bound to the signer's *key* opens under every UKI that this key signed, before and after an update, and
//! under no other. systemd-stub measures the sections of the UKI, each name and each content, in an order of its own
//! (systemd-stub(7); `src/fundamental/uki.h` of systemd 257); nothing in our boot extends the PCR after that, so the
//! one *phase path* that is signed is the empty one. Format of the signature: systemd-measure(1).

use crate::sign::Signer;
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use on_disk::pe::Image;
use rsa::RsaPublicKey;
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::pkcs8::DecodePublicKey;
use rsa::signature::Verifier;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_cert::der::EncodePem;
use x509_cert::der::pem::LineEnding;
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// The PCR that systemd-stub measures a UKI into.
const PCR: u8 = 11;
/// Section of the signature. Last in the image, and not measured: it is over what is.
pub const SIGNATURE: &str = ".pcrsig";
/// Section of the public key.
pub const PUBLIC_KEY: &str = ".pcrpkey";
/// Sections in the order in which the stub measures those that are there.
const MEASURED: [&str; 13] = [
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", PUBLIC_KEY, ".profile",
    ".dtbauto", ".hwids",
];

/// `.pcrsig`: signed policies by bank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Signatures {
    sha256: Vec<Signed>,
}

/// A signed policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Signed {
    /// The PCRs it is about.
    pcrs: Vec<u8>,
    /// SHA-256 of the public key (PKCS#1, DER).
    pkfp: String,
    /// The policy's digest.
    pol: String,
    /// Signature over it, RSASSA-PKCS1-v1_5 with SHA-256.
    sig: String,
}

/// The value of PCR 11 (bank SHA-256) when the stub of this image hands over to the kernel.
pub fn measured(image: &Image) -> [u8; 32] {
    let mut pcr = [0; 32];
    let mut extend = |data: &[u8]| {
        pcr = Sha256::new().chain_update(pcr).chain_update(Sha256::digest(data)).finalize().into();
    };
    for name in MEASURED {
        // The stub passes by what is empty.
        if let Some(content) = image.section(name).filter(|content| !content.is_empty()) {
            extend(format!("{name}\0").as_bytes());
            extend(content);
        }
    }
    pcr
}

/// Digest of the policy "PCR 11 has this value": `TPM2_PolicyPCR` behind nothing (TPM 2.0 part 3, 23.7).
fn policy(pcr: &[u8; 32]) -> [u8; 32] {
    const POLICY_PCR: u32 = 0x017f;
    const ALG_SHA256: u16 = 0x000b;
    let mut selection = vec![3, 0, 0, 0];
    selection[1 + usize::from(PCR / 8)] = 1 << (PCR % 8);
    Sha256::new()
        .chain_update([0; 32])
        .chain_update(POLICY_PCR.to_be_bytes())
        .chain_update(1u32.to_be_bytes())
        .chain_update(ALG_SHA256.to_be_bytes())
        .chain_update(selection)
        .chain_update(Sha256::digest(pcr))
        .finalize()
        .into()
}

/// Text of `.pcrpkey`: the signer's public key in PEM.
///
/// # Errors
/// When the key can't be encoded.
pub fn public_key(certificate: &x509_cert::Certificate) -> Result<String> {
    Ok(certificate.tbs_certificate.subject_public_key_info.to_pem(LineEnding::LF)?)
}

/// Text of `.pcrsig` for this image. Equal image and signer, equal text.
///
/// # Errors
/// When the signer fails.
pub fn sign(image: &Image, signer: &dyn Signer) -> Result<String> {
    sign_value(&measured(image), signer)
}

/// The same for an image that leaves this value in PCR 11.
///
/// # Errors
/// When the signer fails.
pub fn sign_value(pcr: &[u8; 32], signer: &dyn Signer) -> Result<String> {
    let policy = policy(pcr);
    let key = signer.certificate().tbs_certificate.subject_public_key_info.subject_public_key.raw_bytes();
    let signed = Signed {
        pcrs: vec![PCR],
        pkfp: hex::encode(Sha256::digest(key)),
        pol: hex::encode(policy),
        sig: BASE64.encode(signer.sign_pkcs1_sha256(&policy)?),
    };
    Ok(serde_json::to_string(&Signatures { sha256: vec![signed] })?)
}

/// The signatures over policies that an image carries.
///
/// # Errors
/// A sentence's end that says why they can't be read.
pub fn signatures(image: &Image) -> Result<Vec<Vec<u8>>> {
    let Some(text) = image.section(SIGNATURE) else { return Ok(Vec::new()) };
    let found: Signatures = serde_json::from_slice(text).context("has a .pcrsig that is none")?;
    let decode = |signed: &Signed| BASE64.decode(&signed.sig).context("has a PCR policy whose signature is no base64");
    found.sha256.iter().map(decode).collect()
}

/// Checks that the signed policy an image carries is over this image and of the key it carries.
///
/// # Errors
/// A sentence's end that says which of these does not hold.
pub fn check(image: &Image) -> Result<()> {
    let Some(text) = image.section(SIGNATURE) else { return Ok(()) };
    let found: Signatures = serde_json::from_slice(text).context("has a .pcrsig that is none")?;
    let key = image.section(PUBLIC_KEY).context("has a .pcrsig and no .pcrpkey")?;
    let key = std::str::from_utf8(key).context("has a .pcrpkey that is no text")?;
    let (_, der) = x509_cert::der::Document::from_pem(key).context("has a .pcrpkey that is no PEM")?;
    let info: SubjectPublicKeyInfoRef = der.decode_msg().context("has a .pcrpkey that is no public key")?;
    let fingerprint = hex::encode(Sha256::digest(info.subject_public_key.raw_bytes()));
    let public = RsaPublicKey::from_public_key_pem(key).context("has a .pcrpkey that is no RSA key")?;
    let policy = policy(&measured(image));
    for signed in &found.sha256 {
        ensure!(signed.pcrs == [PCR] && signed.pkfp == fingerprint, "has a PCR policy of another key");
        ensure!(signed.pol == hex::encode(policy), "has a PCR policy of another image");
        let signature = BASE64.decode(&signed.sig).context("has a PCR policy whose signature is no base64")?;
        let signature = Signature::try_from(&signature[..]).context("has a PCR policy with a broken signature")?;
        let holds = VerifyingKey::<Sha256>::new(public.clone()).verify(&policy, &signature);
        ensure!(holds.is_ok(), "has a PCR policy that its key did not sign");
    }
    ensure!(!found.sha256.is_empty(), "has a .pcrsig without a policy of the SHA-256 bank");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::authenticode;
    use on_disk::pe::NewSection;
    use x509_cert::Certificate;
    use x509_cert::der::DecodePem;

    /// A certificate, and what systemd-measure 257 says and signs with its key about the sections of [`image`].
    const CERTIFICATE: &str = include_str!("pcr/certificate.pem");
    const CALCULATED: &str = "08f3b05f42f36e11716c4840486bf1b0a895f67f43664e1b753b6f2c7a596ba4";
    const SIGNED: &str = include_str!("pcr/systemd-measure.json");

    /// Whoever made that signature.
    struct Recorded(Certificate);

    impl Signer for Recorded {
        fn certificate(&self) -> &Certificate {
            &self.0
        }
        fn sign_pkcs1_sha256(&self, _: &[u8]) -> Result<Vec<u8>> {
            let signatures: Signatures = serde_json::from_str(SIGNED)?;
            Ok(BASE64.decode(&signatures.sha256[0].sig)?)
        }
    }

    fn signer() -> Recorded {
        Recorded(Certificate::from_pem(CERTIFICATE).unwrap())
    }

    fn image() -> Image {
        let key = public_key(signer().certificate()).unwrap();
        let data = |name, data| NewSection { name, data, code: false };
        authenticode::tests::image_with(".sbat", b"sbat,1")
            .with_sections(&[
                data(".initrd", b"initrd"),
                data(".cmdline", b"roothash=1"),
                data(".splash", b""),
                data(".uname", b"6.12-test"),
                data(".own", b"not measured"),
                data(".osrel", b"osrel"),
                data(PUBLIC_KEY, key.as_bytes()),
                data(".linux", b"linux"),
            ])
            .unwrap()
    }

    fn signed(image: &Image, text: &str) -> Image {
        image.with_sections(&[NewSection { name: SIGNATURE, data: text.as_bytes(), code: false }]).unwrap()
    }

    #[test]
    fn it_is_what_systemd_measure_says() {
        assert_eq!(hex::encode(measured(&image())), CALCULATED);
        assert_eq!(sign(&image(), &signer()).unwrap(), SIGNED.trim());
        let whole = signed(&image(), SIGNED.trim());
        assert_eq!(measured(&whole), measured(&image()), "the signature is not measured");
        check(&whole).unwrap();
        check(&image()).unwrap();
    }

    #[test]
    fn a_policy_of_another_image_or_key_is_found() {
        let error = |image: &Image| check(image).unwrap_err().to_string();
        let other = image().with_sections(&[NewSection { name: ".hwids", data: b"x", code: false }]).unwrap();
        assert_eq!(error(&signed(&other, SIGNED.trim())), "has a PCR policy of another image");
        let mut altered: Signatures = serde_json::from_str(SIGNED).unwrap();
        altered.sha256[0].sig.replace_range(..2, "AA");
        let text = serde_json::to_string(&altered).unwrap();
        assert_eq!(error(&signed(&image(), &text)), "has a PCR policy that its key did not sign");
        altered.sha256[0].pkfp = "00".repeat(32);
        let text = serde_json::to_string(&altered).unwrap();
        assert_eq!(error(&signed(&image(), &text)), "has a PCR policy of another key");
        assert!(error(&signed(&image(), "{\"sha256\":[]}")).contains("without a policy"));
        assert!(error(&signed(&image(), "x")).contains("that is none"));
    }
}
