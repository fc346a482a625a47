//! Ignition, as Debian packages it: what it needs in the guest to make the same arrays and file systems.

use super::builds::Builder;
use super::tools;
use anyhow::{Context, Result};
use image_builder::lock::Lock;
use image_builder::progress::Progress;
use image_builder::recipe::Recipe;
use image_builder::store::Store;
use std::fs;

/// Where it is in the guest.
const PROGRAM: &str = "/usr/bin/ignition";
/// Where its package has it, for initrds.
const PACKAGED: &str = "usr/lib/dracut/modules.d/30ignition/ignition";
/// What it is packaged with for other stages than that of disks.
const PROVIDED: [&str; 4] = ["dracut-core", "gdisk", "mdadm", "systemd"];

/// Its program, and the version of its package.
///
/// # Errors
/// When it can't be had.
pub(super) fn program(builder: &Builder, progress: &Progress) -> Result<((String, Vec<u8>), String)> {
    let store = Store::open(&Store::default_folder())?;
    let scratch = store.scratch("ignition")?;
    let recipe = tools::recipe(&Recipe::read(&builder.recipe)?, &["ignition"], &PROVIDED);
    let tree = tools::open(builder, &recipe, scratch.path(), &store, progress)?;
    let bytes = fs::read(tree.root().join(PACKAGED)).context("ignition is not in its own tools")?;
    let lock = Lock::read(&Lock::path_for(&scratch.path().join(tools::RECIPE)))?.context("its tools are not locked")?;
    let package = lock.tool.iter().find(|package| package.name == "ignition").context("the lock lacks ignition")?;
    Ok(((PROGRAM.to_owned(), bytes), package.version.to_string()))
}
