//! The locate LEDs of bays: lit where a person has to go, off again when nothing is wrong there.
//!
//! Guarantees: only bays of enclosures that the kernel tells of (SES) are switched; while the node runs, only a LED that
//! the node itself has lit is switched off. When it starts all are set anew: what lit them is not known any more.
#![allow(clippy::disallowed_methods, reason = "edge: switches LEDs, and notes which")]

use machine_config::Diagnostic;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use storage_plan::inventory::{Device, Inventory, Slot};
use storage_plan::refusal;

const ENCLOSURES: &str = "/sys/class/enclosure";
/// Which LEDs the node has lit since it was started.
const LIT: &str = "/run/bedplate/located.json";
/// What stands behind a disk whose LED is lit.
const MARK: &str = "  [LED on]";

/// What is refused of a disk by itself; other refusals list disks that only could be meant.
const OF_ONE_DISK: [&str; 6] =
    [refusal::UNFIT, refusal::IN_USE, refusal::FOREIGN, refusal::UNKNOWN_DATA, refusal::CHANGED_INSIDE, refusal::COPY];

/// Bays where something is wrong: the disk in it was refused or has failed in its array, or a member that was there is lost.
pub fn wanted(inventory: &Inventory, refusals: &[Diagnostic]) -> BTreeSet<Slot> {
    let is_there = |identity: &str| inventory.devices.iter().any(|d| d.identity() == Some(identity));
    let lost = inventory.remembered.iter().filter(|m| !is_there(&m.identity)).filter_map(|m| m.slot.clone());
    let has_failed = |device: &Device| {
        let failed = |name: &String| inventory.arrays.iter().any(|a| a.failed.contains(name));
        device.partitions.iter().any(|p| failed(&p.name))
    };
    let is_refused = |device: &Device| {
        let of_one = refusals.iter().filter(|r| OF_ONE_DISK.contains(&r.code.as_str()));
        of_one.into_iter().any(|r| r.what.contains(&device.words()))
    };
    let wrong = inventory.devices.iter().filter(|d| has_failed(d) || is_refused(d)).filter_map(|d| d.slot.clone());
    lost.chain(wrong).collect()
}

/// A bay with a LED, and whether it is lit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Led {
    /// The bay.
    pub slot: Slot,
    /// Whether it is lit.
    pub on: bool,
}

/// Which LEDs are to be switched to what, and which are the node's then. `ours` are those that it has lit before; none if
/// it has just been started.
pub fn changes(leds: &[Led], wanted: &BTreeSet<Slot>, ours: Option<&BTreeSet<Slot>>) -> (Vec<Led>, BTreeSet<Slot>) {
    let is_ours = |slot: &Slot| ours.is_none_or(|ours| ours.contains(slot));
    let switched: Vec<Led> = leds
        .iter()
        .filter(|led| if wanted.contains(&led.slot) { !led.on } else { led.on && is_ours(&led.slot) })
        .map(|led| Led { slot: led.slot.clone(), on: !led.on })
        .collect();
    let lit = switched.iter().filter(|led| led.on).map(|led| led.slot.clone());
    let kept = leds.iter().filter(|led| led.on && wanted.contains(&led.slot) && is_ours(&led.slot));
    let ours = lit.chain(kept.map(|led| led.slot.clone())).collect();
    (switched, ours)
}

/// The refusals with a mark behind each disk whose LED is lit.
fn marked(refusals: Vec<Diagnostic>, devices: &[Device], lit: &BTreeSet<Slot>) -> Vec<Diagnostic> {
    let lit: Vec<String> =
        devices.iter().filter(|d| d.slot.as_ref().is_some_and(|slot| lit.contains(slot))).map(Device::words).collect();
    let mark = |refusal: Diagnostic| {
        let what = lit.iter().fold(refusal.what, |what, words| what.replace(words, &format!("{words}{MARK}")));
        Diagnostic { what, ..refusal }
    };
    refusals.into_iter().map(mark).collect()
}

/// Lights the bays where something is wrong, and gives the refusals with a mark where that can be seen. Where no enclosure
/// tells of bays, nothing happens; a LED that can't be switched is noted in the log.
pub fn point_at(inventory: &Inventory, refusals: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let lit = switch(Path::new(ENCLOSURES), Path::new(LIT), &wanted(inventory, &refusals));
    marked(refusals, &inventory.devices, &lit)
}

/// Switches the LEDs below `enclosures`; gives the bays of `wanted` that are lit then.
fn switch(enclosures: &Path, note: &Path, wanted: &BTreeSet<Slot>) -> BTreeSet<Slot> {
    let found = leds(enclosures);
    if found.is_empty() {
        return BTreeSet::new();
    }
    let ours = std::fs::read(note).ok().and_then(|bytes| serde_json::from_slice::<BTreeSet<Slot>>(&bytes).ok());
    let shown: Vec<Led> = found.iter().map(|(_, led)| led.clone()).collect();
    let (switched, mut ours_then) = changes(&shown, wanted, ours.as_ref());
    let mut dark: BTreeSet<Slot> = BTreeSet::new();
    for led in &switched {
        for (file, _) in found.iter().filter(|(_, of)| of.slot == led.slot) {
            if let Err(e) = std::fs::write(file, if led.on { "1" } else { "0" }) {
                tracing::warn!("the LED of bay {} can't be switched: {}: {e}", led.slot.bay, file.display());
                // One that stays lit is still the node's to switch off.
                if led.on {
                    dark.insert(led.slot.clone())
                } else {
                    ours_then.insert(led.slot.clone())
                };
            }
        }
    }
    ours_then.retain(|slot| !dark.contains(slot));
    let text = serde_json::to_vec(&ours_then).unwrap_or_default();
    if let Some(folder) = note.parent() {
        let _ = std::fs::create_dir_all(folder);
    }
    if let Err(e) = std::fs::write(note, text) {
        tracing::warn!("{} can't be written: {e}", note.display());
    }
    let there = shown.into_iter().map(|led| led.slot).filter(|slot| wanted.contains(slot) && !dark.contains(slot));
    there.collect()
}

