//! The picture of a plan shows what the plan says.

use crate::world::{foreign_partition, full, signature};
use storage_plan::{Verdict, picture, plan};

#[test]
fn every_disk_volume_step_and_refusal_is_in_the_picture() {
    let (mut model, config) = full();
    foreign_partition(&mut model, "vdd", signature("ext4", "", "<old> & \"gone\""));
    let inventory = model.inventory();
    let plan = plan(&inventory, &config);
    let svg = picture::svg(&inventory, &plan);
    for device in &inventory.devices {
        assert!(svg.contains(device.serial.as_deref().unwrap()), "{}", device.name);
    }
    let mut lines = 0;
    for volume in &plan.volumes {
        assert!(svg.contains(&format!("{}: {}", volume.volume, volume.verdict.word())), "{}", volume.volume);
        lines += volume.disks.len();
    }
    assert_eq!(svg.matches("<path ").count(), lines);
    for number in 1..=plan.graph.steps.len() {
        assert_eq!(svg.matches(&format!(">{number}. ")).count(), 1, "step {number}");
    }
    let refused = plan.volumes.iter().find(|v| v.verdict == Verdict::Refuse).unwrap();
    assert!(svg.contains(&refused.refusals[0].code) && svg.contains("it is not carried out"));
    assert!(svg.contains("&lt;old&gt;") && !svg.contains("<old>"), "a label is no markup");
    // Boxes of one side do not lie over each other.
    for left in [16, 560] {
        let number = |line: &str, name: &str| -> usize {
            let (_, rest) = line.split_once(&format!(" {name}=\"")).unwrap();
            rest.split('"').next().unwrap().parse().unwrap()
        };
        let boxes: Vec<(usize, usize)> = svg
            .lines()
            .filter(|line| line.starts_with(&format!("<rect x=\"{left}\"")))
            .map(|line| (number(line, "y"), number(line, "height")))
            .collect();
        assert!(boxes.len() > 2);
        assert!(boxes.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0), "{boxes:?}");
    }
}

#[test]
fn the_picture_does_not_depend_on_the_order_of_devices() {
    let (model, config) = full();
    let inventory = model.inventory();
    let mut turned = inventory.clone();
    turned.devices.reverse();
    assert_eq!(picture::svg(&inventory, &plan(&inventory, &config)), picture::svg(&turned, &plan(&turned, &config)));
}

#[test]
fn what_is_wrong_with_the_configuration_is_in_the_picture() {
    let (model, mut config) = full();
    for array in config.storage.array.values_mut() {
        array.volume.clear();
    }
    let inventory = model.inventory();
    let plan = plan(&inventory, &config);
    assert!(plan.volumes.is_empty());
    let svg = picture::svg(&inventory, &plan);
    assert!(svg.contains(&plan.refusals[0].code) && svg.contains("the configuration: refuse"));
}
