//! Tree -> Tree with container images in it: they are there when containerd starts, without a registry and without
//! being imported.
//!
//! Images are composed of files of the root, or come ready from a layout or an archive ([`take`]). They are laid down as an
//! OCI image layout whose layers are folders, so that nothing is unpacked on the node: a
//! container's lower directories are these folders, read from the verified root. Files that the root has anyway cost
//! nothing a second time. containerd's plugin `baked` (`components/go/containerd/baked`) makes the records.
//!
//! Guarantees: equal trees, recipes and locks give equal images; the name of a composed layer follows from all that is in
//! it, and is the name of no layer of any registry; a ready image keeps its digests.

mod layer;
mod layout;
mod source;
mod spec;
pub mod take;
mod unpack;

use crate::arch::Arch;
use crate::compose::finish;
use crate::compose::tree::{Content, Entry, Kind, Origin, Tree, TreePath};
use crate::digest::Sha256;
use crate::recipe::{ContainerImage, Recipe};
use anyhow::{Context, Result, ensure};
use layout::Laid;
use std::collections::{BTreeMap, BTreeSet};
use take::Ready;

/// Where images lie in the root.
pub const FOLDER: &str = "/usr/share/bedplate/images";
/// The name of the image that sandboxes are made from; containerd's configuration says the same.
pub const PAUSE_IMAGE: &str = "localhost/bedplate/pause:1";
/// The program in it.
const PAUSE: &str = "/usr/lib/bedplate/pause";

/// A composed image, as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// All its names.
    pub names: Vec<String>,
    /// What it runs.
    pub run: Run,
    /// Its layers, the lowest first.
    pub layers: Vec<Layer>,
}

/// What an image's configuration says about a container of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments that a pod may replace.
    pub arguments: Vec<String>,
    /// Variables, as `NAME=value`.
    pub environment: Vec<String>,
    /// User, or `user:group`; root if empty.
    pub user: String,
    /// Folder it starts in.
    pub folder: String,
}

/// A layer: entries by their path in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    /// Entries.
    pub entries: BTreeMap<TreePath, Entry>,
}

impl Layer {
    /// What the image's configuration calls the layer by (`diff_ids`): a digest over everything that is in it.
    pub fn id(&self) -> Sha256 {
        let mut text = String::from("bedplate layer 1\n");
        for (path, entry) in &self.entries {
            let what = match &entry.kind {
                Kind::File(content) => format!("file {} {}", content.size(), content.digest()),
                other => format!("{other:?}"),
            };
            let Entry { mode, uid, gid, xattrs, .. } = entry;
            text.push_str(&format!("{:?} {what} {mode:o} {uid} {gid} {xattrs:?}\n", path.as_str()));
        }
        Sha256::of(text)
    }
}

/// Whether the image's containerd knows the images of the root: the one that ships with the builder does.
pub fn known_to(recipe: &Recipe) -> bool {
    recipe.component.values().any(|component| component.modules.as_deref() == Some("containerd"))
}

/// Lays the recipe's images into the tree, and that of the pause program if there is one. `ready` are those that are not
/// composed.
///
/// # Errors
/// When the tree lacks a file that an image is to have.
pub fn lay(recipe: &Recipe, arch: Arch, ready: &[Ready], tree: &mut Tree) -> Result<()> {
    if !known_to(recipe) {
        ensure!(
            recipe.container_image.is_empty(),
            "container images of the root need the containerd that ships with the builder: [component.containerd] with \
             modules = \"containerd\""
        );
        return Ok(());
    }
    let mut images = Vec::new();
    if tree.file(PAUSE).is_some() {
        images.push(composed(&pause(), tree)?);
    }
    for image in recipe.container_image.iter().filter(|image| !image.is_ready()) {
        images.push(composed(image, tree)?);
    }
    let images: Vec<Laid> =
        images.into_iter().map(|image| layout::composed(image, arch)).chain(ready.iter().map(layout::ready)).collect();
    if images.is_empty() {
        return Ok(());
    }
    let at = |path: &str| TreePath::new(&format!("{FOLDER}/{path}")).map_err(anyhow::Error::msg);
    for (path, bytes) in layout::layout(&images) {
        let origin = Origin::Emulation("images".into());
        tree.insert(at(&path)?, plain(Kind::File(Content::bytes(bytes)), 0o644, origin));
    }
    // Nobody's folder, although images lie in it.
    tree.insert(at("layers")?, plain(Kind::Directory, 0o755, Origin::Emulation("images".into())));
    let mut laid = BTreeSet::new();
    for (id, layer) in images.iter().flat_map(|image| &image.layers) {
        // What images share lies there once.
        if !laid.insert(*id) {
            continue;
        }
        let folder = layout::folder(id);
        for (path, entry) in &layer.entries {
            let mut entry = entry.clone();
            if let Kind::HardLink(target) = &mut entry.kind {
                *target = at(&format!("{folder}{target}"))?;
            }
            tree.insert(at(&format!("{folder}{path}"))?, entry);
        }
    }
    finish::folders(tree)
}

/// The images that lie in a tree: names and digests of manifests.
///
/// # Errors
/// When their index can't be read.
pub fn list(tree: &Tree) -> Result<BTreeMap<String, Sha256>> {
    let Some((_, index)) = tree.file(&format!("{FOLDER}/{}", layout::INDEX_FILE)) else { return Ok(BTreeMap::new()) };
    layout::names(&index.read()?).context("the index of the images in the root can't be read")
}

fn plain(kind: Kind, mode: u32, origin: Origin) -> Entry {
    Entry { kind, mode, uid: 0, gid: 0, xattrs: BTreeMap::new(), origin }
}

/// The image that holds a pod's namespaces open.
fn pause() -> ContainerImage {
    ContainerImage {
        names: vec![PAUSE_IMAGE.into()],
        files: BTreeMap::from([("/pause".into(), PAUSE.into())]),
        entrypoint: vec!["/pause".into()],
        user: "65535:65535".into(),
        ..ContainerImage::default()
    }
}

/// An image of one layer with files of the root.
fn composed(image: &ContainerImage, tree: &Tree) -> Result<Image> {
    let mut layer = Tree::new();
    for (path, from) in &image.files {
        let name = image.name();
        let (entry, content) = tree
            .file(from)
            .with_context(|| format!("the image {name} is to have {from}, and the root has no such file"))?;
        let entry = Entry { kind: Kind::File(content.clone()), ..entry.clone() };
        layer.insert(TreePath::new(path).map_err(anyhow::Error::msg)?, entry);
    }
    folders(&mut layer);
    let entries = layer.iter().map(|(path, entry)| (path.clone(), entry.clone())).collect();
    let ContainerImage { names, entrypoint, arguments, environment, user, .. } = image.clone();
    let run = Run {
        entrypoint,
        arguments,
        environment: environment.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        user,
        folder: String::new(),
    };
    Ok(Image { names, run, layers: vec![Layer { entries }] })
}

/// Adds the folders that something lies in, the root too.
fn folders(layer: &mut Tree) {
    let above: Vec<(TreePath, Origin)> = layer
        .iter()
        .flat_map(|(path, entry)| {
            std::iter::successors(path.parent(), TreePath::parent).map(|folder| (folder, entry.origin.clone()))
        })
        .collect();
    for (folder, origin) in above {
        if layer.get(&folder).is_none() {
            layer.insert(folder, plain(Kind::Directory, 0o755, origin));
        }
    }
}

#[cfg(test)]
mod tests;
