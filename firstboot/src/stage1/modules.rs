//! Kernel modules of the initrd: a list that is loaded at every start, and a table from device to driver.
//!
//! Format of both files: `docs/image-layout.md`, "Initrd".
#![allow(clippy::disallowed_methods, reason = "edge: opens modules to hand them to the kernel")]

use super::refuse;
use machine_config::Diagnostic;
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The table from device to driver.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Aliases {
    rows: Vec<(String, Vec<String>)>,
}

impl Aliases {
    /// Reads the table; lines without a module are skipped.
    #[must_use]
    pub fn parse(text: &str) -> Aliases {
        let rows = text.lines().filter_map(|line| {
            let mut words = line.split(' ');
            let pattern = words.next()?.to_owned();
            let modules: Vec<String> = words.filter(|w| !w.is_empty()).map(String::from).collect();
            (!modules.is_empty()).then_some((pattern, modules))
        });
        Aliases { rows: rows.collect() }
    }

    /// Modules for a device, in loading order.
    pub fn drivers<'a>(&'a self, modalias: &str) -> impl Iterator<Item = &'a str> {
        let matching = self.rows.iter().filter(move |(pattern, _)| fnmatch(pattern.as_bytes(), modalias.as_bytes()));
        matching.flat_map(|(_, modules)| modules).map(String::as_str)
    }
}

/// fnmatch(3) without flags: `*`, `?`, `[set]`, `[!set]`, ranges, `\` before a character.
pub(super) fn fnmatch(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|n| fnmatch(rest, &text[n..])),
        ([b'?', rest @ ..], [_, text @ ..]) => fnmatch(rest, text),
        ([b'[', rest @ ..], [c, text @ ..]) => match set(rest, *c) {
            Some((hit, rest)) => hit && fnmatch(rest, text),
            None => *c == b'[' && fnmatch(rest, text),
        },
        ([b'\\', p, rest @ ..], [c, text @ ..]) | ([p, rest @ ..], [c, text @ ..]) => p == c && fnmatch(rest, text),
        _ => false,
    }
}

/// Reads a bracket expression behind its `[`: whether `c` is in it, and what follows its `]`.
fn set(pattern: &[u8], c: u8) -> Option<(bool, &[u8])> {
    let (negated, body) = match pattern {
        [b'!', body @ ..] => (true, body),
        body => (false, body),
    };
    // A `]` right at the start stands for itself.
    let end = body.iter().skip(1).position(|b| *b == b']')? + 1;
    let (mut members, mut hit) = (&body[..end], false);
    while let [low, rest @ ..] = members {
        members = match rest {
            [b'-', high, rest @ ..] => {
                hit |= (*low..=*high).contains(&c);
                rest
            }
            rest => {
                hit |= *low == c;
                rest
            }
        };
    }
    Some((hit != negated, &body[end + 1..]))
}

/// Loads everything on the list.
///
/// # Errors
/// BP-B003 when one can't be loaded; that it is loaded already is no error.
pub fn load_listed(list: &Path) -> Result<(), Diagnostic> {
    let text = fs::read_to_string(list).map_err(|e| failed(&list.display().to_string(), &e))?;
    for module in text.lines().filter(|l| !l.is_empty()) {
        load(module).map_err(|e| failed(module, &e))?;
    }
    Ok(())
}

/// Drivers for what is there, loaded as devices appear.
#[derive(Debug)]
pub struct Coldplug {
    aliases: Aliases,
    seen: BTreeSet<String>,
    tried: BTreeSet<String>,
}

impl Coldplug {
    /// With the table at this path; without it no driver is loaded.
    #[must_use]
    pub fn new(table: &Path) -> Coldplug {
        let text = fs::read_to_string(table).unwrap_or_default();
        Coldplug { aliases: Aliases::parse(&text), seen: BTreeSet::new(), tried: BTreeSet::new() }
    }

    /// Loads drivers for every device that was not there before, until nothing new appears. A driver that
    /// refuses its device is passed over: another one may serve it.
    pub fn run(&mut self) {
        loop {
            let mut found = BTreeSet::new();
            collect_modaliases(Path::new("/sys/devices"), &mut found);
            let new: Vec<String> = found.difference(&self.seen).cloned().collect();
            let mut loaded = false;
            for modalias in &new {
                for module in self.aliases.drivers(modalias) {
                    if self.tried.insert(module.to_owned()) {
                        loaded |= load(module).is_ok();
                    }
                }
            }
            self.seen.extend(new);
            if !loaded {
                return;
            }
        }
    }
}

impl Coldplug {
    /// Loads what the table has for a device of this name.
    ///
    /// # Errors
    /// That of the first module that can't be loaded.
    pub fn load_for(&mut self, device: &str) -> std::io::Result<()> {
        for module in self.aliases.drivers(device) {
            if self.tried.insert(module.to_owned()) {
                load(module)?;
            }
        }
        Ok(())
    }
}

fn collect_modaliases(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            collect_modaliases(&entry.path(), found);
        } else if entry.file_name() == "modalias"
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            found.insert(text.trim_end().to_owned());
        }
    }
}

fn load(path: &str) -> std::io::Result<()> {
    let file = fs::File::open(path)?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn failed(module: &str, why: &std::io::Error) -> Diagnostic {
    refuse(
        "BP-B003",
        &format!("The kernel module {module} of the initrd can't be loaded."),
        &format!("{why}."),
        "The image was not built soundly: build it again. Under Secure Boot the module must be the one that the \
         kernel's package carries, byte for byte.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_fnmatch_does() {
        for (pattern, text, wanted) in [
            ("pci:v00001AF4d*sv*", "pci:v00001AF4d00001001sv00001AF4", true),
            ("pci:v00001AF4d*sv*", "pci:v00001AF5d00001001sv00001AF4", false),
            ("virtio:d00000002v*", "virtio:d00000002v00001AF4", true),
            ("usb:v*p*d*dc*ic0[68]isc*", "usb:v1p2d3dc4ic08isc06", true),
            ("usb:v*p*d*dc*ic0[!68]isc*", "usb:v1p2d3dc4ic08isc06", false),
            ("a[0-3]b", "a2b", true),
            ("a[0-3]b", "a4b", false),
            ("a[]x]b", "a]b", true),
            ("a?c", "ac", false),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("a[b", "a[b", true),
            ("*", "", true),
        ] {
            assert_eq!(fnmatch(pattern.as_bytes(), text.as_bytes()), wanted, "{pattern} on {text}");
        }
    }

    #[test]
    fn every_matching_row_gives_its_modules_in_order() {
        let aliases = Aliases::parse("pci:v1* /a.ko /b.ko\nempty\npci:*d2 /c.ko\nusb:* /d.ko\n");
        let drivers: Vec<&str> = aliases.drivers("pci:v1d2").collect();
        assert_eq!(drivers, ["/a.ko", "/b.ko", "/c.ko"]);
    }
}
