//! What `ssacli` tells of HPE Smart Array controllers, in text. Pure.
//!
//! Words are those of the Smart Storage Administrator User Guide (HPE) and of answers that its users have published. Each
//! level of the text is indented by three more blanks: controller, array, drive, and what a drive says of itself. Lines that
//! stand elsewhere or say other things are not looked at. Sizes of logical drives are in binary units, those of physical
//! drives in decimal ones, as on their labels.

use super::{collapsed, size};
use anyhow::{Context, Result, bail};
use machine_config::schema::Media;
use std::collections::BTreeMap;
use storage_plan::controller::{
    Backup, Controller, PhysicalDrive, PhysicalState, VirtualDrive, VirtualState, WriteCache,
};

/// What is asked.
pub(super) const QUESTION: [&str; 5] = ["controller", "all", "show", "config", "detail"];

/// What something says of itself, by key.
type Facts = BTreeMap<String, String>;

/// A controller as it stands in the text.
#[derive(Default)]
struct Block {
    title: String,
    facts: Facts,
    /// `Logical Drive: 1` or `physicaldrive 1I:1:1`, the array that it is in, and its facts.
    drives: Vec<(Drive, Option<String>, Facts)>,
}

enum Drive {
    Logical(String),
    Physical(String),
}

/// All controllers.
///
/// # Errors
/// When there is none in the text and it does not say so, or one lacks what every controller and every drive has; the error
/// says what.
pub fn parse(tool: &str, text: &str) -> Result<Vec<Controller>> {
    let blocks = blocks(text);
    if blocks.is_empty() && !text.to_lowercase().contains("no controllers detected") {
        bail!("there is no controller in it: {:?}", text.trim().lines().next().unwrap_or_default());
    }
    blocks.iter().map(|block| controller(tool, block).with_context(|| format!("of {:?}", block.title))).collect()
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut array, mut in_drive) = (None, false);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (indent, words) = (line.len() - line.trim_start().len(), line.trim());
        if indent == 0 && words.contains(" in Slot ") {
            blocks.push(Block { title: words.into(), ..Block::default() });
            (array, in_drive) = (None, false);
        }
        let Some(block) = blocks.last_mut() else { continue };
        let fact = words.split_once(':').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
        match (indent, fact) {
            (3, fact) => {
                in_drive = false;
                array = array_name(words);
                block.facts.extend(fact);
            }
            (6, _) => {
                let drive = drive(words);
                in_drive = drive.is_some();
                block.drives.extend(drive.map(|drive| (drive, array.clone(), Facts::new())));
            }
            (9, Some((key, value))) if in_drive => {
                // A list within a drive has no key; a key that comes twice is of such a list.
                block.drives.last_mut().map(|(_, _, facts)| facts.entry(key).or_insert(value));
            }
            _ => {}
        }
    }
    blocks
}

/// `Array: A`, and `array A` of older versions.
fn array_name(words: &str) -> Option<String> {
    let (word, name) = words.split_once([':', ' '])?;
    let name = name.trim();
    (word.eq_ignore_ascii_case("array") && !name.is_empty() && !name.contains(' ')).then(|| name.to_owned())
}

fn drive(words: &str) -> Option<Drive> {
    let logical = words.strip_prefix("Logical Drive:").map(|n| Drive::Logical(n.trim().to_owned()));
    // A line of a list goes on behind the place.
    let place = || words.strip_prefix("physicaldrive ").filter(|place| !place.contains(' '));
    logical.or_else(|| Some(Drive::Physical(place()?.to_owned())))
}

fn controller(tool: &str, block: &Block) -> Result<Controller> {
    let (model, slot) = block.title.rsplit_once(" in Slot ").context("it has no slot")?;
    let number = slot.chars().take_while(char::is_ascii_digit).collect::<String>();
    let told = |key: &str| told(&block.facts, key);
    let unprotected = told("No-Battery Write Cache").as_deref() == Some("Enabled");
    let mut found = Controller {
        tool: tool.into(),
        number: number.parse().ok().context("its slot has no number")?,
        model: model.into(),
        serial: told("Serial Number"),
        firmware: told("Firmware Version"),
        backup: backup(&block.facts),
        virtual_drives: Vec::new(),
        physical_drives: Vec::new(),
    };
    for (drive, array, facts) in &block.drives {
        match drive {
            Drive::Logical(number) => {
                let of_it = || format!("of the logical drive {number:?}");
                found.virtual_drives.push(logical(number, array.clone(), facts, unprotected).with_context(of_it)?);
            }
            Drive::Physical(place) => {
                let of_it = || format!("of the physical drive {place}");
                found.physical_drives.push(physical(place, array.clone(), facts).with_context(of_it)?);
            }
        }
    }
    Ok(found)
}

