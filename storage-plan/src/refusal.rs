//! What is refused, in words for the person at the console. Codes are stable; `docs/storage.md` explains each.

use crate::inventory::Device;
use machine_config::Diagnostic;

/// A disk that is named is not there.
pub const MISSING: &str = "BP-S001";
/// Fewer disks match than must.
pub const TOO_FEW: &str = "BP-S002";
/// More disks match than must.
pub const TOO_MANY: &str = "BP-S003";
/// Two disks answer to one identity.
pub const TWINS: &str = "BP-S004";
/// One disk is selected for two volumes.
pub const CLAIMED_TWICE: &str = "BP-S005";
/// A disk without serial number and world wide name.
pub const NO_IDENTITY: &str = "BP-S006";
/// A disk that can't be used as it is: read-only, too small, of unusual sectors.
pub const UNFIT: &str = "BP-S010";
/// A disk or partition in use by something else.
pub const IN_USE: &str = "BP-S011";
/// A disk that holds something recognised which is not ours.
pub const FOREIGN: &str = "BP-S014";
/// A disk that holds data without a signature.
pub const UNKNOWN_DATA: &str = "BP-S015";
/// A layer of ours whose inside is not what we made.
pub const CHANGED_INSIDE: &str = "BP-S016";
/// A copy of a disk of ours, or a disk of ours with another serial number.
pub const COPY: &str = "BP-S017";
/// An array of ours lacks more members than its level can do without.
pub const LACKING: &str = "BP-S018";
/// An array of ours lacks a member and was cut off in the middle of a write.
pub const DIRTY_DEGRADED: &str = "BP-S019";
/// As [`DIRTY_DEGRADED`], and the configuration says that it is to be read nevertheless.
pub const READ_ONLY: &str = "BP-S025";
/// The boot disk can't be told, or its table can't be relied on.
pub const BOOT_DISK: &str = "BP-S020";
/// The node was started without a disk.
pub const IN_MEMORY: &str = "BP-S021";
/// An array of ours was made with another level than the configuration says now.
pub const OTHER_LEVEL: &str = "BP-S022";
/// A volume of ours is encrypted and is not to be, or the reverse.
pub const OTHER_ENCRYPTION: &str = "BP-S023";
/// A volume is encrypted, and what opens it is not at hand.
pub const NO_KEY: &str = "BP-S024";
/// A volume is to be encrypted with the TPM, and that would protect nothing.
pub const NOT_SEALED: &str = "BP-S026";
/// There is no room in a volume group for a volume.
pub const NO_ROOM: &str = "BP-S027";
/// A volume of a group was made with another layout, or a disk with other partitions, than the configuration says now.
pub const OTHER_LAYOUT: &str = "BP-S028";
/// An array of ours lacks its journal.
pub const NO_JOURNAL: &str = "BP-S029";
/// A permit that was used already, or permits that nobody can tell whether they were.
pub const PERMIT: &str = "BP-S043";
/// The configuration of storage contradicts itself.
pub const CONFIG: &str = "BP-S030";

/// A diagnostic of this room.
pub fn diagnostic(code: &str, what: String, why: String, mend: String) -> Diagnostic {
    Diagnostic { code: code.into(), what, place: None, why, mend }
}

/// A disk that holds what is not ours. `permits` says why a permit for it does nothing; `command` makes one for what is
/// there, if a permit can be for it.
pub fn foreign(
    code: &str,
    device: &Device,
    holds: &str,
    volume: &str,
    permits: &[String],
    command: Option<&str>,
) -> Diagnostic {
    let mut why = vec![format!("Nothing was written, to it or to the other disks of \"{volume}\".")];
    why.extend(permits.iter().cloned());
    let give = match command {
        Some(command) => format!("To give it to this node, with the loss of all that is on it:\n  {command}"),
        None => "If nothing on it is needed, clear it on another machine first.".into(),
    };
    diagnostic(
        code,
        format!("{} holds {holds}, not made for this node.", device.words()),
        why.join(" "),
        format!("Take the disk out, or change the selector of \"{volume}\" in the site file. {give}"),
    )
}

/// A disk that something uses already.
pub fn in_use(device: &Device, how: &str, volume: &str) -> Diagnostic {
    diagnostic(
        IN_USE,
        format!("{} is in use: {how}.", device.words()),
        format!("Nothing was written, to it or to the other disks of \"{volume}\"."),
        format!("Release it, or change the selector of \"{volume}\" in the site file."),
    )
}

/// A disk that can't take what is wanted.
pub fn unfit(device: &Device, why: String, volume: &str) -> Diagnostic {
    diagnostic(
        UNFIT,
        format!("{} can't be used for \"{volume}\".", device.words()),
        format!("{why}. Nothing was written."),
        format!("Put another disk in, or change \"{volume}\" in the site file."),
    )
}
