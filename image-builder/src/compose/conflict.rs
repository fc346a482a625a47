//! Layers become one tree: who owns a path when several inputs claim it.
//!
//! Folders are shared, and the same thing twice is once. A package may replace another's file where its
//! `Replaces` field says so (Debian Policy, 7.6.1). An overlay replaces anything but a folder, in the open:
//! the entry then names the overlay as its origin. Everything else is an error; all of them are named at once.

use super::layer::Layer;
use super::tree::{Entry, Kind, Origin, Tree, TreePath};
use crate::resolve::relation;
use debversion::Version;
use std::collections::BTreeMap;
use std::fmt;

/// One path that two inputs claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The path.
    pub path: TreePath,
    /// Who came first.
    pub first: Origin,
    /// Who came later.
    pub second: Origin,
    /// In which way they differ.
    pub why: String,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} and {} both own it, {}", self.path, self.first, self.second, self.why)
    }
}

/// All conflicts of a composition.
#[derive(Debug, thiserror::Error)]
#[error("{} more than one owner:\n{}\nExclude the path, drop one of the inputs, or lay it down in an overlay", count(.0.len()), list(.0))]
pub struct Conflicts(pub Vec<Conflict>);

fn count(n: usize) -> String {
    if n == 1 { "one path has".into() } else { format!("{n} paths have") }
}

fn list(conflicts: &[Conflict]) -> String {
    conflicts.iter().map(|c| format!("  {c}")).collect::<Vec<_>>().join("\n")
}

/// Lays the layers over each other, in order.
///
/// # Errors
/// When two of them claim one path and nothing allows it.
pub fn merge(layers: Vec<Layer>) -> Result<Tree, Conflicts> {
    let replaces: BTreeMap<Origin, String> = layers.iter().map(|l| (l.origin.clone(), l.replaces.clone())).collect();
    let mut tree = Tree::new();
    let mut conflicts = Vec::new();
    let mut left_out = Vec::new();
    for layer in layers {
        left_out.extend(layer.left_out.into_iter().map(|(path, why)| (path, layer.origin.clone(), why)));
        for (path, entry) in layer.entries {
            let Some(first) = tree.get(&path) else {
                tree.insert(path, entry);
                continue;
            };
            match settle(first, &entry, &replaces) {
                Ok(Winner::Both) => {}
                Ok(Winner::First) => tree.lose(path, entry.origin),
                Ok(Winner::Second) => {
                    if matches!(entry.origin, Origin::Overlay(_)) {
                        tracing::info!("{} replaces {path} of {}", entry.origin, first.origin);
                    }
                    tree.insert(path, entry);
                }
                Err(why) => {
                    let (first, second) = (first.origin.clone(), entry.origin);
                    conflicts.push(Conflict { path, first, second, why });
                }
            }
        }
    }
    for (path, origin, why) in left_out {
        tree.leave_out(path, origin, why);
    }
    conflicts.extend(through_links(&tree));
    if conflicts.is_empty() { Ok(tree) } else { Err(Conflicts(conflicts)) }
}

enum Winner {
    /// It is one and the same thing.
    Both,
    First,
    Second,
}

fn settle(first: &Entry, second: &Entry, replaces: &BTreeMap<Origin, String>) -> Result<Winner, String> {
    let folders = (first.kind == Kind::Directory, second.kind == Kind::Directory);
    if folders == (true, true) {
        return Ok(Winner::Both);
    }
    if folders.0 != folders.1 {
        let (a, b) = (name_of(&first.kind), name_of(&second.kind));
        return Err(format!("one as {a}, one as {b}"));
    }
    if matches!(second.origin, Origin::Overlay(_)) {
        return Ok(Winner::Second);
    }
    let same = same_kind(&first.kind, &second.kind)
        && (first.mode, first.uid, first.gid, &first.xattrs) == (second.mode, second.uid, second.gid, &second.xattrs);
    if same {
        return Ok(Winner::Both);
    }
    let may = |by: &Origin, other: &Origin| replaces.get(by).is_some_and(|field| names(field, other));
    match (may(&first.origin, &second.origin), may(&second.origin, &first.origin)) {
        (true, false) => Ok(Winner::First),
        (false, true) => Ok(Winner::Second),
        (true, true) => Err("and each says that it replaces the other".into()),
        (false, false) => Err("with different content, mode or owner".into()),
    }
}

/// Contents are compared by digest: equal bytes may lie in two places.
fn same_kind(a: &Kind, b: &Kind) -> bool {
    match (a, b) {
        (Kind::File(a), Kind::File(b)) => a.size() == b.size() && a.digest() == b.digest(),
        _ => a == b,
    }
}

fn name_of(kind: &Kind) -> &'static str {
    match kind {
        Kind::File(_) => "a file",
        Kind::Directory => "a folder",
        Kind::Symlink(_) => "a symbolic link",
        Kind::HardLink(_) => "a hard link",
        Kind::CharDevice(..) | Kind::BlockDevice(..) => "a device",
        Kind::Fifo => "a named pipe",
        Kind::Socket => "a socket",
    }
}

