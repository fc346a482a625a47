//! Hardware RAID controllers: what their vendors' tools tell of them, as one [model](storage_plan::controller).
//!
//! Guarantees: controllers are read and never written to, by no command of any tool; a tool runs only where the kernel's driver
//! has such a controller, and no longer than it is given; what can't be read is noted in the log and tells nothing.
//!
//! Parsers take text and are pure; [`read`] is the edge that asks.

pub mod ssacli;
pub mod storcli;
pub mod warnings;

use anyhow::Result;
use run_tool::Tool;
use std::path::Path;
use std::time::Duration;
use storage_plan::controller::{Controller, PhysicalState, name_disks};
use storage_plan::inventory::Device;

const DRIVERS: &str = "/sys/bus/pci/drivers";
/// Where packages of the vendors put their tools, beside where all others are.
const FOLDERS: [&str; 5] =
    ["/usr/sbin", "/usr/bin", "/opt/MegaRAID/perccli", "/opt/MegaRAID/storcli", "/opt/smartstorageadmin/ssacli/bin"];

/// Controllers that are asked in one way.
struct Vendor {
    /// The kernel's drivers of them.
    drivers: &'static [&'static str],
    /// Tools that know them, best first: Dell's knows Dell's alone.
    tools: &'static [&'static str],
    ask: fn(&Tool) -> Result<Vec<Controller>>,
}

const VENDORS: [Vendor; 2] = [
    Vendor { drivers: &["megaraid_sas"], tools: &["perccli64", "storcli64"], ask: ask_storcli },
    Vendor { drivers: &["hpsa", "smartpqi"], tools: &["ssacli"], ask: ask_ssacli },
];

/// What was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Controllers, with the names of their disks.
    pub controllers: Vec<Controller>,
    /// Controllers that are there and can't be asked, in words.
    pub silent: Vec<String>,
}

/// Asks all controllers that are there. Each command may take as long as `patience`; a tool that takes longer is asked
/// nothing more.
#[must_use]
pub fn read(devices: &[Device], patience: Duration) -> Told {
    let mut told = ask(Path::new(DRIVERS), &FOLDERS.map(Path::new), patience);
    name_disks(&mut told.controllers, devices);
    told
}

fn ask(drivers: &Path, folders: &[&Path], patience: Duration) -> Told {
    let mut told = Told::default();
    for vendor in VENDORS.iter().filter(|vendor| vendor.drivers.iter().any(|driver| has_device(&drivers.join(driver))))
    {
        let tools: Vec<Tool> = vendor.tools.iter().filter_map(|name| Tool::find(name, folders).ok()).collect();
        if tools.is_empty() {
            let (driver, tools) = (vendor.drivers.join(" or "), vendor.tools.join(" and "));
            told.silent
                .push(format!("RAID controllers of the driver {driver} are not asked: this image has no {tools}"));
        }
        let answers = tools.into_iter().map(|tool| {
            let answer = (vendor.ask)(&tool.clone().within(patience));
            answer.unwrap_or_else(|e| {
                tracing::warn!("{} tells nothing of RAID controllers: {e:#}", tool.name);
                Vec::new()
            })
        });
        told.controllers.extend(answers.into_iter().find(|found| !found.is_empty()).unwrap_or_default());
    }
    told
}

/// Whether a driver has a device: a link by its address (`0000:18:00.0`).
fn has_device(driver: &Path) -> bool {
    let entries = std::fs::read_dir(driver).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().matches(':').count() == 2)
}

fn ask_storcli(tool: &Tool) -> Result<Vec<Controller>> {
    let says = |question| storcli_says(tool, question);
    let [controllers, virtual_drives, physical_drives] = storcli::QUESTIONS;
    let mut found = storcli::parse(&tool.name, &says(controllers)?, &says(virtual_drives)?, &says(physical_drives)?)?;
    let is_filled =
        |c: &Controller| c.physical_drives.iter().any(|d| matches!(d.state, PhysicalState::Rebuilding { .. }));
    if found.iter().any(is_filled)
        && let Err(e) = says(storcli::REBUILDS).and_then(|text| storcli::rebuilds(&mut found, &text))
    {
        tracing::warn!("{} does not tell how far a rebuild is: {e:#}", tool.name);
    }
    Ok(found)
}

