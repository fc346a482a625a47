//! dm-verity over the root: superblock and root hash become a kernel table. Pure.
//!
//! Nothing of the superblock has to be believed: salt and size change what the kernel computes, and the tree's
//! top must then come out as the root hash that is on the signed command line.

use super::command_line::Signed;
use super::dm::Table;
use on_disk::verity::{BLOCK, Superblock};

/// Table of the target, version 1 (kernel documentation, `device-mapper/verity`), with data and tree on these
/// devices (`/dev/vda2`). A block that does not verify is an I/O error for whoever reads it.
#[must_use]
pub fn table(signed: &Signed, superblock: &Superblock, data: &str, tree: &str) -> Table {
    let salt: String = superblock.salt.iter().map(|b| format!("{b:02x}")).collect();
    let salt = if salt.is_empty() { "-".to_owned() } else { salt };
    // The tree begins in the block behind the superblock's.
    let parameters = format!(
        "1 {data} {tree} {BLOCK} {BLOCK} {blocks} 1 sha256 {hash} {salt}",
        blocks = superblock.data_blocks,
        hash = signed.root_hash_text(),
    );
    Table { sectors: superblock.data_blocks.saturating_mul(BLOCK as u64 / 512), kind: "verity", parameters }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_both_devices_hash_and_salt() {
        let superblock = Superblock { uuid: uuid::Uuid::nil(), data_blocks: 3, salt: vec![0xab, 0x01] };
        let table = table(&Signed { root_hash: [0x11; 32] }, &superblock, "/dev/vda2", "/dev/vda3");
        let hash = "11".repeat(32);
        assert_eq!(table.parameters, format!("1 /dev/vda2 /dev/vda3 4096 4096 3 1 sha256 {hash} ab01"));
        assert_eq!(table.sectors, 24);
    }
}
