//! Where members of arrays were, as the agent keeps it on the state partition (`storage_plan::remember`).

use storage_plan::inventory::Remembered;

/// Where it lies. Nothing is there before the state partition is mounted, and then nothing is remembered.
pub const PATH: &str = "/var/lib/bedplate/storage/members.json";

/// What was kept. A file that can't be read tells nothing: then no disk is taken by its place.
pub(super) fn read() -> Vec<Remembered> {
    std::fs::read(PATH).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}