fn storcli_says(tool: &Tool, question: &[&str]) -> Result<String> {
    // It keeps a log in the folder that it runs in unless it is told not to.
    said(tool, &[question, &["nolog", "J"]].concat())
}

fn ask_ssacli(tool: &Tool) -> Result<Vec<Controller>> {
    ssacli::parse(&tool.name, &said(tool, &ssacli::QUESTION)?)
}

fn said(tool: &Tool, question: &[&str]) -> Result<String> {
    // The exit code tells of controllers without drives, too; the answer says what it is.
    let any: Vec<i32> = (0..=255).collect();
    Ok(tool.command().args(question).current_dir("/run").accept(&any).run()?.stdout_text())
}

/// Bytes of `446.625 GB`, where a unit is `step` times the one before it.
fn size(words: &str, step: u64) -> Option<u64> {
    let (number, unit) = words.trim().split_once(' ')?;
    let power = ["B", "KB", "MB", "GB", "TB", "PB"].iter().position(|u| *u == unit.trim())?;
    let factor = step.checked_pow(u32::try_from(power).ok()?)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if part.len() > 6 || !part.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let digits = 10u128.pow(u32::try_from(part.len()).ok()?);
    let part: u128 = if part.is_empty() { 0 } else { part.parse().ok()? };
    let bytes = (u128::from(whole.parse::<u64>().ok()?) * digits + part) * u128::from(factor) / digits;
    u64::try_from(bytes).ok()
}

/// Words with one blank between them: models are filled up with blanks, in between and behind.
fn collapsed(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "lays drivers as the kernel shows them, and tools")]
mod tests {
    use super::*;
    use crate::observe::sample;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A machine with these drivers, each with a controller or without, and with these tools.
    struct World(tempfile::TempDir);

    impl World {
        fn new(drivers: &[(&str, bool)], tools: &[(&str, &str)]) -> World {
            let root = tempfile::tempdir().unwrap();
            for (driver, has_controller) in drivers {
                let folder = root.path().join("drivers").join(driver);
                std::fs::create_dir_all(&folder).unwrap();
                ["bind", "module"].iter().for_each(|file| std::fs::write(folder.join(file), "").unwrap());
                if *has_controller {
                    std::fs::write(folder.join("0000:18:00.0"), "").unwrap();
                }
            }
            std::fs::create_dir(root.path().join("bin")).unwrap();
            for (tool, script) in tools {
                let file = root.path().join("bin").join(tool);
                std::fs::write(
                    &file,
                    format!("#!/bin/sh\necho \"$0 $*\" >> {}/asked\n{script}\n", root.path().display()),
                )
                .unwrap();
                std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
            World(root)
        }

        fn ask(&self) -> Told {
            ask(&self.0.path().join("drivers"), &[&self.0.path().join("bin")], PATIENCE)
        }

        /// What its tools were asked.
        fn asked(&self) -> Vec<String> {
            let text = std::fs::read_to_string(self.0.path().join("asked")).unwrap_or_default();
            let bin = format!("{}/bin/", self.0.path().display());
            text.lines().map(|line| line.replace(&bin, "")).collect()
        }
    }

    fn sample(name: &str) -> String {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/controllers/samples").join(name);
        format!("/bin/cat {}", file.display())
    }

    /// Answers as `storcli64` does.
    fn storcli() -> String {
        let [controllers, virtual_drives, physical_drives, rebuild] =
            ["controllers", "virtual-drives", "physical-drives", "rebuild"]
                .map(|n| sample(&format!("storcli-{n}.json")));
        format!(
            "case \"$*\" in \"/call show \"*) {controllers};; /call/vall*) {virtual_drives};; *rebuild*) {rebuild};; \
             *) {physical_drives};; esac"
        )
    }

