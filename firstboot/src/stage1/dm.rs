//! One read-only device-mapper device, through the kernel's ioctl interface (`linux/dm-ioctl.h`, version 4).
#![allow(clippy::disallowed_methods, reason = "edge: opens the device-mapper control node")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

/// The fixed part of every request: `struct dm_ioctl`.
const HEADER: usize = 312;
/// `struct dm_target_spec`, in front of a target's parameters.
const TARGET: usize = 40;
const DEV_CREATE: u8 = 3;
const DEV_REMOVE: u8 = 4;
const DEV_SUSPEND: u8 = 6;
const TABLE_LOAD: u8 = 9;
const READ_ONLY: u32 = 1;

/// One target over the whole device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Length in sectors of 512 bytes.
    pub sectors: u64,
    /// Kind (`verity`).
    pub kind: &'static str,
    /// Parameters as the target's documentation gives them.
    pub parameters: String,
}

/// Creates the device, loads the table and starts it; gives its kernel name (`dm-0`). When a step fails, the
/// device is taken away again.
///
/// # Errors
/// What the kernel answers; its log says more.
pub fn activate(name: &str, uuid: &str, table: &Table) -> io::Result<String> {
    let control = OpenOptions::new().read(true).write(true).open("/dev/mapper/control")?;
    let created = call(&control, DEV_CREATE, request(name, uuid, 0, 0, &[]))?;
    let device = number(&created, 40);
    let load = request(name, "", READ_ONLY, 1, &target(table));
    let resume = request(name, "", 0, 0, &[]);
    let started = call(&control, TABLE_LOAD, load).and_then(|_| call(&control, DEV_SUSPEND, resume));
    if let Err(e) = started {
        let _ = call(&control, DEV_REMOVE, request(name, "", 0, 0, &[]));
        return Err(e);
    }
    // The kernel's encoding of device numbers, `huge_encode_dev` in linux/kdev_t.h.
    Ok(format!("dm-{}", (device & 0xff) | ((device >> 12) & 0xf_ff00)))
}

/// Takes the device away, so that another pair can be tried under its name.
///
/// # Errors
/// What the kernel answers.
pub fn remove(name: &str) -> io::Result<()> {
    let control = OpenOptions::new().read(true).write(true).open("/dev/mapper/control")?;
    call(&control, DEV_REMOVE, request(name, "", 0, 0, &[])).map(|_| ())
}

fn request(name: &str, uuid: &str, flags: u32, targets: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &4u32.to_ne_bytes());
    put(12, &u32::try_from(HEADER + payload.len()).unwrap_or(u32::MAX).to_ne_bytes());
    put(16, &(HEADER as u32).to_ne_bytes());
    put(20, &targets.to_ne_bytes());
    put(28, &flags.to_ne_bytes());
    put(48, &name.as_bytes()[..name.len().min(127)]);
    put(176, &uuid.as_bytes()[..uuid.len().min(128)]);
    bytes.extend_from_slice(payload);
    bytes
}

fn target(table: &Table) -> Vec<u8> {
    let mut bytes = vec![0; TARGET];
    bytes[8..16].copy_from_slice(&table.sectors.to_ne_bytes());
    let kind = &table.kind.as_bytes()[..table.kind.len().min(15)];
    bytes[24..24 + kind.len()].copy_from_slice(kind);
    bytes.extend_from_slice(table.parameters.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(value)
}

#[allow(unsafe_code, reason = "an ioctl without a safe wrapper")]
fn call(control: &File, command: u8, mut request: Vec<u8>) -> io::Result<Vec<u8>> {
    let number = nix::request_code_readwrite!(0xfd, command, HEADER);
    // SAFETY: the kernel reads and writes at most `data_size` bytes, which `request` set to the buffer's length;
    // the buffer is alive and not shared during the call.
    let result = unsafe { nix::libc::ioctl(control.as_raw_fd(), number, request.as_mut_ptr()) };
    nix::errno::Errno::result(result)?;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_laid_out_as_the_kernel_reads_it() {
        let table = Table { sectors: 8, kind: "verity", parameters: "1 a".into() };
        let bytes = request("root", "BEDPLATE-x", READ_ONLY, 1, &target(&table));
        assert_eq!(bytes.len(), 312 + 40 + 8);
        assert_eq!(&bytes[12..16], &360u32.to_ne_bytes(), "data_size");
        assert_eq!(&bytes[48..53], b"root\0");
        assert_eq!(&bytes[176..187], b"BEDPLATE-x\0");
        assert_eq!(number(&bytes, 320), 8, "length");
        assert_eq!(&bytes[336..343], b"verity\0");
        assert_eq!(&bytes[352..], b"1 a\0\0\0\0\0");
    }
}
