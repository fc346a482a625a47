//! Discs (ISO 9660, ECMA-119; El Torito 1.0; UEFI 2.10, 13.3.2.1): the descriptors of a disc that UEFI firmware boots,
//! around content that lies elsewhere in the image.
//!
//! Guarantees: equal inputs give equal bytes; reading never panics, and gives places inside the image.

use crate::efi_vars::Time;
use std::ops::Range;

/// Bytes of a block.
pub const BLOCK: u64 = 2048;
/// The descriptors begin here; what is in front is for partition tables.
pub const SYSTEM_AREA: u64 = 16 * BLOCK;
/// Blocks of [`layout`]: three descriptors, boot catalog, two path tables, and a block for each folder.
const PRIMARY: u32 = 16;
const BOOT: u32 = 17;
const TERMINATOR: u32 = 18;
const CATALOG: u32 = 19;
const PATHS_LITTLE: u32 = 20;
const PATHS_BIG: u32 = 21;
const FOLDERS: u32 = 22;
const EL_TORITO: &[u8] = b"EL TORITO SPECIFICATION";

/// A disc with one boot image.
#[derive(Debug, Clone, Copy)]
pub struct Disc<'a> {
    /// Name of the volume, at most 32 characters of A-Z, 0-9 and `_`.
    pub volume: &'a str,
    /// Time of everything.
    pub time: Time,
    /// Where the boot image lies, a FAT volume; it ends where the disc's volume ends. Whole blocks.
    pub boot: (u64, u64),
    /// Files, sorted by path (`EFI/BOOT/BOOTX64.EFI`, names of 8.3 characters) with the place of their content, which
    /// begins at a whole block. Folders come from their paths.
    pub files: &'a [(&'a str, u64, u64)],
}

/// A disc that can't be laid out, or is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IsoError {
    /// A name that is none.
    #[error("{0:?} is no name on an ISO 9660 volume")]
    Name(String),
    /// A place that a disc can't name.
    #[error("{0} lies where a disc can't name it")]
    Place(String),
    /// Not such a disc; says what is wrong.
    #[error("it is no disc that boots by UEFI: {0}")]
    Malformed(&'static str),
}

/// The bytes from [`SYSTEM_AREA`] on: descriptors, boot catalog, folders.
///
/// # Errors
/// [`IsoError`].
pub fn layout(disc: &Disc) -> Result<Vec<u8>, IsoError> {
    let folders = folders(disc.files);
    let boot_end = disc.boot.0 + disc.boot.1;
    let (boot, end) = (block(disc.boot.0, "the boot image")?, block(boot_end, "the boot image's end")?);
    let mut image = vec![0; (FOLDERS as usize + folders.len() - PRIMARY as usize) * BLOCK as usize];
    let mut put = |at: u32, bytes: &[u8]| {
        let at = (at - PRIMARY) as usize * BLOCK as usize;
        image[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let little = path_table(&folders, u32::to_le_bytes, u16::to_le_bytes)?;
    put(PATHS_LITTLE, &little);
    put(PATHS_BIG, &path_table(&folders, u32::to_be_bytes, u16::to_be_bytes)?);
    put(PRIMARY, &primary(disc, end, little.len() as u32)?);
    put(BOOT, &boot_record());
    put(TERMINATOR, b"\xffCD001\x01");
    put(CATALOG, &catalog(boot));
    for (index, path) in folders.iter().enumerate() {
        put(FOLDERS + index as u32, &folder(disc, &folders, index, path)?);
    }
    Ok(image)
}

/// Every folder, the root (an empty path) first, parents before their children, as path tables want them.
fn folders<'a>(files: &[(&'a str, u64, u64)]) -> Vec<&'a str> {
    let mut folders: Vec<&str> = vec![""];
    for (path, ..) in files {
        for (at, _) in path.match_indices('/') {
            if !folders.contains(&&path[..at]) {
                folders.push(&path[..at]);
            }
        }
    }
    folders.sort_by_key(|path| (path.split('/').count() * usize::from(!path.is_empty()), *path));
    folders
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn block(at: u64, what: &str) -> Result<u32, IsoError> {
    let block = u32::try_from(at / BLOCK).ok().filter(|_| at.is_multiple_of(BLOCK));
    block.ok_or_else(|| IsoError::Place(what.into()))
}

