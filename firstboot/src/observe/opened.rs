//! Encrypted volumes that are open: mappings of device mapper's, by the UUID that cryptsetup gives them.

use super::uses::AllUses;
use super::{signatures, sysfs, unreadable};
use anyhow::Context;
use std::path::Path;
use storage_plan::inventory::Opened;
use uuid::Uuid;

/// All of them, sorted by their headers' UUIDs.
pub(super) fn opened(uses: &AllUses) -> anyhow::Result<Vec<Opened>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/sys/block").context("cannot list /sys/block")?.flatten() {
        let (name, folder) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        let Some(uuid) = sysfs::text(&folder, "dm/uuid").and_then(|text| header(&text)) else { continue };
        let signatures = signatures(&Path::new("/dev").join(&name)).unwrap_or_else(|error| {
            tracing::warn!(mapping = name, "cannot read: {error:#}");
            vec![unreadable()]
        });
        let uses = uses.of(&name, &sysfs::text(&folder, "dev").unwrap_or_default(), &folder);
        all.push(Opened { name, uuid, signatures, uses });
    }
    all.sort_by_key(|opened| opened.uuid);
    Ok(all)
}

/// The UUID of the LUKS header of a mapping with this UUID: `CRYPT-LUKS2-`, 32 digits and a name (cryptsetup's
/// `dm_prepare_uuid`).
fn header(mapping: &str) -> Option<Uuid> {
    let rest = mapping.strip_prefix("CRYPT-LUKS2-").or_else(|| mapping.strip_prefix("CRYPT-LUKS1-"))?;
    Uuid::parse_str(rest.get(..32)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_tells_whose_header_it_is_of() {
        let uuid = Uuid::parse_str("2969559b-8487-56fb-ad0d-2bd36150a901").unwrap();
        let of = |text: &str| header(text);
        assert_eq!(of("CRYPT-LUKS2-2969559b848756fbad0d2bd36150a901-luks-2969559b"), Some(uuid));
        for other in ["CRYPT-VERITY-2969559b848756fbad0d2bd36150a901-root", "LVM-abc", "CRYPT-LUKS2-2969", ""] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
