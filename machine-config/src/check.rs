//! Rules across fields: what the schema of one key can't say. All that is broken is told in one run.
//!
//! Rules over machines look at the file as written; all others look at a machine's merged configuration, since
//! half of an array may stand in a profile and half in the machine. A fault's place is where the deciding value
//! was written, so the same fault of a profile that ten machines take is told once.

mod disks;
mod filesystems;
mod groups;
mod machines;
mod mounts;
mod network;
mod node;
mod partitions;

use crate::Diagnostic;
use crate::document::sorted;
use crate::merge::{self, Resolved};
use crate::schema::MachineConfig;
use crate::site::{self, SiteFile};

/// Everything that is wrong with a site file, or with one machine of it and what all machines share.
pub fn file(text: &str, name: &str, machine: Option<&str>) -> Vec<Diagnostic> {
    let partial = site::read_partially(text, name);
    let mut found = partial.faults;
    if let Some(file) = &partial.file {
        let doubtful = |kind: &str, name: &str| {
            partial.doubts.iter().any(|doubt| match doubt.as_slice() {
                [k, n] => k == kind && n == name,
                [k, n, key, ..] => k == kind && n == name && merge::OWN.contains(&key.as_str()),
                _ => false,
            })
        };
        if let Some(machine) =
            machine.filter(|machine| !file.site.machine.contains_key(*machine) && !doubtful("machine", machine))
        {
            found.push(merge::unknown_machine(file, machine));
        }
        found.extend(machines::check(file, &doubtful));
        for (name, entry) in &file.site.machine {
            if machine.is_some_and(|machine| machine != name)
                || entry.profiles.iter().any(|profile| !file.site.profile.contains_key(profile))
            {
                continue;
            }
            let doubts = partial.doubts.iter().filter_map(|doubt| match doubt.as_slice() {
                [kind, machine, keys @ ..] if kind == "machine" && machine == name => Some(keys.to_vec()),
                [kind, profile, keys @ ..] if kind == "profile" && entry.profiles.contains(profile) => {
                    Some(keys.to_vec())
                }
                _ => None,
            });
            found.extend(rules(file, name, doubts.collect()).1);
        }
    }
    sorted(found)
}

/// One machine's configuration, if nothing is wrong with it.
///
/// # Errors
/// Every fault of this machine's merged configuration; those of other machines are not its concern.
pub fn machine(file: &SiteFile<'_>, name: &str) -> Result<MachineConfig, Vec<Diagnostic>> {
    if !file.site.machine.contains_key(name) {
        return Err(vec![merge::unknown_machine(file, name)]);
    }
    let absent = merge::unknown_profiles(file, name);
    if !absent.is_empty() {
        return Err(absent);
    }
    match rules(file, name, Vec::new()) {
        (Some(config), found) if found.is_empty() => Ok(config),
        (_, found) => Err(sorted(found)),
    }
}

/// The rules of one machine. `doubts` are keys with faults that have been told and taken out.
fn rules(file: &SiteFile<'_>, name: &str, mut doubts: Vec<Vec<String>>) -> (Option<MachineConfig>, Vec<Diagnostic>) {
    let (resolved, faults) = merge::resolve_around(file, name);
    let mut found: Vec<Diagnostic> = Vec::new();
    // All of these are keys that are missing, found side by side: none follows from another.
    let (paths, told): (Vec<_>, Vec<_>) = faults.into_iter().map(|fault| (fault.path, fault.diagnostic)).unzip();
    found.extend(paths.iter().zip(told).filter(|(path, _)| !covered(path, &doubts)).map(|(_, told)| told));
    doubts.extend(paths);
    let Some(resolved) = resolved else { return (None, found) };
    let mut rules = Rules { resolved: &resolved, found: Vec::new() };
    disks::check(&mut rules);
    partitions::check(&mut rules);
    groups::check(&mut rules);
    mounts::check(&mut rules);
    filesystems::check(&mut rules);
    network::check(&mut rules);
    node::check(&mut rules);
    let sure = rules.found.into_iter().filter(|(path, _)| !covered(path, &doubts));
    found.extend(sure.map(|(_, diagnostic)| diagnostic));
    (Some(resolved.config), found)
}

/// Whether a fault may only be there because a key was taken out: it is about something that key was in, or about
/// a key that stood beside it.
fn covered(path: &[String], doubts: &[Vec<String>]) -> bool {
    doubts.iter().any(|doubt| {
        let beside = &doubt[..doubt.len().saturating_sub(1)];
        doubt.starts_with(path) || path.starts_with(doubt) || (!beside.is_empty() && path.starts_with(beside))
    })
}

/// What the rules of one machine look at, and what they have found.
struct Rules<'r> {
    resolved: &'r Resolved<'r>,
    found: Vec<(Vec<String>, Diagnostic)>,
}

impl<'r> Rules<'r> {
    fn config(&self) -> &'r MachineConfig {
        &self.resolved.config
    }

    fn fault(&mut self, code: &str, path: &[&str], what: String, why: &str, mend: &str) {
        let place = Some(self.resolved.place(path));
        let path = path.iter().map(|key| (*key).to_owned()).collect();
        self.found.push((path, Diagnostic { code: code.into(), what, place, why: why.into(), mend: mend.into() }));
    }
}

#[cfg(test)]
mod tests;
