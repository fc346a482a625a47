//! The erase commands of ATA disks, by the translation of SCSI commands: ATA PASS-THROUGH (16) (SAT-4, section 12.2.3).
//!
//! The commands are those of ACS-4: IDENTIFY DEVICE (7.13), the security feature set (4.18) and the sanitize device feature set
//! (4.16, 7.34). Security erase needs a password, which the disk forgets when it is erased. It is [`PASSWORD`], so that a disk
//! whose power goes before that can be opened again by anybody who reads docs/storage.md.

use super::super::meter::Meter;
use super::sg::{self, Answer, Data, ILLEGAL_REQUEST};
use super::{BRIEF, Stage, Wanted, until_done};
use anyhow::{Context, bail, ensure};
use std::fs::File;
use std::time::Duration;

/// What a disk tells of itself, and what a password comes in.
const BLOCK: usize = 512;
/// The user password that a disk has while it is erased, followed by zeroes. It is no secret.
const PASSWORD: &[u8] = b"bedplate-erases-this-disk";
/// How long a disk may erase itself that does not tell how long that takes.
const UNTOLD: Duration = Duration::from_secs(24 * 60 * 60);
/// How long one that only tells that it takes longer than can be told, and any at most.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Commands, by their code.
const IDENTIFY_DEVICE: u8 = 0xec;
const SANITIZE_DEVICE: u8 = 0xb4;
const SECURITY_SET_PASSWORD: u8 = 0xf1;
const SECURITY_ERASE_PREPARE: u8 = 0xf3;
const SECURITY_ERASE_UNIT: u8 = 0xf4;
const SECURITY_DISABLE_PASSWORD: u8 = 0xf6;

/// What the disk tells of itself (IDENTIFY DEVICE data).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told(Box<[u8; BLOCK]>);

impl Told {
    fn word(&self, number: usize) -> u16 {
        u16::from_le_bytes([self.0[2 * number], self.0[2 * number + 1]])
    }

    fn has(&self, word: usize, bit: u32) -> bool {
        self.word(word) & (1 << bit) != 0
    }

    /// Whether the security feature set is there, a password is set, the disk is locked, its security is frozen.
    fn security(&self) -> Security {
        Security {
            there: self.has(82, 1) && self.has(128, 0),
            password: self.has(85, 1) || self.has(128, 1),
            locked: self.has(128, 2),
            frozen: self.has(128, 3),
            enhanced: self.has(128, 5),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "bits of a word")]
struct Security {
    there: bool,
    password: bool,
    locked: bool,
    frozen: bool,
    enhanced: bool,
}

/// A command of the sanitize device feature set: its feature and count, and the number that says that it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sanitize {
    feature: u16,
    count: u16,
    lba: u64,
}

const STATUS: Sanitize = Sanitize { feature: 0x00, count: 0, lba: 0 };
const CRYPTO_SCRAMBLE: Sanitize = Sanitize { feature: 0x11, count: 0, lba: 0x4372_7970 };
const BLOCK_ERASE: Sanitize = Sanitize { feature: 0x12, count: 0, lba: 0x426b_4572 };
/// Once, by zeroes, which are the low four bytes.
const OVERWRITE: Sanitize = Sanitize { feature: 0x14, count: 1, lba: 0x4f57_0000_0000 };

/// What a disk is told so that it erases itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    /// SECURITY ERASE UNIT.
    Security {
        /// All that was put aside, too, by a pattern of the maker's.
        enhanced: bool,
        /// An interrupted run has set the password.
        password: bool,
        /// How long it may take.
        limit: Duration,
    },
    /// SANITIZE DEVICE.
    Sanitize(Sanitize),
}

