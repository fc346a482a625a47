//! Contents for tests, the same each time.

/// Bytes that can't be made smaller.
pub fn random(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Bytes that become a small part: words of eight letters in any order.
pub fn text(len: usize) -> Vec<u8> {
    let letters: Vec<u8> = random(256 * 8).iter().map(|byte| b'a' + byte % 26).collect();
    let words = letters.as_chunks::<8>().0;
    random(len.div_ceil(8)).iter().flat_map(|byte| words[usize::from(*byte)]).take(len).collect()
}
