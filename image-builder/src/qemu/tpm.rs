//! A TPM 2.0 for a guest: swtpm of the tools tree. It lives as long as the guest; its state stays in its folder.
#![allow(clippy::disallowed_methods, reason = "edge: makes the TPM's folder and starts swtpm")]

use crate::tools::Tools;
use anyhow::{Context, Result, bail};
use run_tool::Running;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How long swtpm may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where QEMU reaches the TPM whose state lies in `folder`.
pub fn socket(folder: &Path) -> PathBuf {
    folder.join("socket")
}

/// A TPM that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Tpm {
    _running: Running,
}

impl Tpm {
    /// Starts a TPM on the state in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// When the tools tree has no swtpm, or it does not listen.
    pub fn start(tools: &Tools, folder: &Path) -> Result<Tpm> {
        std::fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
        let (socket, log) = (socket(folder), folder.join("swtpm.log"));
        let _ = std::fs::remove_file(&socket);
        let stderr = std::fs::File::create(&log).with_context(|| format!("{} can't be written", log.display()))?;
        let swtpm = tools.tool("swtpm")?.command();
        let state = format!("dir={}", folder.display());
        let control = format!("type=unixio,path={}", socket.display());
        let mut running = swtpm
            .args(["socket", "--tpm2", "--tpmstate", &state, "--ctrl", &control])
            .ends_with_starter()
            .start(Stdio::null(), Stdio::null(), stderr.into())?;
        let until = Instant::now() + PATIENCE;
        while !socket.exists() {
            if running.child.try_wait()?.is_some() || Instant::now() >= until {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("swtpm does not listen at {}: {}", socket.display(), said.trim_end());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Tpm { _running: running })
    }
}
