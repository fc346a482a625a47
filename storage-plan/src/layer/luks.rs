//! Encrypted volumes: LUKS2 (its on-disk format, section 2).

/// libblkid's word for a header, of either version.
pub const HEADER: &str = "crypto_LUKS";

/// Bytes in front of what is encrypted: two copies of the header, and the places of keys. cryptsetup's own for version 2.
pub const TAKES: u64 = 16 << 20;
