//! QEMU's control protocol (QMP): JSON over a socket.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A connection to a running QEMU.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects and negotiates, waiting up to `patience` for QEMU to listen.
    ///
    /// # Errors
    /// When nothing answers in time, or what answers is not QMP.
    pub fn connect(socket: &Path, patience: Duration) -> Result<Qmp> {
        let until = Instant::now() + patience;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
                Err(e) => {
                    return Err(e).with_context(|| format!("QEMU does not answer at {}", socket.display()));
                }
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut qmp = Qmp { stream: BufReader::new(stream) };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            bail!("{} does not speak QMP; it said {greeting}", socket.display());
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and gives what it returned. Events that come meanwhile are dropped.
    ///
    /// # Errors
    /// When QEMU refuses the command, with its own words, or is gone.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes()).context("QEMU is gone")?;
        loop {
            let answer = self.read()?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command}: {}", error["desc"].as_str().unwrap_or("without a reason"));
            }
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
        }
    }

    /// Pulls the power button: the guest's system shuts down in order, if it listens.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn power_button(&mut self) -> Result<()> {
        self.execute("system_powerdown", json!({})).map(drop)
    }

    /// Resets the machine at once, as the reset button would.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn reset(&mut self) -> Result<()> {
        self.execute("system_reset", json!({})).map(drop)
    }

    /// Writes what the guest's screen shows to `file`, as PPM.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn screenshot(&mut self, file: &Path) -> Result<()> {
        self.execute("screendump", json!({ "filename": file })).map(drop)
    }

    /// Pulls out the disk at this place in the guest's list, without asking the guest (virtio-scsi) or by telling it
    /// (virtio-blk, NVMe: it goes when the guest lets go).
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn pull_disk(&mut self, index: usize) -> Result<()> {
        self.execute("device_del", json!({ "id": format!("dev{index}") })).map(drop)
    }

    /// Plugs in a USB stick with the bytes of `file`; the guest needs a USB controller. Each stick has a name of its
    /// own, which can't be used again.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn plug_stick(&mut self, name: &str, file: &Path) -> Result<()> {
        let node = format!("stick-{name}");
        let file = json!({ "driver": "file", "filename": file });
        self.execute("blockdev-add", json!({ "driver": "raw", "node-name": node, "file": file }))?;
        let stick = json!({ "driver": "usb-storage", "id": name, "drive": node, "removable": true });
        self.execute("device_add", stick).map(drop)
    }

    /// Pulls out a stick.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn pull(&mut self, name: &str) -> Result<()> {
        self.execute("device_del", json!({ "id": name })).map(drop)
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).context("QEMU does not answer")? == 0 {
            bail!("QEMU ended");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU answered what is not JSON: {}", line.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A QEMU that greets and then gives these lines, each after one it was told.
    fn scripted(answers: &'static [&'static str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = BufReader::new(stream);
            stream.get_mut().write_all(b"{\"QMP\":{}}\n").unwrap();
            for answer in [&["{\"return\":{}}"], answers].concat() {
                stream.read_line(&mut String::new()).unwrap();
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
                stream.get_mut().write_all(b"\n").unwrap();
            }
        });
        (folder, path)
    }

    #[test]
    fn events_before_an_answer_are_passed_over() {
        let (_folder, path) = scripted(&["{\"event\":\"RESET\"}\n{\"return\":{\"status\":\"running\"}}"]);
        let mut qmp = Qmp::connect(&path, Duration::from_secs(5)).unwrap();
        assert_eq!(qmp.execute("query-status", json!({})).unwrap()["status"], "running");
    }

    #[test]
    fn a_refusal_is_an_error_in_its_own_words() {
        let (_folder, path) = scripted(&["{\"error\":{\"class\":\"X\",\"desc\":\"Device 'dev9' not found\"}}"]);
        let error = Qmp::connect(&path, Duration::from_secs(5)).unwrap().pull_disk(9).unwrap_err().to_string();
        assert!(error.contains("device_del") && error.contains("dev9"), "{error}");
    }

    #[test]
    fn a_qemu_that_ended_is_an_error() {
        let (_folder, path) = scripted(&[]);
        let mut qmp = Qmp::connect(&path, Duration::from_secs(5)).unwrap();
        assert!(qmp.power_button().is_err());
    }
}
