//! Extended attributes (`struct erofs_xattr_entry`, `struct erofs_xattr_ibody_header`): behind the inode's record,
//! or in one place of the image for all inodes that share them.

use super::{Error, Fields};

/// Beginnings of names that have a number (`EROFS_XATTR_INDEX_*`); the kernel shows no others. Longer ones first.
const PREFIXES: [(&str, u8); 5] =
    [("system.posix_acl_access", 2), ("system.posix_acl_default", 3), ("user.", 1), ("trusted.", 4), ("security.", 6)];

const PART: &str = "an extended attribute";

/// An attribute as it lies on disk, filled up to a multiple of 4 bytes.
///
/// # Errors
/// When the kernel shows no attribute of such a name, or name or value are too long for the format.
pub fn entry(name: &str, value: &[u8]) -> Result<Vec<u8>, Error> {
    let broken = |why| Error::Broken { part: PART, why };
    let (prefix, number) = PREFIXES
        .iter()
        .find(|(prefix, _)| if prefix.ends_with('.') { name.starts_with(prefix) } else { name == *prefix })
        .ok_or_else(|| broken("a name that is none of user., trusted., security. and the access control lists"))?;
    let rest = &name[prefix.len()..];
    let length = u8::try_from(rest.len()).map_err(|_| broken("a name of more than 255 bytes behind its prefix"))?;
    let size = u16::try_from(value.len()).map_err(|_| broken("a value of more than 65535 bytes"))?;
    let mut bytes = vec![length, *number];
    bytes.extend(size.to_le_bytes());
    bytes.extend(rest.as_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

/// Reads an attribute: name, value, and the bytes it takes.
///
/// # Errors
/// When the bytes end too soon or the name is none that [`entry`] makes.
pub fn parse_entry(bytes: &[u8]) -> Result<(String, Vec<u8>, usize), Error> {
    let mut fields = Fields::new(PART, bytes);
    let (length, number, size) = (fields.u8()?.into(), fields.u8()?, fields.u16()?.into());
    let (rest, value) = (fields.take(length)?, fields.take(size)?);
    let prefix = PREFIXES.iter().find(|(_, n)| *n == number);
    match (prefix, std::str::from_utf8(rest)) {
        (Some((prefix, _)), Ok(rest)) if prefix.ends_with('.') || rest.is_empty() => {
            let used = (4 + length + size).next_multiple_of(4);
            if used > bytes.len() {
                Err(Error::Short(PART))
            } else {
                Ok((format!("{prefix}{rest}"), value.to_vec(), used))
            }
        }
        _ => fields.broken("a name that is not known or no text"),
    }
}

/// Most attributes that one inode takes from the shared ones.
pub const MOST_SHARED: usize = 255;
/// Most bytes that an inode's attributes take, each counted as its own.
pub const MOST_BYTES: usize = 4 * (u16::MAX as usize - 1);
const HEADER: usize = 12;

/// Bytes of [`body`] with so many shared attributes and these of its own.
pub fn body_size(shared: usize, own: &[&[u8]]) -> usize {
    let bytes = 4 * shared + own.iter().map(|entry| entry.len()).sum::<usize>();
    if bytes == 0 { 0 } else { HEADER + bytes }
}

/// What lies behind an inode's record: the shared attributes by their number (their place in the image divided by
/// 4), then its own, each made by [`entry`]. Nothing at all if there are none.
///
/// # Panics
/// When there are more than [`MOST_SHARED`] shared ones.
pub fn body(shared: &[u32], own: &[&[u8]]) -> Vec<u8> {
    assert!(shared.len() <= MOST_SHARED);
    let mut bytes = vec![0; body_size(shared.len(), own).min(HEADER)];
    if let Some(count) = bytes.get_mut(4) {
        *count = shared.len() as u8;
    }
    bytes.extend(shared.iter().flat_map(|number| number.to_le_bytes()));
    own.iter().for_each(|entry| bytes.extend(*entry));
    bytes
}

/// Numbers of the shared attributes, and the own ones.
pub type Body = (Vec<u32>, Vec<(String, Vec<u8>)>);

/// Reads what lies behind an inode's record, all of it.
///
/// # Errors
/// When it ends too soon, or an attribute is broken.
pub fn parse_body(bytes: &[u8]) -> Result<Body, Error> {
    if bytes.is_empty() {
        return Ok(Body::default());
    }
    let mut fields = Fields::new("the extended attributes", bytes);
    let _absent_names = fields.u32()?;
    let count = fields.u8()?;
    fields.take(7)?;
    let shared = (0..count).map(|_| fields.u32()).collect::<Result<_, _>>()?;
    let mut own = Vec::new();
    while !fields.bytes.is_empty() {
        let (name, value, used) = parse_entry(fields.bytes)?;
        fields.take(used)?;
        own.push((name, value));
    }
    Ok((shared, own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_entry_is_laid_out_as_the_kernel_reads_it() {
        assert_eq!(entry("user.a", b"xyz").unwrap(), [1, 1, 3, 0, b'a', b'x', b'y', b'z']);
        assert_eq!(entry("security.ima", b"").unwrap(), [3, 6, 0, 0, b'i', b'm', b'a', 0]);
        assert_eq!(entry("system.posix_acl_default", &[9]).unwrap(), [0, 3, 1, 0, 9, 0, 0, 0]);
        let body = body(&[288], &[&entry("user.a", b"xyz").unwrap()]);
        assert_eq!(body[..16], [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 32, 1, 0, 0]);
        assert_eq!(body.len(), 24);
    }

    #[test]
    fn what_the_format_has_no_room_for_is_refused() {
        assert!(entry("system.other", b"").is_err() && entry("system.posix_acl_access.x", b"").is_err());
        assert!(entry(&format!("user.{}", "x".repeat(255)), &[0; 65535]).is_ok());
        assert!(entry(&format!("user.{}", "x".repeat(256)), b"").is_err());
        assert!(entry("user.a", &[0; 65536]).is_err());
    }

    #[test]
    fn broken_attributes_are_refused() {
        let good = body(&[], &[&entry("user.abcd", b"xyz").unwrap()]);
        for (at, byte) in [(12, 100), (13, 5), (13, 2), (14, 100), (16, 0xff), (4, 50)] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            assert!(parse_body(&bytes).is_err(), "byte {at} as {byte}");
        }
        assert!((1..good.len()).all(|len| len == 12 || parse_body(&good[..len]).is_err()));
    }

    proptest! {
        #[test]
        fn attributes_go_through(
            shared in prop::collection::vec(any::<u32>(), 0..255),
            own in prop::collection::vec(
                ("(user|trusted|security)\\.[^\0]{0,60}|system\\.posix_acl_(access|default)", prop::collection::vec(any::<u8>(), 0..300)),
                0..6,
            ),
        ) {
            let entries: Vec<Vec<u8>> = own.iter().map(|(name, value)| entry(name, value).unwrap()).collect();
            let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
            let bytes = body(&shared, &entries);
            prop_assert_eq!(bytes.len(), body_size(shared.len(), &entries));
            prop_assert!(bytes.len().is_multiple_of(4));
            prop_assert_eq!(parse_body(&bytes), Ok((shared, own)));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), small in 0u8..20) {
            let _ = parse_body(&bytes);
            let small: Vec<u8> = bytes.iter().map(|b| b % (small + 1)).collect();
            let _ = parse_body(&small);
            let _ = parse_entry(&small);
        }
    }
}
