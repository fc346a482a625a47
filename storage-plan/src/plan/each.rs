//! The volumes on each selected disk; a verdict per volume, and one fate for all of a disk.
//!
//! A disk is one volume, or it has partitions that are each one. It is made as a whole: its table says *provisioning* of all
//! partitions until what all of them hold was made. What keeps one of its volumes from being had keeps all of them from it, and
//! nothing is written to the disk. One that was made with other partitions is ours, and never cut anew.

use super::encryption::{Found, Place};
use super::{Context, Draft, Holds, changed_inside, draft, expand, place, write_table};
use crate::action::{PartitionRef, Target};
use crate::graph::Graph;
use crate::identity::{Owner, VolumeKey};
use crate::inventory::{Device, Partition};
use crate::layer::gpt;
use crate::ownership::{Phase, Standing, Wanted};
use crate::refusal::{self, diagnostic};
use crate::verdict::{Kind, Verdict};
use machine_config::Diagnostic;
use machine_config::schema::{Each, OnEach};
use machine_config::units::format_size;
use on_disk::gpt::{Table, kind};

pub(super) fn key(name: &str, each: &Each) -> VolumeKey {
    VolumeKey { name: format!("each.{name}"), generation: each.generation }
}

/// By which the UUIDs of one volume on a disk are derived. Names have no dots, so it is no other's.
fn key_of(section: &VolumeKey, volume: &OnEach<'_>) -> VolumeKey {
    let name = volume.name.map_or_else(|| section.name.clone(), |part| format!("{}.{part}", section.name));
    VolumeKey { name, generation: section.generation }
}

/// The tables of a disk of this section.
///
/// # Errors
/// A sentence when the disk can't carry them.
pub(super) fn tables(owner: &Owner, name: &str, each: &Each, device: &Device) -> Result<Wanted, String> {
    let (key, volumes) = (key(name, each), each.volumes());
    if volumes.iter().all(|volume| volume.name.is_none()) {
        return gpt::whole_disk(owner, &key, device);
    }
    let parts: Vec<(VolumeKey, Option<u64>)> = volumes.iter().map(|v| (key_of(&key, v), v.size)).collect();
    gpt::partitions(owner, &key, device, &parts)
}

pub(super) fn each(context: &Context<'_>, name: &str, each: &Each) -> Vec<Draft> {
    let section = Section { context, name, each, key: key(name, each), volumes: each.volumes() };
    let selected = context.select(&each.disks, name);
    let judged: Vec<Judged<'_>> = context.disks.iter().map(|d| section.judge(d)).collect();
    let is_selected = |d: &Device| selected.disks.iter().any(|s| s.name == d.name);
    // Once made, the disks say themselves that they belong here: the selector is asked only about the others.
    let wanted = each.disks.count.unwrap_or(usize::MAX);
    let complete = judged.iter().filter(|j| j.is_made()).count() >= wanted;

    let mut drafts = Vec::new();
    for disk in &judged {
        let all = section.on(disk.device);
        if disk.is_made() {
            let twins = selected.refusals.iter().filter(|r| r.code == refusal::TWINS).cloned().collect::<Vec<_>>();
            drafts.extend(if twins.is_empty() { section.keep(all, disk) } else { all.refuse(&twins) });
        } else if is_selected(disk.device) && !complete {
            drafts.extend(section.create(all, disk, &selected.refusals));
        }
    }
    for (named, refusal) in selected.missing {
        let all = section.all(named.rsplit(' ').next().unwrap_or(&named), None);
        drafts.extend(all.refuse(&[refusal]));
    }
    if drafts.is_empty() {
        drafts.extend(section.all("none", None).refuse(&selected.refusals));
    } else if !complete && !selected.refusals.is_empty() && drafts.iter().all(|d| d.verdict.verdict != Verdict::Refuse)
    {
        // All that is there is ours, but it is not what the selector asks for: the lacking ones are a verdict too.
        drafts.extend(section.all("others", None).refuse(&selected.refusals));
    }
    drafts
}

