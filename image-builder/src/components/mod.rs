//! Programs that no distribution packages: built from locked Go modules, taken from upstream release files
//! by digest, or from any signed apt repository.
//!
//! The three sources give the same thing: files with a place in the root and an origin. A component from
//! packages gives none here; its packages are resolved, fetched and composed with all others.

pub mod catalog;
pub mod files;
pub mod go_build;
mod go_files;
pub mod go_lock;
pub mod go_sum;
pub mod go_tool;
mod go_zip;
pub mod oci_archive;

pub use go_files::{import_modules, module_files};

use crate::compose::tree::{Content, Origin};
use crate::digest::Sha256;
use crate::lock::{Lock, LockedComponent};
use crate::progress::Progress;
use crate::recipe::{self, ComponentFile, Recipe};
use crate::store::{Fetched, Store};
use crate::tools::Tools;
use anyhow::{Context, Result, anyhow, bail};
use catalog::{CATALOG, GoComponent};
use go_build::GoBuild;
use std::collections::BTreeMap;
use std::path::Path;

/// A file that a component gives to the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentEntry {
    /// Where it goes, absolute.
    pub install: String,
    /// What it is.
    pub what: ComponentKind,
    /// Which component and version.
    pub origin: Origin,
}

/// File or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentKind {
    /// A regular file with its mode.
    File(Content, u32),
    /// A symbolic link to this target (`/usr/bin/kubelet` -> `kube`).
    Link(String),
}

