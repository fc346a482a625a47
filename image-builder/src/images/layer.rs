//! A layer's members -> the folder that overlayfs takes for it. Pure.
//!
//! What a layer hides of those below it is said by names there (OCI Image Format Specification 1.1, Image Layer
//! Filesystem Changeset, "Whiteouts"), and by a character device 0:0 or an attribute here (Linux,
//! `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories"). The rules are those of containerd,
//! which would unpack it on a node.

use super::Layer;
use super::unpack::Members;
use crate::compose::deb::MemberKind;
use crate::compose::tree::{Entry, Kind, Origin, TreePath};
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// A name that begins so hides the one behind it.
const WHITEOUT: &str = ".wh.";
/// A file of this name hides all that layers below have in its folder.
const OPAQUE: &str = ".wh..wh..opq";
/// Names that begin so are aufs' own, and no part of a layer.
const META: &str = ".wh..wh.";
/// By this attribute overlayfs knows such a folder.
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// The layer of these members on top of those `below`, the lowest first.
///
/// # Errors
/// When a path leads out of the layer, or something lies in what is no folder.
pub(super) fn layer(members: &Members, below: &[Layer], origin: &Origin) -> Result<Layer> {
    let mut made = Making { entries: BTreeMap::new() };
    let (mut hidden, mut opaque) = (BTreeSet::new(), BTreeSet::new());
    for member in &members.list {
        let path = inside(&member.path)?;
        let folder = path.parent();
        match (folder, path.name()) {
            (Some(folder), OPAQUE) => drop(opaque.insert(folder)),
            (Some(_), name) if name.starts_with(META) => {}
            (Some(folder), name) if name.starts_with(WHITEOUT) => {
                let name = &name[WHITEOUT.len()..];
                ensure!(!matches!(name, "" | "." | ".."), "{path} in it hides no name");
                hidden.insert(inside(&format!("{folder}/{name}"))?);
            }
            _ => {
                let kind = match &member.kind {
                    MemberKind::File(offset, size, digest) => Kind::File(members.content(*offset, *size, *digest)),
                    MemberKind::Directory => Kind::Directory,
                    MemberKind::Symlink(target) => Kind::Symlink(target.clone()),
                    MemberKind::HardLink(target) => Kind::HardLink(inside(target)?),
                    MemberKind::CharDevice(major, minor) => Kind::CharDevice(*major, *minor),
                    MemberKind::BlockDevice(major, minor) => Kind::BlockDevice(*major, *minor),
                    MemberKind::Fifo => Kind::Fifo,
                };
                if let Some(name) = member.xattrs.keys().find(|name| name.contains(".overlay.")) {
                    bail!("{path} in it has the attribute {name}, by which overlayfs would be led elsewhere");
                }
                let xattrs = member.xattrs.clone();
                let (mode, uid, gid, origin) = (member.mode, member.uid, member.gid, origin.clone());
                made.put(path, Entry { kind, mode, uid, gid, xattrs, origin })?;
            }
        }
    }
    let plain = |kind, mode| Entry { kind, mode, uid: 0, gid: 0, xattrs: BTreeMap::new(), origin: origin.clone() };
    for path in hidden {
        match made.entries.get(&path).map(|entry| &entry.kind) {
            // It hides what is below all the same; a folder must not let that show through.
            Some(Kind::Directory) => drop(opaque.insert(path)),
            None if made.below(&path).next().is_some() => drop(opaque.insert(path)),
            Some(_) => {}
            None => drop(made.entries.insert(path, plain(Kind::CharDevice(0, 0), 0))),
        }
    }
    made.folders(below, &opaque, &plain(Kind::Directory, 0o755))?;
    for path in &opaque {
        if let Some(entry) = made.entries.get_mut(path) {
            entry.xattrs.insert(OPAQUE_XATTR.into(), b"y".to_vec());
        }
    }
    Ok(Layer { entries: made.entries })
}

fn inside(path: &str) -> Result<TreePath> {
    TreePath::new(path).map_err(|_| anyhow::anyhow!("{path:?} in it leads out of it"))
}

struct Making {
    entries: BTreeMap<TreePath, Entry>,
}

