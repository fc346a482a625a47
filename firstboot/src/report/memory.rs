//! How much of the node's memory the agent takes.

use std::collections::BTreeMap;
use std::fs;

/// Proportional set size (proc(5), `smaps_rollup`) in KiB of each process of the agent that runs now, by the verb it
/// was started with: `join`, `warden`, `storage` while it shows a page.
#[must_use]
pub fn pss_kib() -> BTreeMap<String, u64> {
    let Ok(processes) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let of = |folder: &std::path::Path| {
        let verb = verb(&fs::read(folder.join("cmdline")).ok()?)?;
        Some((verb, pss(&fs::read_to_string(folder.join("smaps_rollup")).ok()?)?))
    };
    processes.flatten().filter_map(|process| of(&process.path())).collect()
}

/// The verb, if these arguments are the agent's, or those of what stage 1 left behind.
fn verb(arguments: &[u8]) -> Option<String> {
    let mut arguments = arguments.split(|b| *b == 0);
    let program = arguments.next()?;
    let verb = std::str::from_utf8(arguments.next()?).ok()?;
    (program.ends_with(b"/firstboot") || (program == b"/init" && verb == "warden")).then(|| verb.to_owned())
}

/// The sum over all of a process's pages.
fn pss(rollup: &str) -> Option<u64> {
    rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_processes_are_told_from_others() {
        assert_eq!(verb(b"/usr/lib/bedplate/firstboot\0join\0").unwrap(), "join");
        assert_eq!(verb(b"/init\0warden\0").unwrap(), "warden");
        assert_eq!(verb(b"/init\0auto\0"), None);
        assert_eq!(verb(b"/usr/bin/kubelet\0join\0"), None);
        assert_eq!(verb(b""), None);
    }

    #[test]
    fn the_whole_is_read_and_not_one_of_its_parts() {
        let rollup = "5583 ---p [rollup]\nRss:  5600 kB\nPss_Dirty:  900 kB\nPss:  3456 kB\nPss_Anon:  800 kB\n";
        assert_eq!(pss(rollup), Some(3456));
        assert_eq!(pss("Pss_Anon: 800 kB\n"), None);
    }

    #[test]
    fn the_kernel_tells_it_of_a_living_process() {
        let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        assert!(pss(&rollup).unwrap() > 100, "{rollup}");
    }
}
