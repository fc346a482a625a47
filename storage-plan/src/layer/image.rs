//! Members behind the image: the tables of system disks that the state is mirrored on.
//!
//! The partitions of the image are the same on each of them, GUIDs and all, so that a node is started from any. What tells the
//! disks apart is the state partition, whose GUID follows from the serial number.
//!
//! Guarantees: while the image is copied onto a disk, all partitions on it are of type *provisioning*, so neither firmware nor
//! stage 1 takes it for one to start from; the image on the disk that the node was started from is never written to.

use super::gpt::{self, State};
use super::reserve::reserve;
use crate::identity::{Layer, Owner, VolumeKey};
use crate::inventory::{Device, Inventory};
use crate::ownership::{Standing, Wanted, standing};
use machine_config::schema::Array;
use on_disk::gpt::{ALIGNMENT, Copy, Partition, Table, kind};
use uuid::Uuid;

/// The image that the node runs, on the disk that it was started from.
#[derive(Debug, Clone)]
pub struct Image<'a> {
    /// The disk.
    pub disk: &'a Device,
    /// GUID of the partition that holds the verified root.
    pub root: &'a Uuid,
    /// The disk's table without the state partition.
    pub table: Table,
}

impl<'a> Image<'a> {
    /// None where there is no such disk, or where what it holds can't be told.
    pub fn of(inventory: &'a Inventory, owner: &Owner, key: &VolumeKey) -> Option<Image<'a>> {
        let boot = inventory.boot.as_ref()?;
        let disk = inventory.devices.iter().find(|d| d.name == boot.disk)?;
        let table = without(disk.table.usable()?, &guid(owner, key, disk));
        Some(Image { disk, root: &boot.root_partition, table })
    }

    /// Whether the node was started from `device`.
    pub fn is_on(&self, device: &Device) -> bool {
        device.name == self.disk.name
    }

    /// Whether `device`, which carries these tables, has the same image.
    pub fn is_that_of(&self, wanted: &Wanted) -> bool {
        let ours = wanted.done.partitions.iter().filter(|p| p.kind == kind::STATE).map(|p| p.guid).next();
        ours.is_some_and(|ours| without(&wanted.done, &ours) == self.table)
    }
}

/// How large the state partition is to be.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// As the configuration says; without it all that is left beside what is reserved.
    pub asked: Option<u64>,
    /// The smallest that makes sense.
    pub least: u64,
}

/// The tables that make `device` a system disk with a member of `array`, which has at least `size.least` bytes, and whose it is.
///
/// # Errors
/// A sentence when it can't be one.
pub fn member(
    owner: &Owner,
    key: &VolumeKey,
    array: &Array,
    image: &Image<'_>,
    device: &Device,
    size: Size,
) -> Result<(Wanted, Standing), String> {
    if image.is_on(device) {
        return on_boot_disk(owner, key, array, image, device, size);
    }
    let sector = image.table.sector;
    if device.sector() != Some(sector) {
        return Err(format!(
            "Its logical sectors have {} bytes, and those of the disk with the image {}",
            device.logical_sector,
            sector.bytes()
        ));
    }
    let guid = guid(owner, key, device);
    let carried = || [&device.table.primary, &device.table.backup].into_iter().filter_map(Copy::table);
    let base = carried().find_map(|table| beside(table, &guid, &image.table)).unwrap_or_else(|| image.table.clone());
    let (start, room) = base.free_tail(device.size, size.least).ok_or_else(|| too_small(size.least))?;
    let has = carried().find_map(|table| table.by_guid(&guid)).filter(|p| p.start == start).map(|p| p.size);
    let is_sound = |size: &u64| size.is_multiple_of(ALIGNMENT) && (ALIGNMENT..=room).contains(size);
    let size = match has.filter(is_sound) {
        Some(size) => size,
        None => wanted_size(array, device, room, size)?,
    };
    let number = base.partitions.iter().map(|p| p.number).max().unwrap_or(0) + 1;
    let with = |kind: Uuid, of_image: Option<Uuid>| {
        let mut table = base.clone();
        table.partitions.iter_mut().for_each(|p| p.kind = of_image.unwrap_or(p.kind));
        table.partitions.push(Partition { number, kind, guid, start, size, attributes: 0, name: "state".into() });
        table
    };
    let wanted = Wanted {
        provisioning: with(kind::PROVISIONING, Some(kind::PROVISIONING)),
        done: with(kind::STATE, None),
        // The node was started from it, and the state partition was not finished.
        others: vec![with(kind::PROVISIONING, None)],
    };
    let standing = standing(device, &wanted);
    Ok((wanted, standing))
}

fn on_boot_disk(
    owner: &Owner,
    key: &VolumeKey,
    array: &Array,
    image: &Image<'_>,
    device: &Device,
    size: Size,
) -> Result<(Wanted, Standing), String> {
    let room = image.table.free_tail(device.size, size.least).map(|(_, room)| room);
    // A disk that has the partition already has no room behind the image, and needs none.
    let asked = room.and_then(|room| wanted_size(array, device, room, size).ok());
    match gpt::state(owner, key, device, image.root, asked, size.least) {
        State::Absent(wanted) => {
            room.map(|room| wanted_size(array, device, room, size)).transpose()?;
            Ok((wanted, Standing::Blank))
        }
        State::Ours { wanted, phase, whole } => Ok((wanted, Standing::Ours { phase, whole })),
        State::Refused(holds) | State::UnknownData(holds) => Err(format!("It holds {holds}")),
    }
}

/// Bytes of a new state partition, where there is `room`.
///
/// # Errors
/// A sentence when there is too little.
fn wanted_size(array: &Array, device: &Device, room: u64, size: Size) -> Result<u64, String> {
    let up = |bytes: u64| bytes.div_ceil(ALIGNMENT).saturating_mul(ALIGNMENT);
    let left = room.saturating_sub(reserve(array, device.size)) / ALIGNMENT * ALIGNMENT;
    let wanted = size.asked.map_or(left, up).max(up(size.least));
    if wanted > room {
        let words = crate::inventory::size_words;
        return Err(format!("It has room for {} of state, and {} are wanted", words(room), words(wanted)));
    }
    Ok(wanted)
}

/// What is beside our partition in `table`: an image. One that is being copied is known by `image`.
fn beside(table: &Table, guid: &Uuid, image: &Table) -> Option<Table> {
    table.by_guid(guid)?;
    let beside = without(table, guid);
    let mut begun = image.clone();
    begun.partitions.iter_mut().for_each(|p| p.kind = kind::PROVISIONING);
    if beside == begun {
        return Some(image.clone());
    }
    beside.partitions.iter().all(|p| ![kind::PROVISIONING, kind::STATE].contains(&p.kind)).then_some(beside)
}

fn without(table: &Table, guid: &Uuid) -> Table {
    let mut table = table.clone();
    table.partitions.retain(|p| p.guid != *guid);
    table
}

fn guid(owner: &Owner, key: &VolumeKey, device: &Device) -> Uuid {
    owner.uuid(key, Layer::Partition, device.identity().unwrap_or_default())
}

fn too_small(least: u64) -> String {
    let least = crate::inventory::size_words(least);
    format!("It has no room for the image and a state partition of {least} behind it")
}
