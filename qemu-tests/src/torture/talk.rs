//! What host and guest say to each other over the guest's second serial port: a line of JSON each.

use firstboot::storage::Status;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{self, BufRead, Write};
use storage_plan::Verdict;

/// The word in the kernel's command line that has the guest's program listen for orders.
pub const WORD: &str = "orders";
/// The port, as the guest has it.
pub const PORT: &str = "/dev/ttyS1";

/// What the host wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Read the disks anew and run the storage unit.
    Run(Run),
    /// Compare what is stored with what should be.
    Compare,
    /// Let go of the disks: no mount, no array, nothing in a cache.
    LetGo,
}

/// How the storage unit is to be run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// For the scenario of this name.
    pub scenario: String,
    /// What becomes of one call of a tool.
    pub sabotage: Option<Sabotage>,
    /// Write [`contents`] to every volume afterwards.
    pub fill: bool,
    /// Wait until arrays are at rest, and write to them meanwhile.
    pub settle: bool,
}

/// What becomes of the call of a tool that has this number, from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sabotage {
    /// Which.
    pub call: usize,
    /// What.
    pub how: How,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// It exits with 1 and does nothing.
    Refuses,
    /// It does everything and exits with 1.
    FailsLate,
    /// It and the tool are killed after so many milliseconds.
    Killed(u64),
    /// It never ends.
    Hangs,
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            How::Refuses => write!(f, "exits with 1"),
            How::FailsLate => write!(f, "exits with 1 after its work"),
            How::Killed(after) => write!(f, "is killed after {after} ms"),
            How::Hangs => write!(f, "hangs"),
        }
    }
}

/// Seconds after which the agent ends a tool in these guests, as its environment has them. On two busy processors an honest
/// one takes a few.
pub const TOOL_LIMIT: &str = "BEDPLATE_TOOL_LIMIT=20";

/// What a volume holds that was filled, below its mount point.
pub const FILE: &str = "written-before";

/// The bytes of [`FILE`].
pub fn contents() -> Vec<u8> {
    (0..1u32 << 19).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// What the guest says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Said {
    /// It listens.
    Ready,
    /// The storage unit has run.
    Ran(Ran),
    /// It has compared.
    Compared(Compared),
    /// It has let go.
    LetGo,
    /// It can't do what it was told; why.
    Stuck(String),
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// How storage came out.
    pub status: Status,
    /// Refusals and failures, as a person reads them.
    pub refusals: Vec<String>,
    /// Volumes, each with its verdict and whether it is mounted.
    pub volumes: Vec<(String, Verdict, bool)>,
    /// What a plan made directly afterwards would do: the verdict of each volume.
    pub again: Vec<(String, Verdict)>,
    /// How many steps that plan has.
    pub steps_left: usize,
    /// Arrays that hold their members and do not run, by the kernel's names.
    pub waiting: Vec<String>,
    /// The tools that were called, in order.
    pub calls: Vec<String>,
}

/// What is stored, held against what should be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Mount points of volumes with [`FILE`] as it was written.
    pub intact: Vec<String>,
    /// Mount points of those where it is not so.
    pub changed: Vec<String>,
    /// Sectors in which copies, or data and parity, are at odds, by the kernel's own check of all arrays.
    pub mismatches: u64,
    /// Arrays that lack a member.
    pub lacking: Vec<String>,
}

/// Says it.
///
/// # Errors
/// When the port does.
pub fn say(to: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_string(what)?;
    line.push('\n');
    to.write_all(line.as_bytes())?;
    to.flush()
}

/// The next thing that is said.
///
/// # Errors
/// When the port does or is closed, or what comes is not understood.
pub fn hear<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<T> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_str(&line).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{e}: {line:?}")))
}
