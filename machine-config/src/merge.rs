//! Profiles and a machine's own keys, merged to one value per field, each with the line it came from.
//!
//! Profiles go left to right and later ones win; the machine's own keys win over all. Tables merge key by key,
//! everything else is replaced whole. Merging happens before typing, on tables that know their places, so a key
//! that is absent overrides nothing and every value keeps its origin.

use crate::document::{self, Fault, Source, sorted};
use crate::schema::{MachineConfig, Profile, Storage};
use crate::site::SiteFile;
use crate::{Diagnostic, Place, Places};
use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Keys of a machine that are not part of a profile.
pub(crate) const OWN: [&str; 3] = ["match", "profiles", "address"];

/// One machine's configuration, and where each of its values was written.
#[derive(Debug, Clone)]
pub struct Resolved<'t> {
    /// The values.
    pub config: MachineConfig,
    pub(crate) table: DeTable<'t>,
    pub(crate) source: Source,
}

/// Where one value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// Keys from the top of the machine's configuration (`array.data.level`).
    pub path: String,
    /// The value as written.
    pub value: String,
    /// Where.
    pub place: Place,
}

/// Resolves one machine of a site.
///
/// # Errors
/// `BP-C014` if the site has no such machine, `BP-C010` for a profile it lacks, and every fault of the merged
/// whole (such as a key that neither the profiles nor the machine give).
pub fn resolve<'t>(file: &SiteFile<'t>, name: &str) -> Result<Resolved<'t>, Vec<Diagnostic>> {
    if !file.site.machine.contains_key(name) {
        return Err(vec![unknown_machine(file, name)]);
    }
    let absent: Vec<Diagnostic> = unknown_profiles(file, name);
    if !absent.is_empty() {
        return Err(absent);
    }
    match resolve_around(file, name) {
        (Some(resolved), faults) if faults.is_empty() => Ok(resolved),
        (_, faults) => Err(sorted(faults.into_iter().map(|fault| fault.diagnostic).collect())),
    }
}

/// Resolves one machine as far as that goes: what is faulty in the merged whole is taken out, and told.
pub(crate) fn resolve_around<'t>(file: &SiteFile<'t>, name: &str) -> (Option<Resolved<'t>>, Vec<Fault>) {
    let Some(entry) = file.site.machine.get(name) else { return (None, Vec::new()) };
    let mut table = DeTable::new();
    for profile in &entry.profiles {
        if let Some(DeValue::Table(part)) = document::value_at(&file.table, &["profile", profile]).map(Spanned::get_ref)
        {
            merge(&mut table, part);
        }
    }
    if let Some(DeValue::Table(own)) = document::value_at(&file.table, &["machine", name]).map(Spanned::get_ref) {
        let mut own = own.clone();
        for key in OWN {
            own.remove(key);
        }
        merge(&mut table, &own);
    }
    let at = document::key_at(&file.table, &["machine", name]).unwrap_or(0);
    let mut told = Vec::new();
    let profile: Profile = loop {
        match document::typed(&table, &file.source, at..at) {
            Ok(profile) => break profile,
            Err(mut faults) => {
                let hopeless = faults.iter().any(|fault| fault.path.is_empty());
                for fault in &mut faults {
                    fault.path = document::remove(&mut table, &fault.path);
                }
                told.extend(faults);
                if hopeless {
                    return (None, told);
                }
            }
        }
    };
    let places = ["system", "each", "array", "group"]
        .into_iter()
        .fold(Places::default(), |all, section| all.and(Places::below(&[section], &table, &file.source)));
    let config = MachineConfig {
        name: name.into(),
        revision: file.site.revision,
        cluster: file.site.cluster.clone(),
        network: profile.network,
        address: entry.address.clone(),
        storage: Storage {
            system: profile.system.unwrap_or_default(),
            each: profile.each,
            array: profile.array,
            group: profile.group,
            places,
        },
        node: profile.node,
        time: profile.time,
    };
    // What the machine says beside the profile's keys has its places too.
    for (above, key) in [(vec![], "revision"), (vec![], "cluster"), (vec!["machine", name], "address")] {
        let holder = match document::value_at(&file.table, &above).map(Spanned::get_ref) {
            Some(DeValue::Table(holder)) => holder,
            _ => &file.table,
        };
        if let Some((key, value)) = holder.get_key_value(key) {
            table.insert(key.clone(), value.clone());
        }
    }
    (Some(Resolved { config, table, source: file.source.clone() }), told)
}

