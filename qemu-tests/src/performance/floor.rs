//! What no build can be faster than: its packages read once, its disk image written once.
#![allow(clippy::disallowed_methods, reason = "edge: reads the store and writes a copy")]

use super::figures::{Floor, hundredths};
use anyhow::{Context, Result};
use image_builder::lock::Lock;
use image_builder::package::name;
use image_builder::store::Store;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

/// Adds one round: the packages of the lock `lock` out of `store`, and as many bytes as the disk image in
/// `out` has, written below `scratch`; a draft is not waited for to reach the disk either.
///
/// # Errors
/// When one of them is missing, or the copy can't be written.
pub(super) fn measure(store: &Store, lock: &Path, out: &Path, scratch: &Path, floor: &mut Option<Floor>) -> Result<()> {
    let lock = Lock::read(lock)?.context("there is no lock; `make image` makes it")?;
    let floor = floor.get_or_insert_default();
    let began = Instant::now();
    floor.inputs = 0;
    for package in &lock.package {
        let blob = store.blob(&package.sha256).with_context(|| format!("the store has no {}", package.name))?;
        floor.inputs += io::copy(&mut blob.open()?, &mut io::sink())?;
    }
    floor.read.push(hundredths(began.elapsed().as_secs_f64()));

    floor.outputs = out.join(name::DISK).metadata().context("the build left no disk image")?.blocks() * 512;
    let began = Instant::now();
    let mut copy = tempfile::tempfile_in(scratch)?;
    io::copy(&mut io::repeat(1).take(floor.outputs), &mut copy)?;
    floor.written.push(hundredths(began.elapsed().as_secs_f64()));
    Ok(())
}
