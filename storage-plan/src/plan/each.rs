//! One volume on each selected disk; a verdict per disk.

use super::encryption::Place;
use super::{Context, Draft, Holds, changed_inside, draft, expand, place, table_step};
use crate::action::Target;
use crate::identity::VolumeKey;
use crate::inventory::{Device, Partition};
use crate::ownership::{Phase, Standing, Wanted};
use crate::refusal;
use crate::verdict::{Kind, Verdict};
use machine_config::schema::Each;

pub(super) fn key(name: &str, each: &Each) -> VolumeKey {
    VolumeKey { name: format!("each.{name}"), generation: each.generation }
}

pub(super) fn each(context: &Context<'_>, name: &str, each: &Each) -> Vec<Draft> {
    let key = key(name, each);
    let selected = context.select(&each.disks, name);
    let volume = |member: &str, mount: Option<String>| {
        let inner = context.inner(&key, member);
        let volume = format!("{name}/{member}");
        let place = place(&volume, mount.as_ref());
        let mut draft = draft(volume, Kind::Each, &Holds::of_each(each), place, each.required, &inner);
        draft.verdict.class.clone_from(&each.class);
        draft
    };
    let judged: Vec<Judged<'_>> = context.disks.iter().map(|d| judge(context, &key, d)).collect();
    let is_selected = |d: &Device| selected.disks.iter().any(|s| s.name == d.name);
    // Once made, the disks say themselves that they belong here: the selector is asked only about the others.
    let ours = |j: &Judged<'_>| matches!(j.standing, Some((Standing::Ours { phase: Phase::Done, .. }, _)));
    let wanted = each.disks.count.unwrap_or(usize::MAX);
    let complete = judged.iter().filter(|j| ours(j)).count() >= wanted;

    let mut drafts = Vec::new();
    for disk in &judged {
        let draft = volume(
            disk.device.identity().unwrap_or("unknown"),
            each.mount.as_ref().map(|mount| expand(mount, disk.device)),
        );
        if ours(disk) {
            let twins = selected.refusals.iter().filter(|r| r.code == refusal::TWINS).cloned().collect::<Vec<_>>();
            drafts.push(if twins.is_empty() { keep(context, draft, disk, each) } else { draft.refuse(twins) });
        } else if is_selected(disk.device) && !complete {
            drafts.push(create(context, draft, disk, each, &selected.refusals));
        }
    }
    for (named, refusal) in selected.missing {
        let draft = volume(named.rsplit(' ').next().unwrap_or(&named), each.mount.clone());
        drafts.push(draft.refuse(vec![refusal]));
    }
    if drafts.is_empty() {
        drafts.push(volume("none", each.mount.clone()).refuse(selected.refusals));
    } else if !complete && !selected.refusals.is_empty() && drafts.iter().all(|d| d.verdict.verdict != Verdict::Refuse)
    {
        // All that is there is ours, but it is not what the selector asks for: the lacking ones are a verdict too.
        drafts.push(volume("others", each.mount.clone()).refuse(selected.refusals));
    }
    drafts
}

struct Judged<'a> {
    device: &'a Device,
    standing: Option<(Standing, Wanted)>,
    unfit: String,
}

fn judge<'a>(context: &Context<'a>, key: &VolumeKey, device: &'a Device) -> Judged<'a> {
    match context.whole_disk(key, device) {
        Ok((wanted, standing)) => Judged { device, standing: Some((standing, wanted)), unfit: String::new() },
        Err(unfit) => Judged { device, standing: None, unfit },
    }
}