/// What is wrong with the profiles that a machine names.
pub(crate) fn unknown_profiles(file: &SiteFile<'_>, name: &str) -> Vec<Diagnostic> {
    unknown_profiles_but(file, name, &|_| false)
}

/// The same, but for profiles that are in the file and could not be read.
pub(crate) fn unknown_profiles_but(
    file: &SiteFile<'_>,
    name: &str,
    unreadable: &dyn Fn(&str) -> bool,
) -> Vec<Diagnostic> {
    let Some(entry) = file.site.machine.get(name) else { return Vec::new() };
    let known: Vec<&str> = file.site.profile.keys().map(String::as_str).collect();
    let absent = entry.profiles.iter().enumerate().filter(|(_, profile)| {
        let profile = profile.as_str();
        !known.contains(&profile) && !unreadable(profile)
    });
    absent
        .map(|(index, profile)| Diagnostic {
            code: "BP-C010".into(),
            what: format!("machine {name} takes the profile {profile:?}, which is not in this file"),
            place: Some(file.place(&["machine", name, "profiles", &index.to_string()])),
            why: listed("Profiles in this file", &known),
            mend: did_you_mean(profile, &known, || format!("Write a [profile.{profile}], or take another.")),
        })
        .collect()
}

/// `BP-C014`: a machine that the site does not have.
pub fn unknown_machine(file: &SiteFile<'_>, name: &str) -> Diagnostic {
    let known: Vec<&str> = file.site.machine.keys().map(String::as_str).collect();
    Diagnostic {
        code: "BP-C014".into(),
        what: format!("the site has no machine {name:?}"),
        place: Some(file.place(&["machine"])),
        why: listed("Machines in this file", &known),
        mend: did_you_mean(name, &known, || format!("Write a [machine.{name}], or name another.")),
    }
}

impl Resolved<'_> {
    /// Where the value at a path stands, or the nearest key above it.
    pub fn place(&self, path: &[&str]) -> Place {
        self.source.place(document::offset_at(&self.table, path))
    }

    /// Every value that was written for this machine, in the order of their paths, with its origin. Values that
    /// nobody wrote are defaults and not among them.
    pub fn origins(&self) -> Vec<Origin> {
        let mut origins = Vec::new();
        self.leaves(&mut Vec::new(), &self.table, &mut origins);
        origins.sort_by(|a, b| a.path.cmp(&b.path));
        origins
    }

    fn leaves(&self, path: &mut Vec<String>, table: &DeTable<'_>, out: &mut Vec<Origin>) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            match value.get_ref() {
                DeValue::Table(inner) => self.leaves(path, inner, out),
                _ => {
                    let written = self.source.text().get(value.span()).unwrap_or_default();
                    out.push(Origin {
                        path: document::dotted(path),
                        value: written.split_whitespace().collect::<Vec<_>>().join(" "),
                        place: self.source.place(value.span().start),
                    });
                }
            }
            path.pop();
        }
    }
}

fn merge<'t>(base: &mut DeTable<'t>, over: &DeTable<'t>) {
    for (key, value) in over {
        // Taken out and put back, so that the key's place is that of the later one.
        let below = base.remove(key.get_ref().as_ref());
        let merged = match (below.map(|below| (below.span(), below.into_inner())), value.get_ref()) {
            (Some((_, DeValue::Table(mut below))), DeValue::Table(above)) => {
                merge(&mut below, above);
                Spanned::new(value.span(), DeValue::Table(below))
            }
            _ => value.clone(),
        };
        base.insert(key.clone(), merged);
    }
}

pub(crate) fn listed(what: &str, names: &[&str]) -> String {
    if names.is_empty() { format!("{what}: none.") } else { format!("{what}: {}.", names.join(", ")) }
}

