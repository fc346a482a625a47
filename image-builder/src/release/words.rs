//! Numbers as people say them. Pure.

use storage_plan::inventory::size_words;

/// `1 path`, `2 paths`.
pub(super) fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

/// `12 bytes`, `1.5 MB`.
pub(super) fn size(bytes: u64) -> String {
    match usize::try_from(bytes) {
        Ok(few @ ..1000) => count(few, "byte"),
        _ => size_words(bytes),
    }
}

/// `+1.5 MB`; nothing if it is the same.
pub(super) fn grown(bytes: i64) -> String {
    match bytes {
        0 => String::new(),
        1.. => format!("+{}", size(bytes.unsigned_abs())),
        _ => format!("-{}", size(bytes.unsigned_abs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bytes_are_counted() {
        assert_eq!([size(0), size(1), size(999), size(1000)], ["0 bytes", "1 byte", "999 bytes", "1.0 kB"]);
        assert_eq!([grown(0), grown(2_000_000), grown(-5)], ["", "+2.0 MB", "-5 bytes"]);
    }
}
