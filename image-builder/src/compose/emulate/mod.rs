//! What maintainer scripts would have done, done as data: one module each.

pub mod usrmerge;

use super::Inputs;
use super::layer::Ids;
use super::tree::Tree;
use crate::store::Store;
use crate::tools::Tools;
use anyhow::Result;

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
pub fn run(_tree: &mut Tree, _world: &World<'_>) -> Result<()> {
    Ok(())
}
