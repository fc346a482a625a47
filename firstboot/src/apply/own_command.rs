//! Erase commands that disks carry out by themselves: which of them a method comes to on a disk, and having it carried out.
//!
//! Guarantees: what a disk can't do is known before anything is written; nothing but the one disk is erased by it. A disk that
//! works on in the background is waited for as long as it comes forward.

mod ata;
mod nvme;
mod scsi;
mod sg;
mod tcg;

pub(crate) use tcg::is_locked;

use super::meter::Meter;
use anyhow::{Context, bail, ensure};
use machine_config::permit::Method;
use std::fs::File;
use std::time::{Duration, Instant};
use storage_plan::erase::Erase;

/// How long a disk that erases itself in the background may come no further. Some tell nothing until they are done.
const STANDSTILL: Duration = Duration::from_secs(4 * 60 * 60);
/// How often it may leave a question about that without an answer, one after the other.
const SILENCES: u32 = 5;
/// The longest that goes by between two questions, and the shortest, after the first.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(20));
/// How long a command may take that erases nothing before it is answered.
const BRIEF: Duration = Duration::from_secs(60);

/// What a disk is to do by itself. Which command that is depends on what the disk speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// To erase all that was stored by its oldest command for that.
    SecureErase,
    /// To erase all of its medium and its caches, so that nothing can be had back.
    Sanitize,
    /// To throw away the key that it stores by.
    CryptoErase,
}

/// A command that a disk has, and that erases it and nothing else.
#[derive(Debug)]
pub(super) enum OwnCommand<'a> {
    Nvme(nvme::Erasing<'a>),
    Ata(ata::Erasing<'a>),
    Scsi(scsi::Erasing<'a>),
    Tcg(tcg::Erasing<'a>),
}

impl<'a> OwnCommand<'a> {
    /// The command that the method comes to on the disk that is open; none for a method that writes, or if nothing is left to do
    /// by it. One that was begun may have been given the command already.
    ///
    /// # Errors
    /// A sentence when the disk has no such command, or can't be told it now.
    pub(super) fn of(disk: &'a File, erase: &'a Erase) -> anyhow::Result<Option<OwnCommand<'a>>> {
        let wanted = match erase.method {
            Method::Wipe | Method::WriteZeroes | Method::Discard => return Ok(None),
            Method::SecureErase => Wanted::SecureErase,
            Method::Sanitize => Wanted::Sanitize,
            Method::CryptoErase => Wanted::CryptoErase,
            // The note is written behind it, so that one who goes on has done it.
            Method::PsidRevert if erase.begun => return Ok(None),
            Method::PsidRevert => {
                let psid = erase.psid.as_ref().context("its permit has no PSID")?;
                return Ok(Some(OwnCommand::Tcg(tcg::Erasing::of(disk, psid)?)));
            }
        };
        if let Some(id) = nvme::id(disk) {
            return nvme::Erasing::of(disk, id, wanted).map(|erasing| Some(OwnCommand::Nvme(erasing)));
        }
        ensure!(sg::is_spoken(disk), "it is no NVMe, ATA or SCSI disk, and no others have erase commands");
        Ok(Some(match ata::identify(disk)? {
            Some(told) => OwnCommand::Ata(ata::Erasing::of(disk, &told, wanted, erase.begun)?),
            None => OwnCommand::Scsi(scsi::Erasing::of(disk, wanted)?),
        }))
    }

    /// Whether the disk is to have the note when it is given the command. One that is reverted loses all at once or nothing, and
    /// takes no note while it is locked.
    pub(super) fn is_noted_before(&self) -> bool {
        !matches!(self, OwnCommand::Tcg(_))
    }

    /// Erases the disk, which has this many bytes, and returns when the disk says that it has done so.
    ///
    /// # Errors
    /// When the disk says that it has not, or does not answer in time.
    pub(super) fn erase(&self, size: u64, meter: &Meter) -> anyhow::Result<()> {
        match self {
            OwnCommand::Nvme(erasing) => erasing.erase(size, meter),
            OwnCommand::Ata(erasing) => erasing.erase(size, meter),
            OwnCommand::Scsi(erasing) => erasing.erase(size, meter),
            OwnCommand::Tcg(erasing) => erasing.erase(size, meter),
        }
    }
}

/// How far a disk is that erases itself in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// So many of 65,536 parts are done. Some disks say 0 to the end.
    UnderWay(u16),
    /// All is erased.
    Done,
    /// It is not, and this is what the disk says.
    Failed(String),
}

/// Waits until a disk of `size` bytes has erased itself, by asking it.
fn until_done(size: u64, meter: &Meter, mut ask: impl FnMut() -> anyhow::Result<Stage>) -> anyhow::Result<()> {
    let (mut counted, mut since, mut silences, mut pause) = (0, Instant::now(), 0, PAUSES.1);
    meter.expect(size);
    loop {
        match ask() {
            Ok(Stage::Done) => {
                meter.add(size - counted);
                return Ok(());
            }
            Ok(Stage::Failed(why)) => bail!("{why}"),
            Ok(Stage::UnderWay(parts)) => {
                silences = 0;
                let done = (size >> 16).saturating_mul(u64::from(parts));
                if done > counted {
                    meter.add(done - counted);
                    (counted, since) = (done, Instant::now());
                }
                ensure!(since.elapsed() < STANDSTILL, "it came no further for {} h", STANDSTILL.as_secs() / 3600);
            }
            Err(error) => {
                silences += 1;
                if silences > SILENCES {
                    return Err(error).context("it does not tell how far it is");
                }
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSES.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 30;

    /// What comes of these answers, and the bytes that are counted as done.
    fn waited(answers: Vec<anyhow::Result<Stage>>) -> (Result<(), String>, u64) {
        let (meter, mut answers) = (Meter::default(), answers.into_iter());
        let done = until_done(SIZE, &meter, || answers.next().unwrap());
        let amount = meter.amount().unwrap();
        assert_eq!(amount.all, SIZE);
        (done.map_err(|e| format!("{e:#}")), amount.done)
    }

    #[test]
    fn what_a_disk_does_in_the_background_is_waited_for_and_counted() {
        let under_way = |parts| Ok(Stage::UnderWay(parts));
        assert_eq!(waited(vec![Ok(Stage::Done)]), (Ok(()), SIZE));
        assert_eq!(waited(vec![under_way(0), under_way(32_768), under_way(16_384), Ok(Stage::Done)]), (Ok(()), SIZE));
        let failed = waited(vec![under_way(32_768), Ok(Stage::Failed("it is broken".into()))]);
        assert_eq!(failed, (Err("it is broken".into()), SIZE / 2));
    }

    #[test]
    fn a_disk_may_be_silent_for_a_while_and_no_longer() {
        let silent = || Err(anyhow::anyhow!("no answer"));
        let patient = vec![silent(), silent(), Ok(Stage::UnderWay(1)), silent(), silent(), Ok(Stage::Done)];
        assert_eq!(waited(patient), (Ok(()), SIZE));
        let mute = (0..=SILENCES).map(|_| silent()).collect();
        assert_eq!(waited(mute), (Err("it does not tell how far it is: no answer".into()), 0));
    }
}
