//! RootImage + Initrd + Kernel -> [`UnsignedUki`]: what the firmware starts, before it is signed. Pure.

pub mod addon;
pub mod cmdline;
pub mod pcr;
pub mod uki;

pub use cmdline::CommandLine;
pub use uki::{Parts, UnsignedUki, uki};
