//! Fetched packages, components and overlays become one [`Tree`](tree::Tree). Pure, but for reading content.

pub mod conflict;
pub mod deb;
pub mod emulate;
pub mod exclude;
pub mod layer;
pub mod overlay;
pub mod tar_stream;
pub mod tree;
