//! What this machine says about itself.
#![allow(clippy::disallowed_methods, reason = "edge: reads sysfs")]

use machine_config::identity::{Facts, is_placeholder_serial};
use std::fs;
use std::path::Path;

/// SMBIOS serial and UUID, and the permanent MAC addresses of the ports that are there.
#[must_use]
pub fn read() -> Facts {
    let dmi = |file: &str| {
        let text = fs::read_to_string(Path::new("/sys/class/dmi/id").join(file)).ok()?;
        Some(text.trim().to_owned()).filter(|t| !t.is_empty())
    };
    let mut macs: Vec<String> = fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
        // Hardware has a device behind it; bridges, bonds and VLANs have not.
        .filter(|port| port.path().join("device").exists())
        .filter_map(|port| fs::read_to_string(port.path().join("address")).ok())
        .map(|mac| mac.trim().to_owned())
        .collect();
    macs.sort();
    Facts { serial: dmi("product_serial"), uuid: dmi("product_uuid").and_then(|u| u.parse().ok()), macs }
}

/// The serial number, if it says anything.
#[must_use]
pub fn chassis(facts: &Facts) -> Option<String> {
    facts.serial.clone().filter(|s| !is_placeholder_serial(s))
}
