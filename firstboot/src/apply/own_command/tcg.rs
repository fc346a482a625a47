//! Reverting a TCG drive by the PSID on its label: the drive throws away the key that it stores by and every password, and is what it
//! was when it was made (TCG Storage SSC Opal 2.01, section 5.1.2; TCG Storage Opal SSC Feature Set: PSID 1.00).
//!
//! Guarantees: the drive has said that it takes the PSID before anything is written, and nobody else is told it. A drive that would not
//! be erased by it is refused: one whose locking was never turned on keeps what is stored.
//!
//! The kernel speaks TCG, too (`linux/sed-opal.h`), but to NVMe and libata's disks alone, only if it was built so, and it can't try a
//! PSID without reverting. So it is spoken from here, in the words that the kernel uses.

mod packet;

use super::super::meter::Meter;
use super::sg::{self, Answer, Data, ILLEGAL_REQUEST};
use super::{BRIEF, Stage, nvme, until_done};
use anyhow::{Context, bail, ensure};
use machine_config::permit::Psid;
use packet::{Discovered, Session};
use std::fs::File;
use std::time::{Duration, Instant};

/// SCSI commands.
const REPORT_LUNS: u8 = 0xa0;
const SECURITY_PROTOCOL_IN: u8 = 0xa2;
const SECURITY_PROTOCOL_OUT: u8 = 0xb5;
/// What TCG is among the security protocols, and the ComID by which a drive is asked what it is.
const PROTOCOL: u8 = 1;
const DISCOVERY: u16 = 1;
/// How long an answer may take, and how long one is waited for before it is asked for again.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
const PAUSE: Duration = Duration::from_millis(50);

/// Of a disk that does not answer in it.
const MUTE: &str = "it does not speak TCG (Opal); take a permit of another method";
/// Of a drive that has nothing to revert.
const UNLOCKED: &str = "its locking was never turned on, and as long as that is so a revert erases nothing; take a permit of method \
                        crypto-erase or sanitize";

/// Whether the disk says that it is locked, or shows what is to unlock it in place of what is stored; no if it does not speak TCG.
pub(crate) fn is_locked(disk: &File) -> bool {
    Drive::of(disk).and_then(|drive| drive.discover()).is_ok_and(|told| told.locked)
}

/// An Opal drive that has taken the PSID.
#[derive(Debug)]
pub(in crate::apply) struct Erasing<'a> {
    drive: Drive<'a>,
    com_id: u16,
    psid: &'a Psid,
}

impl<'a> Erasing<'a> {
    /// # Errors
    /// A sentence when the disk is no Opal drive, would not be erased, or has another PSID.
    pub(super) fn of(disk: &'a File, psid: &'a Psid) -> anyhow::Result<Erasing<'a>> {
        let drive = Drive::of(disk)?;
        drive.is_alone()?;
        let com_id = can_be_reverted(&drive.discover()?).map_err(anyhow::Error::msg)?;
        let erasing = Erasing { drive, com_id, psid };
        let session = erasing.begin()?;
        erasing.end(session);
        Ok(erasing)
    }

    /// # Errors
    /// When the drive does not revert itself.
    pub(super) fn erase(&self, size: u64, meter: &Meter) -> anyhow::Result<()> {
        let session = self.begin()?;
        let told = self.tell(&packet::revert(self.com_id, session)).context("Revert failed");
        // The answer may be lost with the session that it ends; what the drive is afterwards says more.
        if told.is_err() && self.drive.discover().is_ok_and(|now| now.locking) {
            self.end(session);
            return told.map(drop);
        }
        until_done(size, meter, || self.drive.discover().map(stage))
    }

    fn begin(&self) -> anyhow::Result<Session> {
        let answer = self.tell(&packet::start_session(self.com_id, self.psid.bytes()))?;
        packet::session(&answer).context("its answer to StartSession has no session in it")
    }

    /// A session that is not ended is ended by the drive itself, with the next one or when it loses power.
    fn end(&self, session: Session) {
        if let Err(error) = self.tell(&packet::end_session(self.com_id, session)) {
            tracing::warn!("a drive's session was not ended: {error:#}");
        }
    }

    /// The answer, which says that it was done.
    fn tell(&self, told: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.drive.send(self.com_id, told)?;
        let since = Instant::now();
        loop {
            let answer = self.drive.receive(self.com_id)?;
            if !packet::is_to_come(&answer) {
                let status = packet::status(&answer).context("what it answers is no answer of TCG")?;
                ensure!(status == 0, "{}", words(status));
                return Ok(answer);
            }
            ensure!(since.elapsed() < PATIENCE, "no answer came within {} s", PATIENCE.as_secs());
            std::thread::sleep(PAUSE);
        }
    }
}

