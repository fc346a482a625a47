//! A file as a read-only block device, by the loop driver (`linux/loop.h`).
#![allow(clippy::disallowed_methods, reason = "edge: opens the loop driver's control node")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

const CONFIGURE: u64 = 0x4c0a;
const GET_FREE: u64 = 0x4c82;
const READ_ONLY: u32 = 1;
/// `struct loop_config`: descriptor, block size, a `struct loop_info64`, and space.
const CONFIG: usize = 304;
/// Where `lo_flags` is in it, and its `lo_file_name`.
const FLAGS: usize = 8 + 52;
const NAME: usize = 8 + 56;
/// As dm-verity and EROFS read.
const BLOCK: u32 = 4096;

/// Makes a file a device; gives its kernel name (`loop0`). The device keeps the file, also when its name is gone.
///
/// # Errors
/// What the kernel answers.
pub fn attach(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    let number = free(&control)?;
    let name = format!("loop{number}");
    let device = File::open(Path::new("/dev").join(&name))?;
    configure(&device, &mut config(&file, path))?;
    Ok(name)
}

fn config(file: &File, path: &Path) -> [u8; CONFIG] {
    let mut bytes = [0; CONFIG];
    bytes[..4].copy_from_slice(&file.as_raw_fd().to_ne_bytes());
    bytes[4..8].copy_from_slice(&BLOCK.to_ne_bytes());
    bytes[FLAGS..FLAGS + 4].copy_from_slice(&READ_ONLY.to_ne_bytes());
    let name = path.as_os_str().as_encoded_bytes();
    let name = &name[..name.len().min(63)];
    bytes[NAME..NAME + name.len()].copy_from_slice(name);
    bytes
}

#[allow(unsafe_code, reason = "an ioctl without a safe wrapper")]
fn free(control: &File) -> io::Result<i32> {
    // SAFETY: this request takes no argument and touches no memory of ours.
    let number = unsafe { nix::libc::ioctl(control.as_raw_fd(), GET_FREE as _) };
    Ok(nix::errno::Errno::result(number)?)
}

#[allow(unsafe_code, reason = "an ioctl without a safe wrapper")]
fn configure(device: &File, config: &mut [u8; CONFIG]) -> io::Result<()> {
    // SAFETY: the kernel reads `struct loop_config`, which is as long as the buffer, and the buffer is alive.
    let result = unsafe { nix::libc::ioctl(device.as_raw_fd(), CONFIGURE as _, config.as_mut_ptr()) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_laid_out_as_the_kernel_reads_it() {
        let file = File::open("/dev/null").unwrap();
        let bytes = config(&file, Path::new("/root.erofs"));
        assert_eq!(&bytes[..4], &file.as_raw_fd().to_ne_bytes());
        assert_eq!(&bytes[4..8], &4096u32.to_ne_bytes());
        // lo_flags is behind three 64-bit and two more 64-bit fields and three of 32 bits; see linux/loop.h.
        assert_eq!(&bytes[8 + 5 * 8 + 3 * 4..][..4], &1u32.to_ne_bytes());
        assert_eq!(&bytes[64..76], b"/root.erofs\0");
    }
}
