//! The superblock of XFS, as far as it says how large the file system is (XFS Algorithms & Data Structures, "Superblocks").

/// Bytes of the file system that begins with `start`; none if it is not XFS.
///
/// While it is mounted the kernel keeps its size in memory and in its log, and what lies here may be behind.
pub fn size(start: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u32::from_be_bytes(start.get(at..at + 4)?.try_into().ok()?));
    let blocks = u64::from_be_bytes(start.get(8..16)?.try_into().ok()?);
    (start.get(..4)? == b"XFSB").then_some(())?;
    blocks.checked_mul(word(4)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_blocks_by_their_length() {
        let mut start = [0; 16];
        start[..4].copy_from_slice(b"XFSB");
        start[4..8].copy_from_slice(&4096u32.to_be_bytes());
        start[8..].copy_from_slice(&25600u64.to_be_bytes());
        assert_eq!(size(&start), Some(100 << 20));
        start[8] = 0xff;
        assert_eq!(size(&start), None, "more than there can be");
        start[0] = b'Y';
        assert_eq!((size(&start), size(&start[..10])), (None, None));
    }
}