/// Where a component comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source<'a> {
    /// Go modules that ship with the builder.
    Modules(&'static GoComponent),
    /// Release files.
    Files(&'a [ComponentFile]),
    /// Packages of the recipe's archives.
    Packages(&'a [String]),
}

impl<'a> Source<'a> {
    /// The one source of the recipe's component `name`.
    ///
    /// # Errors
    /// When it has none or several, or names modules that do not ship with the builder.
    pub fn of(name: &str, component: &'a recipe::Component) -> Result<Source<'a>> {
        match (&component.modules, component.files.as_slice(), component.packages.as_slice()) {
            (Some(modules), [], []) => GoComponent::named(modules).map(Source::Modules).ok_or_else(|| {
                let known: Vec<&str> = CATALOG.iter().map(|c| c.name).collect();
                anyhow!("component {name}: there are no modules {modules:?}; there are {}", known.join(", "))
            }),
            (None, files @ [_, ..], []) => Ok(Source::Files(files)),
            (None, [], packages @ [_, ..]) => Ok(Source::Packages(packages)),
            _ => bail!("component {name} needs exactly one source: modules, files or packages"),
        }
    }
}

/// The packages that components of the recipe are, to be resolved with all others.
///
/// # Errors
/// As [`Source::of`].
pub fn package_names(recipe: &Recipe) -> Result<Vec<&str>> {
    let mut names = Vec::new();
    for (name, component) in &recipe.component {
        if let Source::Packages(packages) = Source::of(name, component)? {
            names.extend(packages.iter().map(String::as_str));
        }
    }
    Ok(names)
}

/// What the steps below work with.
#[derive(Debug, Clone, Copy)]
pub struct Workshop<'a> {
    /// Where things are kept.
    pub store: &'a Store,
    /// Go and the C compiler.
    pub tools: &'a Tools,
    /// Where progress goes.
    pub progress: &'a Progress,
}

/// Locks every component of the recipe. Asks the network for what the store does not have.
///
/// # Errors
/// When a component can't be had at its version.
pub fn lock(recipe: &Recipe, workshop: &Workshop) -> Result<BTreeMap<String, LockedComponent>> {
    let mut all = BTreeMap::new();
    for (name, component) in &recipe.component {
        let locked = match Source::of(name, component)? {
            Source::Modules(modules) => go_lock::lock(name, modules, &component.version, recipe.image.arch, workshop)?,
            Source::Files(files) => LockedComponent {
                files: files.iter().filter_map(|f| Some((f.url.clone()?, f.sha256))).collect(),
                ..without_modules(component)
            },
            Source::Packages(_) => without_modules(component),
        };
        all.insert(name.clone(), locked);
    }
    Ok(all)
}

fn without_modules(component: &recipe::Component) -> LockedComponent {
    LockedComponent {
        version: component.version.clone(),
        go_mod: None,
        go_sum: None,
        modules: Vec::new(),
        released: None,
        source: None,
        files: BTreeMap::new(),
    }
}

/// Whether a lock is of the components as this version of the builder carries them.
///
/// # Errors
/// When it is not, naming the component and the command that mends it.
pub fn check(recipe: &Recipe, lock: &Lock) -> Result<()> {
    for (name, component) in &recipe.component {
        if let Source::Modules(modules) = Source::of(name, component)?
            && lock.component.get(name).and_then(|locked| locked.source) != Some(modules.source_digest())
        {
            bail!("the lock does not fit component {name} of this version of the builder; run `bedplate lock`");
        }
    }
    Ok(())
}

/// Brings what the components are made of into the store; with `offline`, checks that it is there.
///
/// `get` fetches an address whose bytes have a known digest; paths are relative to `recipe_folder`.
///
/// # Errors
/// When something can't be had, or is not what was locked.
pub fn fetch(
    recipe: &Recipe,
    recipe_folder: &Path,
    lock: &Lock,
    workshop: &Workshop,
    offline: bool,
    get: &dyn Fn(&str, &Sha256) -> Result<Fetched>,
) -> Result<()> {
    for (name, component) in &recipe.component {
        match Source::of(name, component)? {
            Source::Modules(modules) => GoBuild::new(name, modules, lock, workshop.tools)?.fetch(workshop, offline)?,
            Source::Files(files) => {
                for file in files {
                    let fetched = match (&file.url, &file.path) {
                        (Some(url), None) => get(url, &file.sha256),
                        (None, Some(path)) => files::take_local(file, path, recipe_folder, workshop.store),
                        _ => Err(anyhow!("the file for {} needs either a url or a path", file.install)),
                    };
                    fetched.with_context(|| format!("can't fetch component {name}"))?;
                }
            }
            Source::Packages(_) => {}
        }
    }
    Ok(())
}

/// The files of every component, built from what [`fetch`] brought. Never asks the network.
///
/// # Errors
/// When a component does not build, or something was not fetched.
pub fn build(recipe: &Recipe, lock: &Lock, workshop: &Workshop) -> Result<Vec<ComponentEntry>> {
    let mut entries = Vec::new();
    for (name, component) in &recipe.component {
        match Source::of(name, component)? {
            Source::Modules(modules) => {
                entries.extend(GoBuild::new(name, modules, lock, workshop.tools)?.build(workshop)?);
            }
            Source::Files(files) => {
                let version = component.version.values().map(String::as_str).collect::<Vec<_>>().join(", ");
                for file in files {
                    let fetched = workshop.store.blob(&file.sha256).with_context(|| {
                        format!("component {name}: the file for {} is not in the store", file.install)
                    })?;
                    entries.push(files::entry(name, &version, file, &fetched, workshop.store)?);
                }
            }
            Source::Packages(_) => {}
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(text: &str) -> recipe::Component {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_component_has_one_source() {
        let error = |text: &str| Source::of("x", &component(text)).unwrap_err().to_string();
        assert_eq!(
            error(r#"modules = "kubernetes""#),
            r#"component x: there are no modules "kubernetes"; there are kube, containerd, runc, cni, coredns, pause"#
        );
        let several = "modules = \"kube\"\npackages = [\"kubelet\"]";
        for text in ["", several] {
            assert_eq!(error(text), "component x needs exactly one source: modules, files or packages");
        }
        let kube = component(r#"modules = "kube""#);
        assert!(matches!(Source::of("x", &kube).unwrap(), Source::Modules(c) if c.name == "kube"));
    }
}