/// The ComID of an Opal drive that is erased by a revert, or why there is no way.
fn can_be_reverted(told: &Discovered) -> Result<u16, String> {
    match (told.opal, told.other) {
        (None, Some(kind)) => {
            Err(format!("it speaks TCG, but is no Opal drive ({kind}); take a permit of method crypto-erase"))
        }
        (None, None) => Err(MUTE.into()),
        _ if told.erasing => Err("it is being erased already; when that has ended look again".into()),
        _ if !told.locking => Err(UNLOCKED.into()),
        (Some(com_id), _) => Ok(com_id),
    }
}

/// How far a drive is that was told to revert itself.
fn stage(now: Discovered) -> Stage {
    match now {
        Discovered { interrupted: true, .. } => Stage::Failed("it says that its erasing was interrupted".into()),
        Discovered { erasing: true, .. } => Stage::UnderWay(0),
        Discovered { locking: false, opal: Some(_), .. } => Stage::Done,
        _ => Stage::Failed("it was told to revert itself, and its locking is still turned on".into()),
    }
}

/// A status in words (Core Specification, section 5.1.5).
fn words(status: u64) -> String {
    match status {
        0x01 => "the PSID is not that of this drive. Read it from the drive's label again and sign another permit".into(),
        0x03 | 0x07 => "somebody else speaks with it, or did until lately. Take it out and put it in again".into(),
        0x0c => "it knows of no PSID. Take a permit of method crypto-erase or sanitize".into(),
        0x12 => "it was told a wrong PSID too often, and takes none until it was without power. Take it out and put it in again".into(),
        status => format!("it answers with status {status:#x} of TCG"),
    }
}

/// A disk that TCG can be spoken to.
#[derive(Debug)]
struct Drive<'a> {
    disk: &'a File,
    /// The number of the namespace, of an NVMe disk.
    namespace: Option<u32>,
}

impl<'a> Drive<'a> {
    fn of(disk: &'a File) -> anyhow::Result<Drive<'a>> {
        let namespace = nvme::id(disk);
        ensure!(namespace.is_some() || sg::is_spoken(disk), "it is no NVMe, ATA or SCSI disk, and no others speak TCG");
        Ok(Drive { disk, namespace })
    }

    /// Insists that the drive has nothing but this disk: it is erased as a whole.
    fn is_alone(&self) -> anyhow::Result<()> {
        if let Some(id) = self.namespace {
            return nvme::is_sole(self.disk, id);
        }
        let mut list = [0; 64];
        let command = [REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0];
        let answer = sg::command(self.disk, &command, Data::FromDisk(&mut list), BRIEF).and_then(Answer::good);
        answer.context("it does not tell whether it is all of its drive")?;
        match units(&list) {
            0 | 1 => Ok(()),
            count => bail!("its drive has {count} logical units, and would erase them all"),
        }
    }

    fn discover(&self) -> anyhow::Result<Discovered> {
        self.receive(DISCOVERY).map(|told| packet::discovered(&told))
    }

    fn send(&self, com_id: u16, bytes: &[u8]) -> anyhow::Result<()> {
        match self.namespace {
            Some(_) => nvme::security(self.disk, PROTOCOL, com_id, Data::ToDisk(bytes)),
            None => {
                let command = security(SECURITY_PROTOCOL_OUT, com_id);
                sg::command(self.disk, &command, Data::ToDisk(bytes), BRIEF).and_then(Answer::good)
            }
        }
        .context("it does not take what is said to it in TCG")
    }

    fn receive(&self, com_id: u16) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![0; packet::LENGTH];
        match self.namespace {
            Some(_) => nvme::security(self.disk, PROTOCOL, com_id, Data::FromDisk(&mut bytes))?,
            None => {
                let command = security(SECURITY_PROTOCOL_IN, com_id);
                let answer = sg::command(self.disk, &command, Data::FromDisk(&mut bytes), BRIEF)?;
                let unknown = sg::sense(&answer.sense).is_some_and(|s| s.key == ILLEGAL_REQUEST);
                ensure!(!unknown, MUTE);
                answer.good()?;
            }
        }
        Ok(bytes)
    }
}