fn backup(facts: &Facts) -> Backup {
    let (status, cache) = (told(facts, "Battery/Capacitor Status"), told(facts, "Cache Status"));
    let bad = |says: &String| *says != "OK";
    let off = |says: &String| says.contains("Disabled");
    match (status, cache) {
        (Some(says), _) if bad(&says) => Backup::Bad { says },
        (_, Some(says)) if off(&says) => Backup::Bad { says },
        (Some(_), _) => Backup::Good,
        _ if told(facts, "Battery/Capacitor Count").as_deref() == Some("0") => Backup::Absent,
        _ if told(facts, "Cache Board Present").as_deref() == Some("False") => Backup::Absent,
        _ => Backup::Unknown,
    }
}

fn logical(number: &str, array: Option<String>, facts: &Facts, unprotected: bool) -> Result<VirtualDrive> {
    let status = needed(facts, "Status")?;
    let state = match status.as_str() {
        "OK" => VirtualState::Optimal,
        "Interim Recovery Mode" => VirtualState::Degraded,
        "Failed" => VirtualState::Offline,
        _ if status.starts_with("Ready for") => VirtualState::Degraded,
        _ if status.starts_with("Recovering") || status.starts_with("Rebuilding") => {
            VirtualState::Rebuilding { percent: percent(&status) }
        }
        _ => VirtualState::Other { says: status },
    };
    let level = needed(facts, "Fault Tolerance")?;
    Ok(VirtualDrive {
        number: number.parse().context("it has no number")?,
        name: told(facts, "Logical Drive Label"),
        group: array,
        level: format!("RAID {}", level.trim_start_matches("RAID ")),
        size: told(facts, "Size").and_then(|words| size(&words, 1024)),
        state,
        cache: match told(facts, "Caching").as_deref() {
            Some("Enabled") if unprotected => WriteCache::AlwaysBack,
            Some("Enabled") => WriteCache::Back,
            Some("Disabled") => WriteCache::Through,
            _ => WriteCache::Unknown,
        },
        wwn: told(facts, "Unique Identifier"),
        disk: told(facts, "Disk Name").and_then(|name| name.strip_prefix("/dev/").map(str::to_owned)),
    })
}

fn physical(place: &str, array: Option<String>, facts: &Facts) -> Result<PhysicalDrive> {
    let status = needed(facts, "Status")?;
    let kind = told(facts, "Drive Type").unwrap_or_default();
    let predicts_failure = status.starts_with("Predictive Failure");
    let state = match status.as_str() {
        "Failed" => PhysicalState::Failed,
        _ if status.starts_with("Rebuilding") => PhysicalState::Rebuilding { percent: percent(&status) },
        _ if status != "OK" && !predicts_failure => PhysicalState::Other { says: status },
        _ if kind.contains("Spare") => PhysicalState::Spare,
        _ if kind.contains("Unassigned") => PhysicalState::Unconfigured,
        _ if kind.contains("HBA") => PhysicalState::PassedThrough,
        _ => PhysicalState::Online,
    };
    let interface = told(facts, "Interface Type").unwrap_or_default();
    Ok(PhysicalDrive {
        place: Some(place.into()),
        group: array,
        serial: told(facts, "Serial Number"),
        model: told(facts, "Model").map(|model| collapsed(&model)),
        size: told(facts, "Size").and_then(|words| size(&words, 1000)),
        media: match () {
            () if interface.contains("NVMe") => Some(Media::Nvme),
            () if interface.contains("Solid State") => Some(Media::Ssd),
            () if facts.contains_key("Rotational Speed") => Some(Media::Hdd),
            () => None,
        },
        state,
        media_errors: None,
        other_errors: None,
        predicts_failure,
    })
}

/// `Recovering, 23.45% complete`.
fn percent(status: &str) -> Option<u8> {
    let before = status.split_once('%')?.0.rsplit(' ').next()?;
    before.split('.').next()?.parse().ok()
}

fn told(facts: &Facts, key: &str) -> Option<String> {
    facts.get(key).filter(|value| !value.is_empty()).cloned()
}

