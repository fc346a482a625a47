//! Real images in QEMU: what the tests of the tiers *guest*, *node* and *rack*, and the demo, are made of.

pub mod control_plane;
pub mod wait;
