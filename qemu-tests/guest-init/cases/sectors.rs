//! Cases of disks with sectors of 4096 bytes: for themselves, and beside those of 512.

use super::{clear, codes, run, stop_all, wait_for_syncs, witness};
use crate::lay;
use firstboot::storage::Status;
use machine_config::schema::{Encrypt, Format, Layout, Logical, MachineConfig};
use qemu_tests::guest::config::{config, logical, serials};
use qemu_tests::guest::disks::{LARGE_SECTORS, STRIPED};
use std::fs;

const AT: &str = "/var/lib/volumes/db";

/// A mirror with ext4. Its name is its own: what other cases made is still there.
fn mirror(members: &[&str]) -> MachineConfig {
    let mut config = config(&[], members, Format::Ext4);
    let array = config.storage.array.remove("meta").unwrap();
    config.storage.array.insert("sectors".into(), array);
    config
}

/// A group with a volume that LVM mirrors, and an encrypted one.
fn group(disks: &[&str]) -> MachineConfig {
    let mut config = super::groups::wanted();
    let mut data = config.storage.group.remove("data").unwrap();
    let secret = Logical { encrypt: Some(Encrypt::Passphrase), ..logical(32, None, "secret") };
    data.disks = serials(disks);
    data.volume = [("safe", logical(16, Some(Layout::Raid1), "safe")), ("secret", secret)]
        .map(|(name, volume)| (name.to_owned(), volume))
        .into();
    data.pool.clear();
    config.storage.group.insert("sectors".into(), data);
    config
}

pub(super) fn volumes_are_made_on_large_sectors() {
    stop_all();
    LARGE_SECTORS.into_iter().for_each(clear);
    let volumes = |names: [&str; 2]| names.map(|name| format!("/var/lib/volumes/{name}"));
    for (config, at) in
        [(mirror(&LARGE_SECTORS), vec![AT.to_owned()]), (group(&LARGE_SECTORS), volumes(["safe", "secret"]).into())]
    {
        let outcome = run(&config);
        assert_eq!((codes(&outcome), outcome.status), (Vec::new(), Status::Ready), "{}", outcome.table);
        at.iter().for_each(|at| fs::write(witness(at), at).unwrap());
        if at == [AT] {
            wait_for_syncs(2);
        }
        stop_all();
        // The table's header is in the second sector, and is written anew from the copy in the last.
        lay::write(LARGE_SECTORS[0], 4096, &[0; 4096]);
        LARGE_SECTORS.into_iter().for_each(lay::read_anew);
        for writes in [1, 0] {
            let outcome = run(&config);
            assert_eq!((codes(&outcome), outcome.writes), (Vec::new(), writes), "{}", outcome.table);
            at.iter().for_each(|at| assert_eq!(fs::read_to_string(witness(at)).unwrap(), *at));
            stop_all();
            LARGE_SECTORS.into_iter().for_each(lay::read_anew);
        }
        LARGE_SECTORS.into_iter().for_each(clear);
    }
}

pub(super) fn an_array_has_sectors_of_one_size() {
    stop_all();
    STRIPED.into_iter().chain(LARGE_SECTORS).for_each(clear);
    let large = LARGE_SECTORS[0];
    let before = lay::writes(large);
    for config in [mirror(&[STRIPED[0], large]), group(&[STRIPED[0], large])] {
        let outcome = run(&config);
        assert_eq!((outcome.status, outcome.writes), (Status::Stopped, 0), "{}", outcome.table);
        assert!(codes(&outcome).contains(&"BP-S010"), "{:?}", outcome.refusals);
    }
    // In place of a lost member: its file system was made for the others' sectors.
    assert_eq!(codes(&run(&mirror(&STRIPED[..2]))), Vec::<&str>::new());
    wait_for_syncs(2);
    fs::write(witness(AT), "before").unwrap();
    stop_all();
    clear(STRIPED[1]);
    let outcome = run(&mirror(&[STRIPED[0], large]));
    println!("{outcome:#?}");
    println!("{}", fs::read_to_string("/sys/block/md0/queue/logical_block_size").unwrap());
    assert_eq!((outcome.status, codes(&outcome), outcome.writes), (Status::Degraded, vec!["BP-S010"], 0));
    assert_eq!(fs::read_to_string(witness(AT)).unwrap(), "before");
    assert_eq!(lay::writes(large), before, "the disk with large sectors was written to");
    stop_all();
    STRIPED.into_iter().for_each(clear);
}
