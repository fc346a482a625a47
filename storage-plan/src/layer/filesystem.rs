//! File systems: which UUID, label and options, and how small a volume may be.

use machine_config::schema::Format;

/// libblkid's word for it; also the kernel's.
pub fn kind(format: Format) -> &'static str {
    match format {
        Format::Xfs => "xfs",
        Format::Ext4 => "ext4",
    }
}

/// The least bytes of a volume: mkfs.xfs refuses less than 300 MiB, mkfs.ext4 makes no journal below some MiB.
pub fn least(format: Format) -> u64 {
    match format {
        Format::Xfs => 300 << 20,
        Format::Ext4 => 16 << 20,
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
