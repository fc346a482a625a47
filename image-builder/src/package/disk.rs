//! The disk image: partitions by the Discoverable Partitions Specification, slot A filled, slot B laid out.

use super::sparse;
use crate::recipe::Outputs;
use crate::seal::{RootImage, ids};
use anyhow::{Context, Result, bail};
use machine_config::units::parse_size;
use on_disk::gpt::{self, ALIGNMENT, Partition, SectorSize, Table, attribute, kind};
use on_disk::verity;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use uuid::Uuid;

/// Where everything lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    table: Table,
    size: u64,
}

impl Layout {
    /// The layout for a root, with the recipe's sizes.
    ///
    /// # Errors
    /// When a size is no size, or the root does not fit into its slot.
    pub fn new(output: &Outputs, root: &RootImage) -> Result<Layout> {
        let size = |key: &str, text: &str, least: u64| -> Result<u64> {
            let size = parse_size(text).map_err(|why| anyhow::anyhow!("output.{key}: {why}"))?;
            if size < least || !size.is_multiple_of(ALIGNMENT) {
                bail!("output.{key} is {text:?}; it must be a whole number of MiB and at least {} MiB", least >> 20);
            }
            Ok(size)
        };
        // FAT32 wants 65,525 clusters (Microsoft, FAT specification, 3.5); with 4 KiB clusters that is 256 MiB.
        let esp = size("esp", &output.esp, 260 << 20)?;
        let slot = size("slot", &output.slot, 64 << 20)?;
        if root.image_size > slot {
            bail!(
                "the root image has {} MiB and output.slot is {:?}; a larger slot can't be given to nodes that are \
                 installed already",
                root.image_size.div_ceil(1 << 20),
                output.slot
            );
        }
        let hashes = verity::hash_area_size(slot / verity::BLOCK as u64).next_multiple_of(ALIGNMENT);
        let hash = &root.root_hash;
        let own = |what: &str| ids::derived(what, hash);
        let mut partitions: Vec<Partition> = Vec::new();
        let mut add = |name: &str, kind, guid: Uuid, size, attributes| {
            let start = partitions.last().map_or(ALIGNMENT, Partition::end);
            let number = partitions.len() as u32 + 1;
            partitions.push(Partition { number, kind, guid, start, size, attributes, name: name.into() });
        };
        let sealed = attribute::READ_ONLY | attribute::NO_AUTO;
        add("bedplate-esp", kind::ESP, own("esp partition"), esp, attribute::NO_AUTO);
        add("bedplate-root-a", kind::ROOT_X86_64, ids::root_partition(hash), slot, sealed);
        add("bedplate-verity-a", kind::ROOT_X86_64_VERITY, ids::verity_partition(hash), hashes, sealed);
        add("bedplate-root-b", kind::ROOT_X86_64, own("empty root b"), slot, sealed);
        add("bedplate-verity-b", kind::ROOT_X86_64_VERITY, own("empty verity b"), hashes, sealed);
        let end = partitions.last().map_or(ALIGNMENT, Partition::end);
        // The backup table takes 33 sectors; a whole MiB keeps the file's size round.
        let size = end + ALIGNMENT;
        let guid = own("disk");
        Ok(Layout { table: Table { guid, sector: SectorSize::B512, partitions }, size })
    }

    /// Size of the image in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The partition table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The ESP.
    pub fn esp(&self) -> &Partition {
        &self.table.partitions[0]
    }
}

/// Writes the image, all but the content of the ESP.
pub(super) fn write(path: &Path, layout: &Layout, root: &RootImage) -> Result<()> {
    let failed = || format!("can't write {}", path.display());
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).with_context(failed)?;
    file.set_len(layout.size).with_context(failed)?;
    for write in gpt::layout(&layout.table, layout.size).context("the partition table can't be laid out")? {
        file.write_all_at(&write.bytes, write.offset).with_context(failed)?;
    }
    let [_, image, hashes, ..] = &layout.table.partitions[..] else { bail!("the layout has no slot") };
    sparse::copy_all(&root.image, &file, image.start).with_context(failed)?;
    sparse::copy(&root.hash_tree, &file, hashes.start).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;

    fn root(image_size: u64) -> RootImage {
        let digest = Sha256::of("image");
        let (image, hash_tree) = ("i".into(), "h".into());
        RootImage { image, image_size, image_digest: digest, hash_tree, hash_tree_size: 0, root_hash: Sha256::of("r") }
    }

    #[test]
    fn partitions_follow_the_root_hash_and_stay_where_they_are() {
        let layout = Layout::new(&Outputs::default(), &root(300 << 20)).unwrap();
        let again = Layout::new(&Outputs::default(), &root(1 << 30)).unwrap();
        assert_eq!(layout, again, "places do not depend on the image's size");
        let [esp, a, hashes, b, _] = &layout.table.partitions[..] else { panic!() };
        assert_eq!(a.guid.simple().to_string() + &hashes.guid.simple().to_string(), Sha256::of("r").to_string());
        assert_eq!((esp.start, esp.size, a.start), (1 << 20, 1 << 30, 1025 << 20));
        assert_eq!((a.size, b.size), (2 << 30, 2 << 30));
        // 2 GiB have 524,288 blocks; their tree has 4096 + 32 + 1 blocks, and one for the superblock.
        assert_eq!(hashes.size, 17 << 20);
        assert!(layout.table.partitions.iter().all(|p| p.start.is_multiple_of(ALIGNMENT)));
        assert!(gpt::layout(&layout.table, layout.size).is_ok());
    }

    #[test]
    fn what_does_not_fit_is_said_with_its_key() {
        let error = |output: &Outputs, size| Layout::new(output, &root(size)).unwrap_err().to_string();
        assert!(error(&Outputs::default(), 3 << 30).contains("3072 MiB and output.slot is \"2 GiB\""));
        assert!(error(&Outputs { esp: "10 MiB".into(), ..Outputs::default() }, 1).contains("output.esp"));
        assert!(error(&Outputs { slot: "2 big".into(), ..Outputs::default() }, 1).contains("output.slot"));
        assert!(error(&Outputs { slot: "2147483649".into(), ..Outputs::default() }, 1).contains("output.slot"));
    }
}
