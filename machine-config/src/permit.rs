//! Permits: leave to destroy what a disk holds, given by a person, once.
//!
//! A permit names one machine of one cluster, one device, and everything that is expected on it. It is a strict TOML
//! text with the signature line of a configuration, by the same keys. [`Granted`] comes only from [`open`]: who holds
//! one knows that the signature held and that its time had come and not gone. Whether the device holds what the permit
//! names is for `storage-plan` to say, which gives leave for nothing else.

use crate::schema::MachineConfig;
use crate::signature::{self, PrivateKey, PublicKey};
use crate::utc::{DAY, Utc};
use crate::{Diagnostic, document};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// The format of the permit that this version reads.
pub const FORMAT: u32 = 1;
/// A permit is good for this many seconds at most: it is for a disk that somebody has just looked at.
pub const LONGEST: u64 = 30 * DAY;
/// A permit names this many layers at most, for the disk itself keeps note of each while it is erased, in one sector.
pub const MOST_LAYERS: usize = 24;
/// The one layer of a drive that is locked (TCG): nothing but psid-revert erases it.
pub const LOCKED: &str = "locked data";
/// How many seconds the clock of a node may be behind the one that a permit was issued by.
const SLACK: u64 = 300;

/// Leave to destroy what one device holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Permit {
    /// Format of the permit; this version reads 1.
    pub permit: u32,
    /// What it is leave for.
    pub action: Leave,
    /// Random; a permit is used once, and this is how a node knows it again.
    pub id: Uuid,
    /// `cluster.id` of the site file.
    pub cluster: Uuid,
    /// The machine, by its name in the site file.
    pub machine: String,
    /// Serial number of the device, or its world wide name if it tells no serial number.
    pub device: String,
    /// Every layer that is on it, in any order, as the node says them: nothing more may be there, and nothing less.
    #[schemars(extend("minItems" = 1))]
    pub expect: Vec<String>,
    /// How it is erased.
    pub method: Method,
    /// The PSID on the drive's label, for the method `psid-revert` alone. Only the signed text has it: whatever else is made of a
    /// permit leaves it out.
    #[serde(default, skip_serializing)]
    pub psid: Option<Psid>,
    /// When it was signed.
    pub issued: Utc,
    /// When it ends.
    pub expires: Utc,
}

/// What a permit is leave for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Leave {
    /// To erase the device.
    Erase,
}

/// How a device is erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Zeroes where anything is looked for: both ends of the disk and of its partitions, and places in between. Takes
    /// seconds. The rest of what was stored stays on the medium.
    #[default]
    Wipe,
    /// Zeroes every sector. Takes hours on a large disk that can't do it by itself.
    WriteZeroes,
    /// Gives every sector back to the disk, which answers zeroes from then on. Takes seconds; only for disks that promise that,
    /// as most flash does. When the medium itself is cleared is the disk's own matter.
    Discard,
    /// Has the disk erase by its own command all that was ever stored on it, sectors that it has put aside among them. Takes
    /// seconds to hours; only for NVMe and ATA disks that have such a command.
    SecureErase,
    /// Has the disk erase all of its medium and its caches by the command that its maker means for that, so that nothing can be
    /// had back. It goes on by itself after a power cut. Takes seconds to days; only for NVMe, ATA and SCSI disks that have such
    /// a command.
    Sanitize,
    /// Has the disk throw away the key by which it stores, so that what is stored can't be read any more. Takes seconds; only
    /// for NVMe, ATA and SCSI disks that have such a command.
    CryptoErase,
    /// Has a drive that speaks TCG (Opal) go back to what it was when it was made, by the PSID on its label: it throws away the key by
    /// which it stores, and all passwords. Takes seconds; only for drives whose locking was turned on.
    PsidRevert,
}

impl Method {
    /// The word in a permit.
    pub fn word(self) -> &'static str {
        match self {
            Method::Wipe => "wipe",
            Method::WriteZeroes => "write-zeroes",
            Method::Discard => "discard",
            Method::SecureErase => "secure-erase",
            Method::Sanitize => "sanitize",
            Method::CryptoErase => "crypto-erase",
            Method::PsidRevert => "psid-revert",
        }
    }
}

/// The PSID of a drive: 32 characters that its maker has printed on its label, and that the drive tells nobody. They erase that drive
/// and do nothing else, so that they are no secret to who holds it; all the same they are in no log, no record and no error.
#[derive(Clone, PartialEq, Eq)]
pub struct Psid(String);

