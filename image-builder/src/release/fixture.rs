//! Small releases as text, for tests; and one in a [`folder`].

pub(crate) mod folder;

use super::Contents;
use crate::digest::Sha256;
use crate::lock::Lock;
use crate::package::files;
use crate::package::manifest::{FileSum, Manifest};
use crate::package::name;
use std::collections::BTreeMap;

/// A lock of packages (`NAME VERSION SUITE WANTED-BY, WANTED-BY` a line) and of what else its TOML says.
pub(crate) fn lock(packages: &str, rest: &str) -> Lock {
    let mut text =
        format!("format = 1\nrecipe = \"{}\"\nsnapshot = 1795227046\narch = \"amd64\"\nsuite = []\n", Sha256::of(""));
    let mut list = String::new();
    for line in packages.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let [name, version, suite, wanted_by] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let wanted_by: Vec<&str> = wanted_by.split(", ").collect();
        let sha256 = Sha256::of(format!("{name} {version}"));
        list += &format!(
            "{{ name = {name:?}, version = {version:?}, archive = \"debian\", suite = {suite:?}, size = 1, \
             path = \"pool/main/x/{name}.deb\", sha256 = \"{sha256}\", wanted-by = {wanted_by:?} }},\n"
        );
    }
    text += &format!("package = [\n{list}]\n");
    for (key, empty) in
        [("tool", "[]"), ("script", "[]"), ("user", "[]"), ("group", "[]"), ("component", "{}"), ("local", "{}")]
    {
        if !rest.lines().any(|line| line.trim_start().starts_with(&format!("{key} ="))) {
            text += &format!("{key} = {empty}\n");
        }
    }
    Lock::parse(&(text + rest)).unwrap()
}

/// A release of this lock whose root has these paths, in the lines of `files.json` and `left-out.json`.
pub(crate) fn release(version: &str, lock: Lock, listed: &str, left_out: &str) -> Contents {
    let sum = |text: String| FileSum { size: 1_000_000 + text.len() as u64, sha256: Sha256::of(text) };
    let sums = [name::UKI, name::DISK, "secure-boot/db.crt"].map(|name| (name.to_owned(), sum(name.to_owned())));
    let json = |lines: &str| format!("[{}]", lines.trim().lines().collect::<Vec<_>>().join(","));
    let root_hash = Sha256::of(version);
    Contents {
        name: format!("out-{version}"),
        manifest: Some(Manifest {
            format: 1,
            name: "node".into(),
            version: version.into(),
            arch: lock.arch,
            snapshot: lock.snapshot,
            lock: Sha256::of("lock"),
            builder: "0.1.0".into(),
            kernel: "6.12.1".into(),
            components: BTreeMap::new(),
            command_line: format!("roothash={root_hash} quiet console=tty0"),
            root_hash,
            root_image: sum(version.into()),
            unsigned_uki: root_hash,
            unsigned_full_uki: None,
            pcr_11: None,
            addons: Default::default(),
            container_images: Default::default(),
            files: BTreeMap::from(sums),
        }),
        files: Some(files::read(&json(listed)).unwrap()),
        left_out: Some(files::read_left_out(&json(left_out)).unwrap()),
        lock,
    }
}
