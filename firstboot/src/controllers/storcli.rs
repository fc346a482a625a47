//! What `storcli64` and `perccli64` tell of MegaRAID and PERC controllers, in JSON. Pure.
//!
//! Keys and states are those of the StorCLI Reference Manual (Broadcom) and of answers that its users have published; what a
//! firmware adds is not looked at. Sizes are in binary units, whatever they are called.

use super::{collapsed, size};
use anyhow::{Context, Result, anyhow, bail};
use machine_config::schema::Media;
use serde_json::{Map, Value};
use storage_plan::controller::{
    Backup, Controller, PhysicalDrive, PhysicalState, VirtualDrive, VirtualState, WriteCache,
};

/// What is asked, in this order: controllers, then the details of virtual and of physical drives.
pub(super) const QUESTIONS: [&[&str]; 3] =
    [&["/call", "show", "all"], &["/call/vall", "show", "all"], &["/call/eall/sall", "show", "all"]];
/// What is asked beside that while a drive is filled.
pub(super) const REBUILDS: &[&str] = &["/call/eall/sall", "show", "rebuild"];

type Object = Map<String, Value>;

/// All controllers. Details may be lacking: a controller without drives has none to tell.
///
/// # Errors
/// When an answer is no such JSON, or lacks what every controller and every drive has; the error says what.
pub fn parse(tool: &str, controllers: &str, virtual_drives: &str, physical_drives: &str) -> Result<Vec<Controller>> {
    let details = [answers(virtual_drives)?, answers(physical_drives)?];
    let mut found = Vec::new();
    for answer in answers(controllers)? {
        let number = answer.number.context("the answer of a controller has no \"Controller\"")?;
        let data = answer.data.with_context(|| format!("controller {number} says: {}", answer.says))?;
        let of_it = |answers: &[Answer]| {
            answers.iter().filter(|a| a.number == Some(number)).find_map(|a| a.data.clone()).unwrap_or_default()
        };
        let details = details.each_ref().map(|answers| of_it(answers));
        found.push(controller(tool, number, &data, &details).with_context(|| format!("of controller {number}"))?);
    }
    Ok(found)
}

/// Says of drives that are being filled how far that is.
///
/// # Errors
/// When it is no such JSON.
pub fn rebuilds(controllers: &mut [Controller], text: &str) -> Result<()> {
    for answer in answers(text)? {
        let Some(controller) = controllers.iter_mut().find(|c| Some(c.number) == answer.number) else { continue };
        for row in &answer.rows {
            let percent = word(row, "Progress%").and_then(|p| p.parse::<u8>().ok());
            let place = word(row, "Drive-ID").and_then(|id| place(&id));
            let drive = controller.physical_drives.iter_mut().find(|d| d.place.is_some() && d.place == place);
            let Some(drive) = drive.filter(|d| matches!(d.state, PhysicalState::Rebuilding { .. })) else { continue };
            drive.state = PhysicalState::Rebuilding { percent };
            let on_it = controller.virtual_drives.iter_mut().filter(|v| v.group == drive.group);
            on_it
                .filter(|v| matches!(v.state, VirtualState::Rebuilding { .. }))
                .for_each(|v| v.state = VirtualState::Rebuilding { percent });
        }
    }
    Ok(())
}

/// One controller's part of an answer.
struct Answer {
    number: Option<u32>,
    /// Nothing when it could not answer, or has nothing to tell.
    data: Option<Object>,
    /// What some questions are answered with in its place.
    rows: Vec<Object>,
    says: String,
}

