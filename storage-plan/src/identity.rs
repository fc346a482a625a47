//! The UUIDs by which the node knows its own.
//!
//! Every UUID that Bedplate writes on a disk is derived (RFC 9562, section 5.5) from the cluster's minted id, the
//! machine, the volume, its generation, the layer and, where a layer is made of members, the member's serial
//! number. So a reinstalled node finds its data again, and a disk of another node or cluster never looks like ours.

use uuid::Uuid;

/// Layers that carry a UUID of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// A disk's GPT.
    Disk,
    /// A partition.
    Partition,
    /// An md array.
    Array,
    /// A physical volume of LVM.
    PhysicalVolume,
    /// A logical volume of LVM.
    LogicalVolume,
    /// A LUKS header.
    Luks,
    /// A file system.
    Filesystem,
}

impl Layer {
    fn name(self) -> &'static str {
        match self {
            Layer::Disk => "disk",
            Layer::Partition => "partition",
            Layer::Array => "array",
            Layer::PhysicalVolume => "physical-volume",
            Layer::LogicalVolume => "logical-volume",
            Layer::Luks => "luks",
            Layer::Filesystem => "filesystem",
        }
    }
}

/// Whose volume it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The cluster's minted id.
    pub cluster: Uuid,
    /// The machine's name.
    pub machine: String,
}

/// A volume in the configuration: `system.state`, `each.object`, `each.object.meta` for a partition, `array.meta`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumeKey {
    /// Section and name.
    pub name: String,
    /// Counts up to make it anew on purpose.
    pub generation: u32,
}

impl Owner {
    /// The UUID of one layer of a volume; `member` is the member's serial number where the layer has members.
    pub fn uuid(&self, volume: &VolumeKey, layer: Layer, member: &str) -> Uuid {
        // Parts are set off by their lengths, so that no two different lists of parts give the same text.
        let generation = volume.generation.to_string();
        let parts = ["bedplate 1", &self.machine, &volume.name, &generation, layer.name(), member];
        let text: String = parts.iter().map(|p| format!("{}:{p},", p.len())).collect();
        Uuid::new_v5(&self.cluster, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn owner(cluster: u128, machine: &str) -> Owner {
        Owner { cluster: Uuid::from_u128(cluster), machine: machine.into() }
    }

    fn volume(name: &str, generation: u32) -> VolumeKey {
        VolumeKey { name: name.into(), generation }
    }

    #[test]
    fn every_part_of_the_identity_counts() {
        let uuids = [
            owner(1, "n1").uuid(&volume("each.a", 0), Layer::Disk, "S1"),
            owner(2, "n1").uuid(&volume("each.a", 0), Layer::Disk, "S1"),
            owner(1, "n2").uuid(&volume("each.a", 0), Layer::Disk, "S1"),
            owner(1, "n1").uuid(&volume("each.b", 0), Layer::Disk, "S1"),
            owner(1, "n1").uuid(&volume("each.a", 1), Layer::Disk, "S1"),
            owner(1, "n1").uuid(&volume("each.a", 0), Layer::Partition, "S1"),
            owner(1, "n1").uuid(&volume("each.a", 0), Layer::Disk, "S2"),
        ];
        assert_eq!(uuids.iter().collect::<BTreeSet<_>>().len(), uuids.len());
    }

    #[test]
    fn what_is_on_disks_already_never_gets_another_identity() {
        let uuid = owner(7, "n1").uuid(&volume("array.meta", 3), Layer::Array, "");
        assert_eq!(uuid.to_string(), "2969559b-8487-56fb-ad0d-2bd36150a901");
    }
}
