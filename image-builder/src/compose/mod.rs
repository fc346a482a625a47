//! Fetched packages, components and overlays become one [`Tree`]. Pure, but for reading content.

pub mod conflict;
pub mod deb;
pub mod emulate;
pub mod exclude;
pub mod finish;
pub mod layer;
pub mod origin;
pub mod overlay;
pub mod tar_stream;
pub mod tree;

use crate::components::{ComponentEntry, ComponentKind};
use crate::lock::{Lock, Package};
use crate::progress::{Progress, Unit};
use crate::recipe::Recipe;
use crate::store::{Fetched, Store};
use crate::tools::Tools;
use anyhow::{Context, Result};
use deb::Deb;
use exclude::Exclude;
use layer::{Ids, Layer};
use overlay::Overlay;
use rayon::prelude::*;
use std::collections::BTreeMap;
use tree::{Entry, Kind, Tree, TreePath};

/// Everything a tree is made of.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The lock: ids, versions, the moment all times come from.
    pub lock: &'a Lock,
    /// The recipe: name and version of the image, what is left out.
    pub recipe: &'a Recipe,
    /// The packages of the root, opened, in the lock's order; see [`open_packages`].
    pub packages: &'a [(Package, Deb)],
    /// What the components give.
    pub components: &'a [ComponentEntry],
    /// Overlays, in order: a later one replaces an earlier one's files.
    pub overlays: &'a [Overlay],
}

/// Opens packages, in parallel; each is decompressed into the store the first time.
///
/// # Errors
/// When one is no Debian package, naming it.
pub fn open_packages(
    packages: &[(Package, Fetched)],
    store: &Store,
    progress: &Progress,
) -> Result<Vec<(Package, Deb)>> {
    let task = progress.task("opening packages", packages.len() as u64, Unit::Count("packages"));
    packages
        .par_iter()
        .map(|(package, fetched)| {
            let deb = Deb::open(store, fetched, &package.name)?;
            task.add(1);
            Ok((package.clone(), deb))
        })
        .collect()
}

/// Makes the tree of an image.
///
/// # Errors
/// When two inputs own one path, or an emulation meets something that it does not understand.
pub fn compose(inputs: Inputs<'_>, store: &Store, tools: &Tools) -> Result<Tree> {
    let ids = Ids::new(&inputs.lock.user, &inputs.lock.group);
    let exclude = Exclude::new(&inputs.recipe.packages.exclude)?;
    let mut packages: Vec<Layer> = inputs
        .packages
        .par_iter()
        .map(|(package, deb)| Layer::of_package(package, deb, &ids, &exclude))
        .collect::<Result<_>>()?;
    // Of a folder that several packages have, the first one's mode and owner count: base-files knows best.
    packages.sort_by_key(|layer| !matches!(&layer.origin, tree::Origin::Package(name, _) if name == "base-files"));
    let mut layers = packages;
    layers.extend(inputs.components.iter().map(component).collect::<Result<Vec<_>>>()?);
    layers.extend(inputs.overlays.iter().map(Overlay::layer).collect::<Result<Vec<_>>>()?);
    let mut tree = conflict::merge(layers)?;
    finish::folders(&mut tree)?;
    emulate::run(&mut tree, &emulate::World { inputs, ids: &ids, store, tools })?;
    finish::folders(&mut tree)?;
    finish::hard_links(&tree)?;
    Ok(tree)
}

fn component(entry: &ComponentEntry) -> Result<Layer> {
    let path = TreePath::new(&entry.install).map_err(anyhow::Error::msg).with_context(|| entry.origin.to_string())?;
    let (kind, mode) = match &entry.what {
        ComponentKind::File(content, mode) => (Kind::File(content.clone()), *mode),
        ComponentKind::Link(target) => (Kind::Symlink(target.clone()), 0o777),
    };
    let made = Entry { kind, mode, uid: 0, gid: 0, xattrs: BTreeMap::new(), origin: entry.origin.clone() };
    Ok(Layer { entries: vec![(path, made)], ..Layer::of(entry.origin.clone()) })
}
