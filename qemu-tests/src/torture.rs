//! Power cuts and failing writes, each followed by another start: what a run of the storage unit writes is recorded, the
//! disks are put as a cut at each point would leave them, and the unit runs again.
//!
//! ```text
//! scenario -> recorded run -> points -> another start from each -> judged -> report
//! ```
//!
//! The guest is switched on once for many points. Between two of them it lets go of everything (mounts, arrays,
//! partitions, caches), the server replaces what the disks hold, and the guest reads them anew: what a power cut and a
//! boot are to the storage unit, without the seconds of a boot.

mod bed;
pub mod cut;
mod judge;
pub mod report;
pub mod run;
pub mod scenario;
pub mod talk;
