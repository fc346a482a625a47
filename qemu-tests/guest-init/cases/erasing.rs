//! Cases of disks that a permit gives leave to erase.

use super::{STATE, boot, codes, full, run_watched, run_with, stop_all, witness};
use crate::lay;
use firstboot::config::Found;
use firstboot::observe;
use firstboot::permits::{self, Permits};
use firstboot::storage::Status;
use machine_config::permit::{Leave, Method, Permit};
use machine_config::schema::{Format, MachineConfig};
use machine_config::signature::PrivateKey;
use machine_config::utc::{DAY, Utc};
use qemu_tests::fault::foreign::Foreign;
use qemu_tests::guest::config::config;
use qemu_tests::guest::disks;
use std::fs;
use std::sync::Mutex;
use storage_plan::Verdict;

/// A file system on each of these disks, of a name that no volume of [`full`] has: those would be kept, too.
pub(super) fn on_each(serials: &[&str]) -> MachineConfig {
    let mut config = config(serials, &[], Format::Ext4);
    let each = config.storage.each.remove("object").unwrap();
    config.storage.each.insert("given".into(), each);
    config
}

/// All that is on a disk, in the words of a permit.
pub(super) fn layers(serial: &str) -> Vec<String> {
    let inventory = observe::read(Some(&boot())).unwrap();
    let device = inventory.devices.iter().find(|d| d.serial.as_deref() == Some(serial)).unwrap();
    storage_plan::erase::layers(device).unwrap()
}

/// A permit for a disk and these layers, good for a day.
pub(super) fn permit(serial: &str, expect: Vec<String>, method: Method) -> Permit {
    let now = permits::now();
    Permit {
        permit: machine_config::permit::FORMAT,
        action: Leave::Erase,
        id: uuid::Uuid::new_v5(&uuid::Uuid::nil(), format!("{serial} {expect:?} {method:?}").as_bytes()),
        cluster: full().cluster.id,
        machine: full().name,
        device: serial.into(),
        expect,
        method,
        psid: None,
        issued: now,
        expires: now.after(DAY),
    }
}

/// What the node makes of these permits, signed with its key.
pub(super) fn signed(permits: &[Permit]) -> Permits {
    let key = PrivateKey::from_seed(&[7; 32], "config").unwrap();
    let text = |permit: &Permit| permit.sign(&key).unwrap().into_bytes();
    let found: Vec<Found> = permits.iter().map(|p| Found { source: "a stick".into(), bytes: text(p) }).collect();
    permits::open(&found, &[key.public()], permits::now(), &full())
}

/// That its every byte is kept is for the host to see.
pub(super) fn a_permit_that_does_not_fit() {
    stop_all();
    let serial = disks::serial(Foreign::Ext4);
    let config = on_each(&[&serial]);
    let fits = permit(&serial, layers(&serial), Method::Wipe);
    assert_eq!(fits.expect, ["ext4 3f2a6c1e"]);
    let other = |change: fn(&mut Permit)| {
        let mut permit = fits.clone();
        change(&mut permit);
        permit
    };
    let permits = [
        other(|p| p.expect = vec!["ext4 3f2a6c1f".into()]),
        other(|p| p.expect.push("unknown data".into())),
        other(|p| p.device = disks::LONE.into()),
        other(|p| p.machine = "n2".into()),
        other(|p| p.cluster = uuid::Uuid::from_u128(8)),
        other(|p| (p.issued, p.expires) = (Utc(p.issued.0 - 2 * DAY), Utc(p.expires.0 - 2 * DAY))),
    ];
    let (outcome, steps) = run_with(&config, signed(&permits));
    assert_eq!((outcome.status, outcome.writes, steps), (Status::Stopped, 0, Vec::new()));
    assert_eq!(codes(&outcome), ["BP-S014", "BP-C086"]);
    let refusal = &outcome.refusals[0];
    assert_eq!(refusal.why.matches("does nothing").count(), 2, "{refusal}");
    let command = format!("bedplate permit erase n1 {serial} --expect \"ext4 3f2a6c1e\"");
    assert!(refusal.mend.contains(&command), "{refusal}");
}

const FREED: [&str; 2] = [disks::FREED[0].0, disks::FREED[1].0];
/// The first of them as it was, and the permit that it was erased by.
static FORMER: Mutex<Option<(Vec<u8>, Permit)>> = Mutex::new(None);