impl Psid {
    /// How many characters one has.
    pub const LENGTH: usize = 32;

    /// The characters, which is what the drive is told.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Psid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psid")
    }
}

impl FromStr for Psid {
    type Err = String;

    /// Reads one as it is printed, in groups or not.
    fn from_str(text: &str) -> Result<Psid, String> {
        let plain: String = text.chars().filter(|c| ![' ', '-'].contains(c)).collect();
        let expected = format!("a PSID is {} capital letters and digits, as on the drive's label", Psid::LENGTH);
        if !plain.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) {
            return Err(format!("{expected}; this one has other characters"));
        }
        match plain.len() {
            Psid::LENGTH => Ok(Psid(plain)),
            count => Err(format!("{expected}; this one has {count}")),
        }
    }
}

impl<'de> Deserialize<'de> for Psid {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Psid, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

impl schemars::JsonSchema for Psid {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Psid".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

/// A permit whose signature and time were good when it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Granted {
    /// The permit.
    pub permit: Permit,
    /// Name of the key that signed it.
    pub signed_by: String,
}

impl Permit {
    /// The signed text.
    ///
    /// # Errors
    /// `BP-C088` if it contradicts itself, so that nobody signs what no node takes.
    pub fn sign(&self, key: &PrivateKey) -> Result<String, Diagnostic> {
        self.check("the permit")?;
        let mut text = toml::to_string(self).map_err(|e| self.contradiction("the permit", &e.to_string()))?;
        if let Some(Psid(psid)) = &self.psid {
            text.push_str(&format!("psid = \"{psid}\"\n"));
        }
        Ok(signature::sign(&text, key))
    }

    fn check(&self, file: &str) -> Result<(), Diagnostic> {
        let lasts = self.expires.0.checked_sub(self.issued.0).filter(|lasts| *lasts > 0);
        let why = if self.permit != FORMAT {
            return Err(Diagnostic {
                code: "BP-C007".into(),
                what: format!("{file} is a permit of format {}", self.permit),
                place: None,
                why: format!("This version reads format {FORMAT}; what the keys of another one mean would be a guess."),
                mend: "Sign the permit with the version of bedplate that made the image.".into(),
            });
        } else if self.machine.is_empty() || self.device.is_empty() {
            "It names no machine or no device.".to_owned()
        } else if self.expect.is_empty() || self.expect.len() > MOST_LAYERS {
            format!("It expects {} layers, and 1 to {MOST_LAYERS} can be named.", self.expect.len())
        } else if self.expect.iter().any(|layer| layer.is_empty() || layer.chars().any(char::is_control)) {
            "A layer that it expects is empty or has control characters.".to_owned()
        } else if self.method == Method::PsidRevert && self.psid.is_none() {
            "Its method is psid-revert, which needs the PSID on the drive's label, and it has none.".to_owned()
        } else if self.method != Method::PsidRevert && self.psid.is_some() {
            format!("It has a PSID, which only psid-revert is done by, and its method is {}.", self.method.word())
        } else if self.method != Method::PsidRevert && self.expect.iter().any(|layer| layer == LOCKED) {
            "It expects a locked drive, which nothing but psid-revert erases.".to_owned()
        } else if lasts.is_none() {
            format!("It ends at {}, and was issued at {}.", self.expires, self.issued)
        } else if lasts.is_some_and(|lasts| lasts > LONGEST) {
            format!("It is good for more than {} days.", LONGEST / DAY)
        } else {
            return Ok(());
        };
        Err(self.contradiction(file, &why))
    }

