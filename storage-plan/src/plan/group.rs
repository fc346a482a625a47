//! A volume group and the volumes in it; a verdict per volume.
//!
//! The group is made in two phases, as an array is: the tables of its disks say *provisioning* until LVM has noted the group on all
//! of them. Each volume has two phases of its own: it is tagged as being made until what it holds was verified. So a volume
//! that is added to a group that was made is made like the first, and a cut leaves the others alone.

use super::encryption::Place;
use super::{Context, Draft, Holds, changed_inside, draft, place, table_step, unlike};
use crate::action::{Action, GroupPlace, LogicalPlace, PartitionRef};
use crate::identity::{Layer, VolumeKey};
use crate::inventory::{Device, LogicalVolume, VolumeGroup, size_words};
use crate::layer::lvm::{self, Room, Shape};
use crate::layer::md::Carrier;
use crate::ownership::{Inside, Phase, Standing, Wanted, inside};
use crate::refusal::{self, diagnostic};
use crate::selector;
use crate::verdict::{Kind, Verdict};
use machine_config::Diagnostic;
use machine_config::schema::{Group, Logical};
use std::collections::BTreeMap;
use uuid::Uuid;

pub(super) fn key(name: &str, group: &Group) -> VolumeKey {
    VolumeKey { name: format!("group.{name}"), generation: group.generation }
}

pub(super) fn group(context: &Context<'_>, name: &str, group: &Group) -> Vec<Draft> {
    let key = key(name, group);
    let carriers = carriers(context, &key);
    let this = This { context, name, group, key, carriers };
    let drafts = group.volume.iter().map(|(volume, asked)| (volume, asked, this.draft(volume, asked)));
    let judged = this.copied().map_or_else(|| this.judge(), |copied| Err(vec![copied]));
    let mut base = match judged {
        Ok(base) => base,
        Err(refusals) => return drafts.map(|(.., draft)| draft.refuse(refusals.clone())).collect(),
    };
    let mut drafts: Vec<(&String, &Logical, Draft)> = drafts.collect();
    // What has a size comes first: one without gets what is left.
    drafts.sort_by_key(|(volume, asked, _)| (asked.size.is_none(), *volume));
    drafts.into_iter().map(|(volume, asked, draft)| this.volume(&mut base, draft, volume, asked)).collect()
}

/// A group as the configuration asks for it, and the disks that carry its table.
struct This<'a, 'c> {
    context: &'c Context<'a>,
    name: &'c str,
    group: &'c Group,
    key: VolumeKey,
    carriers: Vec<Carrier<'a>>,
}

/// What all volumes of a group have in common.
struct Base<'a> {
    /// Steps that make the group, or put it right, and what is said of it.
    draft: Draft,
    /// The steps after which it is there.
    after: Vec<usize>,
    members: Vec<PartitionRef>,
    /// As LVM tells of it; none before it is made, and while that can't be told.
    made: Option<&'a VolumeGroup>,
    /// Whether it is there already.
    is_made: bool,
    /// Whether the kernel shows the partitions of all disks that are there: else LVM takes those for lost.
    is_seen: bool,
    room: Room,
    /// Thin pools that room was looked for, and why one can't be had.
    pools: BTreeMap<String, Result<(), Diagnostic>>,
}

fn carriers<'a>(context: &Context<'a>, key: &VolumeKey) -> Vec<Carrier<'a>> {
    let of = |device: &'a Device| {
        let (wanted, standing) = context.whole_disk(key, device).ok()?;
        let Standing::Ours { phase, whole } = standing else { return None };
        let partition = super::our_partition(device, &wanted);
        Some(Carrier { device, wanted, phase, whole, partition })
    };
    context.disks.iter().filter_map(|device| of(device)).collect()
}

