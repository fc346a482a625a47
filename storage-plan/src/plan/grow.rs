//! An array of ours that its members have more room for than it uses, made as large as they let it be, and its file system after
//! it. That happens when members were replaced by larger disks, one after the other, and the last one was.
//!
//! Guarantees: only where the configuration says so; the array only while it has all its members and nothing else is under way in
//! it, the file system whatever the array does. Over how many disks it lies is not changed, so nothing of what is stored moves.
//!
//! The kernel notes the new size on each member. After a power cut the size that counts is that of the member that knows most,
//! and the data of the others reaches as far. The file system says itself how much it fills, so a cut between the two leaves
//! what the next look goes on from.

use super::Draft;
use super::array::This;
use super::retire::Leaver;
use crate::action::{Action, PartitionRef, Target};
use crate::inventory::size_words;
use crate::layer::md::Carrier;

/// The least bytes of a member that an array is made larger for: less is what sizes are rounded by.
const LEAST: u64 = 64 << 20;

impl<'a> This<'a, '_> {
    /// Plans that the array is made larger, and its file system, after the steps at `started` by which both are there. Whether
    /// any of it is. `is_changing` says that steps of this plan change its members.
    pub(super) fn grow(
        &self,
        draft: &mut Draft,
        members: &[&Carrier<'a>],
        leavers: &[Leaver<'_, 'a>],
        is_changing: bool,
        started: &[usize],
    ) -> bool {
        let of_it: Vec<&Carrier<'a>> =
            members.iter().copied().filter(|c| self.took_in(c) && !self.is_journal(c)).collect();
        let superblocks = || of_it.iter().filter_map(|c| c.superblock(&self.uuid));
        let room = superblocks().map(|md| md.room).min().unwrap_or(0);
        let mut grows = self.array.grow && room >= LEAST && of_it.iter().all(|c| c.seen().is_some());
        let stays = match () {
            () if !grows => None,
            () if superblocks().any(|md| md.ppl) => {
                Some("it was made with a partial parity log, with which it stays as large as it is".into())
            }
            () if superblocks().any(|md| md.journaled) => {
                Some("it was made with a journal, with which it stays as large as it is".into())
            }
            () if is_changing => Some("it is made larger once its members are settled".into()),
            () => self
                .waits_for(draft, members, leavers)
                .map(|what| format!("before it is made larger it waits for {what}")),
        };
        if let Some(why) = stays {
            draft.verdict.reasons.push(format!("Its members have {} more each; {why}.", size_words(room)));
            grows = false;
        }
        let mut after = started.to_vec();
        if grows {
            let members: Vec<PartitionRef> = of_it.iter().map(|c| c.partition.clone()).collect();
            let (uuid, name) = (self.uuid, self.name.to_owned());
            after = vec![draft.add(Action::GrowArray { uuid, name, members }, &after)];
        }
        // Whatever the array does meanwhile: what it has now is all there.
        let lags = self.array.grow && self.running().is_some_and(|running| !running.is_filled());
        let format = self.volume.format.file_system().filter(|_| grows || lags);
        if let Some(format) = format {
            let (on, at) = (Target::Array(self.uuid), draft.verdict.mount.clone());
            draft.add(Action::GrowFilesystem { on, format, at }, &after);
        }
        grows || format.is_some()
    }
}
