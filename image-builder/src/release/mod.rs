//! Reading a finished release: never a build's memory, only what is in the folder.

mod contents;
pub mod diff;
#[cfg(test)]
pub(crate) mod fixture;
mod full;
mod rebuild;
pub mod verify;
pub mod why;
mod words;

pub use contents::Contents;
pub use rebuild::Rebuild;
pub use verify::{Verified, verify};
pub use why::why;
