//! Arrays that have their journal on a disk of its own.

use crate::world::*;
use machine_config::schema::{DirtyDegraded, Level, MachineConfig, WriteHole};
use storage_plan::inventory::MdMember;
use storage_plan::simulate::{Effect, Model};
use storage_plan::{Action, Plan, Verdict, plan};

/// The disk of the journal.
const JOURNAL: &str = "vdj";

/// A node with an array `meta` of this level over the disks `vd0` (`S0`) and on, one of them a spare, and a smaller one
/// for its journal, all blank.
fn journaled(level: Level, members: usize) -> (Model, MachineConfig) {
    let names: Vec<String> = (0..=members).map(|i| format!("S{i}")).collect();
    let mut disks: Vec<_> = (0..=members).map(|i| disk(&format!("vd{i}"), &names[i], 2 * GIB)).collect();
    disks.push(disk(JOURNAL, "J", 512 << 20));
    let named: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut array = array(level, serials(&named), 1, "/var/lib/volumes/db");
    (array.write_hole, array.journal) = (Some(WriteHole::Journal), Some(serials(&["J"])));
    (node(disks), config(&[], &[("meta", array)]))
}

fn meta(config: &mut MachineConfig) -> &mut machine_config::schema::Array {
    config.storage.array.get_mut("meta").unwrap()
}

/// Has every disk of these say something else in its superblock.
fn say(model: &mut Model, disks: &[&str], what: impl Fn(&mut MdMember)) {
    for name in disks {
        let areas = &mut model.disk_mut(name).unwrap().areas;
        areas.values_mut().filter_map(|area| area.md.as_mut()).for_each(&what);
    }
}

/// It is all there, and stays as it is over a restart.
fn whole(model: &Model, config: &MachineConfig, context: &str) {
    let mut model = model.clone();
    for reboot in [false, true] {
        if reboot {
            model.power_cut();
        }
        let again = plan(&model.inventory(), config);
        let verdict = volume(&again, "meta/db");
        assert_eq!((codes(&again), verdict.verdict), (Vec::new(), Verdict::Keep), "{context}: {verdict:#?}");
        assert_eq!((again.writes(), again.graph.steps.is_empty()), (0, !reboot), "{context}");
        model.carry_out(&again).unwrap_or_else(|e| panic!("{context}: {e:?}"));
        let inventory = model.inventory();
        let array = &inventory.arrays[0];
        assert_eq!(array.journal.as_deref(), Some("vdj1"), "{context}: {array:#?}");
        assert!(!array.spares.contains(&"vdj1".into()) && !array.members.contains(&"vdj1".into()), "{context}");
    }
}

#[test]
fn an_array_is_made_with_its_journal_and_found_again() {
    for (level, members) in [(Level::Raid5, 3), (Level::Raid6, 4)] {
        let (mut model, config) = journaled(level, members);
        let first = plan(&model.inventory(), &config);
        assert_eq!(codes(&first), Vec::<String>::new());
        let create = first.graph.steps.iter().find_map(|s| match &s.action {
            Action::CreateArray { members, spares, journal, .. } => Some((members.len(), *spares, journal.clone())),
            _ => None,
        });
        let (count, spares, journal) = create.unwrap();
        assert_eq!((count, spares, journal.unwrap().disk.as_str()), (members + 1, 1, JOURNAL));
        model.carry_out(&first).unwrap();
        let inventory = model.inventory();
        let mut md = inventory.devices.iter().flat_map(|d| &d.partitions).filter_map(|p| p.md.as_ref());
        assert!(md.all(|md| md.journaled && md.bitmap_since.is_none()), "no bitmap beside a journal");
        whole(&model, &config, &format!("{level:?}"));
    }
}

#[test]
fn invariant_4_a_cut_while_an_array_with_a_journal_is_made_converges() {
    let (model, config) = journaled(Level::Raid6, 4);
    let tables = |e: &Effect| matches!(e, Effect::Sector { .. });
    let of_journal = |e: &Effect| matches!(e, Effect::Sector { disk, .. } if disk == JOURNAL);
    let which = |cut: usize, next: Option<&Effect>| {
        cut.is_multiple_of(37)
            || next.is_none_or(|e| !tables(e))
            || (cut.is_multiple_of(5) && next.is_some_and(of_journal))
    };
    converges_after_cuts(&model, &config, which, whole);
}

