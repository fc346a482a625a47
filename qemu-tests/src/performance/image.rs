//! Sizes of a release.
#![allow(clippy::disallowed_methods, reason = "edge: reads the release")]

use super::figures::Image;
use anyhow::{Context, Result};
use image_builder::package::manifest::Manifest;
use image_builder::package::{files, name};
use on_disk::{pe, verity};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Measures the release in `folder`.
///
/// # Errors
/// When it is not complete.
pub fn measure(folder: &Path) -> Result<Image> {
    let read = |name: &str| {
        let file = folder.join(name);
        std::fs::read(&file).with_context(|| format!("{} can't be read; `make image` makes it", file.display()))
    };
    let manifest = Manifest::parse(&String::from_utf8(read(name::MANIFEST)?)?)?;
    let disk = std::fs::metadata(folder.join(name::DISK))?;
    let uki = pe::Image::parse(read(name::UKI)?)?;
    let section = |name: &str| uki.section(name).map_or(0, |data| data.len() as u64);
    let entries = files::read(&String::from_utf8(read(name::FILES)?)?)?;
    Ok(Image {
        name: format!("{} {}", manifest.name, manifest.version),
        kernel_release: manifest.kernel,
        components: manifest.components.into_values().flatten().collect(),
        disk: disk.len(),
        disk_allocated: disk.blocks() * 512,
        root: manifest.root_image.size,
        verity: verity::hash_area_size(manifest.root_image.size / verity::BLOCK as u64),
        content: entries.values().filter_map(|e| e.size).sum(),
        entries: entries.len(),
        uki: uki.bytes().len() as u64,
        initrd: section(".initrd"),
        kernel: section(".linux"),
    })
}
