//! Microcode of processors, from the packages in the root: what the kernel loads into the processor before anything else.
//!
//! Gives one uncompressed cpio archive in which the kernel looks for it (Documentation/arch/x86/microcode.rst). Pure, but
//! for reading content; equal trees give equal bytes.

use crate::compose::tree::{Content, Kind, Tree};
use crate::digest::Sha256;
use crate::initrd::cpio;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;

/// Where packages have it. In the root nobody reads it: a running kernel of ours does not take another.
pub const FOLDERS: [&str; 2] = ["/usr/lib/firmware/amd-ucode", "/usr/lib/firmware/intel-ucode"];

/// Intel's manuals want an update at a multiple of this; the kernel hands it over where it lies.
const ALIGNMENT: usize = 16;

/// The archive, as far as the tree has microcode.
///
/// # Errors
/// When there is some that can't be read.
pub fn archive(tree: &Tree, snapshot: i64) -> Result<Option<Vec<u8>>> {
    let [amd, intel] = FOLDERS.map(|folder| files(tree, folder));
    let amd: Vec<_> = amd.into_iter().filter(|(name, _)| name.ends_with(".bin")).collect();
    if amd.is_empty() && intel.is_empty() {
        return Ok(None);
    }
    let mut archive = cpio::Archive::new(snapshot);
    for folder in ["/kernel", "/kernel/x86", "/kernel/x86/microcode"] {
        archive.folder(folder)?;
    }
    if !amd.is_empty() {
        // Each file is a container of its own, and containers may follow each other.
        let mut all = Vec::new();
        for (name, content) in amd {
            let bytes = content.read()?;
            if !bytes.starts_with(b"DMA\0") {
                bail!("the microcode {name} is no container of AMD's");
            }
            all.extend(bytes);
        }
        archive.aligned_file("/kernel/x86/microcode/AuthenticAMD.bin", 0o644, &all, ALIGNMENT)?;
    }
    if !intel.is_empty() {
        let (mut all, mut known) = (Vec::new(), BTreeSet::new());
        for (name, content) in intel {
            let bytes = content.read()?;
            for update in updates(&bytes).with_context(|| format!("the microcode {name} is damaged"))? {
                // One update is in the file of each processor that it is for.
                if known.insert(Sha256::of(update)) {
                    all.extend(update);
                }
            }
        }
        archive.aligned_file("/kernel/x86/microcode/GenuineIntel.bin", 0o644, &all, ALIGNMENT)?;
    }
    Ok(Some(archive.finish()?))
}

fn files<'a>(tree: &'a Tree, folder: &str) -> Vec<(&'a str, &'a Content)> {
    tree.below(folder)
        .filter_map(|(path, entry)| match &entry.kind {
            Kind::File(content) => Some((path.name(), content)),
            _ => None,
        })
        .collect()
}