fn answers(text: &str) -> Result<Vec<Answer>> {
    // Some versions say something before that.
    let json = text.find('{').map_or(text, |at| &text[at..]);
    let answer: Object = serde_json::from_str(json).context("it is not JSON")?;
    let answers = answer.get("Controllers").and_then(Value::as_array).context("it has no \"Controllers\"")?;
    let part = |part: &Value| {
        let status = object(part, "Command Status").context("an answer has no \"Command Status\"")?;
        let good = needed(&status, "Status")? == "Success";
        let says = word(&status, "Description").unwrap_or_default();
        let number = word(&status, "Controller").and_then(|n| n.parse().ok());
        let data = object(part, "Response Data").filter(|_| good);
        let rows = part.as_object().map(|part| rows(part, "Response Data")).unwrap_or_default();
        Ok(Answer { number, data, rows, says })
    };
    let answers: Vec<Answer> = answers.iter().map(part).collect::<Result<_>>()?;
    let none = |answer: &Answer| answer.data.is_none() && answer.says.to_lowercase().contains("no controller found");
    Ok(answers.into_iter().filter(|answer| !none(answer)).collect())
}

fn controller(tool: &str, number: u32, data: &Object, [virtuals, physicals]: &[Object; 2]) -> Result<Controller> {
    let within = |table: &str, key: &str| data.get(table).and_then(Value::as_object).and_then(|t| word(t, key));
    let model = within("Basics", "Model").or_else(|| word(data, "Product Name")).context("there is no \"Model\"")?;
    let mut physical_drives =
        rows(data, "PD LIST").iter().map(|row| physical_drive(row, physicals)).collect::<Result<Vec<_>>>()?;
    // A place that is empty is no drive, so it stands in the topology alone.
    physical_drives.extend(rows(data, "TOPOLOGY").iter().filter(|row| is_missing(row)).map(|row| PhysicalDrive {
        group: group(row, "DG"),
        state: PhysicalState::Missing,
        ..PhysicalDrive::default()
    }));
    let rebuilt: Vec<Option<String>> = physical_drives
        .iter()
        .filter(|d| matches!(d.state, PhysicalState::Rebuilding { .. }))
        .map(|d| d.group.clone())
        .collect();
    let virtual_drive = |row: &Object| virtual_drive(row, virtuals, &rebuilt);
    Ok(Controller {
        tool: tool.into(),
        number,
        model,
        serial: within("Basics", "Serial Number").or_else(|| word(data, "Serial Number")),
        firmware: within("Version", "Firmware Package Build").or_else(|| word(data, "FW Package Build")),
        backup: backup(data, within("HwCfg", "BBU").as_deref()),
        virtual_drives: rows(data, "VD LIST").iter().map(virtual_drive).collect::<Result<_>>()?,
        physical_drives,
    })
}

/// A CacheVault or a battery has a row of its own where there is one.
fn backup(data: &Object, battery: Option<&str>) -> Backup {
    let states = ["Cachevault_Info", "BBU_Info"].into_iter().flat_map(|table| rows(data, table));
    match states.filter_map(|row| word(&row, "State")).find(|state| !state.is_empty()).as_deref() {
        Some("Optimal") => Backup::Good,
        Some(says) => Backup::Bad { says: says.into() },
        None if matches!(battery, Some("No" | "NA" | "N/A" | "Absent")) => Backup::Absent,
        None => Backup::Unknown,
    }
}

fn virtual_drive(row: &Object, details: &Object, rebuilt: &[Option<String>]) -> Result<VirtualDrive> {
    let id = needed(row, "DG/VD")?;
    let (on, number) = id.split_once('/').with_context(|| format!("the virtual drive {id:?} has no number"))?;
    let number: u32 = number.trim().parse().map_err(|_| anyhow!("the virtual drive {id:?} has no number"))?;
    let of_it = || format!("of the virtual drive {id}");
    let group = Some(on.to_owned());
    let properties = details.get(&format!("VD{number} Properties")).and_then(Value::as_object);
    let property = |key: &str| properties.and_then(|p| word(p, key)).filter(|w| !w.is_empty());
    let state = match needed(row, "State").with_context(of_it)?.as_str() {
        "Optl" => VirtualState::Optimal,
        "Dgrd" | "Pdgd" if rebuilt.contains(&group) => VirtualState::Rebuilding { percent: None },
        "Dgrd" | "Pdgd" => VirtualState::Degraded,
        "OfLn" | "Offln" => VirtualState::Offline,
        says => VirtualState::Other { says: says.into() },
    };
    let cache = word(row, "Cache").unwrap_or_default();
    let cache = match () {
        () if cache.contains("AWB") || cache.contains("FWB") => WriteCache::AlwaysBack,
        () if cache.contains("WB") => WriteCache::Back,
        () if cache.contains("WT") => WriteCache::Through,
        () => WriteCache::Unknown,
    };
    Ok(VirtualDrive {
        number,
        name: word(row, "Name").filter(|name| !name.is_empty()),
        group,
        level: needed(row, "TYPE").with_context(of_it)?.replacen("RAID", "RAID ", 1),
        size: word(row, "Size").and_then(|words| size(&words, 1024)),
        state,
        cache,
        wwn: property("SCSI NAA Id"),
        disk: property("OS Drive Name").map(|name| name.trim_start_matches("/dev/").to_owned()),
    })
}

