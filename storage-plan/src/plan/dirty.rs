//! An array with parity that was cut off in the middle of a write and lacks a member: the write hole of RAID 5 and 6.
//!
//! Where a stripe was being written when the power went, parity and data may tell different things, and with a member lacking
//! nobody can say which is right.
//!
//! Guarantees: it is started only where the configuration says so, and then nothing is written to it while it runs: no table is
//! put right, no lost member replaced. So it is still what it was when the missing disk is put in again.

use super::array::This;
use super::{Draft, Holds};
use crate::action::{Action, Target};
use crate::inventory::MdMember;
use crate::layer::md::{self, Carrier};
use crate::refusal::{self, diagnostic};
use crate::verdict::Verdict;
use machine_config::Diagnostic;
use machine_config::schema::{DirtyDegraded, Level};

impl This<'_, '_> {
    fn is_dirty(&self, fresh: &[&MdMember], wanted: u32) -> bool {
        let has_hole = matches!(self.array.level, Level::Raid5 | Level::Raid6) && !fresh.iter().any(|md| md.ppl);
        let degraded = md::filled(fresh).len() < usize::try_from(wanted).unwrap_or(usize::MAX);
        has_hole && degraded && fresh.iter().any(|md| !md.clean)
    }

    /// Why an array that does not run is not started, if that is for the write hole.
    pub(super) fn dirty(&self, members: &[&Carrier<'_>], fresh: &[&MdMember], wanted: u32) -> Option<Diagnostic> {
        (self.is_dirty(fresh, wanted) && !self.may_be_read()).then(|| {
            self.cut_off(
                refusal::DIRTY_DEGRADED,
                members,
                "It was not started, and nothing was written.",
                "Put the missing disk back in: with all members the array starts and puts its parity right. To read what is \
                 there without it write dirty-degraded = \"start-read-only\".",
            )
        })
    }

    /// Whether the configuration lets it be read where it can't be written to.
    pub(super) fn may_be_read(&self) -> bool {
        self.array.dirty_degraded == DirtyDegraded::StartReadOnly
    }

    /// Whether it may only be read: it is to be started so, or it was. How it runs counts, whatever the configuration says.
    pub(super) fn is_read_only(&self, members: &[&Carrier<'_>], fresh: &[&MdMember], wanted: u32) -> bool {
        // A member whose partition the kernel does not show yet may be the one that seems to lack.
        let all_seen = members.iter().all(|c| c.seen().is_some());
        let starts = || self.may_be_read() && all_seen && (self.is_dirty(fresh, wanted) || md::lacks_journal(fresh));
        self.running().map_or_else(starts, |running| running.read_only)
    }

    /// Starts and mounts it, without a step that writes, as far as it is not found offered and open.
    pub(super) fn read_only(
        &self,
        mut draft: Draft,
        members: &[&Carrier<'_>],
        wanted: u32,
        (offered, open): (bool, bool),
    ) -> Draft {
        draft.verdict.read_only = true;
        let done = "It runs read-only, as the configuration says, and nothing is written to it.";
        let mend = "Copy what is needed elsewhere and check it. Then put the missing disk back in and restart the node, or raise \
                    the generation to make the array anew.";
        draft.verdict.refusals.push(match md::lacks_journal(&md::fresh(members, &self.uuid)) {
            true => self.lost_journal(refusal::READ_ONLY, members, done, mend),
            false => self.cut_off(refusal::READ_ONLY, members, done, mend),
        });
        let mut after = Vec::new();
        if self.running().is_none() {
            let (name, members) = (self.name.to_owned(), self.in_order(members.iter().copied()));
            let start = Action::AssembleArray { uuid: self.uuid, name, members, wanted, read_only: true };
            after.push(draft.add(start, &[]));
        }
        if !offered {
            draft.open_and_offer(self.context, Target::Array(self.uuid), &Holds::of_volume(self.volume), open, &after);
        }
        draft.because(Verdict::Keep, "The array is this volume's. It is read-only.")
    }

    fn cut_off(&self, code: &str, members: &[&Carrier<'_>], done: &str, mend: &str) -> Diagnostic {
        let there: Vec<String> = members.iter().map(|c| c.device.words()).collect();
        diagnostic(
            code,
            format!("\"{}\" was cut off in the middle of a write, and a member of it is lacking.", self.name),
            format!(
                "What stood in that stripe on the lacking member can't be told, so some of the data may be wrong. There are: {}. \
                 {done}",
                there.join("; ")
            ),
            mend.into(),
        )
    }
}
