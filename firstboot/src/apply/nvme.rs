//! The erase command of NVMe disks: Format NVM with *User Data Erase* (NVM Express Base Specification 2.0, sections 5.14 and
//! 5.17; NVM Command Set Specification 1.0, section 4.1.5).
//!
//! Guarantees: only the namespace that is meant is erased; a controller that would erase others with it is not told to. The
//! format of its sectors stays what it is.

use anyhow::{Context, bail, ensure};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// What a controller tells of itself, of a namespace, and of which namespaces there are: so much each.
const TOLD: usize = 4096;
/// The longest that an erasing may take; disks that encrypt what they store throw a key away and take seconds.
const PATIENCE: Duration = Duration::from_secs(4 * 60 * 60);

const IDENTIFY: u8 = 0x06;
const FORMAT_NVM: u8 = 0x80;
/// Secure Erase Settings: user data erase.
const USER_DATA_ERASE: u32 = 1 << 9;

/// A namespace that its controller can erase by itself.
#[derive(Debug)]
pub(super) struct Namespace<'a> {
    disk: &'a File,
    id: u32,
    /// What Format NVM is told (command dword 10).
    how: u32,
}

impl Namespace<'_> {
    /// The namespace that `disk` is open on.
    ///
    /// # Errors
    /// A sentence when it is none, or can't be erased alone.
    pub(super) fn of(disk: &File) -> anyhow::Result<Namespace<'_>> {
        let id = ioctl::id(disk).context("it is no NVMe disk, and the erase commands of others are not known here")?;
        let [controller, namespace, all] = [identify(disk, 0, 1)?, identify(disk, id, 0)?, identify(disk, 0, 2)?];
        let how = how(&controller, &namespace, &all).map_err(anyhow::Error::msg)?;
        Ok(Namespace { disk, id, how })
    }

    /// Erases all that was ever stored in it, and returns when the controller has done so.
    ///
    /// # Errors
    /// When the controller says so, or does not answer in time.
    pub(super) fn erase(&self) -> anyhow::Result<()> {
        let mut command = ioctl::Command::new(FORMAT_NVM, self.id);
        command.dwords[0] = self.how;
        command.milliseconds = u32::try_from(PATIENCE.as_millis())?;
        ioctl::admin(self.disk, &mut command).context("Format NVM failed")
    }
}

/// What Format NVM is to be told so that the namespace is erased and its sectors stay what they are; or why not.
fn how(controller: &[u8; TOLD], namespace: &[u8; TOLD], all: &[u8; TOLD]) -> Result<u32, String> {
    // Optional Admin Command Support, bit 1; Format NVM Attributes, bit 1.
    if controller[256] & 0b10 == 0 {
        return Err("its controller has no erase command".into());
    }
    let count = all.chunks(4).filter(|id| id.iter().any(|byte| *byte != 0)).count();
    if controller[524] & 0b10 != 0 && count > 1 {
        return Err(format!("its controller would erase all {count} namespaces with it"));
    }
    // FLBAS: the format's number in bits 0 to 3, 5 and 6, whether metadata lie beside the data in bit 4. DPS: the kind of
    // protection information in bits 0 to 2, and its place in bit 3.
    let (format, protection) = (u32::from(namespace[26]), u32::from(namespace[29]));
    let (low, high, beside) = (format & 0xf, (format >> 5) & 0b11, (format >> 4) & 1);
    let (kind, place) = (protection & 0b111, (protection >> 3) & 1);
    Ok(low | beside << 4 | kind << 5 | place << 8 | USER_DATA_ERASE | high << 12)
}

/// What the controller tells of itself (`what` is 1), of a namespace (0), or of which there are (2).
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

    fn told(bytes: &[(usize, u8)]) -> [u8; TOLD] {
        let mut told = [0; TOLD];
        bytes.iter().for_each(|(at, byte)| told[*at] = *byte);
        told
    }

    #[test]
    fn a_namespace_keeps_the_format_of_its_sectors() {
        let (controller, alone) = (told(&[(256, 0b10)]), told(&[(0, 1)]));
        let as_it_is = |flbas, dps| how(&controller, &told(&[(26, flbas), (29, dps)]), &alone);
        assert_eq!(as_it_is(0, 0), Ok(0x200));
        assert_eq!(as_it_is(0b0101_0011, 0b1010), Ok(0x200 | 3 | 1 << 4 | 2 << 5 | 1 << 8 | 2 << 12));
    }

    #[test]
    fn nothing_but_the_namespace_is_ever_erased() {
        let (one, two) = (told(&[(0, 1)]), told(&[(0, 1), (4, 7)]));
        let with = |oacs, fna, all| how(&told(&[(256, oacs), (524, fna)]), &told(&[]), all);
        assert!(with(0b01, 0, &one).unwrap_err().contains("no erase command"));
        assert!(with(0b10, 0b10, &two).unwrap_err().contains("all 2 namespaces"));
        assert!(with(0b10, 0b10, &one).is_ok() && with(0b10, 0b101, &two).is_ok());
    }

    #[test]
    fn the_command_has_the_kernels_length() {
        assert_eq!(size_of::<ioctl::Command>(), 72);
    }
}
