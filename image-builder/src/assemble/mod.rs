//! RootImage + Initrd + Kernel -> [`UnsignedUki`]: what the firmware starts, before it is signed. Pure, but for
//! the full UKI, which goes through a file.

pub mod addon;
pub mod cmdline;
pub mod full;
pub mod pcr;
pub mod uki;

pub use cmdline::CommandLine;
pub use full::{UnsignedFullUki, full};
pub use uki::{Parts, UnsignedUki, uki};