/// What a wanted erasing comes to on a disk that tells this of itself, or why there is no way.
fn command(told: &Told, wanted: Wanted, begun: bool) -> Result<Command, &'static str> {
    let security = told.security();
    if security.there && security.locked {
        return Err("it is locked by a password; if an interrupted run set that, it is the one in docs/storage.md");
    }
    match wanted {
        Wanted::SecureErase => security_erase(told, security, begun),
        _ if !told.has(59, 12) => Err("it has no sanitize commands; secure-erase is what older ATA disks have"),
        Wanted::CryptoErase if told.has(59, 13) => Ok(Command::Sanitize(CRYPTO_SCRAMBLE)),
        Wanted::CryptoErase => Err("it can't change the key that it stores by; take a permit of method sanitize"),
        Wanted::Sanitize if told.has(59, 15) => Ok(Command::Sanitize(BLOCK_ERASE)),
        Wanted::Sanitize if told.has(59, 14) => Ok(Command::Sanitize(OVERWRITE)),
        Wanted::Sanitize => Err("of the sanitize commands it has neither block erase nor overwrite"),
    }
}

fn security_erase(told: &Told, security: Security, begun: bool) -> Result<Command, &'static str> {
    if !security.there {
        return Err("it has no security commands");
    }
    if security.frozen {
        return Err(
            "its security commands are frozen, as firmware does when a machine starts. Pull the disk and plug it in \
                    again while the node runs, or take a permit of method sanitize",
        );
    }
    if security.password && !begun {
        return Err("a password is set on it; take that away with the tool that set it");
    }
    let enhanced = security.enhanced;
    let limit = limit(told.word(if enhanced { 90 } else { 89 }));
    Ok(Command::Security { enhanced, password: security.password, limit })
}

/// How long an erasing may take that a disk says to take so long (words 89 and 90): twice that, and an hour.
fn limit(word: u16) -> Duration {
    // With bit 15 the time has 15 bits, otherwise 8. It is in units of two minutes, and the highest stands for more.
    let mask = if word & 0x8000 == 0 { 0xff } else { 0x7fff };
    match word & mask {
        0 => UNTOLD,
        time if time == mask => LONGEST,
        time => Duration::from_secs(u64::from(time) * 120 * 2 + 3600).min(LONGEST),
    }
}

/// An ATA disk that can erase itself.
#[derive(Debug)]
pub(in crate::apply) struct Erasing<'a> {
    disk: &'a File,
    command: Command,
}

/// What the disk tells of itself; nothing if it is no ATA disk.
///
/// # Errors
/// When it does not answer, or with something else.
pub(super) fn identify(disk: &File) -> anyhow::Result<Option<Told>> {
    let mut told = Box::new([0; BLOCK]);
    let answer = pass(disk, &Registers::of(IDENTIFY_DEVICE), Data::FromDisk(told.as_mut()), BRIEF)
        .context("the disk can't be asked what it is")?;
    if sg::sense(&answer.sense).is_some_and(|s| s.key == ILLEGAL_REQUEST) {
        return Ok(None);
    }
    // Some translations answer well and with a condition.
    ensure!(
        answer.is_good() || registers(&answer.sense).is_some_and(|r| r.status & 1 == 0),
        "it does not say what it is"
    );
    ensure!(sound(&told), "what it tells of itself is damaged");
    Ok(Some(Told(told)))
}

/// Whether the checksum holds, if there is one (word 255).
fn sound(told: &[u8; BLOCK]) -> bool {
    let nothing = told.iter().all(|byte| *byte == 0);
    !nothing && (told[510] != 0xa5 || told.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0)
}

