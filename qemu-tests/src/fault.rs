//! Faults on disks: a flipped bit, somebody else's data.
#![allow(clippy::disallowed_methods, reason = "edge: writes disk files of tests")]

pub mod foreign;

use anyhow::{Context, Result, ensure};
use image_builder::qemu::release_disk::{ReleaseDisk, UKI};
use image_builder::tools::Tools;
use on_disk::gpt::kind;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Flips one bit of the byte at `offset`.
///
/// # Errors
/// When the file can't be written there.
pub fn flip_bit(file: &Path, offset: u64) -> Result<()> {
    let disk = OpenOptions::new().read(true).write(true).open(file).with_context(|| format!("{}", file.display()))?;
    let mut byte = [0];
    disk.read_exact_at(&mut byte, offset)?;
    disk.write_all_at(&[byte[0] ^ 0x10], offset)?;
    Ok(())
}

/// Flips one bit in the kernel inside the UKI of a copy of a release's disk.
///
/// # Errors
/// When the UKI can't be read or written.
pub fn flip_bit_of_uki(disk: &Path, tools: &Tools) -> Result<()> {
    let disk = ReleaseDisk::open(disk)?;
    let mut uki = disk.read_esp(tools, UKI)?;
    let middle = uki.len() / 2;
    uki[middle] ^= 0x10;
    disk.write_esp(tools, UKI, &uki)?;
    ensure!(disk.read_esp(tools, UKI)? == uki, "the altered UKI did not reach the ESP");
    Ok(())
}

/// Flips one bit of the byte at `offset` of the root partition of slot A.
///
/// # Errors
/// When the disk has no such partition, or can't be written there.
pub fn flip_bit_of_root(disk: &Path, offset: u64) -> Result<()> {
    let root = ReleaseDisk::open(disk)?.partition(kind::ROOT_X86_64)?.clone();
    ensure!(offset < root.size, "the root partition of {} ends before byte {offset}", disk.display());
    flip_bit(disk, root.start + offset)
}

/// Digest of a whole file; two equal ones mean that not a byte was written.
///
/// # Errors
/// When it can't be read.
pub fn digest(file: &Path) -> Result<String> {
    let mut file = File::open(file).with_context(|| format!("{} can't be read", file.display()))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("{:x}", hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flipped_bit_changes_the_digest_and_flipping_it_again_brings_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk");
        std::fs::write(&file, [7; 9000]).unwrap();
        let before = digest(&file).unwrap();
        flip_bit(&file, 5000).unwrap();
        assert_ne!(digest(&file).unwrap(), before);
        flip_bit(&file, 5000).unwrap();
        assert_eq!(digest(&file).unwrap(), before);
    }
}
