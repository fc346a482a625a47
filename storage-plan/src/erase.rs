//! Erasing on purpose: whether a permit fits what is found, and the note on the disk that outlives a power cut.
//!
//! Guarantees: a permit counts only for the machine, the cluster and the very device that it names, and only if all that
//! is found on that device is what it expects, nothing more and nothing less. A disk that is in use, that could not be
//! looked at as a whole, or that belongs to a volume of the configuration is never erased.
//!
//! Erasing begins with one sector, the first of the disk, and ends with that same sector. A power cut leaves either
//! what was there, or the note, or nothing:
//!
//! 1. the permit is noted on the state partition as begun;
//! 2. a [`Note`] is written over the first sector. That is one write, so it is there or it is not;
//! 3. everything else is zeroed, in any order, and looked at;
//! 4. the note is zeroed, the permit is noted as used.
//!
//! A drive that is reverted by its PSID may be locked, and take no note before. It loses all at once, and has the note from then on.
//!
//! From step 2 on the disk itself says by which permit it is being erased and what that permit named, so the next
//! boot goes on without the permit and without the state partition. It goes on only while nothing is found but what was
//! named: a disk that was put to another use meanwhile is refused, although it may still carry the note.

use crate::identity::{Layer, Owner, VolumeKey};
use crate::inventory::{Device, Inventory, Rest, Signature};
use crate::verdict::{Plan, Verdict, VolumeVerdict};
use machine_config::permit::{Granted, LOCKED, MOST_LAYERS, Method, Permit, Psid};
use on_disk::gpt::{Copy, ProtectiveMbr, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Data in which nothing is recognised.
const UNKNOWN: &str = "unknown data";
/// A header of a GPT whose checksums do not hold.
const BROKEN: &str = "broken gpt";
/// What the first sector is while a disk is erased. It holds none of the signatures that are looked for there.
const MAGIC: &[u8; 16] = b"BEDPLATE-ERASE-1";
/// Where the layers stand in the note: behind magic, proof, permit, method and count. 24 of 16 bytes end at 448, so that
/// the places of other signatures in a first sector (508, 510) stay zero.
const LAYERS_AT: usize = 64;

/// One disk to be erased, and by what right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Erase {
    /// The permit.
    pub permit: Uuid,
    /// Name of the key that signed it; none if an interrupted run began by it, and the permit is not at hand.
    pub signed_by: Option<String>,
    /// The device that the permit names.
    pub device: String,
    /// All that is on it.
    pub holds: Vec<String>,
    /// How it is erased.
    pub method: Method,
    /// The PSID, for the method that takes one; none if an interrupted run began it, for the note is on the disk when it is
    /// reverted. What is made of a plan leaves it out.
    #[serde(skip)]
    pub psid: Option<Psid>,
    /// Whether an interrupted run began it.
    pub begun: bool,
    /// The sector that is written first.
    #[serde(with = "hex")]
    pub note: Vec<u8>,
}

/// What is to come of a disk that holds what is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is left alone. Nobody gave leave, or not for this: then in sentences what differs.
    Left(Vec<String>),
    /// It is erased.
    Erased(Box<Erase>),
}

/// Every layer found on a disk, in the words that a permit uses, sorted. None if it could not be looked at as a whole; of a drive
/// that is locked (TCG) only that is told.
///
/// A signature is its kind and the beginning of its UUID, or its label if it has no UUID; plain ASCII throughout, so
/// that it can be read from any console and typed again.
pub fn layers(device: &Device) -> Option<Vec<String>> {
    device.sector()?;
    let on_partitions = device.partitions.iter().flat_map(|p| p.signatures.iter().map(move |s| (p, s)));
    let all = || device.signatures.iter().chain(on_partitions.clone().map(|(_, s)| s));
    if all().any(|s| s.kind == Signature::UNREADABLE) {
        // What shows all the same is not what it stores.
        return device.locked.then(|| vec![LOCKED.to_owned()]);
    }
    let mut layers: Vec<String> = device.signatures.iter().filter(|s| !s.is_gpt()).map(layer).collect();
    let copies = [&device.table.primary, &device.table.backup];
    let tables: BTreeSet<String> = copies.into_iter().filter_map(Copy::table).map(table).collect();
    layers.extend(tables);
    layers.extend(copies.iter().any(|c| matches!(c, Copy::Broken(_))).then(|| BROKEN.to_owned()));
    layers.extend((device.table.mbr == ProtectiveMbr::Other).then(|| "boot sector".to_owned()));
    layers.extend(on_partitions.map(|(p, s)| format!("{} on partition {}", layer(s), p.number)));
    match device.rest {
        Rest::Data { .. } => layers.push(UNKNOWN.into()),
        Rest::NotProbed if layers.is_empty() => return None,
        _ if layers.is_empty() && !device.ends.is_empty() => layers.push(UNKNOWN.into()),
        _ => {}
    }
    layers.sort();
    Some(layers)
}

