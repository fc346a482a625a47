//! The write-intent bitmap of a running array, by sysfs (Documentation/admin-guide/md.rst, `bitmap_set_bits`).
//!
//! When an array is made larger, the kernel knows of what is new that it is to be synced, and its bitmap on the members does not
//! (md_bitmap_resize): a member that leaves before it is synced would come back by the bitmap with that part untrue.
#![allow(clippy::disallowed_methods, reason = "edge: a running array's bitmap, by sysfs")]

use super::md;
use anyhow::Context;
use std::ops::RangeInclusive;
use std::path::Path;

/// How many bytes the bitmap of an array stands for, or would: of each member, and with level 10 of the array.
pub(super) fn covers(node: &Path) -> anyhow::Result<u64> {
    let level = read(node, "md/level")?;
    let (file, unit) = if level == "raid10" { ("size", 512) } else { ("md/component_size", 1024) };
    let count: u64 = read(node, file)?.parse().with_context(|| format!("{file} of {} is no number", node.display()))?;
    Ok(count.saturating_mul(unit))
}

/// Notes that all behind the first `synced` bytes is to be synced, if the array has a bitmap.
pub(super) fn set_from(node: &Path, synced: u64) -> anyhow::Result<()> {
    let Some(bytes) = read(node, "md/bitmap/chunksize").ok().and_then(|bytes| bytes.parse().ok()) else {
        return Ok(());
    };
    let is_there = read(node, "md/bitmap/location").is_ok_and(|location| location != "none");
    let Some(bits) = bits(synced, covers(node)?, bytes).filter(|_| is_there) else { return Ok(()) };
    let file = md::folder(node).join("md/bitmap_set_bits");
    std::fs::write(&file, format!("{}-{}", bits.start(), bits.end()))
        .with_context(|| format!("{} can't be written", file.display()))
}

/// The bits that stand for all from the byte `from` up to `to`, each for so many bytes.
fn bits(from: u64, to: u64, bytes: u64) -> Option<RangeInclusive<u64>> {
    (from < to && bytes > 0).then(|| from / bytes..=(to - 1) / bytes)
}

fn read(node: &Path, name: &str) -> anyhow::Result<String> {
    let file = md::folder(node).join(name);
    let text = std::fs::read_to_string(&file).with_context(|| format!("{} can't be read", file.display()))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_those_of_all_that_is_new_and_no_others() {
        assert_eq!(bits(0, 1, 4096), Some(0..=0));
        assert_eq!(bits(4096, 12288, 4096), Some(1..=2));
        assert_eq!(bits(4095, 12289, 4096), Some(0..=3), "a bit that stands for both is set");
        assert_eq!((bits(8, 8, 4096), bits(9, 8, 4096), bits(0, 8, 0)), (None, None, None));
    }
}
