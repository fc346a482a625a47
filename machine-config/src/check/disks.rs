//! Rules over disk selectors and arrays: every selector says which disks and how many, no disk is in two.

use super::Rules;
use crate::schema::{Array, DirtyDegraded, Level, Replace, Selector, WriteHole};
use std::collections::BTreeMap;

/// What md takes as a chunk, in bytes, as far as it makes sense.
const CHUNKS: std::ops::RangeInclusive<u64> = 4 << 10..=16 << 20;

/// Bytes a second that a rebuild may be held to.
const SPEEDS: std::ops::RangeInclusive<u64> = 1_000_000..=100_000_000_000;

pub(super) fn check(rules: &mut Rules<'_>) {
    let storage = &rules.config().storage;
    let mut selectors: Vec<(Vec<&str>, &Selector)> = Vec::new();
    if let Some(disks) = &storage.system.disks {
        selectors.push((vec!["system", "disks"], disks));
    }
    selectors.extend(storage.each.iter().map(|(name, each)| (vec!["each", name.as_str(), "disks"], &each.disks)));
    selectors.extend(storage.array.iter().map(|(name, array)| (vec!["array", name.as_str(), "disks"], &array.disks)));
    selectors.extend(storage.group.iter().map(|(name, group)| (vec!["group", name.as_str(), "disks"], &group.disks)));
    let journals = storage.array.iter().filter_map(|(name, array)| Some((name.as_str(), array.journal.as_ref()?)));
    selectors.extend(journals.map(|(name, journal)| (vec!["array", name, "journal"], journal)));
    let mut owners: BTreeMap<(&str, String), String> = BTreeMap::new();
    for (key, selector) in &selectors {
        let named = key.join(".");
        selector_says(rules, key, &named, selector);
        let named = named.trim_end_matches(".disks").to_owned();
        for (kind, list) in [("serial", &selector.serial), ("wwn", &selector.wwn), ("path", &selector.path)] {
            for (index, value) in list.iter().enumerate() {
                let Some(other) = owners.insert((kind, value.trim().to_owned()), named.clone()) else { continue };
                let index = index.to_string();
                let path = [key.as_slice(), &[kind, &index]].concat();
                let (what, mend) = if other == named {
                    (format!("the disk {value:?} is named twice in `{named}`"), "Take one of the two out.")
                } else {
                    (format!("the disk {value:?} is in `{other}` and in `{named}`"), "Take it out of one of them.")
                };
                rules.fault("BP-C023", &path, what, "A disk has one purpose.", mend);
            }
        }
    }
    if storage.system.replace != Replace::default() && !storage.system.is_mirrored() {
        rules.fault(
            "BP-C029",
            &["system", "replace"],
            "`system` has `replace` and one disk".into(),
            "When that is lost nothing is left that could take another in.",
            "Select several disks in `system.disks`, or leave `replace` out.",
        );
    }
    retired(rules, &mut owners);
    for (name, array) in &storage.array {
        let (level, least) = (u8::from(array.level), array.level.least());
        let spares = usize::try_from(array.spares).unwrap_or(usize::MAX);
        if let Some(count) = array.disks.how_many().filter(|count| count.saturating_sub(spares) < least) {
            let of_them = if spares == 0 { String::new() } else { format!(", {spares} of them spare") };
            let disks = if count == 1 { "disk" } else { "disks" };
            rules.fault(
                "BP-C024",
                &["array", name, "disks"],
                format!("`array.{name}` has {count} {disks}{of_them}; RAID {level} needs {least} members"),
                "With fewer members it would not be what its level says.",
                "Select more disks; for one file system per disk write [each.NAME] in place of the array.",
            );
        }
        if array.spares > 0 && !array.level.is_redundant() {
            rules.fault(
                "BP-C026",
                &["array", name, "spares"],
                format!("`array.{name}` is of RAID level {level} and keeps {} of its disks spare", array.spares),
                "What a member of it held is gone with the member: a spare has nothing to take over.",
                "Leave `spares` out, or choose another level.",
            );
        }
        let fits = |chunk: &u64| array.level.is_striped() && chunk.is_power_of_two() && CHUNKS.contains(chunk);
        if let Some(chunk) = array.chunk.filter(|chunk| !fits(chunk)) {
            rules.fault(
                "BP-C027",
                &["array", name, "chunk"],
                format!("`array.{name}` has the chunk {:?}", crate::units::format_size(chunk)),
                "A chunk is a power of two from 4 KiB to 16 MiB, and a mirror has none.",
                "Leave `chunk` out, which gives 512 KiB, or write one such as \"64 KiB\".",
            );
        }
        let has = match array.level {
            Level::Raid5 => &["ppl", "bitmap", "journal"][..],
            Level::Raid6 => &["bitmap", "journal"],
            _ => &[],
        };
        let said = array.write_hole.map(|said| match said {
            WriteHole::Ppl => "ppl",
            WriteHole::Bitmap => "bitmap",
            WriteHole::Journal => "journal",
        });
        if let Some(said) = said.filter(|said| !has.contains(said)) {
            let mend = match has.first() {
                Some(other) => format!("Write {other:?}, or leave it out."),
                None => "Leave it out.".into(),
            };
            rules.fault(
                "BP-C037",
                &["array", name, "write-hole"],
                format!("`array.{name}` is of RAID level {level} and has `write-hole = {said:?}`"),
                "Level 5 takes \"ppl\", \"bitmap\" or \"journal\", level 6 \"bitmap\" or \"journal\"; other levels have no parity that \
                 could be wrong.",
                &mend,
            );
        }
        if let Some((key, what, mend)) = array.journal_fault() {
            let why = "A journal is a disk of its own, chosen when the array is made.";
            rules.fault("BP-C037", &["array", name, key], format!("`array.{name}` {what}"), why, mend);
        }
        if array.dirty_degraded != DirtyDegraded::Stop && !matches!(array.level, Level::Raid5 | Level::Raid6) {
            rules.fault(
                "BP-C038",
                &["array", name, "dirty-degraded"],
                format!("`array.{name}` is of RAID level {level} and has `dirty-degraded`"),
                "Only levels 5 and 6 have parity that a power cut leaves untrue; others start without the member.",
                "Leave it out.",
            );
        }
        grows(rules, name, array);
        speeds(rules, name, array);
        if array.volume.len() != 1 {
            rules.fault(
                "BP-C025",
                &["array", name, "volume"],
                format!("`array.{name}` has {} volumes", array.volume.len()),
                "This version makes exactly one, over the whole array.",
                "Write one [array.NAME.volume.VOLUME].",
            );
        }
    }
}