    fn contradiction(&self, file: &str, why: &str) -> Diagnostic {
        Diagnostic {
            code: "BP-C088".into(),
            what: format!("{file} is no good permit for {:?} of {:?}", self.device, self.machine),
            place: None,
            why: why.into(),
            mend: "Make it anew: bedplate permit erase --help".into(),
        }
    }
}

/// Reads a permit, whoever signed it and whenever that was. It gives leave for nothing.
///
/// # Errors
/// Every fault of the text, `BP-C007` for another format, `BP-C088` if it contradicts itself.
pub fn read(text: &str, file: &str) -> Result<Permit, Vec<Diagnostic>> {
    let permit: Permit = document::parse(text, file)?;
    permit.check(file).map_err(|fault| vec![fault])?;
    Ok(permit)
}

/// The name of the key, among these, that signed the permit.
///
/// # Errors
/// `BP-C070` to `BP-C074`.
pub fn signer(text: &str, file: &str, keys: &[PublicKey]) -> Result<String, Diagnostic> {
    signature::verify_as("permit", "Sign it anew: bedplate permit erase --help", text, file, keys)
}

/// Opens a permit that is to count at the time `now`.
///
/// A node's clock may be wrong: it has asked no time server when disks are made. A clock that is behind the permit's
/// own date can't tell whether it has ended, so the permit does not count; nor does one that has ended by this clock.
///
/// # Errors
/// `BP-C085` without keys: then anybody could sign. Of the signature `BP-C070` to `BP-C074`, then those of [`read`],
/// then `BP-C086` if it has ended and `BP-C087` if the clock is behind it.
pub fn open(text: &str, file: &str, keys: &[PublicKey], now: Utc) -> Result<Granted, Vec<Diagnostic>> {
    if keys.is_empty() {
        return Err(vec![Diagnostic {
            code: "BP-C085".into(),
            what: format!("{file} does not count on this node"),
            place: None,
            why: "The image carries no config keys, so anybody could have signed it.".into(),
            mend: "Build the image with a config key, and sign the permit with that.".into(),
        }]);
    }
    let signed_by = signer(text, file, keys).map_err(|fault| vec![fault])?;
    let permit = read(text, file)?;
    let untimely = |code: &str, what: String, why: String, mend: &str| {
        Err(vec![Diagnostic { code: code.into(), what, place: None, why, mend: mend.into() }])
    };
    if now.after(SLACK) < permit.issued {
        return untimely(
            "BP-C087",
            format!("{file} was signed at {}, and this machine's clock says {now}", permit.issued),
            "A clock that is behind can't tell whether a permit has ended.".into(),
            "Set the machine's clock, in UTC.",
        );
    }
    if now >= permit.expires {
        return untimely(
            "BP-C086",
            format!("{file} ended at {}", permit.expires),
            format!("This machine's clock says {now}."),
            "Sign a new one if it is still meant; if the clock is wrong, set it, in UTC.",
        );
    }
    Ok(Granted { permit, signed_by })
}

/// What a permit is worth for one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worth {
    /// It counts there.
    Counts(Granted),
    /// It is for another machine, whatever else it is worth.
    Elsewhere(Permit),
    /// It does not count, and why.
    Nothing(Vec<Diagnostic>),
}