/// Whether a `Replaces` field names this package at this version.
fn names(field: &str, other: &Origin) -> bool {
    let Origin::Package(name, version) = other else { return false };
    let Ok(version) = version.parse::<Version>() else { return false };
    relation::parse(field).is_ok_and(|terms| terms.iter().flatten().any(|t| t.name == *name && t.allows(&version)))
}

/// What lies below something that is no folder: it would end up elsewhere, or nowhere.
fn through_links(tree: &Tree) -> Vec<Conflict> {
    let mut found = Vec::new();
    for (path, entry) in tree.iter() {
        let above = std::iter::successors(path.parent(), TreePath::parent);
        let link = above.filter_map(|p| tree.get(&p).map(|e| (p, e))).find(|(_, e)| e.kind != Kind::Directory);
        if let Some((at, above)) = link {
            let why = format!("as {path} lies below {at}, which is {}", name_of(&above.kind));
            found.push(Conflict { path: at, first: above.origin.clone(), second: entry.origin.clone(), why });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::tree::Content;

    fn package(name: &str) -> Origin {
        Origin::Package(name.into(), "2.0".into())
    }

    fn layer(origin: Origin, replaces: &str, entries: &[(&str, Kind)]) -> Layer {
        let entries = entries.iter().map(|(path, kind)| {
            let entry = Entry {
                kind: kind.clone(),
                mode: 0o755,
                uid: 0,
                gid: 0,
                xattrs: BTreeMap::new(),
                origin: origin.clone(),
            };
            (TreePath::new(path).unwrap(), entry)
        });
        Layer { entries: entries.collect(), replaces: replaces.into(), ..Layer::of(origin) }
    }

    fn file(text: &str) -> Kind {
        Kind::File(Content::bytes(text.as_bytes()))
    }

    /// Who has `/a/x`, and who lost it.
    fn merged(layers: Vec<Layer>) -> Result<String, String> {
        let path = TreePath::new("/a/x").unwrap();
        let tree = merge(layers).map_err(|e| e.to_string())?;
        let lost: String = tree.replaced(&path).iter().map(|origin| format!(" over {origin}")).collect();
        Ok(tree.get(&path).unwrap().origin.to_string() + &lost)
    }

    #[test]
    fn two_owners_are_both_named() {
        let a = layer(package("a"), "", &[("/a", Kind::Directory), ("/a/x", file("1"))]);
        let b = layer(package("b"), "", &[("/a", Kind::Directory), ("/a/x", file("2"))]);
        let error = merged(vec![a, b]).unwrap_err();
        assert!(error.contains("/a/x: package a 2.0 and package b 2.0 both own it"), "{error}");
    }

    #[test]
    fn the_same_thing_twice_is_once() {
        let a = layer(package("a"), "", &[("/a/x", file("1"))]);
        let b = layer(package("b"), "", &[("/a/x", file("1"))]);
        assert_eq!(merged(vec![a, b]).unwrap(), "package a 2.0");
    }

    #[test]
    fn replaces_decides_whichever_comes_first() {
        let a = || layer(package("a"), "", &[("/a/x", file("1"))]);
        let b = |field| layer(package("b"), field, &[("/a/x", file("2"))]);
        assert_eq!(merged(vec![a(), b("c, a (<< 3)")]).unwrap(), "package b 2.0 over package a 2.0");
        assert_eq!(merged(vec![b("a"), a()]).unwrap(), "package b 2.0 over package a 2.0");
        assert!(merged(vec![a(), b("a (<< 2)")]).is_err());
    }

    #[test]
    fn an_overlay_replaces_files_but_not_folders() {
        let a = || layer(package("a"), "", &[("/a", Kind::Directory), ("/a/x", file("1"))]);
        let over = Origin::Overlay("o".into());
        let good = layer(over.clone(), "", &[("/a/x", Kind::Symlink("/dev/null".into()))]);
        assert_eq!(merged(vec![a(), good]).unwrap(), "overlay o over package a 2.0");
        let error = merged(vec![a(), layer(over, "", &[("/a", file("1"))])]).unwrap_err();
        assert!(error.contains("one as a folder, one as a file"), "{error}");
    }

    #[test]
    fn what_is_excluded_is_left_out_unless_another_input_has_it() {
        let path = |text| TreePath::new(text).unwrap();
        let mut a = layer(package("a"), "", &[("/a", Kind::Directory)]);
        a.left_out = vec![(path("/a/x"), "excluded".into()), (path("/a/y"), "excluded".into())];
        let over = layer(Origin::Overlay("o".into()), "", &[("/a/x", file("1"))]);
        let tree = merge(vec![a, over]).unwrap();
        let left_out: Vec<_> = tree.left_out().map(|(p, l)| format!("{p} {} {}", l.origin, l.why)).collect();
        assert_eq!(left_out, ["/a/y package a 2.0 excluded"]);
    }

    #[test]
    fn nothing_lies_below_a_link() {
        let a = layer(package("a"), "", &[("/a", Kind::Directory), ("/a/x", Kind::Symlink("/b".into()))]);
        let b = layer(package("b"), "", &[("/a/x/y", file("1"))]);
        let error = merged(vec![a, b]).unwrap_err();
        assert!(error.contains("/a/x/y lies below /a/x, which is a symbolic link"), "{error}");
    }
}
