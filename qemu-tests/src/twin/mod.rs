//! Two roots of the same packages held against each other, path by path: the tree that the builder composed, and what the
//! distribution's own tools installed with the packages' own scripts.
//!
//! All of it is pure; `qemu-tests/tests/build/twin.rs` makes the two roots, and `twin/differences.toml` beside it is the
//! list of what may differ.

pub mod accounts;
pub mod archive;
pub mod boot;
pub mod differences;
pub mod seen;
