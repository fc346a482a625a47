//! What the configuration alone shows to be wrong: then nothing is planned at all.

use crate::inventory::size_words;
use crate::layer::filesystem;
use crate::refusal::{CONFIG, diagnostic};
use crate::selector::says_something;
use machine_config::Diagnostic;
use machine_config::mount_options::{self, Kind};
use machine_config::schema::{Content, Each, Format, Level, Partition, Selector, Storage, WriteHole};
use std::collections::BTreeMap;

/// Everything that is wrong with `storage` before a disk is looked at.
pub fn check(storage: &Storage) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut wrong = |at: &[&str], what: String, mend: &str| {
        let why = "Nothing was planned, and nothing was written.".to_owned();
        let place = storage.places.of(at).cloned();
        found.push(Diagnostic { place, ..diagnostic(CONFIG, what, why, mend.to_owned()) });
    };
    let mut mounts: BTreeMap<&str, Vec<Mounted>> = BTreeMap::new();
    mounts.entry("/var").or_default().push((vec!["system"], "the state partition".into()));

    let system = &storage.system;
    let at = ["system", "mount-options"];
    options(&at, "system", system.format, Kind::State, &system.mount_options, &mut wrong);
    for (name, each) in &storage.each {
        let named = format!("each.{name}");
        let at = |key| ["each", name.as_str(), key];
        selector(&at("disks"), &named, &each.disks, &mut wrong);
        partitions(&at("partition"), &named, each, &mut wrong);
    }
    for (name, array) in &storage.array {
        let named = format!("array.{name}");
        let at = |key| ["array", name.as_str(), key];
        selector(&at("disks"), &named, &array.disks, &mut wrong);
        let (level, least) = (u8::from(array.level), array.level.least());
        let spares = usize::try_from(array.spares).unwrap_or(usize::MAX);
        if array.disks.how_many().is_some_and(|n| n.saturating_sub(spares) < least) {
            wrong(
                &at("level"),
                format!("\"{named}\" has fewer than the {least} members that RAID {level} needs."),
                "Select more disks, or make fewer of them spares.",
            );
        }
        if spares > 0 && !array.level.is_redundant() {
            wrong(
                &at("spares"),
                format!("\"{named}\" has spares, of which RAID {level} has no use."),
                "Leave them out.",
            );
        }
        if let Some(journal) = &array.journal {
            selector(&at("journal"), &format!("{named}.journal"), journal, &mut wrong);
        }
        if let Some((key, what, mend)) = array.journal_fault() {
            wrong(&at(key), format!("\"{named}\" {what}."), mend);
        }
        let ppl = array.write_hole == Some(WriteHole::Ppl) && array.level != Level::Raid5;
        if ppl || (array.write_hole.is_some() && !matches!(array.level, Level::Raid5 | Level::Raid6)) {
            wrong(
                &at("write-hole"),
                format!("\"{named}\" has a write-hole that RAID {level} has not."),
                "Leave it out: RAID 5 takes \"ppl\", \"bitmap\" or \"journal\", RAID 6 \"bitmap\" or \"journal\".",
            );
        }
        if array.volume.len() != 1 {
            wrong(
                &at("volume"),
                format!("\"{named}\" has {} volumes; this version makes exactly one, over the whole array.", {
                    array.volume.len()
                }),
                "Write one [..volume.NAME] for it.",
            );
        }
    }
    for (name, group) in &storage.group {
        let named = format!("group.{name}");
        selector(&["group", name.as_str(), "disks"], &named, &group.disks, &mut wrong);
        for (volume, v) in &group.volume {
            let named = format!("{named}.volume.{volume}");
            let at = |key| ["group", name.as_str(), "volume", volume.as_str(), key];
            if v.pool.as_ref().is_some_and(|pool| !group.pool.contains_key(pool)) {
                let what = format!("\"{named}\" is to be in a pool that \"group.{name}\" has not.");
                wrong(&at("pool"), what, "Write [..pool.NAME] with its size.");
            }
        }
    }
    for (keys, holds) in storage.volumes() {
        let (named, at) = (keys.join("."), |key| [&keys[..], &[key]].concat());
        if let Some(format) = holds.format.file_system() {
            options(&at("mount-options"), &named, format, Kind::Data, holds.mount_options, &mut wrong);
        }
        mount_point(&at("mount"), &named, holds.format, holds.mount, &mut wrong);
        let Some(mount) = holds.mount else { continue };
        mounts.entry(mount).or_default().push((at("mount"), format!("\"{named}\"")));
        let each = storage.each.get(keys[1]).filter(|_| keys[0] == "each");
        let is_one = each.is_none_or(|each| each.disks.how_many() == Some(1));
        if !is_one && !mount.contains("{serial}") && !mount.contains("{slot}") {
            wrong(
                &at("mount"),
                format!("\"{named}\" mounts several disks on one place, {mount}."),
                "Put {serial} or {slot} into its mount point.",
            );
        }
    }
    for (mount, owners) in mounts.into_iter().filter(|(_, owners)| owners.len() > 1) {
        let names: Vec<&str> = owners.iter().map(|(_, name)| name.as_str()).collect();
        // The last of them is written by a person, whatever the others are.
        let at = owners.last().map_or(&[][..], |(at, _)| at);
        wrong(at, format!("{} are both mounted on {mount}.", names.join(" and ")), "Give each a place of its own.");
    }
    found
}

