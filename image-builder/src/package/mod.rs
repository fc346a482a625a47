//! Root, UKI and keys -> a [`Release`]: a folder of artifacts, one manifest over them and one signature over that.
//!
//! Guarantees: equal inputs give equal bytes; the folder appears under its name complete, or the old one stays;
//! a folder that holds anything but a release is left alone. What is in it is described in `docs/release.md`.
#![allow(clippy::disallowed_methods, reason = "edge: writes the release")]

mod disc;
mod disk;
mod esp;
pub mod files;
mod full;
pub mod manifest;
pub mod netboot;
mod qcow2;
mod sbom;
mod sparse;

pub use disk::Layout;
pub(crate) use sparse::digest as digest_of;

use crate::assemble::addon::file_name;
use crate::assemble::pcr;
use crate::compose::tree::Tree;
use crate::digest::Sha256;
use crate::images;
use crate::lock::Lock;
use crate::progress::{Progress, Unit};
use crate::recipe::{Artifact, Recipe};
use crate::seal::RootImage;
use crate::sign::enrolment::Enrolment;
use crate::sign::keys::KeyFolder;
use crate::sign::{FullUki, SignedAddon, Uki};
use crate::store::Store;
use crate::tools::Tools;
use anyhow::{Context, Result, bail};
use manifest::{AddonSum, FileSum, Manifest};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// Names of what a release holds.
pub mod name {
    /// The disk image.
    pub const DISK: &str = "disk.raw";
    /// The signed UKI, as on the ESP.
    pub const UKI: &str = "uki.efi";
    /// The disk image for QEMU and clouds.
    pub const QCOW2: &str = "disk.qcow2";
    /// The signed full UKI.
    pub const NODE: &str = "node.efi";
    /// The disc.
    pub const ISO: &str = "node.iso";
    /// Folder of what a server for network boot hands out.
    pub const NETBOOT: &str = "netboot";
    /// Every path of the root.
    pub const FILES: &str = "files.json";
    /// What inputs had that is not in the root.
    pub const LEFT_OUT: &str = "left-out.json";
    /// The software bill of materials.
    pub const SBOM: &str = "sbom.cdx.json";
    /// The lock.
    pub const LOCK: &str = "bedplate.lock";
    /// Certificate of the key that PCR policies are signed with.
    pub const PCR_CERTIFICATE: &str = "pcr.crt";
    /// Folder of the signed addons.
    pub const ADDONS: &str = "addons";
    /// Folder of what firmware is enrolled with.
    pub const SECURE_BOOT: &str = crate::sign::keys::SECURE_BOOT_FOLDER;
    /// The keys that the image takes configurations from.
    pub const CONFIG_PUBLIC: &str = crate::sign::keys::CONFIG_PUBLIC;
    /// What the release is.
    pub const MANIFEST: &str = "manifest.json";
    /// The signature over the manifest.
    pub const SIGNATURE: &str = "manifest.json.sig";
    /// Sums of all other files, for `sha256sum --check`.
    pub const SUMS: &str = "SHA256SUMS";
}

/// What a release is made of.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// The lock.
    pub lock: &'a Lock,
    /// The root as data.
    pub tree: &'a Tree,
    /// The sealed root.
    pub root: &'a RootImage,
    /// Release of the kernel.
    pub kernel: &'a str,
    /// The signed UKI.
    pub uki: &'a Uki,
    /// The signed full UKI, if an artifact has it in it.
    pub full: Option<&'a FullUki>,
    /// The keys that sign.
    pub keys: &'a KeyFolder,
    /// What firmware is enrolled with.
    pub enrolment: &'a Enrolment,
    /// The signed addons.
    pub addons: &'a [SignedAddon],
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Release,
    /// What boots, and the lists; no manifest, signature and sums, so that nobody takes it for a release. It need not
    /// outlive a power cut.
    Draft,
    /// Everything but the signature over it: what somebody else's release is compared with.
    Unsigned,
}

/// Writes a release, or a draft of one, to `out`, which must be missing, empty, or an earlier one.
///
/// # Errors
/// When a part does not fit its partition, a tool fails, `out` holds something else, or the disk is full;
/// what was in `out` stays then.
pub fn write(
    inputs: &Inputs,
    scope: Scope,
    out: &Path,
    tools: &Tools,
    store: &Store,
    progress: &Progress,
) -> Result<()> {
    check_replaceable(out)?;
    let parent = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let failed = || format!("can't write the release to {}", out.display());
    std::fs::create_dir_all(parent).with_context(failed)?;
    let aside = tempfile::Builder::new().prefix(".bedplate-release-").tempdir_in(parent).with_context(failed)?;
    fill(inputs, aside.path(), tools, progress)?;
    if scope != Scope::Draft {
        let known = artifacts(inputs, aside.path(), tools, store, progress)?;
        describe(inputs, scope, known, aside.path(), progress)?;
    }
    open_to_all(aside.path()).with_context(failed)?;
    if out.exists() {
        // Both names change in one step; the old release goes with the temporary folder.
        nix::fcntl::renameat2(
            nix::fcntl::AT_FDCWD,
            aside.path(),
            nix::fcntl::AT_FDCWD,
            out,
            nix::fcntl::RenameFlags::RENAME_EXCHANGE,
        )
        .with_context(failed)?;
    } else {
        std::fs::rename(aside.path(), out).with_context(failed)?;
        let _ = aside.keep();
    }
    Ok(())
}

