//! Byte codecs of what lies on disks and in flash. Pure: bytes in, values out, and back.

mod crc32c;
pub mod efi_keys;
pub mod efi_vars;
pub mod erofs;
pub mod ext4;
pub mod fat;
pub mod gpt;
pub mod iso9660;
pub mod pe;
pub mod verity;
pub mod xfs;
