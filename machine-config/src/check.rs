//! Rules across fields: what the schema of one key can't say. All that is broken is told in one run.
//!
//! Rules over machines look at the file as written; all others look at a machine's merged configuration, since
//! half of an array may stand in a profile and half in the machine. A fault's place is where the deciding value
//! was written, so the same fault of a profile that ten machines take is told once.

mod disks;
mod machines;
mod mounts;
mod network;
mod node;

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
        let doubtful = |kind: &str, name: &str| partial.doubtful.contains(&(kind.to_owned(), name.to_owned()));
        if let Some(machine) = machine.filter(|machine| !file.site.machine.contains_key(*machine)) {
            found.push(merge::unknown_machine(file, machine));
        }
        found.extend(machines::check(file, &|machine| doubtful("machine", machine)));
        for (name, entry) in &file.site.machine {
            if machine.is_some_and(|machine| machine != name)
                || doubtful("machine", name)
                || entry.profiles.iter().any(|profile| doubtful("profile", profile))
            {
                continue;
            }
            found.extend(self::machine(file, name).err().unwrap_or_default());
        }
    }
    sorted(found)
}

/// One machine's configuration, if nothing is wrong with it.
///
/// # Errors
/// Every fault of this machine's merged configuration; those of other machines are not its concern.
pub fn machine(file: &SiteFile<'_>, name: &str) -> Result<MachineConfig, Vec<Diagnostic>> {
    let resolved = merge::resolve(file, name)?;
    let mut rules = Rules { resolved: &resolved, found: Vec::new() };
    disks::check(&mut rules);
    mounts::check(&mut rules);
    network::check(&mut rules);
    node::check(&mut rules);
    if rules.found.is_empty() { Ok(resolved.config) } else { Err(sorted(rules.found)) }
}

/// What the rules of one machine look at, and what they have found.
struct Rules<'r> {
    resolved: &'r Resolved<'r>,
    found: Vec<Diagnostic>,
}

impl<'r> Rules<'r> {
    fn config(&self) -> &'r MachineConfig {
        &self.resolved.config
    }

    fn fault(&mut self, code: &str, path: &[&str], what: String, why: &str, mend: &str) {
        let place = Some(self.resolved.place(path));
        self.found.push(Diagnostic { code: code.into(), what, place, why: why.into(), mend: mend.into() });
    }
}

#[cfg(test)]
mod tests;
