//! Rules over the machines of a site: each is recognised for certain, and they don't collide.

use crate::identity::{is_placeholder_mac, is_placeholder_serial, is_placeholder_uuid};
use crate::merge::{self, did_you_mean, listed};
use crate::schema::Match;
use crate::site::SiteFile;
use crate::{Diagnostic, units};
use std::collections::BTreeMap;

pub(super) fn check(file: &SiteFile<'_>, doubtful: &dyn Fn(&str, &str) -> bool) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut fault = |code: &str, path: &[&str], what: String, why: String, mend: String| {
        found.push(Diagnostic { code: code.into(), what, place: Some(file.place(path)), why, mend });
    };
    if is_placeholder_uuid(file.site.cluster.id) {
        fault(
            "BP-C016",
            &["cluster", "id"],
            format!("{} is not the identity of a cluster", file.site.cluster.id),
            "The identity of every disk follows from it: two clusters with one id would take each other's disks."
                .into(),
            "Mint one with `uuidgen` and never change it.".into(),
        );
    }
    let machines: Vec<&str> = file.site.machine.keys().map(String::as_str).collect();
    for (index, member) in file.site.cluster.control_plane.iter().enumerate() {
        if !machines.contains(&member.as_str()) && !doubtful("machine", member) {
            fault(
                "BP-C014",
                &["cluster", "control-plane", &index.to_string()],
                format!("the control plane names the machine {member:?}, which is not in this file"),
                listed("Machines in this file", &machines),
                did_you_mean(member, &machines, || format!("Write a [machine.{member}], or name another.")),
            );
        }
    }
    let sure = || file.site.machine.iter().filter(|(name, _)| !doubtful("machine", name));
    for (name, entry) in sure() {
        let wanted = &entry.matches;
        if *wanted == Match::default() {
            fault(
                "BP-C012",
                &["machine", name, "match"],
                format!("nothing is given that machine {name} is recognised by"),
                "A machine is recognised by a fact that singles it out, never by default.".into(),
                "Write `match = { serial = \"...\" }`, or `uuid`, or `mac`.".into(),
            );
        }
        let serial =
            wanted.serial.as_ref().filter(|serial| is_placeholder_serial(serial)).map(|text| ("serial", text.clone()));
        let uuid = wanted.uuid.filter(|uuid| is_placeholder_uuid(*uuid)).map(|uuid| ("uuid", uuid.to_string()));
        let mac = wanted.mac.as_ref().filter(|mac| is_placeholder_mac(mac)).map(|text| ("mac", text.clone()));
        for (key, value) in [serial, uuid, mac].into_iter().flatten() {
            fault(
                "BP-C013",
                &["machine", name, "match", key],
                format!("{value:?} is a placeholder, so machine {name} is never recognised by it"),
                "Many boards carry this value; it says nothing about the machine.".into(),
                "Match by another fact (`serial`, `uuid` or `mac`).".into(),
            );
        }
        for (index, profile) in entry.profiles.iter().enumerate() {
            if entry.profiles[..index].contains(profile) {
                fault(
                    "BP-C015",
                    &["machine", name, "profiles", &index.to_string()],
                    format!("machine {name} takes the profile {profile:?} twice"),
                    "Profiles are merged left to right; a profile has one place in that order.".into(),
                    "Take one of the two out.".into(),
                );
            }
        }
    }
    let all: Vec<_> = sure().collect();
    for (index, (name, entry)) in all.iter().enumerate() {
        for (earlier, other) in &all[..index] {
            if let Some(fact) = confusable(&other.matches, &entry.matches) {
                fault(
                    "BP-C011",
                    &["machine", name, "match", fact],
                    format!("machines {earlier} and {name} match the same {fact}"),
                    "One machine would be both, and which of them would be a guess.".into(),
                    "Correct one of them.".into(),
                );
            }
        }
    }
    let mut addresses: BTreeMap<std::net::IpAddr, (&str, &str)> = BTreeMap::new();
    for (name, entry) in sure() {
        for (interface, text) in &entry.address {
            let Some((address, _)) = units::parse_cidr(text) else { continue };
            if let Some((other, _)) = addresses.insert(address, (name, interface)) {
                fault(
                    "BP-C047",
                    &["machine", name, "address", interface],
                    format!("{address} is given to {other} and to {name}"),
                    "Two machines with one address can't both be reached.".into(),
                    "Give one of them another address.".into(),
                );
            }
        }
    }
    for (name, _) in sure() {
        found.extend(merge::unknown_profiles_but(file, name, &|profile| doubtful("profile", profile)));
    }
    found
}

/// A fact that both give alike, when no other fact tells them apart.
fn confusable(a: &Match, b: &Match) -> Option<&'static str> {
    let differ = |x: Option<String>, y: Option<String>| x.zip(y).map(|(x, y)| x != y);
    let serial = differ(a.serial.as_ref().map(|s| s.trim().into()), b.serial.as_ref().map(|s| s.trim().into()));
    let uuid = differ(a.uuid.map(|uuid| uuid.to_string()), b.uuid.map(|uuid| uuid.to_string()));
    let mac = differ(a.mac.as_ref().map(|m| m.to_lowercase()), b.mac.as_ref().map(|m| m.to_lowercase()));
    // A machine has one serial number and one UUID, so entries that differ there never hold together; it may
    // have several MAC addresses.
    if serial == Some(true) || uuid == Some(true) {
        return None;
    }
    [("serial", serial), ("uuid", uuid), ("mac", mac)]
        .into_iter()
        .find(|(_, d)| *d == Some(false))
        .map(|(fact, _)| fact)
}
