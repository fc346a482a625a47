//! Two sides in, their differences out. Pure.

use super::{Change, ChangeKind, ComponentDiff, Diff, FileChange, Side, Step, Words};
use crate::compose::tree::Origin;
use crate::digest::{OciDigest, Sha256};
use crate::lock::{Lock, LockedComponent, Package};
use crate::package::files::{Listed, ListedKind};
use crate::package::manifest::Manifest;
use crate::package::name;
use crate::release::Contents;
use debversion::Version;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that differs from `from` to `to`.
pub fn compare(from: &Contents, to: &Contents) -> Diff {
    let manifests = from.manifest.as_ref().zip(to.manifest.as_ref());
    let (old, new) = (&from.lock, &to.lock);
    let packages = packages(&old.package, &new.package);
    let components = components(&old.component, &new.component);
    let images = images(from, to);
    let ids = ids(old, new);
    let notes = notes(from, to, &packages, &components, &ids);
    Diff {
        format: 1,
        from: side(from),
        to: side(to),
        same_image: manifests.is_some_and(|(a, b)| same_image(a, b)),
        tools: self::packages(&tools(old), &tools(new)),
        kernel: manifests.and_then(|(a, b)| step(a.kernel.clone(), b.kernel.clone())),
        command_line: manifests.map(|(a, b)| words(&a.command_line, &b.command_line)).unwrap_or_default(),
        sizes: manifests.map(|(a, b)| differing(&sizes(a, from), &sizes(b, to))).unwrap_or_default(),
        local: changes(&texts(&old.local), &texts(&new.local), |_, _| ChangeKind::Changed),
        files: from
            .files
            .as_ref()
            .zip(to.files.as_ref())
            .map(|(a, b)| files(a, b, &moved(&packages, &components, &images)))
            .unwrap_or_default(),
        packages,
        components,
        images,
        ids,
        notes,
    }
}

/// The packages of all trees of tools; those of a tree that compiles one thing say which, as another tree may have
/// another version.
fn tools(lock: &Lock) -> Vec<Package> {
    let of = |thing: &str, p: &Package| Package { name: format!("{} (compiles the {thing})", p.name), ..p.clone() };
    let compile = lock.compile.iter().flat_map(|(thing, packages)| packages.iter().map(move |p| of(thing, p)));
    lock.tool.iter().cloned().chain(compile).collect()
}

fn same_image(a: &Manifest, b: &Manifest) -> bool {
    (a.root_hash, a.unsigned_uki) == (b.root_hash, b.unsigned_uki)
}

fn side(contents: &Contents) -> Side {
    let manifest = contents.manifest.as_ref();
    let time = jiff::Timestamp::from_second(contents.lock.snapshot).unwrap_or_default();
    Side {
        path: contents.name.clone(),
        release: manifest.map(|m| format!("{} {}", m.name, m.version)),
        root_hash: manifest.map(|m| m.root_hash.to_string()),
        snapshot: time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }
}

fn step<T: PartialEq>(from: T, to: T) -> Option<Step<T>> {
    (from != to).then_some(Step { from, to })
}

/// What is on both sides with another value, and what is on one side only, by key.
fn changes(
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
    kind: impl Fn(&str, &str) -> ChangeKind,
) -> Vec<Change> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |name: &String| {
        let (from, to) = (old.get(name).cloned(), new.get(name).cloned());
        let kind = match (&from, &to) {
            (Some(from), Some(to)) if from == to => return None,
            (Some(from), Some(to)) => kind(from, to),
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
        };
        Some(Change { name: name.clone(), kind, from, to, suite: None })
    };
    names.into_iter().filter_map(change).collect()
}

fn differing<T: Clone + Default + PartialEq>(
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
) -> BTreeMap<String, Step<T>> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let value = |of: &BTreeMap<String, T>, name: &String| of.get(name).cloned().unwrap_or_default();
    names.into_iter().filter_map(|name| Some((name.clone(), step(value(old, name), value(new, name))?))).collect()
}

fn texts<T: ToString>(values: &BTreeMap<String, T>) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
}