    #[test]
    fn only_controllers_that_are_there_are_asked_and_nothing_but_shown() {
        let tools = [("storcli64", storcli()), ("ssacli", sample("ssacli.txt"))];
        let tools: Vec<(&str, &str)> = tools.iter().map(|(name, script)| (*name, script.as_str())).collect();
        let world = World::new(&[("megaraid_sas", false), ("hpsa", false)], &tools);
        assert_eq!((world.ask(), world.asked()), (Told::default(), Vec::new()), "a driver alone is no controller");
        let world = World::new(&[("megaraid_sas", true), ("hpsa", false), ("smartpqi", true)], &tools);
        let told = world.ask();
        let found: Vec<(&str, u32)> = told.controllers.iter().map(|c| (c.tool.as_str(), c.number)).collect();
        assert_eq!(found, [("storcli64", 0), ("storcli64", 1), ("ssacli", 0), ("ssacli", 2)]);
        assert_eq!(told.silent, Vec::<String>::new());
        assert_eq!(
            world.asked(),
            [
                "storcli64 /call show all nolog J",
                "storcli64 /call/vall show all nolog J",
                "storcli64 /call/eall/sall show all nolog J",
                "storcli64 /call/eall/sall show rebuild nolog J",
                "ssacli controller all show config detail",
            ]
        );
        let percent = Some(23);
        assert_eq!(told.controllers[0].physical_drives[4].state, PhysicalState::Rebuilding { percent });
    }

    #[test]
    fn a_tool_that_knows_no_controller_leaves_it_to_the_next() {
        let (none, all) = (sample("storcli-no-controller.json"), storcli());
        let world = World::new(&[("megaraid_sas", true)], &[("perccli64", &none), ("storcli64", &all)]);
        assert_eq!(world.ask().controllers.iter().map(|c| c.tool.as_str()).collect::<Vec<_>>(), ["storcli64"; 2]);
        let world = World::new(&[("megaraid_sas", true)], &[("perccli64", &all), ("storcli64", &all)]);
        assert_eq!(world.ask().controllers.iter().map(|c| c.tool.as_str()).collect::<Vec<_>>(), ["perccli64"; 2]);
        assert!(world.asked().iter().all(|line| line.starts_with("perccli64")), "one is enough");
    }

    #[test]
    fn a_controller_without_a_tool_is_said_and_one_that_fails_tells_nothing() {
        let world = World::new(&[("megaraid_sas", true), ("smartpqi", true)], &[]);
        assert_eq!(
            world.ask().silent,
            [
                "RAID controllers of the driver megaraid_sas are not asked: this image has no perccli64 and storcli64",
                "RAID controllers of the driver hpsa or smartpqi are not asked: this image has no ssacli",
            ]
        );
        let world = World::new(&[("smartpqi", true)], &[("ssacli", "echo broken; exit 1")]);
        assert_eq!(world.ask(), Told::default());
        let world = World::new(&[("megaraid_sas", true)], &[("storcli64", "exec /bin/sleep 600")]);
        let (drivers, bin) = (world.0.path().join("drivers"), world.0.path().join("bin"));
        assert_eq!(ask(&drivers, &[&bin], Duration::from_secs(2)), Told::default());
        assert_eq!(world.asked().len(), 1, "one that does not answer is asked nothing more");
    }

    #[test]
    fn a_rebuild_that_tells_nothing_takes_nothing_from_the_rest() {
        let script = storcli().replace(&sample("storcli-rebuild.json"), "echo broken");
        let world = World::new(&[("megaraid_sas", true)], &[("storcli64", &script)]);
        assert_eq!(world.ask().controllers[0].physical_drives[4].state, PhysicalState::Rebuilding { percent: None });
    }

    #[test]
    fn virtual_drives_are_told_by_the_names_that_the_kernel_gives_them() {
        let world = World::new(&[("megaraid_sas", true)], &[("storcli64", &storcli())]);
        let mut told = world.ask();
        // The tool says sdb, and the world wide name says otherwise.
        let mut disks = ["sda", "sdb", "sdc"].map(|name| sample::disk(name, name, "1"));
        disks[2].wwn = Some("naa.64cd98f0a1b2c30027000000c0ffee01".into());
        name_disks(&mut told.controllers, &disks);
        let names: Vec<Option<&str>> = told.controllers[0].virtual_drives.iter().map(|v| v.disk.as_deref()).collect();
        assert_eq!(names, [None, Some("sdc"), None, None, None]);
    }

    #[test]
    fn sizes_are_read_in_the_units_that_each_tool_means() {
        assert_eq!(size("446.625 GB", 1024), Some(479_559_942_144));
        assert_eq!(size("1.2 TB", 1000), Some(1_200_000_000_000));
        assert_eq!(size("960 GB", 1000), Some(960_000_000_000));
        for words in ["???", "0xfff GB", "- GB", "1.x TB", "12", "1 Sectors"] {
            assert_eq!(size(words, 1000), None, "{words}");
        }
    }
}
