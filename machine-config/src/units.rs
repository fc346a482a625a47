//! Sizes as people write them: `"512 MiB"`, `"1 TB"`, `"400 GB .. 1 TB"`.

use crate::schema::SizeRange;
use serde::{Deserialize, Deserializer, de::Error};

/// Bytes of a size such as `512 MiB` or `1.5 TB`. Decimal units are powers of 1000, binary ones of 1024.
///
/// # Errors
/// A sentence saying what was expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim() {
        "B" | "" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1000u64.pow(2),
        "GB" => 1000u64.pow(3),
        "TB" => 1000u64.pow(4),
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        other => {
            return Err(format!(
                "unknown unit {other:?} in {text:?}; expected B, kB, MB, GB, TB, KiB, MiB, GiB or TiB"
            ));
        }
    };
    let bad = || format!("{text:?} is not a size; expected a number and a unit, such as \"400 GB\"");
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
/// A sentence saying what was expected.
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
        return Err(format!("the range {text:?} is empty: its lower end is above its upper end"));
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
        schemars::json_schema!({ "type": "string", "examples": ["400 GB .. 1 TB", "8 TB .."] })
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
        assert!(parse_size("99999999999 TB").is_err());
    }

    #[test]
    fn ranges() {
        assert_eq!(parse_range("8 TB .."), Ok(SizeRange { min: Some(8_000_000_000_000), max: None }));
        assert!(parse_range("2 TB .. 1 TB").is_err());
    }
}
