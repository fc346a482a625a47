//! How far arrays are that are synced, rebuilt or copied in the background: said now and then, and kept in the status. Pure.

use crate::report::estimate::{self, Amount, Pace};
use crate::storage::{Rebuilding, VolumeState};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Those that are under way, by volume.
#[derive(Debug, Default)]
pub(super) struct Syncs(BTreeMap<String, Sync>);

#[derive(Debug)]
struct Sync {
    /// When it was first seen.
    began: Instant,
    /// How long it had been going on when it was last spoken of.
    told: Duration,
    /// When speed was last measured from, and the bytes that were done then.
    from: Option<(Instant, u64)>,
}

impl Syncs {
    /// Takes up what is under way now, lets go of what is not, and adds to the volumes how fast it goes.
    pub fn follow(&mut self, volumes: &mut [VolumeState], now: Instant) {
        self.0.retain(|name, _| volumes.iter().any(|v| v.volume == *name && v.rebuilding.is_some()));
        for volume in volumes {
            let Some(rebuilding) = &mut volume.rebuilding else { continue };
            let new = Sync { began: now, told: Duration::ZERO, from: None };
            let sync = self.0.entry(volume.volume.clone()).or_insert(new);
            let pace = sync.pace(rebuilding, now);
            (rebuilding.speed, rebuilding.seconds_left) = (pace.map(|p| p.speed), pace.and_then(|p| p.left));
            if sync.from.is_none() {
                sync.from = amount(rebuilding).map(|amount| (now, amount.done));
            }
        }
    }

    /// How long this volume has been at it.
    pub fn since(&self, volume: &str, now: Instant) -> Option<Duration> {
        self.0.get(volume).map(|sync| now.saturating_duration_since(sync.began))
    }

    /// When one is to be spoken of.
    pub fn due(&self) -> Option<Instant> {
        self.0.values().filter_map(|sync| sync.began.checked_add(estimate::next(sync.told))).min()
    }

    /// A line for each that is to be spoken of now, and of which the kernel tells how far it is.
    pub fn lines(&mut self, volumes: &[VolumeState], now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        for volume in volumes {
            let (Some(sync), Some(rebuilding)) = (self.0.get_mut(&volume.volume), &volume.rebuilding) else { continue };
            let took = now.saturating_duration_since(sync.began);
            if took < estimate::next(sync.told) {
                continue;
            }
            sync.told = took;
            let Some(amount) = amount(rebuilding) else { continue };
            // As in the news: one that lacks nothing copies a member.
            let what = match rebuilding.action.as_str() {
                _ if volume.redundant => ": a member is being copied",
                "resync" => " is being synced",
                _ => " is being rebuilt",
            };
            let far = estimate::words(amount, sync.pace(rebuilding, now));
            lines.push(format!("{}{what}: {far}", volume.volume));
            sync.from = Some((now, amount.done));
        }
        lines
    }
}

impl Sync {
    fn pace(&self, rebuilding: &Rebuilding, now: Instant) -> Option<Pace> {
        let (at, before) = self.from?;
        estimate::pace(before, amount(rebuilding)?, now.saturating_duration_since(at))
    }
}

/// The kernel counts in sectors of 512 bytes, whatever those of the disks are.
fn amount(rebuilding: &Rebuilding) -> Option<Amount> {
    let (done, all) = rebuilding.sectors?;
    Some(Amount { done: done.saturating_mul(512), all: all.saturating_mul(512) })
}

#[cfg(test)]
mod tests {
    use super::super::news::tests::mirror;
    use super::*;

    const GB: u64 = 1_000_000_000 / 512;

    /// A mirror whose second member has so many GB of 1000.
    fn filled(gb: Option<u64>) -> VolumeState {
        let mut volume = mirror(1, true);
        volume.rebuilding.as_mut().unwrap().sectors = gb.map(|gb| (gb * GB, 1000 * GB));
        volume
    }

    struct Told {
        syncs: Syncs,
        zero: Instant,
    }

    impl Told {
        fn at(&mut self, second: u64, volume: VolumeState) -> (Vec<String>, VolumeState) {
            let (now, mut volumes) = (self.zero + Duration::from_secs(second), [volume]);
            self.syncs.follow(&mut volumes, now);
            let lines = self.syncs.lines(&volumes, now);
            let [volume] = volumes;
            (lines, volume)
        }

        fn due(&self) -> Option<u64> {
            self.syncs.due().map(|due| (due - self.zero).as_secs())
        }
    }

    fn told() -> Told {
        Told { syncs: Syncs::default(), zero: Instant::now() }
    }

    #[test]
    fn how_far_it_is_is_said_seldom_and_not_of_what_ends_soon() {
        let (mut told, none) = (told(), Vec::<String>::new());
        assert_eq!((told.at(0, mirror(2, false)).0, told.due()), (none.clone(), None));
        assert_eq!((told.at(1, filled(Some(0))).0, told.due()), (none.clone(), Some(11)));
        assert_eq!((told.at(5, filled(Some(1))).0, told.due()), (none.clone(), Some(11)), "an event came");
        assert_eq!(told.at(5, mirror(2, false)).0, none);
        assert_eq!((told.due(), told.syncs.since("meta/db", Instant::now())), (None, None));

        told.at(100, filled(Some(10)));
        let (lines, volume) = told.at(110, filled(Some(12)));
        assert_eq!(lines, ["meta/db is being rebuilt: 12.0 GB of 1.0 TB, 200.0 MB/s, about 83 min left"]);
        let rebuilding = volume.rebuilding.unwrap();
        assert_eq!((rebuilding.speed, rebuilding.seconds_left), (Some(200_000_000), Some(4940)));
        assert_eq!((told.at(111, filled(Some(12))).0, told.due()), (none.clone(), Some(120)));
        let line = "meta/db is being rebuilt: 13.0 GB of 1.0 TB, 100.0 MB/s, about 3 h left";
        assert_eq!(told.at(120, filled(Some(13))).0, [line], "since it was last said");
        assert_eq!(told.due(), Some(140));
    }

    #[test]
    fn one_that_waits_for_another_is_said_when_it_goes_on() {
        let mut told = told();
        told.at(0, filled(None));
        assert_eq!((told.at(10, filled(None)).0, told.due()), (Vec::new(), Some(20)));
        let line = "meta/db is being rebuilt: 1.0 GB of 1.0 TB";
        assert_eq!(told.at(20, filled(Some(1))).0, [line], "how fast can't be told yet");
    }

    #[test]
    fn a_copy_of_a_member_that_serves_is_no_rebuild() {
        let mut told = told();
        let copied = |gb| VolumeState { redundant: true, ..filled(Some(gb)) };
        told.at(0, copied(0));
        let line = "meta/db: a member is being copied: 2.0 GB of 1.0 TB, 200.0 MB/s, about 84 min left";
        assert_eq!(told.at(10, copied(2)).0, [line]);
        let mut first = filled(Some(2));
        first.rebuilding.as_mut().unwrap().action = "resync".into();
        told.at(11, mirror(2, false));
        told.at(12, first.clone());
        assert_eq!(told.at(22, first).0, ["meta/db is being synced: 2.0 GB of 1.0 TB, at a standstill"]);
    }
}
