//! A guest that runs.
#![allow(clippy::disallowed_methods, reason = "edge: starts QEMU and keeps its log")]

use super::tpm::Tpm;
use super::{Guest, Qmp, Serial};
use crate::tools::Tools;
use anyhow::{Context, Result, bail};
use run_tool::{Running, Tool};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A guest that runs. Dropping it cuts its power; so does the end of the thread that started it.
#[derive(Debug)]
pub struct RunningGuest {
    running: Running,
    /// Ends after QEMU, which talks to it to the last.
    #[allow(dead_code, reason = "held for its end")]
    tpm: Option<Tpm>,
    qmp: PathBuf,
    log: PathBuf,
    started: Instant,
}

/// How long a guest has to heed its power button before it is pressed again.
const PRESS: Duration = Duration::from_secs(5);

impl RunningGuest {
    /// Starts `guest`. Its control socket and QEMU's own log lie in `folder`.
    ///
    /// # Errors
    /// When the tools tree has no QEMU, or it does not start.
    pub fn start(guest: &Guest, tools: &Tools, folder: &Path) -> Result<RunningGuest> {
        let qmp = folder.join("qmp");
        let at_terminal = guest.serial.contains(&Serial::Stdio);
        let tpm = guest.tpm.as_deref().map(|folder| Tpm::start(tools, folder)).transpose()?;
        let guest = RunningGuest::spawn(&qemu(tools)?, guest.arguments(&qmp), folder, at_terminal)?;
        Ok(RunningGuest { tpm, ..guest })
    }

    /// Starts a switch that guests find at `ports`.
    ///
    /// # Errors
    /// As [`RunningGuest::start`].
    pub fn start_switch(ports: &[PathBuf], tools: &Tools, folder: &Path) -> Result<RunningGuest> {
        let arguments = Guest::switch_arguments(ports, &folder.join("qmp"));
        RunningGuest::spawn(&qemu(tools)?, arguments, folder, false)
    }

    fn spawn(qemu: &Tool, arguments: Vec<OsString>, folder: &Path, at_terminal: bool) -> Result<RunningGuest> {
        let (qmp, log) = (folder.join("qmp"), folder.join("qemu.log"));
        // A socket address has room for 107 bytes.
        if qmp.as_os_str().len() > 107 {
            bail!("{} is too long for a socket; use a folder with a shorter path", qmp.display());
        }
        let _ = std::fs::remove_file(&qmp);
        let stderr =
            std::fs::File::create(&log).with_context(|| format!("QEMU's log {} can't be written", log.display()))?;
        let streams = || if at_terminal { Stdio::inherit() } else { Stdio::null() };
        let running = qemu.command().args(arguments).ends_with_starter().start(streams(), streams(), stderr.into())?;
        Ok(RunningGuest { running, tpm: None, qmp, log, started: Instant::now() })
    }

    /// When QEMU was started: power on.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Process id of QEMU.
    pub fn id(&self) -> u32 {
        self.running.child.id()
    }

    /// Opens its control connection; QEMU serves one at a time.
    ///
    /// # Errors
    /// As [`Qmp::connect`], with QEMU's own message when it ended.
    pub fn qmp(&mut self) -> Result<Qmp> {
        self.check()?;
        Qmp::connect(&self.qmp, Duration::from_secs(20))
    }

    /// Whether QEMU still runs. A guest that was shut down is no error.
    ///
    /// # Errors
    /// When QEMU ended with a failure; the error has its last words.
    pub fn check(&mut self) -> Result<bool> {
        match self.running.child.try_wait()? {
            None => Ok(true),
            Some(status) => self.judge(status).map(|_| false),
        }
    }

    /// Waits until QEMU ends by itself; `None` when it has not after `patience`.
    ///
    /// # Errors
    /// As [`RunningGuest::check`].
    pub fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.running.child.try_wait()? {
                return self.judge(status).map(Some);
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Shuts the guest down in order and gives it `patience` to do so, then cuts its power. Says whether it went by
    /// itself. Its power button is pressed again every few seconds: a guest that has only just started may not have
    /// heard the first time.
    ///
    /// # Errors
    /// When QEMU can't be reached.
    pub fn shut_down(mut self, patience: Duration) -> Result<bool> {
        let until = Instant::now() + patience;
        loop {
            let pressed = self.qmp().and_then(|mut qmp| qmp.power_button());
            let left = until.saturating_duration_since(Instant::now());
            if self.wait(left.min(PRESS))?.is_some() {
                return Ok(true);
            }
            pressed?;
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Tells QEMU to end, whatever the guest does, and kills it if it has not after `patience`.
    ///
    /// # Errors
    /// When QEMU failed already.
    pub fn quit(mut self, patience: Duration) -> Result<()> {
        if let Ok(mut qmp) = self.qmp() {
            // It may end before it answers.
            let _ = qmp.execute("quit", serde_json::json!({}));
        }
        self.wait(patience).map(drop)
    }

    /// Cuts the power, at once.
    pub fn cut_power(self) {}

    fn judge(&self, status: ExitStatus) -> Result<ExitStatus> {
        if status.success() {
            return Ok(status);
        }
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        bail!("QEMU ended with {status}:\n{}", log.trim_end())
    }
}

/// QEMU with the folders of firmware that its devices load.
fn qemu(tools: &Tools) -> Result<Tool> {
    let mut qemu = tools.tool("qemu-system-x86_64")?;
    for folder in ["usr/share/qemu", "usr/share/seabios"] {
        qemu.prefix.extend(["-L".into(), tools.root().join(folder).into()]);
    }
    let modules = tools.root().join("usr/lib/x86_64-linux-gnu/qemu");
    Ok(qemu.with_env("QEMU_MODULE_DIR", modules))
}
