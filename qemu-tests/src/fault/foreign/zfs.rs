//! One label of a ZFS pool's member, byte for byte as ZFS writes it: the pool's configuration as an XDR name-value
//! list, a ring of uberblocks, and the checksums of both. (ZFS On-Disk Specification, chapter 1; the list's encoding
//! as in OpenZFS `module/nvpair/nvpair.c`.)
//!
//! Readers differ in what they look for: libblkid before 2.41 counts uberblocks, later ones read the list, and ZFS
//! itself wants both with their checksums.

use super::put;
use sha2::{Digest, Sha256};

/// Bytes of a label.
pub const LABEL_SIZE: u64 = 256 << 10;
/// Name of the pool.
pub const POOL: &str = "tank";
const POOL_GUID: u64 = 0x3f2a_6c1e_7b1d_4c55;
const VDEV_GUID: u64 = 0x1d0a_0f6f_2d9b_8e11;
/// The transaction group written last.
const TXG: u64 = 227;
const VERSION: u64 = 5000;
const TIME: u64 = 1_500_000_000;

const LIST: usize = 16 << 10;
const RING: usize = 128 << 10;
const UBERBLOCK: usize = 1 << 10;
/// Size and magic of the checksum at the end of each block of a label (`zio_eck_t`).
const CHECKSUM: usize = 40;
const CHECKSUM_MAGIC: u64 = 0x0210_da7a_b10c_7a11;

/// Places of the four labels on a disk of `size` bytes.
pub fn places(size: u64) -> [u64; 4] {
    let whole = size / LABEL_SIZE * LABEL_SIZE;
    [0, LABEL_SIZE, whole - 2 * LABEL_SIZE, whole - LABEL_SIZE]
}

/// The label that lies at `place` of a disk of `size` bytes.
pub fn label(place: u64, size: u64) -> Vec<u8> {
    let mut label = vec![0; LABEL_SIZE as usize];
    put(&mut label, LIST, &configuration(size));
    seal(&mut label[LIST..RING], place + LIST as u64);
    for (index, slot) in label[RING..].chunks_exact_mut(UBERBLOCK).enumerate() {
        let slots = (LABEL_SIZE as usize - RING) / UBERBLOCK;
        // Each transaction group has the slot of its remainder; the ring holds the last ones.
        let newest = TXG as usize % slots;
        let txg = TXG - ((newest + slots - index) % slots) as u64;
        for (at, value) in [0x00ba_b10c, VERSION, txg, POOL_GUID.wrapping_add(VDEV_GUID), TIME].into_iter().enumerate()
        {
            put(slot, at * 8, &u64::to_le_bytes(value));
        }
        seal(slot, place + (RING + index * UBERBLOCK) as u64);
    }
    label
}

/// Puts the checksum at the end of a block: SHA-256 of the block with its own place in the checksum's stead.
fn seal(block: &mut [u8], place: u64) {
    let at = block.len() - CHECKSUM;
    put(block, at, &CHECKSUM_MAGIC.to_le_bytes());
    put(block, at + 8, &place.to_le_bytes());
    let digest = Sha256::digest(&*block);
    // Four words, which the format counts as big-endian numbers and a little-endian machine writes as its own.
    for (index, word) in digest.chunks_exact(8).enumerate() {
        let turned: Vec<u8> = word.iter().rev().copied().collect();
        put(block, at + 8 + index * 8, &turned);
    }
}

/// The configuration of a pool of one disk.
fn configuration(size: u64) -> Vec<u8> {
    let mut tree = List::default();
    tree.text("type", "disk").number("id", 0).number("guid", VDEV_GUID).text("path", "/dev/disk/by-id/elsewhere");
    tree.number("whole_disk", 0).number("metaslab_array", 256).number("metaslab_shift", 24).number("ashift", 9);
    tree.number("asize", size - 4 * LABEL_SIZE - (7 << 19)).number("is_log", 0).number("create_txg", 4);
    let mut list = List::default();
    list.number("version", VERSION).text("name", POOL).number("state", 0).number("txg", TXG);
    list.number("pool_guid", POOL_GUID).number("errata", 0).text("hostname", "elsewhere");
    list.number("top_guid", VDEV_GUID).number("guid", VDEV_GUID).number("vdev_children", 1);
    list.list("vdev_tree", tree).list("features_for_read", List::default());
    // XDR, written on a little-endian machine.
    [&[1, 1, 0, 0][..], &list.bytes()].concat()
}

/// A name-value list in the making.
#[derive(Default)]
struct List(Vec<u8>);

impl List {
    /// Version 0, names are unique, the pairs, and the pair of size 0 that ends them.
    fn bytes(&self) -> Vec<u8> {
        [&0u32.to_be_bytes()[..], &1u32.to_be_bytes(), &self.0, &[0; 8]].concat()
    }

    fn number(&mut self, name: &str, value: u64) -> &mut List {
        self.pair(name, 8, 8, &value.to_be_bytes())
    }

    fn text(&mut self, name: &str, value: &str) -> &mut List {
        self.pair(name, 9, value.len() + 1, &string(value))
    }

    fn list(&mut self, name: &str, value: List) -> &mut List {
        self.pair(name, 19, 24, &value.bytes())
    }

    /// `decoded` is the size of the value in the memory of a 64-bit machine.
    fn pair(&mut self, name: &str, kind: u32, decoded: usize, value: &[u8]) -> &mut List {
        let name_field = string(name);
        let encoded = 8 + name_field.len() + 8 + value.len();
        let decoded = (16 + name.len() + 1).next_multiple_of(8) + decoded.next_multiple_of(8);
        for number in [encoded as u32, decoded as u32] {
            self.0.extend(number.to_be_bytes());
        }
        self.0.extend(name_field);
        for number in [kind, 1] {
            self.0.extend(number.to_be_bytes());
        }
        self.0.extend(value);
        self
    }
}

/// A string in XDR: its length, its bytes, zeros up to a multiple of four.
fn string(text: &str) -> Vec<u8> {
    let mut bytes = [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_encoded_as_xdr_wants_it() {
        let mut list = List::default();
        list.number("txg", 7);
        let expected = "00000000 00000001 00000020 00000020 00000003 74786700 00000008 00000001 0000000000000007 \
                        0000000000000000";
        let hex: String = list.bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, expected.replace(' ', ""));
    }

    #[test]
    fn the_newest_uberblock_is_in_its_slot() {
        let label = label(0, 64 << 20);
        let txg = |slot: usize| {
            let at = RING + slot * UBERBLOCK + 16;
            u64::from_le_bytes(label[at..at + 8].try_into().unwrap())
        };
        assert_eq!((txg(99), txg(98), txg(100)), (227, 226, 100));
    }
}