pub(super) fn a_permit_that_fits_frees_the_disk() {
    let config = on_each(&FREED);
    let by = [(FREED[0], Method::Wipe), (FREED[1], Method::Discard)];
    let permits = by.map(|(serial, method)| permit(serial, layers(serial), method));
    assert_eq!(permits[1].expect.len(), 2, "{permits:?}");
    *FORMER.lock().unwrap() = Some((fs::read(lay::node(FREED[0])).unwrap(), permits[0].clone()));
    let (outcome, steps) = run_with(&config, signed(&permits));
    assert_eq!((codes(&outcome), steps.iter().filter(|s| s.starts_with("erase ")).count()), (Vec::new(), 2));
    let mut volumes = outcome.volumes.iter().filter(|v| v.volume != STATE);
    assert!(volumes.all(|v| v.verdict == Verdict::Create && v.available), "{:?}", outcome.volumes);
    for permit in &permits {
        let record = fs::read(format!("/var/lib/bedplate/permits/{}.json", permit.id)).unwrap();
        let record: permits::Record = serde_json::from_slice(&record).unwrap();
        assert!(record.ended.is_some() && record.held == permit.expect, "{record:?}");
        assert_eq!(record.signed_by.as_deref(), Some("config"));
        let at = format!("/var/lib/volumes/{}", permit.device);
        fs::write(witness(&at), &at).unwrap();
    }
    // They have nothing left of what was there but where the new file system has written.
    stop_all();
    for serial in FREED {
        let raw = fs::read(lay::node(serial)).unwrap();
        assert!(!raw.chunks(4096).any(|block| block == [0xd5; 4096]), "{serial} has data of the former owner");
    }
    let (outcome, _) = run_with(&config, signed(&permits));
    assert_eq!((codes(&outcome), outcome.writes), (Vec::new(), 0), "made once");
    for serial in FREED {
        let at = format!("/var/lib/volumes/{serial}");
        assert_eq!(fs::read_to_string(witness(&at)).unwrap(), at);
    }
}

/// What nothing looks at goes, too. A disk that has no command for that is not written to.
pub(super) fn a_disk_erases_itself() {
    const SERIAL: &str = disks::ERASES_ITSELF;
    stop_all();
    let size = lay::size(SERIAL);
    (0..size >> 20).for_each(|at| lay::write(SERIAL, (at << 20) + (512 << 10), &[0xd5; 512]));
    let left = || {
        lay::read_anew(SERIAL);
        fs::read(lay::node(SERIAL)).unwrap().chunks(512).filter(|sector| *sector == [0xd5; 512]).count()
    };
    assert!(left() as u64 >= size >> 20);
    let other = disks::serial(Foreign::Ext4);
    let before = fs::read(lay::node(&other)).unwrap();
    let refused = permit(&other, layers(&other), Method::SecureErase);
    let (outcome, _) = run_with(&on_each(&[&other]), signed(&[refused]));
    assert_eq!(codes(&outcome), ["BP-S041"]);
    let why = &outcome.refusals[0].what;
    assert!(why.contains("it is no NVMe, ATA or SCSI disk"), "{why}");
    assert!(fs::read(lay::node(&other)).unwrap() == before, "it was written to");

    // QEMU's disks speak no TCG.
    let psid = "0A1B2C3D4E5F6G7H8I9JKLMNOPQRSTUV".parse().unwrap();
    let refused = Permit { psid: Some(psid), ..permit(SERIAL, layers(SERIAL), Method::PsidRevert) };
    let (outcome, _) = run_with(&on_each(&[SERIAL]), signed(&[refused]));
    assert_eq!(codes(&outcome), ["BP-S041"]);
    let why = &outcome.refusals[0].what;
    assert!(why.contains("its controller has no security commands"), "{why}");

    let fits = permit(SERIAL, layers(SERIAL), Method::SecureErase);
    let (outcome, steps) = run_with(&on_each(&[SERIAL]), signed(std::slice::from_ref(&fits)));
    assert_eq!((codes(&outcome), steps.iter().filter(|s| s.starts_with("erase ")).count()), (Vec::new(), 1));
    let volume = outcome.volumes.iter().find(|v| v.volume.ends_with(SERIAL)).unwrap();
    assert!(volume.verdict == Verdict::Create && volume.available, "{volume:?}");
    let record = fs::read(format!("/var/lib/bedplate/permits/{}.json", fits.id)).unwrap();
    let record: permits::Record = serde_json::from_slice(&record).unwrap();
    assert!(record.ended.is_some() && record.held == fits.expect, "{record:?}");
    stop_all();
    assert_eq!(left(), 0, "sectors of the former owner are there");
}