/// What the configuration asks of each disk of a section.
struct Section<'a, 'c> {
    context: &'c Context<'a>,
    name: &'c str,
    each: &'c Each,
    key: VolumeKey,
    volumes: Vec<OnEach<'c>>,
}

/// The volumes of one disk, in their order on it.
struct OnDisk {
    /// What they are called together; of a disk that is one volume, its name.
    name: String,
    drafts: Vec<Draft>,
}

struct Judged<'a> {
    device: &'a Device,
    looked: Result<(Wanted, Standing), String>,
    /// The table by which it was made for this section, if that has other partitions.
    otherwise: Option<&'a Table>,
}

impl Judged<'_> {
    /// Whether it holds what was finished for this section.
    fn is_made(&self) -> bool {
        let is_finished = |table: &Table| table.partitions.iter().any(|p| p.kind != kind::PROVISIONING);
        self.otherwise.is_some_and(is_finished)
            || matches!(self.looked, Ok((_, Standing::Ours { phase: Phase::Done, .. })))
    }
}

impl OnDisk {
    fn refuse(self, refusals: &[Diagnostic]) -> Vec<Draft> {
        self.drafts.into_iter().map(|draft| draft.refuse(refusals.to_vec())).collect()
    }
}

impl<'a> Section<'a, '_> {
    fn judge(&self, device: &'a Device) -> Judged<'a> {
        let looked = self.context.of_each(self.name, self.each, device);
        let is_ours = matches!(looked, Ok((_, Standing::Ours { .. })));
        let otherwise = gpt::made_for(&self.context.owner, &self.key, device).filter(|_| !is_ours);
        Judged { device, looked, otherwise }
    }

    /// The volumes of a disk that is there.
    fn on(&self, device: &Device) -> OnDisk {
        let mut all = self.all(device.identity().unwrap_or("unknown"), Some(device));
        all.drafts.iter_mut().for_each(|draft| draft.verdict.disks = vec![device.words()]);
        all
    }

    fn all(&self, member: &str, device: Option<&Device>) -> OnDisk {
        let disk = format!("{}/{member}", self.name);
        let of = |volume: &OnEach<'_>| {
            let inner = self.context.inner(&key_of(&self.key, volume), member);
            let name = volume.name.map_or_else(|| disk.clone(), |part| format!("{disk}/{part}"));
            let mount = volume.holds.mount.map(|at| device.map_or_else(|| at.to_owned(), |d| expand(at, d)));
            let (place, holds) = (place(&name, mount.as_ref()), Holds::of(&volume.holds));
            let mut draft = draft(name, Kind::Each, &holds, place, self.each.required, &inner);
            draft.verdict.class = volume.holds.class.map(str::to_owned);
            draft.label = volume.name.map_or(draft.label, str::to_owned);
            draft.together = (self.volumes.len() > 1).then(|| disk.clone());
            draft
        };
        OnDisk { drafts: self.volumes.iter().map(of).collect(), name: disk }
    }

    /// The least bytes of all partitions together.
    fn least(&self) -> u64 {
        let least = |volume: &OnEach<'_>| Holds::of(&volume.holds).least().max(volume.size.map_or(0, gpt::rounded_up));
        self.volumes.iter().map(least).fold(0, u64::saturating_add)
    }

    fn keep(&self, mut disk: OnDisk, judged: &Judged<'_>) -> Vec<Draft> {
        let device = judged.device;
        if let Some(table) = judged.otherwise {
            let refusal = self.other_partitions(&disk.name, table);
            return disk.refuse(&[refusal]);
        }
        let Ok((wanted, Standing::Ours { whole, .. })) = &judged.looked else { return disk.drafts };
        let places = gpt::places(device, &wanted.done);
        let (mut refusals, mut offered) = (Vec::new(), Vec::new());
        for ((draft, volume), at) in disk.drafts.iter().zip(&self.volumes).zip(&places) {
            let seen = device.partition(at.number).filter(|p| p.start == at.start);
            let found = seen.map(|p| self.context.found(draft, &Holds::of(&volume.holds), in_partition(p)));
            refusals.extend(self.amiss(draft, volume, device, found.as_ref()));
            offered.push(found.map_or((false, false), |found| (found.is_offered, found.is_open)));
        }
        if refusals.is_empty() && !whole && device.read_only {
            refusals.push(refusal::unfit(device, "It is write-protected and needs repair".into(), &disk.name));
        }
        if !refusals.is_empty() {
            return disk.refuse(&refusals);
        }
        let mut repair = Graph::default();
        let after: Vec<usize> = match (*whole, disk.drafts.first_mut()) {
            (false, Some(first)) => {
                vec![in_common(&mut repair, first, |d| d.add(write_table(device, wanted, true, &places), &[]))]
            }
            _ => Vec::new(),
        };
        let whose = if self.volumes.len() > 1 { "this volume's, with others" } else { "this volume's" };
        for (i, draft) in disk.drafts.iter_mut().enumerate() {
            let ((is_offered, is_open), holds) = (offered[i], Holds::of(&self.volumes[i].holds));
            draft.graph = repair.clone();
            if !is_offered {
                draft.open_and_offer(self.context, Target::Partition(places[i].clone()), &holds, is_open, &after);
            }
        }
        let (verdict, reason) = match whole {
            true => (Verdict::Keep, format!("The disk is {whose}.")),
            false => (Verdict::Repair, format!("The disk is {whose}; a copy of its partition table is damaged.")),
        };
        disk.drafts.into_iter().map(|draft| draft.because(verdict, reason.clone())).collect()
    }

    /// What keeps a finished volume from being had.
    fn amiss(&self, draft: &Draft, volume: &OnEach<'_>, device: &Device, found: Option<&Found>) -> Option<Diagnostic> {
        let (name, holds) = (&draft.verdict.volume, Holds::of(&volume.holds));
        let (offered, open) = found.map_or((false, false), |found| (found.is_offered, found.is_open));
        let is_raw = holds.content.file_system().is_none();
        // What a program does with a raw volume is no matter of the node's: it may well be in use before its path leads there.
        let in_use = || found.and_then(|found| found.in_use.as_ref()).filter(|_| !offered && !is_raw);
        found
            .and_then(|found| found.refusal(device, name))
            .or_else(|| in_use().map(|how| refusal::in_use(device, how, name)))
            .or_else(|| self.context.closed(&holds, name).filter(|_| !open))
    }

    fn create(&self, mut disk: OnDisk, judged: &Judged<'_>, selection: &[Diagnostic]) -> Vec<Draft> {
        let device = judged.device;
        if let Some(table) = judged.otherwise {
            let refusal = self.other_partitions(&disk.name, table);
            return disk.refuse(&[refusal]);
        }
        let (wanted, standing) = match &judged.looked {
            Ok(looked) => looked,
            Err(unfit) => {
                let refusal = refusal::unfit(device, unfit.clone(), &disk.name);
                return disk.refuse(&[refusal]);
            }
        };
        let mut refusals: Vec<_> = selection.to_vec();
        refusals.extend(self.context.unfit(device, self.least(), &disk.name));
        for (draft, volume) in disk.drafts.iter().zip(&self.volumes) {
            refusals.extend(self.context.not_encrypted(&Holds::of(&volume.holds), &draft.verdict.volume));
        }
        let erase = self.context.claim(device, standing, &disk.name).unwrap_or_else(|refusal| {
            refusals.push(refusal);
            None
        });
        let places = gpt::places(device, &wanted.done);
        if matches!(standing, Standing::Ours { .. }) {
            refusals.extend(self.in_the_way(&disk, device, &places));
        }
        let Some(first) = disk.drafts.first_mut().filter(|_| refusals.is_empty()) else {
            return disk.refuse(&refusals);
        };
        let mut steps = Graph::default();
        let is_begun = matches!(standing, Standing::Ours { whole: true, .. });
        let begun = in_common(&mut steps, first, |first| {
            let erased: Vec<usize> = erase.into_iter().map(|erase| first.erase(device, erase)).collect();
            let begin = || write_table(device, wanted, false, &places);
            if is_begun { Vec::new() } else { vec![first.add(begin(), &erased)] }
        });
        let said = first.verdict.reasons.clone();
        let mut made = Vec::new();
        for ((draft, volume), at) in disk.drafts.iter_mut().zip(&self.volumes).zip(&places) {
            draft.verdict.reasons.clone_from(&said);
            let (on, holds) = (Target::Partition(at.clone()), Holds::of(&volume.holds));
            made.push(in_common(&mut steps, draft, |draft| draft.make(on, &holds, &begun)));
        }
        // All of it is finished at once.
        let end = write_table(device, wanted, true, &places);
        let flipped = disk.drafts.first_mut().map(|first| in_common(&mut steps, first, |first| first.add(end, &made)));
        let after: Vec<usize> = flipped.into_iter().collect();
        for ((draft, volume), at) in disk.drafts.iter_mut().zip(&self.volumes).zip(places) {
            draft.graph = steps.clone();
            draft.open_and_offer(self.context, Target::Partition(at), &Holds::of(&volume.holds), true, &after);
        }
        let reason = match standing {
            Standing::Blank => "The disk is blank.",
            Standing::Foreign(_) | Standing::UnknownData(_) => "The disk is blank then.",
            _ => "An interrupted run began to make it; it is made anew.",
        };
        disk.drafts.into_iter().map(|draft| draft.because(Verdict::Create, reason)).collect()
    }

    /// What keeps a disk that an interrupted run began from being made anew.
    fn in_the_way(&self, disk: &OnDisk, device: &Device, places: &[PartitionRef]) -> Vec<Diagnostic> {
        let mut refusals = Vec::new();
        for ((draft, volume), at) in disk.drafts.iter().zip(&self.volumes).zip(places) {
            let Some(seen) = device.partition(at.number) else { continue };
            let name = &draft.verdict.volume;
            let (holds, used) = self.context.in_the_way(draft, &Holds::of(&volume.holds), in_partition(seen));
            refusals.extend(holds.map(|holds| changed_inside(device, &holds, name)));
            refusals.extend(used.map(|how| refusal::in_use(device, &how, name)));
        }
        refusals
    }

    /// A disk of this section that has other partitions than it would get now.
    fn other_partitions(&self, disk: &str, made: &Table) -> Diagnostic {
        let prefix = format!("{}.", self.key.name);
        let made = made.partitions.iter().map(|p| {
            let size = format_size(p.size);
            p.name
                .strip_prefix(&prefix)
                .map_or_else(|| format!("one volume of {size}"), |part| format!("{part} of {size}"))
        });
        let asked = self.volumes.iter().map(|volume| match (volume.name, volume.size) {
            (None, _) => "one volume over all of it".to_owned(),
            (Some(part), Some(size)) => format!("{part} of {}", format_size(gpt::rounded_up(size))),
            (Some(part), None) => format!("{part} over the rest"),
        });
        let listed = |all: &mut dyn Iterator<Item = String>| all.collect::<Vec<_>>().join(", ");
        let (made, asked) = (listed(&mut made.into_iter()), listed(&mut asked.into_iter()));
        diagnostic(
            refusal::OTHER_LAYOUT,
            format!("The disk of \"{disk}\" was made with {made}, and the configuration asks for {asked}."),
            "A disk that was made is never cut anew: what it holds would be lost. Nothing was written.".into(),
            format!(
                "Write \"{}\" as it was made, or raise its generation to make it anew, with a permit for what is on the disk.",
                self.name
            ),
        )
    }
}

/// Adds to the steps that all volumes of a disk have in common what is done for one of them.
fn in_common<T>(steps: &mut Graph, draft: &mut Draft, add: impl FnOnce(&mut Draft) -> T) -> T {
    std::mem::swap(steps, &mut draft.graph);
    let added = add(draft);
    std::mem::swap(steps, &mut draft.graph);
    added
}

fn in_partition(partition: &Partition) -> Place<'_> {
    Place { signatures: &partition.signatures, uses: &partition.uses }
}
