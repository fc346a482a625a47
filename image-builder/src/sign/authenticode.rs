//! Authenticode: the signature that UEFI firmware checks before it starts a program (Microsoft, "Windows
//! Authenticode Portable Executable Signature Format", 2008; UEFI 2.10, 32.2).

use super::Signer;
use super::pkcs7::{self, ID_SHA256, ID_SIGNED_DATA, Signed};
use anyhow::{Context, Result, anyhow, bail};
use authenticode::{
    AuthenticodeSignature, DigestInfo, SPC_INDIRECT_DATA_OBJID, SpcAttributeTypeAndOptionalValue,
    SpcIndirectDataContent, authenticode_digest,
};
use cms::content_info::ContentInfo;
use cms::signed_data::EncapsulatedContentInfo;
use on_disk::pe::Image;
use rsa::RsaPublicKey;
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::signature::Verifier;
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::attr::Attribute;
use x509_cert::der::asn1::{ObjectIdentifier, OctetString, SetOfVec};
use x509_cert::der::referenced::OwnedToRef;
use x509_cert::der::{Any, Decode, Encode};

/// `contentType` and `messageDigest` attributes (RFC 5652, 11.1 and 11.2).
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
/// `SPC_PE_IMAGE_DATA_OBJID`.
const PE_IMAGE_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.15");
/// `SpcPeImageData` without flags, its file an empty string: the value is fixed since page hashes are out of use.
const PE_IMAGE_DATA_VALUE: [u8; 11] = [0x30, 0x09, 0x03, 0x01, 0x00, 0xa0, 0x04, 0xa2, 0x02, 0x80, 0x00];

/// Signs an image. Equal image and signer give equal bytes.
///
/// # Errors
/// When the image carries a signature already, or the signer fails.
pub fn sign(image: &Image, signer: &dyn Signer) -> Result<Image> {
    let signed_data = signed_data(digest(image)?, signer)?;
    image.with_certificate(&signed_data).context("the signature can't be attached")
}

/// The signature over an image with this hash, as PKCS#7 `SignedData`.
///
/// # Errors
/// When the signer fails.
pub fn signed_data(digest: Vec<u8>, signer: &dyn Signer) -> Result<Vec<u8>> {
    let indirect = SpcIndirectDataContent {
        data: SpcAttributeTypeAndOptionalValue {
            value_type: PE_IMAGE_DATA,
            value: Any::from_der(&PE_IMAGE_DATA_VALUE)?,
        },
        message_digest: DigestInfo { digest_algorithm: pkcs7::algorithm(ID_SHA256), digest: OctetString::new(digest)? },
    };
    let content = Any::encode_from(&indirect)?;
    // PKCS#7 digests the content without its tag and length (RFC 2315, 9.3).
    let message_digest = OctetString::new(Sha256::digest(content.value()).to_vec())?;
    let attribute = |oid, value: Any| -> Result<Attribute> {
        Ok(Attribute { oid, values: SetOfVec::try_from(vec![value]).context("DER failed")? })
    };
    let attributes = SetOfVec::try_from(vec![
        attribute(CONTENT_TYPE, Any::encode_from(&SPC_INDIRECT_DATA_OBJID)?)?,
        attribute(MESSAGE_DIGEST, Any::encode_from(&message_digest)?)?,
    ])
    .context("DER failed")?;
    let content = EncapsulatedContentInfo { econtent_type: SPC_INDIRECT_DATA_OBJID, econtent: Some(content) };
    let signed_data = pkcs7::sign(content, Signed::Attributes(attributes), signer)?;
    let info = ContentInfo { content_type: ID_SIGNED_DATA, content: Any::encode_from(&signed_data)? };
    Ok(info.to_der()?)
}

/// Checks that an image carries exactly one signature, that it is over this image, and that it was made with
/// the key of this certificate.
///
/// # Errors
/// A sentence's end that says which of these does not hold.
pub fn check(image: &Image, certificate: &Certificate) -> Result<()> {
    check_signature(image.certificate().context("carries no signature")?, &digest(image)?, certificate)
}

