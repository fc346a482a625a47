//! One machine: switched on and off, watched on its serial port and in the cluster.
#![allow(clippy::disallowed_methods, reason = "edge: writes configurations, talks to serial ports")]

mod probe;

use crate::bench::Bench;
use crate::control_plane::api::Api;
use crate::control_plane::{ControlPlane, free_ports};
use crate::serial_log::SerialLog;
use crate::wait::wait_until;
use anyhow::{Context, Result, bail};
use image_builder::qemu::{Disk, Forward, Lab, Network, RunningGuest, Serial, config_volume};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How long a boot may take to a page or to Ready. In software on two processors it takes some 30 s, and many times that where they
/// are shared with others.
pub const BOOT: Duration = Duration::from_secs(480);

/// A machine with its disks.
#[derive(Debug)]
pub struct Machine<'b> {
    /// The name it has in the site file.
    pub name: String,
    /// What it is made of; read again at each power-on.
    pub lab: Lab,
    /// It has a USB controller, for [`Machine::plug_stick`].
    pub usb: bool,
    /// Disks beyond those of the lab, such as foreign ones.
    pub disks: Vec<Disk>,
    /// Files whose text becomes an SMBIOS OEM string each.
    pub oem_strings: Vec<PathBuf>,
    /// A port of a switch in place of QEMU's own network.
    pub network: Option<Network>,
    bench: &'b Bench,
    folder: PathBuf,
    kubelet: u16,
    powered_on: u32,
    running: Option<RunningGuest>,
    /// Whether it was switched off and on because the emulator failed.
    again: bool,
    /// Seconds from power-on to the kernel's start, once known.
    firmware: Option<f64>,
}

impl<'b> Machine<'b> {
    /// A machine that is switched off, with an empty system disk copied from the release at its first power-on.
    ///
    /// # Errors
    /// When its folder can't be made.
    pub fn new(bench: &'b Bench, name: &str) -> Result<Machine<'b>> {
        let mut lab = Lab::new(&bench.release);
        lab.serial = Some(format!("BEDPLATE-{}", name.to_uppercase()));
        let [kubelet] = free_ports()?;
        Ok(Machine {
            name: name.into(),
            lab,
            usb: false,
            disks: Vec::new(),
            oem_strings: Vec::new(),
            network: None,
            bench,
            folder: bench.folder(name)?,
            kubelet,
            powered_on: 0,
            running: None,
            again: false,
            firmware: None,
        })
    }

    /// Its folder: disks, firmware variables, logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file its system disk lies in; it is there after the first power-on, or after [`Machine::make_disks`].
    pub fn system_disk(&self) -> PathBuf {
        self.folder.join("system.raw")
    }

    /// Gives it a configuration, which it finds at its next power-on.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn configure(&mut self, text: &str) -> Result<()> {
        let file = self.folder.join("config.toml");
        std::fs::write(&file, text).with_context(|| format!("{} can't be written", file.display()))?;
        self.lab.config = Some(file);
        Ok(())
    }

    /// Makes its disks without switching it on, so that they can be tampered with.
    ///
    /// # Errors
    /// As [`Lab::prepare`].
    pub fn make_disks(&self) -> Result<()> {
        self.lab.prepare(&self.bench.tools, &self.folder, self.bench.accelerator).map(drop)
    }

    /// Switches it on.
    ///
    /// # Errors
    /// When it is on, or QEMU does not start.
    pub fn power_on(&mut self) -> Result<()> {
        if self.running.is_some() {
            bail!("{} is switched on already", self.name);
        }
        self.powered_on += 1;
        self.again = false;
        self.firmware = None;
        let serial = Serial::Socket { path: self.console(), log: self.serial_file() };
        let (tools, accelerator) = (&self.bench.tools, self.bench.accelerator);
        let mut guest = self.lab.prepare_with_console(tools, &self.folder, accelerator, serial)?;
        guest.usb = self.usb;
        guest.disks.extend(self.disks.iter().cloned());
        guest.smbios.oem_strings.extend(self.oem_strings.iter().cloned());
        guest.network = self
            .network
            .clone()
            .unwrap_or_else(|| Network::User { forwards: vec![Forward { host: self.kubelet, guest: 10250 }] });
        self.running = Some(RunningGuest::start(&guest, tools, &self.folder)?);
        Ok(())
    }