fn grows(rules: &mut Rules<'_>, name: &str, array: &Array) {
    let is_encrypted = array.volume.values().any(|volume| volume.encrypt.is_some());
    let (why, mend) = match array.write_hole() {
        _ if !array.level.is_redundant() => ("None of its members can be replaced by a larger one.", "Leave it out."),
        WriteHole::Ppl => (
            "With a partial parity log, which level 5 has by itself, md makes no array larger.",
            "Leave it out; or write write-hole = \"bitmap\", which counts when the array is made.",
        ),
        WriteHole::Journal => ("With a journal md makes no array larger.", "Leave it out."),
        _ if is_encrypted => ("What is encrypted stays as large as it was made.", "Leave it out."),
        WriteHole::Bitmap => return,
    };
    if array.grow {
        let what = format!("`array.{name}` has `grow`, and can't be made larger");
        rules.fault("BP-C063", &["array", name, "grow"], what, why, mend);
    }
}

fn speeds(rules: &mut Rules<'_>, name: &str, array: &Array) {
    let (least, most) = (array.rebuild.at_least, array.rebuild.at_most);
    for (key, given) in [("at-least", least), ("at-most", most)] {
        if !array.level.is_redundant() && given.is_some() {
            rules.fault(
                "BP-C039",
                &["array", name, "rebuild", key],
                format!("`array.{name}` is of RAID level {} and has `rebuild`", u8::from(array.level)),
                "What a member of it held is gone with the member: nothing is ever rebuilt.",
                "Leave it out.",
            );
        } else if let Some(speed) = given.filter(|speed| !SPEEDS.contains(speed)) {
            rules.fault(
                "BP-C039",
                &["array", name, "rebuild", key],
                format!("`array.{name}` is to be rebuilt by {:?} a second", crate::units::format_size(speed)),
                "A speed is from 1 MB to 100 GB: one that never comes to an end leaves the data on fewer disks than its level says.",
                "Write one such as \"50 MB\".",
            );
        }
    }
    if let (Some(least), Some(most)) = (least, most)
        && least > most
    {
        rules.fault(
            "BP-C039",
            &["array", name, "rebuild", "at-least"],
            format!("`array.{name}.rebuild` has an `at-least` above its `at-most`"),
            "Both can't hold.",
            "Raise the one, or lower the other.",
        );
    }
}

