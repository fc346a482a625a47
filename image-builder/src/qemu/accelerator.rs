//! What runs a guest's instructions.
//!
//! A `/dev/kvm` that is there proves little: nested ones have been seen to hang an unmodified kernel. So KVM is
//! trusted only after this very kernel was seen to boot under it.
#![allow(clippy::disallowed_methods, reason = "edge: probes the host")]

use super::{Guest, KernelBoot, RunningGuest, Serial};
use crate::progress::Progress;
use crate::tools::Tools;
use anyhow::Result;
use std::path::Path;
use std::time::Duration;

/// What runs a guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's processor.
    Kvm,
    /// QEMU in software: slow, and always there.
    Tcg,
}

/// How long a kernel may take to reach its end under KVM; it needs two seconds.
const PROBE: Duration = Duration::from_secs(6);

impl Accelerator {
    /// KVM if it boots `kernel` (a `vmlinuz`) up to where it looks for a root, software emulation if not.
    ///
    /// # Errors
    /// When QEMU itself can't be started.
    pub fn probe(tools: &Tools, kernel: &Path, progress: &Progress) -> Result<Accelerator> {
        if std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
            return Ok(Accelerator::Tcg);
        }
        let folder = tempfile::Builder::new().prefix("bedplate-kvm-").tempdir()?;
        let serial = folder.path().join("serial");
        let mut guest = Guest::new(512, 2, Accelerator::Kvm);
        guest.kernel = Some(KernelBoot {
            kernel: kernel.into(),
            initrd: None,
            // Without a root the kernel panics, restarts at once, and QEMU ends.
            arguments: "console=ttyS0 panic=-1".into(),
        });
        guest.serial.push(Serial::File(serial.clone()));
        guest.no_reboot = true;
        let works = RunningGuest::start(&guest, tools, folder.path())
            .and_then(|mut running| running.wait(PROBE))
            .is_ok_and(|status| status.is_some_and(|s| s.success()))
            && std::fs::read(&serial).is_ok_and(|log| reached_root(&log));
        if works {
            return Ok(Accelerator::Kvm);
        }
        progress.say("/dev/kvm is there but boots no kernel; running in software, some ten times slower");
        Ok(Accelerator::Tcg)
    }
}

/// Whether the kernel came as far as looking for its root file system.
fn reached_root(log: &[u8]) -> bool {
    String::from_utf8_lossy(log).contains("Unable to mount root fs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kernel_that_reached_its_root_counts_as_booted() {
        assert!(reached_root(b"[1.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"));
        assert!(!reached_root(b"[0.0] Linux version 6.12.107"));
    }
}