    /// Shuts it down as its power button would, and says whether it went by itself within `patience`.
    ///
    /// # Errors
    /// When it is off, or QEMU can't be reached.
    pub fn shut_down(&mut self, patience: Duration) -> Result<bool> {
        self.running.take().with_context(|| format!("{} is switched off", self.name))?.shut_down(patience)
    }

    /// Cuts its power.
    pub fn cut_power(&mut self) {
        self.running = None;
    }

    /// What it said on its serial port since it was switched on last.
    pub fn log(&self) -> SerialLog {
        SerialLog::read(&self.serial_file())
    }

    /// Seconds from power-on to the kernel's start.
    pub fn firmware_seconds(&self) -> Option<f64> {
        self.firmware
    }

    /// Since it was switched on last.
    pub fn uptime(&self) -> Duration {
        self.running.as_ref().map_or(Duration::ZERO, |r| r.started().elapsed())
    }

    /// Waits until `condition` gives a value, watching that the machine stays on. A machine whose kernel broke down
    /// before any program of the image ran ([`SerialLog::kernel_broke`]) is switched off and on, once each time it is
    /// switched on.
    ///
    /// # Errors
    /// As [`wait_until`]; the error ends with the last lines of the serial port.
    pub fn wait<T>(
        &mut self,
        what: &str,
        patience: Duration,
        mut condition: impl FnMut(&SerialLog) -> Result<Option<T>>,
    ) -> Result<T> {
        let interrupt = self.bench.interrupt.clone();
        let mut silent = Still::default();
        let result = wait_until(what, patience, &interrupt, || {
            let log = self.log();
            self.note_kernel(&log);
            if let Some(said) = log.kernel_broke().filter(|_| !self.again && silent.is(&log, SILENCE)) {
                eprintln!("{}: its kernel broke down as it started; switched off and on. It said:\n{said}", self.name);
                self.running = None;
                self.power_on()?;
                self.again = true;
                return Ok(None);
            }
            let on = self.running.as_mut().context("it is switched off")?.check()?;
            match condition(&log)? {
                Some(value) => Ok(Some(value)),
                None if !on => bail!("it switched itself off"),
                None => Ok(None),
            }
        });
        result.with_context(|| format!("{}; its serial port ends with:\n{}", self.name, self.log().ending(25)))
    }

    /// Waits for a page with `word` (`STOPPED`) and gives the text of all its parts, one after the other.
    ///
    /// # Errors
    /// As [`Machine::wait`].
    pub fn wait_for_page(&mut self, word: &str, patience: Duration) -> Result<String> {
        let mut still = Still::default();
        let page = self.wait(&format!("it shows a {word} page"), patience, |log| {
            Ok(log.page().filter(|p| p.contains(word) && still.is(log, PIECES)))
        })?;
        let mut parts = BTreeMap::from([part_of(&page)]);
        let count = parts.keys().next().map_or(1, |(_, count)| *count);
        let mut tries = 2 * count;
        while parts.len() < count {
            if tries == 0 {
                bail!("{} shows only {} of the {count} parts of its page", self.name, parts.len());
            }
            tries -= 1;
            let painted = self.log().pages();
            press_enter(&self.console())?;
            let mut still = Still::default();
            let next = self.wait("Enter shows the next part of the page", Duration::from_secs(60), |log| {
                Ok(log.page().filter(|_| log.pages() > painted && still.is(log, PIECES)))
            })?;
            let (number, text) = part_of(&next);
            parts.insert(number, text);
        }
        Ok(parts.into_values().collect::<Vec<_>>().join("\n"))
    }

    /// Plugs in a USB stick labelled BEDPLATE with this configuration; `name` is for [`Machine::pull_stick`].
    ///
    /// # Errors
    /// When the stick can't be made, or QEMU refuses.
    pub fn plug_stick(&mut self, name: &str, config: &str) -> Result<()> {
        let folder = self.folder.join(name);
        let text = folder.join(config_volume::FILE);
        std::fs::create_dir(&folder).and_then(|()| std::fs::write(&text, config))?;
        self.plug_stick_with(name, &[text])
    }

