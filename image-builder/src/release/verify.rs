//! `bedplate verify`: is this folder the release that the holder of a key made?
//!
//! Guarantees: every byte of every file is covered; each problem names its file; nothing is written and no
//! program is run.

use crate::assemble::CommandLine;
use crate::assemble::addon::file_name;
use crate::assemble::pcr;
use crate::digest::Sha256;
use crate::package::manifest::{AddonSum, Manifest};
use crate::package::{digest_of, name};
use crate::sign::{authenticode, keys};
use anyhow::{Context, Result, anyhow, bail, ensure};
use on_disk::gpt::{self, SectorSize, kind};
use on_disk::pe::Image;
use on_disk::verity::{BLOCK, Builder, Superblock};
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use x509_cert::Certificate;
use x509_cert::der::DecodePem;

/// A release that passed every check.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Its manifest.
    pub manifest: Manifest,
    /// Name of the key that signed it.
    pub key: String,
}

/// Everything that is wrong with a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Checks the release in `folder` against a public release key (the text of a `.pub` file): the signature over
/// the manifest, every file's sum, files that are missing or that nobody signed, the UKI's own signature, and
/// the root in the disk image against the root hash on the signed command line.
///
/// # Errors
/// [`Problems`], with everything that was found.
pub fn verify(folder: &Path, public_key: &str) -> Result<Verified> {
    let key = keys::public_key(public_key).context("the key can't be used; give the release.pub of the signer")?;
    let draft = !folder.join(name::MANIFEST).exists() && folder.join(name::DISK).exists();
    if draft {
        let why = format!(
            "{}: is missing; is this a draft? `bedplate build` without --draft makes a release",
            name::MANIFEST
        );
        bail!(Problems(vec![why]));
    }
    let text = |name: &str| {
        let path = folder.join(name);
        // What a link leads to is no part of the release.
        if path.is_symlink() {
            return Err(Problems(vec![format!("{name}: is no regular file")]));
        }
        std::fs::read_to_string(&path).map_err(|e| Problems(vec![format!("{name}: can't be read: {e}")]))
    };
    let manifest = text(name::MANIFEST)?;
    if !key.verifies_detached(manifest.as_bytes(), &text(name::SIGNATURE)?) {
        let why = format!("{}: is not signed by {}", name::MANIFEST, key.name());
        bail!(Problems(vec![why + ", or was changed after; the release can't be trusted"]));
    }
    let parsed = Manifest::parse(&manifest).map_err(|e| Problems(vec![format!("{}: {e:#}", name::MANIFEST)]))?;
    let mut problems = Vec::new();
    let mut note = |name: &str, result: Result<()>| {
        if let Err(e) = result {
            problems.push(format!("{name}: {e:#}"));
        }
    };
    for (name, sum) in &parsed.files {
        note(name, file(&folder.join(name), sum.size, &sum.sha256));
    }
    let sums = parsed.sums(&Sha256::of(&manifest));
    note(
        name::SUMS,
        text(name::SUMS).map_err(anyhow::Error::from).and_then(|found| {
            ensure!(found == sums, "does not say what the signed manifest says");
            Ok(())
        }),
    );
    for name in unsigned(folder, &parsed)? {
        note(&name, Err(anyhow!("is not part of the signed release")));
    }
    note(name::UKI, uki(folder, &parsed));
    for (addon, sum) in &parsed.addons {
        let file = format!("{}/{}", name::ADDONS, file_name(addon));
        note(&file, check_addon(folder, &file, sum));
    }
    note(name::DISK, root(&folder.join(name::DISK), &parsed.root_hash));
    for (name, result) in super::full::check(folder, &parsed) {
        note(&name, result);
    }
    if problems.is_empty() {
        return Ok(Verified { manifest: parsed, key: key.name().to_owned() });
    }
    bail!(Problems(problems))
}

fn file(path: &Path, size: u64, sha256: &Sha256) -> Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => bail!("is missing"),
        other => other.context("can't be read")?,
    };
    ensure!(metadata.is_file(), "is no regular file");
    ensure!(metadata.len() == size, "has {} bytes, the signed manifest says {size}", metadata.len());
    let (found, _) = digest_of(path).context("can't be read")?;
    ensure!(found == *sha256, "was changed: its SHA-256 is {found}, the signed manifest says {sha256}");
    Ok(())
}

/// Files that the manifest does not know, by their path in the folder.
fn unsigned(folder: &Path, manifest: &Manifest) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![String::new()];
    while let Some(at) = folders.pop() {
        let path = folder.join(&at);
        for entry in std::fs::read_dir(&path).with_context(|| format!("can't read {}", path.display()))? {
            let entry = entry.with_context(|| format!("can't read {}", path.display()))?;
            let name = format!("{at}{}", entry.file_name().to_string_lossy());
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                folders.push(name + "/");
            } else if !manifest.files.contains_key(&name)
                && ![name::MANIFEST, name::SIGNATURE, name::SUMS].contains(&name.as_str())
            {
                found.insert(name);
            }
        }
    }
    Ok(found)
}

