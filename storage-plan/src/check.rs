//! What the configuration alone shows to be wrong: then nothing is planned at all.

use crate::refusal::{CONFIG, diagnostic};
use crate::selector::says_something;
use machine_config::Diagnostic;
use machine_config::schema::{Selector, Storage};
use std::collections::BTreeMap;

/// Everything that is wrong with `storage` before a disk is looked at.
pub fn check(storage: &Storage) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut wrong = |what: String, mend: &str| {
        let why = "Nothing was planned, and nothing was written.".to_owned();
        found.push(diagnostic(CONFIG, what, why, mend.to_owned()));
    };
    let mut mounts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    mounts.entry("/var").or_default().push("the state partition".into());

    for (name, each) in &storage.each {
        let named = format!("each.{name}");
        selector(&named, &each.disks, &mut wrong);
        mount_point(&named, &each.mount, &mut wrong);
        mounts.entry(&each.mount).or_default().push(format!("\"{named}\""));
        if how_many(&each.disks) != Some(1) && !each.mount.contains("{serial}") && !each.mount.contains("{slot}") {
            wrong(
                format!("\"{named}\" mounts several disks on one place, {}.", each.mount),
                "Put {serial} or {slot} into its mount point.",
            );
        }
    }
    for (name, array) in &storage.array {
        let named = format!("array.{name}");
        selector(&named, &array.disks, &mut wrong);
        let (level, least) = (u8::from(array.level), array.level.least());
        let spares = usize::try_from(array.spares).unwrap_or(usize::MAX);
        if how_many(&array.disks).is_some_and(|n| n.saturating_sub(spares) < least) {
            wrong(
                format!("\"{named}\" has fewer than the {least} members that RAID {level} needs."),
                "Select more disks, or make fewer of them spares.",
            );
        }
        if spares > 0 && !array.level.is_redundant() {
            wrong(format!("\"{named}\" has spares, of which RAID {level} has no use."), "Leave them out.");
        }
        if array.volume.len() != 1 {
            wrong(
                format!("\"{named}\" has {} volumes; this version makes exactly one, over the whole array.", {
                    array.volume.len()
                }),
                "Write one [..volume.NAME] for it.",
            );
        }
        for (volume, v) in &array.volume {
            mount_point(&format!("{named}.volume.{volume}"), &v.mount, &mut wrong);
            mounts.entry(&v.mount).or_default().push(format!("\"{named}.volume.{volume}\""));
        }
    }
    for (mount, owners) in mounts.into_iter().filter(|(_, owners)| owners.len() > 1) {
        wrong(format!("{} are both mounted on {mount}.", owners.join(" and ")), "Give each a place of its own.");
    }
    found
}

fn selector(named: &str, selector: &Selector, wrong: &mut impl FnMut(String, &str)) {
    if !says_something(selector) {
        wrong(
            format!("\"{named}\" does not say which disks."),
            "Select them by serial, wwn, path, model, size, media or transport.",
        );
    } else if how_many(selector).is_none() {
        wrong(format!("\"{named}\" does not say how many disks."), "Write count = N: the count is exact.");
    } else if how_many(selector) == Some(0) {
        wrong(format!("\"{named}\" selects no disk."), "Write a count of at least 1, or leave it out altogether.");
    }
}

fn how_many(selector: &Selector) -> Option<usize> {
    match selector.serial.len() + selector.wwn.len() + selector.path.len() {
        0 => selector.count,
        named => Some(named),
    }
}

fn mount_point(named: &str, mount: &str, wrong: &mut impl FnMut(String, &str)) {
    let plain = mount.starts_with("/var/")
        && !mount.ends_with('/')
        && mount.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
    if !plain {
        wrong(
            format!("The mount point {mount:?} of \"{named}\" is not a plain path below /var."),
            "Only /var can be written on a node; choose a path such as /var/lib/volumes/NAME.",
        );
    }
}
