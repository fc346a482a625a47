//! Rules over how file systems are made and mounted: each option is one that its file system has, and that is allowed.

use super::Rules;
use crate::mount_options::{self, Fault, Kind};
use crate::schema::{Format, Mkfs};

/// What mkfs.ext4 takes for one inode, from a block of 4 KiB on.
const BYTES_PER_INODE: std::ops::RangeInclusive<u64> = 4 << 10..=64 << 20;

pub(super) fn check(rules: &mut Rules<'_>) {
    let storage = &rules.config().storage;
    mounted(rules, &["system"], storage.system.format, Kind::State, &storage.system.mount_options);
    for (name, each) in &storage.each {
        mounted(rules, &["each", name], each.format, Kind::Data, &each.mount_options);
        made(rules, &["each", name], each.format, &each.mkfs);
    }
    for (name, array) in &storage.array {
        for (volume, value) in &array.volume {
            let path = ["array", name, "volume", volume];
            mounted(rules, &path, value.format, Kind::Data, &value.mount_options);
            made(rules, &path, value.format, &value.mkfs);
        }
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
