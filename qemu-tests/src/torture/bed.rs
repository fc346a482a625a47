//! A guest that runs the storage unit as often as it is told, on disks from the block server.

use super::scenario::{self, Scenario};
use super::talk::{self, Compared, Order, Ran, Run, Sabotage, Said};
use crate::block_server::contents::Contents;
use crate::block_server::{BlockServer, Event};
use crate::guest::kit::Kit;
use crate::serial_log::SerialLog;
use anyhow::{Context, Result, bail, ensure};
use firstboot::storage::Status;
use image_builder::qemu::{RunningGuest, Serial};
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long a run, or letting go, may take before the guest counts as hung.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long the guest may take until it listens.
const START: Duration = Duration::from_secs(60);

/// A guest that is switched on. Dropping it cuts its power.
pub(super) struct Bed {
    server: BlockServer,
    orders: BufReader<UnixStream>,
    folder: tempfile::TempDir,
    _guest: RunningGuest,
}

/// A run and what it did to the disks.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    pub ran: Ran,
    /// Everything written and flushed, in order.
    pub events: Vec<Event>,
    /// What the disks hold after it.
    pub after: Vec<Contents>,
    /// Writes that were refused.
    pub refused: usize,
    /// What is stored, of a scenario that rebuilds.
    pub compared: Option<Compared>,
}

/// What goes wrong during a run.
#[derive(Debug, Clone, Default)]
pub(super) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// One write, after so many good ones.
    Write(usize),
    /// One call of a tool.
    Tool(Sabotage),
}

impl Bed {
    /// Switches a guest on.
    ///
    /// # Errors
    /// When it does not come to listen.
    pub(super) fn start(kit: &Kit) -> Result<Bed> {
        let folder = tempfile::Builder::new().prefix("bedplate-bed-").tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let server = BlockServer::start(folder.path(), scenario::exports())?;
        let mut guest = kit.guest(1, &format!("{} {}", talk::WORD, talk::TOOL_LIMIT));
        guest.disks = server.disks();
        guest.serial.push(Serial::File(at("serial")));
        guest.serial.push(Serial::Socket { path: at("orders"), log: at("said") });
        let running = RunningGuest::start(&guest, &kit.tools, folder.path())?;
        let orders = connect(&at("orders"))?;
        orders.set_read_timeout(Some(START))?;
        let mut bed = Bed { server, orders: BufReader::new(orders), folder, _guest: running };
        match bed.hear("to listen")? {
            Said::Ready => {}
            other => bail!("the guest began with {other:?}"),
        }
        bed.orders.get_ref().set_read_timeout(Some(PATIENCE))?;
        Ok(bed)
    }

    /// Puts the disks as `contents` says and runs the storage unit for `scenario`, while `fault` goes wrong.
    ///
    /// # Errors
    /// When the guest does not answer, or can't let go afterwards: it must be switched off.
    pub(super) fn run(&mut self, scenario: &Scenario, contents: Vec<Contents>, fault: &Fault) -> Result<Recorded> {
        let mut run = Run { scenario: scenario.name.clone(), settle: scenario.rebuilds(), ..Run::default() };
        self.server.set(contents);
        match fault {
            Fault::None => {}
            Fault::Write(good) => self.server.refuse_a_write_after(*good),
            Fault::Tool(sabotage) => run.sabotage = Some(sabotage.clone()),
        }
        let ran = self.ran(run)?;
        let refused = self.server.refused();
        let (events, after) = self.server.taken();
        let compared = scenario.rebuilds().then(|| self.compared()).transpose()?;
        self.let_go()?;
        Ok(Recorded { ran, events, after, refused, compared })
    }

    /// Has `scenario` made, writes to all volumes, and gives what the disks then hold. It is made without a cut before: an array that
    /// has a write hole while it is filled may be refused after one, as it should be.
    ///
    /// # Errors
    /// As [`Bed::run`], and when it is not made.
    pub(super) fn fill(&mut self, scenario: &Scenario, contents: Vec<Contents>) -> Result<Vec<Contents>> {
        self.server.set(contents);
        let ran = self.ran(Run { scenario: scenario.name.clone(), fill: true, settle: true, ..Run::default() })?;
        ensure!(ran.status != Status::Stopped, "{:?} is not made: {}", scenario.name, ran.refusals.join(" | "));
        self.let_go()?;
        Ok(self.server.taken().1)
    }

    fn ran(&mut self, run: Run) -> Result<Ran> {
        self.say(&Order::Run(run))?;
        match self.hear("to run the storage unit")? {
            Said::Ran(ran) => Ok(ran),
            other => bail!("the guest should run the storage unit, and says {other:?}"),
        }
    }

    fn compared(&mut self) -> Result<Compared> {
        self.say(&Order::Compare)?;
        match self.hear("to compare what is stored")? {
            Said::Compared(compared) => Ok(compared),
            other => bail!("the guest should compare what is stored, and says {other:?}"),
        }
    }

    fn let_go(&mut self) -> Result<()> {
        self.say(&Order::LetGo)?;
        match self.hear("to let go of the disks")? {
            Said::LetGo => Ok(()),
            other => bail!("the guest should let go of the disks, and says {other:?}"),
        }
    }

    /// The end of what the guest's console shows.
    pub(super) fn console(&self) -> String {
        let log = SerialLog::read(&self.folder.path().join("serial"));
        let lines: Vec<&str> = log.text().lines().filter(|l| !l.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn say(&mut self, order: &Order) -> Result<()> {
        talk::say(self.orders.get_mut(), order).context("the guest takes no orders")
    }

    fn hear(&mut self, what: &str) -> Result<Said> {
        let console = |bed: &Bed| format!("the guest does not come {what}; its console:\n{}", bed.console());
        talk::hear(&mut self.orders).with_context(|| console(self))
    }
}

/// QEMU makes the socket a moment after it starts.
fn connect(path: &std::path::Path) -> Result<UnixStream> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            Err(e) => return Err(e).with_context(|| format!("QEMU does not listen at {}", path.display())),
        }
    }
}
