//! The erase commands of NVMe disks: Format NVM with *User Data Erase* or *Cryptographic Erase*, and Sanitize (NVM Express Base
//! Specification 2.0, sections 5.14, 5.16.1.21, 5.17 and 5.24; NVM Command Set Specification 1.0, section 4.1.5).
//!
//! Guarantees: only the namespace that is meant is erased; a controller that would erase others with it is not told to. The
//! format of its sectors stays what it is.

use super::super::meter::Meter;
use super::sg::Data;
use super::{BRIEF, Stage, Wanted, until_done};
use anyhow::{Context, bail, ensure};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// What a controller tells of itself, of a namespace, and of which namespaces there are: so much each.
const TOLD: usize = 4096;
/// The longest that formatting may take; disks that encrypt what they store throw a key away and take seconds.
const PATIENCE: Duration = Duration::from_secs(4 * 60 * 60);

const GET_LOG_PAGE: u8 = 0x02;
const IDENTIFY: u8 = 0x06;
const FORMAT_NVM: u8 = 0x80;
const SECURITY_SEND: u8 = 0x81;
const SECURITY_RECEIVE: u8 = 0x82;
const SANITIZE: u8 = 0x84;
/// The log page Sanitize Status, of which as much is read.
const SANITIZE_STATUS: (u32, usize) = (0x81, 512);
/// Of all namespaces.
const ALL: u32 = u32::MAX;

/// Secure Erase Settings of Format NVM.
const USER_DATA_ERASE: u32 = 1 << 9;
const CRYPTOGRAPHIC_ERASE: u32 = 2 << 9;
/// Sanitize Actions.
const BLOCK_ERASE: u32 = 2;
/// Once, by the pattern of dword 11, which is zero.
const OVERWRITE: u32 = 3 | 1 << 4;
const CRYPTO_ERASE: u32 = 4;

/// A namespace that its controller can erase by itself.
#[derive(Debug)]
pub(in crate::apply) struct Erasing<'a> {
    disk: &'a File,
    id: u32,
    command: Command,
}

/// What the controller is told, in command dword 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Format(u32),
    /// Of the whole subsystem.
    Sanitize(u32),
}

/// The number of the namespace that `disk` is open on; none of another disk.
pub(super) fn id(disk: &File) -> Option<u32> {
    ioctl::id(disk).ok()
}

/// What the controller of the namespace with the number `id` tells.
fn ask(disk: &File, id: u32) -> anyhow::Result<Told> {
    let [controller, namespace, active] = [identify(disk, 0, 1)?, identify(disk, id, 0)?, identify(disk, 0, 2)?];
    // Those of other controllers, too, if it can tell.
    let allocated = manages(&controller).then(|| identify(disk, 0, 0x10)).transpose()?;
    Ok(Told { controller, namespace, active, allocated })
}

/// Insists that the namespace with the number `id` is the only one of its subsystem, and that its controller takes security
/// commands.
///
/// # Errors
/// A sentence when that is not so, or can't be told.
pub(super) fn is_sole(disk: &File, id: u32) -> anyhow::Result<()> {
    let told = ask(disk, id)?;
    // Optional Admin Command Support, bit 0.
    ensure!(
        told.controller[256] & 0b1 != 0,
        "its controller has no security commands, and so does not speak TCG (Opal)"
    );
    sole(&told).map_err(anyhow::Error::msg)
}

/// Security Send or Security Receive.
///
/// # Errors
/// When the controller says so, or does not answer in time.
pub(super) fn security(disk: &File, protocol: u8, specific: u16, data: Data<'_>) -> anyhow::Result<()> {
    let (code, at, length) = match data {
        Data::FromDisk(bytes) => (SECURITY_RECEIVE, bytes.as_mut_ptr() as u64, bytes.len()),
        Data::ToDisk(bytes) => (SECURITY_SEND, bytes.as_ptr() as u64, bytes.len()),
        Data::Nothing => (SECURITY_RECEIVE, 0, 0),
    };
    let length = u32::try_from(length)?;
    let mut command = ioctl::Command::new(code, 0);
    command.dwords = security_dwords(protocol, specific, length);
    (command.data, command.data_length) = (at, length);
    command.milliseconds = u32::try_from(BRIEF.as_millis())?;
    ioctl::admin(disk, &mut command)
}

/// Command dwords 10 to 15: the protocol and what it specifies, and how many bytes there are.
fn security_dwords(protocol: u8, specific: u16, length: u32) -> [u32; 6] {
    [u32::from(protocol) << 24 | u32::from(specific) << 8, length, 0, 0, 0, 0]
}

