//! What is up to a site of how its arrays are kept.

use super::{Array, Level};
use serde::{Deserialize, Serialize};

/// How it is known after a power cut where parity may not be true, with levels 5 and 6.
///
/// A write that was cut off leaves data and parity that tell different things, and a member that is lost then can't be told
/// from them: the write hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WriteHole {
    /// A partial parity log. It closes the hole, of level 5 alone.
    Ppl,
    /// An internal bitmap of what is being written. It shortens the sync after a power cut, and does not close the hole.
    Bitmap,
    /// A journal on a disk of its own, which everything is written to first. It closes the hole.
    Journal,
}

/// What becomes of an array with parity that was cut off in the middle of a write and lacks a member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DirtyDegraded {
    /// It is refused.
    #[default]
    Stop,
    /// It is started and mounted so that nothing is written to it.
    StartReadOnly,
}

/// How fast an array is rebuilt, synced and checked, in bytes a second of each member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rebuild {
    /// So fast also while programs use the array; without it as the kernel has it, 1 MB a second.
    #[serde(
        default,
        deserialize_with = "crate::units::optional_size",
        serialize_with = "crate::units::write_optional_size",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>", extend("format" = "size", "examples" = ["50 MB"]))]
    pub at_least: Option<u64>,
    /// No faster, also when nothing else uses the array; without it as the kernel has it, 200 MB a second.
    #[serde(
        default,
        deserialize_with = "crate::units::optional_size",
        serialize_with = "crate::units::write_optional_size",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>", extend("format" = "size", "examples" = ["500 MB"]))]
    pub at_most: Option<u64>,
}

/// How often an array is read through from end to end; `"never"`, or `"30 days"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scrub {
    /// Not at all.
    Never,
    /// After so many seconds, again and again.
    Every(u64),
}

const DAY: u64 = 24 * 60 * 60;

impl Default for Scrub {
    fn default() -> Scrub {
        Scrub::Every(30 * DAY)
    }
}

impl std::str::FromStr for Scrub {
    type Err = String;
    fn from_str(text: &str) -> Result<Scrub, String> {
        let days = text.strip_suffix(" days").or_else(|| text.strip_suffix(" day"));
        let days = days.filter(|days| days.bytes().all(|b| b.is_ascii_digit())).and_then(|days| days.parse().ok());
        match days {
            _ if text == "never" => Ok(Scrub::Never),
            Some(days @ 1..=366) => Ok(Scrub::Every(days * DAY)),
            _ => Err(format!("expected \"never\", or from 1 to 366 days, such as \"30 days\", not {text:?}")),
        }
    }
}

impl std::fmt::Display for Scrub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scrub::Never => f.write_str("never"),
            Scrub::Every(seconds) => write!(f, "{} days", seconds / DAY),
        }
    }
}

impl Serialize for Scrub {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scrub {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Scrub {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scrub".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "scrub", "examples": ["30 days", "never"] })
    }
}

impl Array {
    /// What it is made with: what the configuration says, or else the best that its level has.
    pub fn write_hole(&self) -> WriteHole {
        self.write_hole.unwrap_or(if self.level == Level::Raid5 { WriteHole::Ppl } else { WriteHole::Bitmap })
    }

    /// What is wrong with its journal, if anything: the key, the end of a sentence that begins with the array, and what to do.
    pub fn journal_fault(&self) -> Option<(&'static str, &'static str, &'static str)> {
        let is_asked_for = self.write_hole == Some(WriteHole::Journal);
        match &self.journal {
            None if is_asked_for => Some((
                "write-hole",
                "has `write-hole = \"journal\"` and no disk for it",
                "Say which: journal = { serial = [\"...\"] }.",
            )),
            Some(_) if !is_asked_for => Some((
                "journal",
                "has a disk for a journal, and `write-hole` does not ask for one",
                "Write write-hole = \"journal\", which counts when the array is made, or leave `journal` out.",
            )),
            Some(journal) if journal.how_many().is_some_and(|count| count != 1) => Some((
                "journal",
                "has several disks for its journal",
                "Select one: md keeps a journal on one disk alone.",
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_a_scrub_reads_as_the_same() {
        for text in ["never", "1 days", "30 days", "366 days"] {
            assert_eq!(text.parse::<Scrub>().unwrap().to_string(), text);
        }
        assert_eq!("1 day".parse(), Ok(Scrub::Every(DAY)));
        for text in ["0 days", "367 days", "30", "30days", "+3 days", "1 month", " days", ""] {
            assert!(text.parse::<Scrub>().is_err(), "{text:?}");
        }
    }
}
