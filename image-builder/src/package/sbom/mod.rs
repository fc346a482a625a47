//! The software bill of materials of a release: CycloneDX 1.6, JSON. Pure but for reading content.
//!
//! Guarantees: equal locks, recipes and trees give equal bytes; every package, component, Go module, crate and
//! program that is in the image or in its UKI is named once. What is not known is said: the crates of an agent that was
//! given as programs, what is in container images that were taken ready, and licences that no machine-readable file
//! tells.

mod document;
mod licence;
mod purl;

use crate::components::catalog::GoComponent;
use crate::components::go_sum;
use crate::compose::deb::field;
use crate::compose::emulate::dpkg_status;
use crate::compose::tree::{Kind, Origin, Tree};
use crate::digest::{OciDigest, Sha256};
use crate::images;
use crate::lock::{Lock, LockedComponent, Package};
use crate::recipe::Recipe;
use crate::seal::{RootImage, ids};
use anyhow::{Context, Result};
use document::{
    Component, Composition, Dependency, Document, Evidence, ExternalReference, Lifecycle, Metadata, Occurrence,
    Property, Tools, licenses, property, sha256,
};
use std::collections::{BTreeMap, BTreeSet};

/// The tools package whose program every UKI begins with.
const STUB: &str = "systemd-boot-efi";
/// The agent's programs: name, and the lock's entry in `local` if they are not compiled from a locked source.
const AGENT: [(&str, &str); 2] = [("firstboot", "agent/firstboot"), ("stage1", "agent/stage1")];

/// How references to them begin.
const AGENT_REFERENCE: &str = "agent:";

/// What a bill is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'a> {
    pub recipe: &'a Recipe,
    pub lock: &'a Lock,
    pub tree: &'a Tree,
    pub root: &'a RootImage,
    pub kernel: &'a str,
}

/// The bill of materials as JSON, ended by a line feed.
pub(super) fn sbom(sources: &Sources) -> Result<String> {
    let mut bill = Bill::new(sources)?;
    bill.packages();
    bill.components()?;
    bill.images()?;
    bill.kernel();
    bill.agent();
    let mut document = bill.document()?;
    let serial = ids::derived("sbom", &Sha256::of(serde_json::to_vec(&document)?));
    document.serial_number = Some(serial.urn().to_string());
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// The distribution, as `os-release` of the root names it.
struct Distribution {
    id: String,
    version: String,
}

impl Distribution {
    fn of(tree: &Tree) -> Result<Distribution> {
        let text = read(tree, "/usr/lib/os-release")?.unwrap_or_default();
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        Ok(Distribution {
            id: value("ID").unwrap_or_else(|| "debian".into()),
            version: value("VERSION_ID").unwrap_or_default(),
        })
    }

    fn name(&self) -> String {
        format!("{}-{}", self.id, self.version).trim_end_matches('-').to_owned()
    }
}

fn read(tree: &Tree, path: &str) -> Result<Option<String>> {
    let Some((_, content)) = tree.file(path) else { return Ok(None) };
    Ok(Some(String::from_utf8_lossy(&content.read()?).into_owned()))
}

struct Bill<'a> {
    sources: &'a Sources<'a>,
    distribution: Distribution,
    /// Control files of the root's packages, by name.
    control: BTreeMap<String, String>,
    /// Texts of `copyright`, by package.
    copyright: BTreeMap<&'a str, String>,
    /// By reference: the order is that of the document.
    found: BTreeMap<String, Component>,
    /// What each of them needs, where that is known.
    needs: BTreeMap<String, BTreeSet<String>>,
    /// References of the root's packages, by name.
    packaged: BTreeMap<&'a str, String>,
    /// References of what the image itself is made of.
    top: BTreeSet<String>,
}

