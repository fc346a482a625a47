//! The image builder: a recipe becomes a signed, reproducible, bootable image.
//!
//! The folders read like the pipeline. A stage is a function from named types to one named type; data
//! flows one way:
//!
//! ```text
//! Recipe -> Lock -> Fetched -+-> Components -+-> Tree -> RootImage -+-> UnsignedUki -> Uki -> artifacts
//!                            +-> Tools       +-> Initrd, Kernel ----+
//! ```
//!
//! Decisions are pure; [`fetch`], [`store`], [`tools`] and [`qemu`] touch the world.

pub mod agent;
pub mod arch;
pub mod assemble;
pub mod cli;
pub mod components;
pub mod compose;
pub mod digest;
pub mod fetch;
pub mod images;
pub mod init;
pub mod initrd;
pub mod inputs;
pub mod kernel;
pub mod lock;
pub mod package;
pub mod pipeline;
pub mod progress;
pub mod qemu;
pub mod recipe;
pub mod release;
pub mod resolve;
pub mod seal;
pub mod sign;
pub mod stage;
pub mod store;
pub mod tools;
