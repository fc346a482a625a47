//! Rules over how file systems are made and mounted: each option is one that its file system has, and that is allowed.

use super::Rules;
use crate::mount_options::{self, Fault, Kind};
use crate::schema::{Format, Holding, Mkfs};

/// What mkfs.ext4 takes for one inode, from a block of 4 KiB on.
const BYTES_PER_INODE: std::ops::RangeInclusive<u64> = 4 << 10..=64 << 20;

pub(super) fn check(rules: &mut Rules<'_>) {
    let storage = &rules.config().storage;
    let system = &storage.system;
    mounted(rules, &["system"], system.format, Kind::State, &system.mount_options);
    made(rules, &["system"], system.format, &system.mkfs);
    for (owner, holds) in storage.volumes() {
        volume(rules, &owner, &holds);
    }
}

fn volume(rules: &mut Rules<'_>, owner: &[&str], given: &Holding<'_>) {
    let Some(format) = given.format.file_system() else { return raw(rules, owner, given) };
    if given.mount.is_none() {
        rules.fault(
            "BP-C053",
            owner,
            format!("`{}` has a file system and no mount point", owner.join(".")),
            "What is not mounted is of no use to a program.",
            "Write a `mount` such as \"/var/lib/volumes/NAME\", or format = \"raw\" for a block device.",
        );
    }
    mounted(rules, owner, format, Kind::Data, given.mount_options);
    made(rules, owner, format, given.mkfs);
}

fn raw(rules: &mut Rules<'_>, owner: &[&str], given: &Holding<'_>) {
    let keys = [
        ("mount", given.mount.is_some()),
        ("mount-options", !given.mount_options.is_empty()),
        ("mkfs", *given.mkfs != Mkfs::default()),
    ];
    for (key, _) in keys.into_iter().filter(|(_, is_given)| *is_given) {
        rules.fault(
            "BP-C054",
            &[owner, &[key]].concat(),
            format!("`{}` is raw and has `{key}`", owner.join(".")),
            "A raw volume has no file system: nothing is made or mounted.",
            "Take it out, or write the file system's name as `format`.",
        );
    }
}

fn word(format: Format) -> &'static str {
    match format {
        Format::Xfs => "xfs",
        Format::Ext4 => "ext4",
    }
}

fn mounted(rules: &mut Rules<'_>, owner: &[&str], format: Format, kind: Kind, options: &[String]) {
    let (named, file_system) = (owner.join("."), word(format));
    for (at, fault) in mount_options::faults(options, format, kind) {
        let (index, option) = (at.to_string(), &options[at]);
        let path = [owner, &["mount-options", &index]].concat();
        match fault {
            Fault::NotAllowed(why) => {
                let allowed = mount_options::allowed(format, kind);
                let why = why.map_or_else(String::new, |why| format!("{why} "));
                rules.fault(
                    "BP-C034",
                    &path,
                    format!("{option:?} is no mount option of {file_system} that `{named}` may have"),
                    &format!("{why}Allowed are {allowed}."),
                    "Take it out, or use one of these.",
                );
            }
            Fault::Contradicts(before) => rules.fault(
                "BP-C035",
                &path,
                format!("`{named}` has the mount options {before:?} and {option:?}"),
                "Both say something about the same, and which of them holds would be a guess.",
                "Keep one of the two.",
            ),
        }
    }
}

fn made(rules: &mut Rules<'_>, owner: &[&str], format: Format, mkfs: &Mkfs) {
    let named = owner.join(".");
    let keys = [
        ("reserved-percent", mkfs.reserved_percent.is_some(), Format::Ext4),
        ("bytes-per-inode", mkfs.bytes_per_inode.is_some(), Format::Ext4),
        ("reflink", mkfs.reflink.is_some(), Format::Xfs),
    ];
    for (key, _, of) in keys.into_iter().filter(|(_, given, of)| *given && *of != format) {
        rules.fault(
            "BP-C036",
            &[owner, &["mkfs", key]].concat(),
            format!("`{named}.mkfs` has `{key}`, and its file system is {}", word(format)),
            &format!("Only mkfs.{} knows it.", word(of)),
            "Take it out, or change the format.",
        );
    }
    if let Some(bytes) = mkfs.bytes_per_inode.filter(|bytes| !BYTES_PER_INODE.contains(bytes)) {
        rules.fault(
            "BP-C036",
            &[owner, &["mkfs", "bytes-per-inode"]].concat(),
            format!("`{named}` is to have an inode for every {:?}", crate::units::format_size(bytes)),
            "mkfs.ext4 takes from 4 KiB to 64 MiB.",
            "Leave it out, which gives 16 KiB, or write one such as \"1 MiB\".",
        );
    }
}
