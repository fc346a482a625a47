//! SCSI commands to a disk, by the kernel's `SG_IO` (`scsi/sg.h`, version 3 of the interface), and what they are answered with
//! (SPC-5, section 4.5).

use anyhow::{Context, ensure};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Status of a command that ended well.
const GOOD: u8 = 0;
/// The longest sense data that is asked for.
const SENSE: usize = 64;

/// What a command carries.
#[derive(Debug)]
pub(super) enum Data<'a> {
    Nothing,
    FromDisk(&'a mut [u8]),
    ToDisk(&'a [u8]),
}

/// What a disk answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u8,
    /// Sense data, as long as they are.
    pub(super) sense: Vec<u8>,
}

/// What sense data say: sense key, additional sense code and its qualifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sense {
    pub(super) key: u8,
    pub(super) code: (u8, u8),
}

/// The command or a field of it is not one that the disk knows.
pub(super) const ILLEGAL_REQUEST: u8 = 5;

impl Answer {
    pub(super) fn is_good(&self) -> bool {
        self.status == GOOD
    }

    /// Insists that the command ended well.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn good(self) -> anyhow::Result<()> {
        let told = sense(&self.sense).map(|s| format!(", sense {:x}/{:02x}/{:02x}", s.key, s.code.0, s.code.1));
        ensure!(self.is_good(), "the disk answers with status {:#x}{}", self.status, told.unwrap_or_default());
        Ok(())
    }
}

/// What sense data of either format say; nothing if they are too short.
pub(super) fn sense(bytes: &[u8]) -> Option<Sense> {
    let at = |i: usize| bytes.get(i).copied();
    match at(0)? & 0x7f {
        0x70 | 0x71 => Some(Sense { key: at(2)? & 0xf, code: (at(12)?, at(13)?) }),
        0x72 | 0x73 => Some(Sense { key: at(1)? & 0xf, code: (at(2)?, at(3)?) }),
        _ => None,
    }
}

/// Whether the disk takes SCSI commands, be it by translation.
pub(super) fn is_spoken(disk: &File) -> bool {
    ioctl::version(disk).is_ok()
}

/// Has the disk carry out a command within `limit`.
///
/// # Errors
/// When it does not get there, or no answer comes in time. An answer that the disk does not do it is none.
pub(super) fn command(disk: &File, command: &[u8], data: Data<'_>, limit: Duration) -> anyhow::Result<Answer> {
    let mut sense = [0; SENSE];
    let header = ioctl::run(disk, command, data, &mut sense, limit).context("the kernel does not pass it on")?;
    // DID_TIME_OUT of scsi/scsi_status.h; what it says of sense data (8) is no fault.
    ensure!(header.host_status != 3, "no answer came within {} s", limit.as_secs());
    ensure!(header.host_status == 0, "the command did not get to the disk (host status {:#x})", header.host_status);
    ensure!(header.driver_status & 7 == 0, "the driver gave up (status {:#x})", header.driver_status);
    let length = usize::from(header.sense_written).min(SENSE);
    Ok(Answer { status: header.status, sense: sense[..length].to_vec() })
}

/// The kernel's interface.
mod ioctl {
    use super::{AsRawFd, Data, Duration, File};

    /// `struct sg_io_hdr`.
    #[repr(C)]
    #[derive(Debug)]
    pub struct Header {
        interface: i32,
        direction: i32,
        command_length: u8,
        sense_length: u8,
        parts: u16,
        data_length: u32,
        data: u64,
        command: u64,
        sense: u64,
        milliseconds: u32,
        flags: u32,
        id: i32,
        pointer: u64,
        pub status: u8,
        masked_status: u8,
        message_status: u8,
        pub sense_written: u8,
        pub host_status: u16,
        pub driver_status: u16,
        residue: i32,
        took: u32,
        info: u32,
    }

    mod raw {
        nix::ioctl_readwrite_bad!(sg_io, 0x2285, super::Header);
        nix::ioctl_read_bad!(version, 0x2282, i32);
    }

    /// The version of the interface; an error of what does not have it.
    #[allow(unsafe_code, reason = "an ioctl without a safe wrapper")]
    pub fn version(disk: &File) -> nix::Result<i32> {
        let mut version = 0;
        // SAFETY: it writes one number to where it is pointed to.
        unsafe { raw::version(disk.as_raw_fd(), &raw mut version) }.map(|_| version)
    }

    #[allow(unsafe_code, reason = "an ioctl without a safe wrapper")]
    pub fn run(
        disk: &File,
        command: &[u8],
        data: Data<'_>,
        sense: &mut [u8],
        limit: Duration,
    ) -> anyhow::Result<Header> {
        // SG_DXFER_NONE, SG_DXFER_FROM_DEV, SG_DXFER_TO_DEV.
        let (direction, at, length) = match data {
            Data::Nothing => (-1, 0, 0),
            Data::FromDisk(bytes) => (-3, bytes.as_mut_ptr() as u64, bytes.len()),
            Data::ToDisk(bytes) => (-2, bytes.as_ptr() as u64, bytes.len()),
        };
        let mut header = Header {
            interface: i32::from(b'S'),
            direction,
            command_length: u8::try_from(command.len())?,
            sense_length: u8::try_from(sense.len())?,
            parts: 0,
            data_length: u32::try_from(length)?,
            data: at,
            command: command.as_ptr() as u64,
            sense: sense.as_mut_ptr() as u64,
            milliseconds: u32::try_from(limit.as_millis()).unwrap_or(u32::MAX),
            flags: 0,
            id: 0,
            pointer: 0,
            status: 0,
            masked_status: 0,
            message_status: 0,
            sense_written: 0,
            host_status: 0,
            driver_status: 0,
            residue: 0,
            took: 0,
            info: 0,
        };
        // SAFETY: the structure is the kernel's, and each pointer in it is to as many bytes as it says; all outlive the call.
        unsafe { raw::sg_io(disk.as_raw_fd(), &raw mut header) }?;
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_the_kernels_length() {
        assert_eq!(size_of::<ioctl::Header>(), 88);
        assert_eq!(std::mem::offset_of!(ioctl::Header, host_status), 68);
    }

    #[test]
    fn sense_data_of_either_format_say_the_same() {
        let not_ready = Some(Sense { key: 2, code: (4, 0x1b) });
        assert_eq!(sense(&[0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 4, 0x1b, 0, 0, 0, 0]), not_ready);
        assert_eq!(sense(&[0x72, 2, 4, 0x1b, 0, 0, 0, 0]), not_ready);
        assert_eq!((sense(&[0x72, 2, 4]), sense(&[0; 18]), sense(&[])), (None, None, None));
    }

    #[test]
    fn an_answer_that_is_not_good_is_an_error_with_what_the_disk_says() {
        let refused = Answer { status: 2, sense: vec![0x72, 5, 0x20, 0, 0, 0, 0, 0] };
        assert_eq!(refused.good().unwrap_err().to_string(), "the disk answers with status 0x2, sense 5/20/00");
        assert!(Answer { status: 0, sense: Vec::new() }.good().is_ok());
    }

    #[test]
    fn a_file_takes_no_commands() {
        assert!(!is_spoken(&tempfile::tempfile().unwrap()));
    }
}