/// A number in both byte orders (ECMA-119, 7.3.3).
fn both(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn both16(value: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d]
}

/// A directory record (ECMA-119, 9.1).
fn record(name: &[u8], block: u32, size: u32, folder: bool, time: &Time) -> Vec<u8> {
    let mut record = vec![0; 33];
    record[2..10].copy_from_slice(&both(block));
    record[10..18].copy_from_slice(&both(size));
    let year = u8::try_from(time.year.saturating_sub(1900)).unwrap_or(u8::MAX);
    record[18..25].copy_from_slice(&[year, time.month, time.day, time.hour, time.minute, time.second, 0]);
    record[25] = if folder { 2 } else { 0 };
    record[28..32].copy_from_slice(&both16(1));
    record[32] = name.len() as u8;
    record.extend_from_slice(name);
    if !record.len().is_multiple_of(2) {
        record.push(0);
    }
    record[0] = record.len() as u8;
    record
}

fn checked(name: &str) -> Result<&str, IsoError> {
    let good = |part: &str| part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let (first, last) = name.split_once('.').unwrap_or((name, ""));
    let fits = (1..=8).contains(&first.len()) && last.len() <= 3 && good(first) && good(last);
    fits.then_some(name).ok_or_else(|| IsoError::Name(name.into()))
}

fn folder(disc: &Disc, folders: &[&str], index: usize, path: &str) -> Result<Vec<u8>, IsoError> {
    let at = |folder: &str| folders.iter().position(|f| *f == folder).map_or(FOLDERS, |i| FOLDERS + i as u32);
    let size = BLOCK as u32;
    let own = FOLDERS + index as u32;
    let parent = if path.is_empty() { own } else { at(split(path).0) };
    let mut bytes = record(&[0], own, size, true, &disc.time);
    bytes.extend(record(&[1], parent, size, true, &disc.time));
    let mut entries: Vec<(String, Vec<u8>)> = Vec::new();
    for child in folders.iter().filter(|f| !f.is_empty() && split(f).0 == path) {
        let name = checked(split(child).1)?;
        entries.push((name.into(), record(name.as_bytes(), at(child), size, true, &disc.time)));
    }
    for (file, place, length) in disc.files.iter().filter(|(file, ..)| split(file).0 == path) {
        let name = checked(split(file).1)?;
        let name = if name.contains('.') { format!("{name};1") } else { format!("{name}.;1") };
        let length = u32::try_from(*length).map_err(|_| IsoError::Place((*file).into()))?;
        let bytes = record(name.as_bytes(), block(*place, file)?, length, false, &disc.time);
        entries.push((name, bytes));
    }
    entries.sort();
    bytes.extend(entries.into_iter().flat_map(|(_, record)| record));
    if bytes.len() as u64 > BLOCK {
        return Err(IsoError::Place(format!("the end of the folder {path:?}")));
    }
    Ok(bytes)
}

fn path_table(folders: &[&str], long: fn(u32) -> [u8; 4], short: fn(u16) -> [u8; 2]) -> Result<Vec<u8>, IsoError> {
    let mut table = Vec::new();
    for (index, path) in folders.iter().enumerate() {
        let name = if path.is_empty() { &b"\0"[..] } else { split(path).1.as_bytes() };
        let parent = folders.iter().position(|f| *f == split(path).0).map_or(1, |i| i as u16 + 1);
        table.extend([name.len() as u8, 0]);
        table.extend(long(FOLDERS + index as u32));
        table.extend(short(parent));
        table.extend_from_slice(name);
        if !name.len().is_multiple_of(2) {
            table.push(0);
        }
    }
    if table.len() as u64 > BLOCK {
        return Err(IsoError::Place("the end of the path table".into()));
    }
    Ok(table)
}

