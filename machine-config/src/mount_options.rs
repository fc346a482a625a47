//! Options that a volume may be mounted with: a short list per file system, everything else is refused.
//!
//! On it is what tunes a file system (xfs(5), ext4(5), mount(8)). Not on it is what would break a promise of the node: that
//! what was flushed outlives a power cut, that a volume which is said to be there can be written, that a fault of a disk
//! does not end the node.

use crate::schema::Format;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A volume of data.
    Data,
    /// The state partition, on which containers keep their root file systems.
    State,
}

/// What is wrong with one option of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not on the list of its file system, or has a value that is not; why, if there is more to say.
    NotAllowed(Option<&'static str>),
    /// Another option, which stands before it, says something about the same already.
    Contradicts(String),
}

/// The value that an option takes behind `=`.
enum Value {
    None,
    Number(RangeInclusive<u64>),
    /// A power of two, with `k`, `m` or `g` behind it, between these.
    Size(&'static str, &'static str),
    Word(&'static [&'static str]),
}

struct Known {
    name: &'static str,
    value: Value,
    /// The file system that has it; none for those that all have.
    format: Option<Format>,
    /// What it says something about; its own name unless others say something about the same.
    about: &'static str,
    /// Whether the state partition takes it.
    state: bool,
}

const fn of_all(name: &'static str, about: &'static str, state: bool) -> Known {
    Known { name, value: Value::None, format: None, about, state }
}

const fn of(format: Format, name: &'static str, value: Value) -> Known {
    Known { name, value, format: Some(format), about: name, state: true }
}

const ALL: [Known; 14] = [
    of_all("noatime", "atime", true),
    of_all("relatime", "atime", true),
    of_all("lazytime", "lazytime", true),
    of_all("noexec", "noexec", false),
    of_all("nosuid", "nosuid", false),
    of(Format::Xfs, "prjquota", Value::None),
    of(Format::Xfs, "allocsize", Value::Size("64k", "1g")),
    of(Format::Xfs, "largeio", Value::None),
    of(Format::Xfs, "swalloc", Value::None),
    of(Format::Xfs, "logbufs", Value::Number(2..=8)),
    of(Format::Xfs, "logbsize", Value::Size("32k", "256k")),
    of(Format::Ext4, "commit", Value::Number(1..=60)),
    of(Format::Ext4, "data", Value::Word(&["ordered", "journal"])),
    of(Format::Ext4, "errors", Value::Word(&["remount-ro"])),
];

/// Options that people know and that are refused for a reason of their own.
const REFUSED: [(&str, &str); 15] = [
    ("nofail", "Whether the node runs without a volume is for its `required` to say."),
    ("noauto", "A volume that is not to be mounted is left out of the site file."),
    (
        "discard",
        "It makes each deletion wait for the disk, and what a disk gives back for trimmed blocks differs by model.",
    ),
    ("norecovery", "Without its log replayed the file system lacks what was flushed last."),
    ("noload", "Without its journal replayed the file system lacks what was flushed last."),
    ("nobarrier", "What was flushed would not outlive a power cut."),
    ("barrier", "What was flushed would not outlive a power cut."),
    ("journal_async_commit", "What was flushed would not outlive a power cut."),
    ("ro", "A volume is there to be written."),
    ("remount", "The node mounts a volume once, when it starts."),
    ("bind", "The node mounts what it made, and nothing twice."),
    ("nodev", "Every volume of data has it already; on the state partition containers need their devices."),
    ("nouuid", "Two file systems with one UUID are two copies, and the node refuses one of them."),
    ("noexec", "Containers keep their root file systems in /var."),
    ("nosuid", "Containers keep their root file systems in /var."),
];

/// What is wrong with `options`, each with its position in the list.
pub fn faults(options: &[String], format: Format, kind: Kind) -> Vec<(usize, Fault)> {
    let mut said: BTreeMap<&str, &String> = BTreeMap::new();
    let mut faults = Vec::new();
    for (at, option) in options.iter().enumerate() {
        let Some(known) = taken(format, kind).find(|known| known.takes(option)) else {
            faults.push((at, Fault::NotAllowed(reason(option, format, kind))));
            continue;
        };
        if let Some(before) = said.insert(known.about, option) {
            faults.push((at, Fault::Contradicts(before.clone())));
        }
    }
    faults
}

/// What may stand in the list, in words.
pub fn allowed(format: Format, kind: Kind) -> String {
    taken(format, kind).map(Known::words).collect::<Vec<_>>().join(", ")
}

fn taken(format: Format, kind: Kind) -> impl Iterator<Item = &'static Known> {
    ALL.iter().filter(move |o| o.format.is_none_or(|of| of == format) && (o.state || kind == Kind::Data))
}

