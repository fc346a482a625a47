//! Programs that no distribution packages: built from locked Go modules, taken from upstream release files
//! by digest, or from any signed apt repository.

pub mod catalog;
pub mod oci_archive;

use crate::compose::tree::{Content, Origin};

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
