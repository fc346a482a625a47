//! One module per layer: from what is wanted and what was found to what is to be done.

pub mod filesystem;
pub mod gpt;
pub mod image;
pub mod luks;
pub mod lvm;
pub mod md;
pub mod reserve;