#[test]
fn invariant_4_superblocks_that_a_cut_left_an_event_apart_start_it() {
    let (model, config) = journaled(Level::Raid6, 4);
    let model = made(model, &config);
    let members = ["vd0", "vd1", "vd2", "vd3", "vd4"];
    let ahead: [&[&str]; 5] = [&[JOURNAL], &members, &["vd0"], &[JOURNAL, "vd1"], &["vd2", "vd4"]];
    for ahead in ahead {
        let mut model = model.clone();
        say(&mut model, ahead, |md| md.events += 1);
        model.carry_out(&plan(&model.inventory(), &config)).unwrap_or_else(|e| panic!("{ahead:?}: {e:?}"));
        whole(&model, &config, &format!("{ahead:?}"));
    }
    // Two events are more than one write can have missed.
    let mut model = model.clone();
    say(&mut model, &members, |md| md.events += 2);
    assert_eq!(codes(&plan(&model.inventory(), &config)), ["BP-S029"]);
}

#[test]
fn a_lost_member_is_replaced_beside_a_journal_cut_anywhere() {
    for (level, members) in [(Level::Raid5, 3), (Level::Raid6, 4)] {
        let (model, mut config) = journaled(level, members);
        let mut model = made(model, &config);
        // The spare goes as well: its seat is no journal's.
        let spare = format!("vd{members}");
        model.pull("vd0");
        model.pull(&spare);
        model.plug(disk("vdx", "N0", 2 * GIB));
        model.plug(disk("vdy", "N1", 2 * GIB));
        let names = &mut meta(&mut config).disks.serial;
        (names[0], names[members]) = ("N0".into(), "N1".into());
        let first = plan(&model.inventory(), &config);
        assert_eq!((codes(&first), first.graph.replacements().len()), (Vec::new(), 2), "{first:#?}");
        let is_replaced = |model: &Model, config: &MachineConfig, context: &str| {
            let mut model = model.clone();
            model.fill();
            let array = model.inventory().arrays[0].clone();
            assert_eq!((array.members.len(), array.spares.len()), (members, 1), "{context}: {array:#?}");
            whole(&model, config, context);
        };
        let tables = |e: &Effect| matches!(e, Effect::Sector { .. });
        converges_after_cuts(
            &model,
            &config,
            |cut, next| cut % 23 == 0 || next.is_none_or(|e| !tables(e)),
            is_replaced,
        );
    }
}

#[test]
fn a_journal_fills_no_seat_and_takes_over_from_no_member() {
    let (model, mut config) = journaled(Level::Raid6, 4);
    let mut model = made(model, &config);
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    // Retired while there is no spare: the journal is none.
    model.pull("vd4");
    model.serve();
    meta(&mut config).retire = vec!["S0".into()];
    meta(&mut config).disks.serial[0] = "N9".into();
    let waits = plan(&model.inventory(), &config);
    assert!(!steps(&waits).contains(&"copy"), "{waits:#?}");
    assert!(volume(&waits, "meta/db").retiring[0].says.contains("waits for a blank disk"), "{waits:#?}");
    // Nor where nothing runs yet, and superblocks alone say what stands by.
    let mut stopped = model.clone();
    stopped.power_cut();
    let starts = plan(&stopped.inventory(), &config);
    assert!(steps(&starts).contains(&"assemble") && !steps(&starts).contains(&"copy"), "{starts:#?}");
    // Named by its world wide name, which no check of the file can tell.
    model.disk_mut(JOURNAL).unwrap().device.wwn = Some("W".into());
    meta(&mut config).retire = vec!["W".into()];
    let kept = plan(&model.inventory(), &config);
    assert_eq!((codes(&kept), kept.graph.steps.len()), (Vec::new(), 0), "{kept:#?}");
    assert!(volume(&kept, "meta/db").reasons.iter().any(|r| r.contains("is its journal")), "{kept:#?}");
}

