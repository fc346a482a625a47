//! What else claims a disk as a whole: volume managers, caches, encryption, swap.

use super::{UUID, crc32, put};

/// The label of an LVM2 physical volume in the second sector: lvm2's `lib/label/label.h`, `struct label_header`, and
/// `lib/format_text/layout.h`, `struct pv_header`. Without areas of metadata, as `pvcreate --metadatacopies 0` makes it.
pub fn lvm2(size: u64) -> Vec<u8> {
    let mut sector = vec![0; 512];
    put(&mut sector, 0, b"LABELONE");
    put(&mut sector, 8, &1u64.to_le_bytes()); // the sector it is in
    put(&mut sector, 20, &32u32.to_le_bytes()); // where what follows begins
    put(&mut sector, 24, b"LVM2 001");
    put(&mut sector, 32, UUID.simple().to_string().as_bytes());
    put(&mut sector, 64, &size.to_le_bytes());
    put(&mut sector, 72, &(1u64 << 20).to_le_bytes()); // where data begins; no more areas follow
    // INITIAL_CRC of lib/misc/crc.h, over all behind the sum.
    let sum = crc32(0xf597_a6cf, &sector[20..]);
    put(&mut sector, 16, &sum.to_le_bytes());
    sector
}

/// The superblock of a backing device of bcache: kernel `include/uapi/linux/bcache.h`, `struct cache_sb_disk`.
pub fn bcache() -> Vec<u8> {
    const MAGIC: [u8; 16] = *b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
    let mut block = vec![0; 208];
    put(&mut block, 8, &8u64.to_le_bytes()); // the sector it is in
    put(&mut block, 16, &1u64.to_le_bytes()); // a backing device
    put(&mut block, 24, &MAGIC);
    put(&mut block, 40, UUID.as_bytes());
    put(&mut block, 56, &[0x5a; 16]); // the set
    put(&mut block, 72, b"backup-2019");
    put(&mut block, 192, &[1, 0, 0, 4, 1, 0, 0, 0]); // sizes of block and bucket, caches in the set, number of this
    // CRC-64 of ECMA-182 over all behind the sum, begun with ones and turned over (kernel lib/crc64.c).
    let sum = !block[8..].iter().fold(u64::MAX, |sum, byte| {
        (0..8).fold(sum ^ u64::from(*byte) << 56, |sum, _| {
            if sum >> 63 == 1 { sum << 1 ^ 0x42f0_e1eb_a9ea_3693 } else { sum << 1 }
        })
    });
    put(&mut block, 0, &sum.to_le_bytes());
    block
}

/// The first page of swap space: kernel `include/linux/swap.h`, `union swap_header`.
pub fn swap(size: u64) -> Vec<u8> {
    let mut page = vec![0; 4096];
    put(&mut page, 1024, &1u32.to_le_bytes()); // version
    put(&mut page, 1028, &((size / 4096 - 1) as u32).to_le_bytes()); // last page
    put(&mut page, 1036, UUID.as_bytes());
    put(&mut page, 1052, b"backup-2019");
    put(&mut page, 4086, b"SWAPSPACE2");
    page
}

/// A header of LUKS1, all key slots free: LUKS On-Disk Format Specification 1.2.3, figures 2 and 3.
pub fn luks1() -> Vec<u8> {
    let mut header = vec![0; 592];
    put(&mut header, 0, b"LUKS\xba\xbe");
    put(&mut header, 6, &1u16.to_be_bytes());
    put(&mut header, 8, b"aes");
    put(&mut header, 40, b"xts-plain64");
    put(&mut header, 72, b"sha256");
    put(&mut header, 104, &4096u32.to_be_bytes()); // the sector where data begins
    put(&mut header, 108, &64u32.to_be_bytes()); // bytes of the key
    put(&mut header, 112, &[0xa5; 20]);
    put(&mut header, 132, &[0x5a; 32]);
    put(&mut header, 164, &100_000u32.to_be_bytes()); // iterations
    put(&mut header, 168, UUID.to_string().as_bytes());
    for (number, slot) in header[208..].chunks_exact_mut(48).enumerate() {
        put(slot, 0, &0x0000_deadu32.to_be_bytes()); // free
        put(slot, 40, &(8 + 512 * number as u32).to_be_bytes());
        put(slot, 44, &4000u32.to_be_bytes()); // stripes
    }
    header
}
