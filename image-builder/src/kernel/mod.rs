//! The kernel: what the node needs of it.

pub mod options;
