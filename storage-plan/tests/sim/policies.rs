//! What the configuration says about how volumes are made, mounted and kept.

use crate::world::*;
use machine_config::schema::{DirtyDegraded, MachineConfig, Rebuild, WriteHole};
use on_disk::gpt::{Table, kind};
use proptest::prelude::*;
use storage_plan::simulate::Model;
use storage_plan::{Action, Verdict, plan};

fn options(all: &[&str]) -> Vec<String> {
    all.iter().map(|option| (*option).to_owned()).collect()
}

/// Mount points with the options that a plan mounts them with.
fn mounted(model: &Model, config: &MachineConfig) -> Vec<(String, String)> {
    let plan = plan(&model.inventory(), config);
    let of = |action: &Action| match action {
        Action::Mount { at, options, .. } => Some((at.clone(), options.join(","))),
        _ => None,
    };
    let mut all: Vec<_> = plan.graph.steps.iter().filter_map(|step| of(&step.action)).collect();
    all.sort();
    all
}

#[test]
fn mount_options_count_at_each_mount_and_mkfs_options_once() {
    let (model, mut config) = full();
    config.storage.system.mount_options = options(&["lazytime"]);
    config.storage.system.mkfs.reflink = Some(false);
    config.storage.each.get_mut("object").unwrap().mount_options = options(&["commit=30"]);
    config.storage.each.get_mut("object").unwrap().mkfs.reserved_percent = Some(0);
    let volume = config.storage.array.get_mut("meta").unwrap().volume.get_mut("db").unwrap();
    (volume.mount_options, volume.mkfs.reflink) = (options(&["prjquota", "noexec"]), Some(false));
    let wanted = |object: &str| {
        let at = |at: &str, with: &str| (at.to_owned(), with.to_owned());
        let volumes = "/var/lib/volumes";
        vec![
            at("/var", "lazytime"),
            at(&format!("{volumes}/B1"), object),
            at(&format!("{volumes}/B2"), object),
            at(&format!("{volumes}/db"), "prjquota,noexec"),
        ]
    };
    assert_eq!(mounted(&model, &config), wanted("commit=30"));
    let first = plan(&model.inventory(), &config);
    let made_with = |volume: &str| {
        let steps = first.graph.steps.iter().filter(|step| step.volume == volume);
        let mkfs = |action: &Action| match action {
            Action::MakeFilesystem { mkfs, .. } => Some(mkfs.clone()),
            _ => None,
        };
        steps.filter_map(|step| mkfs(&step.action)).next().unwrap()
    };
    assert_eq!(made_with("state").reflink, Some(false));
    assert_eq!(made_with("object/B1").reserved_percent, Some(0));
    assert_eq!(made_with("meta/db").reflink, Some(false));
    // Another make changes nothing of what is there; other options are for the next mount.
    let mut model = made(model, &config);
    let object = config.storage.each.get_mut("object").unwrap();
    (object.mkfs.reserved_percent, object.mount_options) = (Some(5), options(&["relatime"]));
    let again = plan(&model.inventory(), &config);
    assert_eq!((again.writes(), mounted(&model, &config)), (0, wanted("relatime")));
    model.carry_out(&again).unwrap();
    config.storage.each.get_mut("object").unwrap().mount_options = options(&["noexec"]);
    assert!(plan(&model.inventory(), &config).graph.steps.is_empty(), "what is mounted is not mounted anew");
}

#[test]
fn mount_options_that_are_not_allowed_never_reach_a_plan() {
    let (model, config) = full();
    type Breaking = fn(&mut MachineConfig);
    let broken: [Breaking; 3] = [
        |c| c.storage.system.mount_options = options(&["noexec"]),
        |c| c.storage.each.get_mut("object").unwrap().mount_options = options(&["noload"]),
        |c| {
            let volume = c.storage.array.get_mut("meta").unwrap().volume.get_mut("db").unwrap();
            volume.mount_options = options(&["noatime", "relatime"]);
        },
    ];
    for break_it in broken {
        let mut config = config.clone();
        break_it(&mut config);
        let plan = plan(&model.inventory(), &config);
        assert_eq!(plan.refusals.iter().map(|r| r.code.as_str()).collect::<Vec<_>>(), ["BP-S030"]);
        assert!(plan.graph.steps.is_empty());
    }
}

