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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bytes_are_counted() {
        assert_eq!([size(0), size(1), size(999), size(1000)], ["0 bytes", "1 byte", "999 bytes", "1.0 kB"]);
    }
}
