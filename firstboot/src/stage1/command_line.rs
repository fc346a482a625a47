//! The signed command line, and whether the kernel was started with it. Pure.
//!
//! The UKI's signature covers `.cmdline`, and the initrd holds a copy of it. systemd-stub appends to what it
//! hands to the kernel whatever SMBIOS carries as `io.systemd.stub.kernel-cmdline-extra`, signed by nobody; so
//! the running command line is compared byte for byte, and a node whose lines differ does not boot.

use super::refuse;
use machine_config::Diagnostic;
use uuid::Uuid;

/// What stage 1 needs of the signed command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// `roothash=`: SHA-256 at the top of the root's hash tree.
    pub root_hash: [u8; 32],
}

impl Signed {
    /// GPT UUID of the root partition: the first 128 bits of the root hash, in the order in which it is printed
    /// (Discoverable Partitions Specification).
    #[must_use]
    pub fn root_partition(&self) -> Uuid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.root_hash[..16]);
        Uuid::from_bytes(bytes)
    }

    /// GPT UUID of the hash tree's partition: the last 128 bits.
    #[must_use]
    pub fn verity_partition(&self) -> Uuid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.root_hash[16..]);
        Uuid::from_bytes(bytes)
    }

    /// The root hash as it stands on the command line.
    #[must_use]
    pub fn root_hash_text(&self) -> String {
        self.root_hash.iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// Compares the initrd's copy with `/proc/cmdline` and reads the signed one.
///
/// # Errors
/// BP-B001 when they differ, BP-B002 when the signed line has not exactly one sound `roothash=`.
pub fn judge(signed: &[u8], running: &[u8]) -> Result<Signed, Diagnostic> {
    // The kernel ends the file with a line feed of its own.
    let running = running.strip_suffix(b"\n").unwrap_or(running);
    if signed != running {
        return Err(refuse(
            "BP-B001",
            "The kernel was not started with the signed command line.",
            &difference(signed, running),
            "Take out what adds to the command line: SMBIOS strings (type 11, io.systemd.stub.kernel-cmdline-extra), \
             a boot loader's entry or an addon. What a server model needs goes into the recipe's kernel.arguments.",
        ));
    }
    let bad = |why: &str| {
        refuse(
            "BP-B002",
            "The signed command line does not say which root belongs to this kernel.",
            why,
            "The image was not built soundly: build it again.",
        )
    };
    let text = std::str::from_utf8(signed).map_err(|_| bad("It is not text."))?;
    let mut hashes = text.split_ascii_whitespace().filter_map(|w| w.strip_prefix("roothash="));
    let hash = hashes.next().ok_or_else(|| bad("There is no roothash= in it."))?;
    if hashes.next().is_some() {
        return Err(bad("There is more than one roothash= in it."));
    }
    let root_hash = parse_hash(hash).ok_or_else(|| bad("Its roothash= is not 64 hexadecimal digits."))?;
    Ok(Signed { root_hash })
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// Says where two lines part: what is there too much, or what stands there instead.
fn difference(signed: &[u8], running: &[u8]) -> String {
    let shared = signed.iter().zip(running).take_while(|(a, b)| a == b).count();
    let show = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    match (&signed[shared..], &running[shared..]) {
        ([], more) => format!("Added behind it: \"{}\".", show(more).trim()),
        (missing, []) => format!("Missing at its end: \"{}\".", show(missing).trim()),
        (wanted, found) => {
            format!("From byte {shared} on \"{}\" was expected, and \"{}\" was found.", show(wanted), show(found))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

    fn line() -> String {
        format!("roothash={HASH} root=/dev/mapper/root quiet")
    }

    #[test]
    fn the_same_line_is_taken_and_names_both_partitions() {
        let signed = judge(line().as_bytes(), format!("{}\n", line()).as_bytes()).unwrap();
        assert_eq!(signed.root_partition().to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(signed.verity_partition().to_string(), "01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(signed.root_hash_text(), HASH);
    }

    #[test]
    fn any_difference_stops_and_is_shown() {
        for (running, shown) in [
            (format!("{} init=/bin/sh\n", line()), "init=/bin/sh"),
            (format!("{}  \n", line()), "Added behind it"),
            (format!("{}\n\n", line()), "Added behind it"),
            (line().replace(" quiet", ""), "quiet"),
            (line().replace("quiet", "debug"), "debug"),
            (String::new(), "Missing"),
        ] {
            let refusal = judge(line().as_bytes(), running.as_bytes()).unwrap_err();
            assert_eq!(refusal.code, "BP-B001", "{running:?}");
            assert!(refusal.why.contains(shown), "{running:?}: {}", refusal.why);
        }
    }

    #[test]
    fn a_line_without_one_sound_root_hash_stops() {
        for signed in
            ["quiet".to_owned(), format!("{0} {0}", line()), "roothash=12".into(), format!("roothash=+{HASH}")]
        {
            assert_eq!(judge(signed.as_bytes(), signed.as_bytes()).unwrap_err().code, "BP-B002", "{signed}");
        }
    }
}
