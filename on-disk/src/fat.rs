//! FAT32 volumes (Microsoft, "FAT: General Overview of On-Disk Format", 1.03) with a few files that are laid down whole,
//! each in one run of clusters. For discs and sticks that are made once and read by firmware.
//!
//! Guarantees: equal inputs give equal bytes; content begins at multiples of 4096 bytes of the volume, so that it can
//! be put there without a copy; nothing of it is in memory.

use crate::efi_vars::Time;
use std::collections::BTreeMap;

const SECTOR: u64 = 512;
/// Bytes of a cluster, and what content is aligned to.
pub const CLUSTER: u64 = 4096;
/// A volume with fewer clusters is FAT16, whatever it says.
const LEAST_CLUSTERS: u64 = 65_525;
/// The most that entries of 28 bits can name.
const MOST_CLUSTERS: u64 = 0x0fff_fff5;
/// The last cluster of a chain.
const END: u32 = 0x0fff_ffff;
const FOLDER: u8 = 0x10;
const ARCHIVE: u8 = 0x20;
const LABEL: u8 = 0x08;

/// What is to be laid down.
#[derive(Debug, Clone, Copy)]
pub struct Volume<'a> {
    /// Label, at most 11 upper-case characters.
    pub label: &'a str,
    /// Serial number.
    pub serial: u32,
    /// Time of every entry.
    pub time: Time,
    /// Sectors in front of the volume on its disk.
    pub hidden_sectors: u32,
    /// Files: path of upper-case 8.3 names (`EFI/BOOT/BOOTX64.EFI`) and size.
    pub files: &'a [(&'a str, u64)],
    /// Bytes that stay free at least.
    pub free: u64,
    /// The volume's size becomes a multiple of this, a power of two of at least [`CLUSTER`].
    pub alignment: u64,
}

/// A volume without its files' content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The first bytes: everything in front of the first file's content.
    pub head: Vec<u8>,
    /// Where the content of each file begins, in their order.
    pub places: Vec<u64>,
    /// Size of the volume.
    pub size: u64,
}

/// A volume that can't be laid down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FatError {
    /// A name that would need more than an 8.3 entry.
    #[error("{0:?} is no upper-case 8.3 name")]
    Name(String),
    /// A folder with more entries than fit.
    #[error("the folder {0:?} has more entries than fit into one cluster")]
    Full(String),
    /// More than FAT32 holds.
    #[error("{0} has more than FAT32 holds")]
    TooLarge(String),
}

/// A folder in the making: its entries, without `.` and `..`.
struct Folder {
    cluster: u32,
    parent: u32,
    entries: Vec<[u8; 32]>,
}

