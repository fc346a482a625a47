//! The guest's kernel and initrd, from the packages that the lock names for the image.

use super::libraries;
use anyhow::{Context, Result, anyhow};
use image_builder::compose::conflict;
use image_builder::compose::exclude::Exclude;
use image_builder::compose::finish;
use image_builder::compose::layer::{Ids, Layer};
use image_builder::compose::tree::Tree;
use image_builder::compose::{self};
use image_builder::initrd::{self, cpio::Archive};
use image_builder::kernel::{self, Kernel};
use image_builder::lock::{Lock, Package};
use image_builder::progress::Progress;
use image_builder::recipe::Recipe;
use image_builder::store::{Fetched, Store};
use std::collections::{BTreeMap, BTreeSet};

/// What the agent drives, and what the cases themselves use.
const PROGRAMS: [&str; 10] = [
    "/usr/sbin/mdadm",
    "/usr/sbin/cryptsetup",
    "/usr/bin/systemd-cryptenroll",
    "/usr/sbin/lvm",
    "/usr/sbin/thin_check",
    "/usr/sbin/dmsetup",
    "/usr/sbin/mkfs.xfs",
    "/usr/sbin/mkfs.ext4",
    "/usr/sbin/xfs_growfs",
    "/usr/sbin/resize2fs",
];
/// Libraries that those look for by name once they run: cryptsetup's plug-in for what systemd keeps in a TPM, and what that
/// needs. Below the folder of libraries.
const LOADED: [&str; 6] = [
    "cryptsetup/libcryptsetup-token-systemd-tpm2.so",
    "libcryptsetup.so.12",
    "libtss2-esys.so.0",
    "libtss2-mu.so.0",
    "libtss2-rc.so.0",
    "libtss2-tcti-device.so.0",
];
/// Files that those read.
const FILES: [&str; 1] = ["/etc/mke2fs.conf"];
/// Modules to load, beside what they need; nothing in the guest could ask for one later.
const MODULES: [&str; 23] = [
    "crc32c_generic",
    "crc32c_intel",
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "nvme",
    "sd_mod",
    "target_core_user",
    "tcm_loop",
    "raid0",
    "raid1",
    "raid456",
    "raid10",
    "dm_crypt",
    "dm_raid",
    "dm_thin_pool",
    "xts",
    "aes_generic",
    "algif_skcipher",
    "tpm_crb",
    "xfs",
    "ext4",
    "erofs",
];

/// The lock's packages as one tree: what the image is made of, without components, overlays and emulations.
///
/// # Errors
/// When a package was not fetched or can't be opened.
pub(super) fn tree(
    lock: &Lock,
    recipe: &Recipe,
    fetched: &BTreeMap<String, Fetched>,
    store: &Store,
    progress: &Progress,
) -> Result<Tree> {
    let packages = lock.package.iter().map(|package| {
        let fetched = fetched.get(&package.name);
        let fetched = fetched.ok_or_else(|| anyhow!("the package {} was not fetched", package.name))?;
        Ok((package.clone(), fetched.clone()))
    });
    let packages: Vec<(Package, Fetched)> = packages.collect::<Result<_>>()?;
    let (ids, exclude) = (Ids::new(&lock.user, &lock.group), Exclude::new(&recipe.packages.exclude)?);
    let layers = compose::open_packages(&packages, store, progress)?;
    let layers = layers.iter().map(|(package, deb)| Layer::of_package(package, deb, &ids, &exclude));
    let mut tree = conflict::merge(layers.collect::<Result<_>>()?)?;
    finish::folders(&mut tree)?;
    Ok(tree)
}

/// The kernel of `tree`, and an initrd with `programs`, by path, one of them `/init`, with those at `paths` of the tree, and with the
/// files `beside`.
///
/// # Errors
/// When the tree lacks a program, a library or a module that the guest needs.
pub(super) fn make(
    tree: &Tree,
    libraries_in: &str,
    mut programs: Vec<(String, Vec<u8>)>,
    paths: &[&str],
    beside: Vec<(String, Vec<u8>)>,
    snapshot: i64,
) -> Result<(Kernel, Vec<u8>)> {
    let kernel = kernel::select(tree)?;
    let loaded = LOADED.iter().map(|library| format!("{libraries_in}/{library}"));
    for path in PROGRAMS.iter().chain(paths).map(|path| (*path).to_owned()).chain(loaded) {
        let (_, content) = tree.file(&path).with_context(|| format!("no package of the lock has {path}"))?;
        let bytes = content.read()?;
        programs.push((path, bytes));
    }
    let mut files: BTreeMap<String, (u32, Vec<u8>)> = BTreeMap::new();
    for (path, content) in libraries::closure(tree, libraries_in, &programs)? {
        files.insert(path, (0o755, content.read()?));
    }
    files.extend(programs.into_iter().map(|(path, bytes)| (path, (0o755, bytes))));
    for path in FILES {
        let (_, content) = tree.file(path).with_context(|| format!("no package of the lock has {path}"))?;
        files.insert(path.to_owned(), (0o644, content.read()?));
    }
    files.extend(beside.into_iter().map(|(path, bytes)| (path, (0o644, bytes))));
    let mut order = String::new();
    for (name, bytes) in initrd::modules_in_order(tree, &kernel, &MODULES)? {
        let path = format!("/modules/{name}.ko");
        order.push_str(&format!("{path}\n"));
        files.insert(path, (0o644, bytes));
    }
    files.insert("/modules/order".into(), (0o644, order.into_bytes()));

    let mut archive = Archive::new(snapshot);
    let mut folders: BTreeSet<&str> = ["/dev", "/proc", "/run", "/sys", "/tmp", "/var"].into();
    for path in files.keys() {
        folders.extend(path.match_indices('/').map(|(at, _)| &path[..at]).filter(|folder| !folder.is_empty()));
    }
    for folder in folders {
        archive.folder(folder)?;
    }
    archive.character_device("/dev/console", 0o600, (5, 1))?;
    for (path, (mode, bytes)) in &files {
        archive.file(path, *mode, bytes)?;
    }
    Ok((kernel, archive.finish()?))
}
