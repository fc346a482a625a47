//! EROFS, the read-only file system of the root (format: Linux 6.12, `fs/erofs/erofs_fs.h`, and
//! `Documentation/filesystems/erofs.rst`; what the fields of a compressed file mean: `fs/erofs/zmap.c`).
//!
//! A codec for each structure: values in, bytes out, and back. Where things lie is decided by who writes an image.
//! All integers are little endian. Decoding takes any bytes: it gives a value or an error.
//!
//! ```text
//! byte 1024         superblock, then a record for each compression algorithm
//! anywhere, by 32   inode = record, extended attributes, index of a compressed file, end of the content
//! anywhere, by 4    extended attributes that several inodes share
//! anywhere, by 4096 blocks of directories, of files as they are, and physical clusters
//! ```

mod dirent;
mod inode;
mod map;
mod superblock;
pub mod xattr;

pub use dirent::{Dirent, FileType};
pub use inode::{Inode, Layout};
pub use map::{Extent, Index, Located};
pub use superblock::{Algorithm, Superblock, feature};

/// Size of a block in bytes. Images of other block sizes are not written, and of them only the superblock is read.
pub const BLOCK: usize = 4096;
/// Inodes begin at multiples of this many bytes; the number of an inode (nid) is its position in them.
pub const SLOT: usize = 32;
/// Where the superblock begins.
pub const OFFSET: usize = superblock::OFFSET;
/// Bytes from the image's begin that [`Superblock::parse`] wants to see.
pub const NEEDED: usize = superblock::NEEDED;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer bytes than the structure has.
    #[error("{0} is cut off")]
    Short(&'static str),
    /// A value that the format does not have, or that is not used here.
    #[error("{part}: {why}")]
    Broken {
        /// The structure.
        part: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The integers of a structure, one after the other.
struct Fields<'a> {
    part: &'static str,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    fn new(part: &'static str, bytes: &'a [u8]) -> Fields<'a> {
        Fields { part, bytes }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(Error::Short(self.part))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn broken<T>(&self, why: &'static str) -> Result<T, Error> {
        Err(Error::Broken { part: self.part, why })
    }
}
