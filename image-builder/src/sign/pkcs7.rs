//! PKCS#7 `SignedData` as firmware reads it (RFC 2315; with CMS types, RFC 5652, at version 1).

use super::Signer;
use anyhow::{Context, Result};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::CmsVersion;
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedAttributes, SignedData, SignerIdentifier, SignerInfo, SignerInfos,
};
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, OctetString, SetOfVec};
use x509_cert::der::{Any, Encode};
use x509_cert::spki::AlgorithmIdentifierOwned;

/// `id-data` (RFC 5652, 4).
pub(super) const ID_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
/// `id-signedData` (RFC 5652, 5.1).
pub(super) const ID_SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// SHA-256 (RFC 5754, 2.2).
pub(super) const ID_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
/// `rsaEncryption` (RFC 3370, 3.2).
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// An algorithm with NULL parameters.
pub(super) fn algorithm(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid, parameters: Some(Any::from(AnyRef::NULL)) }
}

/// What the signature is over.
pub(super) enum Signed<'a> {
    /// Attributes, one of which is the content's digest.
    Attributes(SignedAttributes),
    /// The content itself, which is not enclosed.
    Detached(&'a [u8]),
}

/// Signs with one signer, whose certificate is enclosed.
pub(super) fn sign(content: EncapsulatedContentInfo, signed: Signed, signer: &dyn Signer) -> Result<SignedData> {
    let sha256 = algorithm(ID_SHA256);
    let (signature, signed_attrs) = match signed {
        // The signature is over the SET OF itself, not over its implicit tag (RFC 5652, 5.4).
        Signed::Attributes(attributes) => (signer.sign_pkcs1_sha256(&attributes.to_der()?)?, Some(attributes)),
        Signed::Detached(bytes) => (signer.sign_pkcs1_sha256(bytes)?, None),
    };
    let certificate = signer.certificate();
    let info = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: certificate.tbs_certificate.issuer.clone(),
            serial_number: certificate.tbs_certificate.serial_number.clone(),
        }),
        digest_alg: sha256.clone(),
        signed_attrs,
        signature_algorithm: algorithm(RSA_ENCRYPTION),
        signature: OctetString::new(signature)?,
        unsigned_attrs: None,
    };
    let enclosed = CertificateChoices::Certificate(certificate.clone());
    Ok(SignedData {
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::try_from(vec![sha256]).context("DER failed")?,
        encap_content_info: content,
        certificates: Some(CertificateSet(SetOfVec::try_from(vec![enclosed]).context("DER failed")?)),
        crls: None,
        signer_infos: SignerInfos(SetOfVec::try_from(vec![info]).context("DER failed")?),
    })
}
