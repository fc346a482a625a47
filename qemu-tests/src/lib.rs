//! Real images in QEMU: what the tests of the tiers *guest*, *node* and *rack*, and the demo, are made of.

pub mod control_plane;
pub mod fault;
pub mod serial_log;
pub mod tiers;
pub mod wait;
