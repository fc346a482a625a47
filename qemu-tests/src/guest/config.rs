//! Configurations of the test guest's machine.

use machine_config::schema::{
    Array, Cluster, Content, DirtyDegraded, Each, Format, Layout, Level, Logical, MachineConfig, Mkfs, Node, Partition,
    Rebuild, Replace, Scrub, Selector, Storage, System, Time, Volume,
};
use std::collections::BTreeMap;

/// The disks with these serial numbers.
pub fn serials(serials: &[&str]) -> Selector {
    Selector { serial: serials.iter().map(|s| (*s).to_owned()).collect(), ..Selector::default() }
}

/// A volume of a group with this size in MiB and ext4.
pub fn logical(mib: u64, layout: Option<Layout>, name: &str) -> Logical {
    Logical {
        size: Some(mib << 20),
        layout,
        over: None,
        pool: None,
        format: Content::Ext4,
        mount: Some(format!("/var/lib/volumes/{name}")),
        mount_options: Vec::new(),
        mkfs: Mkfs::default(),
        encrypt: None,
        class: None,
        required: true,
    }
}

/// Disks of 48 MiB with two partitions each: a small file system, and a raw volume on the rest. The section has a name of its own:
/// what other cases made of their disks is still there.
pub fn partitioned(disks: &[&str]) -> MachineConfig {
    let part = |size: Option<u64>, format: Content, mount: Option<&str>| Partition {
        size,
        format,
        mount: mount.map(str::to_owned),
        mount_options: Vec::new(),
        mkfs: Mkfs::default(),
        encrypt: None,
        class: None,
    };
    let mut config = config(disks, &[], Format::Ext4);
    for (_, mut each) in std::mem::take(&mut config.storage.each) {
        let meta = part(Some(20 << 20), Content::Ext4, each.mount.take().as_deref());
        each.format = None;
        each.partition =
            [("meta", meta), ("data", part(None, Content::Raw, None))].map(|(n, p)| (n.to_owned(), p)).into();
        config.storage.each.insert("cut".into(), each);
    }
    config
}

/// Disks with a file system each, and a mirror of others with one on it.
pub fn config(object: &[&str], meta: &[&str], on_meta: Format) -> MachineConfig {
    let each = Each {
        disks: serials(object),
        format: Some(Content::Ext4),
        mount: Some("/var/lib/volumes/{serial}".into()),
        mount_options: Vec::new(),
        mkfs: Mkfs::default(),
        encrypt: None,
        class: None,
        partition: BTreeMap::new(),
        required: true,
        generation: 0,
    };
    let volume = Volume {
        format: on_meta.into(),
        mount: Some("/var/lib/volumes/db".into()),
        mount_options: Vec::new(),
        mkfs: Mkfs::default(),
        encrypt: None,
        class: None,
        required: true,
    };
    let volume = BTreeMap::from([("db".to_owned(), volume)]);
    let array = Array {
        level: Level::Raid1,
        disks: serials(meta),
        spares: 0,
        chunk: None,
        rebuild: Rebuild::default(),
        scrub: Scrub::Never,
        write_hole: None,
        journal: None,
        dirty_degraded: DirtyDegraded::Stop,
        reserve: Some(4 << 20),
        replace: Replace::Named,
        retire: Vec::new(),
        grow: false,
        volume,
        generation: 0,
    };
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
            ..Storage::default()
        },
        node: Node::default(),
        time: Time::default(),
    }
}
