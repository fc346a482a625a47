//! Sizes and addresses as people write them: `"512 MiB"`, `"400 GB .. 1 TB"`, `"10.0.7.11/24"`.
//!
//! What is read can be written: a size or range is serialised as text that reads as the same value.

use crate::schema::SizeRange;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::net::IpAddr;

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("B", 1),
];

/// Bytes of a size such as `512 MiB` or `1.5 TB`. Decimal units are powers of 1000, binary ones of 1024.
///
/// # Errors
/// A clause that begins with "expected".
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit.trim() {
        "KB" => "kB",
        other => other,
    };
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit).copied() else {
        return Err(format!(
            "expected a size with a unit (B, kB, MB, GB, TB, KiB, MiB, GiB or TiB), such as \"400 GB\", not {text:?}"
        ));
    };
    let bad = || format!("expected a size below 16 EiB, such as \"400 GB\", not {text:?}");
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let mut bytes = whole.checked_mul(factor).ok_or_else(bad)?;
    if !fraction.is_empty() {
        let digits: u64 = fraction.parse().map_err(|_| bad())?;
        let scale = 10u64.checked_pow(u32::try_from(fraction.len()).map_err(|_| bad())?).ok_or_else(bad)?;
        bytes = bytes
            .checked_add(u64::try_from(u128::from(digits) * u128::from(factor) / u128::from(scale)).map_err(|_| bad())?)
            .ok_or_else(bad)?;
    }
    Ok(bytes)
}

/// A size range: `"400 GB .. 1 TB"`, `"8 TB .."`, `".. 1 TB"`, or one exact size.
///
/// # Errors
/// A clause that begins with "expected".
pub fn parse_range(text: &str) -> Result<SizeRange, String> {
    let bound = |s: &str| if s.trim().is_empty() { Ok(None) } else { parse_size(s).map(Some) };
    let range = match text.split_once("..") {
        Some((min, max)) => SizeRange { min: bound(min)?, max: bound(max)? },
        None => {
            let exact = parse_size(text)?;
            SizeRange { min: Some(exact), max: Some(exact) }
        }
    };
    if let SizeRange { min: Some(min), max: Some(max) } = range
        && min > max
    {
        return Err(format!("expected a range whose lower end is not above its upper end, not {text:?}"));
    }
    Ok(range)
}

/// Serde helper for optional sizes.
///
/// # Errors
/// As [`parse_size`].
pub fn optional_size<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    Option::<String>::deserialize(d)?.map(|s| parse_size(&s).map_err(D::Error::custom)).transpose()
}

/// Serde helper for sizes that must be given.
///
/// # Errors
/// As [`parse_size`].
pub fn size<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    parse_size(&String::deserialize(d)?).map_err(D::Error::custom)
}

/// Serde helper: the counterpart of [`size`].
///
/// # Errors
/// As the serializer.
pub fn write_size<S: Serializer>(size: &u64, s: S) -> Result<S::Ok, S::Error> {
    format_size(*size).serialize(s)
}

/// A size as text, in the largest unit that gives a whole number: `parse_size(&format_size(n)) == Ok(n)`.
pub fn format_size(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes >= *factor && bytes.is_multiple_of(*factor);
    let (name, factor) = UNITS.iter().find(fits).copied().unwrap_or(("B", 1));
    format!("{} {name}", bytes / factor)
}

/// Serde helper: the counterpart of [`optional_size`].
///
/// # Errors
/// As the serializer.
pub fn write_optional_size<S: Serializer>(size: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
    size.map(format_size).serialize(s)
}

/// An address and a prefix length, `10.0.7.11/24`.
pub fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let length = length.parse().ok().filter(|length| digits && *length <= most)?;
    Some((address, length))
}

/// Whether two addresses are in one network of this prefix length.
pub fn same_network(a: IpAddr, b: IpAddr, length: u8) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    };
    let shift = 128 - u32::from(length.min(128));
    a.is_ipv4() == b.is_ipv4() && bits(a).checked_shr(shift).unwrap_or(0) == bits(b).checked_shr(shift).unwrap_or(0)
}

impl Serialize for SizeRange {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let bound = |size: Option<u64>| size.map(format_size).unwrap_or_default();
        match (self.min, self.max) {
            (Some(min), Some(max)) if min == max => s.serialize_str(&format_size(min)),
            (min, max) => s.serialize_str(format!("{} .. {}", bound(min), bound(max)).trim()),
        }
    }
}

impl<'de> Deserialize<'de> for SizeRange {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        parse_range(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}

impl schemars::JsonSchema for SizeRange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SizeRange".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "size-range", "examples": ["400 GB .. 1 TB", "8 TB .."] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("512 MiB"), Ok(512 << 20));
        assert_eq!(parse_size("1.5 TB"), Ok(1_500_000_000_000));
        assert!(parse_size("12 parsecs").is_err());
        assert!(parse_size("400").is_err(), "a size without a unit would be read as bytes");
        assert!(parse_size("99999999999 TB").is_err());
    }

    #[test]
    fn ranges() {
        assert_eq!(parse_range("8 TB .."), Ok(SizeRange { min: Some(8_000_000_000_000), max: None }));
        assert!(parse_range("2 TB .. 1 TB").is_err());
    }

    #[test]
    fn what_is_written_reads_as_the_same() {
        for bytes in [0, 1, 999, 1000, 1024, 400_000_000_000, 512 << 20, u64::MAX] {
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
        for text in ["400 GB .. 1 TB", "8 TB ..", ".. 1 TiB", "1 TB", ".."] {
            let range = parse_range(text).expect("a range");
            let json = serde_json::to_string(&range).expect("serialises");
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<SizeRange>(&json).expect("reads"), range);
        }
    }

    #[test]
    fn networks() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(parse_cidr("10.0.7.11/24"), Some((ip("10.0.7.11"), 24)));
        assert_eq!(parse_cidr("10.0.7.11/+4"), None);
        assert!(same_network(ip("10.0.7.11"), ip("10.0.7.1"), 24));
        assert!(!same_network(ip("10.0.7.11"), ip("10.0.8.1"), 24));
        assert!(same_network(ip("10.0.7.11"), ip("99.0.8.1"), 0));
        assert!(!same_network(ip("10.0.7.11"), ip("2001:db8::1"), 0));
        assert!(same_network(ip("2001:db8::11"), ip("2001:db8::1"), 64));
    }
}
