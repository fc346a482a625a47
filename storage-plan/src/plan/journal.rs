//! The journal of an array: a disk of its own that everything is written to before it is written to the members, so
//! that a stripe that was cut off is finished from it (the kernel's raid5-cache.c, in write-through).
//!
//! Guarantees: what is the journal is for the superblocks to say, which the kernel believes as well: its own, and that
//! of the member that knows most. It is counted neither as a member nor as a spare, it is not retired and nothing takes
//! its place. An array that lacks it is never started to be written to, and nothing of it is changed: what its last
//! writes were stands on the journal alone, and a new one would hide where parity may not be true.

use super::array::This;
use crate::inventory::MdMember;
use crate::layer::md::{self, Carrier};
use crate::refusal::{self, diagnostic};
use machine_config::Diagnostic;

/// What the disk of a journal is selected for, where disks of volumes have the volume's name.
pub(super) fn claims(array: &str) -> String {
    format!("the journal of {array}")
}

/// The least bytes of its partition beside members of which the smallest has so many. Its data begins where theirs
/// does, which is within the first 129 MiB (mdadm's super1.c); behind that there is room for what is being written.
pub(super) fn least(smallest: Option<u64>) -> u64 {
    smallest.unwrap_or(u64::MAX).min(256 << 20)
}

impl This<'_, '_> {
    /// Whether this disk is the journal, as its superblock says.
    pub(super) fn is_journal(&self, carrier: &Carrier<'_>) -> bool {
        carrier.superblock(&self.uuid).is_some_and(MdMember::is_journal)
    }

    /// Why an array without its journal is not started, or what became of one that runs.
    pub(super) fn without_journal(&self, members: &[&Carrier<'_>], fresh: &[&MdMember]) -> Option<Diagnostic> {
        let of = |done: &str, mend: &str| self.lost_journal(refusal::NO_JOURNAL, members, done, mend);
        match self.running() {
            Some(running) if running.read_only || !running.lacks_journal() => None,
            Some(_) => Some(of(
                "It runs on, and each write to it fails. Nothing was changed.",
                "Copy what is needed elsewhere now: once the node is restarted the array is only read, with \
                 dirty-degraded = \"start-read-only\". Then raise its generation to make it \
                 anew, with another disk for the journal.",
            )),
            // A disk whose partition the kernel does not show yet may be the one that seems to lack.
            None if members.iter().any(|c| c.seen().is_none()) => None,
            None => (md::lacks_journal(fresh) && !self.may_be_read()).then(|| {
                of(
                    "It was not started, and nothing was written.",
                    "Put the disk of the journal back in. If it is lost, write \
                     dirty-degraded = \"start-read-only\" to read what is there, copy it elsewhere, and raise \
                     the generation of the array to make it anew.",
                )
            }),
        }
    }

    /// That the journal is not there, or has missed what was written since it failed.
    pub(super) fn lost_journal(&self, code: &str, members: &[&Carrier<'_>], done: &str, mend: &str) -> Diagnostic {
        let there: Vec<String> = members.iter().map(|c| c.device.words()).collect();
        diagnostic(
            code,
            format!("\"{}\" lacks its journal.", self.name),
            format!(
                "What was written last stands there alone, so parity may not be true, and some of the data may be old. \
                 There are: {}. {done}",
                there.join("; ")
            ),
            mend.into(),
        )
    }
}