/// A package of the same version and other bytes counts as changed.
fn packages(old: &[Package], new: &[Package]) -> Vec<Change> {
    let by_name = |list: &[Package]| list.iter().map(|p| (p.name.clone(), p.clone())).collect::<BTreeMap<_, _>>();
    let (old, new) = (by_name(old), by_name(new));
    let versions =
        |list: &BTreeMap<String, Package>| list.values().map(|p| (p.name.clone(), p.version.clone())).collect();
    let mut found = changes(&versions(&old), &versions(&new), debian);
    for (name, package) in &new {
        if old.get(name).is_some_and(|o| o.version == package.version && o.sha256 != package.sha256) {
            let version = Some(package.version.clone());
            let (from, to) = (version.clone(), version);
            found.push(Change { name: name.clone(), kind: ChangeKind::Changed, from, to, suite: None });
        }
    }
    for change in &mut found {
        change.suite = new.get(&change.name).map(|p| p.suite.clone());
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn debian(from: &str, to: &str) -> ChangeKind {
    match (from.parse::<Version>(), to.parse::<Version>()) {
        (Ok(from), Ok(to)) => direction(from.cmp(&to)),
        _ => ChangeKind::Changed,
    }
}

fn direction(ordering: Ordering) -> ChangeKind {
    match ordering {
        Ordering::Less => ChangeKind::Upgraded,
        Ordering::Equal => ChangeKind::Changed,
        Ordering::Greater => ChangeKind::Downgraded,
    }
}

/// Semantic versions (semver.org, 11) with or without a `v`: by numbers, then what has no pre-release after what
/// has one, then by the text of that. What is no such version has only changed.
fn semantic(from: &str, to: &str) -> ChangeKind {
    let read = |text: &str| {
        let text = text.trim_start_matches('v').split('+').next().unwrap_or_default().to_owned();
        let (numbers, candidate) = match text.split_once('-') {
            Some((numbers, candidate)) => (numbers.to_owned(), Some(candidate.to_owned())),
            None => (text, None),
        };
        let numbers = numbers.split('.').map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
        Some((numbers, candidate.is_none(), candidate))
    };
    match (read(from), read(to)) {
        (Some(from), Some(to)) => direction(from.cmp(&to)),
        _ => ChangeKind::Changed,
    }
}

fn components(
    old: &BTreeMap<String, LockedComponent>,
    new: &BTreeMap<String, LockedComponent>,
) -> BTreeMap<String, ComponentDiff> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let diff = |name: &String| {
        let (from, to) = (old.get(name), new.get(name));
        let kind = match (from, to) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        };
        let versions = |of: Option<&LockedComponent>| of.map(|c| c.version.clone()).unwrap_or_default();
        let versions = changes(&versions(from), &versions(to), semantic);
        let modules = changes(&modules(from), &modules(to), semantic);
        let sources = from.zip(to).is_some_and(|(a, b)| (a.source, &a.files) != (b.source, &b.files));
        let same = kind == ChangeKind::Changed && versions.is_empty() && modules.is_empty() && !sources;
        (!same).then(|| (name.clone(), ComponentDiff { kind, versions, modules, sources }))
    };
    names.into_iter().filter_map(diff).collect()
}

fn modules(component: Option<&LockedComponent>) -> BTreeMap<String, String> {
    let modules = component.into_iter().flat_map(|c| &c.modules);
    modules.filter_map(|m| m.split_once('@')).map(|(path, version)| (path.to_owned(), version.to_owned())).collect()
}

/// The root hash is another in every image; it is told elsewhere.
fn words(old: &str, new: &str) -> Words {
    let only = |here: &str, there: &str| {
        let there: Vec<&str> = there.split(' ').collect();
        let words = here.split(' ').filter(|word| !there.contains(word) && !word.starts_with("roothash="));
        words.map(str::to_owned).collect()
    };
    Words { added: only(new, old), removed: only(old, new) }
}

fn sizes(manifest: &Manifest, contents: &Contents) -> BTreeMap<String, u64> {
    let file = |name: &str| manifest.files.get(name).map_or(0, |sum| sum.size);
    let mut sizes = BTreeMap::from([
        ("root image".to_owned(), manifest.root_image.size),
        (name::UKI.to_owned(), file(name::UKI)),
        (name::DISK.to_owned(), file(name::DISK)),
    ]);
    if let Some(files) = &contents.files {
        sizes.insert("files of the root".to_owned(), files.values().filter_map(|f| f.size).sum());
        sizes.insert("paths of the root".to_owned(), files.len() as u64);
    }
    sizes
}

fn ids(old: &Lock, new: &Lock) -> Vec<Change> {
    let all = |lock: &Lock| -> BTreeMap<String, String> {
        let users = lock.user.iter().map(|u| (format!("user {}", u.name), format!("{}:{}", u.uid, u.gid)));
        users.chain(lock.group.iter().map(|g| (format!("group {}", g.name), g.gid.to_string()))).collect()
    };
    changes(&all(old), &all(new), |_, _| ChangeKind::Changed)
}

/// Of a release all images, by its manifest; a lock knows those that are taken ready.
fn images(from: &Contents, to: &Contents) -> Vec<Change> {
    let (old, new) = match (&from.manifest, &to.manifest) {
        (Some(old), Some(new)) => (digests(&old.container_images), digests(&new.container_images)),
        _ => (locked_images(&from.lock), locked_images(&to.lock)),
    };
    changes(&old, &new, |_, _| ChangeKind::Changed)
}

fn digests(images: &BTreeMap<String, Sha256>) -> BTreeMap<String, String> {
    images.iter().map(|(name, digest)| (name.clone(), OciDigest(*digest).to_string())).collect()
}

fn locked_images(lock: &Lock) -> BTreeMap<String, String> {
    lock.container_image.iter().map(|image| (image.name.clone(), OciDigest(image.manifest).to_string())).collect()
}

/// The inputs that differ themselves.
fn moved(packages: &[Change], components: &BTreeMap<String, ComponentDiff>, images: &[Change]) -> BTreeSet<String> {
    let packages = packages.iter().map(|change| format!("package {}", change.name));
    let images = images.iter().map(|change| format!("image {}", change.name));
    packages.chain(images).chain(components.keys().map(|name| format!("component {name}"))).collect()
}

