//! Cases of disks that erase themselves by commands that QEMU's disks don't have, on drives of this program's own.

use super::erasing::{layers, note, on_each, permit, signed};
use super::{codes, run_watched, run_with, stop_all};
use crate::drive::{Drive, Make, Speaks};
use crate::lay;
use firstboot::permits::{self, Permits};
use machine_config::permit::{LOCKED, Method, Permit};
use qemu_tests::fault::foreign::Foreign;
use std::fs;
use storage_plan::Verdict;

/// ATA: the security commands with enhanced erase, and the sanitize commands but overwrite.
const ATA: &[(usize, u16)] = &[(82, 0b10), (128, 0b10_0001), (89, 2), (90, 1), (59, 0xb000)];
/// SCSI: overwrite and cryptographic erase.
const SCSI: &[u8] = &[1, 3];
/// What stands on the label of a drive that speaks TCG.
const PSID: &str = "0A1B2C3D4E5F6G7H8I9JKLMNOPQRSTUV";
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
    erased_by(drive, &permit(serial, layers(serial), method), told);
}

fn erased_by(drive: Drive, permit: &Permit, told: &[&str]) {
    let serial = &permit.device;
    assert!(drive.state().old() > 0);
    assert_eq!(run(serial, std::slice::from_ref(permit)), None);
    let text = fs::read_to_string(format!("/var/lib/bedplate/permits/{}.json", permit.id)).unwrap();
    let record: permits::Record = serde_json::from_str(&text).unwrap();
    assert!(record.ended.is_some() && record.method == permit.method && !text.contains(PSID), "{record:?}");
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
    refused_by(drive, &permit(serial, layers(serial), method), word);
}

fn refused_by(drive: &Drive, permit: &Permit, word: &str) {
    let before = drive.state().bytes.clone();
    let why = run(&permit.device, std::slice::from_ref(permit)).unwrap();
    assert!(why.contains(word) && !why.contains(PSID), "{why}");
    let state = drive.state();
    assert!(state.writes == 0 && state.told.is_empty(), "{} writes, {:?}", state.writes, state.told);
    assert!(state.bytes == before, "what is stored has changed");
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

/// Plugs in a drive that speaks TCG and whose locking somebody has turned on.
fn plug_opal(serial: &'static str) -> Drive {
    let drive = plug(serial, Speaks::Opal(PSID));
    drive.state().tcg.locking = true;
    drive
}

fn by_psid(serial: &str, psid: &str) -> Permit {
    Permit { psid: Some(psid.parse().unwrap()), ..permit(serial, layers(serial), Method::PsidRevert) }
}

pub(super) fn an_opal_drive_is_reverted_by_its_psid() {
    let drive = plug_opal("U1");
    let wrong = by_psid("U1", &PSID.replace('0', "1"));
    refused_by(&drive, &wrong, "not that of this drive");
    assert_eq!(drive.state().tcg.wrong, 1);
    assert!(!fs::exists(format!("/var/lib/bedplate/permits/{}.json", wrong.id)).unwrap(), "nothing was begun");
    erased_by(drive, &by_psid("U1", PSID), &["Revert"]);

    let drive = plug_opal("U2");
    drive.state().tcg.wrong = 3;
    refused_by(&drive, &by_psid("U2", PSID), "too often");
    drive.pull();
}

/// Nobody knows what is on it, or its password.
pub(super) fn a_locked_drive_is_reverted() {
    let drive = plug_opal("U3");
    drive.state().tcg.locked = true;
    lay::forget("U3");
    assert_eq!(layers("U3"), [LOCKED]);
    let wrong = by_psid("U3", &PSID.replace('0', "1"));
    refused_by(&drive, &wrong, "not that of this drive");
    erased_by(drive, &by_psid("U3", PSID), &["Revert"]);
}

pub(super) fn a_drive_that_would_not_be_erased_is_not_reverted() {
    let drive = plug("U4", Speaks::Scsi(SCSI));
    refused_by(&drive, &by_psid("U4", PSID), "does not speak TCG");
    drive.pull();
    let drive = plug("U5", Speaks::Opal(PSID));
    refused_by(&drive, &by_psid("U5", PSID), "never turned on");
    // One that fails keeps what is stored, has no note, and is left without a session.
    drive.state().tcg.locking = true;
    drive.state().broken = true;
    refused_by(&drive, &by_psid("U5", PSID), "Revert failed");
    drive.state().broken = false;
    erased_by(drive, &by_psid("U5", PSID), &["Revert"]);
}

/// The power went behind the revert: before the note was there, and with it.
pub(super) fn a_drive_that_was_reverted_is_gone_on_with_by_its_note() {
    let drive = plug_opal("U6");
    let (config, permit) = (on_each(&["U6"]), by_psid("U6", PSID));
    let note = note(&config, permit.clone());
    drive.state().tcg.locking = false;
    drive.state().erase();
    lay::forget("U6");
    let (outcome, _) = run_with(&config, signed(&[permit]));
    assert_eq!((codes(&outcome), outcome.writes, drive.state().writes), (vec!["BP-S015"], 0, 0));
    lay::write("U6", 0, &note);
    assert_eq!(run("U6", &[]), None, "the PSID is not at hand");
    stop_all();
    let state = drive.state();
    assert!(state.told.is_empty() && state.tcg.wrong == 0, "{:?}", state.told);
    drop(state);
    drive.pull();
}
