//! The node's configuration: looked for everywhere, the highest validly signed revision taken.

pub mod facts;
pub mod keep;
mod mirror;
pub mod sources;

use machine_config::Diagnostic;
use machine_config::delivered::{self, Candidate};
use machine_config::identity::Facts;
use machine_config::schema::{Join, MachineConfig, Passphrase};
use machine_config::signature::PublicKey;
use serde::{Deserialize, Serialize};

/// A text that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where, for people: `USB stick BEDPLATE (vdb)`.
    pub source: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What counts on this machine.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// Where it was found, for people.
    pub source: String,
    /// Name of the key that signed it, when the image asks for signatures.
    pub signed_by: Option<String>,
    /// The configuration.
    pub config: MachineConfig,
    /// The machine's secrets, if it came as a bundle.
    pub join: Option<Join>,
    /// What opens its encrypted volumes. For the storage unit alone: it is not handed on.
    #[serde(skip)]
    pub passphrase: Option<Passphrase>,
    /// The text as it was found, to be kept.
    #[serde(skip)]
    pub text: String,
}

impl std::fmt::Debug for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (source, revision) = (&self.source, self.config.revision);
        f.debug_struct("Chosen").field("source", source).field("revision", &revision).finish_non_exhaustive()
    }
}

/// Takes the best of what was found. Pure.
///
/// # Errors
/// Everything that is wrong with everything that was found, when nothing of it can be used; BP-B020 when nothing
/// was found at all.
pub fn choose(
    found: &[Found],
    keys: &[PublicKey],
    floor: Option<u64>,
    facts: &Facts,
) -> Result<Chosen, Vec<Diagnostic>> {
    let mut refusals = Vec::new();
    let mut candidates = Vec::new();
    for one in found {
        match machine_config::document::text(&one.bytes, &one.source) {
            Ok(text) => candidates.push(Candidate { name: &one.source, text }),
            Err(refusal) => refusals.push(refusal),
        }
    }
    let choice = delivered::choose(&candidates, keys, floor);
    refusals.extend(choice.refused.into_iter().flat_map(|(_, faults)| faults));
    let Some((index, delivered)) = choice.chosen else {
        return Err(if refusals.is_empty() { vec![nothing_found()] } else { refusals });
    };
    let config = delivered.machine_config(facts)?;
    let candidate = candidates[index];
    Ok(Chosen {
        source: candidate.name.to_owned(),
        signed_by: delivered.signed_by,
        config,
        join: delivered.join,
        passphrase: delivered.passphrase,
        text: candidate.text.to_owned(),
    })
}

fn nothing_found() -> Diagnostic {
    Diagnostic {
        code: "BP-B020".into(),
        what: "This node has no configuration.".into(),
        place: None,
        why: "There is none in fw_cfg (opt/io.bedplate/config), in SMBIOS (type 11, io.bedplate.config=), on a \
              volume labelled BEDPLATE, on the EFI system partition or on the state partition."
            .into(),
        mend: "Copy the site file or this machine's bundle as bedplate.toml to a FAT file system labelled BEDPLATE \
               and plug it in."
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(revision: u64, serial: &str) -> Vec<u8> {
        format!(
            "format = 1\nrevision = {revision}\n\n[cluster]\nid = \"0d4f7c1e-8a52-4c0e-9b1f-2f6f0c7e5a11\"\n\
             name = \"rack7\"\napi = [\"https://10.0.7.2:6443\"]\n\n[machine.n1]\nmatch = {{ serial = \"{serial}\" }}\n"
        )
        .into_bytes()
    }

    fn found(source: &str, bytes: Vec<u8>) -> Found {
        Found { source: source.into(), bytes }
    }

    fn facts() -> Facts {
        Facts { serial: Some("J7K2X03".into()), ..Facts::default() }
    }

    #[test]
    fn the_highest_revision_wins_whatever_its_source() {
        let found = [found("fw_cfg", site(41, "J7K2X03")), found("stick", site(42, "J7K2X03"))];
        let chosen = choose(&found, &[], None, &facts()).unwrap();
        assert_eq!((chosen.source.as_str(), chosen.config.revision), ("stick", 42));
        assert_eq!(chosen.config.name, "n1");
    }

    #[test]
    fn nothing_nothing_readable_and_nothing_young_enough_are_told_apart() {
        let code = |found: &[Found], floor| choose(found, &[], floor, &facts()).unwrap_err()[0].code.clone();
        assert_eq!(code(&[], None), "BP-B020");
        assert_ne!(code(&[found("stick", vec![0xff, 0xfe])], None), "BP-B020");
        assert_eq!(code(&[found("stick", site(41, "J7K2X03"))], Some(42)), "BP-C073");
        assert_ne!(code(&[found("stick", site(41, "OTHER"))], None), "BP-B020");
    }
}