fn reserved(config: &MachineConfig, reserve: Option<u64>) -> MachineConfig {
    let mut config = config.clone();
    config.storage.array.get_mut("meta").unwrap().reserve = reserve;
    config
}

/// The table on a disk of the model.
fn table(model: &Model, name: &str) -> Table {
    model.disks().iter().find(|d| d.device.name == name).unwrap().table().usable().unwrap().clone()
}

/// Bytes between the end of the partition and the place of the table's backup copy.
fn left(model: &Model, name: &str) -> u64 {
    let table = table(model, name);
    let size = model.disks().iter().find(|d| d.device.name == name).unwrap().device.size;
    let whole = Table { partitions: Vec::new(), ..table.clone() }.free_tail(size, 1).unwrap();
    whole.0 + whole.1 - table.partitions[0].end()
}

const RESERVES: [Option<u64>; 4] = [None, Some(0), Some(64 << 20), Some((64 << 20) + 1)];

#[test]
fn a_member_ends_before_what_is_reserved() {
    let (model, config) = full();
    let mib = |reserve| left(&made(model.clone(), &reserved(&config, reserve)), "vdb") >> 20;
    assert_eq!(RESERVES.map(mib), [2, 0, 64, 65]);
    // A member of stripes alone can't be replaced, whatever is reserved.
    let (model, config) = striped();
    let model = made(model, &config);
    let of_level = |level: u8| {
        let of_it = |d: &&storage_plan::simulate::ModelDisk| d.device.serial.as_deref() == Some(&format!("R{level}-0"));
        left(&model, &model.disks().iter().find(of_it).unwrap().device.name.clone()) >> 20
    };
    assert_eq!([0, 5, 6, 10].map(of_level), [0, 1, 1, 1]);
    let (model, config) = full();
    for too_much in [2 * GIB, 2 * GIB - (200 << 20)] {
        let plan = plan(&model.inventory(), &reserved(&config, Some(too_much)));
        assert!(plan.is_blocked());
        assert!(plan.all_refusals().iter().all(|r| r.code == "BP-S010" && r.why.contains("reserved")), "{plan:?}");
    }
}

#[test]
fn a_table_made_with_another_reserve_stays_ours_with_its_end() {
    let (blank, config) = full();
    for before in RESERVES {
        let model = made(blank.clone(), &reserved(&config, before));
        for now in RESERVES {
            let config = reserved(&config, now);
            let kept = plan(&model.inventory(), &config);
            assert!(kept.volumes.iter().all(|v| v.verdict == Verdict::Keep), "{before:?}, {now:?}: {kept:?}");
            assert_eq!(kept.writes(), 0);
            let mut damaged = model.clone();
            damaged.disk_mut("vdb").unwrap().sectors.insert(512, vec![0; 512]);
            damaged.carry_out(&plan(&damaged.inventory(), &config)).unwrap();
            assert_eq!(table(&damaged, "vdb"), table(&model, "vdb"), "{before:?}, {now:?}");
        }
    }
}

#[test]
fn invariant_3_only_the_end_may_differ_and_only_to_where_it_can_be() {
    let (model, config) = full();
    let model = made(model, &config);
    let ours = table(&model, "vdb");
    type Change = fn(&mut Table);
    let foreign: [(&str, Change); 8] = [
        ("not aligned", |t| t.partitions[0].size -= 512),
        ("smaller than a member's data", |t| t.partitions[0].size -= 1 << 20),
        ("another start", |t| t.partitions[0].start += 1 << 20),
        ("another partition", |t| t.partitions[0].guid = uuid::Uuid::from_u128(5)),
        ("another disk", |t| t.guid = uuid::Uuid::from_u128(5)),
        ("another type", |t| t.partitions[0].kind = kind::ESP),
        ("another name", |t| t.partitions[0].name = "array.other".into()),
        ("another partition beside it", |t| {
            let end = t.partitions[0].end();
            let beside = on_disk::gpt::Partition { number: 2, start: end, size: 1 << 20, ..t.partitions[0].clone() };
            t.partitions.push(on_disk::gpt::Partition { guid: uuid::Uuid::from_u128(5), ..beside });
        }),
    ];
    for (name, change) in foreign {
        let (mut model, mut table) = (model.clone(), ours.clone());
        change(&mut table);
        lay(&mut model, "vdb", &table, 2 * GIB);
        let plan = plan(&model.inventory(), &config);
        let mirror = plan.volumes.iter().find(|v| v.volume == "meta/db").unwrap();
        let there = mirror.array.as_ref().map(|array| array.present);
        assert!(mirror.verdict == Verdict::Refuse || there == Some(1), "{name}: {mirror:?}");
        assert!(plan.graph.steps.iter().all(|s| !s.action.disks().contains(&"vdb")), "{name}: {plan:?}");
    }
}

