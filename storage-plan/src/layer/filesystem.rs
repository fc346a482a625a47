//! What volumes hold: which UUID, label and options, how small one may be, and whether it is what belongs there.

use crate::inventory::Signature;
use crate::layer::luks;
use crate::ownership::{Inside, inside};
use machine_config::schema::{Content, Format};
use uuid::Uuid;

/// libblkid's word for it; also the kernel's.
pub fn kind(format: Format) -> &'static str {
    match format {
        Format::Xfs => "xfs",
        Format::Ext4 => "ext4",
    }
}

/// The word for what a volume holds: that of its file system, or `raw`.
pub fn word(content: Content) -> &'static str {
    content.file_system().map_or("raw", kind)
}

/// The least bytes of a volume: mkfs.xfs refuses less than 300 MiB, mkfs.ext4 makes no journal below some MiB.
pub fn least(content: Content) -> u64 {
    match content {
        Content::Xfs => 300 << 20,
        Content::Ext4 | Content::Raw => 16 << 20,
    }
}

/// The least bytes of the place of a volume that holds this, and in front of it a LUKS header if it is encrypted.
pub fn least_place(content: Content, is_encrypted: bool) -> u64 {
    least(content) + if is_encrypted { luks::TAKES } else { 0 }
}

/// What is wrong with a finished volume, going by the signatures in it, in words. What a raw one holds is for its user alone
/// to say.
pub fn amiss(signatures: &[Signature], content: Content, uuid: &Uuid) -> Option<String> {
    match inside(signatures, kind(content.file_system()?), uuid) {
        Inside::Ours => None,
        Inside::Nothing => Some("no file system".into()),
        Inside::Other(holds) => Some(holds),
    }
}

/// Whether just the file system of this UUID is there.
pub fn is_made(signatures: &[Signature], content: Content, uuid: &Uuid) -> bool {
    inside(signatures, word(content), uuid) == Inside::Ours
}

/// What keeps a volume from being made anew, in words: anything but what an interrupted run made.
pub fn in_the_way(signatures: &[Signature], content: Content, uuid: &Uuid) -> Option<String> {
    match inside(signatures, word(content), uuid) {
        Inside::Ours | Inside::Nothing => None,
        Inside::Other(holds) => Some(holds),
    }
}

/// A label for people, cut to what the file system holds: 12 bytes for XFS, 16 for ext4. Identity is the UUID.
pub fn label(format: Format, name: &str) -> String {
    let most = match format {
        Format::Xfs => 12,
        Format::Ext4 => 16,
    };
    let clean = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' });
    clean.take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fit_and_are_plain() {
        assert_eq!(label(Format::Xfs, "a-very-long-volume"), "a-very-long-");
        assert_eq!(label(Format::Ext4, "größe"), "gr--e");
    }
}
