//! Units enabled as `systemctl preset-all` does: systemd.preset(5) decides, `[Install]` says which links.
//!
//! The first line that matches a unit counts, over all preset files in order of file name, `/etc` hiding
//! `/usr/lib`; a unit that no line names is enabled. An image's own policy is an overlay with a preset file.

use super::{is_overlaid, path, put_link, text};
use crate::compose::tree::{Kind, Tree};
use anyhow::{Context, Result};
use globset::{Glob, GlobMatcher};
use std::collections::{BTreeMap, BTreeSet};

const UNITS: [&str; 2] = ["/etc/systemd/system", "/usr/lib/systemd/system"];
const PRESETS: [&str; 2] = ["/etc/systemd/system-preset", "/usr/lib/systemd/system-preset"];
const SUFFIXES: [&str; 9] = ["automount", "mount", "path", "service", "slice", "socket", "swap", "target", "timer"];

/// A line of a preset file.
#[derive(Debug)]
struct Rule {
    unit: GlobMatcher,
    enable: bool,
    instances: Vec<String>,
}

/// The `[Install]` section of a unit.
#[derive(Debug, Default, PartialEq, Eq)]
struct Install {
    /// Folder's ending and unit: (`wants`, `multi-user.target`).
    pulled_in_by: Vec<(&'static str, String)>,
    alias: Vec<String>,
    also: Vec<String>,
    default_instance: Option<String>,
}

/// Makes the links of every unit that the presets enable.
///
/// # Errors
/// When a unit or preset file can't be read, or a line is none.
pub fn apply(tree: &mut Tree) -> Result<()> {
    let rules = rules(tree)?;
    let units = units(tree)?;
    // Unit to enable, with its instances if a preset names some.
    let mut todo: Vec<(String, Vec<String>)> = Vec::new();
    for name in units.keys() {
        match rules.iter().find(|rule| rule.unit.is_match(name)) {
            Some(Rule { enable: false, .. }) => {}
            Some(rule) => todo.push((name.clone(), rule.instances.clone())),
            None => todo.push((name.clone(), Vec::new())),
        }
    }
    let mut done = BTreeSet::new();
    while let Some((name, instances)) = todo.pop() {
        let Some((file, install)) = units.get(&name) else { continue };
        if !done.insert(name.clone()) {
            continue;
        }
        todo.extend(install.also.iter().map(|also| (also.clone(), Vec::new())));
        enable(tree, &name, file, install, &instances)?;
    }
    Ok(())
}

fn enable(tree: &mut Tree, name: &str, file: &str, install: &Install, instances: &[String]) -> Result<()> {
    let named = match name.split_once("@.") {
        None => vec![(name.to_owned(), String::new())],
        Some((prefix, suffix)) => {
            let all = if instances.is_empty() { install.default_instance.as_slice() } else { instances };
            all.iter().map(|i| (format!("{prefix}@{i}.{suffix}"), i.clone())).collect()
        }
    };
    for (unit, instance) in named {
        let links = install.pulled_in_by.iter().map(|(kind, by)| format!("{by}.{kind}/{unit}"));
        for link in links.chain(install.alias.iter().cloned()) {
            let at = format!("{}/{}", UNITS[0], link.replace("%i", &instance).replace("%I", &instance));
            if !is_overlaid(tree, &path(&at)?) {
                put_link(tree, &at, file, "presets")?;
            }
        }
    }
    Ok(())
}

/// Files of two folders by name, the first folder hiding the second.
fn files(tree: &Tree, folders: [&str; 2]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in folders.iter().rev() {
        for (at, entry) in tree.below(folder) {
            let direct = at.parent().is_some_and(|p| p.as_str() == *folder);
            if !direct {
                continue;
            }
            match &entry.kind {
                Kind::File(_) => drop(found.insert(at.name().to_owned(), at.to_string())),
                // Masked, or another name of a unit: either way this name has no file of its own.
                Kind::Symlink(_) => drop(found.remove(at.name())),
                _ => {}
            }
        }
    }
    found
}

fn rules(tree: &Tree) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for (name, file) in files(tree, PRESETS).into_iter().filter(|(name, _)| name.ends_with(".preset")) {
        for line in text(tree, &file)?.unwrap_or_default().lines() {
            let mut words = line.split_whitespace();
            let enable = match words.next() {
                None => continue,
                Some(word) if word.starts_with(['#', ';']) => continue,
                Some("enable") => true,
                Some("disable") => false,
                // systemd passes over lines that it does not know.
                Some(_) => continue,
            };
            let Some(pattern) = words.next() else { continue };
            let unit = Glob::new(pattern).with_context(|| format!("{name} has {pattern:?}"))?.compile_matcher();
            rules.push(Rule { unit, enable, instances: words.map(str::to_owned).collect() });
        }
    }
    Ok(rules)
}

