//! Tier *sim*: plans applied to a model of a machine, cut at every point.
//!
//! One program: each would compile and link the same model again.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod controllers;
mod cuts;
mod encryption;
mod groups;
mod growing;
mod invariants;
mod inventories;
mod journal;
mod lines;
mod partitions;
mod permits;
mod picture;
mod policies;
mod raw;
mod replacement;
mod retirement;
mod returning;
mod spares;
mod swapped;
mod system_disks;
mod world;
