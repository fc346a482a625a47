//! Fetched packages, components and overlays become one [`Tree`](tree::Tree). Pure, but for reading content.

pub mod deb;
pub mod tree;
