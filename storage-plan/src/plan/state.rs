//! The state partition, `/var`, behind the image on the disk the node was started from.

use super::{Context, Draft, Filesystem, changed_inside, draft, table_step};
use crate::graph::Target;
use crate::identity::VolumeKey;
use crate::inventory::Device;
use crate::layer::{filesystem, gpt};
use crate::ownership::{Inside, Phase, Wanted, inside};
use crate::refusal::{self, diagnostic};
use crate::verdict::{Kind, Verdict};

const VOLUME: &str = "state";
/// Less state than this is no node: images and logs of pods live there.
const LEAST: u64 = 512 << 20;

pub(super) fn state(context: &Context<'_>) -> Draft {
    let system = &context.config.storage.system;
    let key = VolumeKey { name: "system.state".into(), generation: 0 };
    let mut draft = draft(VOLUME.into(), Kind::State, system.format, "/var".into(), true, context.filesystem(&key, ""));
    let (device, root) = match boot_disk(context) {
        Ok(found) => found,
        Err(refusal) => return draft.refuse(vec![*refusal]),
    };
    draft.verdict.disks = vec![device.words()];
    let foreign: Vec<String> = device.signatures.iter().filter(|s| !s.is_gpt()).map(|s| s.words()).collect();
    if !foreign.is_empty() {
        let holds = foreign.join(", ");
        return draft.refuse(vec![refusal::foreign(refusal::FOREIGN, device, &holds, VOLUME, &[], None)]);
    }
    if device.read_only {
        let why = "It is write-protected, and the state partition has to be kept on it".into();
        return draft.refuse(vec![refusal::unfit(device, why, VOLUME)]);
    }
    let least = LEAST.max(filesystem::least(system.format));
    let inside = Filesystem::of_state(system);
    match gpt::state(&context.owner, &key, device, root, system.state_size, least) {
        gpt::State::Refused(holds) => {
            let refusal = diagnostic(
                refusal::BOOT_DISK,
                format!("{}, the disk this node was started from, holds {holds}.", device.words()),
                "The state partition goes behind the image on that disk. Nothing was written.".into(),
                "Write the image to a disk of at least the image's size and 1 GB more, and start from it.".into(),
            );
            draft.refuse(vec![refusal])
        }
        gpt::State::UnknownData(holds) => {
            draft.refuse(vec![refusal::foreign(refusal::UNKNOWN_DATA, device, &holds, VOLUME, &[], None)])
        }
        gpt::State::Absent(wanted) => {
            make(&mut draft, device, &wanted, &inside, true);
            draft.because(Verdict::Create, "There is no state partition behind the image yet.")
        }
        gpt::State::Ours { wanted, phase, whole } => ours(draft, device, &wanted, phase, whole, &inside),
    }
}

fn ours(
    mut draft: Draft,
    device: &Device,
    wanted: &Wanted,
    phase: Phase,
    whole: bool,
    wanted_inside: &Filesystem<'_>,
) -> Draft {
    let (repair, partition) = table_step(device, wanted, true);
    let seen = device.partition(partition.number).filter(|p| p.start == partition.start);
    let inner = seen.map(|p| inside(&p.signatures, filesystem::kind(wanted_inside.format), &draft.verdict.filesystem));
    match (phase, inner) {
        (_, Some(Inside::Other(holds))) => {
            let refusal = changed_inside(device, &holds, VOLUME);
            draft.refuse(vec![refusal])
        }
        (Phase::Provisioning, _) => {
            make(&mut draft, device, wanted, wanted_inside, !whole);
            draft.because(Verdict::Create, "An interrupted run began to make it; it is made anew.")
        }
        (Phase::Done, Some(Inside::Nothing)) => {
            let refusal = changed_inside(device, "no file system", VOLUME);
            draft.refuse(vec![refusal])
        }
        (Phase::Done, Some(Inside::Ours) | None) => {
            let after = if whole { Vec::new() } else { vec![draft.add(repair, &[])] };
            let mounted = seen.is_some_and(|p| p.uses.mounts.contains(&draft.verdict.mount));
            if !mounted {
                draft.mount(Target::Partition(partition), wanted_inside, &after);
            }
            if whole {
                draft.because(Verdict::Keep, "It is this node's state.")
            } else {
                draft.because(Verdict::Repair, "It is this node's state; a copy of the partition table is damaged.")
            }
        }
    }
}

fn make(draft: &mut Draft, device: &Device, wanted: &Wanted, inside: &Filesystem<'_>, with_table: bool) {
    let (begin, partition) = table_step(device, wanted, false);
    let (end, _) = table_step(device, wanted, true);
    let after = if with_table { vec![draft.add(begin, &[])] } else { Vec::new() };
    let made = draft.make(Target::Partition(partition.clone()), inside, &after);
    let flipped = draft.add(end, &[made]);
    draft.mount(Target::Partition(partition), inside, &[flipped]);
}

fn boot_disk<'a>(context: &Context<'a>) -> Result<(&'a Device, &'a uuid::Uuid), Box<machine_config::Diagnostic>> {
    let refusal = |what: String, mend: &str| {
        let why = "The state partition is kept on the disk the node was started from. Nothing was written.".into();
        Box::new(diagnostic(refusal::BOOT_DISK, what, why, mend.into()))
    };
    let unknown = || {
        refusal(
            "Which disk this node was started from can't be told.".into(),
            "Start the node from a disk that carries the image.",
        )
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
    if let Some(selector) = &context.config.storage.system.disks {
        let all: Vec<&Device> = context.inventory.devices.iter().collect();
        let selected = crate::selector::select(selector, &all, "system");
        if let Some(first) = selected.refusals.into_iter().chain(selected.missing.into_iter().map(|(_, d)| d)).next() {
            return Err(Box::new(first));
        }
        if selected.disks.iter().all(|d| d.name != device.name) {
            return Err(refusal(
                format!("The node was started from {}, which \"system\" does not select.", device.words()),
                "Start from the selected disk, or change the selector of \"system\" in the site file.",
            ));
        }
    }
    Ok((device, &boot.root_partition))
}
