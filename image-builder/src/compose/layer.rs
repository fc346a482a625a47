//! What one input gives to the tree: a package's members, put where a merged-/usr system has them and owned
//! by the ids that the lock pins.

use super::deb::{Deb, Member, MemberKind};
use super::emulate::usrmerge;
use super::exclude::Exclude;
use super::tree::{Entry, Kind, Origin, TreePath};
use crate::lock::{Group, Package, User};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, HashMap};

/// Paths of one input, in its order.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Which input.
    pub origin: Origin,
    /// Its paths.
    pub entries: Vec<(TreePath, Entry)>,
    /// For a package, its `Replaces` field.
    pub replaces: String,
    /// Paths of it that the recipe excludes, each with the reason.
    pub left_out: Vec<(TreePath, String)>,
}

/// Owners by name, as the lock pins them.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    users: HashMap<String, u32>,
    groups: HashMap<String, u32>,
}

impl Ids {
    /// The ids of a lock.
    pub fn new(users: &[User], groups: &[Group]) -> Ids {
        Ids {
            users: users.iter().map(|u| (u.name.clone(), u.uid)).collect(),
            groups: groups.iter().map(|g| (g.name.clone(), g.gid)).collect(),
        }
    }

    /// A user's id.
    pub fn user(&self, name: &str) -> Option<u32> {
        self.users.get(name).copied()
    }

    /// A group's id.
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups.get(name).copied()
    }
}

impl Layer {
    /// An empty layer of this input.
    pub fn of(origin: Origin) -> Layer {
        Layer { origin, entries: Vec::new(), replaces: String::new(), left_out: Vec::new() }
    }

    /// The layer of a package, without what is excluded.
    ///
    /// Owners are taken by name where the image knows the name, else by number, as dpkg does.
    ///
    /// # Errors
    /// When a member's path or link leads out of the root.
    pub fn of_package(package: &Package, deb: &Deb, ids: &Ids, exclude: &Exclude) -> Result<Layer> {
        let origin = Origin::Package(package.name.clone(), package.version.clone());
        let what = || format!("{origin}");
        let mut entries = Vec::with_capacity(deb.members().len());
        let mut left_out = Vec::new();
        // A hard link whose file is left out becomes the file.
        let mut without = BTreeMap::new();
        for member in deb.members() {
            let (path, kind) = place(deb, member).with_context(what)?;
            if let Some(glob) = exclude.excludes(&path, &kind) {
                left_out.push((path.clone(), format!("the recipe's packages.exclude has {glob:?}")));
                without.insert(path, kind);
                continue;
            }
            let kind = match kind {
                Kind::HardLink(target) => match without.get_mut(&target) {
                    Some(kind @ Kind::File(_)) => std::mem::replace(kind, Kind::HardLink(path.clone())),
                    Some(Kind::HardLink(instead)) => Kind::HardLink(instead.clone()),
                    _ => Kind::HardLink(target),
                },
                other => other,
            };
            entries.push((
                path,
                Entry {
                    kind,
                    mode: member.mode,
                    uid: ids.user(&member.user).unwrap_or(member.uid),
                    gid: ids.group(&member.group).unwrap_or(member.gid),
                    xattrs: member.xattrs.clone(),
                    origin: origin.clone(),
                },
            ));
        }
        Ok(Layer { origin, entries, replaces: deb.field("Replaces").unwrap_or_default(), left_out })
    }
}

fn place(deb: &Deb, member: &Member) -> Result<(TreePath, Kind)> {
    let written = TreePath::new(&member.path).map_err(anyhow::Error::msg)?;
    let kind = match &member.kind {
        MemberKind::File(offset, size, digest) => Kind::File(deb.content(*offset, *size, *digest)),
        MemberKind::Directory => Kind::Directory,
        MemberKind::Symlink(target) => Kind::Symlink(target.clone()),
        MemberKind::HardLink(target) => {
            Kind::HardLink(usrmerge::merged(&TreePath::new(target).map_err(anyhow::Error::msg)?))
        }
        MemberKind::CharDevice(major, minor) => Kind::CharDevice(*major, *minor),
        MemberKind::BlockDevice(major, minor) => Kind::BlockDevice(*major, *minor),
        MemberKind::Fifo => Kind::Fifo,
    };
    // The links that make /usr merged come from base-files and stay where they are.
    let path = if matches!(kind, Kind::Symlink(_)) && usrmerge::is_alias(&written) {
        written
    } else {
        usrmerge::merged(&written)
    };
    Ok((path, kind))
}
