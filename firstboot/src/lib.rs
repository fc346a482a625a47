//! The agent in the image, as a library: stage 1 of the boot, then the line
//! *config -> storage -> network -> join -> watch*, and what is shown to a person on the way.
//!
//! Two thin programs use it. `stage1` is the initrd's `/init` and reaches only [`stage1`], [`boot_record`] and
//! [`report`]: no D-Bus, no TLS and no Kubernetes client is linked into it. `firstboot` is started by systemd.
//!
//! Decisions are pure functions over plain data; what touches the world is in modules that say `edge`.

pub mod addons;
pub mod apply;
pub mod boot_record;
pub mod config;
pub mod controllers;
pub mod health;
pub mod join;
pub mod locate;
pub mod lock;
mod medium;
pub mod network;
pub mod observe;
pub mod permits;
pub mod report;
pub mod run;
pub mod secrets;
pub mod stage1;
pub mod state_file;
pub mod storage;
mod tool_limit;
pub mod watch;