impl<'a> Erasing<'a> {
    /// # Errors
    /// A sentence when the disk has no such command, or can't be told it now.
    pub(super) fn of(disk: &'a File, told: &Told, wanted: Wanted, begun: bool) -> anyhow::Result<Erasing<'a>> {
        let command = command(told, wanted, begun).map_err(anyhow::Error::msg)?;
        let erasing = Erasing { disk, command };
        if let Command::Sanitize(_) = command {
            let status = erasing.status().context("it does not say whether it can be sanitized")?;
            can_begin(status).map_err(anyhow::Error::msg)?;
        }
        Ok(erasing)
    }

    /// # Errors
    /// When the disk does not erase itself.
    pub(super) fn erase(&self, size: u64, meter: &Meter) -> anyhow::Result<()> {
        match self.command {
            Command::Security { enhanced, password, limit } => self.by_security(enhanced, password, limit),
            Command::Sanitize(how) => {
                self.sanitize(how).context("SANITIZE DEVICE failed")?;
                until_done(size, meter, || self.status().map(stage))
            }
        }
    }

    /// SECURITY ERASE UNIT, between a password that is set for it and one that is no more.
    fn by_security(&self, enhanced: bool, password: bool, limit: Duration) -> anyhow::Result<()> {
        let steps = || {
            if !password {
                self.with_password(SECURITY_SET_PASSWORD, 0, BRIEF).context("SECURITY SET PASSWORD failed")?;
            }
            let prepared = pass(self.disk, &Registers::of(SECURITY_ERASE_PREPARE), Data::Nothing, BRIEF);
            prepared.and_then(Answer::good).context("SECURITY ERASE PREPARE failed")?;
            // Bit 1: enhanced.
            let how = u8::from(enhanced) << 1;
            self.with_password(SECURITY_ERASE_UNIT, how, limit).context("SECURITY ERASE UNIT failed")
        };
        let done = steps();
        if done.is_err() {
            // One that did not begin goes back to what it was; whether that is so is asked below.
            let _ = self.with_password(SECURITY_DISABLE_PASSWORD, 0, BRIEF);
        }
        let left = identify(self.disk)?.is_none_or(|told| told.security().password);
        match done {
            Ok(()) if left => bail!("it says that it is erased and keeps its password"),
            Err(error) if left => Err(error).context("it is left with a password, the one in docs/storage.md"),
            done => done,
        }
    }

    /// A command that comes with the password. Bit 0 of `how` would be the master password, of which nothing is known.
    fn with_password(&self, command: u8, how: u8, limit: Duration) -> anyhow::Result<()> {
        pass(self.disk, &Registers::of(command), Data::ToDisk(&block(how)), limit).and_then(Answer::good)
    }

    fn sanitize(&self, how: Sanitize) -> anyhow::Result<Registers> {
        let Sanitize { feature, count, lba } = how;
        let registers = Registers { feature, count, lba, extended: true, ..Registers::of(SANITIZE_DEVICE) };
        let answer = pass(self.disk, &registers, Data::Nothing, BRIEF)?;
        registers_of(answer)
    }

    fn status(&self) -> anyhow::Result<Registers> {
        self.sanitize(STATUS)
    }
}

/// The block of a command that comes with the password: what it is told in the first word, the password behind.
fn block(how: u8) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[0] = how;
    block[2..2 + PASSWORD.len()].copy_from_slice(PASSWORD);
    block
}

/// Whether a disk in this state can be told to sanitize itself.
fn can_begin(status: Registers) -> Result<(), &'static str> {
    if status.count & (1 << 13) != 0 {
        return Err(
            "its sanitize commands are frozen, as some firmware does when a machine starts. Pull the disk and plug it in \
                    again while the node runs",
        );
    }
    if status.count & (1 << 14) != 0 {
        return Err("it is being sanitized already; when that has ended it is looked at again");
    }
    Ok(())
}

/// How far it is (SANITIZE STATUS EXT): bit 15 of the count is set when it ended well, bit 14 while it goes on.
fn stage(status: Registers) -> Stage {
    let parts = u16::try_from(status.lba & 0xffff).unwrap_or_default();
    match status {
        // The reason is in the lowest byte.
        s if s.status & 1 != 0 => {
            Stage::Failed(format!("it was not sanitized, for reason {} of its own", s.lba & 0xff))
        }
        s if s.count & (1 << 14) != 0 => Stage::UnderWay(parts),
        s if s.count & (1 << 15) != 0 => Stage::Done,
        _ => Stage::Failed("it says that it was not sanitized without errors".into()),
    }
}

