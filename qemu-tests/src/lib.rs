//! Real images in QEMU: what the tests of the tiers *guest*, *node* and *rack*, the demo and the benchmark are made of.

pub mod bench;
pub mod block_server;
pub mod boot;
pub mod broken_configs;
pub mod control_plane;
pub mod fault;
pub mod guest;
pub mod machine;
pub mod performance;
pub mod serial_log;
pub mod sight;
pub mod site;
pub mod tiers;
pub mod torture;
pub mod trees;
pub mod twin;
pub mod wait;
pub mod web;