pub(super) fn a_permit_is_used_once() {
    stop_all();
    let (former, permit) = FORMER.lock().unwrap().clone().unwrap();
    lay::write(FREED[0], 0, &former);
    lay::read_anew(FREED[0]);
    assert_eq!(layers(FREED[0]), permit.expect, "the very same is there again");
    let (outcome, steps) = run_with(&on_each(&[FREED[0]]), signed(&[permit]));
    assert_eq!((outcome.status, outcome.writes, steps), (Status::Stopped, 0, Vec::new()));
    assert_eq!(codes(&outcome), ["BP-S014", "BP-S043"]);
    assert!(fs::read(lay::node(FREED[0])).unwrap() == former, "it was written to");
}

/// What the first sector of a disk is while it is erased by this permit.
pub(super) fn note(config: &MachineConfig, permit: Permit) -> Vec<u8> {
    let mut inventory = observe::read(Some(&boot())).unwrap();
    inventory.permits = signed(&[permit]).granted;
    let plan = storage_plan::plan(&inventory, config);
    let note = plan.graph.steps.iter().find_map(|s| match &s.action {
        storage_plan::Action::Erase { erase, .. } => Some(erase.note.clone()),
        _ => None,
    });
    note.unwrap()
}

/// The note is on the disk and the superblock is gone; its data is still there.
pub(super) fn a_half_erased_disk_is_erased() {
    let serial = FREED[0];
    let config = on_each(&[serial]);
    lay::write(serial, 0, &note(&config, permit(serial, layers(serial), Method::WriteZeroes)));
    lay::write(serial, 1024, &[0; 1024]);
    lay::read_anew(serial);
    let (outcome, steps) = run_watched(&config);
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    assert!(steps.iter().any(|s| s.starts_with("erase ")), "{steps:?}");
    let volume = outcome.volumes.iter().find(|v| v.volume != STATE).unwrap();
    assert!(volume.verdict == Verdict::Create && volume.available, "{volume:?}");
    let (outcome, _) = run_watched(&config);
    assert_eq!((codes(&outcome), outcome.writes), (Vec::new(), 0));
}

pub(super) fn a_raised_generation_makes_anew_what_it_names() {
    let serial = FREED[0];
    let mut config = config(&disks::EACH, &[], Format::Ext4);
    let mut given = on_each(&[serial]).storage.each.remove("given").unwrap();
    given.mount = Some("/var/lib/volumes/given-{serial}".into());
    config.storage.each.insert("given".into(), given);
    stop_all();
    let (outcome, _) = run_watched(&config);
    assert_eq!((codes(&outcome), outcome.writes), (Vec::new(), 0));
    let at = |name: &str| witness(&format!("/var/lib/volumes/{name}"));
    let all = [&format!("given-{serial}"), disks::EACH[0], disks::EACH[1]];
    all.iter().for_each(|name| fs::write(at(name), "first").unwrap());
    stop_all();

    config.storage.each.get_mut("given").unwrap().generation = 1;
    let (outcome, _) = run_watched(&config);
    assert_eq!((outcome.status, codes(&outcome), outcome.writes), (Status::Stopped, vec!["BP-S014"], 0));
    let (outcome, steps) = run_with(&config, signed(&[permit(serial, layers(serial), Method::Wipe)]));
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    assert_eq!(steps.iter().filter(|s| s.starts_with("erase ")).count(), 1, "{steps:?}");
    for volume in &outcome.volumes {
        let anew = volume.volume.starts_with("given/");
        let wanted = if anew { Verdict::Create } else { Verdict::Keep };
        assert!(volume.available && volume.verdict == wanted, "{volume:?}");
    }
    assert_eq!(all.map(|name| fs::read_to_string(at(name)).ok()), [None, Some("first".into()), Some("first".into())]);
}
