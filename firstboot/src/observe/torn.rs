//! A superblock of ext4 that a power cut tore: libblkid does not recognise it any more.

use on_disk::ext4;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The superblock that was being written to `device` when the power went; none unless a copy of it bears that out.
pub fn ext4_superblock(device: &File) -> Option<[u8; ext4::SIZE]> {
    let read = |offset: u64| {
        let mut bytes = [0; ext4::SIZE];
        device.read_exact_at(&mut bytes, offset).ok().map(|()| bytes)
    };
    let found = read(ext4::OFFSET)?;
    ext4::COPIES.into_iter().filter_map(read).find_map(|copy| ext4::mended(&found, &copy))
}
