//! The kernel: from a package or compiled, which one the root has, and what the node needs of it.

pub mod compile;
pub mod fragment;
pub mod microcode;
pub mod options;
mod packaged;
pub mod select;

pub use packaged::packaged_config;
pub use select::{Kernel, select};

use anyhow::{Result, bail};
use std::path::Path;

/// The tree of packages that compiles a kernel, in [`crate::lock::Lock::compile`].
pub const TREE: &str = "kernel";

/// By which name a fragment of the configuration goes in the lock.
pub fn fragment_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Refuses a kernel whose configuration lacks what a node needs, naming each option with its reason.
///
/// # Errors
/// When it lacks something.
pub fn check(release: &str, config: &str) -> Result<()> {
    let needed = options::read(options::NODE_OPTIONS).map_err(anyhow::Error::msg)?;
    match options::lacks(&options::found(&needed, config)) {
        Some(missing) => bail!("the kernel {release} lacks what a node needs: {missing}"),
        None => Ok(()),
    }
}