/// Whatever the umask says, a release looks the same.
fn open_to_all(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            open_to_all(&path)?;
        } else {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

/// Brings the release to the disk, and nothing that others have written meanwhile.
fn sync(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}

fn check_replaceable(out: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(out) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).with_context(|| format!("can't write a release to {}", out.display())),
    };
    let known = [
        name::DISK,
        name::UKI,
        name::QCOW2,
        name::NODE,
        name::ISO,
        name::NETBOOT,
        name::FILES,
        name::LEFT_OUT,
        name::SBOM,
        name::LOCK,
        name::SECURE_BOOT,
        name::CONFIG_PUBLIC,
        name::ADDONS,
        name::PCR_CERTIFICATE,
        name::MANIFEST,
        name::SIGNATURE,
        name::SUMS,
    ];
    for entry in entries {
        let entry = entry.with_context(|| format!("can't read {}", out.display()))?.file_name();
        if !known.iter().any(|k| entry == *k) {
            bail!(
                "{} holds {}, which is no part of a release; choose another folder with --out, or move it away",
                out.display(),
                entry.display()
            );
        }
    }
    Ok(())
}

/// Writes all that a manifest tells of.
fn fill(inputs: &Inputs, folder: &Path, tools: &Tools, progress: &Progress) -> Result<()> {
    let Inputs { recipe, lock, tree, root, kernel, uki, keys, enrolment, addons, .. } = *inputs;
    let layout = Layout::new(&recipe.output, root)?;
    let task = progress.task("writing the disk image", layout.size(), Unit::Bytes);
    let put = |name: &str, bytes: &[u8]| put(folder, name, bytes);
    put(name::UKI, uki.image().bytes())?;
    if !addons.is_empty() {
        std::fs::create_dir(folder.join(name::ADDONS))?;
    }
    for addon in addons {
        put(&addon_file(addon), addon.image.bytes())?;
    }
    let disk = || {
        let disk = folder.join(name::DISK);
        disk::write(&disk, &layout, root)?;
        let uki = format!("EFI/BOOT/{}", recipe.image.arch.efi_boot_name());
        // Where systemd-stub does not look: which of them are for a machine is only known there.
        let place = |addon: &SignedAddon| format!("{uki}.addons/{}", file_name(&addon.name));
        let mut esp_files: Vec<_> = addons.iter().map(|a| (place(a), folder.join(addon_file(a)))).collect();
        esp_files.push((uki, folder.join(name::UKI)));
        esp::write(&disk, &layout, &esp_files, lock.snapshot, tools)
    };
    let rest = || {
        put(name::FILES, &files::list(tree)?)?;
        put(name::LEFT_OUT, &files::list_left_out(tree)?)?;
        put(name::SBOM, sbom::sbom(&sbom::Sources { recipe, lock, tree, root, kernel })?.as_bytes())?;
        put(name::LOCK, lock.to_text()?.as_bytes())?;
        if let Some(certificate) = keys.pcr_certificate()? {
            put(name::PCR_CERTIFICATE, &certificate)?;
        }
        std::fs::create_dir(folder.join(name::SECURE_BOOT))?;
        for (file, bytes) in enrolment.files() {
            put(&format!("{}/{file}", name::SECURE_BOOT), bytes)?;
        }
        if recipe.keys.require_signed_config {
            put(name::CONFIG_PUBLIC, keys.config_public()?.as_bytes())?;
        }
        anyhow::Ok(())
    };
    let (disk, rest) = rayon::join(disk, rest);
    task.add(layout.size());
    disk.and(rest)
}

