//! The part of a Cargo workspace that one of its packages is made of. Pure.
//!
//! Format: the `Cargo.lock` of Cargo's version 4 (the Cargo Book, "Cargo.toml vs Cargo.lock"; its fields are those of
//! `cargo::core::resolver::encode`).

use crate::digest::Sha256;
use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Folders of its own packages, by name.
    pub members: BTreeMap<String, String>,
    /// Crates from a registry, `NAME-VERSION` -> digest; some of them for features that nobody in the part asks for.
    pub crates: BTreeMap<String, Sha256>,
    /// `Cargo.toml` of a workspace that has nothing else.
    pub manifest: String,
    /// Its `Cargo.lock`, from which Cargo takes what no feature asks for.
    pub lock: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct CargoLock {
    version: u32,
    package: Vec<Locked>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Locked {
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<Sha256>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dependencies: Vec<String>,
}

/// The version of `Cargo.lock` that is read and written.
const VERSION: u32 = 4;

impl Locked {
    /// `NAME-VERSION` and digest; none of a package of the workspace itself.
    fn as_crate(&self) -> Result<Option<(String, Sha256)>> {
        let Locked { name, version, source, checksum, .. } = self;
        match (source.as_deref(), checksum) {
            (None, _) => Ok(None),
            (Some(source), Some(checksum)) if source.starts_with("registry+") || source.starts_with("sparse+") => {
                Ok(Some((format!("{name}-{version}"), *checksum)))
            }
            (Some(source), _) => bail!("the crate {name} is from {source}; only those of a registry can be locked"),
        }
    }
}

/// The crates that a `Cargo.lock` names, `NAME-VERSION` -> digest.
///
/// # Errors
/// When it can't be read, or a crate is from elsewhere than a registry.
pub(super) fn crates(lock: &str) -> Result<BTreeMap<String, Sha256>> {
    let lock: CargoLock = toml::from_str(lock).context("Cargo.lock can't be read")?;
    lock.package.iter().filter_map(|p| p.as_crate().transpose()).collect()
}

/// What `package` is made of, of the workspace with this `Cargo.toml` and `Cargo.lock`.
///
/// # Errors
/// When the texts are not of a workspace with such a package, or a crate is from elsewhere than a registry.
pub(super) fn part(manifest: &str, lock: &str, package: &str) -> Result<Part> {
    let lock: CargoLock = toml::from_str(lock).context("its Cargo.lock can't be read")?;
    if lock.version != VERSION {
        bail!("its Cargo.lock is of version {}; this builder reads version {VERSION}", lock.version);
    }
    let mut wanted = BTreeSet::new();
    let mut open = vec![find(&lock.package, package)?];
    while let Some(at) = open.pop() {
        if wanted.insert(at) {
            for dependency in &lock.package[at].dependencies {
                open.push(find(&lock.package, dependency)?);
            }
        }
    }
    let mut manifest: toml::Table = toml::from_str(manifest).context("its Cargo.toml can't be read")?;
    let kept: Vec<&Locked> = wanted.iter().map(|at| &lock.package[*at]).collect();
    let (mut members, mut crates) = (BTreeMap::new(), BTreeMap::new());
    for locked in &kept {
        match locked.as_crate()? {
            Some((name, digest)) => drop(crates.insert(name, digest)),
            None => drop(members.insert(locked.name.clone(), folder(&manifest, &locked.name)?)),
        }
    }
    narrow(&mut manifest, members.values())?;
    let manifest = toml::to_string(&manifest).context("its Cargo.toml can't be written")?;
    let package = kept.into_iter().cloned().collect();
    let lock = toml::to_string(&CargoLock { version: VERSION, package }).context("its Cargo.lock can't be written")?;
    Ok(Part { members, crates, manifest, lock })
}

/// The package that a dependency of a lock means: `NAME`, `NAME VERSION` or `NAME VERSION (SOURCE)`.
fn find(packages: &[Locked], dependency: &str) -> Result<usize> {
    let mut words = dependency.split(' ');
    let (name, version, source) = (words.next().unwrap_or_default(), words.next(), words.next());
    let source = source.map(|s| s.trim_matches(['(', ')']));
    let fits = |p: &Locked| {
        p.name == name
            && version.is_none_or(|v| p.version == v)
            && source.is_none_or(|s| p.source.as_deref() == Some(s))
    };
    packages.iter().position(fits).ok_or_else(|| anyhow!("its Cargo.lock has no package {dependency}"))
}

/// The folder of a package of the workspace, by the dependency that all others of it inherit.
fn folder(manifest: &toml::Table, name: &str) -> Result<String> {
    let path = || manifest.get("workspace")?.get("dependencies")?.get(name)?.get("path")?.as_str();
    let path = path().with_context(|| format!("its Cargo.toml has no workspace.dependencies.{name}.path"))?;
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        bail!("the path {path:?} of {name} leads out of the workspace");
    }
    Ok(path.to_owned())
}

