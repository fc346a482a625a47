//! Pins and holds: which versions the recipe lets into the image, beside what packages want of each other.
//!
//! A pin keeps a package to versions of a shape; a hold, to the version of the former lock. What is held, and what only
//! it needs, may come from the former lock when no suite offers it any more.

use super::index::Index;
use super::solve::Request;
use super::suites::Suites;
use crate::compose::deb::Deb;
use crate::lock::{Lock, Package};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::store::Store;
use anyhow::{Context, Result, anyhow, bail};
use globset::{Glob, GlobMatcher};
use std::collections::BTreeSet;

/// Bars from `request` what the recipe's pins and holds exclude.
///
/// # Errors
/// When one names a package that is nowhere, or holds a version that can't be had any more.
pub(super) fn apply(
    request: &mut Request,
    suites: &mut Suites,
    recipe: &Recipe,
    former: Option<&Lock>,
    store: &Store,
    progress: &Progress,
) -> Result<()> {
    for (name, version) in &recipe.packages.pin {
        let (names, versions) = (glob(name)?, glob(version)?);
        let because = format!("the recipe pins {name} to {version}");
        if !bar(request, &suites.index, &names, |v| versions.is_match(v), &because) {
            bail!("{because}, and no suite has a package of that name");
        }
    }
    for name in &recipe.packages.hold {
        let names = glob(name)?;
        let held: Vec<&Package> =
            former.iter().flat_map(|lock| &lock.package).filter(|p| names.is_match(&p.name)).collect();
        if held.is_empty() {
            if !suites.index.names().any(|n| names.is_match(n)) {
                bail!("the recipe holds {name}, and no suite has a package of that name");
            }
            progress.say(format!("nothing holds {name} yet: the former lock does not have it"));
        }
        for package in &held {
            let because = format!("the recipe holds {} at {}", package.name, package.version);
            if !again(request, suites, recipe, package, store)? {
                bail!(
                    "{because}, which no suite offers any more and the store does not have; import an export that has it \
                     (`bedplate inputs import`), or take {name:?} out of packages.hold"
                );
            }
            bar(request, &suites.index, &glob(&package.name)?, |v| v == package.version, &because);
        }
        let held = held.iter().map(|p| p.name.as_str()).collect();
        for package in former.map_or(vec![], |lock| needed_by(held, &lock.package)) {
            again(request, suites, recipe, package, store)?;
        }
    }
    Ok(())
}

/// Packages that these need, and what those need.
fn needed_by<'a>(names: BTreeSet<&'a str>, packages: &'a [Package]) -> Vec<&'a Package> {
    let mut known = names;
    let mut found = Vec::new();
    loop {
        let wanted =
            |p: &&Package| !known.contains(p.name.as_str()) && p.wanted_by.iter().any(|by| known.contains(by.as_str()));
        let more: Vec<&Package> = packages.iter().filter(wanted).collect();
        if more.is_empty() {
            return found;
        }
        known.extend(more.iter().map(|p| p.name.as_str()));
        found.extend(more);
    }
}

/// Bars the versions that are not allowed; whether there is a package of such a name.
fn bar(
    request: &mut Request,
    index: &Index,
    names: &GlobMatcher,
    allowed: impl Fn(&str) -> bool,
    because: &str,
) -> bool {
    let mut any = false;
    for name in index.names().filter(|n| names.is_match(n)) {
        any = true;
        for number in index.versions(name).iter().filter(|n| !allowed(&index.get(**n).version_text)) {
            request.barred.entry(*number).or_insert_with(|| because.to_owned());
        }
    }
    any
}

