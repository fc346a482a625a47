//! Brings the image's Secure Boot keys into firmware that is in setup mode, if the image was made to.
//!
//! Guarantees: nothing is written unless the signed initrd carries the keys *and* the firmware has no platform key
//! (`SetupMode` is 1); what will be written stands on every console first, long enough to switch the machine off;
//! the platform key, which closes the firmware, is written last, so that a power cut leaves setup mode and the next
//! start begins again; afterwards the machine starts anew, and nothing of the image runs before Secure Boot is on.
//!
//! UEFI 2.10, 32.3.1 (the platform key ends setup mode), 8.2.6 (signed writes).
#![allow(clippy::disallowed_methods, reason = "edge: writes EFI variables")]

use super::refuse;
use crate::report::console::Consoles;
use crate::report::page::{Page, Title};
use machine_config::Diagnostic;
use nix::sys::reboot::{RebootMode, reboot};
use on_disk::efi_keys::{Trusted, entries, value_of_signed_write};
use on_disk::efi_vars;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the page stands before anything is written.
const TIME_TO_OBJECT: Duration = Duration::from_secs(30);
/// In the order in which they are written.
const ORDER: [(&str, uuid::Uuid); 3] =
    [("db", efi_vars::IMAGE_SECURITY_DATABASE), ("KEK", efi_vars::GLOBAL), ("PK", efi_vars::GLOBAL)];
/// What a variable of the key hierarchy is.
const ATTRIBUTES: u32 =
    efi_vars::NON_VOLATILE | efi_vars::BOOT_SERVICE | efi_vars::RUNTIME | efi_vars::TIME_BASED_AUTHENTICATED;
/// `FS_IMMUTABLE_FL`, linux/fs.h: how the kernel guards variables against an `rm -r`.
const IMMUTABLE: nix::libc::c_long = 0x10;

/// Whether the firmware checks what it starts; `None` without UEFI or where the firmware does not know Secure Boot.
#[must_use]
pub fn secure_boot() -> Option<bool> {
    flag("SecureBoot")
}

/// Enrols the keys, if both image and firmware ask for it, and starts the machine again.
///
/// # Errors
/// BP-B012 when the firmware does not take them.
pub fn run(consoles: &mut Consoles) -> Result<(), Diagnostic> {
    let folder = Path::new("/enrol");
    if !folder.exists() || flag("SetupMode") != Some(true) {
        return Ok(());
    }
    let read = |name: &str| fs::read(folder.join(name)).map_err(|e| failed(name, &e.to_string(), &[]));
    let names = String::from_utf8_lossy(&read("names")?).into_owned();
    let mut writes = Vec::new();
    for (variable, vendor) in ORDER {
        writes.push((variable, vendor, read(&format!("{variable}.auth"))?));
    }
    let certificates = certificates(&writes, &names).map_err(|why| failed("the keys", &why, &[]))?;
    announce(consoles, &certificates);
    consoles.line("bedplate: enrolling the Secure Boot keys of this image");
    enrol(&writes).map(|never| match never {})
}

fn enrol(writes: &[(&str, uuid::Uuid, Vec<u8>)]) -> Result<Infallible, Diagnostic> {
    let mut done: Vec<&str> = Vec::new();
    for (variable, vendor, bytes) in writes {
        write(variable, *vendor, bytes).map_err(|e| failed(variable, &e.to_string(), &done))?;
        done.push(variable);
    }
    // Firmware that is still open would be enrolled again at the next start, and the next.
    if flag("SetupMode") != Some(false) {
        return Err(failed("the platform key", "it took it and is still in setup mode", &done));
    }
    match reboot(RebootMode::RB_AUTOBOOT) {
        Err(e) => Err(failed("the restart", &e.to_string(), &done)),
        Ok(never) => Ok(never),
    }
}

/// The page, for as long as somebody may object.
fn announce(consoles: &mut Consoles, certificates: &str) {
    let began = Instant::now();
    // Each part of a long page stands that long.
    let parts = u32::try_from(page(certificates, 0).render().len()).unwrap_or(1);
    let left = || (TIME_TO_OBJECT * parts).saturating_sub(began.elapsed()).as_secs();
    consoles.show_until(|| page(certificates, left()), || left() == 0);
}

fn page(certificates: &str, seconds: u64) -> Page {
    let notice = Diagnostic {
        code: "BP-B013".into(),
        what: format!("In {seconds} s this machine's firmware will be given the Secure Boot keys of this image."),
        place: None,
        why: format!(
            "It is in setup mode: it has no platform key, and starts whatever it finds. From then on it starts only \
             what is signed under:\n{certificates}"
        ),
        mend: "If that is not wanted, or these are not your keys: switch the machine off now.".into(),
    };
    let next = "The machine then starts again, with Secure Boot on.".into();
    Page { next, ..super::page(Title::Waiting, vec![notice]) }
}