/// Units that can be enabled, by name: file and `[Install]` section.
fn units(tree: &Tree) -> Result<BTreeMap<String, (String, Install)>> {
    let mut units = BTreeMap::new();
    for (name, file) in files(tree, UNITS) {
        if name.rsplit_once('.').is_some_and(|(_, suffix)| SUFFIXES.contains(&suffix)) {
            let install = install(&text(tree, &file)?.unwrap_or_default());
            if install != Install::default() {
                units.insert(name, (file, install));
            }
        }
    }
    Ok(units)
}

fn install(text: &str) -> Install {
    let mut install = Install::default();
    let text = text.replace("\\\n", " ");
    let lines =
        text.lines().map(str::trim).skip_while(|l| *l != "[Install]").skip(1).take_while(|l| !l.starts_with('['));
    for (key, value) in lines.filter(|l| !l.starts_with(['#', ';'])).filter_map(|l| l.split_once('=')) {
        let values = value.split_whitespace().map(str::to_owned);
        match key.trim() {
            "WantedBy" => install.pulled_in_by.extend(values.map(|v| ("wants", v))),
            "RequiredBy" => install.pulled_in_by.extend(values.map(|v| ("requires", v))),
            "UpheldBy" => install.pulled_in_by.extend(values.map(|v| ("upholds", v))),
            "Alias" => install.alias.extend(values),
            "Also" => install.also.extend(values),
            "DefaultInstance" => install.default_instance = Some(value.trim().into()),
            _ => {}
        }
    }
    install
}

#[cfg(test)]
mod tests {
    use super::super::tests::{link, tree};
    use super::*;

    #[test]
    fn presets_decide_and_install_sections_say_how() {
        let wanted = "[Install]\nWantedBy=multi-user.target\n";
        let mut tree = tree(&[
            ("/usr/lib/systemd/system/a.service", &format!("[Unit]\n{wanted}Alias=other.service\nAlso=a.socket\n")),
            ("/usr/lib/systemd/system/a.socket", "[Install]\nRequiredBy=sockets.target\n"),
            ("/usr/lib/systemd/system/b.service", wanted),
            ("/usr/lib/systemd/system/free.timer", "[Install]\n# WantedBy=no\nWantedBy=timers.target \\\n  b.target\n"),
            ("/usr/lib/systemd/system/static.service", "[Unit]\nWantedBy=no.target\n"),
            ("/usr/lib/systemd/system/masked.service", wanted),
            ("/usr/lib/systemd/system/getty@.service", "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n"),
            ("/usr/lib/systemd/system/x@.service", "[Install]\nWantedBy=dev-%i.device\n"),
            (
                "/usr/lib/systemd/system-preset/90-x.preset",
                "enable b.service\ndisable *.socket\nenable x@.service one two\n",
            ),
            ("/etc/systemd/system-preset/00-own.preset", "# ours\nenable a.*\ndisable b.*\n"),
        ]);
        put_link(&mut tree, "/etc/systemd/system/masked.service", "/dev/null", "test").unwrap();
        apply(&mut tree).unwrap();
        let at = |link_at: &str| link(&tree, &format!("/etc/systemd/system/{link_at}"));
        assert_eq!(at("multi-user.target.wants/a.service").as_deref(), Some("/usr/lib/systemd/system/a.service"));
        assert_eq!(at("other.service").as_deref(), Some("/usr/lib/systemd/system/a.service"));
        assert!(at("sockets.target.requires/a.socket").is_some());
        assert!(at("timers.target.wants/free.timer").is_some() && at("b.target.wants/free.timer").is_some());
        assert_eq!(
            at("getty.target.wants/getty@tty1.service").as_deref(),
            Some("/usr/lib/systemd/system/getty@.service")
        );
        assert!(at("dev-two.device.wants/x@two.service").is_some());
        for not in [
            "multi-user.target.wants/b.service",
            "multi-user.target.wants/masked.service",
            "no.target.wants/static.service",
        ] {
            assert_eq!(at(not), None, "{not}");
        }
    }
}
