//! The site file of tests and demo: the repository's example, with this run's API server in it.

use crate::bench::repository;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;

/// The one machine of the example.
pub const NODE: &str = "n1";
/// The data disks that it has.
pub const DISKS: [&str; 2] = ["DATA-A", "DATA-B"];

/// The example's file.
pub fn file() -> PathBuf {
    repository().join("examples/site/one-node.toml")
}

/// The example's text, with `endpoint` (`https://10.0.2.2:40001`) in place of its API server.
///
/// # Errors
/// When the example is not there, or names another API server than it used to.
pub fn one_node(endpoint: &str) -> Result<String> {
    let file = file();
    let text = std::fs::read_to_string(&file).with_context(|| format!("{} can't be read", file.display()))?;
    let example = "https://10.0.2.2:6443";
    ensure!(text.contains(example), "{} does not name {example}", file.display());
    Ok(text.replace(example, endpoint))
}