impl Making {
    /// Puts an entry; of two with one path the later counts.
    fn put(&mut self, path: TreePath, mut entry: Entry) -> Result<()> {
        if let Kind::HardLink(target) = &entry.kind {
            let (target, file) = self
                .file(target)
                .with_context(|| format!("{path} in it is a hard link to {target}, which is not in it before"))?;
            ensure!(file.kind != Kind::Directory, "{path} in it is a hard link to the folder {target}");
            if target == path {
                return Ok(());
            }
            // Of what is no file only one name is needed: each has the same bytes.
            entry = match file.kind {
                Kind::File(_) => Entry { kind: Kind::HardLink(target), ..file.clone() },
                _ => file.clone(),
            };
        }
        let stays = entry.kind == Kind::Directory
            && self.entries.get(&path).is_some_and(|before| before.kind == Kind::Directory);
        ensure!(path.as_str() != "/" || entry.kind == Kind::Directory, "its root is no folder");
        if !stays && self.entries.contains_key(&path) {
            self.remove(&path);
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    /// The entry that a hard link to `target` is one more name of.
    fn file(&self, target: &TreePath) -> Option<(TreePath, &Entry)> {
        match self.entries.get(target)? {
            Entry { kind: Kind::HardLink(first), .. } => Some((first.clone(), self.entries.get(first)?)),
            entry => Some((target.clone(), entry)),
        }
    }

    /// All that is in a folder at any depth.
    fn below(&self, folder: &TreePath) -> impl Iterator<Item = &TreePath> {
        let prefix = format!("{}/", folder.as_str().trim_end_matches('/'));
        // Others that begin like its name may come between: `/a-b` before `/a/b`.
        let behind = self.entries.range(folder.clone()..).map(|(at, _)| at);
        let name = folder.to_string();
        behind.take_while(move |at| at.as_str().starts_with(&name)).filter(move |at| at.as_str().starts_with(&prefix))
    }

    /// Takes a path away, with all in it. Another name of a file carries it from then on.
    fn remove(&mut self, path: &TreePath) {
        let below: Vec<TreePath> = self.below(path).cloned().collect();
        for at in below.into_iter().chain([path.clone()]) {
            let Some(entry) = self.entries.remove(&at) else { continue };
            let links = self.entries.iter_mut().filter(|(_, e)| matches!(&e.kind, Kind::HardLink(t) if *t == at));
            let mut first: Option<TreePath> = None;
            for (name, link) in links {
                link.kind = match &first {
                    Some(first) => Kind::HardLink(first.clone()),
                    None => entry.kind.clone(),
                };
                first.get_or_insert_with(|| name.clone());
            }
        }
    }

    /// Adds the folders that something lies in. overlayfs shows the topmost layer's owner and mode of a folder, so that
    /// one which is only implied has those of the layers below.
    fn folders(&mut self, below: &[Layer], opaque: &BTreeSet<TreePath>, plain: &Entry) -> Result<()> {
        let root = TreePath::new("/").map_err(anyhow::Error::msg)?;
        let mut missing = BTreeSet::new();
        let above = |path: &TreePath| std::iter::successors(path.parent(), TreePath::parent).collect::<Vec<_>>();
        let is_folder = |path: &TreePath| self.entries.get(path).map(|entry| entry.kind == Kind::Directory);
        for path in self.entries.keys().chain(opaque) {
            for folder in above(path) {
                match is_folder(&folder) {
                    Some(true) => {}
                    Some(false) => bail!("{path} in it lies below {folder}, which is no folder there"),
                    None => drop(missing.insert(folder)),
                }
            }
        }
        for path in opaque.iter().chain([&root]) {
            match is_folder(path) {
                Some(true) => {}
                Some(false) => bail!("{path} in it is to be a folder, and is none"),
                None => drop(missing.insert(path.clone())),
            }
        }
        for folder in missing {
            let lower = below.iter().rev().find_map(|layer| layer.entries.get(&folder));
            let mut entry = lower.filter(|e| e.kind == Kind::Directory).unwrap_or(plain).clone();
            entry.xattrs.remove(OPAQUE_XATTR);
            entry.origin = plain.origin.clone();
            self.entries.entry(folder).or_insert(entry);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
