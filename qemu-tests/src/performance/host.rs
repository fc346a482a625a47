//! The host, as far as figures depend on it. No name, no path.

use super::figures::Host;

/// This host, now.
pub fn read() -> Host {
    let text = |path| std::fs::read_to_string(path).unwrap_or_default();
    Host {
        processor: processor(&text("/proc/cpuinfo")),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        memory_mib: memory(&text("/proc/meminfo")),
        load: text("/proc/loadavg").split(' ').next().and_then(|l| l.parse().ok()).unwrap_or_default(),
    }
}

fn processor(cpuinfo: &str) -> String {
    let name = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")?.trim_start().strip_prefix(':'));
    name.map_or_else(|| "unknown".into(), |name| name.trim().to_owned())
}

fn memory(meminfo: &str) -> u64 {
    let kib = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0u64) >> 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags : x\n"), "Some CPU @ 2 GHz");
        assert_eq!(memory("MemTotal:       24576000 kB\nMemFree: 1 kB\n"), 24000);
        let host = read();
        assert!(host.memory_mib > 0 && host.processors > 0, "{host:?}");
    }
}
