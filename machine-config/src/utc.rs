//! Moments in UTC as people and files write them: `2026-11-29T14:03:00Z` (RFC 3339, whole seconds).

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;
use std::str::FromStr;

/// Seconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utc(pub u64);

/// Seconds of a day.
pub const DAY: u64 = 86_400;
/// The last second whose year has four digits.
const LAST: u64 = 253_402_300_799;

impl Utc {
    /// This many seconds later; the last moment that can be written if that is beyond it.
    pub fn after(self, seconds: u64) -> Utc {
        Utc(self.0.saturating_add(seconds).min(LAST))
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / DAY, self.0 % DAY);
        // Days are counted in years that begin in March, so that a leap day is the last of one (proleptic Gregorian
        // calendar; an era of 400 years has 146097 days). 719468 days lie between 0000-03-01 and 1970-01-01.
        let (era, of_era) = ((days + 719_468) / 146_097, (days + 719_468) % 146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march + 2) / 5 + 1;
        let month = if march < 10 { march + 3 } else { march - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl FromStr for Utc {
    type Err = String;

    /// Reads the one form that is written.
    fn from_str(text: &str) -> Result<Utc, String> {
        let expected = || format!("expected a time in UTC, such as \"2026-11-29T14:03:00Z\", not {text:?}");
        let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
        let read = || {
            let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
            let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
            if year < 1970 || !(1..=12).contains(&month) {
                return None;
            }
            let (in_march, march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
            let (era, of_era) = (in_march / 400, in_march % 400);
            let of_year = (153 * march + 2) / 5 + day.checked_sub(1)?;
            let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
            let days = days.checked_sub(719_468)?;
            Some(Utc(days * DAY + hour * 3600 + minute * 60 + second))
        };
        // What is written again is the same, so 30 February, 25 o'clock and any other form are refused.
        read().filter(|utc| utc.0 <= LAST && utc.to_string() == text).ok_or_else(expected)
    }
}

impl Serialize for Utc {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Utc {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Utc, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

impl schemars::JsonSchema for Utc {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Utc".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "utc-time", "examples": ["2026-11-29T14:03:00Z"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_000_000_000, "2001-09-09T01:46:40Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (LAST, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Utc(seconds).to_string(), text);
            assert_eq!(text.parse(), Ok(Utc(seconds)), "{text}");
        }
        assert_eq!(Utc(LAST - 1).after(7), Utc(LAST));
    }

    #[test]
    fn another_form_or_no_day_of_the_calendar_is_refused() {
        for text in [
            "",
            "2026-11-29",
            "2026-11-29 14:03:00Z",
            "2026-11-29T14:03:00+00:00",
            "2026-02-29T00:00:00Z",
            "2026-11-31T00:00:00Z",
            "2026-11-29T24:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-+1-29T14:03:00Z",
            "2026-11-29T14:03:0\u{e4}",
        ] {
            assert!(text.parse::<Utc>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_is_read_as_it_is_written(seconds in 0..=LAST) {
            prop_assert_eq!(Utc(seconds).to_string().parse(), Ok(Utc(seconds)));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = text.parse::<Utc>();
        }
    }
}
