//! Encrypted volumes: what is stored is not on the disks for anybody to read, and the right passphrase alone opens it.

use super::{boot, clear, codes, passphrase, run, run_by, run_watched, stop_all, striped, wait_for_syncs};
use crate::{lay, tool};
use firstboot::observe;
use firstboot::permits::Permits;
use firstboot::secrets::Secrets;
use firstboot::storage::{Status, StorageOutcome};
use machine_config::schema::{Content, Each, Encrypt, Format, Level, MachineConfig, Passphrase};
use qemu_tests::guest::config::config;
use qemu_tests::guest::disks::STRIPED;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use storage_plan::Verdict;

const DB: &str = "/var/lib/volumes/db";
const DISK: &str = "/var/lib/volumes/R3";
const RAW: &str = "/dev/bedplate/blocks/R4";
/// What is stored on each, and looked for on the disks.
const SECRET: &[u8] = b"what nobody may read who has but the disks";

/// A mirror of the first two disks with ext4, the same on the third, and the fourth raw; all encrypted.
fn wanted() -> MachineConfig {
    let encrypt = Some(Encrypt::Passphrase);
    let mut wanted = striped(Level::Raid1, 2, 0);
    let db = wanted.storage.array.get_mut("striped").unwrap().volume.get_mut("db").unwrap();
    db.encrypt = encrypt;
    let each = config(&STRIPED[2..3], &[], Format::Ext4).storage.each.remove("object").unwrap();
    let blocks = config(&STRIPED[3..], &[], Format::Ext4).storage.each.remove("object").unwrap();
    let all = &mut wanted.storage.each;
    all.insert("vault".into(), Each { encrypt, ..each });
    all.insert("blocks".into(), Each { encrypt, format: Some(Content::Raw), mount: None, ..blocks });
    wanted
}

fn is_whole(outcome: &StorageOutcome, verdict: Verdict) {
    assert_eq!((outcome.status, codes(outcome)), (Status::Ready, Vec::<&str>::new()));
    for at in [DB, DISK, RAW] {
        let volume = outcome.volumes.iter().find(|v| v.mount == at).unwrap();
        assert!(volume.available && volume.encrypted && volume.verdict == verdict, "{volume:?}");
    }
    assert_eq!(observe::opened().unwrap().len(), 3);
}

fn restart() {
    stop_all();
    STRIPED.into_iter().for_each(lay::read_anew);
}

/// Whether the secret is somewhere on one of the disks.
fn is_on_a_disk() -> bool {
    let holds = |serial: &str| {
        let bytes = fs::read(lay::node(serial)).unwrap();
        bytes.windows(SECRET.len()).any(|window| window == SECRET)
    };
    STRIPED.into_iter().any(holds)
}

fn store() {
    for at in [DB, DISK] {
        fs::write(format!("{at}/secret"), SECRET).unwrap();
    }
    let raw = OpenOptions::new().write(true).open(RAW).unwrap();
    raw.write_all_at(SECRET, 0).unwrap();
    raw.sync_all().unwrap();
}

fn is_stored() {
    for at in [DB, DISK] {
        assert_eq!(fs::read(format!("{at}/secret")).unwrap(), SECRET, "{at}");
    }
    let mut bytes = vec![0; SECRET.len()];
    fs::File::open(RAW).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, SECRET);
}

pub(super) fn encrypted_volumes_are_made_and_opened() {
    stop_all();
    STRIPED.into_iter().for_each(clear);
    let config = wanted();
    is_whole(&run(&config), Verdict::Create);
    store();
    wait_for_syncs(2);
    is_whole(&run(&config), Verdict::Keep);

    restart();
    assert!(!is_on_a_disk(), "what is encrypted can be read on a disk");
    let (outcome, steps) = run_watched(&config);
    is_whole(&outcome, Verdict::Keep);
    assert_eq!(outcome.writes, 0, "{steps:#?}");
    is_stored();

    // With another passphrase nothing is opened, nothing is written, and it is said why.
    restart();
    let before: Vec<u64> = STRIPED.into_iter().map(lay::writes).collect();
    let other = Passphrase::new("of another guest altogether");
    let with_other = Secrets { passphrase: Some(other.clone()), ..Secrets::default() };
    let (outcome, _) = run_by(&boot(), &config, Permits::default(), &with_other);
    assert_eq!((outcome.status, codes(&outcome)), (Status::Stopped, vec!["BP-S041"; 3]));
    for refusal in &outcome.refusals {
        assert!(refusal.what.contains("does not open it; it was made with another"), "{refusal}");
    }
    assert!(observe::opened().unwrap().is_empty());
    // An array that starts notes so on its members; the others are as they were.
    let after: Vec<u64> = STRIPED.into_iter().map(lay::writes).collect();
    assert_eq!(after[2..], before[2..]);

    restart();
    is_whole(&run(&config), Verdict::Keep);
    is_stored();

    // It is an ordinary LUKS2 volume: the passphrase opens it without Bedplate, and one that was added opens it here.
    let node = format!("/dev/{}1", lay::name(STRIPED[2]));
    fs::write("/run/old", passphrase().bytes()).unwrap();
    fs::write("/run/new", other.bytes()).unwrap();
    tool("/usr/sbin/cryptsetup", &["open", "--test-passphrase", "--key-file", "/run/old", &node]);
    let cheap = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    tool(
        "/usr/sbin/cryptsetup",
        &[&["luksAddKey", "--key-file", "/run/old"], &cheap[..], &[&node, "/run/new"]].concat(),
    );
    stop_all();
    let mut only = config.clone();
    only.storage.array.clear();
    only.storage.each.remove("blocks");
    let (outcome, _) = run_by(&boot(), &only, Permits::default(), &with_other);
    assert_eq!((outcome.status, codes(&outcome)), (Status::Ready, Vec::<&str>::new()));
    assert_eq!(fs::read(format!("{DISK}/secret")).unwrap(), SECRET);
}