fn physical_drive(row: &Object, details: &Object) -> Result<PhysicalDrive> {
    let place = needed(row, "EID:Slt")?.replace(' ', "");
    let state = needed(row, "State").with_context(|| format!("of the drive {place}"))?;
    let is_foreign = word(row, "DG").as_deref() == Some("F");
    let state = match state.as_str() {
        // A drive that is copied to another serves until that has ended.
        "Onln" | "Cpybck" => PhysicalState::Online,
        "Rbld" => PhysicalState::Rebuilding { percent: None },
        "Offln" | "Failed" | "UBad" | "UBUnsp" => PhysicalState::Failed,
        "Msng" => PhysicalState::Missing,
        "Frgn" => PhysicalState::Foreign,
        "UGood" | "UGUnsp" | "JBOD" if is_foreign => PhysicalState::Foreign,
        "UGood" | "UGUnsp" => PhysicalState::Unconfigured,
        "GHS" | "DHS" => PhysicalState::Spare,
        "JBOD" => PhysicalState::PassedThrough,
        says => PhysicalState::Other { says: says.into() },
    };
    let of_it = details.iter().filter_map(|(key, value)| {
        let drive = key.strip_prefix("Drive ")?.strip_suffix(" - Detailed Information")?;
        (self::place(drive).as_deref() == Some(&place)).then(|| value.as_object())?
    });
    // Its tables carry the drive's name once more: ".. State", ".. Device attributes".
    let tables: Vec<&Object> = of_it.flat_map(|of_it| of_it.values().filter_map(Value::as_object)).collect();
    let detail = |key: &str| tables.iter().find_map(|table| word(table, key));
    let count = |key: &str| detail(key).and_then(|n| n.parse::<u64>().ok());
    let interface = word(row, "Intf").unwrap_or_default();
    Ok(PhysicalDrive {
        place: Some(place),
        group: group(row, "DG"),
        serial: detail("SN"),
        model: word(row, "Model").map(|model| collapsed(&model)).filter(|model| !model.is_empty()),
        size: word(row, "Size").and_then(|words| size(&words, 1024)),
        media: match word(row, "Med").as_deref() {
            Some("HDD") => Some(Media::Hdd),
            Some("SSD") if interface == "NVMe" => Some(Media::Nvme),
            Some("SSD") => Some(Media::Ssd),
            _ => None,
        },
        state,
        media_errors: count("Media Error Count"),
        other_errors: count("Other Error Count"),
        predicts_failure: count("Predictive Failure Count").is_some_and(|n| n > 0)
            || detail("S.M.A.R.T alert flagged by drive").as_deref() == Some("Yes"),
    })
}

fn is_missing(row: &Object) -> bool {
    word(row, "Type").as_deref() == Some("DRIVE") && word(row, "State").as_deref() == Some("Msng")
}

/// A group has a number; a drive without one has `-` or a blank, a foreign one `F`.
fn group(row: &Object, key: &str) -> Option<String> {
    word(row, key).filter(|g| !g.is_empty() && g.chars().all(|c| c.is_ascii_digit()))
}