    /// The same with copies of these files in place of a configuration.
    ///
    /// # Errors
    /// As [`Machine::plug_stick`].
    pub fn plug_stick_with(&mut self, name: &str, files: &[PathBuf]) -> Result<()> {
        let stick = self.folder.join(format!("{name}.img"));
        config_volume::make(&self.bench.tools, &stick)?;
        for file in files {
            let named = file.file_name().and_then(|name| name.to_str()).context("a file on a stick has no name")?;
            config_volume::put(&self.bench.tools, &stick, file, named)?;
        }
        self.running.as_mut().context("it is switched off")?.qmp()?.plug_stick(name, &stick)
    }

    /// Pulls out a stick.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn pull_stick(&mut self, name: &str) -> Result<()> {
        self.running.as_mut().context("it is switched off")?.qmp()?.pull(name)
    }

    /// Pulls out the disk with this serial number, one of its [`disks`](Machine::disks) on a bus that allows it.
    ///
    /// # Errors
    /// When it has no such disk, or QEMU refuses.
    pub fn pull_disk(&mut self, serial: &str) -> Result<()> {
        let index = self.index_of(serial)?;
        self.running.as_mut().context("it is switched off")?.qmp()?.pull_disk(index)
    }

    /// Has one of its [`disks`](Machine::disks), on the NVMe bus, set these bits of Critical Warning in its health log.
    ///
    /// # Errors
    /// When it has no such disk, or QEMU refuses.
    pub fn warn(&mut self, serial: &str, critical_warning: u8) -> Result<()> {
        let path = format!("/machine/peripheral/dev{}", self.index_of(serial)?);
        let set = json!({ "path": path, "property": "smart_critical_warning", "value": critical_warning });
        self.running.as_mut().context("it is switched off")?.qmp()?.execute("qom-set", set).map(drop)
    }

    /// The number that QEMU has it by.
    fn index_of(&self, serial: &str) -> Result<usize> {
        let place = self.disks.iter().position(|disk| disk.serial.as_deref() == Some(serial));
        let place = place.with_context(|| format!("{} has no disk {serial}", self.name))?;
        // The system disk, those of the lab, and then these.
        Ok(1 + self.lab.disks.len() + place)
    }

    /// Puts a blank disk with this serial number into the first free place of its SCSI bus.
    ///
    /// # Errors
    /// When the disk can't be made, or QEMU refuses.
    pub fn plug_blank_disk(&mut self, serial: &str, size: u64) -> Result<()> {
        let file = self.folder.join(format!("{serial}.raw"));
        Disk::blank(&file, size, serial)?;
        let mut qmp = self.running.as_mut().context("it is switched off")?.qmp()?;
        let file = json!({ "driver": "file", "filename": file });
        qmp.execute("blockdev-add", json!({ "driver": "raw", "node-name": serial, "file": file }))?;
        let disk = json!({ "driver": "scsi-hd", "bus": "scsi.0", "drive": serial, "serial": serial, "id": serial });
        qmp.execute("device_add", disk).map(drop)
    }

    /// Presses Enter until its page says `wanted`.
    ///
    /// # Errors
    /// As [`Machine::wait`].
    pub fn wait_for_page_with(&mut self, wanted: &str, patience: Duration) -> Result<String> {
        let mut pressed = Instant::now();
        let console = self.console();
        press_enter(&console)?;
        self.wait(&format!("its page says {wanted:?}"), patience, |log| {
            if pressed.elapsed() > Duration::from_secs(3) {
                press_enter(&console)?;
                pressed = Instant::now();
            }
            Ok(log.page().filter(|p| p.contains(wanted)))
        })
    }

    /// Waits until the cluster says that it is Ready, and gives the node object and the time since power-on.
    ///
    /// # Errors
    /// As [`Machine::wait`].
    pub fn wait_until_ready(&mut self, plane: &mut ControlPlane, patience: Duration) -> Result<(Value, Duration)> {
        self.wait_until_ready_watching(plane, patience, |log| {
            // It would wait for ever; the page says more than a time-out.
            match log.page().filter(|p| p.contains("STOPPED")) {
                Some(page) => bail!("it stopped:\n{page}"),
                None => Ok(()),
            }
        })
    }

    /// As [`Machine::wait_until_ready`], with a look at the log each time the cluster is asked.
    ///
    /// # Errors
    /// As [`Machine::wait`], and those of `look`.
    pub fn wait_until_ready_watching(
        &mut self,
        plane: &mut ControlPlane,
        patience: Duration,
        mut look: impl FnMut(&SerialLog) -> Result<()>,
    ) -> Result<(Value, Duration)> {
        let path = format!("/api/v1/nodes/{}", self.name);
        let powered_on = SystemTime::now() - self.uptime();
        let api = plane.api().clone();
        let node = self.wait("the cluster says that it is Ready", patience, |log| {
            look(log)?;
            plane.check()?;
            Ok(api.find(&path)?.filter(|node| is_ready(node, powered_on)))
        })?;
        Ok((node, self.uptime()))
    }

    /// Its kubelet, as an administrator.
    ///
    /// # Errors
    /// When the administrator's key is none.
    pub fn kubelet(&self, plane: &ControlPlane) -> Result<Api> {
        Api::kubelet(&format!("https://127.0.0.1:{}", self.kubelet), plane.admin())
    }

    fn note_kernel(&mut self, log: &SerialLog) {
        if self.firmware.is_none()
            && let Some(phase) = log.phases().last()
        {
            self.firmware = Some((self.uptime().as_secs_f64() - phase.at).max(0.0));
        }
    }

    fn console(&self) -> PathBuf {
        self.folder.join("console")
    }

    fn serial_file(&self) -> PathBuf {
        self.folder.join(format!("serial-{}.log", self.powered_on))
    }
}

