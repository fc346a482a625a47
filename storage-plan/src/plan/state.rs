//! The state partition, `/var`, behind the image on the disk the node was started from; or on a mirror of several such disks.

use super::{Context, Draft, Holds, array, changed_inside, draft, table_step};
use crate::action::Target;
use crate::arrays::{self, Asked, On, STATE};
use crate::identity::Layer;
use crate::inventory::{BootDisk, Device, Partition};
use crate::layer::{filesystem, gpt};
use crate::ownership::{Inside, Phase, Standing, Wanted, inside};
use crate::refusal::{self, diagnostic};
use crate::verdict::{Kind, Verdict};
use machine_config::Diagnostic;
use machine_config::schema::System;

/// Less state than this is no node: images and logs of pods live there.
const LEAST: u64 = 512 << 20;

/// The least bytes of a state partition.
pub(super) fn least(system: &System) -> u64 {
    LEAST.max(filesystem::least(system.format.into()))
}

pub(super) fn state(context: &Context<'_>) -> Draft {
    let system = &context.config.storage.system;
    let inner = context.inner(&arrays::state_key(), "");
    let mut draft = draft(STATE.into(), Kind::State, &Holds::of_state(system), "/var".into(), true, &inner);
    let (device, boot) = match started_from(context) {
        Ok(found) => found,
        Err(refusal) => return draft.refuse(vec![*refusal]),
    };
    if let Some(asked) = context.arrays.iter().find(|asked| asked.on == On::SystemDisks) {
        return mirrored(context, asked, draft, device, boot);
    }
    if let Some(refusal) = not_selected(context, device) {
        return draft.refuse(vec![refusal]);
    }
    draft.verdict.disks = vec![device.words()];
    let inside = Holds::of_state(system);
    match behind_image(context, device, boot) {
        Err(refusal) => draft.refuse(vec![*refusal]),
        Ok(gpt::State::Ours { wanted, phase, whole }) => ours(context, draft, device, &wanted, (phase, whole), &inside),
        Ok(gpt::State::Absent(wanted)) => {
            make(&mut draft, device, &wanted, &inside, true);
            draft.because(Verdict::Create, "There is no state partition behind the image yet.")
        }
        Ok(gpt::State::Refused(_) | gpt::State::UnknownData(_)) => draft,
    }
}

/// On several disks: an array like any other, whose members are behind the image. It starts without those that are lost.
fn mirrored(context: &Context<'_>, asked: &Asked<'_>, draft: Draft, device: &Device, boot: &BootDisk) -> Draft {
    let Some(volume) = asked.array.volume.values().next() else { return draft };
    let is_made = context.all.iter().any(|disk| {
        let found = context.member(asked, disk, 0);
        found.is_ok_and(|(_, standing)| matches!(standing, Standing::Ours { phase: Phase::Done, .. }))
    });
    let selected = crate::selector::select(&asked.array.disks, &context.all, asked.name).disks;
    if selected.iter().all(|d| d.name != device.name) && !context.carries(asked, device) {
        return draft.refuse(vec![started_from_another(device)]);
    }
    if !is_made && let Err(refusal) = behind_image(context, device, boot) {
        return draft.refuse(vec![*refusal]);
    }
    let kind = filesystem::word(volume.format);
    let is_single = |p: &Partition| inside(&p.signatures, kind, &draft.verdict.filesystem) == Inside::Ours;
    if let Some(single) = context.all.iter().find(|disk| disk.partitions.iter().any(is_single)) {
        let refusal = other_number(single, "on one disk", "several");
        return draft.refuse(vec![refusal]);
    }
    array::judge(context, asked, volume, draft)
}

/// What is found of the state partition on the disk that the node was started from.
///
/// # Errors
/// Why there can be none.
fn behind_image(context: &Context<'_>, device: &Device, boot: &BootDisk) -> Result<gpt::State, Box<Diagnostic>> {
    let system = &context.config.storage.system;
    let foreign: Vec<String> = device.signatures.iter().filter(|s| !s.is_gpt()).map(|s| s.words()).collect();
    if !foreign.is_empty() {
        let holds = foreign.join(", ");
        return Err(Box::new(refusal::foreign(refusal::FOREIGN, device, &holds, STATE, &[], None)));
    }
    if device.read_only {
        let why = "It is write-protected, and the state partition has to be kept on it".into();
        return Err(Box::new(refusal::unfit(device, why, STATE)));
    }
    let (key, root) = (arrays::state_key(), &boot.root_partition);
    match gpt::state(&context.owner, &key, device, root, system.state_size, least(system)) {
        gpt::State::Refused(holds) => Err(Box::new(diagnostic(
            refusal::BOOT_DISK,
            format!("{}, the disk this node was started from, holds {holds}.", device.words()),
            "The state partition goes behind the image on that disk. Nothing was written.".into(),
            "Write the image to a disk of at least the image's size and 1 GB more, and start from it.".into(),
        ))),
        gpt::State::UnknownData(holds) => {
            Err(Box::new(refusal::foreign(refusal::UNKNOWN_DATA, device, &holds, STATE, &[], None)))
        }
        found => Ok(found),
    }
}

