//! The tools tree: the external programs the builder drives, fetched, verified and locked like any other
//! input, and run from the store by absolute path.
//!
//! The host's own programs are never used, so an old one can't change an image.

pub mod namespace;

use crate::digest::Sha256;
use anyhow::Result;
use run_tool::Tool;
use std::path::{Path, PathBuf};

/// An unpacked tools tree.
#[derive(Debug, Clone)]
pub struct Tools {
    root: PathBuf,
    digest: Sha256,
}

impl Tools {
    /// The tree unpacked at `root`, whose packages have this digest together.
    pub fn unpacked(root: impl Into<PathBuf>, digest: Sha256) -> Tools {
        Tools { root: root.into(), digest }
    }

    /// The tree's root folder: `usr/bin/...` below it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Digest over all packages of the tree; part of the key of every stage that runs one of its programs.
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// A program of the tree by name, started through the tree's own loader and libraries; a static one directly.
    ///
    /// # Errors
    /// When the tree does not have it.
    pub fn tool(&self, name: &str) -> Result<Tool> {
        let folders = ["usr/bin", "usr/sbin"].map(|f| self.root.join(f));
        let folders: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
        Ok(Tool::find(name, &folders)?)
    }
}
