//! A member that was away and comes back with what it held.
//!
//! Guarantees: a disk is given back to its array only when it is positively the member that left: its table is ours for this
//! very disk, its superblock is one of the array, the place that it names is empty, and in what it knows of the array every
//! member that works now has the number and the place that it has. So one that was used apart from them stays out: a member
//! that ran without the others has noted that they are gone. And it goes back only where the array's write-intent bitmap
//! still tells what was written since it left. In every other case it is left as it is, and the array runs on without it.

use super::Draft;
use super::array::This;
use crate::action::Action;
use crate::inventory::MdMember;
use crate::layer::md::{self, Carrier};
use crate::ownership::Phase;

impl<'a> This<'a, '_> {
    /// Plans that members which were away go back, after the steps at `started` by which the array runs. Gives their disks.
    pub(super) fn give_back(&self, draft: &mut Draft, members: &[&Carrier<'a>], started: &[usize]) -> Vec<&'a str> {
        let mut back = Vec::new();
        for carrier in members.iter().filter(|c| c.seen().is_some() && !self.took_in(c)) {
            if !self.is_away(carrier, members) {
                continue;
            }
            let (uuid, name, member) = (self.uuid, self.name.to_owned(), carrier.partition.clone());
            draft.add(Action::ReturnMember { uuid, name, member }, started);
            let words = carrier.device.words();
            draft.verdict.reasons.push(format!("{words} was away; it is taken back, and what it missed is copied."));
            draft.verdict.disks.push(words);
            back.push(carrier.device.name.as_str());
        }
        back
    }

    /// Whether it is a member that may go back now.
    fn is_away(&self, carrier: &Carrier<'a>, members: &[&Carrier<'a>]) -> bool {
        let (device, Some(own)) = (carrier.device, carrier.superblock(&self.uuid)) else { return false };
        let twins = self.context.inventory.devices.iter().filter(|d| d.identity() == device.identity()).count() > 1;
        let is_ours = carrier.phase == Phase::Done && carrier.whole && !twins && !device.read_only;
        let is_free = device.in_use().is_none() && !self.is_retired(device);
        if !is_ours || !is_free || own.recovering || own.replaces || !self.is_at_rest(members) {
            return false;
        }
        let at_work: Vec<&MdMember> = members
            .iter()
            .filter(|c| self.took_in(c) && !self.failed(c))
            .filter_map(|c| c.superblock(&self.uuid))
            .collect();
        own.role.is_some_and(|role| at_work.iter().all(|md| md.role != Some(role))) && missed_only(own, &at_work)
    }

    /// Whether nothing is under way in the array, as far as that can be told of each member.
    fn is_at_rest(&self, members: &[&Carrier<'a>]) -> bool {
        let fresh = md::fresh(members, &self.uuid);
        members.iter().all(|c| c.seen().is_some())
            && self.running().map_or_else(|| fresh.iter().all(|md| !md.recovering), |r| r.sync_action == "idle")
    }
}

/// Whether `own` is the superblock of a member that the array of these, which work, went on without, and whose bitmap still
/// knows all that it missed.
fn missed_only(own: &MdMember, at_work: &[&MdMember]) -> bool {
    let knows = |md: &&MdMember| {
        let known = own.positions.get(usize::from(md.number)).copied().flatten();
        let is_same =
            (own.level, own.members, own.needs) == (md.level, md.members, md.needs) && own.number != md.number;
        // One that stands by has no place in either.
        is_same
            && known == md.role
            && own.events < md.events
            && md.bitmap_since.is_some_and(|since| since <= own.events)
    };
    !at_work.is_empty() && at_work.iter().all(knows)
}
