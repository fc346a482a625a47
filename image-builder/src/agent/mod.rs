//! The agent's programs: `firstboot` in the root, `stage1` in the initrd.

/// The tree of packages that compiles them, in [`crate::lock::Lock::compile`].
pub const TREE: &str = "agent";
