//! Drives that this program is itself: SCSI disks, some of which are ATA disks behind a translation or speak TCG, with erase commands. The
//! kernel takes them for disks like others, so its own way to a disk is tried with commands that QEMU's disks don't have.
//!
//! They are as the standards have them (SPC-5, SBC-4, SAT-4, ACS-4) and as far as the cases need them. What they have erased
//! they answer with anything but zeroes for.

mod ata;
mod target;
mod tcg;

use std::sync::{Arc, Mutex, MutexGuard};
use target::Target;
use tcg::Tcg;

/// Bytes of a sector.
pub const SECTOR: usize = 512;
/// Sectors of a drive: more than is looked at before a disk is called blank.
const SECTORS: usize = 104 << 11;

/// What a drive is.
#[derive(Debug, Clone, Copy)]
pub struct Make {
    pub serial: &'static str,
    pub speaks: Speaks,
}

#[derive(Debug, Clone, Copy)]
pub enum Speaks {
    /// With these words of what it tells of itself.
    Ata(&'static [(usize, u16)]),
    /// With these service actions of SANITIZE.
    Scsi(&'static [u8]),
    /// TCG, with this PSID on its label.
    Opal(&'static str),
}

/// A drive that is plugged in. It is pulled by [`Drive::pull`].
pub struct Drive {
    state: Arc<Mutex<State>>,
    target: Target,
}

/// What a drive keeps.
pub struct State {
    make: Make,
    /// What is stored.
    pub bytes: Vec<u8>,
    /// The erase commands that it was given, in order.
    pub told: Vec<String>,
    /// How many times it was written to.
    pub writes: usize,
    /// It takes no more erase commands until it is plugged in again.
    pub frozen: bool,
    /// It does not carry out what would erase it.
    pub broken: bool,
    /// It refuses to write what begins so.
    pub refuses: Option<[u8; 4]>,
    /// The user password.
    pub password: Option<[u8; 32]>,
    pub tcg: Tcg,
    prepared: bool,
    /// How often it still says that it is being sanitized.
    sanitizing: u16,
    /// Whether the last time it ended well.
    sanitized: bool,
}

/// How often a drive says that it is being sanitized.
const STEPS: u16 = 4;

/// What a command is answered with: data, or sense data.
type Answer = Result<Vec<u8>, Vec<u8>>;

impl Drive {
    /// Plugs in a drive that holds these bytes at these offsets, and an old byte, 0xd5, in a sector of each MiB.
    pub fn plug(make: Make, holds: &[(u64, Vec<u8>)]) -> Drive {
        let mut bytes = vec![0; SECTORS * SECTOR];
        for at in (512 << 10..bytes.len()).step_by(1 << 20) {
            bytes[at..at + SECTOR].fill(0xd5);
        }
        for (at, content) in holds {
            bytes[usize::try_from(*at).unwrap()..][..content.len()].copy_from_slice(content);
        }
        let state = Arc::new(Mutex::new(State {
            make,
            bytes,
            told: Vec::new(),
            writes: 0,
            frozen: false,
            broken: false,
            refuses: None,
            password: None,
            tcg: Tcg::default(),
            prepared: false,
            sanitizing: 0,
            sanitized: false,
        }));
        let of = Arc::clone(&state);
        let size = SECTORS * SECTOR;
        let target = Target::plug(make.serial, size, move |command, sent| of.lock().unwrap().answer(command, sent));
        crate::lay::wait_for(make.serial);
        Drive { state, target }
    }

    /// Bytes of a drive.
    pub const fn size() -> usize {
        SECTORS * SECTOR
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Takes it out of the machine.
    pub fn pull(self) {
        self.target.pull();
    }
}

impl State {
    /// How many sectors of what was there first are still there.
    pub fn old(&self) -> usize {
        self.bytes.chunks(SECTOR).filter(|sector| sector.iter().all(|byte| *byte == 0xd5)).count()
    }

    fn answer(&mut self, command: &[u8], sent: &[u8]) -> Answer {
        let be = |at: usize, length: usize| command[at..at + length].iter().fold(0, |n, b| n << 8 | usize::from(*b));
        match command[0] {
            0x00 if self.sanitizing > 0 => Err(self.sanitizing()),
            0x00 | 0x35 | 0x91 => Ok(Vec::new()),
            0x03 => Ok(self.request_sense()),
            0x12 => self.inquiry(command),
            // Mode sense, without any page.
            0x1a => Ok(vec![3, 0, 0, 0]),
            0x5a => Ok(vec![0, 6, 0, 0, 0, 0, 0, 0]),
            0x25 => Ok([u32::try_from(SECTORS - 1).unwrap().to_be_bytes(), 512_u32.to_be_bytes()].concat()),
            0x9e if command[1] & 0x1f == 0x10 => {
                let mut told = [(SECTORS as u64 - 1).to_be_bytes().to_vec(), 512_u32.to_be_bytes().to_vec()].concat();
                told.resize(32, 0);
                Ok(told)
            }
            0x28 => self.read(be(2, 4), be(7, 2)),
            0x88 => self.read(be(2, 8), be(10, 4)),
            0x2a => self.write(be(2, 4), sent),
            0x8a => self.write(be(2, 8), sent),
            0x85 if matches!(self.make.speaks, Speaks::Ata(_)) => self.ata(command, sent),
            0xa2 => self.security_in(command[1], be(2, 2)),
            0xb5 => self.security_out(command[1], be(2, 2), sent),
            0x48 => self.sanitize(command[1] & 0x1f, sent),
            0xa3 if command[1] & 0x1f == 0x0c && self.kinds().is_some() => {
                let has = command[3] == 0x48 && self.kinds().is_some_and(|kinds| kinds.contains(&command[5]));
                // Supported as the standard has it, or not.
                Ok(vec![0, if has { 3 } else { 1 }, 0, 0])
            }
            _ => Err(illegal()),
        }
    }

    fn kinds(&self) -> Option<&'static [u8]> {
        match self.make.speaks {
            Speaks::Scsi(kinds) => Some(kinds),
            Speaks::Ata(_) | Speaks::Opal(_) => None,
        }
    }

    fn inquiry(&self, command: &[u8]) -> Answer {
        let ata = matches!(self.make.speaks, Speaks::Ata(_));
        let page = |number: u8, content: &[u8]| {
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            Ok([&[0, number, length[0], length[1]], content].concat())
        };
        match (command[1] & 1, command[2]) {
            (0, 0) => {
                let vendor: &[u8; 8] = if ata { b"ATA     " } else { b"BEDPLATE" };
                Ok([&[0, 0, 6, 2, 31, 0, 0, 0], &vendor[..], b"DRIVE OF CASES  0001"].concat())
            }
            (1, 0x00) if ata => page(0x00, &[0x00, 0x80, 0x89]),
            (1, 0x00) => page(0x00, &[0x00, 0x80]),
            (1, 0x80) => page(0x80, format!("{:>20}", self.make.serial).as_bytes()),
            (1, 0x89) if ata => page(0x89, &[0; 568]),
            _ => Err(illegal()),
        }
    }

    fn read(&self, from: usize, count: usize) -> Answer {
        self.accessible()?;
        self.bytes.get(from * SECTOR..(from + count) * SECTOR).map(<[u8]>::to_vec).ok_or_else(illegal)
    }

    fn write(&mut self, from: usize, sent: &[u8]) -> Answer {
        self.accessible()?;
        if self.refuses.is_some_and(|begins| sent.starts_with(&begins)) {
            // Medium error: write error.
            return Err(sense(3, 0x0c, 0));
        }
        self.writes += 1;
        self.bytes.get_mut(from * SECTOR..from * SECTOR + sent.len()).ok_or_else(illegal)?.copy_from_slice(sent);
        Ok(Vec::new())
    }

    fn accessible(&self) -> Result<(), Vec<u8>> {
        match self.sanitizing {
            // Data protect: access denied, no access rights.
            0 if self.tcg.locked => Err(sense(7, 0x20, 2)),
            0 => Ok(()),
            _ => Err(self.sanitizing()),
        }
    }

    /// SANITIZE of a SCSI disk.
    fn sanitize(&mut self, kind: u8, sent: &[u8]) -> Answer {
        if !self.kinds().is_some_and(|kinds| kinds.contains(&kind)) {
            return Err(illegal());
        }
        let by = if sent.is_empty() { String::new() } else { format!(" by {sent:?}") };
        self.told.push(format!("SANITIZE {kind}{by}"));
        self.begin();
        Ok(Vec::new())
    }

    /// It begins to be sanitized.
    fn begin(&mut self) {
        (self.sanitizing, self.sanitized) = (STEPS, false);
        self.erase();
    }

    /// One question further.
    fn go_on(&mut self) {
        self.sanitizing = self.sanitizing.saturating_sub(1);
        self.sanitized |= self.sanitizing == 0 && !self.broken;
    }

    /// So many parts of 65,536.
    fn parts(&self) -> u16 {
        (STEPS - self.sanitizing) * (u16::MAX / STEPS)
    }

    fn request_sense(&mut self) -> Vec<u8> {
        if self.sanitizing == 0 {
            let (key, code, qualifier) = if self.broken { (3, 0x31, 3) } else { (0, 0, 0) };
            return sense(key, code, qualifier);
        }
        let sense = self.sanitizing();
        self.go_on();
        sense
    }

    /// Not ready, sanitize in progress.
    fn sanitizing(&self) -> Vec<u8> {
        let [high, low] = self.parts().to_be_bytes();
        vec![0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 4, 0x1b, 0, 0x80, high, low]
    }

    /// What was stored is nothing that anybody knows.
    pub fn erase(&mut self) {
        if self.broken {
            return;
        }
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for place in self.bytes.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            place.copy_from_slice(&state.to_le_bytes());
        }
    }
}

/// Illegal request: no such command.
fn illegal() -> Vec<u8> {
    sense(5, 0x20, 0)
}

fn sense(key: u8, code: u8, qualifier: u8) -> Vec<u8> {
    vec![0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, qualifier, 0, 0, 0, 0]
}
