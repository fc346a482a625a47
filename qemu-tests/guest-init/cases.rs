//! The storage cases, in the order in which they run; later ones build on what earlier ones left on the disks.

use crate::{lay, tool};
use firstboot::boot_record::{BootRecord, MachineIdSource};
use firstboot::observe;
use firstboot::storage::{self, Status, StorageOutcome};
use machine_config::schema::{
    Array, Cluster, Each, Format, Level, MachineConfig, Node, Selector, Storage, System, Time, Volume,
};
use std::collections::BTreeMap;
use std::fs;
use storage_plan::Verdict;

type Case = (&'static str, fn());

pub const ALL: [Case; 10] = [
    ("observe_reads_what_disks_are", observe_reads_what_disks_are),
    ("invariant_2_foreign_disks_are_refused_and_keep_every_byte", foreign_disks_are_refused_and_keep_every_byte),
    ("invariant_1_a_missing_disk_is_refused_by_name", a_missing_disk_is_refused_by_name),
    ("invariant_4_half_written_tables_are_finished", half_written_tables_are_finished),
    ("blank_disks_become_volumes", blank_disks_become_volumes),
    ("a_second_run_keeps_everything_and_writes_nothing", a_second_run_keeps_everything),
    ("a_restart_keeps_everything_and_the_files", a_restart_keeps_everything),
    ("invariant_4_a_volume_of_type_provisioning_is_made_anew", a_provisioning_volume_is_made_anew),
    ("a_damaged_table_is_repaired", a_damaged_table_is_repaired),
    ("invariant_8_a_mirror_without_one_disk_runs_and_is_said", a_mirror_without_one_disk_runs),
];

const FOREIGN: [(&str, &str, &str, &str); 5] = [
    ("F1", "ext4", "BP-S014", "ext4 \"backup-2019\""),
    ("F2", "luks", "BP-S014", "crypto_LUKS (3f2a6c1e)"),
    // Uberblocks alone, without the label's list of names: libblkid does not recognise them, the blank probe does.
    ("F3", "zfs", "BP-S015", "data without a signature"),
    ("F4", "md", "BP-S014", "linux_raid_member"),
    ("F5", "raw", "BP-S015", "data without a signature"),
];

fn boot() -> BootRecord {
    BootRecord {
        root_hash: String::new(),
        root_device: format!("{}2", lay::name("SYS")),
        root_partition: lay::ROOT,
        verity_device: format!("{}3", lay::name("SYS")),
        disk: lay::name("SYS"),
        started_from_disk: None,
        slot: Some("a".into()),
        machine_id: MachineIdSource::Random,
        warden: None,
        began: 0.0,
        ended: 0.0,
    }
}

fn serials(serials: &[&str]) -> Selector {
    Selector { serial: serials.iter().map(|s| (*s).to_owned()).collect(), ..Selector::default() }
}

fn config(object: &[&str], meta: &[&str]) -> MachineConfig {
    let each = Each {
        disks: serials(object),
        format: Format::Ext4,
        mount: "/var/lib/volumes/{serial}".into(),
        class: None,
        required: true,
        generation: 0,
    };
    let volume = Volume { format: Format::Xfs, mount: "/var/lib/volumes/db".into(), class: None, required: true };
    let volume = BTreeMap::from([("db".to_owned(), volume)]);
    let array = Array { level: Level::Raid1, disks: serials(meta), volume, generation: 0 };
    let some = |n: usize| n > 0;
    MachineConfig {
        name: "n1".into(),
        revision: 1,
        cluster: Cluster {
            id: uuid::Uuid::from_u128(7),
            name: "rack".into(),
            api: Vec::new(),
            domain: "cluster.local".into(),
            dns: Vec::new(),
            control_plane: Vec::new(),
        },
        network: BTreeMap::new(),
        address: BTreeMap::new(),
        storage: Storage {
            system: System::default(),
            each: some(object.len()).then(|| ("object".to_owned(), each)).into_iter().collect(),
            array: some(meta.len()).then(|| ("meta".to_owned(), array)).into_iter().collect(),
        },
        node: Node::default(),
        time: Time::default(),
    }
}

fn full() -> MachineConfig {
    config(&["B1", "B2"], &["A1", "A2"])
}

fn run(config: &MachineConfig) -> StorageOutcome {
    let began = std::time::Instant::now();
    let outcome = storage::run(config, Some(&boot()), &|p| println!("  {:6.2} {p:?}", began.elapsed().as_secs_f64()));
    println!("{}", outcome.table);
    for refusal in &outcome.refusals {
        println!("{refusal}");
    }
    outcome
}

fn codes(outcome: &StorageOutcome) -> Vec<&str> {
    outcome.refusals.iter().map(|r| r.code.as_str()).collect()
}

/// As a restart leaves it: nothing mounted, no array running.
fn stop() {
    for at in ["/var/lib/volumes/db", "/var/lib/volumes/B1", "/var/lib/volumes/B2", "/var"] {
        let _ = nix::mount::umount(at);
    }
    for array in observe::arrays().unwrap() {
        tool("/usr/sbin/mdadm", &["--stop", &format!("/dev/{}", array.name)]);
    }
}

fn observe_reads_what_disks_are() {
    lay::image("SYS");
    let inventory = observe::read(Some(&boot())).unwrap();
    let disk = inventory.devices.iter().find(|d| d.serial.as_deref() == Some("A1")).unwrap();
    assert_eq!((disk.size, disk.logical_sector), (lay::size("A1"), 512));
    assert_eq!(disk.transport, Some(machine_config::schema::Transport::Virtio));
    assert!(disk.rest.is_blank() && disk.ends.is_empty() && disk.signatures.is_empty(), "{disk:?}");
    let system = inventory.devices.iter().find(|d| d.serial.as_deref() == Some("SYS")).unwrap();
    assert_eq!(system.partitions.len(), 3);
    assert!(system.free_tail.is_blank() && !system.table.backup_at_end, "{:?}", system.free_tail);
}

fn foreign_disks_are_refused_and_keep_every_byte() {
    for (serial, what, ..) in FOREIGN {
        lay::foreign(serial, what);
    }
    let before: Vec<String> = FOREIGN.iter().map(|f| lay::digest(f.0)).collect();
    let blank = lay::digest("B1");
    for (serial, what, code, words) in FOREIGN {
        for config in [config(&["B1", serial], &[]), config(&[], &["A1", serial])] {
            let outcome = run(&config);
            assert_eq!(outcome.status, Status::Stopped, "{what}");
            assert_eq!(codes(&outcome), [code], "{what}");
            let text = outcome.refusals[0].to_string();
            assert!(text.contains(words) && text.contains(&format!("serial {serial}")), "{what}: {text}");
        }
    }
    let after: Vec<String> = FOREIGN.iter().map(|f| lay::digest(f.0)).collect();
    assert_eq!(before, after, "foreign bytes changed");
    assert_eq!(lay::digest("B1"), blank, "a blank disk beside a foreign one was written to");
    assert!(observe::mount_points().unwrap().iter().all(|m| !m.starts_with("/var")));
}

fn a_missing_disk_is_refused_by_name() {
    let outcome = run(&config(&["B1", "NOT-THERE"], &[]));
    assert_eq!((outcome.status, codes(&outcome)), (Status::Stopped, vec!["BP-S001"]));
    assert!(outcome.refusals[0].what.contains("NOT-THERE"));
}

/// The tables that the plan would write first, with just a part of their sectors on the disk.
fn half_written_tables_are_finished() {
    let inventory = observe::read(Some(&boot())).unwrap();
    let plan = storage_plan::plan(&inventory, &full());
    for step in &plan.graph.steps {
        let storage_plan::Action::WriteTable { disk, table, .. } = &step.action else { continue };
        let device = inventory.devices.iter().find(|d| d.name == *disk).unwrap();
        let keep = match device.serial.as_deref() {
            Some("B1") => 1,
            Some("B2") => 3,
            Some("A1") => 4,
            Some("SYS") => 2,
            _ => continue,
        };
        if table.partitions.iter().any(|p| p.kind == on_disk::gpt::kind::PROVISIONING) {
            for write in on_disk::gpt::layout(table, device.size).unwrap().into_iter().take(keep) {
                lay::write(device.serial.as_deref().unwrap(), write.offset, &write.bytes);
            }
        }
    }
    let plan = storage_plan::plan(&observe::read(Some(&boot())).unwrap(), &full());
    assert!(!plan.is_blocked(), "{:?}", plan.all_refusals());
    let made_anew = plan.volumes.iter().filter(|v| v.reasons.iter().any(|r| r.contains("interrupted"))).count();
    assert!(made_anew >= 3, "{}", storage_plan::explain::table(&plan));
}

fn blank_disks_become_volumes() {
    let outcome = run(&full());
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    assert_ne!(outcome.status, Status::Stopped);
    assert!(outcome.volumes.iter().all(|v| v.available && v.provisioned), "{:?}", outcome.volumes);
    let mirror = outcome.volumes.iter().find(|v| v.volume == "meta/db").unwrap();
    assert_eq!(mirror.level, Some(1));
    assert!(mirror.redundant || mirror.rebuilding.is_some(), "{mirror:?}");
    for at in ["/var", "/var/lib/volumes/db", "/var/lib/volumes/B1", "/var/lib/volumes/B2"] {
        fs::write(format!("{at}/written-before"), at).unwrap();
    }
}

fn kept(outcome: &StorageOutcome) {
    assert_eq!(codes(outcome), Vec::<&str>::new());
    assert!(outcome.volumes.iter().all(|v| v.verdict == Verdict::Keep && v.available), "{:?}", outcome.volumes);
    assert_eq!(outcome.writes, 0);
    for at in ["/var", "/var/lib/volumes/db", "/var/lib/volumes/B1", "/var/lib/volumes/B2"] {
        assert_eq!(fs::read_to_string(format!("{at}/written-before")).unwrap(), at);
    }
}

fn a_second_run_keeps_everything() {
    kept(&run(&full()));
}

fn a_restart_keeps_everything() {
    for _ in 0..2 {
        stop();
        kept(&run(&full()));
    }
}

fn retype(serial: &str, kind: uuid::Uuid) {
    let inventory = observe::read(Some(&boot())).unwrap();
    let device = inventory.devices.iter().find(|d| d.serial.as_deref() == Some(serial)).unwrap();
    let mut table = device.table.usable().unwrap().clone();
    table.partitions[0].kind = kind;
    for write in on_disk::gpt::layout(&table, device.size).unwrap() {
        lay::write(serial, write.offset, &write.bytes);
    }
}

fn a_provisioning_volume_is_made_anew() {
    stop();
    for serial in ["B2", "A1", "A2"] {
        retype(serial, on_disk::gpt::kind::PROVISIONING);
    }
    let outcome = run(&full());
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    assert!(outcome.volumes.iter().all(|v| v.available));
    assert!(!fs::exists("/var/lib/volumes/B2/written-before").unwrap());
    assert!(!fs::exists("/var/lib/volumes/db/written-before").unwrap());
    assert!(fs::exists("/var/lib/volumes/B1/written-before").unwrap(), "a finished volume was made anew");
    for at in ["/var/lib/volumes/db", "/var/lib/volumes/B2"] {
        fs::write(format!("{at}/written-before"), at).unwrap();
    }
}

fn a_damaged_table_is_repaired() {
    stop();
    lay::write("B1", 512, &[0; 512]);
    lay::write("SYS", lay::size("SYS") - 512, &[7; 512]);
    let outcome = run(&full());
    assert_eq!(codes(&outcome), Vec::<&str>::new());
    assert_eq!(outcome.volumes.iter().filter(|v| v.verdict == Verdict::Repair).count(), 2, "{:?}", outcome.volumes);
    assert_eq!(outcome.writes, 2);
    stop();
    kept(&run(&full()));
}

fn a_mirror_without_one_disk_runs() {
    stop();
    let device = fs::canonicalize(format!("/sys/block/{}/device", lay::name("A2"))).unwrap();
    fs::write(device.parent().unwrap().join("remove"), "1").unwrap();
    let outcome = run(&full());
    assert_eq!(outcome.status, Status::Degraded);
    let mirror = outcome.volumes.iter().find(|v| v.volume == "meta/db").unwrap();
    assert!(mirror.available && !mirror.redundant, "{mirror:?}");
    assert!(mirror.reasons.iter().any(|r| r.contains("1 of 2")));
    assert_eq!(fs::read_to_string("/var/lib/volumes/db/written-before").unwrap(), "/var/lib/volumes/db");
}