/// A page comes in pieces; it is whole when the port has been silent for this long.
const PIECES: Duration = Duration::from_millis(700);
/// A kernel that has broken down and is silent for this long does not go on.
const SILENCE: Duration = Duration::from_secs(10);

/// For how long the port has been silent.
#[derive(Debug, Default)]
struct Still {
    length: usize,
    since: Option<Instant>,
}

impl Still {
    fn is(&mut self, log: &SerialLog, long: Duration) -> bool {
        if self.length != log.text().len() {
            *self = Still { length: log.text().len(), since: Some(Instant::now()) };
        }
        self.since.is_some_and(|since| since.elapsed() > long)
    }
}

fn press_enter(console: &Path) -> Result<()> {
    let mut port = UnixStream::connect(console).context("the serial port can't be reached")?;
    port.write_all(b"\r")?;
    // Hanging up at once would drop what was typed.
    std::thread::sleep(Duration::from_millis(300));
    Ok(())
}

/// Whether a node object is Ready and says so since this boot: after a reboot the object is still there.
fn is_ready(node: &Value, since: SystemTime) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|c| c["type"] == "Ready" && c["status"] == "True");
    let beat = ready.and_then(|c| c["lastHeartbeatTime"].as_str()?.parse::<Timestamp>().ok());
    // The cluster writes whole seconds.
    Timestamp::try_from(since).is_ok_and(|since| beat.is_some_and(|beat| beat.as_second() >= since.as_second()))
}

/// Which part of how many a page is, from its last line (`Page 1 of 2, ...`), and its text.
fn part_of(page: &str) -> ((usize, usize), String) {
    let number = || {
        let (_, rest) = page.rsplit_once("Page ")?;
        let (number, rest) = rest.split_once(" of ")?;
        let count = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        Some((number.parse().ok()?, count.parse().ok()?))
    };
    (number().unwrap_or((1, 1)), page.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_page_are_told_by_its_last_line() {
        assert_eq!(part_of("x\n\nPage 2 of 3, Enter shows the next. The node waits.").0, (2, 3));
        assert_eq!(part_of("x\n\nThe node waits.").0, (1, 1));
    }

    #[test]
    fn a_heartbeat_of_an_earlier_boot_is_not_ready() {
        let node = serde_json::json!({ "status": { "conditions": [
            { "type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-23T09:00:00Z" }] } });
        let at = |seconds| std::time::UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(is_ready(&node, at(1_795_424_390)));
        assert!(!is_ready(&node, at(1_795_424_410)));
    }
}