/// Each bay's attribute and what it says (kernel `drivers/misc/enclosure.c`).
fn leds(enclosures: &Path) -> Vec<(PathBuf, Led)> {
    let folders = |path: &Path| -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
        all.sort();
        all
    };
    let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let text = |path: PathBuf| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let mut found = Vec::new();
    for enclosure in folders(enclosures) {
        for bay in folders(&enclosure) {
            let Some(state) = text(bay.join("locate")) else { continue };
            // As observing names them.
            let number = text(bay.join("slot")).filter(|number| !number.is_empty()).unwrap_or_else(|| name(&bay));
            let slot = Slot { enclosure: name(&enclosure), bay: number };
            found.push((bay.join("locate"), Led { slot, on: state != "0" }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::sample::{array, disk, slot};
    use storage_plan::inventory::Remembered;

    fn slots(bays: &[&str]) -> BTreeSet<Slot> {
        bays.iter().map(|bay| slot(bay)).collect()
    }

    #[test]
    fn bays_of_refused_failed_and_lost_disks_are_lit_and_no_others() {
        let lost = |identity: &str, bay: &str| Remembered {
            array: uuid::Uuid::nil(),
            identity: identity.into(),
            slot: Some(slot(bay)),
            by_path: Vec::new(),
        };
        let inventory = Inventory {
            devices: vec![
                disk("sda", "A1", "1"),
                disk("sdb", "A2", "2"),
                disk("sdc", "F1", "3"),
                disk("sdd", "F2", "4"),
            ],
            arrays: vec![array("md127", "raid1", &["sda1"], &["sdb1"])],
            remembered: vec![lost("A1", "1"), lost("A9", "9")],
            ..Inventory::default()
        };
        let refused = |code: &str, disks: &[&Device]| {
            let words: Vec<String> = disks.iter().map(|d| d.words()).collect();
            refusal::diagnostic(code, format!("{} holds ext4.", words.join("; ")), String::new(), String::new())
        };
        let foreign = refused(refusal::FOREIGN, &[&inventory.devices[2]]);
        // Any of these would do: none is to be pulled out for that.
        let many = refused(refusal::TOO_MANY, &[&inventory.devices[0], &inventory.devices[3]]);
        let wanted = wanted(&inventory, &[foreign.clone(), many]);
        assert_eq!(wanted, slots(&["2", "3", "9"]));

        let marked = marked(vec![foreign], &inventory.devices, &wanted);
        let line = "bay 3 (enclosure 0:0:32:0)  ST12000NM0127  serial F1  2.1 GB  [LED on] holds ext4.";
        assert_eq!(marked[0].what, line);
    }

    #[test]
    fn a_led_that_a_person_lit_is_left_to_the_person() {
        let led = |bay: &str, on: bool| Led { slot: slot(bay), on };
        let leds = [led("1", false), led("2", true), led("3", true), led("4", true)];
        // 1 is to be lit; 2 is the node's and still wanted; 3 was the node's; 4 a person's.
        let (switched, ours) = changes(&leds, &slots(&["1", "2", "9"]), Some(&slots(&["2", "3"])));
        assert_eq!(switched, [led("1", true), led("3", false)]);
        assert_eq!(ours, slots(&["1", "2"]));
        // One that was lit by a person and is wanted too stays the person's.
        assert_eq!(changes(&leds, &slots(&["4"]), Some(&slots(&[]))), (Vec::new(), slots(&[])));
        // At the start nobody knows who lit them.
        let (switched, ours) = changes(&leds, &slots(&["1", "4"]), None);
        assert_eq!(switched, [led("1", true), led("2", false), led("3", false)]);
        assert_eq!(ours, slots(&["1", "4"]));
    }

    #[test]
    fn leds_are_switched_where_the_kernel_has_them() {
        let root = tempfile::tempdir().unwrap();
        let (enclosures, note) = (root.path().join("enclosure"), root.path().join("run/located.json"));
        let bay = |name: &str, number: Option<&str>, locate: Option<&str>| {
            let folder = enclosures.join("0:0:32:0").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            number.into_iter().for_each(|n| std::fs::write(folder.join("slot"), n).unwrap());
            locate.into_iter().for_each(|l| std::fs::write(folder.join("locate"), l).unwrap());
        };
        bay("Slot 01", Some("1\n"), Some("0\n"));
        bay("Slot 02", None, Some("1\n"));
        bay("power", None, None);
        let lit = |name: &str| std::fs::read_to_string(enclosures.join("0:0:32:0").join(name).join("locate")).unwrap();
        assert_eq!(switch(&enclosures, &note, &slots(&["1", "7"])), slots(&["1"]), "there is no bay 7");
        assert_eq!((lit("Slot 01").trim(), lit("Slot 02").trim()), ("1", "0"));
        // A person lights the other; the node's goes off when nothing is wrong.
        bay("Slot 02", None, Some("1\n"));
        assert_eq!(switch(&enclosures, &note, &slots(&[])), slots(&[]));
        assert_eq!((lit("Slot 01").trim(), lit("Slot 02").trim()), ("0", "1"));
        assert_eq!(switch(&root.path().join("none"), &note, &slots(&["1"])), slots(&[]));
    }
}
