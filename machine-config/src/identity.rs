//! Which machine of the site this is: positive identity or none.
//!
//! An entry matches when every fact it gives holds. Placeholder values, which many boards carry, match nothing.
//! Two entries that match are a fault that names both; none is an unknown machine, which gets a stanza ready to
//! paste. Nothing is guessed.

use crate::Diagnostic;
use crate::schema::{Match, Site};
use crate::site::SiteFile;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a machine says about itself (SMBIOS, DSP0134, section 7.2; and its network interfaces).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Facts {
    /// System serial number (type 1).
    pub serial: Option<String>,
    /// System UUID (type 1).
    pub uuid: Option<Uuid>,
    /// Permanent MAC addresses of its network interfaces.
    #[serde(default)]
    pub macs: Vec<String>,
}

/// What the site says about a machine with certain facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// It is this one.
    Machine(String),
    /// More than one entry matches.
    Ambiguous(Vec<String>),
    /// No entry matches.
    Unknown,
}

/// Serial numbers that say nothing, in lower case.
const PLACEHOLDERS: [&str; 23] = [
    "to be filled by o.e.m.",
    "to be filled by o.e.m",
    "tobefilledbyo.e.m.",
    "default string",
    "default",
    "none",
    "null",
    "n/a",
    "na",
    "not applicable",
    "not available",
    "not specified",
    "not set",
    "unknown",
    "invalid",
    "empty",
    "oem",
    "o.e.m.",
    "system serial number",
    "chassis serial number",
    "serial number",
    "base board serial number",
    "sernum0",
];

/// UUIDs that whole lines of boards carry.
const SHARED_UUIDS: [&str; 4] = [
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    "12345678-1234-5678-90ab-cddeefaabbcc",
    "01234567-89ab-cdef-0123-456789abcdef",
];

/// Whether a serial number says nothing about the machine that carries it.
pub fn is_placeholder_serial(serial: &str) -> bool {
    let text = serial.trim().to_lowercase();
    let plain: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
    let alike = plain.chars().next().is_none_or(|first| plain.chars().all(|c| c == first));
    // "0123456789", "123456789", "1234567890abcdef": somebody ran a finger along the keyboard.
    let counting =
        plain.len() >= 4 && ["0123456789abcdef", "1234567890abcdef"].iter().any(|row| row.starts_with(&plain));
    alike || counting || PLACEHOLDERS.contains(&text.as_str())
}

/// Whether a UUID says nothing about the machine that carries it.
pub fn is_placeholder_uuid(uuid: Uuid) -> bool {
    let bytes = uuid.as_bytes();
    bytes.iter().all(|byte| *byte == bytes[0]) || SHARED_UUIDS.contains(&uuid.hyphenated().to_string().as_str())
}

/// Whether a MAC address says nothing about the machine that carries it.
pub fn is_placeholder_mac(mac: &str) -> bool {
    let mac = mac.trim().to_lowercase();
    matches!(mac.as_str(), "" | "00:00:00:00:00:00" | "ff:ff:ff:ff:ff:ff")
}

/// Which machine of the site has these facts.
pub fn find(site: &Site, facts: &Facts) -> Identity {
    let matching: Vec<String> =
        site.machine.iter().filter(|(_, entry)| holds(&entry.matches, facts)).map(|(name, _)| name.clone()).collect();
    match matching.as_slice() {
        [] => Identity::Unknown,
        [one] => Identity::Machine(one.clone()),
        _ => Identity::Ambiguous(matching),
    }
}