/// `ext4 3f2a6c1e`, `zfs_member "tank"`, `crypto_LUKS`.
fn layer(signature: &Signature) -> String {
    let kind = signature.kind.escape_default();
    match (&signature.uuid, &signature.label) {
        (Some(uuid), _) if uuid.parse::<Uuid>().is_ok() => format!("{kind} {}", uuid.get(..8).unwrap_or(uuid)),
        (Some(uuid), _) => format!("{kind} {}", uuid.escape_default()),
        (None, Some(label)) => format!("{kind} \"{}\"", label.escape_default()),
        (None, None) => kind.to_string(),
    }
}

fn table(table: &Table) -> String {
    let (guid, count) = (table.guid.to_string(), table.partitions.len());
    format!("gpt {} with {count} partition{}", &guid[..8], if count == 1 { "" } else { "s" })
}

/// What the first sector of a disk says while the disk is erased.
///
/// Its proof is derived from cluster, machine, serial number and all that the note says, as every UUID of ours is: a copy
/// of the disk, or the disk of another node, carries no note that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The permit that it is erased by.
    pub permit: Uuid,
    /// How.
    pub method: Method,
    /// What the permit named: each layer as a UUID over its words, which are too long for a sector.
    layers: Vec<Uuid>,
}

impl Note {
    /// The note for a permit that names these layers, [`MOST_LAYERS`] at most.
    pub fn new(permit: Uuid, method: Method, layers: &[String]) -> Note {
        let layers = layers.iter().take(MOST_LAYERS).map(|l| Uuid::new_v5(&permit, l.as_bytes())).collect();
        Note { permit, method, layers }
    }

    /// The sector, of this many bytes.
    pub fn sector(&self, owner: &Owner, device: &str, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size.max(512)];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..32].copy_from_slice(self.proof(owner, device).as_bytes());
        bytes[32..48].copy_from_slice(self.permit.as_bytes());
        bytes[48] = match self.method {
            Method::Wipe => 1,
            Method::WriteZeroes => 2,
            Method::Discard => 3,
            Method::SecureErase => 4,
            Method::Sanitize => 5,
            Method::CryptoErase => 6,
            Method::PsidRevert => 7,
        };
        // There are MOST_LAYERS at most.
        bytes[49] = self.layers.len() as u8;
        for (place, layer) in bytes[LAYERS_AT..].chunks_mut(16).zip(&self.layers) {
            place.copy_from_slice(layer.as_bytes());
        }
        bytes
    }

    /// The note on this disk, if its first sector is exactly one that this node wrote there.
    pub fn find(owner: &Owner, device: &Device) -> Option<Note> {
        let found = &device.ends.iter().find(|sector| sector.offset == 0)?.bytes;
        let uuid = |at: usize| Uuid::from_slice(found.get(at..at + 16)?).ok();
        let method = match found.get(48)? {
            1 => Method::Wipe,
            2 => Method::WriteZeroes,
            3 => Method::Discard,
            4 => Method::SecureErase,
            5 => Method::Sanitize,
            6 => Method::CryptoErase,
            7 => Method::PsidRevert,
            _ => return None,
        };
        let count = usize::from(*found.get(49)?).min(MOST_LAYERS);
        let layers = (0..count).map(|i| uuid(LAYERS_AT + 16 * i)).collect::<Option<Vec<_>>>()?;
        let note = Note { permit: uuid(32)?, method, layers };
        (note.sector(owner, device.identity()?, found.len()) == *found).then_some(note)
    }

    /// Whether a layer may be there while the disk is erased: it was named, or it is what tearing down leaves.
    fn allows(&self, layer: &str) -> bool {
        [UNKNOWN, BROKEN].contains(&layer) || self.layers.contains(&Uuid::new_v5(&self.permit, layer.as_bytes()))
    }

    fn proof(&self, owner: &Owner, device: &str) -> Uuid {
        let mut name = format!("erase.{}.{}", self.permit, self.method.word());
        self.layers.iter().for_each(|layer| name.push_str(&format!(".{layer}")));
        owner.uuid(&VolumeKey { name, generation: 0 }, Layer::Disk, device)
    }
}

