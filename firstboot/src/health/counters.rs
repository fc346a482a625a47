//! What the kernel has counted: commands that failed, by disk; read errors and differences, by array.

use std::path::Path;
use storage_plan::inventory::RunningArray;

/// Commands to a SCSI or SATA disk that failed since it was found (Documentation/ABI: `ioerr_cnt`); none of another.
pub(super) fn failed_commands(block: &Path, disk: &str) -> Option<u64> {
    number(&block.join(disk).join("device/ioerr_cnt"))
}

/// Sectors that differed when an array was last checked, and the read errors of each of its members that md put right
/// (Documentation/admin-guide/md.rst: `mismatch_cnt`, `errors`).
pub(super) fn of_array(block: &Path, array: &RunningArray) -> (u64, Vec<(String, u64)>) {
    let md = block.join(&array.name).join("md");
    let members = array.members.iter().chain(&array.spares);
    let errors = members.map(|m| (m.clone(), number(&md.join(format!("dev-{m}/errors"))).unwrap_or(0)));
    (number(&md.join("mismatch_cnt")).unwrap_or(0), errors.collect())
}

fn number(file: &Path) -> Option<u64> {
    parse(&std::fs::read_to_string(file).ok()?)
}

/// `ioerr_cnt` is written in sixteens, the others in tens.
fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "lays files as the kernel shows them")]
mod tests {
    use super::*;
    use crate::observe::sample;

    #[test]
    fn counters_are_read_where_the_kernel_has_them() {
        let root = tempfile::tempdir().unwrap();
        let lay = |path: &str, text: &str| {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        lay("sda/device/ioerr_cnt", "0x1f\n");
        lay("md127/md/mismatch_cnt", "128\n");
        lay("md127/md/dev-sda1/errors", "3\n");
        let array = sample::array("md127", "raid1", &["sda1"], &["sdc1"]);
        let array = RunningArray { spares: vec!["sdb1".into()], ..array };
        assert_eq!(failed_commands(root.path(), "sda"), Some(31));
        assert_eq!(failed_commands(root.path(), "nvme0n1"), None);
        assert_eq!(of_array(root.path(), &array), (128, vec![("sda1".into(), 3), ("sdb1".into(), 0)]));
    }
}
