//! The checksum of EROFS and ext4.

/// CRC-32C (Castagnoli) as the kernel's `crc32c(~0, ...)`: begun with ones, not inverted at the end.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    /// The check value of CRC-32C (RFC 3720, B.4, on "123456789"), not inverted.
    #[test]
    fn it_is_the_castagnoli_checksum() {
        assert_eq!(crc32c(b"123456789"), !0xe306_9283);
    }
}