/// The certificate of the key that signs what boots.
pub(super) fn certificate(folder: &Path) -> Result<Certificate> {
    let name = format!("{}/db.crt", name::SECURE_BOOT);
    let pem = std::fs::read_to_string(folder.join(&name));
    let pem = pem.with_context(|| format!("can't be checked without {name}"))?;
    Certificate::from_pem(&pem).with_context(|| format!("can't be checked: {name}"))
}

/// The UKI is signed with the key whose certificate the release ships, is what was built, and names the root.
fn uki(folder: &Path, manifest: &Manifest) -> Result<()> {
    let image = signed_image(folder, name::UKI)?;
    let unsigned = Sha256::of(image.without_certificate().without_last_section(pcr::SIGNATURE).bytes());
    ensure!(
        unsigned == manifest.unsigned_uki,
        "has SHA-256 {unsigned} without its signatures, the manifest says {}",
        manifest.unsigned_uki
    );
    pcr::check(&image)?;
    let measured = Sha256::from(pcr::measured(&image));
    let said = manifest.pcr_11.unwrap_or(measured);
    ensure!(measured == said, "leaves {measured} in PCR 11, the manifest says {said}");
    let line = image.section(".cmdline").context("has no command line")?;
    let line = std::str::from_utf8(line).context("has a command line that is no text")?;
    ensure!(line == manifest.command_line, "has another command line than the manifest");
    let hash = CommandLine::root_hash_of(line).context("has no single roothash= on its command line")?;
    ensure!(hash == manifest.root_hash, "names the root {hash}, the manifest names {}", manifest.root_hash);
    Ok(())
}

/// An image that is signed with the key whose certificate the release ships.
fn signed_image(folder: &Path, file: &str) -> Result<Image> {
    let certificate = certificate(folder)?;
    let image = Image::parse(std::fs::read(folder.join(file)).context("can't be read")?)?;
    authenticode::check(&image, &certificate)?;
    Ok(image)
}

/// An addon is signed with that key too, is what was built, and adds what the manifest says.
fn check_addon(folder: &Path, file: &str, sum: &AddonSum) -> Result<()> {
    let image = signed_image(folder, file)?;
    let unsigned = Sha256::of(image.without_certificate().bytes());
    ensure!(
        unsigned == sum.unsigned,
        "has SHA-256 {unsigned} without its signature, the manifest says {}",
        sum.unsigned
    );
    let same = image.section(".cmdline") == Some(sum.arguments.as_bytes());
    ensure!(same, "has other arguments than the manifest says");
    Ok(())
}

/// Slot A of the disk image has this root hash: the whole tree is computed again from the data.
fn root(disk: &Path, root_hash: &Sha256) -> Result<()> {
    use crate::seal::ids;
    let file = File::open(disk).context("can't be read")?;
    let size = file.metadata().context("can't be read")?.len();
    let found = gpt::read(size, SectorSize::B512, |offset, size| {
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, offset).map(|()| bytes)
    })
    .context("can't be read")?;
    let table = found.agreed().with_context(|| format!("has {found}"))?;
    let partition = |guid, kind: uuid::Uuid, what| {
        let partition = table.by_guid(&guid).filter(|p| p.kind == kind);
        partition.cloned().with_context(|| format!("has no partition {guid} for the {what} of {root_hash}"))
    };
    let data = partition(ids::root_partition(root_hash), kind::ROOT_X86_64, "root")?;
    let hashes = partition(ids::verity_partition(root_hash), kind::ROOT_X86_64_VERITY, "hash tree")?;
    sealed(&file, data.start..data.end(), hashes.start..hashes.end(), root_hash)
}

/// What lies at `data` of the file has this root hash, and the tree at `hashes` is that of it: all of it is computed again.
pub(super) fn sealed(mut file: &File, data: Range<u64>, hashes: Range<u64>, root_hash: &Sha256) -> Result<()> {
    let mut stored = vec![0; BLOCK];
    file.read_exact_at(&mut stored, hashes.start).context("can't be read")?;
    let superblock = Superblock::parse(&stored)?;
    let data_size = superblock.data_blocks.saturating_mul(BLOCK as u64);
    ensure!(data_size <= data.end - data.start, "has a verity superblock for more data than there is");
    file.seek(SeekFrom::Start(data.start)).context("can't be read")?;
    let builder = crate::seal::hash_all(file.take(data_size), Builder::new(&superblock.salt));
    let tree = builder.context("can't be read")?.finish(superblock.uuid).context("has an empty root")?;
    ensure!(
        tree.root == *root_hash.bytes(),
        "holds a root with the hash {}, the signed command line says {root_hash}",
        Sha256::from(tree.root)
    );
    ensure!(tree.bytes.len() as u64 <= hashes.end - hashes.start, "has no room for its hash tree");
    stored.resize(tree.bytes.len(), 0);
    file.read_exact_at(&mut stored, hashes.start).context("can't be read")?;
    ensure!(stored == tree.bytes, "holds another hash tree than that of its root");
    Ok(())
}

#[cfg(test)]
mod tests;