impl Erasing<'_> {
    /// The namespace with the number `id` that `disk` is open on.
    ///
    /// # Errors
    /// A sentence when its controller has no such command, or it can't be erased alone.
    pub(super) fn of(disk: &File, id: u32, wanted: Wanted) -> anyhow::Result<Erasing<'_>> {
        let command = command(&ask(disk, id)?, wanted).map_err(anyhow::Error::msg)?;
        let erasing = Erasing { disk, id, command };
        if let Command::Sanitize(_) = command {
            let now = erasing.status().context("it does not say whether it can be sanitized")?;
            ensure!(
                !matches!(now, Stage::UnderWay(_)),
                "it is being sanitized already; when that has ended look again"
            );
        }
        Ok(erasing)
    }

    /// Erases all that was ever stored in it, and returns when the controller has done so.
    ///
    /// # Errors
    /// When the controller says so, or does not answer in time.
    pub(super) fn erase(&self, size: u64, meter: &Meter) -> anyhow::Result<()> {
        let (code, namespace, how, limit) = match self.command {
            Command::Format(how) => (FORMAT_NVM, self.id, how, PATIENCE),
            Command::Sanitize(how) => (SANITIZE, 0, how, BRIEF),
        };
        let mut command = ioctl::Command::new(code, namespace);
        command.dwords[0] = how;
        command.milliseconds = u32::try_from(limit.as_millis())?;
        match self.command {
            Command::Format(_) => ioctl::admin(self.disk, &mut command).context("Format NVM failed"),
            Command::Sanitize(_) => {
                ioctl::admin(self.disk, &mut command).context("Sanitize failed")?;
                until_done(size, meter, || self.status())
            }
        }
    }

    fn status(&self) -> anyhow::Result<Stage> {
        let (page, length) = SANITIZE_STATUS;
        let mut told = vec![0; length];
        let mut command = ioctl::Command::new(GET_LOG_PAGE, ALL);
        // The page, and how many dwords of it are wanted, less one.
        command.dwords[0] = page | (u32::try_from(length / 4)? - 1) << 16;
        (command.data, command.data_length) = (told.as_mut_ptr() as u64, u32::try_from(length)?);
        ioctl::admin(self.disk, &mut command).context("the log page Sanitize Status can't be read")?;
        Ok(stage(&told))
    }
}

/// What a controller tells: of itself, of the namespace, of which there are for it, and of which there are at all.
struct Told {
    controller: Box<[u8; TOLD]>,
    namespace: Box<[u8; TOLD]>,
    active: Box<[u8; TOLD]>,
    allocated: Option<Box<[u8; TOLD]>>,
}

/// What the controller is to be told so that the namespace is erased and nothing else; or why that can't be.
fn command(told: &Told, wanted: Wanted) -> Result<Command, String> {
    // Optional Admin Command Support, bit 1: Format NVM. Format NVM Attributes, bit 2: cryptographic erase. Sanitize
    // Capabilities, the lowest byte: crypto erase, block erase, overwrite.
    let (formats, attributes, sanitizes) =
        (told.controller[256] & 0b10 != 0, told.controller[524], told.controller[328] & 0b111);
    match wanted {
        Wanted::SecureErase if formats => format(told, USER_DATA_ERASE),
        Wanted::SecureErase => Err("its controller has no erase command".into()),
        Wanted::CryptoErase if formats && attributes & 0b100 != 0 => format(told, CRYPTOGRAPHIC_ERASE),
        Wanted::CryptoErase if sanitizes & 0b001 != 0 => sanitize(told, CRYPTO_ERASE),
        Wanted::CryptoErase => Err("its controller can't change the key that it stores by".into()),
        Wanted::Sanitize if sanitizes & 0b010 != 0 => sanitize(told, BLOCK_ERASE),
        Wanted::Sanitize if sanitizes & 0b100 != 0 => sanitize(told, OVERWRITE),
        Wanted::Sanitize => Err("its controller can sanitize neither by block erase nor by overwriting".into()),
    }
}

/// Format NVM so that the namespace's sectors stay what they are.
fn format(told: &Told, erase: u32) -> Result<Command, String> {
    // Format NVM Attributes, bit 1.
    let count = count(&told.active);
    if told.controller[524] & 0b10 != 0 && count > 1 {
        return Err(format!("its controller would erase all {count} namespaces with it"));
    }
    // FLBAS: the format's number in bits 0 to 3, 5 and 6, whether metadata lie beside the data in bit 4. DPS: the kind of
    // protection information in bits 0 to 2, and its place in bit 3.
    let (format, protection) = (u32::from(told.namespace[26]), u32::from(told.namespace[29]));
    let (low, high, beside) = (format & 0xf, (format >> 5) & 0b11, (format >> 4) & 1);
    let (kind, place) = (protection & 0b111, (protection >> 3) & 1);
    Ok(Command::Format(low | beside << 4 | kind << 5 | place << 8 | erase | high << 12))
}

