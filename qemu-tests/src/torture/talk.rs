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
    /// Read the disks anew and run the storage unit for the scenario of this name.
    Run(String),
    /// Let go of the disks: no mount, no array, nothing in a cache.
    LetGo,
}

/// What the guest says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Said {
    /// It listens.
    Ready,
    /// The storage unit has run.
    Ran(Ran),
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
