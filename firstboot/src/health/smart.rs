//! What a disk says of its own health, from `smartctl --json` (smartmontools 7.3 and later). Pure.
//!
//! Keys are those of smartmontools' `ataprint.cpp`, `nvmeprint.cpp` and `scsiprint.cpp`. What a disk does not tell is no
//! evidence, neither good nor bad.

use serde::Deserialize;

/// What one disk says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Smart {
    /// Whether its own judgement is good.
    pub passed: Option<bool>,
    /// Attributes that are below the threshold of the disk's maker now, by name.
    pub failing: Vec<String>,
    /// Sectors that it has put others in place of.
    pub reallocated: u64,
    /// Sectors that it could not read, and that wait for a write.
    pub pending: u64,
    /// Sectors that were found unreadable; of a SAS disk, errors that it could not correct.
    pub uncorrectable: u64,
    /// Of an NVMe disk, its health log.
    pub nvme: Option<Nvme>,
    /// How long it tries to read a bad sector.
    pub recovery: Recovery,
}

/// The SMART / Health Information log of an NVMe disk (NVM Express Base Specification 2.0, section 5.16.1.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Nvme {
    /// Bits of Critical Warning.
    pub critical_warning: u64,
    /// Percent of the spare space that are left.
    pub spare: u64,
    /// Below so many percent it is critical.
    pub spare_threshold: u64,
    /// Percent of its life that are used, by its maker's estimate; may be more than 100.
    pub used: u64,
    /// Times that it could not give back what was stored.
    pub media_errors: u64,
}

/// The time limit on error recovery (ACS-4, SCT Error Recovery Control).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Recovery {
    /// It is no ATA disk, or did not tell.
    #[default]
    Unknown,
    /// An ATA disk that can't be given one.
    None,
    /// There is none on reading or on writing now.
    Unlimited,
    /// Tenths of a second; of reading and writing the longer.
    Limited(u64),
}

#[derive(Deserialize)]
struct Answer {
    device: Option<Device>,
    smart_status: Option<Status>,
    ata_smart_attributes: Option<Attributes>,
    ata_sct_erc: Option<Erc>,
    nvme_smart_health_information_log: Option<NvmeLog>,
    scsi_grown_defect_list: Option<u64>,
    scsi_error_counter_log: Option<std::collections::BTreeMap<String, Counter>>,
}

#[derive(Deserialize)]
struct Device {
    protocol: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    passed: Option<bool>,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    table: Vec<Attribute>,
}

#[derive(Deserialize)]
struct Attribute {
    id: u64,
    name: String,
    #[serde(default)]
    when_failed: String,
    raw: Raw,
}

#[derive(Deserialize)]
struct Raw {
    value: u64,
    #[serde(default)]
    string: String,
}

#[derive(Deserialize)]
struct Erc {
    read: Limit,
    write: Limit,
}

#[derive(Deserialize)]
struct Limit {
    enabled: bool,
    deciseconds: Option<u64>,
}

/// Counters have 128 bits; what does not fit into 64 is as much as there can be.
#[derive(Deserialize)]
struct NvmeLog {
    critical_warning: Option<serde_json::Number>,
    available_spare: Option<serde_json::Number>,
    available_spare_threshold: Option<serde_json::Number>,
    percentage_used: Option<serde_json::Number>,
    media_errors: Option<serde_json::Number>,
}

#[derive(Deserialize)]
struct Counter {
    total_uncorrected_errors: Option<u64>,
}

/// Parses an answer. None when the disk tells nothing: smartctl does not know how to ask it, or could not.
///
/// # Errors
/// When it is no such JSON.
pub fn parse(text: &str) -> Result<Option<Smart>, serde_json::Error> {
    let answer: Answer = serde_json::from_str(text)?;
    let Some(device) = answer.device else { return Ok(None) };
    let table = answer.ata_smart_attributes.map(|a| a.table).unwrap_or_default();
    let raw = |id: u64| table.iter().find(|a| a.id == id).map_or(0, Attribute::count);
    let uncorrected = answer.scsi_error_counter_log.iter().flat_map(|log| log.values());
    let uncorrected: u64 = uncorrected.filter_map(|c| c.total_uncorrected_errors).fold(0, u64::saturating_add);
    let smart = Smart {
        passed: answer.smart_status.and_then(|s| s.passed),
        failing: table.iter().filter(|a| a.when_failed == "now").map(|a| a.name.clone()).collect(),
        reallocated: raw(5).saturating_add(answer.scsi_grown_defect_list.unwrap_or(0)),
        pending: raw(197),
        uncorrectable: raw(198).saturating_add(uncorrected),
        nvme: answer.nvme_smart_health_information_log.map(|log| log.read()),
        recovery: recovery(device.protocol.as_deref(), answer.ata_sct_erc),
    };
    let tells = smart.passed.is_some() || !table.is_empty() || smart.nvme.is_some();
    Ok((tells || smart.recovery != Recovery::Unknown).then_some(smart))
}

