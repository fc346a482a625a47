//! Reading a finished release: never a build's memory, only what is in the folder.

pub mod verify;

pub use verify::{Verified, verify};
