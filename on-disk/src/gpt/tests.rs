use super::*;
use proptest::prelude::*;
use std::convert::Infallible;

/// A disk in memory, with the writes applied.
fn apply(disk: &mut [u8], writes: &[Write]) {
    for write in writes {
        let at = write.offset as usize;
        disk[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
    }
}

fn read_disk(disk: &[u8], sector: SectorSize) -> Found {
    let get = |at: u64, n: usize| Ok::<_, Infallible>(disk[at as usize..at as usize + n].to_vec());
    let Ok(found) = read(disk.len() as u64, sector, get);
    found
}

const MIB: u64 = 1 << 20;

fn partition(number: u32, start: u64, size: u64) -> Partition {
    let guid = Uuid::from_u128(0x1000 + u128::from(number));
    Partition { number, kind: kind::DATA, guid, start, size, attributes: 0, name: format!("part-{number}") }
}

fn table(sector: SectorSize) -> Table {
    Table {
        guid: Uuid::from_u128(7),
        sector,
        partitions: vec![
            Partition { attributes: attribute::READ_ONLY, name: "ä".repeat(36), ..partition(1, MIB, MIB) },
            partition(2, 2 * MIB, 3 * MIB),
        ],
    }
}

fn disk_with(sector: SectorSize) -> Vec<u8> {
    let mut disk = vec![0; 8 << 20];
    apply(&mut disk, &layout(&table(sector), 8 * MIB).unwrap());
    disk
}

#[test]
fn what_is_laid_out_is_read_back_from_both_copies() {
    for sector in [SectorSize::B512, SectorSize::B4096] {
        let found = read_disk(&disk_with(sector), sector);
        assert_eq!(found.agreed(), Some(&table(sector)));
        assert_eq!((found.mbr, found.backup_at_end), (ProtectiveMbr::Protective, true));
    }
}

#[test]
fn the_order_is_backup_then_primary_then_mbr_with_flushes_between() {
    let writes = layout(&table(SectorSize::B512), 8 * MIB).unwrap();
    let order: Vec<(u64, usize, bool)> = writes.iter().map(|w| (w.offset, w.bytes.len(), w.flush_after)).collect();
    let end = 8 * MIB;
    assert_eq!(
        order,
        [
            (end - 33 * 512, 16384, false),
            (end - 512, 512, true),
            (1024, 16384, false),
            (512, 512, true),
            (0, 512, true)
        ]
    );
}

/// A cut after any number of whole sectors leaves nothing, or a sound copy of the old or new table.
#[test]
fn a_power_cut_anywhere_leaves_a_sound_copy() {
    let sector = SectorSize::B512;
    let old = table(sector);
    let mut new = old.clone();
    new.partitions.push(partition(3, 6 * MIB, MIB));
    let sectors: Vec<(u64, Vec<u8>)> = layout(&new, 8 * MIB)
        .unwrap()
        .iter()
        .flat_map(|w| w.bytes.chunks(512).zip(0..).map(|(c, i)| (w.offset + i * 512, c.to_vec())).collect::<Vec<_>>())
        .collect();
    for before in [None, Some(&old)] {
        let mut disk = if before.is_some() { disk_with(sector) } else { vec![0; 8 << 20] };
        for (offset, bytes) in &sectors {
            disk[*offset as usize..*offset as usize + 512].copy_from_slice(bytes);
            let found = read_disk(&disk, sector);
            match found.usable() {
                Some(table) => assert!(*table == new || Some(table) == before, "{found}"),
                None => assert!(before.is_none() && !matches!(found.primary, Copy::Broken(_)), "{found}"),
            }
        }
        assert_eq!(read_disk(&disk, sector).agreed(), Some(&new));
    }
}

#[test]
fn each_flipped_bit_of_a_header_or_used_entry_breaks_that_copy_and_leaves_the_other() {
    let sector = SectorSize::B512;
    let good = disk_with(sector);
    for at in (512..512 + 92).chain(1024..1024 + 256).chain((8 << 20) - 512..(8 << 20) - 512 + 92) {
        let mut disk = good.clone();
        disk[at] ^= 0x10;
        let found = read_disk(&disk, sector);
        assert!(found.agreed().is_none(), "byte {at}");
        assert_eq!(found.usable(), Some(&table(sector)), "byte {at}");
    }
}

#[test]
fn an_image_on_a_larger_disk_finds_its_backup_where_the_primary_says() {
    let mut disk = disk_with(SectorSize::B512);
    disk.resize(16 << 20, 0);
    let found = read_disk(&disk, SectorSize::B512);
    assert_eq!(found.agreed(), Some(&table(SectorSize::B512)));
    assert!(!found.backup_at_end);
    assert_eq!(table(SectorSize::B512).free_tail(16 * MIB, MIB), Some((5 * MIB, 10 * MIB)));
    assert_eq!(table(SectorSize::B512).free_tail(7 * MIB, 2 * MIB), None);
}

#[test]
fn tables_against_the_rules_are_refused() {
    let base = table(SectorSize::B512);
    let refused = |change: &dyn Fn(&mut Table)| {
        let mut table = base.clone();
        change(&mut table);
        layout(&table, 8 * MIB).unwrap_err()
    };
    assert_eq!(refused(&|t| t.partitions[1].number = 3), LayoutError::Number { found: 3, wanted: 2 });
    assert_eq!(refused(&|t| t.partitions[1].start += 1), LayoutError::Sectors(2));
    assert_eq!(refused(&|t| t.partitions[1].start -= 512), LayoutError::Overlap(1, 2));
    assert_eq!(refused(&|t| t.partitions[1].guid = t.partitions[0].guid), LayoutError::Guid(2));
    assert!(matches!(refused(&|t| t.partitions[1].size = 6 * MIB), LayoutError::Outside { number: 2, .. }));
    assert!(matches!(refused(&|t| t.partitions[0].start = 512), LayoutError::Outside { number: 1, .. }));
    assert!(matches!(refused(&|t| t.partitions[0].name.push('x')), LayoutError::Name(_)));
    assert!(matches!(layout(&base, 16 << 10).unwrap_err(), LayoutError::Disk { .. }));
}

proptest! {
    #[test]
    fn any_lawful_table_goes_through(
        sizes in proptest::collection::vec((1u64..64, 0u64..8, "[a-zA-Zäöü ]{0,36}", any::<u64>()), 0..128),
        big in any::<bool>(),
        guid in any::<u128>(),
    ) {
        let sector = if big { SectorSize::B4096 } else { SectorSize::B512 };
        let mut at = MIB;
        let mut partitions = Vec::new();
        for ((size, gap, name, attributes), number) in sizes.into_iter().zip(1..) {
            at += gap * 4096;
            partitions.push(Partition { name, attributes, ..partition(number, at, size * 4096) });
            at += size * 4096;
        }
        let table = Table { guid: Uuid::from_u128(guid), sector, partitions };
        let mut disk = vec![0; at as usize + (64 << 10)];
        apply(&mut disk, &layout(&table, at + (64 << 10)).unwrap());
        let found = read_disk(&disk, sector);
        prop_assert_eq!(found.agreed(), Some(&table));
    }

    #[test]
    fn hostile_headers_neither_panic_nor_lie(edits in proptest::collection::vec((0usize..1280, any::<u8>()), 1..8)) {
        let mut disk = disk_with(SectorSize::B512);
        for (at, byte) in edits {
            disk[512 + at] = byte;
        }
        // A hostile disk has right checksums.
        let entries = crc32fast::hash(&disk[1024..1024 + 16384]);
        disk[512 + 88..512 + 92].copy_from_slice(&entries.to_le_bytes());
        let size = u32::from_le_bytes(disk[524..528].try_into().unwrap()).min(512) as usize;
        disk[528..532].fill(0);
        let crc = crc32fast::hash(&disk[512..512 + size]);
        disk[528..532].copy_from_slice(&crc.to_le_bytes());
        let found = read_disk(&disk, SectorSize::B512);
        if let Some(table) = found.primary.table() {
            prop_assert!(table.partitions.iter().all(|p| p.end() <= disk.len() as u64));
        }
    }
}
