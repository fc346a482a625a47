//! What has the full UKI in it: `node.efi`, the disc, the netboot folder. The kernel copies it from the store; where the
//! copies end, the signature is put in.

use super::manifest::FileSum;
use super::{Inputs, disc, name, netboot, sparse};
use crate::digest::Sha256;
use crate::progress::{Progress, Unit};
use crate::recipe::Artifact;
use crate::sign::FullUki;
use crate::stage::StageKey;
use crate::store::Store;
use anyhow::{Context, Result};
use std::fs::File;
use std::path::Path;

/// Raised when a file's bytes change that equal inputs gave.
const REVISION: u32 = 1;

/// Writes what the recipe asks for of it.
pub(super) fn write(
    inputs: &Inputs,
    folder: &Path,
    store: &Store,
    progress: &Progress,
) -> Result<Vec<(String, FileSum)>> {
    let wanted = |artifact| inputs.recipe.output.artifacts.contains(&artifact);
    let Some(full) = inputs.full else { return Ok(Vec::new()) };
    let task = progress.task("writing what boots without a disk", 3, Unit::Count("artifacts"));
    let digest = |kind: &'static str, path: &str| -> Result<(String, FileSum)> {
        let key = StageKey::new("full-digest", REVISION).with("kind", kind).with("signed", signed_digest(full));
        let key = key.with("of", disc::key(inputs));
        let (sha256, size) = sparse::digest_by(&key, &folder.join(path), store)?;
        Ok((path.to_owned(), FileSum { size, sha256 }))
    };
    let mut sums = Vec::new();
    let node = folder.join(name::NODE);
    if wanted(Artifact::Node) {
        write_uki(full, &node)?;
        sums.push(digest("uki", name::NODE)?);
    }
    task.add(1);
    if wanted(Artifact::Iso) {
        disc::write(inputs, full, &folder.join(name::ISO))?;
        sums.push(digest("disc", name::ISO)?);
    }
    task.add(1);
    if wanted(Artifact::Netboot) {
        let own = folder.join(name::NETBOOT);
        std::fs::create_dir(&own).with_context(|| format!("can't make {}", own.display()))?;
        let uki = own.join(netboot::UKI);
        if wanted(Artifact::Node) {
            // One file with two names.
            std::fs::hard_link(&node, &uki).with_context(|| format!("can't write {}", uki.display()))?;
        } else {
            write_uki(full, &uki)?;
        }
        let initrd = own.join(netboot::INITRD);
        let failed = || format!("can't write {}", initrd.display());
        let file = File::create_new(&initrd).with_context(failed)?;
        sparse::copy_range(&full.unsigned.file, full.unsigned.initrd(), &file, 0).with_context(failed)?;
        netboot::write(inputs, &own)?;
        sums.push(digest("uki", &format!("{}/{}", name::NETBOOT, netboot::UKI))?);
        sums.push(digest("initrd", &format!("{}/{}", name::NETBOOT, netboot::INITRD))?);
    }
    task.add(1);
    Ok(sums)
}

/// Names the signed file without reading it.
fn signed_digest(full: &FullUki) -> Sha256 {
    Sha256::of(format!("{} {}", full.unsigned.digest(), Sha256::of(&full.signature)))
}

fn write_uki(full: &FullUki, path: &Path) -> Result<()> {
    let failed = || format!("can't write {}", path.display());
    let file = File::create_new(path).with_context(failed)?;
    put(full, &file, 0).with_context(failed)
}

/// Puts the signed full UKI into `to` at `at`.
pub(super) fn put(full: &FullUki, to: &File, at: u64) -> Result<()> {
    sparse::copy_all(&full.unsigned.file, to, at)?;
    full.unsigned.attach(&full.signature, to, at)
}
