//! How much of its place a file system fills, as it says itself.

use on_disk::{ext4, xfs};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of the file system on `device`, which is mounted at `mount`, if it is; none without one that is known.
///
/// ext4 is seen through what the kernel remembers of the device, so it is never behind. XFS goes past that: mounted, it is asked.
pub(super) fn filled(device: &File, mount: Option<&str>) -> Option<u64> {
    let mut start = [0; 16];
    device.read_exact_at(&mut start, 0).ok()?;
    let mut superblock = [0; ext4::SIZE];
    device.read_exact_at(&mut superblock, ext4::OFFSET).ok()?;
    match (xfs::size(&start), mount) {
        (Some(_), Some(mount)) => xfs_geometry(Path::new(mount)),
        (Some(size), None) => Some(size),
        (None, _) => ext4::size(&superblock),
    }
}

/// `struct xfs_fsop_geom_v1` of xfsprogs' `xfs_fs.h`.
#[repr(C)]
#[derive(Debug, Default)]
struct Geometry {
    block_size: u32,
    _others: [u32; 7],
    data_blocks: u64,
    _more: [u64; 9],
}

/// Bytes of the mounted XFS, by `XFS_IOC_FSGEOMETRY_V1`.
#[allow(unsafe_code, reason = "an ioctl without a safe wrapper")]
fn xfs_geometry(mount: &Path) -> Option<u64> {
    #[allow(missing_docs, reason = "made by the macro")]
    mod ioctl {
        nix::ioctl_read!(geometry, b'X', 100, super::Geometry);
    }
    let folder = File::open(mount).ok()?;
    let mut geometry = Geometry::default();
    // SAFETY: the kernel writes one structure of this shape, which outlives the call.
    unsafe { ioctl::geometry(folder.as_raw_fd(), &raw mut geometry) }.ok()?;
    u64::from(geometry.block_size).checked_mul(geometry.data_blocks)
}