/// Disks that arrays retire: by serial number or world wide name, so neither may stand in a selector as well.
fn retired(rules: &mut Rules<'_>, owners: &mut BTreeMap<(&str, String), String>) {
    for (name, array) in &rules.config().storage.array {
        let named = format!("array.{name}");
        if !array.retire.is_empty() && !array.level.is_redundant() {
            rules.fault(
                "BP-C028",
                &["array", name, "retire"],
                format!("`{named}` is of RAID level {} and retires members", u8::from(array.level)),
                "While a member of it is copied nothing stands in for what can't be read, and md does not do it.",
                "Leave `retire` out. To move its data make another array, and copy it there.",
            );
        }
        for (index, disk) in array.retire.iter().enumerate() {
            let path = ["array", name, "retire", &index.to_string()];
            if disk.trim().is_empty() {
                let what = format!("`{named}.retire` names a disk without a name");
                rules.fault(
                    "BP-C028",
                    &path,
                    what,
                    "A disk is known by what identifies it.",
                    "Write its serial number.",
                );
                continue;
            }
            let other = ["serial", "wwn", "retire"].map(|kind| owners.get(&(kind, disk.trim().to_owned())).cloned());
            if let Some(other) = other.into_iter().flatten().next() {
                let what = format!("the disk {disk:?} is in `{other}` and retired from `{named}`");
                let mend = "Take it out of the disks, and leave it in `retire` until it is pulled.";
                rules.fault("BP-C023", &path, what, "A disk has one purpose.", mend);
            }
            owners.insert(("retire", disk.trim().to_owned()), format!("{named}.retire"));
        }
    }
}

fn selector_says(rules: &mut Rules<'_>, path: &[&str], named: &str, selector: &Selector) {
    let listed = selector.serial.len() + selector.wwn.len() + selector.path.len();
    let narrowed =
        selector.model.is_some() || selector.size.is_some() || selector.media.is_some() || selector.transport.is_some();
    if listed == 0 && !narrowed {
        rules.fault(
            "BP-C020",
            path,
            format!("`{named}` does not say which disks"),
            "A disk is taken by what identifies it, never because it is there.",
            "Give `serial`, `wwn` or `path`, or `model`, `size`, `media` or `transport` with a `count`.",
        );
    } else if listed == 0 && selector.count.is_none() {
        rules.fault(
            "BP-C021",
            path,
            format!("`{named}` does not say how many disks"),
            "The count is exact: one disk too many or too few stops the node before anything is written.",
            "Add `count = ...`.",
        );
    }
    if let Some(count) = selector.count.filter(|count| listed > 0 && *count != listed) {
        let path = [path, &["count"]].concat();
        rules.fault(
            "BP-C022",
            &path,
            format!("`{named}` lists {listed} disks, and its count is {count}"),
            "Both can't hold.",
            "Correct the list, or leave the count out: it follows from the list.",
        );
    }
}