/// Sanitize, which erases every namespace that there is. Should it fail, the disk gives nothing back until it was sanitized
/// after all.
fn sanitize(told: &Told, action: u32) -> Result<Command, String> {
    sole(told).map(|()| Command::Sanitize(action))
}

/// Insists that there is no other namespace, whichever controller it is for.
fn sole(told: &Told) -> Result<(), String> {
    // Controller Multi-path I/O and Namespace Sharing Capabilities, bit 1: there may be more controllers.
    let all = match &told.allocated {
        Some(allocated) => allocated,
        None if told.controller[76] & 0b10 == 0 => &told.active,
        None => {
            return Err("it may have namespaces that its controller does not tell of, and would erase them, too".into());
        }
    };
    match count(all).max(count(&told.active)) {
        0 | 1 => Ok(()),
        count => Err(format!("its controller would erase all {count} namespaces with it")),
    }
}

/// Whether the controller manages namespaces, and so can tell of all (Optional Admin Command Support, bit 3).
fn manages(controller: &[u8; TOLD]) -> bool {
    controller[256] & 0b1000 != 0
}

/// How many namespaces a list has.
fn count(list: &[u8; TOLD]) -> usize {
    list.chunks(4).filter(|id| id.iter().any(|byte| *byte != 0)).count()
}

/// How far it is, by the log page Sanitize Status: parts in the first word, the state in the lowest bits of the next.
fn stage(told: &[u8]) -> Stage {
    let word = |at: usize| u16::from_le_bytes([told[at], told[at + 1]]);
    match word(2) & 0b111 {
        // Done, and done although what was asked for beside could not be.
        1 | 4 => Stage::Done,
        2 => Stage::UnderWay(word(0)),
        0 => Stage::Failed("its controller says that it was never sanitized".into()),
        3 => Stage::Failed(
            "its controller says that it failed; the disk gives nothing back until it is sanitized".into(),
        ),
        state => Stage::Failed(format!("its controller tells of a state {state} that is not known here")),
    }
}

/// What the controller tells of itself (`what` is 1), of a namespace (0), of which there are for it (2) and at all (10h).
fn identify(disk: &File, namespace: u32, what: u32) -> anyhow::Result<Box<[u8; TOLD]>> {
    let mut told = Box::new([0; TOLD]);
    let mut command = ioctl::Command::new(IDENTIFY, namespace);
    command.dwords[0] = what;
    (command.data, command.data_length) = (told.as_mut_ptr() as u64, u32::try_from(TOLD)?);
    ioctl::admin(disk, &mut command).context("the disk can't be asked what it is")?;
    Ok(told)
}

/// The kernel's interface (`linux/nvme_ioctl.h`).
mod ioctl {
    use super::{AsRawFd, File, bail, ensure};

    /// `struct nvme_passthru_cmd`.
    #[repr(C)]
    #[derive(Debug, Default)]
    pub struct Command {
        opcode: u8,
        flags: u8,
        reserved: u16,
        namespace: u32,
        dwords_2_and_3: [u32; 2],
        metadata: u64,
        pub data: u64,
        metadata_length: u32,
        pub data_length: u32,
        /// Command dwords 10 to 15.
        pub dwords: [u32; 6],
        pub milliseconds: u32,
        result: u32,
    }

    impl Command {
        /// A command without any of its own dwords, and without data.
        pub fn new(opcode: u8, namespace: u32) -> Command {
            Command { opcode, namespace, ..Command::default() }
        }
    }

    mod raw {
        nix::ioctl_none!(id, b'N', 0x40);
        nix::ioctl_readwrite!(admin, b'N', 0x41, super::Command);
    }

    /// The number of the namespace; an error of another disk.
    #[allow(unsafe_code, reason = "an ioctl without a safe wrapper")]
    pub fn id(disk: &File) -> anyhow::Result<u32> {
        // SAFETY: it is given no pointer.
        Ok(u32::try_from(unsafe { raw::id(disk.as_raw_fd()) }?)?)
    }

