//! Several volumes on each disk, and the keys that all volumes have, whichever section asks for them.

use super::{Content, Each, Encrypt, Logical, Mkfs, Volume};
use serde::{Deserialize, Serialize};

/// A partition that each selected disk gets, and the volume on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Partition {
    /// Its size, rounded up to whole MiB; without it all that the others leave, for one partition of the section. Counts when
    /// the disk is made.
    #[serde(
        default,
        deserialize_with = "crate::units::optional_size",
        serialize_with = "crate::units::write_optional_size"
    )]
    #[schemars(with = "Option<String>", extend("format" = "size", "examples" = ["20 GB"]))]
    pub size: Option<u64>,
    /// File system; or `"raw"`, none: each is a block device below `/dev/bedplate`, called by the names of the section, of
    /// the disk and of the partition.
    pub format: Content,
    /// Mount point of a file system, absolute, below `/var`. `{serial}` becomes the disk's serial number and `{slot}` its bay;
    /// one of them must be in it unless there is just one disk.
    #[schemars(extend("format" = "mount-point"))]
    pub mount: Option<String>,
    /// Options to mount it with, beside or in place of `noatime`, from the list of its file system.
    #[serde(default)]
    pub mount_options: Vec<String>,
    /// How the file system is made.
    #[serde(default)]
    pub mkfs: Mkfs,
    /// Encrypts what it holds (LUKS2): `"tpm"`, opened by the machine's TPM, and else by its recovery key; `"passphrase"`, opened
    /// by `disk-passphrase` of the machine's bundle. Counts when it is made.
    pub encrypt: Option<Encrypt>,
    /// Storage class of the volumes.
    #[schemars(extend("format" = "dns-name"))]
    pub class: Option<String>,
}

impl Partition {
    /// The most of them on one disk.
    pub const MOST: usize = 16;
}

/// What a volume is to hold, and where it is found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Holding<'a> {
    /// File system, or none.
    pub format: Content,
    /// Mount point, as it is written.
    pub mount: Option<&'a str>,
    /// Options to mount it with.
    pub mount_options: &'a [String],
    /// How the file system is made.
    pub mkfs: &'a Mkfs,
    /// What opens it.
    pub encrypt: Option<Encrypt>,
    /// Storage class.
    pub class: Option<&'a str>,
}

/// A volume that each disk of a section gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OnEach<'a> {
    /// Name of its partition; none if the disk is one volume.
    pub name: Option<&'a str>,
    /// Its size, if it is not what the others leave.
    pub size: Option<u64>,
    /// What it is to hold.
    pub holds: Holding<'a>,
}

macro_rules! holding {
    ($of:expr, $format:expr) => {
        Holding {
            format: $format,
            mount: $of.mount.as_deref(),
            mount_options: &$of.mount_options,
            mkfs: &$of.mkfs,
            encrypt: $of.encrypt,
            class: $of.class.as_deref(),
        }
    };
}

impl Each {
    /// The volumes on each disk, in their order on it: those with a size by name, then the one without. None if nothing says
    /// what the disks hold.
    pub fn volumes(&self) -> Vec<OnEach<'_>> {
        if self.partition.is_empty() {
            let whole = self.format.map(|format| holding!(self, format));
            return whole.into_iter().map(|holds| OnEach { name: None, size: None, holds }).collect();
        }
        let mut parts: Vec<OnEach<'_>> = self
            .partition
            .iter()
            .map(|(name, part)| OnEach { name: Some(name), size: part.size, holds: holding!(part, part.format) })
            .collect();
        parts.sort_by_key(|part| (part.size.is_none(), part.name));
        parts
    }

    /// Keys that say what a disk as a whole holds, those that are given.
    pub fn keys_of_whole(&self) -> Vec<&'static str> {
        let keys = [
            ("format", self.format.is_some()),
            ("mount", self.mount.is_some()),
            ("mount-options", !self.mount_options.is_empty()),
            ("mkfs", self.mkfs != Mkfs::default()),
            ("encrypt", self.encrypt.is_some()),
            ("class", self.class.is_some()),
        ];
        keys.into_iter().filter(|(_, is_given)| *is_given).map(|(key, _)| key).collect()
    }
}

impl Volume {
    /// What it is to hold.
    pub fn holds(&self) -> Holding<'_> {
        holding!(self, self.format)
    }
}

impl Logical {
    /// What it is to hold.
    pub fn holds(&self) -> Holding<'_> {
        holding!(self, self.format)
    }
}

#[cfg(test)]
mod tests {
    use crate::merge::resolve;
    use crate::schema::Storage;
    use crate::site::SiteFile;

    fn storage(of_machine: &str) -> Storage {
        let text = format!(
            "format = 1\nrevision = 1\ncluster = {{ id = \"0d4f7c1e-8a52-4c0e-9b1f-2f6f0c7e5a11\", name = \"a\", \
             api = [\"https://a:1\"] }}\n[machine.n1]\nmatch = {{ serial = \"S\" }}\nprofiles = [\"a\"]\n{of_machine}\n\
             [profile.a.each.o]\ndisks = {{ serial = [\"Z\"] }}\n[profile.a.each.o.partition]\n\
             a = {{ format = \"raw\" }}\nb = {{ size = \"2 GB\", format = \"raw\" }}\nc = {{ size = \"1 GB\", format = \"raw\" }}\n"
        );
        resolve(&SiteFile::read(&text, "f").expect("a site"), "n1").expect("resolves").config.storage
    }

    #[test]
    fn what_has_no_size_comes_last_and_the_others_by_name() {
        let storage = storage("each.o.partition.b.size = \"3 GB\"");
        let parts: Vec<_> = storage.each["o"].volumes().iter().map(|part| (part.name, part.size)).collect();
        let gb = |n: u64| Some(n * 1_000_000_000);
        assert_eq!(parts, [(Some("b"), gb(3)), (Some("c"), gb(1)), (Some("a"), None)], "the machine's own size wins");
        let keys: Vec<String> = storage.volumes().iter().map(|(keys, _)| keys.join(".")).collect();
        assert_eq!(keys, ["each.o.partition.b", "each.o.partition.c", "each.o.partition.a"]);
    }

    #[test]
    fn a_partition_wants_the_passphrase_too() {
        assert!(!storage("").wants_passphrase());
        assert!(storage("each.o.partition.c.encrypt = \"passphrase\"").wants_passphrase());
    }
}