fn reason(option: &str, format: Format, kind: Kind) -> Option<&'static str> {
    let name = option.split('=').next().unwrap_or(option);
    // Of an option whose value is wrong the list says enough.
    if taken(format, kind).any(|known| known.name == name) {
        return None;
    }
    REFUSED.iter().find(|(refused, _)| *refused == name).map(|(_, why)| *why)
}

impl Known {
    fn takes(&self, option: &str) -> bool {
        let value = option.strip_prefix(self.name).and_then(|rest| rest.strip_prefix('='));
        match (&self.value, value) {
            (Value::None, None) => option == self.name,
            (Value::Number(range), Some(text)) => {
                !text.starts_with('+') && text.parse().is_ok_and(|number| range.contains(&number))
            }
            (Value::Size(least, most), Some(text)) => size(text).is_some_and(|bytes| {
                size(least) <= Some(bytes) && Some(bytes) <= size(most) && bytes.is_power_of_two()
            }),
            (Value::Word(words), Some(text)) => words.contains(&text),
            _ => false,
        }
    }

    fn words(&self) -> String {
        match &self.value {
            Value::None => self.name.to_owned(),
            Value::Number(range) => format!("{}={} to {}", self.name, range.start(), range.end()),
            Value::Size(least, most) => format!("{}={least} to {most}", self.name),
            Value::Word(words) => {
                words.iter().map(|word| format!("{}={word}", self.name)).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// Bytes of a size as the kernel reads it in a mount option, with a letter for its unit.
fn size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let shift = match unit {
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return None,
    };
    let number: u64 = number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok())??;
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(format: Format, kind: Kind, options: &[&str]) -> Vec<(usize, Fault)> {
        faults(&options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>(), format, kind)
    }

    #[test]
    fn what_is_on_the_list_is_taken_with_values_in_their_range() {
        let xfs =
            ["relatime", "noexec", "nosuid", "prjquota", "allocsize=64m", "logbufs=8", "logbsize=256k", "swalloc"];
        assert_eq!(faults_of(Format::Xfs, Kind::Data, &xfs), []);
        assert_eq!(
            faults_of(Format::Ext4, Kind::Data, &["lazytime", "commit=30", "data=journal", "errors=remount-ro"]),
            []
        );
        let refused = |format, option: &str| faults_of(format, Kind::Data, &[option]).len() == 1;
        for option in [
            "allocsize=3m",
            "allocsize=2g",
            "allocsize=m",
            "allocsize=",
            "logbufs=9",
            "logbufs=+8",
            "prjquota=1",
            "largeio,ro",
        ] {
            assert!(refused(Format::Xfs, option), "{option}");
        }
        for option in ["commit=0", "commit=61", "data=writeback", "errors=panic", "commit", "noatime=1", "", "NOATIME"]
        {
            assert!(refused(Format::Ext4, option), "{option}");
        }
    }

    #[test]
    fn each_file_system_takes_its_own_and_the_state_partition_less() {
        assert_eq!(faults_of(Format::Ext4, Kind::Data, &["prjquota"]), [(0, Fault::NotAllowed(None))]);
        assert_eq!(faults_of(Format::Xfs, Kind::Data, &["commit=5"]), [(0, Fault::NotAllowed(None))]);
        assert_eq!(faults_of(Format::Xfs, Kind::State, &["prjquota", "relatime"]), []);
        for option in ["noexec", "nosuid"] {
            assert!(matches!(faults_of(Format::Xfs, Kind::State, &[option])[..], [(0, Fault::NotAllowed(Some(_)))]));
        }
    }

    #[test]
    fn nothing_that_a_promise_stands_against_is_on_the_list() {
        for (option, _) in REFUSED.iter().filter(|(name, _)| !["noexec", "nosuid"].contains(name)) {
            for format in [Format::Xfs, Format::Ext4] {
                for kind in [Kind::Data, Kind::State] {
                    let found = faults_of(format, kind, &[option]);
                    assert!(matches!(found[..], [(0, Fault::NotAllowed(Some(_)))]), "{option}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn two_options_that_say_something_about_the_same_contradict_each_other() {
        let found = faults_of(Format::Ext4, Kind::Data, &["noatime", "commit=5", "relatime", "commit=5"]);
        assert_eq!(found, [(2, Fault::Contradicts("noatime".into())), (3, Fault::Contradicts("commit=5".into()))]);
    }

    #[test]
    fn what_is_told_as_allowed_is_taken() {
        assert_eq!(
            allowed(Format::Ext4, Kind::State),
            "noatime, relatime, lazytime, commit=1 to 60, data=ordered, data=journal, errors=remount-ro"
        );
    }
}