/// What is there of a volume.
enum There<'a> {
    Nothing,
    Begun(&'a LogicalVolume),
    Made(&'a LogicalVolume),
    /// One of its name that this node did not make.
    Other,
}

fn there<'a>(made: Option<&'a VolumeGroup>, name: &str, uuid: &Uuid) -> There<'a> {
    let Some(found) = made.and_then(|made| made.volumes.iter().find(|v| v.name == name)) else { return There::Nothing };
    let has = |tag: &str| found.tags.iter().any(|t| t == tag);
    match (has(&lvm::tag(uuid)), has(lvm::MADE), has(lvm::MAKING)) {
        (true, true, false) => There::Made(found),
        (true, false, true) => There::Begun(found),
        _ => There::Other,
    }
}

impl<'a> This<'a, '_> {
    fn draft(&self, volume: &str, asked: &Logical) -> Draft {
        let inner = self.context.inner(&self.key_of("volume", volume), "");
        let name = format!("{}/{volume}", self.name);
        let place = place(&name, asked.mount.as_ref());
        let mut draft = draft(name, Kind::Logical, &Holds::of_logical(asked), place, asked.required, &inner);
        draft.verdict.class.clone_from(&asked.class);
        draft
    }

    /// By which the UUIDs of a volume or a pool are derived.
    fn key_of(&self, kind: &str, name: &str) -> VolumeKey {
        VolumeKey { name: format!("{}.{kind}.{name}", self.key.name), generation: self.key.generation }
    }

    /// UUID of the physical volume that `device` is to carry.
    fn member(&self, device: &Device) -> Uuid {
        self.context.owner.uuid(&self.key, Layer::PhysicalVolume, device.identity().unwrap_or_default())
    }

    /// What a volume's or a pool's tag says whose it is.
    fn tagged(&self, kind: &str, name: &str) -> Uuid {
        self.context.owner.uuid(&self.key_of(kind, name), Layer::LogicalVolume, "")
    }

    /// A physical volume of this group on a disk that it was not made on: a clone, or a disk altered by hand.
    fn copied(&self) -> Option<Diagnostic> {
        let ours: Vec<Uuid> = self.carriers.iter().map(|c| self.member(c.device)).collect();
        let is_stray = |device: &&&Device| {
            let own = self.carriers.iter().find(|c| c.device.name == device.name).map(|c| c.partition.number);
            let others = device.partitions.iter().filter(|p| Some(p.number) != own);
            let mut signatures = others.flat_map(|p| &p.signatures).chain(&device.signatures);
            signatures.any(|s| s.kind == lvm::MEMBER && ours.iter().any(|uuid| s.is_of(uuid)))
        };
        self.context.all.iter().find(is_stray).map(|device| {
            diagnostic(
                refusal::COPY,
                format!(
                    "{} carries a physical volume of \"{}\" that was made on another disk.",
                    device.words(),
                    self.name
                ),
                "It is a copy, and which of the two is the true one can't be told. Nothing was written.".into(),
                "Take the copy out.".into(),
            )
        })
    }

    fn judge(&self) -> Result<Base<'a>, Vec<Diagnostic>> {
        let done = self.carriers.iter().any(|c| c.phase == Phase::Done);
        if done { self.keep() } else { self.create() }
    }

    /// The group that the disks of this one are in, as LVM tells of it.
    fn found(&self) -> Option<&'a VolumeGroup> {
        let ours: Vec<String> = self.carriers.iter().map(|c| lvm::id(&self.member(c.device))).collect();
        let groups = &self.context.inventory.groups;
        groups.iter().find(|group| group.members.iter().any(|m| ours.contains(&m.uuid)))
    }

    /// What neither LVM nor we have to do with, and uses the disk.
    fn used_otherwise(&self, carrier: &Carrier<'_>, found: Option<&VolumeGroup>) -> Option<Diagnostic> {
        let mut uses = carrier.seen()?.uses.clone();
        uses.holders.retain(|holder| found.is_none_or(|found| !found.mappings.contains(holder)));
        uses.words().map(|how| refusal::in_use(carrier.device, &how, self.name))
    }

    fn keep(&self) -> Result<Base<'a>, Vec<Diagnostic>> {
        let (mut base, found) = (self.base(), self.found());
        let mut refusals = Vec::new();
        let first = self.carriers.first().map(|c| c.device);
        for carrier in &self.carriers {
            base.draft.verdict.disks.push(carrier.device.words());
            let Some(seen) = carrier.seen() else { continue };
            let holds = match inside(&seen.signatures, lvm::MEMBER, &self.member(carrier.device)) {
                Inside::Ours => None,
                Inside::Nothing => Some("no physical volume".to_owned()),
                Inside::Other(holds) => Some(holds),
            };
            refusals.extend(holds.map(|holds| changed_inside(carrier.device, &holds, self.name)));
            refusals.extend(self.used_otherwise(carrier, found));
            if !carrier.whole && carrier.device.read_only {
                let why = "It is write-protected and needs repair".into();
                refusals.push(refusal::unfit(carrier.device, why, self.name));
            }
        }
        // A disk whose partition the kernel does not show yet can't be judged before its table is put right.
        let is_seen = self.carriers.iter().all(|c| c.seen().is_some());
        let changed = |holds: &str| first.map(|device| changed_inside(device, holds, self.name));
        match found {
            None if is_seen && refusals.is_empty() => refusals.extend(changed("no volume group that LVM can read")),
            None => {}
            Some(found) => {
                let name = lvm::group_name(self.name);
                if found.name != name {
                    refusals.extend(changed(&format!("the volume group \"{}\" in place of \"{name}\"", found.name)));
                }
                let ours = |device: &String| self.carriers.iter().filter_map(Carrier::seen).any(|p| p.name == *device);
                let other = found.members.iter().filter_map(|m| m.device.as_ref()).find(|device| !ours(device));
                refusals.extend(other.and_then(|other| changed(&format!("a volume group that {other} is in, too"))));
            }
        }
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let lacking = found.filter(|_| is_seen).map_or(0, lost);
        if let Some(found) = found.filter(|_| lacking > 0) {
            let all = found.members.len();
            base.draft.verdict.reasons.push(format!("{lacking} of the {all} disks of the group are not there."));
        }
        let torn = self.carriers.iter().filter(|c| !c.whole || c.phase == Phase::Provisioning);
        base.after = torn.map(|c| base.draft.add(table_step(c.device, &c.wanted, true).0, &[])).collect();
        base.members = self.carriers.iter().map(|c| c.partition.clone()).collect();
        base.room = Room(found.map_or_else(Vec::new, |found| found.members.iter().map(|m| m.free).collect()));
        (base.made, base.is_made, base.is_seen) = (found, true, is_seen);
        base.draft = match base.after.is_empty() {
            true => base.draft.because(Verdict::Keep, "The disks are this group's."),
            false => base.draft.because(Verdict::Repair, "The disks are this group's; a partition table is put right."),
        };
        Ok(base)
    }

    fn base(&self) -> Base<'a> {
        let inner = self.context.inner(&self.key, "");
        let holds = Holds { content: Default::default(), mkfs: &Default::default(), options: &[], encrypt: None };
        let draft = draft(self.name.to_owned(), Kind::Logical, &holds, String::new(), false, &inner);
        let (after, members, room, pools) = (Vec::new(), Vec::new(), Room::default(), BTreeMap::new());
        Base { draft, after, members, made: None, is_made: false, is_seen: true, room, pools }
    }

    fn create(&self) -> Result<Base<'a>, Vec<Diagnostic>> {
        let mut base = self.base();
        let selected = selector::select(&self.group.disks, &self.context.disks, self.name);
        let mut refusals = selected.refusals;
        refusals.extend(selected.missing.into_iter().map(|(_, refusal)| refusal));
        for carrier in self.carriers.iter().filter(|c| selected.disks.iter().all(|d| d.name != c.device.name)) {
            let why =
                "An interrupted run began to make it a part of the group, and the selector no longer names it".into();
            refusals.push(refusal::unfit(carrier.device, why, self.name));
        }
        let mut begun = Vec::new();
        let mut chosen: Vec<(&Device, PartitionRef, Wanted)> = Vec::new();
        let (mut remake, mut erases) = (false, false);
        for device in selected.disks {
            let (wanted, standing) = match self.context.whole_disk(&self.key, device) {
                Ok(looked) => looked,
                Err(why) => {
                    refusals.push(refusal::unfit(device, why, self.name));
                    continue;
                }
            };
            refusals.extend(self.context.unfit(device, lvm::TAKES + lvm::EXTENT, self.name));
            let unlike = unlike(device, chosen.first().map(|(first, ..)| *first));
            refusals.extend(unlike.map(|why| refusal::unfit(device, why, self.name)));
            let erase = self.context.claim(device, &standing, self.name).unwrap_or_else(|refusal| {
                refusals.push(refusal);
                None
            });
            erases |= erase.is_some();
            remake |= matches!(standing, Standing::Ours { .. });
            refusals.extend(self.left_inside(device));
            let (begin, partition) = table_step(device, &wanted, false);
            if !matches!(standing, Standing::Ours { whole: true, .. }) {
                begun.push((begin, erase.map(|erase| (device, erase))));
            }
            chosen.push((device, partition, wanted));
        }
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let mut after = Vec::new();
        for (begin, erase) in begun {
            let erased: Vec<usize> = erase.into_iter().map(|(device, erase)| base.draft.erase(device, erase)).collect();
            after.push(base.draft.add(begin, &erased));
        }
        let place = |(device, at, _): &(&Device, PartitionRef, Wanted)| GroupPlace {
            at: at.clone(),
            uuid: self.member(device),
        };
        let (name, members) = (lvm::group_name(self.name), chosen.iter().map(place).collect());
        let made = base.draft.add(Action::CreateGroup { name, members, remake }, &after);
        let flips =
            chosen.iter().map(|(device, _, wanted)| base.draft.add(table_step(device, wanted, true).0, &[made]));
        base.after = flips.collect();
        base.draft.verdict.disks = chosen.iter().map(|(device, ..)| device.words()).collect();
        base.room = Room(chosen.iter().map(|(_, at, _)| lvm::extents_of(at.size)).collect());
        base.members = chosen.into_iter().map(|(_, at, _)| at).collect();
        let reason = match (remake, erases) {
            (true, _) => "An interrupted run began to make the group; it is made anew.",
            (false, true) => "The disks of the group are blank then.",
            (false, false) => "The disks of the group are blank.",
        };
        base.draft = base.draft.because(Verdict::Create, reason);
        Ok(base)
    }

    /// What keeps a group that an interrupted run began from being made anew on this disk.
    fn left_inside(&self, device: &Device) -> Vec<Diagnostic> {
        let Some(carrier) = self.carriers.iter().find(|c| c.device.name == device.name) else { return Vec::new() };
        let Some(seen) = carrier.seen() else { return Vec::new() };
        let holds = match inside(&seen.signatures, lvm::MEMBER, &self.member(device)) {
            Inside::Ours | Inside::Nothing => None,
            Inside::Other(holds) => Some(changed_inside(device, &holds, self.name)),
        };
        let used = seen.uses.words().map(|how| refusal::in_use(device, &how, self.name));
        holds.into_iter().chain(used).collect()
    }

    /// The verdict on a volume of a group that is there, or is to be.
    fn volume(&self, base: &mut Base<'a>, mut draft: Draft, volume: &str, asked: &Logical) -> Draft {
        draft.verdict.disks.clone_from(&base.draft.verdict.disks);
        draft.verdict.reasons.clone_from(&base.draft.verdict.reasons);
        draft.verdict.verdict = base.draft.verdict.verdict;
        let shape = Shape::asked(asked, self.group.disks.how_many().unwrap_or(base.members.len()));
        let uuid = self.tagged("volume", volume);
        let (group, members) = (lvm::group_name(self.name), base.members.clone());
        let place = LogicalPlace { group, members, name: volume.to_owned(), uuid };
        match there(base.made, volume, &uuid) {
            There::Other => draft.refuse(vec![self.not_ours(volume)]),
            There::Made(made) => self.keep_volume(base, draft, asked, place, &shape, Some(made)),
            // Which volumes there are can't be told before the tables are put right.
            There::Nothing if base.is_made && !base.is_seen => {
                self.keep_volume(base, draft, asked, place, &shape, None)
            }
            There::Nothing => self.create_volume(base, draft, asked, place, shape, None),
            There::Begun(begun) => self.create_volume(base, draft, asked, place, shape, Some(begun)),
        }
    }

    fn not_ours(&self, volume: &str) -> Diagnostic {
        let group = lvm::group_name(self.name);
        diagnostic(
            refusal::CHANGED_INSIDE,
            format!("The volume group \"{group}\" holds a volume \"{volume}\" that this node did not make."),
            "It is left alone. Nothing was written.".into(),
            format!("Rename it with lvrename, or give the one of \"{}\" in the site file another name.", self.name),
        )
    }

    fn lacking(&self, volume: &str, why: &str) -> Diagnostic {
        let there: Vec<String> = self.carriers.iter().map(|c| c.device.words()).collect();
        diagnostic(
            refusal::LACKING,
            format!("The group of \"{volume}\" lacks disks, and {why}."),
            format!("There are: {}. Nothing was written.", there.join("; ")),
            "Put the missing disks back in. If they are lost, so is what was on them: raise the group's generation to make it \
             anew."
                .into(),
        )
    }

    fn keep_volume(
        &self,
        base: &mut Base<'_>,
        mut draft: Draft,
        asked: &Logical,
        place: LogicalPlace,
        shape: &Shape,
        made: Option<&LogicalVolume>,
    ) -> Draft {
        let (volume, wanted) = (draft.verdict.volume.clone(), Holds::of_logical(asked));
        let mut found = None;
        if let Some(made) = made {
            if !shape.is_that_of(made) {
                return draft.refuse(vec![other_layout(&volume, made, shape)]);
            }
            if made.lacks_member && base.is_seen {
                let lost = base.made.map_or(0, lost);
                if !matches!(shape, Shape::Mirrored(copies) if lost < *copies as usize) {
                    return draft.refuse(vec![self.lacking(&volume, "a part of it is on those")]);
                }
                draft.verdict.lacks_copy = true;
                draft.verdict.reasons.push("A copy of it is on a disk that is not there: it is degraded.".into());
            }
            let seen = made.mapping.as_ref().map(|_| Place { signatures: &made.signatures, uses: &made.uses });
            found = seen.map(|seen| self.context.found(&draft, &wanted, seen));
        }
        if let Some((found, first)) = found.as_ref().zip(self.carriers.first()) {
            if let Some(refusal) = found.refusal(first.device, &volume) {
                return draft.refuse(vec![refusal]);
            }
            let is_raw = asked.format.file_system().is_none();
            if let Some(how) = found.in_use.as_ref().filter(|_| !found.is_offered && !is_raw) {
                return draft.refuse(vec![refusal::in_use(first.device, how, &volume)]);
            }
        }
        let (offered, open) = found.as_ref().map_or((false, false), |found| (found.is_offered, found.is_open));
        if let Some(refusal) = self.context.closed(&wanted, &volume).filter(|_| !open) {
            return draft.refuse(vec![refusal]);
        }
        let mut after = draft.behind(base);
        let target = place.target();
        if found.is_none() {
            after = vec![draft.add(Action::Activate { volume: place.clone() }, &after)];
        }
        if !offered {
            after = vec![draft.open_and_offer(self.context, target, &wanted, open, &after)];
        }
        match made {
            Some(made) => self.grow(base, draft, asked, (place, shape), made, &after),
            None => draft,
        }
    }

    /// Makes a volume larger that the configuration asks for larger, once it is there as it was.
    fn grow(
        &self,
        base: &mut Base<'_>,
        mut draft: Draft,
        asked: &Logical,
        (volume, shape): (LogicalPlace, &Shape),
        made: &LogicalVolume,
        after: &[usize],
    ) -> Draft {
        let (has, is_begun) = (lvm::extents(made.size), made.tags.iter().any(|tag| tag == lvm::GROWING));
        let extents = asked.size.map_or(has, |size| shape.extents(size));
        if extents == has && !is_begun {
            return draft;
        }
        let stays = match (asked.encrypt, base.made.map_or(0, lost)) {
            _ if extents < has => Some("it is never made smaller"),
            (Some(_), _) => Some("what is encrypted is not made larger"),
            (None, 1..) => Some("nothing is made larger before the missing disks are back"),
            (None, 0) => None,
        };
        if let Some(why) = stays {
            draft.verdict.reasons.push(format!("It has {}, and {why}.", size_words(made.size)));
            return draft;
        }
        let most = base.room.most(shape);
        if base.room.take(shape, extents - has).is_none() {
            let refusal = no_room(&draft.verdict.volume, extents - has, 0, most);
            draft.verdict.refusals.push(Diagnostic { why: "It stays as large as it is.".into(), ..refusal });
            return draft;
        }
        let holds = asked.format.file_system().map(|format| (format, draft.verdict.mount.clone()));
        draft.add(Action::GrowLogical { volume, extents, holds }, after);
        draft.because(Verdict::Repair, "It is made larger.")
    }

    fn create_volume(
        &self,
        base: &mut Base<'_>,
        mut draft: Draft,
        asked: &Logical,
        place: LogicalPlace,
        shape: Shape,
        begun: Option<&LogicalVolume>,
    ) -> Draft {
        let (volume, wanted) = (draft.verdict.volume.clone(), Holds::of_logical(asked));
        if base.is_seen && base.made.is_some_and(|made| lost(made) > 0) {
            return draft.refuse(vec![self.lacking(&volume, "nothing is made in it before they are back")]);
        }
        let mut refusals: Vec<Diagnostic> = self.context.not_encrypted(&wanted, &volume).into_iter().collect();
        let seen = begun.map(|begun| Place { signatures: &begun.signatures, uses: &begun.uses });
        let left_open = seen.is_some_and(|seen| self.context.is_open(&draft, seen));
        if let Some((seen, first)) = seen.zip(self.carriers.first()) {
            let used = self.context.in_the_way(&draft, &wanted, seen).1;
            refusals.extend(used.map(|how| refusal::in_use(first.device, &how, &volume)));
        }
        if !refusals.is_empty() {
            return draft.refuse(refusals);
        }
        let mut after = draft.behind(base);
        if let Shape::Thin(pool) = &shape {
            match self.pool(base, &mut draft, pool, &after) {
                Ok(steps) => after = steps,
                Err(refusal) => return draft.refuse(vec![refusal]),
            }
        }
        let least = lvm::extents(wanted.least());
        let has = begun.filter(|begun| shape.is_that_of(begun)).map(|begun| lvm::extents(begun.size));
        let most = base.room.most(&shape);
        let extents = asked.size.map_or_else(|| has.unwrap_or(most), |size| shape.extents(size));
        if extents < least || (has != Some(extents) && base.room.take(&shape, extents).is_none()) {
            return draft.refuse(vec![no_room(&volume, extents, least, most)]);
        }
        let target = place.target();
        // What was left open is closed where it is encrypted anew.
        if !left_open {
            let (volume, remake) = (place.clone(), begun.is_some());
            after = vec![draft.add(Action::CreateLogical { volume, shape, extents, remake }, &after)];
        }
        let made = draft.make(target.clone(), &wanted, &after);
        let finished = draft.add(Action::FinishLogical { volume: place }, &[made]);
        draft.open_and_offer(self.context, target, &wanted, true, &[finished]);
        let reason = match begun {
            Some(_) => "An interrupted run began to make it; it is made anew.",
            None => "It is not there yet.",
        };
        draft.because(Verdict::Create, reason)
    }

    /// The steps after which a pool is there.
    fn pool(
        &self,
        base: &mut Base<'_>,
        draft: &mut Draft,
        name: &str,
        after: &[usize],
    ) -> Result<Vec<usize>, Diagnostic> {
        let asked = self.group.pool.get(name);
        let extents = asked.map_or(0, |pool| lvm::extents(pool.size));
        let (shape, uuid) = (Shape::pool(extents), self.tagged("pool", name));
        let (group, members) = (lvm::group_name(self.name), base.members.clone());
        let volume = LogicalPlace { group, members, name: name.to_owned(), uuid };
        let begun = match there(base.made, name, &uuid) {
            There::Other => return Err(self.not_ours(name)),
            // What is in a pool is made after it, and would be lost with it.
            There::Begun(_)
                if base.made.is_some_and(|made| made.volumes.iter().any(|v| v.pool.as_deref() == Some(name))) =>
            {
                return Err(self.not_ours(name));
            }
            There::Made(made) if !shape.is_that_of(made) => return Err(other_layout(name, made, &shape)),
            There::Made(_) => return Ok(after.to_vec()),
            There::Nothing => None,
            There::Begun(begun) => Some(begun),
        };
        // The first volume of a pool makes room for it; the others share its steps.
        if !base.pools.contains_key(name) {
            let most = base.room.most(&shape);
            let has = begun.is_some_and(|begun| shape.is_that_of(begun) && lvm::extents(begun.size) == extents);
            let fits = has || base.room.take(&shape, extents).is_some();
            let refusal = || no_room(&format!("{}/{name}", self.name), extents, 1, most);
            base.pools.insert(name.to_owned(), fits.then_some(()).ok_or_else(refusal));
        }
        if let Some(Err(refusal)) = base.pools.get(name) {
            return Err(refusal.clone());
        }
        let create = Action::CreateLogical { volume: volume.clone(), shape, extents, remake: begun.is_some() };
        let made = draft.add(create, after);
        Ok(vec![draft.add(Action::FinishLogical { volume }, &[made])])
    }
}

