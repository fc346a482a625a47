//! Guests: a release, or any kernel, in the tools tree's QEMU.
//!
//! [`Guest`] is plain data and its argument list a pure function of it; [`Guest::start`] gives a
//! [`RunningGuest`]. Nothing it starts outlives it: dropping it, or the end of the thread that started it, ends
//! QEMU. What is secret in a configuration goes to the guest in a file, never in an argument, where every user of
//! the host could read it.

pub mod accelerator;
pub mod config_volume;
pub mod disk;
pub mod guest;
pub mod interrupt;
pub mod lab;
pub mod qmp;
pub mod release_disk;
pub mod running;
pub mod tpm;
pub mod vars;

pub use accelerator::Accelerator;
pub use disk::{Bus, Disk, Format};
pub use guest::{ConfigBy, Display, Firmware, Forward, Guest, KernelBoot, Network, Serial, Smbios};
pub use interrupt::Interrupt;
pub use lab::{Lab, NewDisk, Start};
pub use qmp::Qmp;
pub use running::RunningGuest;