impl<'a> Bill<'a> {
    fn new(sources: &'a Sources<'a>) -> Result<Bill<'a>> {
        let Sources { lock, tree, .. } = *sources;
        let status = read(tree, &format!("{}/status", dpkg_status::FOLDER))?.unwrap_or_default();
        let control = status.split("\n\n").filter_map(|p| Some((field(p, "Package")?, p.to_owned()))).collect();
        let mut copyright = BTreeMap::new();
        for package in &lock.package {
            if let Some(text) = read(tree, &format!("/usr/share/doc/{}/copyright", package.name))? {
                copyright.insert(package.name.as_str(), text);
            }
        }
        Ok(Bill {
            sources,
            distribution: Distribution::of(tree)?,
            control,
            copyright,
            found: BTreeMap::new(),
            needs: BTreeMap::new(),
            packaged: BTreeMap::new(),
            top: BTreeSet::new(),
        })
    }

    fn packages(&mut self) {
        let lock = self.sources.lock;
        for package in &lock.package {
            let reference = self.package(package);
            self.packaged.insert(&package.name, reference);
        }
        for package in &lock.package {
            let reference = self.packaged[package.name.as_str()].clone();
            self.needs.entry(reference.clone()).or_default();
            for by in &package.wanted_by {
                let by =
                    self.packaged.get(by.as_str()).cloned().or_else(|| Some(component(by.strip_prefix("component ")?)));
                match by {
                    Some(by) => drop(self.needs.entry(by).or_default().insert(reference.clone())),
                    None => drop(self.top.insert(reference.clone())),
                }
            }
        }
        let Distribution { id, version } = &self.distribution;
        let system = Component {
            kind: "operating-system",
            reference: format!("distribution:{}", self.distribution.name()),
            name: id.clone(),
            version: version.clone(),
            ..Component::default()
        };
        self.add_to_top(system);
    }

    /// Adds a package of the root or of the tools tree, and gives its reference.
    fn package(&mut self, package: &Package) -> String {
        let arch = self.sources.lock.arch.debian();
        let control = self.control.get(&package.name);
        let of_control = |name: &str| control.and_then(|c| field(c, name));
        let (source, source_version) = source(package, of_control("Source"));
        let mut qualifiers = vec![
            ("arch", of_control("Architecture").unwrap_or_else(|| arch.to_owned())),
            ("distro", self.distribution.name()),
        ];
        match (source == package.name, source_version == package.version) {
            (true, true) => {}
            (_, true) => qualifiers.push(("upstream", source.clone())),
            (_, false) => qualifiers.push(("upstream", format!("{source}@{source_version}"))),
        }
        let purl = purl::deb(&self.distribution.id, &package.name, &package.version, &qualifiers);
        let copyright = self.copyright.get(package.name.as_str());
        self.add(Component {
            kind: "library",
            reference: purl.clone(),
            name: package.name.clone(),
            version: package.version.clone(),
            hashes: sha256(package.sha256),
            licenses: licenses(copyright.and_then(|text| licence::licences(text))),
            purl,
            properties: vec![
                property("bedplate:source", source),
                property("bedplate:source-version", source_version),
                property("bedplate:suite", &package.suite),
                property("bedplate:archive", &package.archive),
            ],
            ..Component::default()
        })
    }

    fn components(&mut self) -> Result<()> {
        let Sources { recipe, lock, .. } = *self.sources;
        for (name, locked) in &lock.component {
            let carried = recipe.component.get(name).and_then(|c| GoComponent::named(c.modules.as_ref()?));
            let mut needs: BTreeSet<String> = BTreeSet::new();
            let sums = go_sum::sums(locked.go_sum.as_deref().unwrap_or_default());
            for module in &locked.modules {
                needs.insert(self.module(module, sums.get(module).copied()));
            }
            if let Some(carried) = carried {
                needs.extend(self.standard_library());
                let archives = lock.tool.iter().filter(|p| carried.archives.contains(&p.name.as_str()));
                needs.extend(archives.map(|p| self.package(p)).collect::<Vec<_>>());
            }
            let reference = component(name);
            self.needs.entry(reference.clone()).or_default().extend(needs);
            let made = self.component(name, locked);
            self.add_to_top(made);
        }
        Ok(())
    }

    fn component(&self, name: &str, locked: &LockedComponent) -> Component {
        let is_its = |origin: &Origin| matches!(origin, Origin::Component(of, _) if of == name);
        let files = self.sources.tree.iter().filter(|(_, e)| is_its(&e.origin) && matches!(e.kind, Kind::File(_)));
        let occurrences: Vec<Occurrence> = files.map(|(at, _)| Occurrence { location: at.to_string() }).collect();
        let versions: Vec<String> = locked.version.iter().map(|(of, version)| format!("{of} {version}")).collect();
        let fetched = locked.files.iter().map(|(url, digest)| ExternalReference {
            kind: "distribution",
            url: url.clone(),
            hashes: sha256(*digest),
        });
        let source = locked.source.map(|digest| property("bedplate:source-sha256", digest.to_string()));
        Component {
            kind: "application",
            reference: component(name),
            name: name.to_owned(),
            version: match locked.version.values().collect::<Vec<_>>().as_slice() {
                [only] => (*only).clone(),
                _ => versions.join(", "),
            },
            licenses: licenses(None::<BTreeSet<_>>),
            external_references: fetched.collect(),
            properties: source.into_iter().collect(),
            evidence: (!occurrences.is_empty()).then_some(Evidence { occurrences }),
            ..Component::default()
        }
    }

    /// Adds a Go module, `PATH@VERSION`, and gives its reference.
    fn module(&mut self, module: &str, sum: Option<&str>) -> String {
        let (path, version) = module.split_once('@').unwrap_or((module, ""));
        let properties: Vec<Property> = sum.into_iter().map(|sum| property("bedplate:go-sum", sum)).collect();
        let purl = purl::golang(module);
        self.add(Component {
            kind: "library",
            reference: purl.clone(),
            name: path.to_owned(),
            version: version.to_owned(),
            licenses: licenses(None::<BTreeSet<_>>),
            purl,
            properties,
            ..Component::default()
        })
    }

    /// Go's own library, in the version of the locked compiler: a part of every Go program.
    fn standard_library(&mut self) -> Option<String> {
        let go = self.sources.lock.tool.iter().filter(|p| p.name.starts_with("golang-") && p.name.ends_with("-go"));
        let package = go.max_by_key(|p| p.version.parse::<debversion::Version>().ok())?;
        let version = package.version.parse::<debversion::Version>().ok()?.upstream_version;
        Some(self.module(&format!("stdlib@{version}"), None))
    }

    /// The container images that lie in the root. One under several names is one.
    fn images(&mut self) -> Result<()> {
        let Sources { lock, tree, .. } = *self.sources;
        let mut all: BTreeMap<Sha256, Vec<String>> = BTreeMap::new();
        for (name, digest) in images::list(tree)? {
            all.entry(digest).or_default().push(name);
        }
        for (digest, names) in all {
            // Its first name in the recipe, if it is in the lock.
            let locked = lock.container_image.iter().find(|image| image.manifest == digest).map(|image| &image.name);
            let Some(name) = locked.or_else(|| names.iter().find(|n| !n.contains('@'))).cloned() else { continue };
            let (repository, tag) = name.rsplit_once(':').unwrap_or((&name, ""));
            self.add_to_top(Component {
                kind: "container",
                reference: format!("container:{}", OciDigest(digest)),
                name: repository.to_owned(),
                version: tag.to_owned(),
                hashes: sha256(digest),
                licenses: licenses(None::<BTreeSet<_>>),
                purl: purl::oci(repository, tag, &OciDigest(digest).to_string(), lock.arch.go()),
                properties: names.iter().map(|name| property("bedplate:image-name", name)).collect(),
                ..Component::default()
            });
        }
        Ok(())
    }

    /// The source of a kernel that was compiled; one from a package is among the packages.
    fn kernel(&mut self) {
        let Sources { recipe, lock, .. } = *self.sources;
        let tree = lock.compile.get(crate::kernel::TREE).map(Vec::as_slice).unwrap_or_default();
        let named = |package: &str| {
            recipe.kernel.source.as_deref().is_some_and(|s| s.split([' ', '(']).next() == Some(package))
        };
        if let Some(source) = tree.iter().find(|p| named(&p.name)) {
            let reference = self.package(source);
            self.top.insert(reference);
        }
    }

    /// The agent with the crates that it is compiled from, some of which only compile others, and the stub that the UKI
    /// begins with.
    fn agent(&mut self) {
        let Sources { recipe, lock, .. } = *self.sources;
        let crates: BTreeSet<String> =
            lock.agent.iter().flat_map(|a| &a.crates).map(|(name, digest)| self.agent_crate(name, *digest)).collect();
        for (name, local) in AGENT {
            let given = lock.local.get(local);
            let source = lock.agent.as_ref().map(|a| property("bedplate:source-sha256", a.source.to_string()));
            if given.is_none() && source.is_none() {
                continue;
            }
            let reference = format!("{AGENT_REFERENCE}{name}");
            if lock.agent.is_some() {
                self.needs.entry(reference.clone()).or_default().extend(crates.iter().cloned());
            }
            self.add_to_top(Component {
                kind: "application",
                reference,
                name: name.to_owned(),
                version: recipe.image.version.clone(),
                hashes: given.map(|digest| sha256(*digest)).unwrap_or_default(),
                licenses: licenses(None::<BTreeSet<_>>),
                properties: source.into_iter().collect(),
                ..Component::default()
            });
        }
        if let Some(stub) = lock.tool.iter().find(|p| p.name == STUB) {
            let reference = self.package(stub);
            self.top.insert(reference);
        }
    }

    /// Adds a crate, `NAME-VERSION`, and gives its reference.
    fn agent_crate(&mut self, name_version: &str, digest: Sha256) -> String {
        let (name, version) = purl::crate_and_version(name_version);
        let purl = purl::cargo(name, version);
        self.add(Component {
            kind: "library",
            reference: purl.clone(),
            name: name.to_owned(),
            version: version.to_owned(),
            hashes: sha256(digest),
            licenses: licenses(None::<BTreeSet<_>>),
            purl,
            ..Component::default()
        })
    }

    fn add(&mut self, component: Component) -> String {
        let reference = component.reference.clone();
        self.found.insert(reference.clone(), component);
        reference
    }

    fn add_to_top(&mut self, component: Component) {
        let reference = self.add(component);
        self.top.insert(reference);
    }

    fn document(self) -> Result<Document> {
        let Sources { recipe, lock, root, kernel, .. } = *self.sources;
        let time = jiff::Timestamp::from_second(lock.snapshot).context("the lock's snapshot is no time")?;
        let image = Component {
            kind: "platform",
            reference: format!("image:{}", root.root_hash),
            name: recipe.image.name.clone(),
            version: recipe.image.version.clone(),
            properties: vec![
                property("bedplate:root-hash", root.root_hash.to_string()),
                property("bedplate:kernel", kernel),
                property("bedplate:arch", lock.arch.debian()),
            ],
            ..Component::default()
        };
        let top = Dependency { reference: image.reference.clone(), depends_on: self.top.into_iter().collect() };
        let of_others = self.needs.into_iter().filter(|(reference, _)| self.found.contains_key(reference));
        let of_others = of_others.map(|(reference, on)| Dependency { reference, depends_on: on.into_iter().collect() });
        let ready: BTreeSet<String> =
            lock.container_image.iter().map(|image| format!("container:{}", OciDigest(image.manifest))).collect();
        let given = lock.agent.is_none();
        let unknown =
            |reference: &&String| (given && reference.starts_with(AGENT_REFERENCE)) || ready.contains(*reference);
        let unknown = self.found.keys().filter(unknown).cloned().collect();
        Ok(Document {
            bom_format: "CycloneDX",
            spec_version: "1.6",
            serial_number: None,
            version: 1,
            metadata: Metadata {
                timestamp: time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                lifecycles: vec![Lifecycle { phase: "build" }],
                tools: Tools {
                    components: vec![Component {
                        kind: "application",
                        name: "bedplate".to_owned(),
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                        ..Component::default()
                    }],
                },
                component: image,
            },
            dependencies: std::iter::once(top).chain(of_others).collect(),
            // What an agent that was given is compiled from stands in no lock of an image, nor what is in a ready image.
            compositions: vec![Composition { aggregate: "incomplete", assemblies: unknown }],
            components: self.found.into_values().collect(),
        })
    }
}

fn component(name: &str) -> String {
    format!("component:{name}")
}

/// Source package and its version: the control file's `Source`, `NAME` or `NAME (VERSION)` (Debian Policy, 5.6.1).
/// Of a package whose control file is not at hand the folder in the pool has the source's name.
fn source(package: &Package, field: Option<String>) -> (String, String) {
    let Some(field) = field else {
        let in_pool = package.path.starts_with("pool/");
        let folder = package.path.rsplit('/').nth(1).filter(|_| in_pool).unwrap_or(&package.name);
        return (folder.to_owned(), package.version.clone());
    };
    match field.split_once(" (") {
        Some((name, version)) => (name.to_owned(), version.trim_end_matches(')').to_owned()),
        None => (field, package.version.clone()),
    }
}

#[cfg(test)]
mod tests;
