//! A case of an array that has its journal on a disk of its own.

use super::policies::with_checksum;
use super::{clear, codes, member_start, pull, put_back, run, stop_all, striped, wait_for_syncs, witness};
use crate::lay;
use firstboot::observe;
use firstboot::storage::Status;
use machine_config::schema::{DirtyDegraded, Level, WriteHole};
use qemu_tests::guest::config::serials;
use qemu_tests::guest::disks;
use std::fs::{self, File};
use std::io::Write;
use storage_plan::inventory::RunningArray;

const AT: &str = "/var/lib/volumes/db";

/// Members, and the disk of the journal behind them.
const JOURNAL: &str = disks::STRIPED[3];

fn array() -> RunningArray {
    let arrays = observe::arrays().unwrap();
    arrays.into_iter().find(|array| array.level == "raid5").unwrap_or_else(|| panic!("no RAID 5 runs"))
}

fn superblock(at: u64) -> Vec<u8> {
    // The array wrote past what the system remembers of the whole disk.
    lay::read_anew(JOURNAL);
    let from = usize::try_from(at).unwrap();
    fs::read(lay::node(JOURNAL)).unwrap()[from..from + 4096].to_vec()
}

pub(super) fn an_array_keeps_its_journal() {
    stop_all();
    disks::STRIPED.into_iter().for_each(clear);
    let mut config = striped(Level::Raid5, 3, 0);
    let asked = config.storage.array.get_mut("striped").unwrap();
    (asked.write_hole, asked.journal) = (Some(WriteHole::Journal), Some(serials(&[JOURNAL])));
    assert_eq!(codes(&run(&config)), Vec::<&str>::new());
    wait_for_syncs(3);
    assert_eq!((array().journaled, array().journal), (true, Some(format!("{}1", lay::name(JOURNAL)))));
    fs::write(witness(AT), "before").unwrap();

    // Its superblock is as it was stopped; then as a power cut may leave it, an event ahead of all others, with which
    // mdadm alone would not start the array.
    let at = member_start(JOURNAL) + 4096;
    for more in [0, 1] {
        stop_all();
        let mut ahead = superblock(at);
        let events = u64::from_le_bytes(ahead[200..208].try_into().unwrap());
        ahead[200..208].copy_from_slice(&(events + more).to_le_bytes());
        lay::write(JOURNAL, at, &with_checksum(ahead));
        lay::read_anew(JOURNAL);
        let outcome = run(&config);
        assert_eq!((codes(&outcome), outcome.writes), (Vec::new(), 0), "{more} ahead");
        assert!(array().journal.is_some(), "{more} ahead: {:?}", array());
        assert_eq!(fs::read_to_string(witness(AT)).unwrap(), "before", "{more} ahead");
    }

    // It is not there.
    stop_all();
    let whole = superblock(at);
    lay::write(JOURNAL, at, &[0; 4096]);
    lay::read_anew(JOURNAL);
    let outcome = run(&config);
    assert_eq!((outcome.status, codes(&outcome), outcome.writes), (Status::Stopped, vec!["BP-S029"], 0));
    config.storage.array.get_mut("striped").unwrap().dirty_degraded = DirtyDegraded::StartReadOnly;
    let outcome = run(&config);
    assert_eq!((outcome.status, codes(&outcome), outcome.writes), (Status::Degraded, vec!["BP-S025"], 0));
    assert!(array().read_only);
    assert_eq!(fs::read_to_string(witness(AT)).unwrap(), "before");
    stop_all();
    lay::write(JOURNAL, at, &whole);
    lay::read_anew(JOURNAL);
    assert_eq!(codes(&run(&config)), Vec::<&str>::new());

    // It is pulled: what is written from then on is an error, and what is there is read.
    pull(JOURNAL);
    let outcome = run(&config);
    assert_eq!((codes(&outcome), outcome.writes), (vec!["BP-S029"], 0), "{:?}", array());
    let mut file = File::create(witness(AT)).unwrap_or_else(|_| File::open("/dev/null").unwrap());
    assert!(file.write_all(b"after").and_then(|()| file.sync_all()).is_err(), "a write did not fail");
    drop(file);
    stop_all();
    put_back(&[JOURNAL]);
    // The members have noted that it failed: it is not believed any more.
    let outcome = run(&config);
    assert_eq!(codes(&outcome), ["BP-S025"], "{:?}", outcome.refusals);
    assert!(array().read_only);
    stop_all();
    disks::STRIPED.into_iter().for_each(clear);
}
