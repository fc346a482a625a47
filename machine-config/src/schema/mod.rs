//! The documented types of the site file, and what one machine's part of it resolves to.
//!
//! Strict: unknown keys are errors. The JSON schema and the reference page are generated from these types.

mod array_policy;
mod bundle;
mod encryption;
mod group;
mod mkfs;
mod network;
mod partition;
mod site;
mod storage;
mod text;

pub use array_policy::{DirtyDegraded, Rebuild, Scrub, WriteHole};
pub use bundle::{Bundle, Join};
pub use encryption::{Encrypt, Passphrase, recovery_file};
pub use group::{Group, Layout, Logical, Pool};
pub use mkfs::Mkfs;
pub use network::{BondMode, Interface, Member};
pub use partition::{Holding, OnEach, Partition};
pub use site::{Cluster, MachineConfig, MachineEntry, Match, Node, Part, Profile, Site, Taint, Time};
pub use storage::{
    Array, Content, Each, Format, Level, Media, Replace, Selector, SizeRange, Storage, System, Transport, Volume,
};