/// Lays a volume out.
///
/// # Errors
/// [`FatError`].
pub fn layout(volume: &Volume) -> Result<Layout, FatError> {
    // Folders first, a cluster each, then files, each in a run.
    let mut folders: BTreeMap<&str, Folder> = BTreeMap::new();
    folders.insert(
        "",
        Folder { cluster: 2, parent: 0, entries: vec![entry(name(volume.label, 11, 0)?, LABEL, 0, 0, &volume.time)] },
    );
    let mut next = 3u32;
    for (path, _) in volume.files {
        for (at, _) in path.match_indices('/') {
            let (folder, (above, own)) = (&path[..at], split(&path[..at]));
            if folders.contains_key(folder) {
                continue;
            }
            let entry = entry(name(own, 8, 3)?, FOLDER, next, 0, &volume.time);
            let above = folders.get_mut(above).ok_or_else(|| FatError::Name((*path).into()))?;
            above.entries.push(entry);
            // The root is 0 in the entry of its children's parent.
            let parent = if above.cluster == 2 { 0 } else { above.cluster };
            folders.insert(folder, Folder { cluster: next, parent, entries: Vec::new() });
            next += 1;
        }
    }
    let first_file = next;
    let mut runs = Vec::new();
    for (path, size) in volume.files {
        let too_large = || FatError::TooLarge((*path).into());
        let bytes = u32::try_from(*size).map_err(|_| too_large())?;
        let clusters = u32::try_from(size.div_ceil(CLUSTER)).map_err(|_| too_large())?;
        let (above, own) = split(path);
        let begin = if clusters == 0 { 0 } else { next };
        let above = folders.get_mut(above).ok_or_else(|| FatError::Name((*path).into()))?;
        above.entries.push(entry(name(own, 8, 3)?, ARCHIVE, begin, bytes, &volume.time));
        runs.push((next, clusters));
        next = next.checked_add(clusters).ok_or_else(too_large)?;
    }

    let used = u64::from(next) - 2;
    let wanted = (used + volume.free.div_ceil(CLUSTER)).max(LEAST_CLUSTERS);
    // A table's size depends on the number of clusters, which fills the volume up to its alignment: a first guess of
    // the tables, then what is left.
    let least_fat = ((wanted + 2) * 4).div_ceil(SECTOR);
    let size = (data_start(least_fat) * SECTOR + wanted * CLUSTER).next_multiple_of(volume.alignment.max(CLUSTER));
    // Never too small: clusters that the larger table costs are not counted off here.
    let fat = ((size / CLUSTER + 2) * 4).div_ceil(SECTOR);
    let size = (data_start(fat) * SECTOR + wanted * CLUSTER).next_multiple_of(volume.alignment.max(CLUSTER)).max(size);
    let fat = ((size / CLUSTER + 2) * 4).div_ceil(SECTOR).max(fat);
    let start = data_start(fat);
    let clusters = (size - start * SECTOR) / CLUSTER;
    let sectors = u32::try_from(size / SECTOR).map_err(|_| FatError::TooLarge("the volume".into()))?;
    if clusters > MOST_CLUSTERS {
        return Err(FatError::TooLarge("the volume".into()));
    }

    let place = |cluster: u32| start * SECTOR + (u64::from(cluster) - 2) * CLUSTER;
    let mut head = vec![0; place(first_file) as usize];
    let mut put = |at: u64, bytes: &[u8]| head[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    let boot = boot_sector(volume, start - 2 * fat, fat, sectors)?;
    let free = u32::try_from(clusters - used).unwrap_or(u32::MAX);
    for copy in [0, 6 * SECTOR] {
        put(copy, &boot);
        put(copy + SECTOR, &info_sector(free, next));
        // The third boot sector: without code, but with its signature.
        put(copy + 2 * SECTOR + 510, &[0x55, 0xaa]);
    }
    for copy in [start - 2 * fat, start - fat] {
        let link = |cluster: u32, to: u32| (copy * SECTOR + 4 * u64::from(cluster), to.to_le_bytes());
        let mut links = vec![link(0, 0x0fff_fff8), link(1, END)];
        links.extend((2..first_file).map(|folder| link(folder, END)));
        for (begin, count) in &runs {
            links.extend((*begin..begin + count).map(|c| link(c, if c + 1 == begin + count { END } else { c + 1 })));
        }
        links.iter().for_each(|(at, bytes)| put(*at, bytes));
    }
    for (path, folder) in &folders {
        let mut entries = Vec::new();
        if folder.cluster != 2 {
            entries.push(entry(*b".          ", FOLDER, folder.cluster, 0, &volume.time));
            entries.push(entry(*b"..         ", FOLDER, folder.parent, 0, &volume.time));
        }
        entries.extend_from_slice(&folder.entries);
        let bytes = entries.concat();
        if bytes.len() as u64 > CLUSTER {
            return Err(FatError::Full((*path).into()));
        }
        put(place(folder.cluster), &bytes);
    }
    Ok(Layout { head, places: runs.iter().map(|(begin, _)| place(*begin)).collect(), size })
}

/// The sector that data begins at with tables of `fat` sectors: reserved sectors fill up to a whole cluster.
fn data_start(fat: u64) -> u64 {
    (32 + 2 * fat).next_multiple_of(CLUSTER / SECTOR)
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// A name padded as in an entry: `stem` characters, then `end` more behind a point.
fn name(text: &str, stem: usize, end: usize) -> Result<[u8; 11], FatError> {
    let good = |part: &str| part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_".contains(&b));
    let (first, last) = text.split_once('.').unwrap_or((text, ""));
    if first.is_empty() || first.len() > stem || last.len() > end || !good(first) || !good(last) {
        return Err(FatError::Name(text.into()));
    }
    let mut padded = [b' '; 11];
    padded[..first.len()].copy_from_slice(first.as_bytes());
    padded[stem..stem + last.len()].copy_from_slice(last.as_bytes());
    Ok(padded)
}

fn entry(name: [u8; 11], attributes: u8, cluster: u32, size: u32, time: &Time) -> [u8; 32] {
    let year = time.year.clamp(1980, 2107) - 1980;
    let date = (year << 9 | u16::from(time.month) << 5 | u16::from(time.day)).to_le_bytes();
    let clock = (u16::from(time.hour) << 11 | u16::from(time.minute) << 5 | (u16::from(time.second) / 2)).to_le_bytes();
    let cluster = cluster.to_le_bytes();
    let mut entry = [0; 32];
    entry[..11].copy_from_slice(&name);
    entry[11] = attributes;
    entry[14..16].copy_from_slice(&clock);
    entry[16..18].copy_from_slice(&date);
    entry[18..20].copy_from_slice(&date);
    entry[20..22].copy_from_slice(&cluster[2..]);
    entry[22..24].copy_from_slice(&clock);
    entry[24..26].copy_from_slice(&date);
    entry[26..28].copy_from_slice(&cluster[..2]);
    entry[28..].copy_from_slice(&size.to_le_bytes());
    entry
}

fn boot_sector(volume: &Volume, reserved: u64, fat: u64, sectors: u32) -> Result<[u8; 512], FatError> {
    let too_large = |_| FatError::TooLarge("the volume".into());
    let mut sector = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    // A jump over the parameters to a loop: nobody starts this by BIOS.
    put(0, &[0xeb, 0x58, 0x90]);
    put(3, b"BEDPLATE");
    put(11, &(SECTOR as u16).to_le_bytes());
    put(13, &[(CLUSTER / SECTOR) as u8]);
    put(14, &u16::try_from(reserved).map_err(too_large)?.to_le_bytes());
    // Two tables; a fixed disk; a geometry without meaning.
    put(16, &[2]);
    put(21, &[0xf8]);
    put(24, &63u16.to_le_bytes());
    put(26, &255u16.to_le_bytes());
    put(28, &volume.hidden_sectors.to_le_bytes());
    put(32, &sectors.to_le_bytes());
    put(36, &u32::try_from(fat).map_err(too_large)?.to_le_bytes());
    // The root's cluster, the sector of the free count, the backup of this sector.
    put(44, &2u32.to_le_bytes());
    put(48, &1u16.to_le_bytes());
    put(50, &6u16.to_le_bytes());
    put(64, &[0x80, 0, 0x29]);
    put(67, &volume.serial.to_le_bytes());
    put(71, &name(volume.label, 11, 0)?);
    put(82, b"FAT32   ");
    put(90, &[0xeb, 0xfe]);
    put(510, &[0x55, 0xaa]);
    Ok(sector)
}

fn info_sector(free: u32, next: u32) -> [u8; 512] {
    let mut sector = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"RRaA");
    put(484, b"rrAa");
    put(488, &free.to_le_bytes());
    put(492, &next.to_le_bytes());
    put(510, &[0x55, 0xaa]);
    sector
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Time = Time { year: 2026, month: 11, day: 28, hour: 12, minute: 34, second: 56 };

    fn volume<'a>(files: &'a [(&'a str, u64)]) -> Volume<'a> {
        Volume {
            label: "BEDPLATE",
            serial: 1,
            time: TIME,
            hidden_sectors: 2048,
            files,
            free: 1 << 20,
            alignment: 1 << 20,
        }
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }

    #[test]
    fn files_lie_in_whole_runs_that_the_table_links() {
        let files = [("EFI/BOOT/BOOTX64.EFI", 300 << 20), ("README.TXT", 10), ("EFI/EMPTY", 0)];
        let layout = layout(&volume(&files)).unwrap();
        let head = &layout.head;
        let reserved = u64::from(u16::from_le_bytes([head[14], head[15]]));
        let fat = u64::from(u32_at(head, 36));
        let start = (reserved + 2 * fat) * SECTOR;
        let clusters = (layout.size - start) / CLUSTER;
        assert!(fat * SECTOR >= 4 * (clusters + 2), "every cluster has an entry");
        assert_eq!(u64::from(u32_at(head, 32)) * SECTOR, layout.size);
        assert!(layout.size.is_multiple_of(1 << 20) && layout.places.iter().all(|p| p.is_multiple_of(CLUSTER)));
        assert_eq!(head.len() as u64, layout.places[0]);
        // Root, EFI, BOOT, then 76,800 clusters, then one.
        assert_eq!(layout.places[1] - layout.places[0], 300 << 20);
        let link = |cluster: usize| u32_at(head, (reserved * SECTOR) as usize + 4 * cluster);
        assert_eq!([link(2), link(3), link(4), link(5)], [END, END, END, 6]);
        assert_eq!([link(5 + 76_799), link(5 + 76_800), link(5 + 76_801)], [END, END, 0]);
        assert_eq!(clusters - u64::from(u32_at(head, 512 + 488)), 76_804, "clusters in use");
        let boot = &head[(start + 2 * CLUSTER) as usize..];
        assert_eq!(&boot[64..75], b"BOOTX64 EFI");
        assert_eq!((boot[64 + 26], u32_at(boot, 64 + 28)), (5, 300 << 20));
    }

    #[test]
    fn a_small_volume_is_still_fat32() {
        let layout = layout(&volume(&[("A", 1)])).unwrap();
        assert!(layout.size > LEAST_CLUSTERS * CLUSTER);
    }

    #[test]
    fn what_fat32_does_not_hold_is_refused() {
        let error = |files: &[(&str, u64)]| layout(&volume(files)).unwrap_err();
        assert_eq!(error(&[("lower", 1)]), FatError::Name("lower".into()));
        assert_eq!(error(&[("LONGERTHAN8", 1)]), FatError::Name("LONGERTHAN8".into()));
        assert_eq!(error(&[("A//B", 1)]), FatError::Name("".into()));
        assert_eq!(error(&[("A", 4 << 30)]), FatError::TooLarge("A".into()));
        let names: Vec<String> = (0..128).map(|i| format!("F{i}")).collect();
        let many: Vec<(&str, u64)> = names.iter().map(|n| (n.as_str(), 1)).collect();
        assert_eq!(error(&many), FatError::Full("".into()));
    }
}
