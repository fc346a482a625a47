//! Volumes that the TPM opens: under releases that the same key signed, as long as nothing else of the machine changed.

use super::{boot, clear, codes, run_by, stop_all};
use crate::lay;
use firstboot::boot_record::BootRecord;
use firstboot::permits::Permits;
use firstboot::secrets::{POLICY, POLICY_KEY, Secrets, TPM};
use firstboot::storage::{Status, StorageOutcome};
use machine_config::schema::{Each, Encrypt, Format, MachineConfig, Passphrase};
use qemu_tests::guest::config::config;
use qemu_tests::guest::disks::STRIPED;
use qemu_tests::guest::policies::{FIRST, FOLDER, FORGED, KEY, MEASURED, SECOND};
use sha2::{Digest, Sha256};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use storage_plan::Verdict;

const FILE: &str = "/var/lib/volumes/R1/secret";

fn wanted() -> MachineConfig {
    let mut config = config(&STRIPED[..1], &[], Format::Ext4);
    let each = config.storage.each.remove("object").unwrap();
    config.storage.each.insert("sealed".into(), Each { encrypt: Some(Encrypt::Tpm), ..each });
    config
}

/// As the firmware leaves it that checks what it starts.
fn checked() -> BootRecord {
    BootRecord { secure_boot: Some(true), ..boot() }
}

/// One start of the node under the release whose policy is installed; with the recovery key, where it is plugged in.
fn start(with_recovery: bool) -> StorageOutcome {
    stop_all();
    STRIPED.into_iter().for_each(lay::read_anew);
    let recovery = with_recovery.then(|| Passphrase::new("of the drawer, and of no machine"));
    let secrets = Secrets::gather(Some(&checked()), &wanted().name, None, recovery);
    run_by(&checked(), &wanted(), Permits::default(), &secrets).0
}

fn install(policy: &str) {
    fs::create_dir_all("/run/systemd").unwrap();
    fs::copy(format!("{FOLDER}/{policy}"), POLICY).unwrap();
    fs::copy(format!("{FOLDER}/{KEY}"), POLICY_KEY).unwrap();
}

fn verdict(outcome: &StorageOutcome) -> Verdict {
    outcome.volumes.iter().find(|v| v.volume == "sealed/R1").unwrap().verdict
}

fn opens(outcome: &StorageOutcome) {
    assert_eq!((outcome.status, codes(outcome), verdict(outcome)), (Status::Ready, vec![], Verdict::Keep));
    assert_eq!(fs::read(FILE).unwrap(), b"kept");
}

/// It stops, says why, and writes nothing.
fn does_not_open(context: &str) {
    stop_all();
    let before = lay::writes(STRIPED[0]);
    let outcome = start(false);
    assert_eq!((outcome.status, codes(&outcome)), (Status::Stopped, vec!["BP-S041"]), "{context}");
    let said = &outcome.refusals[0];
    assert!(said.what.contains("the TPM does not open it") && said.what.contains("n1.recovery"), "{context}: {said}");
    assert_eq!(lay::writes(STRIPED[0]), before, "{context}: something was written");
}

/// What the TPM answers to a command with the password session that is empty (TPM 2.0, part 1, 18.4; part 3, 5.2).
fn tpm(code: u32, handle: u32, parameters: &[u8]) {
    const WITH_SESSIONS: u16 = 0x8002;
    const PASSWORD: u32 = 0x4000_0009;
    let session = [&PASSWORD.to_be_bytes()[..], &[0; 5]].concat();
    let mut body = [handle.to_be_bytes(), u32::try_from(session.len()).unwrap().to_be_bytes()].concat();
    body.extend(session);
    body.extend(parameters);
    let size = u32::try_from(10 + body.len()).unwrap();
    let head = [&WITH_SESSIONS.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes()].concat();
    let mut device = OpenOptions::new().read(true).write(true).open(TPM).unwrap();
    device.write_all(&[head, body].concat()).unwrap();
    let mut answer = [0; 256];
    let length = device.read(&mut answer).unwrap();
    assert!(length >= 10 && answer[6..10] == [0; 4], "the TPM says {:?}", &answer[..length]);
}

/// `TPM2_PCR_Extend` (part 3, 22.2), of the bank SHA-256.
fn extend(pcr: u32, measured: &[u8]) {
    let digests = [&1u32.to_be_bytes()[..], &0x000bu16.to_be_bytes(), &Sha256::digest(measured)].concat();
    tpm(0x0182, pcr, &digests);
}

/// `TPM2_Clear` (part 3, 24.6), as a firmware's menu does it.
fn clear_tpm() {
    const LOCKOUT: u32 = 0x4000_000a;
    tpm(0x0126, LOCKOUT, &[]);
}

pub(super) fn the_tpm_opens_what_it_should() {
    stop_all();
    STRIPED.into_iter().for_each(clear);
    let before = lay::writes(STRIPED[0]);
    assert_eq!(codes(&start(true)), ["BP-S026"], "there is no signed policy");
    install(FIRST);
    assert_eq!(codes(&start(false)), ["BP-S024"], "there is no recovery key");
    assert_eq!(lay::writes(STRIPED[0]), before);

    let made = start(true);
    assert_eq!((made.status, codes(&made), verdict(&made)), (Status::Ready, vec![], Verdict::Create));
    fs::write(FILE, "kept").unwrap();
    let opened = start(false);
    opens(&opened);
    assert_eq!(opened.writes, 0);

    // Another release is measured into PCR 11: only who signed the first can sign what opens under it.
    extend(11, MEASURED);
    does_not_open("a release that nobody signed");
    install(FORGED);
    does_not_open("a release that somebody else signed");
    install(SECOND);
    opens(&start(false));

    // The firmware's keys change, and then there is another TPM, as far as that can be told.
    extend(7, b"other keys");
    does_not_open("with other keys in the firmware");
    clear_tpm();
    does_not_open("with a TPM that was cleared");
    opens(&start(true));
    opens(&start(false));
}
