//! Kernel modules without a compression of their own.
//!
//! Debian compresses each with xz, which costs the node time at every load. The root is compressed as a whole, and
//! better: blocks are read and unpacked as they are needed. A module's signature is over its plain bytes.
#![allow(clippy::disallowed_methods, reason = "edge: writes the stage's work folder")]

use crate::compose::tree::{Content, Kind, Tree, TreePath};
use crate::digest::Sha256;
use crate::stage::StageKey;
use crate::store::Store;
use anyhow::{Context, Result};
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

const REVISION: u32 = 1;
/// How many modules are held in memory at a time.
const AT_ONCE: usize = 64;

/// Puts `NAME.ko` in the place of each `NAME.ko.xz`; mode, owner and origin stay.
///
/// # Errors
/// When a module can't be decompressed, naming it.
pub fn apply(tree: &mut Tree, store: &Store) -> Result<()> {
    let packed: Vec<(TreePath, Content)> = tree
        .below(super::depmod::MODULES)
        .filter_map(|(at, entry)| match &entry.kind {
            Kind::File(content) if at.name().ends_with(".ko.xz") => Some((at.clone(), content.clone())),
            _ => None,
        })
        .collect();
    if packed.is_empty() {
        return Ok(());
    }
    let listed: String = packed.iter().map(|(_, content)| format!("{}\n", content.digest())).collect();
    let key = StageKey::new("plain-modules", REVISION).with("modules", Sha256::of(listed));
    let made = store.output(&key, |output| unpack(output, &packed))?;
    let sizes = std::fs::read(made.file("index.json"))?;
    let sizes: Vec<(u64, Sha256)> = serde_json::from_slice(&sizes).context("the store's list of modules is damaged")?;
    let data = Arc::new(made.file("data"));
    let mut offset = 0;
    for ((at, _), (size, digest)) in packed.into_iter().zip(sizes) {
        let plain = at.as_str().trim_end_matches(".xz");
        let Some(mut entry) = tree.remove(&at, format!("it is unpacked as {plain}")) else { continue };
        entry.kind = Kind::File(Content::Slice { file: data.clone(), offset, size, digest });
        tree.insert(super::path(plain)?, entry);
        offset += size;
    }
    Ok(())
}

fn unpack(output: &Path, packed: &[(TreePath, Content)]) -> Result<()> {
    let mut data = BufWriter::with_capacity(1 << 20, File::create(output.join("data"))?);
    let mut index: Vec<(u64, Sha256)> = Vec::with_capacity(packed.len());
    for some in packed.chunks(AT_ONCE) {
        let plain: Vec<Vec<u8>> = some.par_iter().map(|(at, content)| plain(at, content)).collect::<Result<_>>()?;
        for bytes in plain {
            index.push((bytes.len() as u64, Sha256::of(&bytes)));
            data.write_all(&bytes)?;
        }
    }
    data.flush()?;
    serde_json::to_writer(File::create(output.join("index.json"))?, &index)?;
    Ok(())
}

fn plain(at: &TreePath, content: &Content) -> Result<Vec<u8>> {
    let failed = || format!("the kernel module {at} can't be decompressed");
    let mut bytes = Vec::new();
    let mut reader = liblzma::read::XzDecoder::new(content.reader().with_context(failed)?);
    reader.read_to_end(&mut bytes).with_context(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, tree};
    use super::super::text;
    use super::*;

    fn xz(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        liblzma::read::XzEncoder::new(text.as_bytes(), 1).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn each_module_is_there_plain_and_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut tree = tree(&[("/usr/lib/modules/6/modules.order", "")]);
        for name in ["xfs", "raid1"] {
            let at = format!("/usr/lib/modules/6/kernel/{name}.ko.xz");
            super::super::put_file(&mut tree, &at, xz(name), 0o640, "test").unwrap();
        }
        apply(&mut tree, &store).unwrap();
        for name in ["xfs", "raid1"] {
            let at = format!("/usr/lib/modules/6/kernel/{name}.ko");
            assert_eq!(text(&tree, &at).unwrap().unwrap(), name);
            assert_eq!(entry(&tree, &at).unwrap().mode, 0o640);
            assert!(entry(&tree, &format!("{at}.xz")).is_none());
        }
    }

    #[test]
    fn a_damaged_module_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = tree(&[("/usr/lib/modules/6/kernel/xfs.ko.xz", "no xz")]);
        let error = apply(&mut tree, &Store::open(folder.path()).unwrap()).unwrap_err();
        assert!(format!("{error:#}").contains("kernel/xfs.ko.xz"), "{error:#}");
    }
}