/// The primary volume descriptor (ECMA-119, 8.4).
fn primary(disc: &Disc, blocks: u32, path_table: u32) -> Result<Vec<u8>, IsoError> {
    let good = disc.volume.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if disc.volume.is_empty() || disc.volume.len() > 32 || !good {
        return Err(IsoError::Name(disc.volume.into()));
    }
    let mut bytes = vec![0; BLOCK as usize];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, b"\x01CD001\x01");
    put(8, &[b' '; 64]);
    put(40, disc.volume.as_bytes());
    put(80, &both(blocks));
    put(120, &both16(1));
    put(124, &both16(1));
    put(128, &both16(BLOCK as u16));
    put(132, &both(path_table));
    put(140, &PATHS_LITTLE.to_le_bytes());
    put(148, &PATHS_BIG.to_be_bytes());
    put(156, &record(&[0], FOLDERS, BLOCK as u32, true, &disc.time));
    put(190, &[b' '; 623]);
    let Time { year, month, day, hour, minute, second } = disc.time;
    let time = format!("{:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}00\0", year.min(9999));
    let never = b"0000000000000000\0";
    for (at, time) in [(813, time.as_bytes()), (830, time.as_bytes()), (847, never), (864, never)] {
        put(at, time);
    }
    put(881, &[1]);
    Ok(bytes)
}

fn boot_record() -> Vec<u8> {
    let mut bytes = b"\0CD001\x01".to_vec();
    bytes.extend_from_slice(EL_TORITO);
    bytes.resize(71, 0);
    bytes.extend(CATALOG.to_le_bytes());
    bytes
}

/// The boot catalog: a validation entry and one for the boot image (El Torito, figures 2 and 3).
fn catalog(boot: u32) -> [u8; 64] {
    let mut bytes = [0; 64];
    // Platform EFI in both, as some firmware looks at the first only.
    bytes[..2].copy_from_slice(&[1, 0xef]);
    bytes[4..12].copy_from_slice(b"BEDPLATE");
    bytes[30..32].copy_from_slice(&[0x55, 0xaa]);
    let (words, _) = bytes.as_chunks::<2>();
    let sum = words[..16].iter().fold(0u16, |sum, word| sum.wrapping_add(u16::from_le_bytes(*word)));
    bytes[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    // Bootable, no emulation. The field for the size has 16 bits, for 512-byte sectors: 32 MiB. Sizes of 0 and 1 mean
    // "to the end of the volume" (UEFI 2.10, 13.3.2.1), and 1 is what installation discs of others have there.
    bytes[32] = 0x88;
    bytes[38..40].copy_from_slice(&1u16.to_le_bytes());
    bytes[40..44].copy_from_slice(&boot.to_le_bytes());
    bytes
}

/// What a reader finds on a disc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The boot image for UEFI.
    pub boot: Range<u64>,
    root: (u32, u32),
}

/// Reads a disc of `size` bytes; `read` gives so many bytes at an offset.
///
/// # Errors
/// [`IsoError::Malformed`], or that of `read`.
pub fn read<E: From<IsoError>>(size: u64, mut read: impl FnMut(u64, usize) -> Result<Vec<u8>, E>) -> Result<Found, E> {
    let bad = |why| Err(E::from(IsoError::Malformed(why)));
    let mut at = |block: u32, size: usize| read(u64::from(block) * BLOCK, size);
    let primary = at(PRIMARY, BLOCK as usize)?;
    if primary.get(..7) != Some(b"\x01CD001\x01") {
        return bad("it has no primary volume descriptor");
    }
    let end = u64::from(u32_at(&primary, 80)) * BLOCK;
    let boot = at(BOOT, BLOCK as usize)?;
    if boot.get(..7) != Some(b"\0CD001\x01") || boot.get(7..30) != Some(EL_TORITO) {
        return bad("it has no boot record");
    }
    let catalog = at(u32_at(&boot, 71), 64)?;
    if catalog.get(..2) != Some(&[1, 0xef]) || catalog.get(32..34) != Some(&[0x88, 0]) {
        return bad("its boot catalog has no entry for UEFI");
    }
    let from = u64::from(u32_at(&catalog, 40)) * BLOCK;
    let sectors = u64::from(u32_at(&catalog, 38) & 0xffff);
    let to = if sectors < 2 { end } else { from + sectors * 512 };
    if from >= to || to > size {
        return bad("its boot image is not inside it");
    }
    Ok(Found { boot: from..to, root: (u32_at(&primary, 158), u32_at(&primary, 166)) })
}