/// Sees to it that a package of the former lock can be picked again: as a last resort, when it is only in the store.
/// Whether it can.
fn again(
    request: &mut Request,
    suites: &mut Suites,
    recipe: &Recipe,
    package: &Package,
    store: &Store,
) -> Result<bool> {
    let is_it = |n: &&usize| suites.index.get(**n).sha256 == package.sha256;
    if suites.index.versions(&package.name).iter().find(is_it).is_some() {
        return Ok(true);
    }
    let suite = suites.suites.iter().position(|s| (&s.archive, &s.suite) == (&package.archive, &package.suite));
    let (Some(suite), Some(fetched)) = (suite, store.blob(&package.sha256)) else { return Ok(false) };
    let deb = Deb::open(store, &fetched, &package.name)?;
    let Package { path, size, sha256, .. } = package;
    let stanza = format!("{}\nFilename: {path}\nSize: {size}\nSHA256: {sha256}\n", deb.control().trim_end());
    let number = suites.index.len();
    suites
        .index
        .add(&stanza, suite, recipe.image.arch.debian())
        .map_err(|why| anyhow!("the package {} of the former lock can't be read: {why}", package.name))?;
    request.last_resort.insert(number);
    Ok(suites.index.len() > number)
}

fn glob(text: &str) -> Result<GlobMatcher> {
    Ok(Glob::new(text).with_context(|| format!("{text:?} is no shape of names or versions"))?.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::super::index::tests::index;
    use super::super::relation::Term;
    use super::super::solve::solve;
    use super::*;
    use std::collections::BTreeMap;

    fn pinned(lines: &str, name: &str, version: &str) -> Result<Vec<String>, String> {
        let index = index(lines);
        let mut request = Request {
            install: vec![(Term::parse("a").unwrap(), "the recipe".into())],
            preference: BTreeMap::from([(0, 0)]),
            ..Request::default()
        };
        let versions = glob(version).unwrap();
        let because = format!("the recipe pins {name} to {version}");
        assert!(bar(&mut request, &index, &glob(name).unwrap(), |v| versions.is_match(v), &because));
        let chosen = solve(&index, &request).map_err(|e| e.to_string())?;
        Ok(chosen
            .iter()
            .map(|c| format!("{} {}", index.get(c.number).name, index.get(c.number).version_text))
            .collect())
    }

    #[test]
    fn a_pin_keeps_to_its_versions_for_all_who_need_the_package() {
        let lines = "a 258-1 ; Depends: b (= 258-1)\na 257.9-1 ; Depends: b (= 257.9-1)\nb 258-1\nb 257.9-1";
        assert_eq!(pinned(lines, "b", "257.*").unwrap(), ["a 257.9-1", "b 257.9-1"]);
        assert_eq!(pinned(lines, "?", "257.*").unwrap(), ["a 257.9-1", "b 257.9-1"]);
        assert_eq!(pinned(lines, "b", "258*").unwrap(), ["a 258-1", "b 258-1"]);
    }

    #[test]
    fn a_pin_that_nothing_meets_is_named() {
        assert_eq!(
            pinned("a 1 ; Depends: b\nb 2", "b", "1.*").unwrap_err(),
            "nothing in the recipe's suites is b, which a 1 needs; a is in because the recipe installs it; b 2 would be, but \
             the recipe pins b to 1.*"
        );
        let lines = "a 1 ; Depends: b (= 2)\nb 2\nb 1.5";
        assert!(pinned(lines, "b", "1.*").unwrap_err().ends_with("b 2 would be, but the recipe pins b to 1.*"));
    }

    #[test]
    fn what_a_held_package_needs_is_found_through_others() {
        let package = |name: &str, by: &str| Package {
            name: name.into(),
            version: "1".into(),
            archive: "x".into(),
            suite: "y".into(),
            path: "z".into(),
            size: 1,
            sha256: crate::digest::Sha256::of(name),
            wanted_by: vec![by.into()],
        };
        let packages = [package("a", "c"), package("b", "the recipe"), package("c", "d"), package("d", "the recipe")];
        let found: Vec<&str> = needed_by(BTreeSet::from(["d"]), &packages).iter().map(|p| p.name.as_str()).collect();
        assert_eq!(found, ["c", "a"]);
    }
}