/// What the permits, and a note that an interrupted run left, say of a disk that holds what is not ours.
///
/// What a permit can never change (use by something, a volume of the configuration) is for the caller to ask first.
pub fn fate(owner: &Owner, device: &Device, permits: &[Granted]) -> Fate {
    let Some(identity) = device.identity() else { return Fate::Left(Vec::new()) };
    let ours = |g: &&Granted| g.permit.cluster == owner.cluster && g.permit.machine == owner.machine;
    let permits: Vec<&Granted> = permits.iter().filter(ours).filter(|g| g.permit.device == identity).collect();
    let note = Note::find(owner, device);
    let Some(found) = layers(device) else {
        let asked = note.is_some() || !permits.is_empty();
        return Fate::Left(
            asked.then(|| "A permit for it does nothing: it can't be read.".to_owned()).into_iter().collect(),
        );
    };
    let sector = usize::try_from(device.logical_sector).unwrap_or(512);
    let locked = "It is locked (TCG): what is on it can't be told, nor whether it was made for this node.";
    let mut differs: Vec<String> = (found == [LOCKED]).then(|| locked.to_owned()).into_iter().collect();
    if let Some(note) = note {
        let new: Vec<&String> = found.iter().filter(|layer| !note.allows(layer)).collect();
        if new.is_empty() {
            let by = permits.iter().find(|g| g.permit.id == note.permit).map(|g| g.signed_by.clone());
            return Fate::Erased(Box::new(Erase {
                permit: note.permit,
                signed_by: by,
                device: identity.into(),
                method: note.method,
                psid: None,
                begun: true,
                note: note.sector(owner, identity, sector),
                holds: found,
            }));
        }
        differs.push(format!(
            "An interrupted run began to erase it by permit {}, which did not name {}.",
            short(note.permit),
            quoted(&new)
        ));
    }
    for granted in permits {
        let permit = &granted.permit;
        let mut expected = permit.expect.clone();
        expected.sort();
        if expected == found {
            return Fate::Erased(Box::new(Erase {
                permit: permit.id,
                signed_by: Some(granted.signed_by.clone()),
                device: identity.into(),
                method: permit.method,
                psid: permit.psid.clone(),
                begun: false,
                note: Note::new(permit.id, permit.method, &found).sector(owner, identity, sector),
                holds: found,
            }));
        }
        let (lacking, more) = (without(&expected, &found), without(&found, &expected));
        let mut how = Vec::new();
        how.extend((!more.is_empty()).then(|| format!("does not name {}", quoted(&more))));
        how.extend((!lacking.is_empty()).then(|| format!("names {}, which is not there", quoted(&lacking))));
        differs.push(format!("Permit {} for it does nothing: it {}.", short(permit.id), how.join(", and ")));
    }
    Fate::Left(differs)
}

/// What is in the first list and not in the second, each as often as it is there more.
fn without<'a>(list: &'a [String], other: &[String]) -> Vec<&'a String> {
    let mut other: Vec<&String> = other.iter().collect();
    let taken = |item: &&String| other.iter().position(|o| o == item).map(|at| other.swap_remove(at)).is_none();
    list.iter().filter(taken).collect()
}

fn quoted(layers: &[&String]) -> String {
    layers.iter().map(|layer| format!("`{layer}`")).collect::<Vec<_>>().join(", ")
}

/// The beginning of a permit's id, for people.
pub fn short(id: Uuid) -> String {
    id.to_string()[..8].to_owned()
}

/// What a permit that counts comes to in a plan, in a sentence: what is erased by it, or why it does nothing.
///
/// # Errors
/// Why it does nothing.
pub fn outcome(plan: &Plan, inventory: &Inventory, permit: &Permit) -> Result<String, String> {
    let named: Vec<&Device> =
        inventory.devices.iter().filter(|d| d.identity() == Some(permit.device.as_str())).collect();
    let step = plan.graph.steps.iter().find(|s| s.action.permit() == Some(permit.id));
    match (step, &named[..]) {
        (Some(step), [device, ..]) => Ok(format!("{} is erased for \"{}\"", device.words(), step.volume)),
        (_, []) => Err(format!("no disk here is {}", permit.device)),
        (None, [device, ..]) => {
            let (words, refused) = (device.words(), |v: &&VolumeVerdict| v.verdict == Verdict::Refuse);
            let by = plan.volumes.iter().filter(refused).find(|v| v.disks.contains(&words));
            Err(match by {
                _ if !plan.refusals.is_empty() => "the configuration is refused".into(),
                Some(volume) => format!("\"{}\", which {words} is for, is refused", volume.volume),
                None if layers(device).is_some_and(|found| found.is_empty()) => format!("{words} is blank"),
                None => format!("no volume takes {words} anew"),
            })
        }
    }
}

/// The command that makes a permit for what is found on a disk; none for a disk that no permit can be for.
pub fn command(owner: &Owner, device: &Device) -> Option<String> {
    let found = layers(device).filter(|found| (1..=MOST_LAYERS).contains(&found.len()))?;
    let expect: Vec<String> = found.iter().map(|layer| format!(" --expect {}", shell_word(layer))).collect();
    let by = if found == [LOCKED] { " --method psid-revert --psid PSID-ON-ITS-LABEL" } else { "" };
    let (machine, device) = (shell_word(&owner.machine), shell_word(device.identity()?));
    Some(format!("bedplate permit erase {machine} {device}{}{by}", expect.concat()))
}