fn recovery(protocol: Option<&str>, erc: Option<Erc>) -> Recovery {
    match (protocol, erc) {
        (Some("ATA"), Some(Erc { read, write })) => match (read.enabled, write.enabled) {
            (true, true) => Recovery::Limited(read.deciseconds.unwrap_or(0).max(write.deciseconds.unwrap_or(0))),
            _ => Recovery::Unlimited,
        },
        (Some("ATA"), None) => Recovery::None,
        _ => Recovery::Unknown,
    }
}

impl Attribute {
    /// The raw value has 48 bits, and makers put several numbers into it: smartctl writes the count first.
    fn count(&self) -> u64 {
        let digits: String = self.raw.string.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(self.raw.value)
    }
}

impl NvmeLog {
    fn read(&self) -> Nvme {
        let number =
            |n: &Option<serde_json::Number>, absent: u64| n.as_ref().map_or(absent, |n| n.as_u64().unwrap_or(u64::MAX));
        Nvme {
            critical_warning: number(&self.critical_warning, 0),
            spare: number(&self.available_spare, 100),
            spare_threshold: number(&self.available_spare_threshold, 0),
            used: number(&self.percentage_used, 0),
            media_errors: number(&self.media_errors, 0),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Whole answers in the shape of smartmontools 7.3, made up from its sources and manual; what no disk tells was
    /// captured from the program.
    pub const SATA: &str = include_str!("samples/sata.json");
    pub const SATA_FAILING: &str = include_str!("samples/sata-failing.json");
    pub const SATA_DESKTOP: &str = include_str!("samples/sata-desktop.json");
    pub const SAS: &str = include_str!("samples/sas.json");
    pub const NVME: &str = include_str!("samples/nvme.json");
    pub const NVME_WORN: &str = include_str!("samples/nvme-worn.json");
    pub const NOTHING: &str = include_str!("samples/nothing.json");

    #[test]
    fn a_good_disk_of_each_kind_says_so() {
        let sata = parse(SATA).unwrap().unwrap();
        assert_eq!(sata, Smart { passed: Some(true), recovery: Recovery::Limited(70), ..Smart::default() });
        let sas = parse(SAS).unwrap().unwrap();
        assert_eq!((sas.passed, sas.reallocated, sas.uncorrectable), (Some(true), 2, 1));
        assert_eq!(sas.recovery, Recovery::Unknown);
        let nvme = parse(NVME).unwrap().unwrap();
        let log = Nvme { spare: 100, spare_threshold: 10, used: 3, ..Nvme::default() };
        assert_eq!((nvme.passed, nvme.nvme, nvme.recovery), (Some(true), Some(log), Recovery::Unknown));
    }

    #[test]
    fn counts_are_read_as_smartctl_writes_them() {
        let failing = parse(SATA_FAILING).unwrap().unwrap();
        // Its raw value is 0x170008: eight, and how often it looked.
        assert_eq!((failing.reallocated, failing.pending, failing.uncorrectable), (8, 16, 2));
        assert_eq!((failing.passed, &failing.failing[..]), (Some(false), &["Reallocated_Sector_Ct".to_owned()][..]));
        assert_eq!(failing.recovery, Recovery::Unlimited);
        let worn = parse(NVME_WORN).unwrap().unwrap().nvme.unwrap();
        assert_eq!((worn.critical_warning, worn.spare, worn.used, worn.media_errors), (5, 4, 107, u64::MAX));
        assert_eq!(parse(SATA_DESKTOP).unwrap().unwrap().recovery, Recovery::None);
    }

    #[test]
    fn what_tells_nothing_is_no_evidence() {
        assert_eq!(parse(NOTHING).unwrap(), None);
        assert!(parse("smartctl: command not found").is_err());
        assert_eq!(parse("{}").unwrap(), None);
    }
}
