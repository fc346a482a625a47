//! Carries out an approved plan. The only writers of block devices are in here.
//!
//! Guarantees: every tool is found and its version checked before the first write; every disk that is written to
//! is locked and looked at again before that, and a disk that is not as it was planned on stops everything
//! before the first write to any. No flag that overwrites what was found is ever given to a tool; what a permit gives
//! leave to destroy is zeroed first, and looked at again.

mod bitmap;
mod dirty_degraded;
mod erase;
mod executor;
mod filesystem;
mod image;
mod journal;
mod locked_device;
mod luks;
mod lvm;
mod md;
mod meter;
mod mount;
mod own_command;
mod partition;
mod raw;
mod sync_speed;
mod tools;

pub use executor::{Done, Failed, Progress, carry_out};
pub use locked_device::LockedDevice;
pub(crate) use own_command::is_locked;
pub use raw::unlink;
pub use sync_speed::{release_syncs, thaw};
pub use tools::Tools;