/// The registers of a command, or those that it is answered with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Registers {
    feature: u16,
    count: u16,
    lba: u64,
    /// The command.
    command: u8,
    /// Its registers have two bytes each.
    extended: bool,
    /// What it is answered with: bit 0 says that there was an error.
    status: u8,
}

impl Registers {
    fn of(command: u8) -> Registers {
        Registers { command, ..Registers::default() }
    }

    /// ATA PASS-THROUGH (16).
    fn bytes(&self, data: &Data<'_>) -> [u8; 16] {
        // The protocol; then what comes, that its length is the count of blocks of 512 bytes, and whether it is from the
        // disk. Without data what is wanted is the registers (CK_COND).
        let (protocol, how, count) = match data {
            Data::Nothing => (3, 0b10_0000, self.count),
            Data::FromDisk(_) => (4, 0b1110, 1),
            Data::ToDisk(_) => (5, 0b0110, 1),
        };
        let [feature_high, feature] = self.feature.to_be_bytes();
        let [count_high, count] = count.to_be_bytes();
        let [_, _, lba_5, lba_4, lba_3, lba_2, lba_1, lba_0] = self.lba.to_be_bytes();
        let first = [0x85, protocol << 1 | u8::from(self.extended), how, feature_high, feature, count_high, count];
        let mut bytes = [0; 16];
        bytes[..7].copy_from_slice(&first);
        bytes[7..13].copy_from_slice(&[lba_3, lba_0, lba_4, lba_1, lba_5, lba_2]);
        bytes[14] = self.command;
        bytes
    }
}

/// Has the disk carry out a command.
fn pass(disk: &File, command: &Registers, data: Data<'_>, limit: Duration) -> anyhow::Result<Answer> {
    let bytes = command.bytes(&data);
    let without = matches!(data, Data::Nothing);
    let answer = sg::command(disk, &bytes, data, limit)?;
    // A command without data that went well is answered with a condition all the same, which has the registers.
    let well = without && registers(&answer.sense).is_some_and(|r| r.status & 1 == 0);
    Ok(if well { Answer { status: 0, ..answer } } else { answer })
}

/// The registers in an answer.
fn registers_of(answer: Answer) -> anyhow::Result<Registers> {
    match registers(&answer.sense) {
        Some(registers) => Ok(registers),
        None => {
            answer.good()?;
            bail!("the controller keeps the disk's answer to itself")
        }
    }
}