impl Draft {
    /// Has the steps of the group among its own, and gives those after which the group is there.
    fn behind(&mut self, base: &Base<'_>) -> Vec<usize> {
        for step in &base.draft.graph.steps {
            self.add(step.action.clone(), &step.after);
        }
        base.after.clone()
    }
}

/// How many of its disks are not there.
fn lost(group: &VolumeGroup) -> usize {
    group.members.iter().filter(|m| m.device.is_none()).count()
}

fn other_layout(volume: &str, made: &LogicalVolume, asked: &Shape) -> Diagnostic {
    let is = match made.layout.as_str() {
        "raid,raid1" => format!("raid1 over {}", made.over),
        "striped" => format!("striped over {}", made.over),
        other => other.to_owned(),
    };
    diagnostic(
        refusal::OTHER_LAYOUT,
        format!("\"{volume}\" was made {is}, and the configuration asks for it {}.", asked.words()),
        "What is there is never made into the other. Nothing was written.".into(),
        "Write it as it was made, or give it another name and copy what it holds.".into(),
    )
}

fn no_room(volume: &str, extents: u64, least: u64, most: u64) -> Diagnostic {
    let words = |extents: u64| size_words(extents.saturating_mul(lvm::EXTENT));
    let what = match extents < least {
        true => {
            format!("{} are left for \"{volume}\" or asked for, and {} are the least.", words(extents), words(least))
        }
        false => format!("\"{volume}\" is to have {}, and its group has room for {}.", words(extents), words(most)),
    };
    diagnostic(
        refusal::NO_ROOM,
        what,
        "Nothing was written for it.".into(),
        "Make it or others of the group smaller in the site file, or give the group more disks.".into(),
    )
}
