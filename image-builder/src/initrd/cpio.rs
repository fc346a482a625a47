//! The archive format of an initrd: cpio `newc` (kernel: Documentation/driver-api/early-userspace/buffer-format.rst).
//! Pure: equal entries give equal bytes.

use std::io::{self, Write};

/// File type bits of the mode.
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const CHARACTER: u32 = 0o020_000;

/// Size of an entry's header.
const HEADER: usize = 110;

/// An archive that is being written. Every entry belongs to 0:0 and has the same time.
pub struct Archive {
    bytes: Vec<u8>,
    next_inode: u32,
    mtime: u32,
}

impl Archive {
    /// An empty archive whose entries carry this time (seconds since 1970).
    pub fn new(snapshot: i64) -> Archive {
        // The field has 32 bits; times before 1970 or after 2106 are cut to its bounds.
        let mtime = u32::try_from(snapshot.max(0)).unwrap_or(u32::MAX);
        Archive { bytes: Vec::new(), next_inode: 1, mtime }
    }

    /// Adds a folder; one that something is in must come first.
    ///
    /// # Errors
    /// Never in practice: it writes to memory.
    pub fn folder(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[])
    }

    /// Adds a file.
    ///
    /// # Errors
    /// When it has more than 4 GiB.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, REGULAR | mode, (0, 0), content)
    }

    /// Adds a file whose content begins at a multiple of this many bytes.
    ///
    /// # Errors
    /// When it has more than 4 GiB.
    pub fn aligned_file(&mut self, path: &str, mode: u32, content: &[u8], alignment: usize) -> io::Result<()> {
        // A name ends at its first NUL; those behind it fill up.
        let mut name = path.to_owned();
        let before = self.bytes.len() + HEADER + 1;
        while !(before + name.trim_start_matches('/').len()).next_multiple_of(4).is_multiple_of(alignment) {
            name.push('\0');
        }
        self.entry(&name, REGULAR | mode, (0, 0), content)
    }

    /// Adds a character device.
    ///
    /// # Errors
    /// Never in practice: it writes to memory.
    pub fn character_device(&mut self, path: &str, mode: u32, device: (u32, u32)) -> io::Result<()> {
        self.entry(path, CHARACTER | mode, device, &[])
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        let size =
            u32::try_from(content.len()).map_err(|_| io::Error::other(format!("{path} is larger than 4 GiB")))?;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let mut writer = cpio::newc::Builder::new(path.trim_start_matches('/'))
            .ino(self.next_inode)
            .mode(mode)
            .nlink(links)
            .mtime(self.mtime)
            .rdev_major(device.0)
            .rdev_minor(device.1)
            .write(&mut self.bytes, size);
        self.next_inode += 1;
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }

    /// The finished archive, its size a multiple of 4.
    ///
    /// # Errors
    /// Never in practice: it writes to memory.
    pub fn finish(mut self) -> io::Result<Vec<u8>> {
        cpio::newc::trailer(&mut self.bytes)?;
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        Ok(self.bytes)
    }
}

/// What is in front of a file's content, for content that is elsewhere: header and name, a multiple of 4 bytes.
/// Without a size it is what ends an archive.
///
/// # Errors
/// When it has more than 4 GiB.
pub fn header(path: &str, mode: u32, inode: u32, snapshot: i64, size: u64) -> io::Result<Vec<u8>> {
    let size = u32::try_from(size).map_err(|_| io::Error::other(format!("{path} is larger than 4 GiB")))?;
    let name = path.trim_start_matches('/');
    let mtime = Archive::new(snapshot).mtime;
    // Inode, mode, owner, group, links, time, size, two devices, length of the name, no checksum.
    let fields = [inode, REGULAR | mode, 0, 0, 1, mtime, size, 0, 0, 0, 0, name.len() as u32 + 1, 0];
    let mut bytes = b"070701".to_vec();
    for field in fields {
        bytes.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back() {
        let mut archive = Archive::new(1_700_000_000);
        archive.folder("/dev").unwrap();
        archive.character_device("/dev/console", 0o600, (5, 1)).unwrap();
        archive.file("/init", 0o755, b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let mut rest = &bytes[..];
        let mut found = Vec::new();
        loop {
            let reader = cpio::newc::Reader::new(rest).unwrap();
            let entry = reader.entry();
            if entry.is_trailer() {
                break;
            }
            assert_eq!((entry.mtime(), entry.uid(), entry.gid()), (1_700_000_000, 0, 0));
            let fact = (entry.name().to_owned(), entry.mode(), (entry.rdev_major(), entry.rdev_minor()));
            let mut content = Vec::new();
            rest = reader.to_writer(&mut content).unwrap();
            found.push((fact, content));
        }
        let expected = [
            (("dev".to_owned(), 0o040_755, (0, 0)), vec![]),
            (("dev/console".to_owned(), 0o020_600, (5, 1)), vec![]),
            (("init".to_owned(), 0o100_755, (0, 0)), b"hello".to_vec()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn times_outside_of_the_field_are_cut() {
        assert_eq!(Archive::new(-5).mtime, 0);
        assert_eq!(Archive::new(1 << 40).mtime, u32::MAX);
    }
}
