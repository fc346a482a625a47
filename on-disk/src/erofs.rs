//! The superblock of an EROFS image (kernel: fs/erofs/erofs_fs.h). Read only; `mkfs.erofs` writes.

use uuid::Uuid;

/// Where the superblock begins.
pub const OFFSET: usize = 1024;
/// Bytes from the image's begin that [`Superblock::parse`] wants to see.
pub const NEEDED: usize = OFFSET + 128;
/// `EROFS_SUPER_MAGIC_V1`.
const MAGIC: u32 = 0xe0f5_e1e2;

/// What a superblock says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Block size in bytes.
    pub block_size: u64,
    /// Size of the image in bytes.
    pub size: u64,
    /// When it was made, seconds since 1970.
    pub build_time: u64,
    /// UUID of the file system.
    pub uuid: Uuid,
}

impl Superblock {
    /// Reads it from the image's first [`NEEDED`] bytes.
    ///
    /// # Errors
    /// A sentence's end that says what is wrong (`has no EROFS superblock`).
    pub fn parse(bytes: &[u8]) -> Result<Superblock, String> {
        let Some(bytes) = bytes.get(OFFSET..NEEDED) else { return Err("is too short for an EROFS superblock".into()) };
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if u32_at(0) != MAGIC {
            return Err("has no EROFS superblock".into());
        }
        let bits = bytes[12];
        if !(9..=16).contains(&bits) {
            return Err(format!("has an EROFS superblock with blocks of 2^{bits} bytes"));
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[48..64]);
        Ok(Superblock {
            block_size: 1 << bits,
            size: u64::from(u32_at(36)) << bits,
            build_time: u64::from(u32_at(24)) | u64::from(u32_at(28)) << 32,
            uuid: Uuid::from_bytes(uuid),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes 1024 to 1152 of `mkfs.erofs 1.8.6 -b4096 -T1700000000 --all-time
    /// -U00000000-0000-0000-0000-000000000009` on a small tar file.
    const CAPTURED: &str = "e2e1f5e03a9b3d2a030000000c002500040000000000000000f1536500000000000000000100000000000000000000000000000000000000000000000000000900000000000000000000000000000000030000000800000000000000000000000000000000000000000000000000000000000000000000000000000000000000";

    fn image() -> Vec<u8> {
        let mut image = vec![0; OFFSET];
        image.extend((0..CAPTURED.len()).step_by(2).map(|i| u8::from_str_radix(&CAPTURED[i..i + 2], 16).unwrap()));
        image
    }

    #[test]
    fn a_captured_superblock_is_read() {
        let superblock = Superblock::parse(&image()).unwrap();
        let wanted = Superblock { block_size: 4096, size: 4096, build_time: 1_700_000_000, uuid: Uuid::from_u128(9) };
        assert_eq!(superblock, wanted);
    }

    #[test]
    fn others_are_refused() {
        let mut image = image();
        assert!(Superblock::parse(&image[..NEEDED - 1]).is_err());
        image[OFFSET + 12] = 40;
        assert!(Superblock::parse(&image).unwrap_err().contains("2^40"));
        image[OFFSET] ^= 1;
        assert!(Superblock::parse(&image).unwrap_err().contains("no EROFS"));
    }
}