/// Everything on all disks: a refusal writes nothing, nor does what is only read.
fn content(model: &Model) -> Vec<storage_plan::simulate::ModelDisk> {
    model.disks().to_vec()
}

#[test]
fn without_its_journal_an_array_is_not_started_or_only_read() {
    let (model, mut config) = journaled(Level::Raid6, 4);
    let model = made(model, &config);
    let mut lost = model.clone();
    lost.pull(JOURNAL);
    let mut stale = model.clone();
    say(&mut stale, &["vd0", "vd1", "vd2", "vd3", "vd4"], |md| md.events += 7);
    // It failed, of which the members noted no more than that.
    let mut failed = model.clone();
    say(&mut failed, &["vd0", "vd1", "vd2", "vd3", "vd4"], |md| (md.events, md.journal) = (md.events + 1, None));
    for (what, model) in [("lost", lost), ("stale", stale), ("failed", failed)] {
        meta(&mut config).dirty_degraded = DirtyDegraded::Stop;
        let refused = plan(&model.inventory(), &config);
        assert_eq!((codes(&refused), refused.writes()), (vec!["BP-S029".into()], 0), "{what}");
        assert!(refused.is_blocked() && refused.all_refusals()[0].mend.contains("Put the disk"), "{what}");
        meta(&mut config).dirty_degraded = DirtyDegraded::StartReadOnly;
        let mut model = model.clone();
        // What else could be done has to wait.
        model.plug(disk("vdx", "N0", 2 * GIB));
        meta(&mut config).disks.serial.push("N0".into());
        meta(&mut config).spares = 2;
        let before = content(&model);
        let read = plan(&model.inventory(), &config);
        assert_eq!(
            (codes(&read), steps(&read)),
            (vec!["BP-S025".into()], vec!["assemble", "mount", "mount"]),
            "{what}"
        );
        assert!(volume(&read, "meta/db").read_only && !read.is_blocked(), "{what}: {read:#?}");
        model.carry_out(&read).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let again = plan(&model.inventory(), &config);
        assert_eq!((codes(&again), again.graph.steps.len()), (vec!["BP-S025".into()], 0), "{what}");
        assert_eq!(content(&model), before, "{what}");
        meta(&mut config).spares = 1;
        meta(&mut config).disks.serial.pop();
    }
}

#[test]
fn a_journal_that_was_away_is_as_good_as_ever() {
    let (model, mut config) = journaled(Level::Raid6, 4);
    let mut model = made(model, &config);
    meta(&mut config).dirty_degraded = DirtyDegraded::StartReadOnly;
    let journal = model.disks().iter().find(|d| d.device.name == JOURNAL).unwrap().clone();
    model.pull(JOURNAL);
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.power_cut();
    model.put_back(journal);
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    whole(&model, &config, "nothing was written meanwhile");
}

#[test]
fn a_journal_that_fails_while_the_array_runs_is_told_and_nothing_is_changed() {
    let (model, mut config) = journaled(Level::Raid6, 4);
    let mut model = made(model, &config);
    model.carry_out(&plan(&model.inventory(), &config)).unwrap();
    model.pull(JOURNAL);
    model.pull("vd0");
    model.plug(disk("vdx", "N0", 2 * GIB));
    meta(&mut config).disks.serial[0] = "N0".into();
    let before = content(&model);
    let told = plan(&model.inventory(), &config);
    assert_eq!((codes(&told), told.writes()), (vec!["BP-S029".into()], 0), "{told:#?}");
    assert!(told.all_refusals()[0].why.contains("each write to it fails"), "{told:#?}");
    assert!(model.carry_out(&told).is_ok() && content(&model) == before);
    // Nor is it forgotten by a restart, whether the disk is back or not.
    model.power_cut();
    assert_eq!(codes(&plan(&model.inventory(), &config)), ["BP-S029"]);
}

#[test]
fn a_dirty_array_with_a_journal_starts_without_a_member_once_it_was_in_sync() {
    let (model, config) = journaled(Level::Raid6, 4);
    let mut model = made(model, &config);
    model.pull("vd0");
    model.pull("vd1");
    assert_eq!(codes(&plan(&model.inventory(), &config)), Vec::<String>::new());
    // Before its first sync had ended parity was true nowhere, and the kernel starts it no more than without a journal.
    say(&mut model, &["vd2", "vd3", "vd4", JOURNAL], |md| md.clean = false);
    assert_eq!(codes(&plan(&model.inventory(), &config)), ["BP-S019"]);
}

