//! From what the disks are and hold, and what the configuration asks for, to what is to be done. Pure.
//!
//! [`plan`] takes an [`Inventory`] and a machine's configuration and gives a [`Plan`]: a verdict for each
//! volume and a graph of actions on named devices. [`Plan::approve`] turns it into an [`ApprovedPlan`], the only
//! thing that the agent carries out, unless something that the node needs is refused. [`simulate`] applies a
//! plan's actions to a model of the disks and can cut the power at each write.

pub mod action;
pub mod arrays;
pub mod check;
pub mod controller;
pub mod erase;
pub mod explain;
pub mod graph;
pub mod identity;
pub mod inventory;
pub mod layer;
pub mod links;
pub mod ownership;
pub mod picture;
mod plan;
pub mod refusal;
pub mod remember;
pub mod scrub;
pub mod selector;
pub mod simulate;
pub mod speeds;
pub mod verdict;

pub use action::{Action, PartitionRef, Target};
pub use graph::{Graph, Step};
pub use inventory::Inventory;
pub use plan::{plan, plan_with};
pub use verdict::{ApprovedPlan, Plan, Verdict, VolumeVerdict};
