//! Which line of the configuration decides on a volume, and on what is refused of it.

use crate::refusal;
use crate::verdict::{Kind, VolumeVerdict};
use machine_config::Place;
use machine_config::schema::MachineConfig;

/// Where `volume` is asked for.
pub(super) fn volume(volume: &VolumeVerdict, config: &MachineConfig) -> Option<Place> {
    let keys = keys(&volume.volume, volume.kind, config);
    config.storage.places.of(&keys.iter().map(String::as_str).collect::<Vec<_>>()).cloned()
}

/// The line that a person would change to be refused no more: what the key of the array or of the disks says, which in most
/// cases is the selector.
pub(super) fn refusal(volume: &str, kind: Kind, code: &str, config: &MachineConfig) -> Option<Place> {
    let keys = keys(volume, kind, config);
    let section = keys.iter().map(String::as_str).take(2);
    let of_volume = |key| {
        let path: Vec<&str> = keys.iter().map(String::as_str).chain([key]).collect();
        config.storage.places.of(&path).cloned()
    };
    let key = match code {
        refusal::OTHER_LEVEL if kind != Kind::State => "level",
        refusal::DIRTY_DEGRADED | refusal::READ_ONLY => "dirty-degraded",
        refusal::NO_JOURNAL => "journal",
        refusal::NO_ROOM => return of_volume("size"),
        refusal::OTHER_LAYOUT if kind == Kind::Each => "partition",
        refusal::OTHER_LAYOUT => return of_volume("layout"),
        refusal::CONFIG => "mount",
        _ => "disks",
    };
    let path: Vec<&str> = match (kind, key) {
        (Kind::Each | Kind::Array | Kind::Logical, "mount") => keys.iter().map(String::as_str).chain([key]).collect(),
        _ => section.chain([key]).collect(),
    };
    config.storage.places.of(&path).cloned()
}

/// The keys of a volume with this name: `object/ZL2ABCDE` is of `each.object`, `object/ZL2ABCDE/meta` of
/// `each.object.partition.meta`, `meta/db` of `array.meta.volume.db`.
fn keys(volume: &str, kind: Kind, config: &MachineConfig) -> Vec<String> {
    let (name, rest) = volume.split_once('/').unwrap_or((volume, ""));
    // A serial number may have anything in it, so a partition is one only where the section has some.
    let is_cut = config.storage.each.get(name).is_some_and(|each| !each.partition.is_empty());
    let part = rest.rsplit_once('/').map_or("", |(_, part)| part);
    let keys: &[&str] = match kind {
        Kind::State => &["system"],
        Kind::Each if is_cut => &["each", name, "partition", part],
        Kind::Each => &["each", name],
        Kind::Array => &["array", name, "volume", rest],
        Kind::Logical => &["group", name, "volume", rest],
    };
    keys.iter().map(|key| (*key).to_owned()).collect()
}
