//! The node's network: systemd-networkd's files from the configuration.

pub mod apply;
pub mod decide;
