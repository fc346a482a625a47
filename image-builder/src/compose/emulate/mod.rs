//! What maintainer scripts would have done, done as data: one module each.
//!
//! Every emulation takes the tree as packages, components and overlays made it, and adds to it. What an overlay
//! laid down is never touched: it is the last word.

pub mod alternatives;
pub mod base_files;
pub mod certificates;
pub mod defaults;
pub mod depmod;
pub mod dpkg_status;
pub mod identity;
pub mod ldconfig;
pub mod pam;
pub mod plain_modules;
pub mod presets;
pub mod stat_overrides;
pub mod users;
pub mod usrmerge;
pub mod var;

use super::Inputs;
use super::layer::Ids;
use super::tree::{Content, Entry, Kind, Origin, Tree, TreePath};
use crate::store::Store;
use crate::tools::Tools;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Names that a review may give after `emulate:`.
pub const NAMES: [&str; 14] = [
    "alternatives",
    "base-files",
    "certificates",
    "defaults",
    "depmod",
    "dpkg-status",
    "ldconfig",
    "localtime",
    "machine-id",
    "pam",
    "presets",
    "stat-overrides",
    "users",
    "usrmerge",
];

/// What an emulation may look at beside the tree.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// What the tree is made of.
    pub inputs: Inputs<'a>,
    /// Owners by name.
    pub ids: &'a Ids,
    /// Where stage outputs are kept.
    pub store: &'a Store,
    /// Programs of the tools tree.
    pub tools: &'a Tools,
}

/// Runs every emulation, in an order in which each finds what it needs.
///
/// # Errors
/// When one meets something that it does not understand.
pub fn run(tree: &mut Tree, world: &World<'_>) -> Result<()> {
    let Inputs { lock, recipe, packages, .. } = world.inputs;
    base_files::apply(tree, world.ids).context("emulation base-files")?;
    users::apply(tree, &lock.user, &lock.group).context("emulation users")?;
    defaults::apply(tree).context("emulation defaults")?;
    identity::apply(tree, &recipe.image).context("emulation identity")?;
    stat_overrides::apply(tree, world.ids);
    let calls = packages.iter().flat_map(|(package, deb)| {
        let asked = |script: &str| {
            lock.script
                .iter()
                .any(|s| s.package == package.name && s.script == script && emulates(&s.verdict, "alternatives"))
        };
        deb.scripts()
            .iter()
            .filter(move |(name, _)| asked(name))
            .map(|(_, text)| (package.name.as_str(), text.as_str()))
    });
    alternatives::apply(tree, calls).context("emulation alternatives")?;
    pam::apply(tree).context("emulation pam")?;
    certificates::apply(tree).context("emulation certificates")?;
    plain_modules::apply(tree, world.store).context("kernel modules")?;
    depmod::apply(tree, world.store, world.tools).context("emulation depmod")?;
    presets::apply(tree).context("emulation presets")?;
    dpkg_status::apply(tree, packages)?;
    ldconfig::apply(tree).context("emulation ldconfig")?;
    super::finish::folders(tree)?;
    var::apply(tree, &lock.user, &lock.group).context("emulation var")
}

/// Whether a reviewed script's verdict names this emulation.
pub(crate) fn emulates(verdict: &str, name: &str) -> bool {
    verdict.strip_prefix("emulate:").is_some_and(|names| names.split('+').any(|n| n == name))
}

/// A path that is written in the source or was in the tree.
fn path(text: &str) -> Result<TreePath> {
    TreePath::new(text).map_err(anyhow::Error::msg)
}

/// Whether an overlay has this path.
fn is_overlaid(tree: &Tree, at: &TreePath) -> bool {
    tree.get(at).is_some_and(|e| matches!(e.origin, Origin::Overlay(_)))
}

/// Puts something that belongs to root, unless an overlay has the path.
fn put(tree: &mut Tree, at: &str, kind: Kind, mode: u32, by: &'static str) -> Result<()> {
    let at = path(at)?;
    if !is_overlaid(tree, &at) {
        let origin = Origin::Emulation(by.into());
        tree.insert(at, Entry { kind, mode, uid: 0, gid: 0, xattrs: BTreeMap::new(), origin });
    }
    Ok(())
}

fn put_file(tree: &mut Tree, at: &str, bytes: impl Into<Vec<u8>>, mode: u32, by: &'static str) -> Result<()> {
    put(tree, at, Kind::File(Content::bytes(bytes.into())), mode, by)
}

fn put_link(tree: &mut Tree, at: &str, target: &str, by: &'static str) -> Result<()> {
    put(tree, at, Kind::Symlink(target.into()), 0o777, by)
}

/// A folder, unless something is there.
fn put_folder(tree: &mut Tree, at: &str, mode: u32, by: &'static str) -> Result<()> {
    match tree.get(&path(at)?) {
        Some(_) => Ok(()),
        None => put(tree, at, Kind::Directory, mode, by),
    }
}

/// A text file of the tree, links followed.
fn text(tree: &Tree, at: &str) -> Result<Option<String>> {
    let Some((_, content)) = tree.file(at) else { return Ok(None) };
    let bytes = content.read()?;
    Ok(Some(String::from_utf8(bytes).with_context(|| format!("{at} is not UTF-8"))?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A tree of text files.
    pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (at, text) in files {
            put_file(&mut tree, at, *text, 0o644, "test").unwrap();
        }
        crate::compose::finish::folders(&mut tree).unwrap();
        tree
    }

    pub(crate) fn entry<'a>(tree: &'a Tree, at: &str) -> Option<&'a Entry> {
        tree.get(&path(at).unwrap())
    }

    pub(crate) fn link(tree: &Tree, at: &str) -> Option<String> {
        match &entry(tree, at)?.kind {
            Kind::Symlink(target) => Some(target.clone()),
            _ => None,
        }
    }

    #[test]
    fn overlays_have_the_last_word() {
        let mut tree = tree(&[("/etc/hosts", "packaged")]);
        put_file(&mut tree, "/etc/hosts", "new", 0o644, "test").unwrap();
        assert_eq!(text(&tree, "/etc/hosts").unwrap().unwrap(), "new");
        let at = path("/etc/hosts").unwrap();
        let mut mine = tree.remove(&at, "test").unwrap();
        mine.origin = Origin::Overlay("o".into());
        tree.insert(at, mine);
        put_file(&mut tree, "/etc/hosts", "newer", 0o644, "test").unwrap();
        assert_eq!(text(&tree, "/etc/hosts").unwrap().unwrap(), "new");
    }

    #[test]
    fn verdicts_name_several_emulations() {
        assert!(emulates("emulate:users+presets", "presets") && !emulates("emulate:users", "presets"));
        assert!(!emulates("ignore", "users"));
    }
}
