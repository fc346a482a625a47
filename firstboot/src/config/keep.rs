//! The configuration that last brought up this node, kept on the state partition.
#![allow(clippy::disallowed_methods, reason = "edge: writes the kept copy")]

use super::{Chosen, Found};
use anyhow::Result;
use std::fs;
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
    crate::state_file::replace(&target, chosen.text.as_bytes())
}
