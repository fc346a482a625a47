//! The machine-id, the same over reboots and over new images (machine-id(5)).
//!
//! Derived from the SMBIOS system UUID when that is a real one. Boards that carry a placeholder get a random
//! one, kept in an EFI variable. Written before systemd starts, so that systemd never makes its own.
#![allow(clippy::disallowed_methods, reason = "edge: reads sysfs, keeps an EFI variable")]

use crate::boot_record::MachineIdSource;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Read;
use uuid::Uuid;

/// Keeps this derivation apart from any other use of the same UUID.
const PURPOSE: &[u8] = b"bedplate machine-id 1\0";
const VARIABLE: &str = "/sys/firmware/efi/efivars/BedplateMachineId-6b0d6d4c-3d7e-5c51-9a0e-3f1c8a2be7d4";
/// Non-volatile, boot services, runtime (UEFI specification, 8.2 "GetVariable").
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];

/// This machine's id as 32 hexadecimal digits, and where it comes from.
#[must_use]
pub fn find() -> (String, MachineIdSource) {
    let smbios = fs::read_to_string("/sys/class/dmi/id/product_uuid").unwrap_or_default();
    if let Some(uuid) = usable(&smbios) {
        return (derive(uuid), MachineIdSource::Smbios);
    }
    if let Some(kept) = fs::read(VARIABLE).ok().and_then(|bytes| parse_kept(&bytes)) {
        return (kept, MachineIdSource::EfiVariable);
    }
    let mut random = [0; 16];
    let filled = fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut random)).is_ok();
    debug_assert!(filled, "/dev/urandom is always there");
    let id = format(random);
    let variable: Vec<u8> = ATTRIBUTES.iter().copied().chain(id.bytes()).collect();
    match fs::write(VARIABLE, variable) {
        Ok(()) => (id, MachineIdSource::EfiVariable),
        Err(_) => (id, MachineIdSource::Random),
    }
}

/// The UUID, unless it is one that boards of many kinds share.
fn usable(text: &str) -> Option<Uuid> {
    let uuid = Uuid::parse_str(text.trim()).ok()?;
    let same = uuid.as_bytes().iter().all(|b| *b == uuid.as_bytes()[0]);
    // AMI's and Supermicro's samples, left in by board makers.
    let samples = ["03000200-0400-0500-0006-000700080009", "00020003-0004-0005-0006-000700080009"];
    (!same && !samples.contains(&uuid.to_string().as_str())).then_some(uuid)
}

fn derive(uuid: Uuid) -> String {
    let digest = Sha256::new().chain_update(PURPOSE).chain_update(uuid.as_bytes()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    format(bytes)
}

/// As a UUID of version 4, which is what machine-id(5) asks for.
fn format(bytes: [u8; 16]) -> String {
    uuid::Builder::from_random_bytes(bytes).into_uuid().simple().to_string()
}

fn parse_kept(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes.get(4..)?).ok()?;
    (text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_uuid_never_changes() {
        let uuid = usable("4C4C4544-0037-4B10-8032-CAC04F583033\n").unwrap();
        assert_eq!(derive(uuid), "77f6aca568f240e6952a110ce8c399ba");
    }

    #[test]
    fn placeholders_are_no_identity() {
        for text in [
            "",
            "Not Settable",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
        ] {
            assert_eq!(usable(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_sound_variable_is_taken() {
        let id = "0123456789abcdef0123456789abcdef";
        let bytes: Vec<u8> = ATTRIBUTES.iter().copied().chain(id.bytes()).collect();
        assert_eq!(parse_kept(&bytes).as_deref(), Some(id));
        assert_eq!(parse_kept(&bytes[..30]), None);
        assert_eq!(parse_kept(&bytes[4..]), None);
    }
}
