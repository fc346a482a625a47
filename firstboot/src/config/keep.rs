//! The configuration that last brought up this node, kept on the state partition.
#![allow(clippy::disallowed_methods, reason = "edge: writes the kept copy")]

use super::{Chosen, Found};
use anyhow::{Context, Result};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Where the copy lies, seen from the state partition.
pub const BELOW_STATE: &str = "lib/bedplate/config";
const FOLDER: &str = "/var/lib/bedplate/config";

/// The floor: the highest revision among copies that were kept. Their own signature makes them count.
#[must_use]
pub fn floor(found: &[Found], keys: &[machine_config::signature::PublicKey]) -> Option<u64> {
    let kept = found.iter().filter(|f| f.source == super::sources::KEPT_COPY);
    kept.filter_map(|f| std::str::from_utf8(&f.bytes).ok())
        .filter_map(|text| machine_config::delivered::open(text, "kept", keys).ok())
        .map(|delivered| delivered.revision)
        .max()
}

/// Keeps a copy, readable by root alone: it may be a bundle.
///
/// # Errors
/// When the state partition can't be written.
pub fn keep(chosen: &Chosen) -> Result<()> {
    let target = Path::new(FOLDER).join("bedplate.toml");
    if fs::read(&target).is_ok_and(|kept| kept == chosen.text.as_bytes()) {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(FOLDER).with_context(|| format!("{FOLDER}: not made"))?;
    let new = Path::new(FOLDER).join("new");
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(chosen.text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &target)?;
        fs::File::open(FOLDER)?.sync_all()
    };
    write().with_context(|| format!("{} can't be written", target.display()))
}