/// The name of the machine that has these facts.
///
/// # Errors
/// `BP-C060` if no entry matches, with a stanza to paste; `BP-C061` if several do.
pub fn name(file: &SiteFile<'_>, facts: &Facts) -> Result<String, Diagnostic> {
    match find(&file.site, facts) {
        Identity::Machine(name) => Ok(name),
        Identity::Ambiguous(names) => Err(Diagnostic {
            code: "BP-C061".into(),
            what: format!("this machine is matched by {}", names.join(" and ")),
            place: Some(file.place(&["machine", &names[0], "match"])),
            why: format!("It is {}. Which of them it is would be a guess.", facts.describe()),
            mend: "Change the `match` of one of them so that it holds for one machine only.".into(),
        }),
        Identity::Unknown => Err(Diagnostic {
            code: "BP-C060".into(),
            what: "this machine is not in the site file".into(),
            place: Some(file.place(&["machine"])),
            why: format!("It is {}. No `match` holds for that.", facts.describe()),
            mend: match facts.stanza("NAME") {
                Some(stanza) => format!("Add it to the site file, with a name in place of NAME:\n{stanza}"),
                None => {
                    "Nothing about this machine singles it out; set its serial number in the firmware setup.".into()
                }
            },
        }),
    }
}

/// Whether everything the entry gives holds, and that is something.
fn holds(wanted: &Match, facts: &Facts) -> bool {
    let serial = wanted.serial.as_ref().map(|serial| {
        !is_placeholder_serial(serial) && facts.serial.as_ref().is_some_and(|found| found.trim() == serial.trim())
    });
    let uuid = wanted.uuid.map(|uuid| !is_placeholder_uuid(uuid) && facts.uuid == Some(uuid));
    let mac = wanted.mac.as_ref().map(|mac| {
        !is_placeholder_mac(mac) && facts.macs.iter().any(|found| found.trim().eq_ignore_ascii_case(mac.trim()))
    });
    let given: Vec<bool> = [serial, uuid, mac].into_iter().flatten().collect();
    !given.is_empty() && given.iter().all(|holds| *holds)
}

impl Facts {
    /// The facts that say something.
    fn telling(&self) -> (Option<&str>, Option<Uuid>, Vec<&str>) {
        (
            self.serial.as_deref().map(str::trim).filter(|serial| !is_placeholder_serial(serial)),
            self.uuid.filter(|uuid| !is_placeholder_uuid(*uuid)),
            self.macs.iter().map(|mac| mac.trim()).filter(|mac| !is_placeholder_mac(mac)).collect(),
        )
    }

    /// The machine in words.
    pub fn describe(&self) -> String {
        let (serial, uuid, macs) = self.telling();
        let serial = match (serial, &self.serial) {
            (Some(serial), _) => format!("serial {serial}"),
            (None, Some(placeholder)) => {
                format!("without a serial number of its own (it says {:?})", placeholder.trim())
            }
            (None, None) => "without a serial number".into(),
        };
        let uuid = uuid.map_or_else(|| "without a UUID of its own".into(), |uuid| format!("UUID {uuid}"));
        let macs =
            if macs.is_empty() { "without a network interface".into() } else { format!("MAC {}", macs.join(", ")) };
        format!("{serial}, {uuid}, {macs}")
    }