fn needed(facts: &Facts, key: &str) -> Result<String> {
    told(facts, key).with_context(|| format!("there is no {key:?}"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Made up from published answers and the manual; see `samples/README.md`.
    pub const CONFIG: &str = include_str!("samples/ssacli.txt");
    pub const NO_CONTROLLER: &str = include_str!("samples/ssacli-no-controller.txt");

    #[test]
    fn controllers_say_what_they_are() {
        let found = parse("ssacli", CONFIG).unwrap();
        let short =
            |c: &Controller| (c.number, c.model.clone(), c.serial.clone().unwrap(), c.firmware.clone().unwrap());
        assert_eq!(
            found.iter().map(short).collect::<Vec<_>>(),
            [
                (0, "HPE Smart Array P408i-a SR Gen10".into(), "PEYHC0AAAA0001".into(), "6.52".into()),
                (2, "Smart Array P440".into(), "PDNMF0AAAA0002".into(), "7.20".into()),
            ],
            "not what a drive cage or an enclosure processor says of itself"
        );
        assert_eq!(found[0].backup, Backup::Good);
        assert_eq!(found[1].backup, Backup::Bad { says: "Failed (Replace Batteries)".into() });
        let backup = |from: &str, to: &str| parse("ssacli", &CONFIG.replacen(from, to, 1)).unwrap()[0].backup.clone();
        assert_eq!(
            backup("Cache Status: OK", "Cache Status: Temporarily Disabled"),
            Backup::Bad { says: "Temporarily Disabled".into() }
        );
        let without = "   Battery/Capacitor Count: 1\n   Battery/Capacitor Status: OK\n";
        assert_eq!(backup(without, "   Battery/Capacitor Count: 0\n"), Backup::Absent);
        assert_eq!(backup(without, ""), Backup::Unknown);
    }

    #[test]
    fn logical_drives_are_read_with_what_the_kernel_knows_them_by() {
        let found = parse("ssacli", CONFIG).unwrap();
        let short = |d: &VirtualDrive| (d.number, d.group.clone().unwrap(), d.level.clone(), d.state.clone(), d.cache);
        assert_eq!(
            found.iter().flat_map(|c| &c.virtual_drives).map(short).collect::<Vec<_>>(),
            [
                (1, "A".into(), "RAID 1".into(), VirtualState::Optimal, WriteCache::Back),
                (2, "B".into(), "RAID 5".into(), VirtualState::Degraded, WriteCache::Through),
                (3, "B".into(), "RAID 1+0".into(), VirtualState::Rebuilding { percent: Some(23) }, WriteCache::Through),
                (1, "A".into(), "RAID 0".into(), VirtualState::Offline, WriteCache::AlwaysBack),
            ]
        );
        let first = &found[0].virtual_drives[0];
        assert_eq!(first.wwn.as_deref(), Some("600508B1001CAAAA0000C0FFEE000001"));
        assert_eq!((first.disk.as_deref(), first.size), (Some("sda"), Some(1_198_467_674_275)));
        assert_eq!(found[1].virtual_drives[0].disk, None);
        let other =
            parse("ssacli", &CONFIG.replacen("Status: Interim Recovery Mode", "Status: Overheating", 1)).unwrap();
        assert_eq!(other[0].virtual_drives[1].state, VirtualState::Other { says: "Overheating".into() });
    }

    #[test]
    fn physical_drives_are_read_once_each() {
        let found = parse("ssacli", CONFIG).unwrap();
        let short = |d: &PhysicalDrive| (d.place.clone().unwrap(), d.group.clone(), d.state.clone(), d.media);
        let (a, b) = (Some("A".to_owned()), Some("B".to_owned()));
        assert_eq!(
            found[0].physical_drives.iter().map(short).collect::<Vec<_>>(),
            [
                ("1I:1:1".into(), a.clone(), PhysicalState::Online, Some(Media::Hdd)),
                ("1I:1:2".into(), a, PhysicalState::Online, Some(Media::Hdd)),
                ("1I:1:3".into(), b.clone(), PhysicalState::Failed, Some(Media::Ssd)),
                ("1I:1:4".into(), b.clone(), PhysicalState::Rebuilding { percent: None }, Some(Media::Ssd)),
                ("2I:1:5".into(), b, PhysicalState::Spare, Some(Media::Ssd)),
                ("2I:1:6".into(), None, PhysicalState::Unconfigured, Some(Media::Hdd)),
            ]
        );
        let drives = &found[0].physical_drives;
        assert_eq!(
            drives.iter().map(|d| d.predicts_failure).collect::<Vec<_>>(),
            [false, true, false, false, false, false]
        );
        assert_eq!((drives[0].serial.as_deref(), drives[0].size), (Some("WFKAAAA1"), Some(1_200_000_000_000)));
        assert_eq!(drives[0].model.as_deref(), Some("HP EG001200JWJNQ"));
        assert_eq!((&drives[2].serial, &drives[2].model, drives[2].size), (&None, &None, None), "one that is gone");
        assert_eq!(found[1].physical_drives[1].state, PhysicalState::PassedThrough);
    }

    #[test]
    fn what_every_answer_has_is_missed_by_its_name() {
        let says = |from: &str, to: &str| {
            assert!(CONFIG.contains(from), "{from}");
            format!("{:#}", parse("ssacli", &CONFIG.replacen(from, to, 1)).unwrap_err())
        };
        let title = "of \"HPE Smart Array P408i-a SR Gen10 in Slot 0 (Embedded)\": ";
        assert_eq!(
            says("         Fault Tolerance: 1\n", ""),
            format!("{title}of the logical drive \"1\": there is no \"Fault Tolerance\"")
        );
        assert_eq!(
            says("         Bay: 2\n         Status: Predictive Failure\n", ""),
            format!("{title}of the physical drive 1I:1:2: there is no \"Status\"")
        );
        assert!(says("in Slot 0 (Embedded)", "in Slot ? (Embedded)").ends_with("its slot has no number"));
        assert_eq!(parse("ssacli", NO_CONTROLLER).unwrap(), []);
        let other = parse("ssacli", "ssacli: command not found").unwrap_err().to_string();
        assert_eq!(other, "there is no controller in it: \"ssacli: command not found\"");
    }
}