    /// Has the controller carry out an admin command.
    #[allow(unsafe_code, reason = "an ioctl without a safe wrapper")]
    pub fn admin(disk: &File, command: &mut Command) -> anyhow::Result<()> {
        // SAFETY: the structure is the kernel's, and what it points to has the length that it says; both outlive the call.
        let status = unsafe { raw::admin(disk.as_raw_fd(), command) };
        match status {
            Ok(status) => ensure!(status == 0, "the controller answers with status {status:#x}"),
            Err(errno) => bail!("{}", errno.desc()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[(usize, u8)]) -> Box<[u8; TOLD]> {
        let mut told = Box::new([0; TOLD]);
        bytes.iter().for_each(|(at, byte)| told[*at] = *byte);
        told
    }

    /// The command of a controller that tells this, of these namespaces.
    fn of(
        controller: &[(usize, u8)],
        active: &[(usize, u8)],
        allocated: Option<&[(usize, u8)]>,
        wanted: Wanted,
    ) -> Result<Command, String> {
        let (controller, namespace, active) = (told(controller), told(&[]), told(active));
        command(&Told { controller, namespace, active, allocated: allocated.map(told) }, wanted)
    }

    const ONE: &[(usize, u8)] = &[(0, 1)];
    const TWO: &[(usize, u8)] = &[(0, 1), (4, 7)];

    #[test]
    fn a_namespace_keeps_the_format_of_its_sectors() {
        let as_it_is = |flbas, dps, wanted| {
            let (controller, namespace) = (told(&[(256, 0b10), (524, 0b100)]), told(&[(26, flbas), (29, dps)]));
            command(&Told { controller, namespace, active: told(ONE), allocated: None }, wanted)
        };
        assert_eq!(as_it_is(0, 0, Wanted::SecureErase), Ok(Command::Format(0x200)));
        assert_eq!(as_it_is(0, 0, Wanted::CryptoErase), Ok(Command::Format(0x400)));
        let kept = 3 | 1 << 4 | 2 << 5 | 1 << 8 | 2 << 12;
        assert_eq!(as_it_is(0b0101_0011, 0b1010, Wanted::SecureErase), Ok(Command::Format(0x200 | kept)));
    }

    #[test]
    fn nothing_but_the_namespace_is_ever_erased() {
        let with = |oacs, fna, all| of(&[(256, oacs), (524, fna)], all, None, Wanted::SecureErase);
        assert!(with(0b01, 0, ONE).unwrap_err().contains("no erase command"));
        assert!(with(0b10, 0b10, TWO).unwrap_err().contains("all 2 namespaces"));
        assert!(with(0b10, 0b10, ONE).is_ok() && with(0b10, 0b101, TWO).is_ok());
        // Sanitizing erases all there are, whichever controller they are for.
        let with = |cmic, active, allocated| of(&[(76, cmic), (328, 0b10)], active, allocated, Wanted::Sanitize);
        assert_eq!(with(0, ONE, None), Ok(Command::Sanitize(2)));
        assert_eq!(with(0b10, ONE, Some(ONE)), Ok(Command::Sanitize(2)));
        assert!(with(0, TWO, None).unwrap_err().contains("all 2 namespaces"));
        assert!(with(0b10, ONE, Some(TWO)).unwrap_err().contains("all 2 namespaces"));
        assert!(with(0, TWO, Some(ONE)).unwrap_err().contains("all 2 namespaces"), "the lists contradict each other");
        assert!(with(0b10, ONE, None).unwrap_err().contains("does not tell of"));
    }

    #[test]
    fn what_is_wanted_comes_to_what_the_controller_has() {
        let with = |oacs, fna, sanicap, wanted| of(&[(256, oacs), (524, fna), (328, sanicap)], ONE, None, wanted);
        assert_eq!(with(0b10, 0b100, 0b111, Wanted::CryptoErase), Ok(Command::Format(0x400)));
        assert_eq!(with(0b10, 0b000, 0b001, Wanted::CryptoErase), Ok(Command::Sanitize(4)));
        assert_eq!(with(0b00, 0b100, 0b001, Wanted::CryptoErase), Ok(Command::Sanitize(4)));
        assert!(with(0b10, 0b000, 0b110, Wanted::CryptoErase).is_err());
        assert_eq!(with(0b00, 0, 0b111, Wanted::Sanitize), Ok(Command::Sanitize(2)));
        assert_eq!(with(0b00, 0, 0b101, Wanted::Sanitize), Ok(Command::Sanitize(0x13)));
        assert!(with(0b10, 0b100, 0b001, Wanted::Sanitize).is_err(), "throwing a key away is asked for by name");
    }

    #[test]
    fn how_far_sanitizing_is_comes_from_its_log_page() {
        assert_eq!(stage(&[0x34, 0x12, 0b010, 1]), Stage::UnderWay(0x1234));
        assert_eq!((stage(&[0xff, 0xff, 1, 1]), stage(&[0xff, 0xff, 0b1_100, 0])), (Stage::Done, Stage::Done));
        for state in [0, 3, 5, 6, 7] {
            assert!(matches!(stage(&[0xff, 0xff, state, 1]), Stage::Failed(_)), "{state}");
        }
    }

    #[test]
    fn security_commands_have_the_bytes_of_the_standard() {
        assert_eq!(security_dwords(1, 0x1004, 2048), [0x0110_0400, 2048, 0, 0, 0, 0]);
    }

    #[test]
    fn the_command_has_the_kernels_length() {
        assert_eq!(size_of::<ioctl::Command>(), 72);
    }
}