/// `/c0/e32/s4` as `32:4`; a drive without an enclosure as `:4`.
fn place(id: &str) -> Option<String> {
    let part = |letter: char| id.split('/').find_map(|part| part.strip_prefix(letter));
    let part = |letter| part(letter).filter(|n| n.chars().all(|c| c.is_ascii_digit()));
    Some(format!("{}:{}", part('e').unwrap_or(""), part('s')?))
}

fn object(value: &Value, key: &str) -> Option<Object> {
    value.get(key).and_then(Value::as_object).cloned()
}

fn rows(data: &Object, key: &str) -> Vec<Object> {
    let rows = data.get(key).and_then(Value::as_array);
    rows.into_iter().flatten().filter_map(|row| row.as_object().cloned()).collect()
}

/// Numbers are written as numbers or as text, by version; text has blanks around it.
fn word(row: &Object, key: &str) -> Option<String> {
    match row.get(key)? {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn needed(row: &Object, key: &str) -> Result<String> {
    match word(row, key) {
        Some(word) if !word.is_empty() => Ok(word),
        _ => bail!("there is no {key:?}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Made up from published answers and the manual; see `samples/README.md`.
    pub const CONTROLLERS: &str = include_str!("samples/storcli-controllers.json");
    pub const VIRTUAL_DRIVES: &str = include_str!("samples/storcli-virtual-drives.json");
    pub const PHYSICAL_DRIVES: &str = include_str!("samples/storcli-physical-drives.json");
    pub const REBUILD: &str = include_str!("samples/storcli-rebuild.json");
    pub const NO_CONTROLLER: &str = include_str!("samples/storcli-no-controller.json");

    fn perc() -> Controller {
        let found = parse("perccli64", CONTROLLERS, VIRTUAL_DRIVES, PHYSICAL_DRIVES).unwrap();
        assert_eq!(found.len(), 2);
        found[0].clone()
    }

    #[test]
    fn a_controller_says_what_it_is() {
        let perc = perc();
        assert_eq!((perc.number, perc.model.as_str()), (0, "PERC H740P Mini"));
        assert_eq!((perc.serial.as_deref(), perc.firmware.as_deref()), (Some("00AB12C"), Some("51.16.0-4076")));
        assert_eq!(perc.backup, Backup::Good);
        let other = &parse("perccli64", CONTROLLERS, VIRTUAL_DRIVES, PHYSICAL_DRIVES).unwrap()[1];
        assert_eq!((other.number, other.model.as_str()), (1, "AVAGO MegaRAID SAS 9361-8i"));
        assert_eq!(other.backup, Backup::Bad { says: "Degraded(needs attention)".into() });
        assert_eq!((other.virtual_drives.len(), other.physical_drives.len()), (1, 1));
        assert_eq!(other.virtual_drives[0].cache, WriteCache::AlwaysBack);
        assert_eq!(other.virtual_drives[0].wwn, None, "an answer without details has none");
    }

    #[test]
    fn virtual_drives_are_read_with_what_the_kernel_knows_them_by() {
        let drives = perc().virtual_drives;
        let short = |d: &VirtualDrive| (d.number, d.level.clone(), d.state.clone(), d.cache);
        assert_eq!(
            drives.iter().map(short).collect::<Vec<_>>(),
            [
                (0, "RAID 1".into(), VirtualState::Optimal, WriteCache::Through),
                (1, "RAID 6".into(), VirtualState::Rebuilding { percent: None }, WriteCache::Back),
                (2, "RAID 5".into(), VirtualState::Degraded, WriteCache::Back),
                (3, "RAID 0".into(), VirtualState::Offline, WriteCache::Through),
                (4, "RAID 10".into(), VirtualState::Other { says: "Rec".into() }, WriteCache::Back),
            ]
        );
        assert_eq!((drives[1].name.as_deref(), drives[1].group.as_deref()), (Some("data"), Some("1")));
        assert_eq!(drives[1].wwn.as_deref(), Some("64cd98f0a1b2c30027000000c0ffee01"));
        assert_eq!((drives[1].disk.as_deref(), drives[3].disk.as_deref()), (Some("sdb"), None));
        assert_eq!(drives[0].size, Some(479_559_942_144), "446.625 GB are GiB");
    }

    #[test]
    fn physical_drives_are_read_with_their_counters() {
        let drives = perc().physical_drives;
        let state = |place: Option<&str>| drives.iter().find(|d| d.place.as_deref() == place).unwrap().state.clone();
        let states = ["32:0", "32:4", "32:5", "32:6", "32:7", "32:8", "32:9", "32:10", "32:11"].map(|p| state(Some(p)));
        assert_eq!(
            states,
            [
                PhysicalState::Online,
                PhysicalState::Rebuilding { percent: None },
                PhysicalState::Failed,
                PhysicalState::Foreign,
                PhysicalState::Unconfigured,
                PhysicalState::Spare,
                PhysicalState::PassedThrough,
                PhysicalState::Failed,
                PhysicalState::Other { says: "Sntze".into() },
            ]
        );
        assert_eq!(state(None), PhysicalState::Missing);
        let missing = drives.iter().find(|d| d.place.is_none()).unwrap();
        assert_eq!(missing.group.as_deref(), Some("2"), "it is in the topology alone");
        let first = &drives[0];
        assert_eq!((first.serial.as_deref(), first.model.as_deref()), (Some("S45PNA0R100001"), Some("MZ7LH480HAHQ")));
        assert_eq!((first.media, first.media_errors, first.other_errors), (Some(Media::Ssd), Some(0), Some(0)));
        let alert = drives.iter().filter(|d| d.predicts_failure).map(|d| d.place.as_deref().unwrap());
        assert_eq!(alert.collect::<Vec<_>>(), ["32:1", "32:2"], "one by its count, one by its alert");
        let counted = drives.iter().find(|d| d.place.as_deref() == Some("32:1")).unwrap();
        assert_eq!((counted.media_errors, counted.other_errors), (Some(60), Some(2)), "written as text");
    }

    #[test]
    fn a_rebuild_says_how_far_it_is() {
        let mut found = vec![perc()];
        rebuilds(&mut found, REBUILD).unwrap();
        let percent = Some(23);
        let drive = found[0].physical_drives.iter().find(|d| d.place.as_deref() == Some("32:4")).unwrap();
        assert_eq!(drive.state, PhysicalState::Rebuilding { percent });
        assert_eq!(found[0].virtual_drives[1].state, VirtualState::Rebuilding { percent });
        assert_eq!(found[0].physical_drives[0].state, PhysicalState::Online, "its row says that it is not rebuilt");
    }

    #[test]
    fn what_every_answer_has_is_missed_by_its_name() {
        let says = |from: &str, to: &str| {
            assert!(CONTROLLERS.contains(from), "{from}");
            let text = CONTROLLERS.replacen(from, to, 1);
            format!("{:#}", parse("storcli64", &text, VIRTUAL_DRIVES, PHYSICAL_DRIVES).unwrap_err())
        };
        assert_eq!(says("\"Model\" : \"PERC", "\"Mod\" : \"PERC"), "of controller 0: there is no \"Model\"");
        assert_eq!(
            says("\"TYPE\" : \"RAID6\", \"State\" : \"Dgrd\"", "\"TYPE\" : \"RAID6\""),
            "of controller 0: of the virtual drive 1/1: there is no \"State\""
        );
        assert_eq!(says("\"1/1\"", "\"1-1\""), "of controller 0: the virtual drive \"1-1\" has no number");
        assert_eq!(
            says("\"State\" : \"Rbld\"", "\"Stat\" : \"Rbld\""),
            "of controller 0: of the drive 32:4: there is no \"State\""
        );
        assert_eq!(says("\"Controllers\"", "\"Control\""), "it has no \"Controllers\"");
        assert_eq!(says("\"Status\" : \"Success\"", "\"Status\" : \"Failure\""), "controller 0 says: None");
        let none = |text: &str| parse("storcli64", text, text, text);
        assert!(none("storcli64: command not found").is_err());
        assert_eq!(none(NO_CONTROLLER).unwrap(), []);
    }
}
