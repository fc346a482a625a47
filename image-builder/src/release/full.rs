//! What has the full UKI in it, checked against the thin one, the root hash and the key of the release. Nothing large is
//! read into memory.

use super::verify::{certificate, sealed};
use crate::assemble::full::Region;
use crate::assemble::uki::MICROCODE;
use crate::digest::Sha256;
use crate::initrd::{cpio, root};
use crate::package::manifest::Manifest;
use crate::package::{name, netboot};
use crate::sign::authenticode;
use anyhow::{Context, Result, anyhow, bail, ensure};
use on_disk::gpt::{self, SectorSize, kind};
use on_disk::iso9660::{self, IsoError};
use on_disk::pe::{Headers, Image, Sum};
use on_disk::verity::BLOCK;
use sha2::Digest;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// Sections that the full UKI has as the thin one has them.
const SHARED: [&str; 5] = [".osrel", ".cmdline", ".uname", MICROCODE, ".linux"];
const LARGEST_SIGNATURE: u64 = 1 << 20;

/// Checks every such file that the manifest knows.
pub(super) fn check(folder: &Path, manifest: &Manifest) -> Vec<(String, Result<()>)> {
    let known = |path: &str| manifest.files.contains_key(path);
    let in_netboot = |file: &str| format!("{}/{file}", name::NETBOOT);
    let mut results = Vec::new();
    let served = in_netboot(netboot::UKI);
    if let Some(path) = [name::NODE, &served].into_iter().find(|path| known(path)) {
        let check = open(folder, path).and_then(|file| uki(&Region::whole(&file)?, folder, manifest));
        results.push((path.to_owned(), check));
        for (file, section) in [(netboot::KERNEL, ".linux"), (netboot::INITRD, ".initrd")] {
            let file = in_netboot(file);
            if let Some(sum) = manifest.files.get(&file) {
                results.push((file, part(folder, path, section, &sum.sha256)));
            }
        }
    }
    if let (Some(node), Some(other)) = (manifest.files.get(name::NODE), manifest.files.get(&served))
        && node != other
    {
        results.push((served, Err(anyhow!("is not the same as {}", name::NODE))));
    }
    if known(name::ISO) {
        results.push((name::ISO.into(), disc(folder, manifest)));
    }
    results
}

/// Signed with the key of the release; what was built; the thin UKI's parts, and behind its initrd the root.
fn uki(image: &Region, folder: &Path, manifest: &Manifest) -> Result<()> {
    let certificate = certificate(folder)?;
    let headers = image.headers()?;
    let digest = image.authenticode_digest(&headers)?;
    authenticode::check_signature(&signature(image, &headers)?, digest.bytes(), &certificate)?;

    let unsigned = unsigned(image, &headers)?;
    let wanted = manifest.unsigned_full_uki.context("is not told of in the manifest")?;
    ensure!(unsigned == wanted, "has SHA-256 {unsigned} without its signature, the manifest says {wanted}");

    let thin =
        std::fs::read(folder.join(name::UKI)).with_context(|| format!("can't be compared with {}", name::UKI))?;
    let thin = Image::parse(thin)?;
    // Not every image brings microcode.
    let without = headers.section(MICROCODE).is_none() && thin.section(MICROCODE).is_none();
    for name in SHARED.into_iter().filter(|name| !(without && *name == MICROCODE)) {
        let own = headers.section(name).with_context(|| format!("has no {name}"))?;
        let shared = thin.section(name).with_context(|| format!("can't be compared: uki.efi has no {name}"))?;
        ensure!(digest_of(image, own)? == Sha256::of(shared), "has another {name} than uki.efi");
    }
    let initrd = headers.section(".initrd").context("has no initrd")?;
    let shared = thin.section(".initrd").context("can't be compared: uki.efi has no initrd")?;
    let behind = initrd.start + shared.len() as u64;
    ensure!(behind < initrd.end, "has no root behind its initrd");
    ensure!(digest_of(image, initrd.start..behind)? == Sha256::of(shared), "has another initrd than uki.efi");
    let (root, tree) = embedded(image, behind..initrd.end, manifest)?;
    ensure!(
        digest_of(image, root.clone())? == manifest.root_image.sha256,
        "holds another root than the manifest names"
    );
    let in_file = |part: Range<u64>| image.place.start + part.start..image.place.start + part.end;
    sealed(image.file, in_file(root), in_file(tree), &manifest.root_hash)
}

/// The signature that an image carries: a PKCS#7 `SignedData`.
fn signature(image: &Region, headers: &Headers) -> Result<Vec<u8>> {
    let table = headers.certificate_table().context("carries no signature")?;
    ensure!(table.end - table.start < LARGEST_SIGNATURE, "carries a signature of more than a megabyte");
    let table = image.bytes(table).context("can't be read")?;
    let length = table.first_chunk().map_or(0, |l| u32::from_le_bytes(*l) as usize);
    let is_pkcs7 = table.get(4..8) == Some(&[0, 2, 2, 0]);
    let signature = table.get(8..length).filter(|_| is_pkcs7).context("carries a signature that can't be read")?;
    Ok(signature.to_vec())
}

/// The signature of the release's full UKI, wherever it has one: a PKCS#7 `SignedData`.
///
/// # Errors
/// When it can't be read.
pub(super) fn carried(folder: &Path, manifest: &Manifest) -> Result<Option<Vec<u8>>> {
    let served = format!("{}/{}", name::NETBOOT, netboot::UKI);
    let of = |image: &Region| signature(image, &image.headers()?);
    if let Some(path) = [name::NODE, &served].into_iter().find(|path| manifest.files.contains_key(*path)) {
        let file = open(folder, path)?;
        return of(&Region::whole(&file)?).map(Some).with_context(|| path.to_owned());
    }
    if !manifest.files.contains_key(name::ISO) {
        return Ok(None);
    }
    let file = open(folder, name::ISO)?;
    let (_, place) = program(&Region::whole(&file)?, manifest).context(name::ISO)?;
    of(&Region { file: &file, place }).map(Some).context(name::ISO)
}

