//! Partition tables of others, whole and damaged.

use super::{UUID, ext4, put};
use on_disk::gpt::{Partition, SectorSize, Table, layout};
use uuid::Uuid;

const MIB: u64 = 1 << 20;

/// A GPT as other tools write it, and ext4 in the first of its two partitions.
pub fn gpt(size: u64) -> Vec<(u64, Vec<u8>)> {
    const LINUX: Uuid = uuid::uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
    let (start, middle, end) = (MIB, size / 2, size - MIB);
    let part = |number: u32, start: u64, end: u64| Partition {
        number,
        kind: LINUX,
        guid: Uuid::from_u128(UUID.as_u128() ^ u128::from(number)),
        start,
        size: end - start,
        attributes: 0,
        name: "backup".into(),
    };
    let partitions = vec![part(1, start, middle), part(2, middle, end)];
    let table = Table { guid: UUID, sector: SectorSize::B512, partitions };
    let table = layout(&table, size).unwrap_or_default().into_iter().map(|write| (write.offset, write.bytes));
    table.chain([(start + 1024, ext4(middle - start))]).collect()
}

/// As [`gpt`], of which the copy at the disk's end alone is left.
pub fn backup_of_gpt(size: u64) -> Vec<(u64, Vec<u8>)> {
    gpt(size).into_iter().filter(|(offset, _)| *offset >= MIB).collect()
}

/// As [`gpt`], with a checksum in both headers that does not hold.
pub fn broken_gpt(size: u64) -> Vec<(u64, Vec<u8>)> {
    let mut writes = gpt(size);
    writes.iter_mut().filter(|(_, bytes)| bytes.starts_with(b"EFI PART")).for_each(|(_, header)| header[16] ^= 1);
    writes
}

/// As [`gpt`], with a first sector that also lists the first partition, for programs that know no GPT.
pub fn hybrid(size: u64) -> Vec<(u64, Vec<u8>)> {
    let listed = mbr(&[(0xee, 1, (MIB / 512 - 1) as u32), (0x83, (MIB / 512) as u32, ((size / 2 - MIB) / 512) as u32)]);
    gpt(size).into_iter().filter(|(offset, _)| *offset > 0).chain([(0, listed)]).collect()
}

/// A master boot record with one partition, and ext4 in it.
pub fn dos(size: u64) -> Vec<(u64, Vec<u8>)> {
    let record = (0x83, (MIB / 512) as u32, (size / 512) as u32 - 4096);
    vec![(0, mbr(&[record])), (MIB + 1024, ext4(size - 2 * MIB))]
}

/// A first sector with a boot signature at its end, and nonsense before it.
pub fn broken_mbr() -> Vec<u8> {
    let mut sector = vec![0xd5; 512];
    put(&mut sector, 510, &[0x55, 0xaa]);
    sector
}

/// Records by type, first sector and number of sectors: UEFI 2.10, section 5.2.1.
fn mbr(records: &[(u8, u32, u32)]) -> Vec<u8> {
    let mut sector = vec![0; 512];
    put(&mut sector, 440, &0x3f2a_6c1eu32.to_le_bytes());
    for (number, (kind, first, count)) in records.iter().enumerate() {
        let at = 446 + 16 * number;
        sector[at + 4] = *kind;
        put(&mut sector, at + 8, &first.to_le_bytes());
        put(&mut sector, at + 12, &count.to_le_bytes());
    }
    put(&mut sector, 510, &[0x55, 0xaa]);
    sector
}
