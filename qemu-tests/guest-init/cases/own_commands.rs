//! Cases of disks that erase themselves by commands that QEMU's disks don't have, on drives of this program's own.

use super::erasing::{layers, on_each, permit, signed};
use super::{codes, run_watched, run_with, stop_all};
use crate::drive::{Drive, Make, Speaks};
use firstboot::permits::{self, Permits};
use machine_config::permit::{Method, Permit};
use qemu_tests::fault::foreign::Foreign;
use std::fs;
use storage_plan::Verdict;

/// ATA: the security commands with enhanced erase, and the sanitize commands but overwrite.
const ATA: &[(usize, u16)] = &[(82, 0b10), (128, 0b10_0001), (89, 2), (90, 1), (59, 0xb000)];
/// SCSI: overwrite and cryptographic erase.
const SCSI: &[u8] = &[1, 3];
/// ATA without any of that.
const BARE: &[(usize, u16)] = &[(82, 1)];

/// Plugs in a drive with ext4 on it.
fn plug(serial: &'static str, speaks: Speaks) -> Drive {
    stop_all();
    let drive = Drive::plug(Make { serial, speaks }, &Foreign::Ext4.bytes(Drive::size() as u64));
    assert_eq!(layers(serial), ["ext4 3f2a6c1e"]);
    drive
}

/// Runs the storage unit with a permit for the drive; gives why it was refused, if it was.
fn run(serial: &str, permits: &[Permit]) -> Option<String> {
    let given = if permits.is_empty() { Permits::default() } else { signed(permits) };
    let (outcome, steps) = run_with(&on_each(&[serial]), given);
    assert_eq!(steps.iter().filter(|s| s.starts_with("erase ")).count(), 1, "{steps:?}");
    let volume = outcome.volumes.iter().find(|v| v.volume.ends_with(serial)).unwrap();
    if codes(&outcome).is_empty() {
        assert!(volume.verdict == Verdict::Create && volume.available, "{volume:?}");
        return None;
    }
    assert_eq!(codes(&outcome), ["BP-S041"]);
    assert!(!volume.available, "{volume:?}");
    Some(outcome.refusals[0].what.clone())
}

/// Has it erased by a permit of this method, and sees that this is what it was told, and that nothing is left.
fn erased(drive: Drive, serial: &str, method: Method, told: &[&str]) {
    let permit = permit(serial, layers(serial), method);
    assert!(drive.state().old() > 0);
    assert_eq!(run(serial, std::slice::from_ref(&permit)), None);
    let record = fs::read(format!("/var/lib/bedplate/permits/{}.json", permit.id)).unwrap();
    let record: permits::Record = serde_json::from_slice(&record).unwrap();
    assert!(record.ended.is_some() && record.method == method, "{record:?}");
    // Made once.
    let (outcome, _) = run_watched(&on_each(&[serial]));
    assert_eq!((codes(&outcome), outcome.writes), (Vec::new(), 0));
    stop_all();
    let state = drive.state();
    assert_eq!(
        (state.told.as_slice(), state.password),
        (told.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>().as_slice(), None)
    );
    assert_eq!(state.old(), 0, "sectors of the former owner are there");
    drop(state);
    drive.pull();
}

/// Is refused by a permit of this method, for a reason that has this word, and not written to.
fn refused(drive: &Drive, serial: &str, method: Method, word: &str) {
    let why = run(serial, &[permit(serial, layers(serial), method)]).unwrap();
    assert!(why.contains(word), "{why}");
    let state = drive.state();
    assert!(state.writes == 0 && state.told.is_empty(), "{} writes, {:?}", state.writes, state.told);
}

const SECURITY: [&str; 3] = ["SECURITY SET PASSWORD", "SECURITY ERASE PREPARE", "SECURITY ERASE UNIT, enhanced"];

pub(super) fn an_ata_disk_erases_itself() {
    erased(plug("T1", Speaks::Ata(ATA)), "T1", Method::SecureErase, &SECURITY);

    let drive = plug("T2", Speaks::Ata(ATA));
    drive.state().frozen = true;
    refused(&drive, "T2", Method::SecureErase, "frozen");
    // Plugged in anew it is not frozen, and has a password that nobody here has set.
    drive.state().frozen = false;
    drive.state().password = Some([b'x'; 32]);
    refused(&drive, "T2", Method::SecureErase, "a password is set");
    drive.pull();
}

/// The note is there, the password is not, and the next run goes on.
pub(super) fn an_ata_disk_that_fails_is_left_without_a_password() {
    let drive = plug("T3", Speaks::Ata(ATA));
    drive.state().broken = true;
    let why = run("T3", &[permit("T3", layers("T3"), Method::SecureErase)]).unwrap();
    assert!(why.contains("SECURITY ERASE UNIT failed"), "{why}");
    let left = ["SECURITY SET PASSWORD", "SECURITY ERASE PREPARE", "SECURITY DISABLE PASSWORD"];
    let mut state = drive.state();
    assert_eq!((state.told.as_slice(), state.password), (&left.map(str::to_owned)[..], None));
    assert!(state.old() > 0);
    // As a run leaves it that ends between the password and the erasing: the note tells that the password is ours.
    let mut password = [0; 32];
    password[..25].copy_from_slice(b"bedplate-erases-this-disk");
    (state.password, state.broken) = (Some(password), false);
    state.told.clear();
    drop(state);
    assert_eq!(run("T3", &[]), None);
    stop_all();
    let state = drive.state();
    assert_eq!(
        (state.told.as_slice(), state.password, state.old()),
        (&SECURITY[1..].iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()[..], None, 0)
    );
    drop(state);
    drive.pull();
}

pub(super) fn disks_are_sanitized() {
    erased(plug("T4", Speaks::Ata(ATA)), "T4", Method::Sanitize, &["BLOCK ERASE EXT 0"]);
    erased(plug("T5", Speaks::Ata(ATA)), "T5", Method::CryptoErase, &["CRYPTO SCRAMBLE EXT 0"]);
    erased(plug("T6", Speaks::Scsi(SCSI)), "T6", Method::Sanitize, &["SANITIZE 1 by [1, 0, 0, 4, 0, 0, 0, 0]"]);
    erased(plug("T7", Speaks::Scsi(SCSI)), "T7", Method::CryptoErase, &["SANITIZE 3"]);
}

pub(super) fn what_a_disk_can_not_do_is_refused() {
    let drive = plug("T8", Speaks::Ata(BARE));
    refused(&drive, "T8", Method::SecureErase, "no security commands");
    refused(&drive, "T8", Method::Sanitize, "no sanitize commands");
    drive.pull();
    let drive = plug("T9", Speaks::Scsi(&[]));
    refused(&drive, "T9", Method::SecureErase, "SCSI disk");
    refused(&drive, "T9", Method::CryptoErase, "does not say");
    drive.pull();
}