#[test]
fn a_disk_that_is_a_little_smaller_takes_the_place_of_a_lost_member() {
    for (smaller, taken) in [(0, true), (1 << 20, true), (2 << 20, true), (3 << 20, false)] {
        let (mut model, config) = lost(true);
        model.disk_mut("vdf").unwrap().device.size -= smaller;
        let first = plan(&model.inventory(), &config);
        let mirror = first.volumes.iter().find(|v| v.volume == "meta/db").unwrap();
        assert_eq!(mirror.verdict == Verdict::Repair, taken, "{smaller}: {first:#?}");
        if taken {
            model.carry_out(&first).unwrap();
            assert_eq!(table(&model, "vdf").partitions[0].size, table(&model, "vdb").partitions[0].size);
            assert_eq!(plan(&model.inventory(), &config).writes(), 0);
        }
    }
}

#[test]
fn a_larger_disk_keeps_its_reserve_and_an_array_without_one_is_served_too() {
    let (mut model, config) = lost(true);
    model.disk_mut("vdf").unwrap().device.size = 4 * GIB;
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    assert_eq!(left(&model, "vdf"), 4 << 20);
    // Made before anything was reserved: a disk of the same size has to do.
    let (blank, mut config) = full();
    let mut model = made(blank, &reserved(&config, Some(0)));
    model.pull("vdc");
    model.plug(disk("vdf", "A3", 2 * GIB));
    config.storage.array.get_mut("meta").unwrap().disks = serials(&["A1", "A3"]);
    let first = plan(&model.inventory(), &config);
    model.carry_out(&first).unwrap();
    assert_eq!((first.graph.replacements().len(), left(&model, "vdf")), (1, 0));
}

/// The node of [`striped`] as it was left in the middle of a write, the array of this level without its first member.
fn dirty(level: u8, made_with: Option<WriteHole>) -> (Model, MachineConfig) {
    let (model, mut config) = striped();
    config.storage.array.get_mut(&format!("r{level}")).unwrap().write_hole = made_with;
    let mut model = made(model, &config);
    let of_it = |d: &&storage_plan::simulate::ModelDisk| {
        d.device.serial.as_deref().is_some_and(|serial| serial.starts_with(&format!("R{level}-")))
    };
    let names: Vec<String> = model.disks().iter().filter(of_it).map(|d| d.device.name.clone()).collect();
    for name in &names {
        let disk = model.disk_mut(name).unwrap();
        disk.areas.values_mut().filter_map(|area| area.md.as_mut()).for_each(|md| md.clean = false);
    }
    model.pull(&names[0]);
    (model, config)
}

#[test]
fn an_array_with_parity_has_the_log_that_it_was_made_with() {
    for (made_with, closed) in [(None, true), (Some(WriteHole::Ppl), true), (Some(WriteHole::Bitmap), false)] {
        let (model, mut config) = dirty(5, made_with);
        for now in [None, Some(WriteHole::Ppl), Some(WriteHole::Bitmap)] {
            config.storage.array.get_mut("r5").unwrap().write_hole = now;
            let plan = plan(&model.inventory(), &config);
            let volume = plan.volumes.iter().find(|v| v.volume == "r5/db").unwrap();
            assert_eq!(volume.verdict == Verdict::Keep, closed, "made with {made_with:?}, now {now:?}: {volume:#?}");
            let said = volume.reasons.iter().any(|reason| reason.contains("It was made with a"));
            let differs = (now == Some(WriteHole::Bitmap)) == closed;
            assert_eq!(said, differs, "made with {made_with:?}, now {now:?}: {volume:#?}");
        }
    }
    let (model, mut config) = striped();
    for (level, wrong) in [("r6", WriteHole::Ppl), ("r10", WriteHole::Bitmap), ("r0", WriteHole::Bitmap)] {
        let before = config.clone();
        config.storage.array.get_mut(level).unwrap().write_hole = Some(wrong);
        assert_eq!(plan(&model.inventory(), &config).refusals.len(), 1, "{level}");
        config = before;
    }
}