/// A text as one word of a POSIX shell, whatever a disk says of itself.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:/@%+=,-".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        text.into()
    } else if text.chars().all(|c| plain(c) || c == ' ') {
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner { cluster: Uuid::from_u128(7), machine: "n1".into() }
    }

    /// A disk with nothing on it but this first sector.
    fn disk(serial: &str, first: Vec<u8>) -> Device {
        let nothing = on_disk::gpt::read(0, on_disk::gpt::SectorSize::B512, |_, n| Ok::<_, ()>(vec![0; n]));
        Device {
            name: "vdb".into(),
            number: "254:16".into(),
            sysfs: "/sys/devices/vdb".into(),
            serial: Some(serial.into()),
            namespace: None,
            wwn: None,
            model: None,
            by_path: Vec::new(),
            slot: None,
            size: 1 << 30,
            logical_sector: 512,
            physical_sector: 512,
            rotational: false,
            transport: None,
            removable: false,
            read_only: false,
            locked: false,
            signatures: Vec::new(),
            table: nothing.expect("reads"),
            ends: vec![crate::inventory::Sector { offset: 0, bytes: first }],
            rest: Rest::Zero,
            free_tail: Rest::NotProbed,
            partitions: Vec::new(),
            uses: crate::inventory::Uses::default(),
        }
    }

    #[test]
    fn a_signature_is_said_briefly_and_in_plain_characters() {
        let said = |kind: &str, uuid: Option<&str>, label: Option<&str>| {
            layer(&Signature { kind: kind.into(), uuid: uuid.map(Into::into), label: label.map(Into::into) })
        };
        let uuid = "3f2a6c1e-0000-4000-8000-000000000000";
        assert_eq!(said("ext4", Some(uuid), Some("backup-2019")), "ext4 3f2a6c1e");
        assert_eq!(said("vfat", Some("1234-ABCD"), None), "vfat 1234-ABCD");
        assert_eq!(said("zfs_member", None, Some("t\"ä\u{1b}")), "zfs_member \"t\\\"\\u{e4}\\u{1b}\"");
        assert_eq!(said("crypto_LUKS", None, None), "crypto_LUKS");
    }

    #[test]
    fn a_word_of_a_disk_stays_one_word_of_the_shell() {
        assert_eq!(shell_word("ZL2ABCDE"), "ZL2ABCDE");
        assert_eq!(shell_word("ext4 3f2a6c1e"), "\"ext4 3f2a6c1e\"");
        assert_eq!(shell_word("x \"$(reboot)\" 'y'"), "'x \"$(reboot)\" '\\''y'\\'''");
        assert_eq!(shell_word("--help"), "\"--help\"");
        assert_eq!(shell_word(""), "\"\"");
    }

    #[test]
    fn what_lacks_is_counted() {
        let list = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let (one, two) = (list(&["a", "b", "b"]), list(&["b", "c"]));
        assert_eq!(without(&one, &two), ["a", "b"]);
        assert_eq!(without(&two, &one), ["c"]);
    }

    #[test]
    fn no_byte_of_a_note_can_change() {
        let all = [
            Method::Wipe,
            Method::WriteZeroes,
            Method::Discard,
            Method::SecureErase,
            Method::Sanitize,
            Method::CryptoErase,
            Method::PsidRevert,
        ];
        all.into_iter().for_each(no_byte_of_a_note_by_it_can_change);
    }

    fn no_byte_of_a_note_by_it_can_change(method: Method) {
        let layers = vec!["ext4 3f2a6c1e".to_owned(), "boot sector".to_owned()];
        let note = Note::new(Uuid::from_u128(9), method, &layers);
        let sector = note.sector(&owner(), "S1", 512);
        assert_eq!(sector.len(), 512);
        assert!(sector[LAYERS_AT + 16 * MOST_LAYERS..].iter().all(|b| *b == 0), "places of other signatures");
        let read = |bytes: Vec<u8>, serial: &str, owner: &Owner| Note::find(owner, &disk(serial, bytes));
        assert_eq!(read(sector.clone(), "S1", &owner()), Some(note));
        assert_eq!(read(sector.clone(), "S2", &owner()), None, "a copy on another disk");
        assert_eq!(read(sector.clone(), "S1", &Owner { machine: "n2".into(), ..owner() }), None);
        assert_eq!(read(sector.clone(), "S1", &Owner { cluster: Uuid::nil(), ..owner() }), None);
        for at in 0..512 {
            let mut altered = sector.clone();
            altered[at] ^= 1;
            assert_eq!(read(altered, "S1", &owner()), None, "byte {at}");
        }
        for length in 0..512 {
            assert_eq!(read(sector[..length].to_vec(), "S1", &owner()), None, "{length} bytes");
        }
    }
}
