//! Secure Boot's key databases: signature lists, and the signed writes that bring them into the firmware.
//!
//! Reading takes any bytes: it gives a value or an error, and never panics.
//!
//! Formats: `EFI_SIGNATURE_LIST`, UEFI 2.10 section 32.4.1; `EFI_VARIABLE_AUTHENTICATION_2`, section 8.2.6. All
//! integers are little endian.

use crate::efi_vars::Time;
use uuid::{Uuid, uuid};

/// `EFI_CERT_X509_GUID`.
const CERT_X509: Uuid = uuid!("a5c059a1-94e4-4aa7-87b5-ab155c2bf072");
/// `EFI_CERT_TYPE_PKCS7_GUID`.
const CERT_TYPE_PKCS7: Uuid = uuid!("4aafd29d-68df-49ee-8aa9-347d375665a7");
/// Type, three sizes.
const LIST_HEADER: usize = 28;
/// `EFI_TIME`.
const TIME: usize = 16;
/// `WIN_CERTIFICATE_UEFI_GUID` before its data: length, revision, type, GUID.
const CERTIFICATE_HEADER: usize = 24;

/// Why bytes are no key database, or no signed write of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(&'static str);

/// What one entry of a database lets pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trusted {
    /// Whatever is signed under this X.509 certificate (DER).
    Certificate(Vec<u8>),
    /// An entry of another kind, such as the digest of one program.
    Other(Uuid),
}

/// An entry of a key database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whoever put it there.
    pub owner: Uuid,
    /// What it lets pass.
    pub trusted: Trusted,
}

/// One X.509 certificate (DER) as a signature list, the form in which `PK`, `KEK` and `db` hold it.
pub fn signature_list(owner: Uuid, certificate: &[u8]) -> Vec<u8> {
    let signature = 16 + certificate.len();
    let mut list = CERT_X509.to_bytes_le().to_vec();
    list.extend(((LIST_HEADER + signature) as u32).to_le_bytes());
    list.extend(0u32.to_le_bytes()); // no header
    list.extend((signature as u32).to_le_bytes());
    list.extend(owner.to_bytes_le());
    list.extend(certificate);
    list
}

/// The entries of a database: of all its signature lists, in order.
///
/// # Errors
/// When a list does not fit into the bytes, or its entries not into it.
pub fn entries(mut bytes: &[u8]) -> Result<Vec<Entry>, Broken> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let header = bytes.get(..LIST_HEADER).ok_or(Broken("a signature list is cut off"))?;
        let (size, own_header, each) = (number(header, 16), number(header, 20), number(header, 24));
        let list = bytes.get(..size).ok_or(Broken("a signature list is longer than its database"))?;
        let begin = LIST_HEADER.checked_add(own_header).filter(|begin| *begin <= size);
        let signatures = begin.and_then(|begin| list.get(begin..)).ok_or(Broken("a signature list is too short"))?;
        if each < 16 || !signatures.len().is_multiple_of(each) {
            return Err(Broken("the entries of a signature list are not of the size it says"));
        }
        let kind = guid(header);
        entries.extend(signatures.chunks_exact(each).map(|signature| Entry {
            owner: guid(signature),
            trusted: match kind == CERT_X509 {
                true => Trusted::Certificate(signature[16..].to_vec()),
                false => Trusted::Other(kind),
            },
        }));
        bytes = &bytes[size..];
    }
    Ok(entries)
}

/// A signed write: `EFI_VARIABLE_AUTHENTICATION_2` with this PKCS#7 `SignedData`, and the new value.
pub fn signed_write(time: Time, signed_data: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = time.to_bytes().to_vec();
    bytes.extend(((CERTIFICATE_HEADER + signed_data.len()) as u32).to_le_bytes());
    bytes.extend([0x00, 0x02, 0xf1, 0x0e]); // revision 2.0, WIN_CERT_TYPE_EFI_GUID
    bytes.extend(CERT_TYPE_PKCS7.to_bytes_le());
    bytes.extend(signed_data);
    bytes.extend(value);
    bytes
}

/// The new value that a signed write carries.
///
/// # Errors
/// When it is no signed write.
pub fn value_of_signed_write(bytes: &[u8]) -> Result<&[u8], Broken> {
    let cut = Broken("a signed write is cut off");
    let certificate = bytes.get(TIME..TIME + CERTIFICATE_HEADER).ok_or(cut.clone())?;
    if certificate[4..8] != [0x00, 0x02, 0xf1, 0x0e] || guid(&certificate[8..]) != CERT_TYPE_PKCS7 {
        return Err(Broken("it is no signed write of a variable"));
    }
    let end = TIME.checked_add(number(certificate, 0)).filter(|end| *end >= TIME + CERTIFICATE_HEADER);
    end.and_then(|end| bytes.get(end..)).ok_or(cut)
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
}

fn guid(bytes: &[u8]) -> Uuid {
    let mut guid = [0; 16];
    guid.copy_from_slice(&bytes[..16]);
    Uuid::from_bytes_le(guid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_list_carries_its_sizes_and_owner() {
        let list = signature_list(Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff), b"DER");
        assert_eq!(list.len(), 47);
        assert_eq!((number(&list, 16), number(&list, 20), number(&list, 24)), (47, 0, 19));
        assert_eq!(list[28..32], [0x33, 0x22, 0x11, 0x00]);
        assert_eq!(&list[44..], b"DER");
    }

    #[test]
    fn the_entries_of_several_lists_are_read_in_order() {
        let (ours, theirs) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut database = [signature_list(ours, b"own"), signature_list(theirs, b"vendor")].concat();
        // A list of digests, as vendors put them into dbx, with two entries.
        let sha256 = uuid!("c1c41626-504c-4092-aca9-41f936934328");
        database.extend(sha256.to_bytes_le());
        database.extend([28 + 2 * 48, 0, 48].map(u32::to_le_bytes).concat());
        database.extend([7; 96]);
        let found = entries(&database).unwrap();
        assert_eq!(found[0], Entry { owner: ours, trusted: Trusted::Certificate(b"own".to_vec()) });
        assert_eq!(found[1], Entry { owner: theirs, trusted: Trusted::Certificate(b"vendor".to_vec()) });
        assert_eq!(found.len(), 4);
        assert_eq!(found[3].trusted, Trusted::Other(sha256));
        assert_eq!(entries(&[]), Ok(Vec::new()));
    }

    #[test]
    fn a_signed_write_gives_its_value_back() {
        let write = signed_write(Time { year: 2026, ..Time::default() }, b"PKCS7", b"value");
        assert_eq!(write[..2], 2026u16.to_le_bytes());
        assert_eq!(value_of_signed_write(&write), Ok(&b"value"[..]));
        assert!(value_of_signed_write(b"value").is_err());
    }

    #[test]
    fn other_bytes_are_refused_and_never_panic() {
        let database = [signature_list(Uuid::nil(), b"own"), signature_list(Uuid::nil(), b"vendor")].concat();
        for cut in 1..database.len() {
            let whole = cut == signature_list(Uuid::nil(), b"own").len();
            assert_eq!(entries(&database[..cut]).is_ok(), whole, "cut at {cut}");
        }
        let write = signed_write(Time::default(), b"PKCS7", &database);
        for at in 0..write.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = write.clone();
                bad[at] = value;
                if let Ok(value) = value_of_signed_write(&bad) {
                    let _ = entries(value);
                }
            }
        }
        for cut in 0..TIME + CERTIFICATE_HEADER + 5 {
            assert!(value_of_signed_write(&write[..cut]).is_err(), "cut at {cut}");
        }
    }
}