/// What the builder made follows from everything else.
fn files(old: &BTreeMap<String, Listed>, new: &BTreeMap<String, Listed>, moved: &BTreeSet<String>) -> Vec<FileChange> {
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |path: &String| {
        let (from, to) = (old.get(path), new.get(path));
        let latest = to.or(from)?;
        let what = from.zip(to).map(|(from, to)| properties(from, to)).unwrap_or_default();
        let kind = match (from, to) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ if what.is_empty() => return None,
            _ => ChangeKind::Changed,
        };
        let size = |side: Option<&Listed>| side.and_then(|l| i64::try_from(l.size?).ok()).unwrap_or(0);
        Some(FileChange {
            path: path.clone(),
            kind,
            expected: matches!(latest.origin, Origin::Emulation(_)) || moved.contains(&input(&latest.origin)),
            input: input(&latest.origin),
            what,
            grew: size(to) - size(from),
            privileged: [from, to].into_iter().flatten().any(privileged),
        })
    };
    paths.into_iter().filter_map(change).collect()
}

fn privileged(listed: &Listed) -> bool {
    let set_id = listed.kind == ListedKind::File && listed.mode & 0o6000 != 0;
    set_id || listed.xattrs.iter().any(|(name, _)| name == "security.capability")
}

/// An input without its version.
fn input(origin: &Origin) -> String {
    match origin {
        Origin::Package(name, _) => format!("package {name}"),
        Origin::Component(name, _) => format!("component {name}"),
        Origin::Image(name, _) => format!("image {name}"),
        other => other.to_string(),
    }
}

fn properties(from: &Listed, to: &Listed) -> BTreeMap<&'static str, Step<String>> {
    type Property = (&'static str, fn(&Listed) -> String);
    let all: [Property; 7] = [
        ("content", |l| l.sha256.map(|digest| digest.to_string()).unwrap_or_default()),
        ("input", |l| input(&l.origin)),
        ("kind", |l| l.kind.name().to_owned()),
        ("mode", |l| format!("{:04o}", l.mode)),
        ("owner", |l| format!("{}:{}", l.uid, l.gid)),
        ("target", |l| l.target.clone().or_else(|| Some(format!("{:?}", l.device?))).unwrap_or_default()),
        ("xattrs", |l| l.xattrs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")),
    ];
    all.into_iter().filter_map(|(name, of)| Some((name, step(of(from), of(to))?))).collect()
}

/// What is easily overlooked and hard to take back.
fn notes(
    from: &Contents,
    to: &Contents,
    packages: &[Change],
    components: &BTreeMap<String, ComponentDiff>,
    ids: &[Change],
) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some((a, b)) = from.manifest.as_ref().zip(to.manifest.as_ref()) {
        let certificate = format!("{}/db.crt", name::SECURE_BOOT);
        let key = |of: &Manifest| of.files.get(&certificate).map(|sum| sum.sha256);
        if key(a) != key(b) {
            notes.push(
                "The UKIs are signed with different Secure Boot keys (db): a machine needs the new key enrolled \
                 before it boots the new one."
                    .to_owned(),
            );
        }
        if a.arch != b.arch {
            notes.push("The two are for different architectures.".to_owned());
        }
    }
    let renumbered: Vec<String> =
        ids.iter().filter(|c| c.kind == ChangeKind::Changed).map(|c| c.name.clone()).collect();
    if !renumbered.is_empty() {
        notes.push(format!(
            "Numbers changed of {}: files below /var keep the old ones.",
            crate::lock::shorten(&renumbered)
        ));
    }
    let minor = |version: &Option<String>| -> Option<u64> {
        version.as_ref()?.trim_start_matches('v').split('.').nth(1)?.parse().ok()
    };
    for change in components.values().flat_map(|c| &c.versions).filter(|c| c.name == "kubernetes") {
        match (minor(&change.from), minor(&change.to)) {
            (Some(old), Some(new)) if new > old + 1 => notes.push(format!(
                "Kubernetes skips {} minor version{}: a control plane is upgraded one at a time (Kubernetes version \
                 skew policy).",
                new - old - 1,
                if new == old + 2 { "" } else { "s" }
            )),
            (Some(old), Some(new)) if new < old => notes.push(
                "Kubernetes goes back a minor version, which upstream does not support for a control plane.".to_owned(),
            ),
            _ => {}
        }
    }
    let back = |c: &&Change| c.kind == ChangeKind::Downgraded;
    let versions = components.values().flat_map(|c| &c.versions);
    let downgraded: Vec<String> = packages.iter().chain(versions).filter(back).map(|c| c.name.clone()).collect();
    if !downgraded.is_empty() {
        notes.push(format!("Older than before: {}.", crate::lock::shorten(&downgraded)));
    }
    if to.lock.snapshot < from.lock.snapshot {
        notes.push("The archives of the new one are older: security updates may be missing.".to_owned());
    }
    notes
}