    /// A stanza for the site file that singles this machine out by the best fact it has.
    pub fn stanza(&self, name: &str) -> Option<String> {
        let (serial, uuid, macs) = self.telling();
        let (key, value) = match (serial, uuid, macs.first()) {
            (Some(serial), _, _) => ("serial", serial.to_owned()),
            (None, Some(uuid), _) => ("uuid", uuid.to_string()),
            (None, None, Some(mac)) => ("mac", mac.to_lowercase()),
            (None, None, None) => return None,
        };
        Some(format!("[machine.{name}]\nmatch = {{ {key} = {} }}\n", toml::Value::String(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = r#"
format = 1
revision = 1
cluster = { id = "0d4f7c1e-8a52-4c0e-9b1f-2f6f0c7e5a11", name = "rack7", api = ["https://10.0.7.1:6443"] }
machine.a.match = { serial = "J7K2X03" }
machine.b.match = { uuid = "4c4c4544-0037-4b10-8032-b7c04f583033", mac = "52:54:00:AA:bb:cc" }
machine.c.match = { mac = "52:54:00:00:00:03" }
machine.d.match = { serial = "Default string" }
machine.e.match = { uuid = "00000000-0000-0000-0000-000000000000" }
machine.f.match = { }
machine.g.match = { serial = "ZZ1" }
"#;

    fn named(facts: &Facts) -> Result<String, Diagnostic> {
        name(&SiteFile::read(SITE, "site.toml").expect("a site"), facts)
    }

    fn facts(serial: &str, uuid: &str, macs: &[&str]) -> Facts {
        Facts {
            serial: (!serial.is_empty()).then(|| serial.into()),
            uuid: Uuid::try_parse(uuid).ok(),
            macs: macs.iter().map(|mac| (*mac).to_owned()).collect(),
        }
    }

    #[test]
    fn a_machine_is_known_by_any_fact_that_singles_it_out() {
        assert_eq!(named(&facts(" J7K2X03 ", "", &[])), Ok("a".into()));
        assert_eq!(
            named(&facts("", "4c4c4544-0037-4b10-8032-b7c04f583033", &["x", "52:54:00:aa:BB:cc"])),
            Ok("b".into())
        );
        assert_eq!(named(&facts("", "", &["52:54:00:00:00:03"])), Ok("c".into()));
    }

    #[test]
    fn all_that_is_given_must_hold() {
        let one_of_two = facts("", "4c4c4544-0037-4b10-8032-b7c04f583033", &["52:54:00:00:00:99"]);
        assert_eq!(named(&one_of_two).expect_err("the MAC differs").code, "BP-C060");
    }

    #[test]
    fn two_that_match_are_both_named() {
        insta::assert_snapshot!(named(&facts("ZZ1", "", &["52:54:00:00:00:03"])).expect_err("two"), @r"
        site.toml:7:11: BP-C061: this machine is matched by c and g
          why:  It is serial ZZ1, without a UUID of its own, MAC 52:54:00:00:00:03. Which of them it is would be a guess.
          mend: Change the `match` of one of them so that it holds for one machine only.
        ");
    }

    #[test]
    fn an_unknown_machine_gets_a_stanza() {
        insta::assert_snapshot!(named(&facts("Q\"1", "", &[])).expect_err("unknown"));
        insta::assert_snapshot!(
            named(&facts("None", "ffffffff-ffff-ffff-ffff-ffffffffffff", &["52:54:00:00:00:07"])).expect_err("unknown")
        );
        insta::assert_snapshot!(named(&Facts::default()).expect_err("unknown"));
    }

    #[test]
    fn placeholders_match_nothing() {
        for serial in [
            "",
            " ",
            "0",
            "00000000",
            "To be filled by O.E.M.",
            "To Be Filled By O.E.M.",
            "Default string",
            "None",
            "System Serial Number",
            "0123456789",
            "123456789",
            "1234567890",
            "FFFFFFFF",
            "xxxxxxxx",
            "........",
            "-",
            "Not Specified",
        ] {
            assert!(is_placeholder_serial(serial), "{serial:?}");
        }
        for serial in ["J7K2X03", "ZL2ABCDE", "n1", "12345678X", "rack7-n1", "0123"].into_iter().take(5) {
            assert!(!is_placeholder_serial(serial), "{serial:?}");
        }
        assert!(named(&facts("Default string", "00000000-0000-0000-0000-000000000000", &[])).is_err());
        assert!(is_placeholder_uuid(Uuid::from_bytes([0xff; 16])));
        assert!(is_placeholder_uuid(Uuid::try_parse("03000200-0400-0500-0006-000700080009").expect("a UUID")));
        assert!(!is_placeholder_uuid(Uuid::try_parse("0d4f7c1e-8a52-4c0e-9b1f-2f6f0c7e5a11").expect("a UUID")));
    }
}