/// Where root and hash tree lie in the archive of the root; the archive holds these two files and nothing else.
fn embedded(image: &Region, archive: Range<u64>, manifest: &Manifest) -> Result<(Range<u64>, Range<u64>)> {
    let mut at = archive.start;
    let mut next = |path: &str, mode, inode, snapshot, size: u64| -> Result<Range<u64>> {
        let header = cpio::header(path, mode, inode, snapshot, size)?;
        let content = at + header.len() as u64;
        ensure!(content + size <= archive.end, "has a root that is cut off");
        let found = image.bytes(at..content).context("can't be read")?;
        ensure!(found == header, "has another archive for its root than the builder writes");
        at = content + size;
        Ok(content..at)
    };
    let root_size = manifest.root_image.size;
    let root = next(root::IMAGE, 0o444, 1, manifest.snapshot, root_size)?;
    let tree_size = on_disk::verity::hash_area_size(root_size / BLOCK as u64);
    let tree = next(root::HASH_TREE, 0o444, 2, manifest.snapshot, tree_size)?;
    next("TRAILER!!!", 0, 0, 0, 0)?;
    ensure!(at == archive.end, "has more in its initrd than the root");
    Ok((root, tree))
}

/// Digest of the image as it was before it was signed: without its certificate table, and with the checksum it had then.
fn unsigned(image: &Region, headers: &Headers) -> Result<Sha256> {
    let end = headers.certificate_table().map_or(image.size(), |table| table.start);
    let (checksum, directory) = headers.uncovered_fields();
    let set = |at: u64, piece: &mut [u8], field: u64, value: &[u8]| {
        for (offset, byte) in (field..).zip(value) {
            if let Some(place) = offset.checked_sub(at).and_then(|i| piece.get_mut(i as usize)) {
                *place = *byte;
            }
        }
    };
    let mut sum = Sum::default();
    image.pieces(0..end, |at, piece| {
        set(at, piece, checksum, &[0; 4]);
        set(at, piece, directory, &[0; 8]);
        sum.push(piece);
    })?;
    let mut hasher = sha2::Sha256::new();
    image.pieces(0..end, |at, piece| {
        set(at, piece, checksum, &sum.value().to_le_bytes());
        set(at, piece, directory, &[0; 8]);
        hasher.update(&piece);
    })?;
    Ok(Sha256::from_hasher(hasher))
}

/// Firmware that sees a disc and firmware that sees a disk find the same partition, and in it is the full UKI.
fn disc(folder: &Path, manifest: &Manifest) -> Result<()> {
    let file = open(folder, name::ISO)?;
    let disc = Region::whole(&file)?;
    let (program, place) = program(&disc, manifest)?;
    match manifest.files.get(name::NODE) {
        // That one was checked.
        Some(node) => ensure!(digest_of(&disc, place)? == node.sha256, "has another {program} than {}", name::NODE),
        None => uki(&Region { file: &file, place }, folder, manifest).with_context(|| program.clone())?,
    }
    Ok(())
}

/// The program that a disc starts, and where it lies.
fn program(disc: &Region, manifest: &Manifest) -> Result<(String, Range<u64>)> {
    let read = |at: u64, length: usize| -> Result<Vec<u8>, DiscError> {
        disc.bytes(at..at + length as u64).map_err(|_| IsoError::Malformed("it ends too early").into())
    };
    let found = gpt::read(disc.size(), SectorSize::B512, |at, length| disc.bytes(at..at + length as u64));
    let found = found.context("can't be read")?;
    let table = found.agreed().with_context(|| format!("has {found}"))?;
    let [esp] = &table.partitions[..] else { bail!("has not one partition") };
    ensure!(esp.kind == kind::ESP, "has no EFI system partition");
    let seen = iso9660::read(disc.size(), read).map_err(|e| e.0)?;
    ensure!(seen.boot == (esp.start..esp.end()), "boots something else as a disc than as a disk");
    let program = format!("EFI/BOOT/{}", manifest.arch.efi_boot_name());
    let place = seen.file(&program, disc.size(), read).map_err(|e| e.0)?;
    ensure!(seen.boot.start <= place.start && place.end <= seen.boot.end, "has {program} outside of its partition");
    Ok((program, place))
}

struct DiscError(anyhow::Error);

impl From<IsoError> for DiscError {
    fn from(error: IsoError) -> Self {
        DiscError(error.into())
    }
}

fn open(folder: &Path, path: &str) -> Result<File> {
    File::open(folder.join(path)).context("can't be read")
}

/// A file of this digest is a section of the UKI at `uki`.
fn part(folder: &Path, uki: &str, section: &str, sha256: &Sha256) -> Result<()> {
    let file = open(folder, uki).with_context(|| format!("can't be compared with {uki}"))?;
    let image = Region::whole(&file)?;
    let place = image.headers()?.section(section);
    let place = place.with_context(|| format!("can't be compared: {uki} has no {section}"))?;
    ensure!(digest_of(&image, place)? == *sha256, "is not the {section} of {uki}");
    Ok(())
}

fn digest_of(image: &Region, part: Range<u64>) -> Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    image.pieces(part, |_, piece| hasher.update(&piece)).context("can't be read")?;
    Ok(Sha256::from_hasher(hasher))
}