fn keep(context: &Context<'_>, mut draft: Draft, judged: &Judged<'_>, each: &Each) -> Draft {
    let (device, volume) = (judged.device, draft.verdict.volume.clone());
    draft.verdict.disks = vec![device.words()];
    let Some((Standing::Ours { whole, .. }, wanted)) = &judged.standing else { return draft };
    let (repair, partition) = table_step(device, wanted, true);
    let seen = device.partition(partition.number).filter(|p| p.start == partition.start);
    let wanted_inside = Holds::of_each(each);
    let found = seen.map(|p| context.found(&draft, &wanted_inside, in_partition(p)));
    if let Some(refusal) = found.as_ref().and_then(|found| found.refusal(device, &volume)) {
        return draft.refuse(vec![refusal]);
    }
    let (offered, open) = found.as_ref().map_or((false, false), |found| (found.is_offered, found.is_open));
    let is_raw = each.format.file_system().is_none();
    // What a program does with a raw volume is no matter of the node's: it may well be in use before its path leads there.
    if let Some(how) = found.and_then(|found| found.in_use).filter(|_| !offered && !is_raw) {
        return draft.refuse(vec![refusal::in_use(device, &how, &volume)]);
    }
    if let Some(refusal) = context.closed(&wanted_inside, &volume).filter(|_| !open) {
        return draft.refuse(vec![refusal]);
    }
    if !whole && device.read_only {
        return draft.refuse(vec![refusal::unfit(device, "It is write-protected and needs repair".into(), &volume)]);
    }
    let after = if *whole { Vec::new() } else { vec![draft.add(repair, &[])] };
    if !offered {
        draft.open_and_offer(context, Target::Partition(partition), &wanted_inside, open, &after);
    }
    if *whole {
        draft.because(Verdict::Keep, "The disk is this volume's.")
    } else {
        draft.because(Verdict::Repair, "The disk is this volume's; a copy of its partition table is damaged.")
    }
}

fn create(
    context: &Context<'_>,
    mut draft: Draft,
    judged: &Judged<'_>,
    each: &Each,
    selection: &[machine_config::Diagnostic],
) -> Draft {
    let (device, volume) = (judged.device, draft.verdict.volume.clone());
    draft.verdict.disks = vec![device.words()];
    let Some((standing, wanted)) = &judged.standing else {
        return draft.refuse(vec![refusal::unfit(device, judged.unfit.clone(), &volume)]);
    };
    let mut refusals: Vec<_> = selection.to_vec();
    let wanted_inside = Holds::of_each(each);
    refusals.extend(context.unfit(device, wanted_inside.least(), &volume));
    refusals.extend(context.not_encrypted(&wanted_inside, &volume));
    let erase = context.claim(device, standing, &volume).unwrap_or_else(|refusal| {
        refusals.push(refusal);
        None
    });
    let (begin, partition) = table_step(device, wanted, false);
    let seen = device.partition(partition.number);
    if matches!(standing, Standing::Ours { .. })
        && let Some(p) = seen
    {
        let (holds, used) = context.in_the_way(&draft, &wanted_inside, in_partition(p));
        refusals.extend(holds.map(|holds| changed_inside(device, &holds, &volume)));
        refusals.extend(used.map(|how| refusal::in_use(device, &how, &volume)));
    }
    if !refusals.is_empty() {
        return draft.refuse(refusals);
    }
    let begun = matches!(standing, Standing::Ours { whole: true, .. });
    let erased: Vec<usize> = erase.into_iter().map(|erase| draft.erase(device, erase)).collect();
    let after = if begun { Vec::new() } else { vec![draft.add(begin, &erased)] };
    let made = draft.make(Target::Partition(partition.clone()), &wanted_inside, &after);
    let (end, _) = table_step(device, wanted, true);
    let flipped = draft.add(end, &[made]);
    draft.open_and_offer(context, Target::Partition(partition), &wanted_inside, true, &[flipped]);
    draft.because(
        Verdict::Create,
        match standing {
            Standing::Blank => "The disk is blank.",
            Standing::Foreign(_) | Standing::UnknownData(_) => "The disk is blank then.",
            _ => "An interrupted run began to make it; it is made anew.",
        },
    )
}

fn in_partition(partition: &Partition) -> Place<'_> {
    Place { signatures: &partition.signatures, uses: &partition.uses }
}
