//! A disk and an array for tests of what is decided on them.

use on_disk::gpt::{Copy, Found, ProtectiveMbr};
use storage_plan::inventory::{Device, Partition, Rest, RunningArray, Slot, Uses};

/// The bay of this number.
pub(crate) fn slot(bay: &str) -> Slot {
    Slot { enclosure: "0:0:32:0".into(), bay: bay.into() }
}

/// A disk in this bay, with one partition.
pub(crate) fn disk(name: &str, serial: &str, bay: &str) -> Device {
    let partition = Partition {
        number: 1,
        name: format!("{name}1"),
        start: 1 << 20,
        size: 1 << 30,
        signatures: Vec::new(),
        md: None,
        uses: Uses::default(),
    };
    Device {
        name: name.into(),
        number: "8:0".into(),
        sysfs: format!("/sys/devices/{name}"),
        serial: Some(serial.into()),
        namespace: None,
        wwn: None,
        model: Some("ST12000NM0127".into()),
        by_path: Vec::new(),
        slot: Some(slot(bay)),
        size: 2 << 30,
        logical_sector: 512,
        physical_sector: 4096,
        rotational: true,
        transport: None,
        removable: false,
        read_only: false,
        locked: false,
        signatures: Vec::new(),
        table: Found { mbr: ProtectiveMbr::Absent, primary: Copy::Absent, backup: Copy::Absent, backup_at_end: true },
        ends: Vec::new(),
        rest: Rest::NotProbed,
        free_tail: Rest::NotProbed,
        partitions: vec![partition],
        uses: Uses::default(),
    }
}

/// An array that runs on these partitions.
pub(crate) fn array(name: &str, level: &str, members: &[&str], failed: &[&str]) -> RunningArray {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    RunningArray {
        name: name.into(),
        uuid: None,
        level: level.into(),
        members: owned(members),
        spares: Vec::new(),
        failed: owned(failed),
        journaled: false,
        journal: None,
        wanted: 2,
        sync_action: "idle".into(),
        sync_progress: None,
        read_only: false,
        size: 0,
        filled: None,
        mismatches: 0,
        signatures: Vec::new(),
        uses: Uses::default(),
    }
}