/// Plans on the disks of [`journaled`], to be stopped before anything is written.
fn refused(model: &Model, config: &MachineConfig) -> Plan {
    let plan = plan(&model.inventory(), config);
    assert!(plan.is_blocked(), "{plan:#?}");
    plan
}

#[test]
fn a_disk_for_a_journal_is_chosen_as_strictly_as_any() {
    let (model, config) = journaled(Level::Raid6, 4);
    let mut foreign = model.clone();
    foreign_partition(&mut foreign, JOURNAL, signature("ext4", "3f2a6c1e-0000-0000-0000-000000000000", "mail"));
    assert_eq!(codes(&refused(&foreign, &config)), ["BP-S014"]);
    let mut missing = model.clone();
    missing.pull(JOURNAL);
    assert_eq!(codes(&refused(&missing, &config)), ["BP-S001"]);
    let mut small = model.clone();
    small.disk_mut(JOURNAL).unwrap().device.size = 64 << 20;
    assert_eq!(codes(&refused(&small, &config)), ["BP-S010"]);
    // One disk by two names: a file can't tell, disks do.
    let mut both = model.clone();
    both.disk_mut("vd0").unwrap().device.wwn = Some("W0".into());
    let mut twice = config.clone();
    meta(&mut twice).journal = Some(machine_config::schema::Selector { wwn: vec!["W0".into()], ..Default::default() });
    assert!(codes(&refused(&both, &twice)).contains(&"BP-S005".to_owned()));
    // That of another node, which made it for an array of the same name.
    let mut other = config.clone();
    other.name = "n2".into();
    let theirs = made(model.clone(), &other);
    let mut mixed = model.clone();
    mixed.pull(JOURNAL);
    mixed.put_back(theirs.disks().iter().find(|d| d.device.name == JOURNAL).unwrap().clone());
    assert_eq!(codes(&refused(&mixed, &config)), ["BP-S014"]);
}

#[test]
fn a_file_that_asks_for_half_a_journal_is_refused() {
    let (model, config) = journaled(Level::Raid6, 4);
    let wrong = |change: &dyn Fn(&mut machine_config::schema::Array)| {
        let mut config = config.clone();
        change(meta(&mut config));
        codes(&refused(&model, &config))
    };
    assert_eq!(wrong(&|a| a.journal = None), ["BP-S030"]);
    assert_eq!(wrong(&|a| a.write_hole = None), ["BP-S030"]);
    assert_eq!(wrong(&|a| a.journal = Some(serials(&["J", "K"]))), ["BP-S030"]);
    assert_eq!(wrong(&|a| a.journal = Some(Default::default())), ["BP-S030"]);
    assert_eq!(wrong(&|a| (a.level, a.spares) = (Level::Raid1, 0)), ["BP-S030"]);
}

#[test]
fn what_an_array_was_made_with_it_keeps() {
    let (model, mut config) = journaled(Level::Raid6, 4);
    let model = made(model, &config);
    (meta(&mut config).write_hole, meta(&mut config).journal) = (None, None);
    let kept = plan(&model.inventory(), &config);
    assert_eq!((codes(&kept), volume(&kept, "meta/db").verdict), (Vec::new(), Verdict::Keep));
    let says = |plan: &Plan, what: &str| volume(plan, "meta/db").reasons.iter().any(|r| r == what);
    assert!(says(&kept, "It was made with a journal, and not with a bitmap."), "{kept:#?}");
    // And the reverse: a disk that the file names later stays blank.
    let (model, journal) = journaled(Level::Raid6, 4);
    let made = made(model, &config);
    let kept = plan(&made.inventory(), &journal);
    assert_eq!((codes(&kept), kept.writes()), (Vec::new(), 0));
    assert!(says(&kept, "It was made with a bitmap, and not with a journal."), "{kept:#?}");
}
