//! Identifiers that follow from digests, so that equal images carry equal ones.

use crate::digest::Sha256;
use uuid::{Uuid, uuid};

/// Namespace of everything derived here (UUIDv5, RFC 9562, 5.5).
const NAMESPACE: Uuid = uuid!("9d6f2f0e-3f5b-4c1b-8b7a-6a0f5d1f9c2e");

/// The identifier of the thing called `what` in an image or stage of this digest.
pub fn derived(what: &str, digest: &Sha256) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{what} {digest}").as_bytes())
}

/// GUID of the partition that holds the root of this root hash: its first 128 bits (Discoverable Partitions
/// Specification, "Verity").
pub fn root_partition(root_hash: &Sha256) -> Uuid {
    half(root_hash, 0)
}

/// GUID of the partition that holds its hash tree: the last 128 bits.
pub fn verity_partition(root_hash: &Sha256) -> Uuid {
    half(root_hash, 16)
}

fn half(root_hash: &Sha256, from: usize) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&root_hash.bytes()[from..from + 16]);
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_guids_are_the_halves_of_the_root_hash_as_printed() {
        let hash = Sha256::of("x");
        let text = root_partition(&hash).simple().to_string() + &verity_partition(&hash).simple().to_string();
        assert_eq!(text, hash.to_string());
    }

    #[test]
    fn derived_ids_depend_on_name_and_digest() {
        let (a, b) = (Sha256::of("a"), Sha256::of("b"));
        assert_eq!(derived("disk", &a), derived("disk", &a));
        assert_ne!(derived("disk", &a), derived("disk", &b));
        assert_ne!(derived("disk", &a), derived("esp", &a));
    }
}