/// The registers that a command was answered with: ATA Status Return descriptor (SAT-4, section 12.2.6).
fn registers(sense: &[u8]) -> Option<Registers> {
    if sense.first()? & 0x7e != 0x72 {
        return None;
    }
    let mut rest = sense.get(8..)?;
    while let [kind, length, ..] = *rest {
        let descriptor = rest.get(..2 + usize::from(length))?;
        if let (0x09, [_, _, _, _, count_high, count, l3, l0, l4, l1, l5, l2, _, status, ..]) = (kind, descriptor) {
            return Some(Registers {
                count: u16::from_be_bytes([*count_high, *count]),
                lba: u64::from_be_bytes([0, 0, *l5, *l4, *l3, *l2, *l1, *l0]),
                status: *status,
                ..Registers::default()
            });
        }
        rest = &rest[descriptor.len()..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a disk tells that has these words.
    fn told(words: &[(usize, u16)]) -> Told {
        let mut told = Box::new([0; BLOCK]);
        words.iter().for_each(|(at, word)| told[2 * at..][..2].copy_from_slice(&word.to_le_bytes()));
        Told(told)
    }

    const SECURITY: [(usize, u16); 2] = [(82, 0b10), (128, 0b10_0001)];

    /// What comes of it on a disk with the security commands, and with these bits of word 128 beside.
    fn secure_erase(state: u16, begun: bool) -> Result<Command, &'static str> {
        let told = told(&[SECURITY[0], (128, SECURITY[1].1 | state), (89, 10), (90, 20)]);
        command(&told, Wanted::SecureErase, begun)
    }

    #[test]
    fn security_erase_is_the_best_that_the_disk_has() {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        let of = |words: &[(usize, u16)]| command(&told(words), Wanted::SecureErase, false);
        let enhanced =
            Command::Security { enhanced: true, password: false, limit: hours(1) + Duration::from_secs(4800) };
        assert_eq!(secure_erase(0, false), Ok(enhanced));
        let plain = Command::Security { enhanced: false, password: false, limit: hours(1) + Duration::from_secs(2400) };
        assert_eq!(of(&[(82, 0b10), (128, 1), (89, 10), (90, 20)]), Ok(plain));
        for lacking in [&[(82, 0), (128, 1)][..], &[(82, 0b10), (128, 0)], &[(82, 0xfffd), (128, 0)]] {
            assert_eq!(of(lacking), Err("it has no security commands"));
        }
    }

    #[test]
    fn a_disk_that_can_not_be_told_now_is_told_nothing() {
        let why = |state| secure_erase(state, false).unwrap_err();
        assert!(why(0b1000).contains("frozen"), "{}", why(0b1000));
        assert!(why(0b0010).contains("a password is set"));
        assert!(why(0b0110).contains("locked"));
        assert!(secure_erase(0b1000, true).unwrap_err().contains("frozen"), "and one that was begun is not either");
        let with_85 = told(&[SECURITY[0], SECURITY[1], (85, 0b10)]);
        assert!(command(&with_85, Wanted::SecureErase, false).unwrap_err().contains("a password is set"));
        for wanted in [Wanted::Sanitize, Wanted::CryptoErase] {
            let locked = told(&[SECURITY[0], (128, 0b111), (59, 0xf000)]);
            assert!(command(&locked, wanted, false).unwrap_err().contains("locked"));
        }
    }

    #[test]
    fn a_password_of_an_interrupted_run_is_used_again() {
        assert!(matches!(secure_erase(0b0010, true), Ok(Command::Security { password: true, enhanced: true, .. })));
        assert!(matches!(secure_erase(0, true), Ok(Command::Security { password: false, .. })));
    }

    #[test]
    fn how_long_it_may_take_comes_from_what_the_disk_says() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        assert_eq!((limit(0), limit(1), limit(254)), (UNTOLD, minutes(64), minutes(60 + 1016)));
        assert_eq!((limit(255), limit(0x8000), limit(0x80ff)), (LONGEST, UNTOLD, minutes(60 + 1020)));
        assert_eq!((limit(0xfffe), limit(0xffff)), (LONGEST, LONGEST));
    }

    #[test]
    fn a_disk_is_sanitized_by_what_it_has() {
        let of = |word, wanted| command(&told(&[(59, word)]), wanted, false);
        assert_eq!(of(0xf000, Wanted::Sanitize), Ok(Command::Sanitize(BLOCK_ERASE)));
        assert_eq!(of(0x5000, Wanted::Sanitize), Ok(Command::Sanitize(OVERWRITE)));
        assert_eq!(of(0xf000, Wanted::CryptoErase), Ok(Command::Sanitize(CRYPTO_SCRAMBLE)));
        assert!(of(0x3000, Wanted::Sanitize).is_err(), "throwing a key away is asked for by name");
        assert!(of(0xd000, Wanted::CryptoErase).is_err());
        assert!(of(0xe000, Wanted::Sanitize).unwrap_err().contains("no sanitize commands"));
    }

    #[test]
    fn commands_have_the_bytes_of_the_standard() {
        let bytes = |how: Sanitize| {
            let Sanitize { feature, count, lba } = how;
            let all = Registers { feature, count, lba, extended: true, ..Registers::of(SANITIZE_DEVICE) };
            all.bytes(&Data::Nothing)
        };
        let block = [0x85, 7, 0x20, 0, 0x12, 0, 0, 0x42, 0x72, 0, 0x45, 0, 0x6b, 0, 0xb4, 0];
        assert_eq!(bytes(BLOCK_ERASE), block);
        let overwrite = [0x85, 7, 0x20, 0, 0x14, 0, 1, 0, 0, 0x57, 0, 0x4f, 0, 0, 0xb4, 0];
        assert_eq!(bytes(OVERWRITE), overwrite);
        let crypto = [0x85, 7, 0x20, 0, 0x11, 0, 0, 0x43, 0x70, 0, 0x79, 0, 0x72, 0, 0xb4, 0];
        assert_eq!(bytes(CRYPTO_SCRAMBLE), crypto);
        let identify = Registers::of(IDENTIFY_DEVICE).bytes(&Data::FromDisk(&mut [0; BLOCK]));
        assert_eq!(identify, [0x85, 8, 0x0e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xec, 0]);
        let erase = Registers::of(SECURITY_ERASE_UNIT).bytes(&Data::ToDisk(&[0; BLOCK]));
        assert_eq!(erase, [0x85, 10, 0x06, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xf4, 0]);
    }

    #[test]
    fn a_password_is_a_users_and_of_level_high() {
        let block = block(0b10);
        assert_eq!((block[0], block[1]), (2, 0));
        assert_eq!(&block[2..34], b"bedplate-erases-this-disk\0\0\0\0\0\0\0");
        assert!(block[34..].iter().all(|byte| *byte == 0));
    }

    /// Sense data with this ATA Status Return descriptor behind another one.
    fn answered(count: u16, lba: u64, status: u8) -> Vec<u8> {
        let [count_high, count] = count.to_be_bytes();
        let [_, _, l5, l4, l3, l2, l1, l0] = lba.to_be_bytes();
        let mut sense = vec![0x72, 1, 0, 0x1d, 0, 0, 0, 18, 0x03, 2, 0, 0];
        sense.extend([0x09, 12, 1, 0, count_high, count, l3, l0, l4, l1, l5, l2, 0x40, status]);
        sense
    }

    #[test]
    fn how_far_sanitizing_is_comes_from_the_registers() {
        let of = |count, lba, status| stage(registers(&answered(count, lba, status)).unwrap());
        assert_eq!(of(0x4000, 0x1234, 0x50), Stage::UnderWay(0x1234));
        assert_eq!(of(0x8000, 0xffff, 0x50), Stage::Done);
        assert_eq!(of(0xc000, 0x1234, 0x50), Stage::UnderWay(0x1234), "one that goes on has not ended");
        assert!(matches!(of(0, 0xffff, 0x50), Stage::Failed(_)), "the last one did not end well");
        assert!(matches!(of(0x8000, 1, 0x51), Stage::Failed(why) if why.contains("reason 1")));
        let now = |count| can_begin(registers(&answered(count, 0, 0x50)).unwrap());
        assert!(now(0).is_ok() && now(0x8000).is_ok());
        assert!(now(0x2000).unwrap_err().contains("frozen") && now(0x4000).unwrap_err().contains("already"));
    }

    #[test]
    fn no_sense_data_make_it_panic() {
        let whole = answered(0x8000, 0x1234_5678_9abc, 0x50);
        let found = registers(&whole).unwrap();
        assert_eq!((found.count, found.lba, found.status), (0x8000, 0x1234_5678_9abc, 0x50));
        (0..whole.len()).for_each(|length| assert_eq!(registers(&whole[..length]), None, "{length} bytes"));
        assert_eq!(registers(&[0x70; 64]), None);
        assert_eq!(registers(&[&[0x72; 8][..], &[0; 56]].concat()), None);
    }

    #[test]
    fn a_disk_that_tells_nothing_or_nonsense_is_not_believed() {
        let mut told = *told(&[SECURITY[0], SECURITY[1]]).0;
        assert!(sound(&told) && !sound(&[0; BLOCK]));
        told[510] = 0xa5;
        assert!(!sound(&told), "a checksum that does not hold");
        told[511] = 0_u8.wrapping_sub(told.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
        assert!(sound(&told));
        told[0] ^= 1;
        assert!(!sound(&told));
    }
}