impl Found {
    /// Where the content of a file lies.
    ///
    /// # Errors
    /// When there is none of this path inside of an image of `size` bytes, or that of `read`.
    pub fn file<E: From<IsoError>>(
        &self,
        path: &str,
        size: u64,
        mut read: impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
    ) -> Result<Range<u64>, E> {
        let mut at = self.root;
        for part in path.split('/') {
            let folder = read(u64::from(at.0) * BLOCK, BLOCK as usize)?;
            let mut rest = &folder[..];
            let found = loop {
                let length = usize::from(rest.first().copied().unwrap_or(0));
                let Some(record) = rest.get(..length).filter(|record| record.len() > 33) else { break None };
                let name = record.get(33..33 + usize::from(record[32])).unwrap_or_default();
                let name = name.strip_suffix(b";1").unwrap_or(name);
                if name == part.as_bytes() {
                    break Some((u32_at(record, 2), u32_at(record, 10)));
                }
                rest = &rest[length..];
            };
            at = found.ok_or(IsoError::Malformed("a file is missing on it"))?;
        }
        let from = u64::from(at.0) * BLOCK;
        let place = from..from + u64::from(at.1);
        if place.end > size { Err(IsoError::Malformed("a file is not inside it").into()) } else { Ok(place) }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIME: Time = Time { year: 2026, month: 11, day: 28, hour: 12, minute: 34, second: 56 };
    const FILES: [(&str, u64, u64); 2] = [("EFI/BOOT/BOOTX64.EFI", 3 << 20, 300 << 20), ("README.TXT", 2 << 20, 10)];

    fn disc() -> Vec<u8> {
        let disc = Disc { volume: "BEDPLATE_NODE", time: TIME, boot: (1 << 20, 310 << 20), files: &FILES };
        let mut image = vec![0; SYSTEM_AREA as usize];
        image.extend(layout(&disc).unwrap());
        image
    }

    fn reader(image: &[u8]) -> impl FnMut(u64, usize) -> Result<Vec<u8>, IsoError> {
        |at, size| {
            let at = usize::try_from(at).unwrap();
            Ok(image.get(at..at + size).map_or_else(|| vec![0; size], <[u8]>::to_vec))
        }
    }

    #[test]
    fn boot_image_and_files_are_found_where_they_were_laid() {
        let image = disc();
        let size = 312 << 20;
        let found = read(size, reader(&image)).unwrap();
        assert_eq!(found.boot, 1 << 20..311 << 20);
        for (path, at, length) in FILES {
            assert_eq!(found.file(path, size, reader(&image)).unwrap(), at..at + length);
        }
        assert!(found.file("EFI/BOOT", size, reader(&image)).is_ok());
        assert!(found.file("EFI/BOOT/OTHER.EFI", size, reader(&image)).is_err());
        assert!(found.file("EFI/BOOT/BOOTX64.EFI", 200 << 20, reader(&image)).is_err());
    }

    #[test]
    fn a_boot_image_of_more_than_32_mib_reaches_to_the_end() {
        let image = disc();
        let catalog = &image[CATALOG as usize * BLOCK as usize..];
        assert_eq!(u16::from_le_bytes([catalog[38], catalog[39]]), 1);
        let sum = catalog[..32].chunks(2).fold(0u16, |s, w| s.wrapping_add(u16::from_le_bytes([w[0], w[1]])));
        assert_eq!(sum, 0, "the validation entry's words add up to nothing");
    }

    #[test]
    fn what_a_disc_can_not_name_is_refused() {
        let with =
            |boot, files: &[(&str, u64, u64)]| layout(&Disc { volume: "V", time: TIME, boot, files }).unwrap_err();
        assert_eq!(with((1, 2048), &[]), IsoError::Place("the boot image".into()));
        assert_eq!(with((0, 2048), &[("low", 0, 1)]), IsoError::Name("low".into()));
        assert_eq!(with((0, 2048), &[("A", 100, 1)]), IsoError::Place("A".into()));
    }

    proptest! {
        #[test]
        fn any_change_is_survived(edits in proptest::collection::vec((0usize..9 * 2048, any::<u8>()), 1..12)) {
            let mut image = disc();
            for (at, byte) in edits {
                image[SYSTEM_AREA as usize + at] = byte;
            }
            let size = 312 << 20;
            if let Ok(found) = read(size, reader(&image)) {
                prop_assert!(found.boot.end <= size);
                if let Ok(place) = found.file("EFI/BOOT/BOOTX64.EFI", size, reader(&image)) {
                    prop_assert!(place.end <= size);
                }
            }
        }
    }
}