fn members(model: &Model, level: u8) -> Vec<storage_plan::simulate::ModelDisk> {
    let prefix = format!("R{level}-");
    let of_it = |d: &&storage_plan::simulate::ModelDisk| {
        d.device.serial.as_deref().is_some_and(|serial| serial.starts_with(&prefix))
    };
    model.disks().iter().filter(of_it).cloned().collect()
}

#[test]
fn a_dirty_array_that_lacks_a_member_is_read_where_the_config_says_so_and_nothing_is_written_to_it() {
    for level in [5, 6] {
        let (mut model, mut config) = dirty(level, Some(WriteHole::Bitmap));
        let name = format!("r{level}/db");
        let stopped = plan(&model.inventory(), &config);
        assert_eq!(stopped.all_refusals().iter().map(|r| r.code.as_str()).collect::<Vec<_>>(), ["BP-S019"]);
        let array = config.storage.array.get_mut(&format!("r{level}")).unwrap();
        array.dirty_degraded = DirtyDegraded::StartReadOnly;
        array.volume.get_mut("db").unwrap().mount_options = options(&["prjquota"]);
        // A blank disk in the lost one's place, and a table to be put right: both have to wait.
        array.disks.serial[0] = "N0".into();
        model.plug(disk("vdx", "N0", GIB));
        let damaged = members(&model, level)[0].device.name.clone();
        model.disk_mut(&damaged).unwrap().sectors.insert(512, vec![0; 512]);
        let before = members(&model, level);
        let first = plan(&model.inventory(), &config);
        assert!(!first.is_blocked(), "{:#?}", first.all_refusals());
        let volume = |plan: &storage_plan::Plan| plan.volumes.iter().find(|v| v.volume == name).unwrap().clone();
        assert!(volume(&first).read_only && volume(&first).verdict == Verdict::Keep, "{first:#?}");
        let words: Vec<String> =
            first.graph.steps.iter().filter(|s| s.volume == name).map(|s| s.action.words()).collect();
        assert!(words[0].contains("read-only") && words[1].contains("read-only") && words.len() == 2, "{words:?}");
        model.carry_out(&first).unwrap();
        let again = plan(&model.inventory(), &config);
        assert_eq!((again.graph.steps.len(), volume(&again).refusals), (0, volume(&first).refusals));
        assert_eq!(volume(&again).refusals[0].code, "BP-S025");
        assert_eq!(members(&model, level), before, "RAID {level}");
        // What the configuration says meanwhile does not make it writable.
        config.storage.array.get_mut(&format!("r{level}")).unwrap().dirty_degraded = DirtyDegraded::Stop;
        assert!(volume(&plan(&model.inventory(), &config)).read_only);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn invariant_6_an_array_is_read_only_just_where_it_is_dirty_lacks_a_member_and_has_no_log(
        level in prop::sample::select(vec![5u8, 6]),
        log in any::<bool>(),
        clean in prop::collection::vec(any::<bool>(), 4),
        lost in prop::collection::btree_set(0..4usize, 0..3),
        reads in any::<bool>(),
        damaged in any::<bool>(),
    ) {
        let (blank, mut config) = striped();
        let array = config.storage.array.get_mut(&format!("r{level}")).unwrap();
        array.write_hole = (log && level == 5).then_some(WriteHole::Ppl).or(Some(WriteHole::Bitmap));
        array.dirty_degraded = if reads { DirtyDegraded::StartReadOnly } else { DirtyDegraded::Stop };
        let mut model = made(blank, &config);
        let names: Vec<String> = members(&model, level).into_iter().map(|d| d.device.name).collect();
        for (name, clean) in names.iter().zip(&clean) {
            let disk = model.disk_mut(name).unwrap();
            disk.areas.values_mut().filter_map(|area| area.md.as_mut()).for_each(|md| md.clean = *clean);
        }
        lost.iter().for_each(|at| model.pull(&names[*at]));
        let left: Vec<usize> = (0..4).filter(|at| !lost.contains(at)).collect();
        if damaged && let Some(first) = left.first() {
            model.disk_mut(&names[*first]).unwrap().sectors.insert(0, vec![0; 512]);
        }
        let before = members(&model, level);
        let first = plan(&model.inventory(), &config);
        let volume = first.volumes.iter().find(|v| v.volume == format!("r{level}/db")).unwrap().clone();
        // The last of RAID 5 is its spare.
        let data = if level == 5 { 3 } else { 4 };
        let lacks = lost.iter().filter(|at| **at < data).count();
        let dirty = left.iter().any(|at| !clean[*at]) && !(log && level == 5);
        let can_be = lacks > 0 && lacks <= usize::from(level - 4) && dirty && !damaged;
        prop_assert!(damaged || volume.read_only == (can_be && reads), "{volume:#?}");
        prop_assert!(!volume.read_only || (can_be && reads), "{volume:#?}");
        if volume.read_only {
            model.carry_out(&first).unwrap();
            prop_assert_eq!(members(&model, level), before);
        } else if !damaged {
            prop_assert!(model.carry_out(&first).is_ok(), "{first:#?}");
        }
    }
}

#[test]
fn an_array_that_starts_and_one_that_runs_are_rebuilt_at_the_same_speed() {
    let (model, mut config) = full();
    let rebuild = Rebuild { at_least: Some(50_000_000), at_most: None };
    config.storage.array.get_mut("meta").unwrap().rebuild = rebuild;
    let plan = plan(&model.inventory(), &config);
    let array = plan.volumes.iter().find_map(|v| v.array.clone()).unwrap();
    assert_eq!(array.rebuild, rebuild);
    assert_eq!(storage_plan::speeds::speeds(&config), [(array.uuid, rebuild)]);
}

mod scrubs {
    use super::*;
    use machine_config::schema::Scrub;
    use storage_plan::inventory::RunningArray;
    use storage_plan::scrub::{ACTION, Decision, Now, Scrubbed, decide};

    const DAY: u64 = 24 * 60 * 60;
    const START: u64 = 1_800_000_000;

    /// The node of [`full`] with its mirror at work, read through every ten days; and what was decided when it was first seen.
    fn scrubbed() -> (Vec<RunningArray>, MachineConfig, Decision) {
        let (mut model, mut config) = full();
        config.storage.array.get_mut("meta").unwrap().scrub = Scrub::Every(10 * DAY);
        model.carry_out(&plan(&model.inventory(), &config)).unwrap();
        let arrays = model.inventory().arrays;
        let first = decide(&arrays, &config, &[], at(0));
        (arrays, config, first)
    }

    /// So many seconds after the node was started.
    fn at(seconds: u64) -> Now {
        Now { clock: START + seconds, up: seconds }
    }

    fn doing(arrays: &[RunningArray], action: &str, mismatches: u64) -> Vec<RunningArray> {
        let doing = |array: &RunningArray| RunningArray { sync_action: action.into(), mismatches, ..array.clone() };
        arrays.iter().map(doing).collect()
    }

    #[test]
    fn the_first_comes_after_half_the_time_at_least_and_then_one_after_another() {
        let (arrays, config, first) = scrubbed();
        let wake = first.wake.unwrap();
        assert!((5 * DAY..=10 * DAY).contains(&wake) && first.begin.is_none(), "{first:?}");
        let early = decide(&arrays, &config, &first.kept, at(wake - 1));
        assert_eq!((early.begin, early.wake, &early.kept), (None, Some(1), &first.kept));
        let begun = decide(&arrays, &config, &first.kept, at(wake));
        assert_eq!((begun.begin.as_ref(), begun.wake), (Some(&arrays[0].name), None));
        assert_eq!(begun.kept[0].began, Some(START + wake));
        // It is under way, and ends.
        let busy = decide(&doing(&arrays, ACTION, 0), &config, &begun.kept, at(wake + 60));
        assert_eq!((busy.begin, busy.wake, &busy.kept), (None, None, &begun.kept));
        let ended = decide(&doing(&arrays, "idle", 8), &config, &begun.kept, at(wake + DAY));
        let kept = &ended.kept[0];
        assert_eq!((kept.ended, kept.mismatches, kept.began), (Some(START + wake + DAY), Some(8), None));
        assert_eq!((ended.begin, ended.wake), (None, Some(10 * DAY)));
        let again = decide(&arrays, &config, &ended.kept, at(wake + 11 * DAY));
        assert_eq!(again.begin.as_ref(), Some(&arrays[0].name));
    }

    #[test]
    fn only_a_whole_array_at_rest_is_scrubbed_and_one_that_is_due_is_not_waited_for_by_the_clock() {
        let (arrays, config, first) = scrubbed();
        let due = at(20 * DAY);
        type Change = fn(&mut RunningArray);
        let changes: [(&str, Change); 4] = [
            ("lacks a member", |a| drop(a.members.pop())),
            ("syncs", |a| a.sync_action = "resync".into()),
            ("is rebuilt", |a| a.sync_action = "recover".into()),
            ("is read-only", |a| a.read_only = true),
        ];
        for (name, change) in changes {
            let mut arrays = arrays.clone();
            change(&mut arrays[0]);
            let decision = decide(&arrays, &config, &first.kept, due);
            assert_eq!((decision.begin, decision.wake), (None, None), "{name}");
        }
        assert!(decide(&arrays, &config, &first.kept, due).begin.is_some());
    }

    #[test]
    fn one_that_was_interrupted_is_due_again() {
        let (arrays, config, first) = scrubbed();
        let wake = first.wake.unwrap();
        let begun = decide(&arrays, &config, &first.kept, at(wake)).kept;
        // A member fails meanwhile, and is replaced.
        let mut degraded = doing(&arrays, "recover", 0);
        degraded[0].members.pop();
        let lost = decide(&degraded, &config, &begun, at(wake + 60));
        assert_eq!((lost.kept[0].began, lost.kept[0].ended, lost.begin), (None, None, None));
        assert!(decide(&arrays, &config, &lost.kept, at(wake + DAY)).begin.is_some());
        // The node restarts meanwhile: the array is idle, and nothing came to its end.
        let restarted = Now { clock: START + wake + 600, up: 60 };
        let again = decide(&arrays, &config, &begun, restarted);
        assert_eq!((again.kept[0].ended, again.kept[0].began), (None, Some(restarted.clock)));
        assert_eq!(again.begin.as_ref(), Some(&arrays[0].name));
    }

    #[test]
    fn a_clock_that_was_wrong_puts_none_off_for_longer_than_it_takes() {
        let (arrays, config, first) = scrubbed();
        let ahead = Scrubbed { since: START + 900 * DAY, ended: Some(START + 900 * DAY), ..first.kept[0].clone() };
        let decision = decide(&arrays, &config, &[ahead], at(0));
        assert_eq!(decision.wake, Some(10 * DAY));
    }

    #[test]
    fn one_array_at_a_time_and_none_that_nobody_asks_for() {
        let (mut model, config) = striped();
        model.carry_out(&plan(&model.inventory(), &config)).unwrap();
        let arrays = model.inventory().arrays;
        let first = decide(&arrays, &config, &[], at(0));
        assert_eq!((arrays.len(), first.kept.len()), (4, 3), "level 0 has nothing to compare");
        let mut kept = first.kept;
        let mut begun = Vec::new();
        let mut now = 100 * DAY;
        for _ in 0..3 {
            let decision = decide(&arrays, &config, &kept, at(now));
            let name = decision.begin.unwrap();
            let mut busy = arrays.clone();
            busy.iter_mut().filter(|a| a.name == name).for_each(|a| a.sync_action = ACTION.into());
            assert_eq!(decide(&busy, &config, &decision.kept, at(now + 9)).begin, None);
            now += 100;
            kept = decide(&busy, &config, &decision.kept, at(now)).kept;
            now += 100;
            begun.push(name);
            // The next decision finds it ended, and begins another.
        }
        begun.sort();
        begun.dedup();
        assert_eq!(begun.len(), 3);
        let mut never = config.clone();
        never.storage.array.values_mut().for_each(|array| array.scrub = Scrub::Never);
        let none = decide(&arrays, &never, &kept, at(900 * DAY));
        assert_eq!((none.begin, none.wake, none.kept), (None, None, kept.clone()));
        let (_, other) = full();
        assert_eq!(
            decide(&arrays, &other, &kept, at(900 * DAY)),
            Decision::default(),
            "what is not there is forgotten"
        );
    }
}
