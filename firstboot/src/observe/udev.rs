//! The names that udev gave a device, from its database below `/run/udev/data`.

/// Names below `/dev/disk/by-path` in a database entry, sorted.
pub(super) fn parse_by_path(text: &str) -> Vec<String> {
    let link = |line: &str| line.strip_prefix("S:disk/by-path/").map(str::to_owned);
    let mut names: Vec<String> = text.lines().filter_map(link).collect();
    names.sort();
    names
}

/// Names below `/dev/disk/by-path` of the block device with this `major:minor`; none before udev has seen it.
pub(super) fn by_path(number: &str) -> Vec<String> {
    std::fs::read_to_string(format!("/run/udev/data/b{number}")).map_or_else(|_| Vec::new(), |t| parse_by_path(&t))
}

/// Whether multipath-tools has claimed the device as a path (`60-multipath.rules`). Nothing on the disk says so.
fn parse_is_multipath(text: &str) -> bool {
    text.lines().any(|line| matches!(line, "E:ID_FS_TYPE=mpath_member" | "E:DM_MULTIPATH_DEVICE_PATH=1"))
}

/// As [`parse_is_multipath`], of the block device with this `major:minor`.
pub(super) fn is_multipath(number: &str) -> bool {
    std::fs::read_to_string(format!("/run/udev/data/b{number}")).is_ok_and(|text| parse_is_multipath(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_multipath_is_known_by_the_word_of_its_rules() {
        assert!(parse_is_multipath("I:7\nE:ID_FS_TYPE=mpath_member\nG:systemd\n"));
        assert!(parse_is_multipath("E:DM_MULTIPATH_DEVICE_PATH=1\n"));
        assert!(!parse_is_multipath("E:DM_MULTIPATH_DEVICE_PATH=0\nE:ID_FS_TYPE=ext4\n"));
    }

    #[test]
    fn by_path_names_are_found() {
        let text = "S:disk/by-id/virtio-A1\nS:disk/by-path/virtio-pci-0000:00:05.0\nS:disk/by-path/pci-0000:00:05.0\n\
                    I:1234567\nE:ID_SERIAL=A1\nG:systemd\nQ:systemd\nV:1\n";
        assert_eq!(parse_by_path(text), ["pci-0000:00:05.0", "virtio-pci-0000:00:05.0"]);
    }
}