/// As [`check`], for the signature of an image with this hash.
///
/// # Errors
/// As [`check`].
pub fn check_signature(bytes: &[u8], digest: &[u8], certificate: &Certificate) -> Result<()> {
    let signature =
        AuthenticodeSignature::from_bytes(bytes).map_err(|e| anyhow!("carries a signature that can't be read: {e}"))?;
    if signature.digest_algorithm().oid != ID_SHA256 || signature.digest() != digest {
        bail!("was changed after it was signed");
    }
    let content = signature.encapsulated_content().context("carries a signature over nothing")?;
    let info = signature.signer_info();
    let attributes = info.signed_attrs.as_ref().context("carries a signature without attributes")?;
    let digest_of_content = OctetString::new(Sha256::digest(content).to_vec())?;
    let states = |oid, value: &Any| attributes.iter().any(|a| a.oid == oid && a.values.iter().eq([value]));
    if !states(MESSAGE_DIGEST, &Any::encode_from(&digest_of_content)?)
        || !states(CONTENT_TYPE, &Any::encode_from(&SPC_INDIRECT_DATA_OBJID)?)
    {
        bail!("carries a signature whose attributes are not of its content");
    }
    let key = RsaPublicKey::try_from(certificate.tbs_certificate.subject_public_key_info.owned_to_ref())
        .map_err(|e| anyhow!("can't be checked, the certificate has no RSA key: {e}"))?;
    let wanted = Signature::try_from(signature.signature()).context("carries a signature of the wrong length")?;
    VerifyingKey::<Sha256>::new(key)
        .verify(&attributes.to_der()?, &wanted)
        .map_err(|_| anyhow!("was not signed with the key of this certificate"))
}

/// What a signature covers: everything but the checksum, the certificate table and its directory entry.
pub(crate) fn digest(image: &Image) -> Result<Vec<u8>> {
    let pe = object::read::pe::PeFile64::parse(image.bytes()).context("the UKI is no PE32+ image")?;
    let mut hasher = Sha256::new();
    authenticode_digest(&pe, &mut hasher).map_err(|e| anyhow!("the UKI's headers are inconsistent: {e}"))?;
    Ok(hasher.finalize().to_vec())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sign::file_key::FileKey;
    use crate::sign::keys;
    use on_disk::pe::NewSection;

    /// The smallest PE32+ image that both readers take, headers of 1 KiB and one section, with a section of this name.
    pub(crate) fn image_with(name: &str, data: &[u8]) -> Image {
        let mut bytes = vec![0; 0x600];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, b"MZ");
        put(0x3c, &0x80u32.to_le_bytes());
        put(0x80, b"PE\0\0\x64\x86\x01\0");
        put(0x94, &240u16.to_le_bytes());
        put(0x98, &0x20bu16.to_le_bytes());
        put(0x98 + 32, &4096u32.to_le_bytes());
        put(0x98 + 36, &512u32.to_le_bytes());
        put(0x98 + 60, &0x400u32.to_le_bytes());
        put(0x98 + 108, &16u32.to_le_bytes());
        put(0x188, b".text\0\0\0");
        put(0x190, &[0x200u32, 0x1000, 0x200, 0x400].map(u32::to_le_bytes).concat());
        bytes[0x400..].fill(0xcc);
        let section = NewSection { name, data, code: false };
        Image::parse(bytes).unwrap().with_sections(&[section]).unwrap()
    }

    pub(crate) fn image(command_line: &[u8]) -> Image {
        image_with(".cmdline", command_line)
    }

    #[test]
    fn only_the_signed_bytes_and_the_right_key_pass() {
        let folder = tempfile::tempdir().unwrap();
        keys::new(&folder.path().join("k")).unwrap();
        let open = |name| FileKey::open(&folder.path().join("k"), name).unwrap();
        let (db, other) = (open("db"), open("KEK"));
        let image = image(b"roothash=1");
        let signed = sign(&image, &db).unwrap();
        assert_eq!(signed, sign(&image, &db).unwrap(), "equal input, equal bytes");
        check(&signed, db.certificate()).unwrap();
        let error = |image: &Image, key: &FileKey| check(image, key.certificate()).unwrap_err().to_string();
        assert!(error(&signed, &other).contains("not signed with the key"));
        assert!(error(&image, &db).contains("no signature"));
        // Every byte but the checksum, which is not covered, and what fills up the certificate table.
        let (checksum, directory) = image.uncovered_fields();
        let last = signed.bytes().len() - 8;
        for at in (0..last).filter(|at| !(checksum..checksum + 4).contains(at)) {
            let mut bytes = signed.bytes().to_vec();
            bytes[at] ^= 0x01;
            let passes = Image::parse(bytes).is_ok_and(|image| check(&image, db.certificate()).is_ok());
            // The enclosed certificate and the signer's name are hints: the key is the caller's.
            let hint = at > image.bytes().len();
            assert!(!passes || hint, "byte {at}, directory at {directory}");
        }
    }
}
