//! Disks picked by identity: exactly as many as the configuration says, or none.
//!
//! Guarantees: the result does not depend on the order of devices or on their kernel names; a disk that is named
//! and missing is never replaced by another; two disks that answer to one identity are not told apart by chance.

use crate::inventory::{Device, is_one_disk, size_words};
use crate::refusal::{self, diagnostic};
use machine_config::Diagnostic;
use machine_config::schema::{Media, Selector, Transport};

/// What a selector gave.
#[derive(Debug, Default)]
pub struct Selected<'a> {
    /// The disks that match, by identity.
    pub disks: Vec<&'a Device>,
    /// What is wrong with the selection as a whole. When there is something, no new volume is made of it.
    pub refusals: Vec<Diagnostic>,
    /// Disks that are named and not there, in words, each with its refusal.
    pub missing: Vec<(String, Diagnostic)>,
}

/// Applies `selector` to `devices` for `volume` (its name for people).
///
/// Removable disks take part only when they are named or `transport` asks for them.
pub fn select<'a>(selector: &Selector, devices: &[&'a Device], volume: &str) -> Selected<'a> {
    let mut selected = Selected::default();
    let fits: Vec<&'a Device> = devices.iter().copied().filter(|d| fits(selector, d)).collect();
    let named = names(selector);
    if named.is_empty() {
        selected.disks = fits;
        selected.disks.retain(|d| !d.removable || selector.transport.is_some());
        let wanted = selector.count.unwrap_or(1);
        selected.refusals.extend(count(selector, &selected.disks, wanted, volume));
    } else {
        for (kind, name) in &named {
            let mut answer = fits.iter().copied().filter(|d| answers(d, kind, name));
            let (first, second) = (answer.next(), answer.next());
            match (first, second) {
                (Some(disk), None) => selected.disks.push(disk),
                (Some(a), Some(b)) => selected.refusals.push(twins(&[a, b], &format!("{kind} {name}"), volume)),
                (None, _) => selected.missing.push((
                    format!("{kind} {name}"),
                    missing(kind, name, devices.iter().copied().find(|d| answers(d, kind, name)), volume),
                )),
            }
        }
        if let Some(wanted) = selector.count.filter(|c| *c != named.len()) {
            selected.refusals.push(diagnostic(
                refusal::CONFIG,
                format!("\"{volume}\" names {} disks and says count = {wanted}.", named.len()),
                "Both must agree.".into(),
                "Leave count out: it follows from the names.".into(),
            ));
        }
    }
    selected.disks.sort_by(|a, b| (a.identity(), &a.by_path).cmp(&(b.identity(), &b.by_path)));
    selected.disks.dedup_by(|a, b| a.name == b.name);
    for disk in &selected.disks {
        match disk.identity() {
            None => selected.refusals.push(diagnostic(
                refusal::NO_IDENTITY,
                format!("{} tells neither a serial number nor a world wide name.", disk.words()),
                format!("\"{volume}\" needs disks that can be told apart for good. Nothing was written."),
                "Use another disk; in a virtual machine give the disk a serial number.".into(),
            )),
            Some(identity) => {
                let same: Vec<&Device> = devices.iter().copied().filter(|d| d.is_twin_of(disk)).collect();
                if same.len() > 1 {
                    selected.refusals.push(twins(&same, identity, volume));
                }
            }
        }
    }
    selected.refusals.sort_by(|a, b| (&a.code, &a.what).cmp(&(&b.code, &b.what)));
    selected.refusals.dedup();
    selected
}

/// Whether a selector says anything that singles disks out.
pub fn says_something(selector: &Selector) -> bool {
    !names(selector).is_empty()
        || selector.model.is_some()
        || selector.size.is_some()
        || selector.media.is_some()
        || selector.transport.is_some()
}