/// The state lies on another number of disks than is asked for.
fn other_number(device: &Device, made: &str, asked: &str) -> Diagnostic {
    diagnostic(
        refusal::OTHER_LEVEL,
        format!("\"{STATE}\" was made {made}, and the configuration selects {asked}."),
        format!("It is on {}. What is there is never made into the other. Nothing was written.", device.words()),
        "Select as many disks for \"system\" as before; or start from a disk with nothing but the image, and the state is made anew.".into(),
    )
}

fn ours(
    context: &Context<'_>,
    mut draft: Draft,
    device: &Device,
    wanted: &Wanted,
    (phase, whole): (Phase, bool),
    wanted_inside: &Holds<'_>,
) -> Draft {
    let (repair, partition) = table_step(device, wanted, true);
    let seen = device.partition(partition.number).filter(|p| p.start == partition.start);
    let inner = seen.map(|p| inside(&p.signatures, filesystem::word(wanted_inside.content), &draft.verdict.filesystem));
    let mirror = context.owner.uuid(&arrays::state_key(), Layer::Array, "");
    match (phase, inner) {
        (_, Some(Inside::Other(_))) if seen.and_then(|p| p.md.as_ref()).is_some_and(|md| md.array == mirror) => {
            draft.refuse(vec![other_number(device, "as a mirror of several disks", "one")])
        }
        (_, Some(Inside::Other(holds))) => {
            let refusal = changed_inside(device, &holds, STATE);
            draft.refuse(vec![refusal])
        }
        (Phase::Provisioning, _) => {
            make(&mut draft, device, wanted, wanted_inside, !whole);
            draft.because(Verdict::Create, "An interrupted run began to make it; it is made anew.")
        }
        (Phase::Done, Some(Inside::Nothing)) => {
            let refusal = changed_inside(device, "no file system", STATE);
            draft.refuse(vec![refusal])
        }
        (Phase::Done, Some(Inside::Ours) | None) => {
            let after = if whole { Vec::new() } else { vec![draft.add(repair, &[])] };
            let mounted = seen.is_some_and(|p| p.uses.is_at(&draft.verdict.mount));
            if !mounted {
                draft.offer(Target::Partition(partition), wanted_inside, &after);
            }
            if whole {
                draft.because(Verdict::Keep, "It is this node's state.")
            } else {
                draft.because(Verdict::Repair, "It is this node's state; a copy of the partition table is damaged.")
            }
        }
    }
}

fn make(draft: &mut Draft, device: &Device, wanted: &Wanted, inside: &Holds<'_>, with_table: bool) {
    let (begin, partition) = table_step(device, wanted, false);
    let (end, _) = table_step(device, wanted, true);
    let after = if with_table { vec![draft.add(begin, &[])] } else { Vec::new() };
    let made = draft.make(Target::Partition(partition.clone()), inside, &after);
    let flipped = draft.add(end, &[made]);
    draft.offer(Target::Partition(partition), inside, &[flipped]);
}

fn started_from<'a>(context: &Context<'a>) -> Result<(&'a Device, &'a BootDisk), Box<Diagnostic>> {
    let unknown = || {
        Box::new(not_the_boot_disk(
            "Which disk this node was started from can't be told.".into(),
            "Start the node from a disk that carries the image.",
        ))
    };
    if context.inventory.root_in_memory {
        return Err(Box::new(diagnostic(
            refusal::IN_MEMORY,
            "This node was started without a system disk: its root is in memory.".into(),
            "The state partition (/var) is kept on the disk a node is started from. /var is in memory, too, and gone \
             when the node is switched off, so it does not join its cluster. Nothing was written to any disk."
                .into(),
            "Write this release's disk.raw to the machine's system disk and start from that.".into(),
        )));
    }
    let boot = context.inventory.boot.as_ref().ok_or_else(unknown)?;
    let device = context.inventory.devices.iter().find(|d| d.name == boot.disk).ok_or_else(unknown)?;
    Ok((device, boot))
}

/// Why the one disk that the node was started from is not the one that the configuration selects.
fn not_selected(context: &Context<'_>, device: &Device) -> Option<Diagnostic> {
    let selector = context.config.storage.system.disks.as_ref()?;
    let selected = crate::selector::select(selector, &context.all, "system");
    let first = selected.refusals.into_iter().chain(selected.missing.into_iter().map(|(_, d)| d)).next();
    let is_another = || selected.disks.iter().all(|d| d.name != device.name);
    first.or_else(|| is_another().then(|| started_from_another(device)))
}

fn started_from_another(device: &Device) -> Diagnostic {
    not_the_boot_disk(
        format!("The node was started from {}, which \"system\" does not select.", device.words()),
        "Start from the selected disk, or change the selector of \"system\" in the site file.",
    )
}

fn not_the_boot_disk(what: String, mend: &str) -> Diagnostic {
    let why = "The state partition is kept on the disk the node was started from. Nothing was written.".into();
    diagnostic(refusal::BOOT_DISK, what, why, mend.into())
}