/// What is mounted somewhere: the key that says so, and its name.
type Mounted<'a> = (Vec<&'a str>, String);

fn selector(at: &[&str], named: &str, selector: &Selector, wrong: &mut impl FnMut(&[&str], String, &str)) {
    if !says_something(selector) {
        wrong(
            at,
            format!("\"{named}\" does not say which disks."),
            "Select them by serial, wwn, path, model, size, media or transport.",
        );
    } else if selector.how_many().is_none() {
        wrong(at, format!("\"{named}\" does not say how many disks."), "Write count = N: the count is exact.");
    } else if selector.how_many() == Some(0) {
        wrong(at, format!("\"{named}\" selects no disk."), "Write a count of at least 1, or leave it out altogether.");
    }
}

fn partitions(at: &[&str], named: &str, each: &Each, wrong: &mut impl FnMut(&[&str], String, &str)) {
    let volumes = each.volumes();
    if volumes.is_empty() {
        let what = format!("\"{named}\" does not say what its disks hold.");
        wrong(&at[..2], what, "Write a format, or [..partition.NAME] for each partition.");
    }
    let beside = each.keys_of_whole();
    if let Some(key) = beside.first().filter(|_| !each.partition.is_empty()) {
        wrong(
            &[&at[..2], &[*key]].concat(),
            format!("\"{named}\" has partitions and {key}."),
            "Take one of the two out.",
        );
    }
    if volumes.len() > Partition::MOST || volumes.iter().filter(|v| v.name.is_some() && v.size.is_none()).count() > 1 {
        let what = format!("\"{named}\" has more than {} partitions, or several without a size.", Partition::MOST);
        wrong(at, what, "Leave some out, and write the size of all but one.");
    }
    for volume in &volumes {
        let (Some(part), Some(size)) = (volume.name, volume.size) else { continue };
        let least = filesystem::least_place(volume.holds.format, volume.holds.encrypt.is_some());
        if size < least {
            let (size, least) = (size_words(size), size_words(least));
            let what = format!("\"{named}.partition.{part}\" is to have {size}, and {least} are the least.");
            wrong(&[at, &[part, "size"]].concat(), what, "Make it larger.");
        }
    }
}

fn options(
    at: &[&str],
    named: &str,
    format: Format,
    kind: Kind,
    options: &[String],
    wrong: &mut impl FnMut(&[&str], String, &str),
) {
    for (index, _) in mount_options::faults(options, format, kind) {
        let mend = format!("Take it out. Allowed are, each once, {}.", mount_options::allowed(format, kind));
        wrong(at, format!("\"{named}\" can't be mounted with {:?}.", options[index]), &mend);
    }
}

fn mount_point(
    at: &[&str],
    named: &str,
    content: Content,
    mount: Option<&str>,
    wrong: &mut impl FnMut(&[&str], String, &str),
) {
    let is_raw = content == Content::Raw;
    let Some(mount) = mount.filter(|_| !is_raw) else {
        let said = mount.map_or("a file system and no mount point", |_| "a mount point and no file system");
        if mount.is_some() == is_raw {
            wrong(at, format!("\"{named}\" has {said}."), "A file system needs one, and a raw volume takes none.");
        }
        return;
    };
    let plain = mount.starts_with("/var/")
        && !mount.ends_with('/')
        && mount.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
    if !plain {
        wrong(
            at,
            format!("The mount point {mount:?} of \"{named}\" is not a plain path below /var."),
            "Only /var can be written on a node; choose a path such as /var/lib/volumes/NAME.",
        );
    }
}