/// One line for each certificate, its SHA-256 below it.
fn certificates(writes: &[(&str, uuid::Uuid, Vec<u8>)], names: &str) -> Result<String, String> {
    let names: BTreeMap<&str, &str> = names.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut lines = Vec::new();
    for (variable, _, bytes) in writes {
        let value = value_of_signed_write(bytes).map_err(|e| format!("{variable}: {e}"))?;
        for entry in entries(value).map_err(|e| format!("{variable}: {e}"))? {
            let Trusted::Certificate(der) = entry.trusted else { continue };
            let digest: String = Sha256::digest(&der).iter().map(|b| format!("{b:02x}")).collect();
            let name = names.get(digest.as_str()).copied().unwrap_or("a certificate without a name");
            lines.push(format!("  {variable}: {name}\n      {digest}"));
        }
    }
    Ok(lines.join("\n"))
}

fn failed(what: &str, why: &str, done: &[&str]) -> Diagnostic {
    let done = match done {
        [] => "Nothing was written".to_owned(),
        done => format!("Written before: {}", done.join(", ")),
    };
    refuse(
        "BP-B012",
        "The firmware did not take the Secure Boot keys of this image.",
        &format!("{what}: {why}. {done}."),
        "Switch the machine off and on. If it comes to this again, enrol the files of the release's secure-boot \
         folder in the firmware's own menu.",
    )
}

/// A global variable of one byte that is 0 or 1.
fn flag(name: &str) -> Option<bool> {
    let bytes = fs::read(path(name, efi_vars::GLOBAL)).ok()?;
    // Four bytes of attributes come first.
    match bytes[..] {
        [_, _, _, _, value] => Some(value == 1),
        _ => None,
    }
}

fn path(name: &str, vendor: uuid::Uuid) -> String {
    format!("/sys/firmware/efi/efivars/{name}-{vendor}")
}

fn write(name: &str, vendor: uuid::Uuid, signed_write: &[u8]) -> io::Result<()> {
    let path = path(name, vendor);
    // Keys that the factory put there stay when only the platform key is taken out.
    match File::open(&path) {
        Ok(file) => make_mutable(&file)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    // In one piece: each write(2) is a value of its own.
    fs::write(path, [&ATTRIBUTES.to_le_bytes()[..], signed_write].concat())
}

#[allow(unsafe_code, reason = "an ioctl without a safe wrapper")]
fn make_mutable(file: &File) -> io::Result<()> {
    let get = nix::request_code_read!(b'f', 1, size_of::<nix::libc::c_long>());
    let set = nix::request_code_write!(b'f', 2, size_of::<nix::libc::c_long>());
    let mut flags: nix::libc::c_long = 0;
    // SAFETY: the kernel writes at most a long to `flags`, which is alive and not shared during the call.
    nix::errno::Errno::result(unsafe { nix::libc::ioctl(file.as_raw_fd(), get, &raw mut flags) })?;
    flags &= !IMMUTABLE;
    // SAFETY: as above; this one reads it.
    nix::errno::Errno::result(unsafe { nix::libc::ioctl(file.as_raw_fd(), set, &raw const flags) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use on_disk::efi_keys::{signature_list, signed_write};
    use uuid::Uuid;

    #[test]
    fn the_page_names_every_certificate_and_the_time_that_is_left() {
        let write = |variable, certificates: &[&[u8]]| {
            let lists: Vec<u8> = certificates.iter().flat_map(|der| signature_list(Uuid::nil(), der)).collect();
            (variable, Uuid::nil(), signed_write(efi_vars::Time::default(), b"PKCS7", &lists))
        };
        let writes = [write("db", &[b"own", b"vendor"]), write("KEK", &[b"kek"]), write("PK", &[b"pk"])];
        let digest = |der: &[u8]| -> String { Sha256::digest(der).iter().map(|b| format!("{b:02x}")).collect() };
        let names = format!("{} CN=ours\n{} CN=Vendor UEFI CA\n", digest(b"own"), digest(b"vendor"));
        let page = page(&certificates(&writes, &names).unwrap(), 30).render();
        assert_eq!(page.len(), 1);
        let text = page[0][1..].join("\n");
        for der in [&b"own"[..], b"vendor", b"kek", b"pk"] {
            assert!(text.contains(&digest(der)), "{text}");
        }
        for words in
            ["In 30 s", "db: CN=ours", "db: CN=Vendor UEFI CA", "KEK: a certificate without a name", "switch the"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn keys_that_are_none_are_refused_before_the_first_write() {
        let error = certificates(&[("db", Uuid::nil(), b"no keys".to_vec())], "").unwrap_err();
        assert_eq!(error, "db: a signed write is cut off");
    }
}