pub(crate) fn did_you_mean(name: &str, known: &[&str], otherwise: impl Fn() -> String) -> String {
    document::nearest(name, known).map_or_else(otherwise, |near| format!("Did you mean {near:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::MachineConfig;

    const RACK: &str = include_str!("../../examples/site/rack.toml");

    fn resolved(name: &str) -> Resolved<'static> {
        resolve(&SiteFile::read(RACK, "rack.toml").expect("a site"), name).expect("resolves")
    }

    #[test]
    fn later_wins_and_tables_merge_key_by_key() {
        let n3 = resolved("n3").config;
        let object = &n3.storage.each["object"];
        assert_eq!((object.disks.count, object.required), (Some(11), false));
        assert_eq!(object.disks.size.and_then(|size| size.min), Some(8_000_000_000_000));
        assert_eq!(n3.storage.array["meta"].disks.serial, ["S4CANX0N5", "S4CANX0N6"]);
        assert_eq!(n3.address["lan"], "10.0.7.13/24");
        assert_eq!(resolved("n1").config.storage.each["object"].disks.count, Some(12));
    }

    #[test]
    fn a_key_that_is_absent_overrides_nothing_and_a_list_is_replaced() {
        let text = "format = 1\nrevision = 1\ncluster = { id = \"0d4f7c1e-8a52-4c0e-9b1f-2f6f0c7e5a11\", name = \"a\", api = [\"https://a:1\"] }\n\
            [machine.n1]\nmatch = { serial = \"S\" }\nprofiles = [\"a\", \"b\"]\n\
            [profile.a]\nnetwork.lan = { name = \"eno1\", dhcp = true, dns = [\"10.0.0.1\", \"10.0.0.2\"] }\ntime.servers = [\"x\"]\n\
            [profile.b]\nnetwork.lan = { mtu = 9000, dns = [\"10.0.0.3\"] }\n";
        let config = resolve(&SiteFile::read(text, "f").expect("a site"), "n1").expect("resolves").config;
        let lan = &config.network["lan"];
        assert!(lan.dhcp);
        assert_eq!((lan.mtu, lan.dns.len()), (Some(9000), 1));
        assert_eq!(config.time.servers, ["x"]);
    }

    #[test]
    fn every_value_has_its_origin() {
        let lines: Vec<String> =
            resolved("n3").origins().iter().map(|o| format!("{} = {}  # {}", o.path, o.value, o.place)).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_key_of_storage_tells_its_line_and_one_that_nobody_wrote_the_line_above_it() {
        let text = "format = 1\nrevision = 1\ncluster = { id = \"0d4f7c1e-8a52-4c0e-9b1f-2f6f0c7e5a11\", name = \"a\", api = [\"https://a:1\"] }\n\
            [machine.n1]\nmatch = { serial = \"S\" }\nprofiles = [\"a\"]\neach.o.disks = { serial = [\"Z\"] }\n\
            [profile.a.each.o]\ndisks = { media = \"hdd\", count = 1 }\nformat = \"xfs\"\nmount = \"/var/o\"\n";
        let storage = resolve(&SiteFile::read(text, "f").expect("a site"), "n1").expect("resolves").config.storage;
        let line = |path: &[&str]| storage.places.of(path).map(|place| (place.line, place.column));
        assert_eq!(line(&["each", "o", "mount"]), Some((11, 9)));
        assert_eq!(line(&["each", "o", "disks"]), Some((7, 8)), "the machine's own wins");
        assert_eq!(line(&["each", "o", "disks", "count"]), Some((9, 34)));
        assert_eq!(line(&["each", "o", "class"]), line(&["each", "o"]));
        assert_eq!(line(&["array", "m"]), None);
    }

    #[test]
    fn a_resolved_machine_is_kept_as_json_and_read_again() {
        for name in ["n1", "n2", "n3"] {
            let config = resolved(name).config;
            let json = serde_json::to_string(&config).expect("serialises");
            assert_eq!(serde_json::from_str::<MachineConfig>(&json).expect("reads"), config);
        }
    }
}
