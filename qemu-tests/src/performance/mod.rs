//! What `make bench` measures: builds, the image, provisioning, boots; and the page that shows it.
//!
//! The figures lie as JSON beside the page, so that one part can be measured again while the others stay. Measuring is
//! at the edge; the page and its picture are pure functions of the figures.

pub mod boots;
pub mod builds;
pub mod figures;
mod floor;
pub mod host;
mod ignition;
pub mod image;
mod measured;
pub mod mkosi;
pub mod page;
pub mod picture;
pub mod provision;
mod tools;
