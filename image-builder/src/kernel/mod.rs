//! The kernel: which one the root has, and what the node needs of it.

pub mod microcode;
pub mod options;
pub mod select;

pub use select::{Kernel, select};