/// The names that a selector gives, each with its kind.
pub fn names(selector: &Selector) -> Vec<(&'static str, &str)> {
    let of = |kind: &'static str, names: &'_ [String]| names.iter().map(move |_| kind).collect::<Vec<_>>();
    let mut all: Vec<(&'static str, &str)> = Vec::new();
    all.extend(of("serial", &selector.serial).into_iter().zip(selector.serial.iter().map(String::as_str)));
    all.extend(of("wwn", &selector.wwn).into_iter().zip(selector.wwn.iter().map(String::as_str)));
    all.extend(of("path", &selector.path).into_iter().zip(selector.path.iter().map(String::as_str)));
    all
}

/// Whether `selector` names `device`, by serial number, world wide name or path, and the rest of it holds too.
pub fn is_named(selector: &Selector, device: &Device) -> bool {
    fits(selector, device) && names(selector).iter().any(|(kind, name)| answers(device, kind, name))
}

fn answers(device: &Device, kind: &str, name: &str) -> bool {
    match kind {
        "serial" => device.serial.as_deref() == Some(name),
        "wwn" => device.wwn.as_deref() == Some(name),
        _ => device.by_path.iter().any(|p| p == name),
    }
}

/// Whether everything but the names holds for `device`.
pub fn fits(selector: &Selector, device: &Device) -> bool {
    let size = selector.size.is_none_or(|range| {
        range.min.is_none_or(|min| device.size >= min) && range.max.is_none_or(|max| device.size <= max)
    });
    size && selector.model.as_deref().is_none_or(|model| device.model.as_deref() == Some(model))
        && selector.media.is_none_or(|media| device.media() == media)
        && selector.transport.is_none_or(|transport| device.transport == Some(transport))
}

fn count(selector: &Selector, disks: &[&Device], wanted: usize, volume: &str) -> Option<Diagnostic> {
    let list = disks.iter().map(|d| d.words()).collect::<Vec<_>>().join("; ");
    let found = if disks.is_empty() { "none".into() } else { list };
    let asked = words(selector);
    match disks.len().cmp(&wanted) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Less => Some(diagnostic(
            refusal::TOO_FEW,
            format!("\"{volume}\" needs {wanted} disks ({asked}), and {} match: {found}.", disks.len()),
            "The count is exact, so that no other disk stands in. Nothing was written.".into(),
            format!("Put the missing disks in, or change the selector of \"{volume}\" in the site file."),
        )),
        std::cmp::Ordering::Greater => Some(diagnostic(
            refusal::TOO_MANY,
            format!("\"{volume}\" needs {wanted} disks ({asked}), and {} match: {found}.", disks.len()),
            "The count is exact, so that no disk is taken by chance. Nothing was written.".into(),
            format!("Narrow the selector of \"{volume}\" in the site file, by size, model or serial number."),
        )),
    }
}

fn missing(kind: &str, name: &str, unfit: Option<&Device>, volume: &str) -> Diagnostic {
    let why = unfit.map_or("No other disk is used in its place.".into(), |d| {
        format!("{} is there, but does not fit the rest of the selector.", d.words())
    });
    diagnostic(
        refusal::MISSING,
        format!("The disk with {kind} {name}, named for \"{volume}\", is not there."),
        format!("{why} Nothing was written."),
        format!("Put the disk in, or change the selector of \"{volume}\" in the site file."),
    )
}

fn twins(disks: &[&Device], identity: &str, volume: &str) -> Diagnostic {
    let mut words: Vec<String> = disks.iter().map(|d| format!("{} ({})", d.words(), d.sysfs)).collect();
    words.sort();
    let (count, words) = (disks.len(), words.join("; "));
    if is_one_disk(disks) {
        // Its paths may tell different serial numbers, and all are said at once.
        let identity = disks.first().and_then(|d| d.wwn.as_deref()).unwrap_or(identity);
        return diagnostic(
            refusal::TWINS,
            format!("{identity}, selected for \"{volume}\", is reached over {count} paths: {words}."),
            "They have one world wide name, so they are one disk, and this version uses no multipath. Written over two \
             paths at once, what is on it would be lost. Nothing was written."
                .into(),
            "Leave one path to it: take the second cable out, or zone or mask the disk so that one port shows it.".into(),
        );
    }
    diagnostic(
        refusal::TWINS,
        format!("{count} disks answer to {identity}, selected for \"{volume}\": {words}."),
        "Which of them is meant can't be told. Nothing was written.".into(),
        "Take all but one of them out: what tells them apart must be the same at every start.".into(),
    )
}

fn words(selector: &Selector) -> String {
    let mut words = Vec::new();
    words.extend(selector.media.map(|m| match m {
        Media::Hdd => "media hdd".to_owned(),
        Media::Ssd => "media ssd".to_owned(),
        Media::Nvme => "media nvme".to_owned(),
    }));
    words.extend(selector.transport.map(|t| format!("transport {}", transport_word(t))));
    words.extend(selector.model.as_ref().map(|m| format!("model {m:?}")));
    if let Some(range) = selector.size {
        let bound = |b: Option<u64>| b.map_or(String::new(), size_words);
        words.push(format!("size {} .. {}", bound(range.min), bound(range.max)));
    }
    words.join(", ")
}

fn transport_word(transport: Transport) -> &'static str {
    match transport {
        Transport::Nvme => "nvme",
        Transport::Sata => "sata",
        Transport::Sas => "sas",
        Transport::Virtio => "virtio",
        Transport::Usb => "usb",
        Transport::Mmc => "mmc",
    }
}
