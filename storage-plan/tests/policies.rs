//! What the configuration says about how volumes are made, mounted and kept.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod world;

use machine_config::schema::{MachineConfig, Mkfs};
use storage_plan::simulate::Model;
use storage_plan::{Action, plan};
use world::*;

fn made(mut model: Model, config: &MachineConfig) -> Model {
    let plan = plan(&model.inventory(), config);
    assert!(!plan.is_blocked(), "{:#?}", plan.all_refusals());
    model.carry_out(&plan).unwrap();
    model.power_cut();
    model
}

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
    assert_eq!(made_with("state"), Mkfs::default());
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
