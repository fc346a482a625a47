//! What is mounted and what is swap, from `/proc`, and which paths lead to raw volumes.

use super::{sysfs, udev};
use anyhow::Context;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use storage_plan::inventory::{RAW, Uses};

/// What uses block devices, by `major:minor` and by kernel name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AllUses {
    mounts: BTreeMap<String, Vec<String>>,
    swaps: Vec<String>,
    /// Paths below [`RAW`], each with where it leads.
    links: Vec<(PathBuf, PathBuf)>,
}

impl AllUses {
    /// Of one device, whose attributes lie in `folder`.
    pub(super) fn of(&self, name: &str, number: &str, folder: &Path) -> Uses {
        let holders = std::fs::read_dir(folder.join("holders")).into_iter().flatten().flatten();
        let mut holders: Vec<String> = holders.map(|h| h.file_name().to_string_lossy().into_owned()).collect();
        holders.sort();
        let mounts = self.mounts.get(number).cloned().unwrap_or_default();
        let maps = holders.iter().filter_map(|holder| sysfs::text(&folder.join("holders").join(holder), "dm/uuid"));
        let multipath = maps.into_iter().any(|map| is_multipath(&map)) || udev::is_multipath(number);
        let node = Path::new("/dev").join(name);
        let links = self.links.iter().filter(|(_, to)| *to == node).map(|(at, _)| words(at)).collect();
        Uses { holders, mounts, links, swap: self.swaps.iter().any(|s| s == name), multipath }
    }

    /// All mount points, and all paths that lead to raw volumes.
    pub(super) fn places(&self) -> Vec<String> {
        let lead = self.links.iter().filter(|(_, to)| to.exists()).map(|(at, _)| words(at));
        self.mounts.values().flatten().cloned().chain(lead).collect()
    }

    /// Paths of raw volumes that lead nowhere.
    pub(super) fn dangling(&self) -> Vec<String> {
        self.links.iter().filter(|(_, to)| !to.exists()).map(|(at, _)| words(at)).collect()
    }
}

/// Whether a map with this UUID is made of paths to one disk; multipath-tools puts its name before the disk's
/// (`libmultipath/defaults.h`, `UUID_PREFIX`).
fn is_multipath(map: &str) -> bool {
    map.starts_with("mpath-")
}

/// Reads `/proc/self/mountinfo` and `/proc/swaps`.
pub(super) fn read() -> anyhow::Result<AllUses> {
    let text = |path: &str| std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let mounts = parse_mountinfo(&text("/proc/self/mountinfo")?);
    // A kernel without swap has no such file.
    let swaps = std::fs::read_to_string("/proc/swaps").map_or_else(|_| Vec::new(), |t| parse_swaps(&t));
    Ok(AllUses { mounts, swaps, links: links(Path::new(RAW)) })
}

/// The links below `folder`; none where it is not there.
fn links(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match std::fs::read_link(entry.path()) {
            Ok(to) => found.push((entry.path(), to)),
            Err(_) => found.extend(links(&entry.path())),
        }
    }
    found.sort();
    found
}

fn words(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Mount points by `major:minor` (proc_pid_mountinfo(5)).
fn parse_mountinfo(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut mounts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if let [_, _, number, _, point, ..] = fields[..] {
            mounts.entry(number.to_owned()).or_default().push(unescape(point));
        }
    }
    mounts
}

/// Kernel names of swap devices (proc_swaps(5)).
fn parse_swaps(text: &str) -> Vec<String> {
    let path = |line: &str| line.split_whitespace().next().and_then(|p| p.strip_prefix("/dev/")).map(str::to_owned);
    text.lines().skip(1).filter_map(path).collect()
}

/// Blank, tab, newline and backslash are written in octal.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "lays files as the kernel shows them")]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_device_number() {
        let text = "22 27 0:21 / /sys rw,nosuid - sysfs sysfs rw\n\
                    40 22 254:2 / /var rw,noatime shared:1 - xfs /dev/vda2 rw\n\
                    41 40 254:2 /lib /var/lib/a\\040b rw - xfs /dev/vda2 rw\n";
        assert_eq!(parse_mountinfo(text)["254:2"], ["/var", "/var/lib/a b"]);
    }

    #[test]
    fn paths_of_raw_volumes_are_found_with_where_they_lead() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("object");
        std::fs::create_dir(&at).unwrap();
        for (name, to) in [("B1", "/dev/not-there"), ("A1", "/dev/null")] {
            std::os::unix::fs::symlink(to, at.join(name)).unwrap();
        }
        let all = AllUses { links: links(folder.path()), ..AllUses::default() };
        assert_eq!(all.of("null", "no number", folder.path()).links, [words(&at.join("A1"))]);
        assert_eq!((all.places(), all.dangling()), (vec![words(&at.join("A1"))], vec![words(&at.join("B1"))]));
        assert_eq!(links(&folder.path().join("nothing")), []);
    }

    #[test]
    fn a_map_of_paths_is_told_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let map = folder.path().join("holders/dm-0/dm");
        std::fs::create_dir_all(&map).unwrap();
        let uses = |uuid: &str| {
            std::fs::write(map.join("uuid"), uuid).unwrap();
            AllUses::default().of("sda", "no number", folder.path())
        };
        assert!(!uses("LVM-3yVmqDPnzzXAwbCDNEtXdrK\n").multipath);
        let path = uses("mpath-35000c500a1b2c3d4\n");
        assert!(path.multipath && path.holders == ["dm-0"], "{path:?}");
        assert_eq!(path.words().unwrap(), "part of dm-0, one of the paths of a multipath map");
    }

    #[test]
    fn swaps_are_found() {
        let text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/sda2   partition\t8388604\t0\t-2\n/swapfile file 1 0 -3\n";
        assert_eq!(parse_swaps(text), ["sda2"]);
    }
}