/// Writes what the recipe asks for beside the disk image and the thin UKI, and gives the digests that are known by what
/// the files were made of. Hashing the disk image takes as long as all of that, and goes on beside it.
fn artifacts(
    inputs: &Inputs,
    folder: &Path,
    tools: &Tools,
    store: &Store,
    progress: &Progress,
) -> Result<BTreeMap<String, FileSum>> {
    let wanted = |artifact| inputs.recipe.output.artifacts.contains(&artifact);
    let disk = || match wanted(Artifact::Qcow2) {
        true => qcow2::write(inputs, folder, tools, store, progress).map(|sum| vec![(name::QCOW2.into(), sum)]),
        false => Ok(Vec::new()),
    };
    let raw = || {
        let path = folder.join(name::DISK);
        let failed = || format!("can't read {}", path.display());
        let task = progress.task("hashing the disk image", path.metadata().with_context(failed)?.len(), Unit::Bytes);
        let (sha256, size) = sparse::remembered_digest(&path, store).with_context(failed)?;
        task.add(size);
        anyhow::Ok((name::DISK.to_owned(), FileSum { size, sha256 }))
    };
    let full = || full::write(inputs, folder, store, progress);
    let (raw, (disk, full)) = rayon::join(raw, || rayon::join(disk, full));
    Ok(disk?.into_iter().chain(full?).chain([raw?]).collect())
}

/// Hashes what was written and is not `known`, and writes and signs the manifest over all.
pub(crate) fn describe(
    inputs: &Inputs,
    scope: Scope,
    mut known: BTreeMap<String, FileSum>,
    folder: &Path,
    progress: &Progress,
) -> Result<()> {
    let Inputs { recipe, lock, tree, root, kernel, uki, full, keys, enrolment, addons } = *inputs;
    let put = |name: &str, bytes: &[u8]| put(folder, name, bytes);
    let mut names: Vec<String> =
        [name::DISK, name::UKI, name::FILES, name::LEFT_OUT, name::SBOM, name::LOCK].map(str::to_owned).to_vec();
    names.extend(enrolment.files().map(|(file, _)| format!("{}/{file}", name::SECURE_BOOT)));
    names.extend(keys.pcr_certificate()?.map(|_| name::PCR_CERTIFICATE.to_owned()));
    names.extend(addons.iter().map(addon_file));
    if recipe.keys.require_signed_config {
        names.push(name::CONFIG_PUBLIC.into());
    }
    if recipe.output.artifacts.contains(&Artifact::Netboot) {
        names.extend(netboot::TEXTS.map(|text| format!("{}/{text}", name::NETBOOT)));
    }
    names.retain(|name| !known.contains_key(name));
    let size = |name: &String| std::fs::metadata(folder.join(name)).map_or(0, |file| file.len());
    let task = progress.task("hashing the release", names.iter().map(size).sum(), Unit::Bytes);
    let sums = names.into_par_iter().map(|name| {
        let path = folder.join(&name);
        let (sha256, size) = sparse::digest(&path).with_context(|| format!("can't read {}", path.display()))?;
        task.add(size);
        Ok((name, FileSum { size, sha256 }))
    });
    known.extend(sums.collect::<Result<BTreeMap<_, _>>>()?);
    let command_line = uki.image().section(".cmdline").context("the UKI has no command line")?;
    let manifest = Manifest {
        format: manifest::FORMAT,
        name: recipe.image.name.clone(),
        version: recipe.image.version.clone(),
        arch: recipe.image.arch,
        snapshot: lock.snapshot,
        lock: Sha256::of(lock.to_text()?),
        builder: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: kernel.to_owned(),
        components: lock.component.iter().map(|(name, c)| (name.clone(), c.version.clone())).collect(),
        command_line: String::from_utf8(command_line.to_vec()).context("the command line is no text")?,
        root_hash: root.root_hash,
        root_image: FileSum { size: root.image_size, sha256: root.image_digest },
        unsigned_uki: uki.unsigned_digest(),
        unsigned_full_uki: full.map(|full| full.unsigned.digest()),
        pcr_11: Some(Sha256::from(pcr::measured(uki.image()))),
        addons: addons.iter().map(described).collect(),
        container_images: images::list(tree)?,
        files: known,
    };
    let text = manifest.to_text()?;
    put(name::MANIFEST, text.as_bytes())?;
    put(name::SUMS, manifest.sums(&Sha256::of(&text)).as_bytes())?;
    if scope == Scope::Unsigned {
        return Ok(());
    }
    put(name::SIGNATURE, keys.release()?.sign_detached(text.as_bytes())?.as_bytes())?;
    // The rename that follows must not outlive the bytes.
    sync(folder).context("can't bring the release to the disk")
}

fn addon_file(addon: &SignedAddon) -> String {
    format!("{}/{}", name::ADDONS, file_name(&addon.name))
}

fn described(addon: &SignedAddon) -> (String, AddonSum) {
    (addon.name.clone(), AddonSum { arguments: addon.arguments.clone(), unsigned: addon.unsigned })
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, bytes).with_context(|| format!("can't write {}", path.display()))
}