/// The updates that a file of Intel's consists of (Software Developer's Manual, volume 3, "Microcode Update Facilities").
fn updates(mut bytes: &[u8]) -> Result<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let field = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        let (version, size) = field(0).zip(field(32)).context("an update's header is cut off")?;
        // A size of 0 is that of the first updates there were.
        let size = if size == 0 { 2048 } else { size as usize };
        if version != 1 || size < 48 || size % 4 != 0 || size > bytes.len() {
            bail!("an update has a header of version {version} and {size} of {} bytes", bytes.len());
        }
        let (update, rest) = bytes.split_at(size);
        let sum = update.as_chunks::<4>().0.iter().fold(0u32, |sum, word| sum.wrapping_add(u32::from_le_bytes(*word)));
        if sum != 0 {
            bail!("an update's checksum is wrong");
        }
        found.push(update);
        bytes = rest;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::tree::{Entry, Origin, TreePath};
    use std::collections::BTreeMap;

    fn tree(files: &[(&str, Vec<u8>)]) -> Tree {
        let mut tree = Tree::new();
        for (path, bytes) in files {
            let kind = Kind::File(Content::bytes(bytes.clone()));
            let origin = Origin::Emulation("test".into());
            let entry = Entry { kind, mode: 0o644, uid: 0, gid: 0, xattrs: BTreeMap::new(), origin };
            tree.insert(TreePath::new(path).unwrap(), entry);
        }
        tree
    }

    /// An update of Intel's, with a right checksum.
    fn update(fill: u8, size: u32) -> Vec<u8> {
        let mut words = vec![u32::from_le_bytes([fill; 4]); size as usize / 4];
        (words[0], words[8], words[4]) = (1, size, 0);
        words[4] = words.iter().fold(0u32, |sum, w| sum.wrapping_add(*w)).wrapping_neg();
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    /// As the kernel's find_cpio_data(): by name, in a plain newc archive; gives where the bytes begin, too.
    fn find(archive: &[u8], name: &str) -> Option<(usize, Vec<u8>)> {
        let mut at = 0;
        loop {
            let field = |i: usize| {
                let text = std::str::from_utf8(&archive[at + 6 + 8 * i..][..8]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            assert_eq!(&archive[at..at + 6], b"070701");
            let (size, name_size) = (field(6), field(11));
            let own = &archive[at + 110..at + 110 + name_size];
            let data = (at + 110 + name_size).next_multiple_of(4);
            let own = own.split(|b| *b == 0).next().unwrap();
            match own {
                b"TRAILER!!!" => return None,
                _ if own == name.as_bytes() => return Some((data, archive[data..data + size].to_vec())),
                _ => at = (data + size).next_multiple_of(4),
            }
        }
    }

    const AMD: &str = "kernel/x86/microcode/AuthenticAMD.bin";
    const INTEL: &str = "kernel/x86/microcode/GenuineIntel.bin";

    #[test]
    fn the_kernel_finds_every_update_once_and_aligned() {
        let (one, two) = (update(7, 1024), update(9, 2048));
        let tree = tree(&[
            ("/usr/lib/firmware/amd-ucode/README", b"text".to_vec()),
            ("/usr/lib/firmware/amd-ucode/microcode_amd.bin", b"DMA\0one".to_vec()),
            ("/usr/lib/firmware/amd-ucode/microcode_amd_fam19h.bin", b"DMA\0two".to_vec()),
            ("/usr/lib/firmware/intel-ucode/06-8f-07", [one.clone(), two.clone()].concat()),
            ("/usr/lib/firmware/intel-ucode/06-8f-08", one.clone()),
        ]);
        let archive = archive(&tree, 1).unwrap().unwrap();
        let (at, amd) = find(&archive, AMD).unwrap();
        assert_eq!((at % ALIGNMENT, amd), (0, b"DMA\0oneDMA\0two".to_vec()));
        let (at, intel) = find(&archive, INTEL).unwrap();
        assert_eq!((at % ALIGNMENT, intel), (0, [one, two].concat()));
    }

    #[test]
    fn no_package_no_archive() {
        assert_eq!(archive(&tree(&[("/usr/lib/firmware/amd/sev.sbin", vec![1])]), 1).unwrap(), None);
        let one = archive(&tree(&[("/usr/lib/firmware/intel-ucode/06-8f-07", update(1, 1024))]), 1).unwrap().unwrap();
        assert!(find(&one, AMD).is_none() && find(&one, INTEL).is_some());
    }

    #[test]
    fn what_is_damaged_is_named() {
        let mut bad = update(7, 1024);
        bad[100] ^= 1;
        for (bytes, why) in
            [(bad, "checksum"), (update(7, 1024)[..1000].to_vec(), "of 1000 bytes"), (vec![1; 20], "cut off")]
        {
            let error = archive(&tree(&[("/usr/lib/firmware/intel-ucode/06-8f-07", bytes)]), 1).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains("06-8f-07") && error.contains(why), "{error}");
        }
        let error = archive(&tree(&[("/usr/lib/firmware/amd-ucode/x.bin", vec![1; 20])]), 1).unwrap_err();
        assert!(error.to_string().contains("x.bin"), "{error}");
    }
}
