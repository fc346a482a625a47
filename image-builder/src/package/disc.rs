//! `node.iso`: the full UKI on a disc for virtual media, which is a USB stick's image, too.
//!
//! One EFI system partition, pointed to three times: by the boot catalog (firmware that sees a disc), by a GPT in front of
//! the disc's descriptors (firmware that sees a disk), and, for whoever opens the disc, its files by the disc's own folders.
//! The layout is in `docs/image-layout.md`.

use super::{Inputs, full};
use crate::seal::ids;
use crate::sign::FullUki;
use anyhow::{Context, Result};
use on_disk::efi_vars::Time;
use on_disk::gpt::{self, ALIGNMENT, Partition, SectorSize, Table, kind};
use on_disk::{fat, iso9660};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Raised when equal inputs give other bytes than before.
const REVISION: u32 = 1;
/// Room on a stick for a configuration beside the UKI.
const FREE: u64 = 16 << 20;
/// Where the partition begins.
const BEGIN: u64 = ALIGNMENT;

/// What decides the disc beside the UKI on it.
pub(super) fn key(inputs: &Inputs) -> String {
    format!("{REVISION} {} {}", inputs.lock.snapshot, text(inputs))
}

fn text(inputs: &Inputs) -> String {
    let image = &inputs.recipe.image;
    format!(
        "{} {}: a Kubernetes node, made by Bedplate.\r\n\r\nUEFI firmware starts EFI\\BOOT\\{} from this disc or stick. It needs no \
         disk.\r\nOn a stick, the node's configuration may lie beside this file, as bedplate.toml.\r\n",
        image.name,
        image.version,
        image.arch.efi_boot_name()
    )
}

/// Writes the disc.
pub(super) fn write(inputs: &Inputs, uki: &FullUki, path: &Path) -> Result<()> {
    let failed = || format!("can't write {}", path.display());
    let text = text(inputs);
    let program = format!("EFI/BOOT/{}", inputs.recipe.image.arch.efi_boot_name());
    let size = uki.unsigned.size_with(&uki.signature)?;
    let hash = &inputs.root.root_hash;
    let guid = ids::derived("disc esp", hash);
    let time = time(inputs.lock.snapshot)?;
    let layout = fat::layout(&fat::Volume {
        // The agent looks for configurations on volumes of this label.
        label: "BEDPLATE",
        serial: guid.as_fields().0,
        time,
        hidden_sectors: (BEGIN / SectorSize::B512.bytes()) as u32,
        files: &[(&program, size), ("README.TXT", text.len() as u64)],
        free: FREE,
        alignment: ALIGNMENT,
    })
    .context("the full UKI does not fit on a disc")?;
    let [program_at, text_at] = layout.places[..] else { anyhow::bail!("the disc has not two files") };
    let (program_at, text_at) = (BEGIN + program_at, BEGIN + text_at);
    let disc = iso9660::layout(&iso9660::Disc {
        volume: "BEDPLATE_NODE",
        time,
        boot: (BEGIN, layout.size),
        files: &[(&program, program_at, size), ("README.TXT", text_at, text.len() as u64)],
    })
    .context("the full UKI does not fit on a disc")?;
    let name = "bedplate-node".into();
    let esp = Partition { number: 1, kind: kind::ESP, guid, start: BEGIN, size: layout.size, attributes: 0, name };
    let table = Table { guid: ids::derived("disc", hash), sector: SectorSize::B512, partitions: vec![esp] };
    let end = BEGIN + layout.size + ALIGNMENT;

    let file = File::options().read(true).write(true).create_new(true).open(path).with_context(failed)?;
    file.set_len(end).with_context(failed)?;
    for write in gpt::layout(&table, end).context("the disc's partition table can't be laid out")? {
        file.write_all_at(&write.bytes, write.offset).with_context(failed)?;
    }
    file.write_all_at(&disc, iso9660::SYSTEM_AREA).with_context(failed)?;
    file.write_all_at(&layout.head, BEGIN).with_context(failed)?;
    file.write_all_at(text.as_bytes(), text_at).with_context(failed)?;
    full::put(uki, &file, program_at).with_context(failed)
}

/// The moment all times come from, as FAT and discs write it: in UTC.
fn time(snapshot: i64) -> Result<Time> {
    let time = jiff::Timestamp::from_second(snapshot).context("the lock's snapshot is no time")?;
    let time = time.to_zoned(jiff::tz::TimeZone::UTC);
    let small = |part: i8| u8::try_from(part).unwrap_or(0);
    Ok(Time {
        year: u16::try_from(time.year()).unwrap_or(0),
        month: small(time.month()),
        day: small(time.day()),
        hour: small(time.hour()),
        minute: small(time.minute()),
        second: small(time.second()),
    })
}