/// What the permit that was found in `file` is worth for the machine of `config` at the time `now`.
pub fn worth(bytes: &[u8], file: &str, keys: &[PublicKey], now: Utc, config: &MachineConfig) -> Worth {
    let text = match document::text(bytes, file) {
        Ok(text) => text,
        Err(fault) => return Worth::Nothing(vec![fault]),
    };
    // Read without a look at the signature, only to leave aside what is not for this machine.
    match read(text, file) {
        Ok(other) if other.machine != config.name || other.cluster != config.cluster.id => Worth::Elsewhere(other),
        _ => open(text, file, keys, now).map_or_else(Worth::Nothing, Worth::Counts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Utc = Utc(1_800_000_000);

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_seed(&[seed; 32], "config").expect("a key")
    }

    fn permit() -> Permit {
        Permit {
            permit: FORMAT,
            action: Leave::Erase,
            id: Uuid::from_u128(0x1d),
            cluster: Uuid::from_u128(7),
            machine: "n1".into(),
            device: "ZL2ABCDE".into(),
            expect: vec!["gpt 00004444 with 1 partition".into(), "ext4 3f2a6c1e on partition 1".into()],
            method: Method::Wipe,
            psid: None,
            issued: NOW,
            expires: NOW.after(DAY),
        }
    }

    fn code(text: &str, now: Utc) -> String {
        open(text, "stick", &[key(1).public()], now).map_or_else(|f| f[0].code.clone(), |_| "good".into())
    }

    #[test]
    fn what_is_signed_is_opened_again() {
        let text = permit().sign(&key(1)).expect("signs");
        let granted = open(&text, "stick", &[key(2).public(), key(1).public()], NOW).expect("opens");
        assert_eq!(granted, Granted { permit: permit(), signed_by: "config".into() });
        insta::assert_snapshot!(text.lines().take(10).collect::<Vec<_>>().join("\n"), @r#"
        permit = 1
        action = "erase"
        id = "00000000-0000-0000-0000-00000000001d"
        cluster = "00000000-0000-0000-0000-000000000007"
        machine = "n1"
        device = "ZL2ABCDE"
        expect = ["gpt 00004444 with 1 partition", "ext4 3f2a6c1e on partition 1"]
        method = "wipe"
        issued = "2027-01-15T08:00:00Z"
        expires = "2027-01-16T08:00:00Z"
        "#);
    }

    #[test]
    fn only_a_signature_by_a_key_of_the_image_counts() {
        let text = permit().sign(&key(1)).expect("signs");
        assert_eq!(open(&text, "stick", &[], NOW).expect_err("no keys")[0].code, "BP-C085");
        assert_eq!(code(&text.replace("\"n1\"", "\"n2\""), NOW), "BP-C072");
        assert_eq!(code(&permit().sign(&key(2)).expect("signs"), NOW), "BP-C072");
        let unsigned = text.split("# bedplate").next().expect("a body");
        assert_eq!(code(unsigned, NOW), "BP-C070");
        let fault = open(unsigned, "stick", &[key(1).public()], NOW).expect_err("unsigned").remove(0);
        assert!(fault.what.contains("permit") && fault.mend.contains("bedplate permit"), "{fault}");
    }

    #[test]
    fn one_for_another_machine_is_not_looked_at_further() {
        let site = include_str!("../../examples/site/rack.toml");
        let facts = crate::identity::Facts { serial: Some("J7K2X03".into()), ..Default::default() };
        let config = crate::delivered::open(site, "f", &[]).expect("opens").machine_config(&facts).expect("a machine");
        let here = Permit { cluster: config.cluster.id, ..permit() };
        let of = |permit: &Permit, now: Utc| {
            let text = permit.sign(&key(1)).expect("signs");
            worth(text.as_bytes(), "stick", &[key(1).public()], now, &config)
        };
        assert!(matches!(of(&here, NOW), Worth::Counts(granted) if granted.permit == here));
        assert!(matches!(of(&here, NOW.after(DAY)), Worth::Nothing(faults) if faults[0].code == "BP-C086"));
        assert_eq!(of(&permit(), NOW.after(DAY)), Worth::Elsewhere(permit()), "another cluster");
        let n2 = Permit { machine: "n2".into(), ..here };
        assert_eq!(of(&n2, NOW), Worth::Elsewhere(n2));
        let text = worth(&[0xff], "stick", &[], NOW, &config);
        assert!(matches!(text, Worth::Nothing(faults) if faults[0].code == "BP-C006"));
    }

    #[test]
    fn it_counts_from_its_date_to_its_end_and_by_no_clock_that_is_behind() {
        let text = permit().sign(&key(1)).expect("signs");
        for (now, wanted) in [
            (NOW, "good"),
            (NOW.after(DAY - 1), "good"),
            (NOW.after(DAY), "BP-C086"),
            (Utc(NOW.0 - SLACK), "good"),
            (Utc(NOW.0 - SLACK - 1), "BP-C087"),
            (Utc(0), "BP-C087"),
            (Utc(u64::MAX), "BP-C086"),
        ] {
            assert_eq!(code(&text, now), wanted, "{now:?}");
        }
    }

    #[test]
    fn a_contradiction_is_neither_signed_nor_read() {
        type Change = fn(&mut Permit);
        let changes: [(Change, &str); 10] = [
            (|p| p.permit = 2, "BP-C007"),
            (|p| p.machine.clear(), "BP-C088"),
            (|p| p.device.clear(), "BP-C088"),
            (|p| p.expect = vec!["ext4 1".into(); MOST_LAYERS + 1], "BP-C088"),
            (|p| p.expect.push(String::new()), "BP-C088"),
            (|p| p.expect.push("ext4 \u{1b}[2J".into()), "BP-C088"),
            (|p| p.method = Method::PsidRevert, "BP-C088"),
            (|p| p.expect = vec![LOCKED.into()], "BP-C088"),
            (|p| p.expires = p.issued, "BP-C088"),
            (|p| p.expires = p.issued.after(LONGEST + 1), "BP-C088"),
        ];
        for (change, wanted) in changes {
            let mut permit = permit();
            change(&mut permit);
            assert_eq!(permit.sign(&key(1)).expect_err("contradicts itself").code, wanted, "{permit:?}");
            let text = signature::sign(&toml::to_string(&permit).expect("TOML"), &key(1));
            assert_eq!(code(&text, NOW), wanted, "{permit:?}");
        }
        let mut nothing = permit();
        nothing.expect.clear();
        assert_eq!(nothing.sign(&key(1)).expect_err("expects nothing").code, "BP-C088");
    }

    const PSID: &str = "0A1B2C3D4E5F6G7H8I9JKLMNOPQRSTUV";

    fn by_psid() -> Permit {
        Permit { method: Method::PsidRevert, psid: Some(PSID.parse().expect("a PSID")), ..permit() }
    }

    #[test]
    fn a_psid_stands_in_the_signed_text_and_nowhere_else() {
        let text = by_psid().sign(&key(1)).expect("signs");
        assert!(text.contains("\nmethod = \"psid-revert\"\n") && text.contains(&format!("\npsid = \"{PSID}\"\n")));
        let granted = open(&text, "stick", &[key(1).public()], NOW).expect("opens");
        assert_eq!(granted.permit, by_psid());
        assert_eq!(granted.permit.psid.as_ref().map(Psid::bytes), Some(PSID.as_bytes()));
        let shown = format!("{granted:?} {}", serde_json::to_string(&granted).expect("JSON"));
        assert!(!shown.contains(PSID), "{shown}");
    }

    #[test]
    fn a_psid_is_taken_as_it_is_printed_and_never_repeated_in_a_fault() {
        let printed = "0A1B2C3D 4E5F6G7H-8I9JKLMN OPQRSTUV";
        assert_eq!(printed.parse::<Psid>(), PSID.parse());
        for (wrong, said) in
            [(&PSID[1..], "this one has 31"), (&PSID.replace('V', "v"), "other characters"), ("", "has 0")]
        {
            let fault = wrong.parse::<Psid>().expect_err("no PSID");
            assert!(fault.contains(said) && (wrong.is_empty() || !fault.contains(wrong)), "{fault}");
            let body = toml::to_string(&by_psid()).expect("TOML");
            let text = signature::sign(&format!("{body}psid = \"{wrong}\"\n"), &key(1));
            let faults = open(&text, "stick", &[key(1).public()], NOW).expect_err("no PSID");
            let told = faults.iter().map(ToString::to_string).collect::<String>();
            assert!(told.contains(said) && (wrong.is_empty() || !told.contains(wrong)), "{told}");
        }
    }

    #[test]
    fn a_psid_is_for_one_method_and_that_for_a_psid() {
        for (permit, said) in [
            (Permit { psid: None, ..by_psid() }, "it has none"),
            (Permit { method: Method::CryptoErase, ..by_psid() }, "its method is crypto-erase"),
        ] {
            let fault = permit.sign(&key(1)).expect_err("contradicts itself");
            assert!(fault.code == "BP-C088" && fault.why.contains(said), "{fault}");
            let psid = permit.psid.as_ref().map_or(String::new(), |psid| format!("psid = \"{}\"\n", psid.0));
            let body = toml::to_string(&permit).expect("TOML");
            assert_eq!(code(&signature::sign(&format!("{body}{psid}"), &key(1)), NOW), "BP-C088", "{permit:?}");
        }
    }

    #[test]
    fn it_is_strict_and_no_configuration() {
        let body = toml::to_string(&permit()).expect("TOML");
        let signed = |text: &str| code(&signature::sign(text, &key(1)), NOW);
        assert_eq!(signed(&format!("{body}force = true\n")), "BP-C002");
        assert_eq!(signed(&body.replace("machine = \"n1\"\n", "")), "BP-C003");
        assert_eq!(signed(&body.replace("\"erase\"", "\"shred\"")), "BP-C005");
        assert_eq!(signed(&body.replace("\"wipe\"", "\"shred\"")), "BP-C005", "a method of a later version");
        assert_eq!(signed(&body.replace("08:00:00Z", "08:00:00")), "BP-C005");
        // Neither of the two kinds of text that one key signs can be taken for the other.
        let site = include_str!("../../examples/site/rack.toml");
        assert_eq!(signed(site), "BP-C003");
        assert!(crate::delivered::open(&signature::sign(&body, &key(1)), "f", &[key(1).public()]).is_err());
    }

    proptest! {
        #[test]
        fn any_expectation_survives_its_text(layers in prop::collection::vec("[^\\p{Cc}]{1,40}", 1..=MOST_LAYERS)) {
            let permit = Permit { expect: layers, ..permit() };
            let text = permit.sign(&key(1)).expect("signs");
            prop_assert_eq!(open(&text, "f", &[key(1).public()], NOW).expect("opens").permit, permit);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = read(&text, "f");
            let _ = open(&signature::sign(&text, &key(1)), "f", &[key(1).public()], NOW);
        }
    }
}