/// SECURITY PROTOCOL IN or OUT of a whole packet (SPC-5, sections 6.40 and 6.41).
fn security(code: u8, com_id: u16) -> [u8; 12] {
    let ([high, low], [a, b, c, d]) = (com_id.to_be_bytes(), (packet::LENGTH as u32).to_be_bytes());
    [code, PROTOCOL, high, low, 0, 0, a, b, c, d, 0, 0]
}

/// How many logical units a list has.
fn units(list: &[u8]) -> u32 {
    list.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: Discovered = Discovered {
        opal: Some(0x1004),
        other: None,
        locking: false,
        locked: false,
        erasing: false,
        interrupted: false,
    };
    const ON: Discovered = Discovered { locking: true, ..OFF };

    #[test]
    fn only_a_drive_that_is_erased_by_it_is_reverted() {
        assert_eq!(can_be_reverted(&ON), Ok(0x1004));
        assert_eq!(can_be_reverted(&Discovered { locked: true, ..ON }), Ok(0x1004));
        assert!(can_be_reverted(&OFF).unwrap_err().contains("never turned on"));
        assert!(can_be_reverted(&Discovered { erasing: true, ..OFF }).unwrap_err().contains("already"));
        let other = |other| can_be_reverted(&Discovered { opal: None, other, ..ON }).unwrap_err();
        assert!(other(None).contains("does not speak TCG") && other(Some("Pyrite")).contains("no Opal drive (Pyrite)"));
    }

    #[test]
    fn it_is_reverted_when_its_locking_is_off_and_it_erases_no_more() {
        assert_eq!(stage(OFF), Stage::Done);
        assert_eq!(stage(Discovered { erasing: true, ..OFF }), Stage::UnderWay(0));
        for failed in [ON, Discovered { interrupted: true, erasing: true, ..OFF }, Discovered { opal: None, ..OFF }] {
            assert!(matches!(stage(failed.clone()), Stage::Failed(_)), "{failed:?}");
        }
    }

    #[test]
    fn a_status_is_said_in_words_and_what_to_do() {
        for (status, said) in [
            (0x01, "not that of this drive"),
            (0x03, "somebody else"),
            (0x07, "somebody else"),
            (0x0c, "knows of no PSID"),
            (0x12, "too often"),
            (0x3f, "status 0x3f"),
        ] {
            assert!(words(status).contains(said), "{status:#x}: {}", words(status));
        }
    }

    #[test]
    fn the_commands_have_the_bytes_of_the_standard() {
        assert_eq!(security(SECURITY_PROTOCOL_IN, 0x1004), [0xa2, 1, 0x10, 4, 0, 0, 0, 0, 8, 0, 0, 0]);
        assert_eq!(security(SECURITY_PROTOCOL_OUT, DISCOVERY), [0xb5, 1, 0, 1, 0, 0, 0, 0, 8, 0, 0, 0]);
        assert_eq!((units(&[0, 0, 0, 8, 0]), units(&[0, 0, 0, 16]), units(&[])), (1, 2, 0));
    }

    #[test]
    fn a_file_speaks_no_tcg() {
        let file = tempfile::tempfile().unwrap();
        assert!(!is_locked(&file));
        let psid = "0A1B2C3D4E5F6G7H8I9JKLMNOPQRSTUV".parse().unwrap();
        let error = Erasing::of(&file, &psid).unwrap_err().to_string();
        assert!(error.contains("no NVMe, ATA or SCSI disk"), "{error}");
    }
}
