//! The erase command of SCSI disks, among them SAS: SANITIZE (SBC-4, section 5.32), with which of its kinds the disk has (REPORT
//! SUPPORTED OPERATION CODES, SPC-5, section 6.34) and how far it is (REQUEST SENSE, SPC-5, section 6.37).
//!
//! It erases the one logical unit. A disk goes on with it by itself after a power cut.

use super::super::meter::Meter;
use super::sg::{self, Data, ILLEGAL_REQUEST, Sense};
use super::{BRIEF, Stage, Wanted, until_done};
use anyhow::{Context, bail, ensure};
use std::fs::File;

/// Operation codes.
const REQUEST_SENSE: u8 = 0x03;
const SANITIZE: u8 = 0x48;
const MAINTENANCE_IN: u8 = 0xa3;

/// The kinds of it, by their service action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Overwrite = 1,
    BlockErase = 2,
    CryptographicErase = 3,
}

/// A SCSI disk that can erase itself.
#[derive(Debug)]
pub(in crate::apply) struct Erasing<'a> {
    disk: &'a File,
    kind: Kind,
}

impl<'a> Erasing<'a> {
    /// # Errors
    /// A sentence when the disk has no such command.
    pub(super) fn of(disk: &'a File, wanted: Wanted) -> anyhow::Result<Erasing<'a>> {
        let kinds: &[Kind] = match wanted {
            Wanted::SecureErase => bail!("it is a SCSI disk, and what those have is sanitize and crypto-erase"),
            Wanted::Sanitize => &[Kind::BlockErase, Kind::Overwrite],
            Wanted::CryptoErase => &[Kind::CryptographicErase],
        };
        for kind in kinds {
            if has(disk, *kind)? {
                return Ok(Erasing { disk, kind: *kind });
            }
        }
        bail!("it does not say that it has such a command")
    }

    /// # Errors
    /// When the disk does not erase itself.
    pub(super) fn erase(&self, size: u64, meter: &Meter) -> anyhow::Result<()> {
        let (command, parameters) = sanitize(self.kind);
        let data = if parameters.is_empty() { Data::Nothing } else { Data::ToDisk(&parameters) };
        let begun = sg::command(self.disk, &command, data, BRIEF).and_then(sg::Answer::good);
        begun.context("SANITIZE failed")?;
        until_done(size, meter, || {
            let mut told = [0; 64];
            let command = [REQUEST_SENSE, 0, 0, 0, 64, 0];
            sg::command(self.disk, &command, Data::FromDisk(&mut told), BRIEF)?.good()?;
            Ok(stage(&told))
        })
    }
}

/// Whether the disk has this kind of the command.
fn has(disk: &File, kind: Kind) -> anyhow::Result<bool> {
    let mut told = [0; 64];
    // Of one operation code and, as it has some, service action.
    let command = [MAINTENANCE_IN, 0x0c, 0b11, SANITIZE, 0, kind as u8, 0, 0, 0, 64, 0, 0];
    let answer = sg::command(disk, &command, Data::FromDisk(&mut told), BRIEF);
    let answer = answer.context("the disk can't be asked what commands it has")?;
    let unknown = sg::sense(&answer.sense).is_some_and(|s| s.key == ILLEGAL_REQUEST);
    ensure!(answer.is_good() || unknown, "the disk does not tell what commands it has");
    // As the standard has it.
    Ok(answer.is_good() && told[1] & 0b111 == 0b011)
}

/// The command, which is answered at once, and what it comes with. Should it fail, the disk gives nothing back until it was
/// sanitized after all.
fn sanitize(kind: Kind) -> ([u8; 10], Vec<u8>) {
    // Once, by a pattern of four zeroes.
    let parameters = if kind == Kind::Overwrite { vec![1, 0, 0, 4, 0, 0, 0, 0] } else { Vec::new() };
    let immediately = 1 << 7;
    let length = if kind == Kind::Overwrite { 8 } else { 0 };
    ([SANITIZE, immediately | kind as u8, 0, 0, 0, 0, 0, 0, length, 0], parameters)
}

/// How far it is, by the sense data of REQUEST SENSE.
fn stage(told: &[u8]) -> Stage {
    match sg::sense(told) {
        // Not ready, sanitize in progress. Sense key specific bytes 1 and 2, if the first bit of the 0th says that they count.
        Some(Sense { key: 2, code: (0x04, 0x1b) }) => match told {
            [0x70 | 0xf0, _, _, _, _, _, _, _, _, _, _, _, _, _, _, valid, high, low, ..] if valid & 0x80 != 0 => {
                Stage::UnderWay(u16::from_be_bytes([*high, *low]))
            }
            _ => Stage::UnderWay(0),
        },
        // No sense.
        Some(Sense { key: 0, code: (0, 0) }) => Stage::Done,
        // Something else has happened, which is told once.
        Some(Sense { key: 6, .. }) => Stage::UnderWay(0),
        Some(Sense { key, code: (code, qualifier) }) => {
            Stage::Failed(format!("it was not sanitized: sense {key:x}/{code:02x}/{qualifier:02x}"))
        }
        None => Stage::Failed("it does not tell whether it was sanitized".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_has_the_bytes_of_the_standard() {
        assert_eq!(sanitize(Kind::BlockErase), ([0x48, 0x82, 0, 0, 0, 0, 0, 0, 0, 0], Vec::new()));
        assert_eq!(sanitize(Kind::CryptographicErase), ([0x48, 0x83, 0, 0, 0, 0, 0, 0, 0, 0], Vec::new()));
        let overwrite = ([0x48, 0x81, 0, 0, 0, 0, 0, 0, 8, 0], vec![1, 0, 0, 4, 0, 0, 0, 0]);
        assert_eq!(sanitize(Kind::Overwrite), overwrite);
    }

    #[test]
    fn how_far_it_is_comes_from_sense_data() {
        let fixed = |key: u8, code: u8, qualifier: u8, rest: [u8; 3]| {
            let [a, b, c] = rest;
            stage(&[0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, qualifier, 0, a, b, c])
        };
        assert_eq!(fixed(2, 4, 0x1b, [0x80, 0x12, 0x34]), Stage::UnderWay(0x1234));
        assert_eq!(fixed(2, 4, 0x1b, [0, 0x12, 0x34]), Stage::UnderWay(0), "the bytes do not count");
        let with_information = [0xf0, 0, 2, 1, 2, 3, 4, 10, 0, 0, 0, 0, 4, 0x1b, 0, 0x80, 0x12, 0x34];
        assert_eq!(stage(&with_information), Stage::UnderWay(0x1234));
        assert_eq!(fixed(6, 0x29, 0, [0; 3]), Stage::UnderWay(0));
        assert_eq!(fixed(0, 0, 0, [0; 3]), Stage::Done);
        assert_eq!(fixed(3, 0x31, 3, [0; 3]), Stage::Failed("it was not sanitized: sense 3/31/03".into()));
        assert!(matches!(stage(&[]), Stage::Failed(_)));
    }
}
