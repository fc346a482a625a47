//! The site file: text in, configuration out. And the permits that a person gives beside it.
//!
//! No I/O happens in this crate. It takes text and bytes, and gives typed values or a list of
//! [`Diagnostic`]s, all of them in one run. Both programs use it: `bedplate config check` on a desk
//! and `firstboot` on the node decide with the same code.

pub mod check;
pub mod delivered;
pub mod diagnostic;
pub mod document;
pub mod identity;
pub mod merge;
pub mod mount_options;
pub mod permit;
pub mod places;
pub mod render;
pub mod schema;
pub mod signature;
pub mod site;
pub mod units;
pub mod utc;

pub use diagnostic::{Diagnostic, Place};
pub use places::Places;