fn narrow<'a>(manifest: &mut toml::Table, members: impl Iterator<Item = &'a String>) -> Result<()> {
    let workspace = manifest.get_mut("workspace").and_then(toml::Value::as_table_mut);
    let workspace = workspace.context("its Cargo.toml is of no workspace")?;
    workspace.insert("members".into(), members.cloned().map(toml::Value::String).collect::<Vec<_>>().into());
    workspace.remove("default-members");
    // What is said of single packages would name some that are not there.
    for profile in
        manifest.get_mut("profile").and_then(toml::Value::as_table_mut).into_iter().flat_map(|p| p.iter_mut())
    {
        profile.1.as_table_mut().map(|profile| profile.remove("package"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"
        [workspace]
        members = ["agent", "plan", "builder"]
        default-members = ["agent"]
        [workspace.dependencies]
        agent = { path = "agent" }
        plan = { path = "plan" }
        builder = { path = "builder" }
        hex = "0.4"
        [profile.dev.package.hex]
        opt-level = 0
        [profile.node]
        inherits = "release"
    "#;

    fn lock() -> String {
        let sum = Sha256::of("x");
        let registry = "registry+https://github.com/rust-lang/crates.io-index";
        let package = |name: &str, version: &str, source: bool, on: &[&str]| {
            let source =
                if source { format!("source = \"{registry}\"\nchecksum = \"{sum}\"\n") } else { String::new() };
            format!("[[package]]\nname = {name:?}\nversion = {version:?}\n{source}dependencies = {on:?}\n")
        };
        [
            "version = 4\n".to_owned(),
            package("agent", "0.1.0", false, &["hex 0.4.3", "plan"]),
            package("builder", "0.1.0", false, &["hex 0.3.0", "plan", "tar"]),
            package("hex", "0.3.0", true, &[]),
            package("hex", "0.4.3", true, &[]),
            package("plan", "0.1.0", false, &[]),
            package("tar", "0.4.0", true, &[]),
        ]
        .concat()
    }

    #[test]
    fn a_part_has_what_its_package_needs_and_nothing_else() {
        let part = part(MANIFEST, &lock(), "agent").unwrap();
        assert_eq!(part.members.keys().collect::<Vec<_>>(), ["agent", "plan"]);
        assert_eq!(part.crates.keys().collect::<Vec<_>>(), ["hex-0.4.3"]);
        let manifest: toml::Table = toml::from_str(&part.manifest).unwrap();
        assert_eq!(manifest["workspace"]["members"].as_array().unwrap().len(), 2);
        assert!(manifest["workspace"].get("default-members").is_none() && manifest["profile"].get("node").is_some());
        assert!(manifest["profile"]["dev"].get("package").is_none());
    }

    #[test]
    fn what_can_not_be_locked_is_refused() {
        let error = |manifest: &str, lock: &str| format!("{:#}", part(manifest, lock, "agent").unwrap_err());
        let git = lock().replacen("registry+", "git+", 2);
        assert!(error(MANIFEST, &git).contains("only those of a registry can be locked"));
        assert!(
            error(&MANIFEST.replace("\"plan\" }", "\"../plan\" }"), &lock()).contains("leads out of the workspace")
        );
        assert!(error(MANIFEST, &lock().replace("version = 4", "version = 3")).contains("reads version 4"));
        assert!(error(MANIFEST, "version = 4\npackage = []").contains("has no package agent"));
    }
}
