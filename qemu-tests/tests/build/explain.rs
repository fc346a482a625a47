//! What the example's release says of itself.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test that asks cargo for the schema's file")]

use crate::tools;
use image_builder::compose::tree::Origin;
use image_builder::package::files::ListedKind;
use image_builder::package::name;
use image_builder::release::{Contents, diff, why};
use jsonschema::Registry;
use on_disk::gpt::{self, SectorSize};
use on_disk::pe::Image;
use qemu_tests::bench::release_of_example;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

fn contents() -> Contents {
    Contents::read(&release_of_example()).unwrap_or_else(|e| panic!("{e:#}; `make image` makes the release"))
}

fn told(path: &str) -> String {
    why(&contents(), path).unwrap().to_string()
}

pub fn every_path_has_its_input() {
    let Contents { lock, files, .. } = contents();
    let overlays: BTreeSet<&str> =
        lock.local.keys().filter_map(|l| l.strip_prefix("overlay/")?.split('/').next()).collect();
    for listed in files.unwrap().values() {
        for origin in listed.replaced.iter().chain([&listed.origin]) {
            let known = match origin {
                Origin::Package(name, version) => lock.package.iter().any(|p| p.name == *name && p.version == *version),
                Origin::Component(name, _) => name == "firstboot" || lock.component.contains_key(name),
                Origin::Overlay(name) => overlays.contains(name.as_str()),
                Origin::Image(name, _) => lock.container_image.iter().any(|image| image.name == *name),
                Origin::Emulation(_) => true,
            };
            assert!(known, "{}: {origin} is not in the lock", listed.path);
        }
    }
    for package in &lock.package {
        let chain = why::chain(&lock, &package.name);
        let asked = chain[0] == "the recipe" || chain[0].starts_with("component ");
        assert!(asked && chain.last() == Some(&package.name), "{chain:?}");
    }
    let said = told("/bin/mount");
    for part in ["/bin/mount is /usr/bin/mount", "mode 4755, of root:root", "the package mount", "the recipe wants\n"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(told("/usr/lib/os-release").contains("It replaces that of the package base-files"), "os-release");
}

pub fn what_is_not_there_has_a_reason() {
    for (path, reason) in [
        ("/usr/share/man/man1/ls.1.gz", "The package coreutils"),
        ("/usr/share/man/man1/ls.1.gz", "packages.exclude has \"/usr/share/man/**\""),
        ("/var/lib/systemd", "makes it at boot"),
        ("/usr/bin/no-such-program", "no input has it"),
    ] {
        assert!(told(path).contains(reason), "{reason}: {}", told(path));
    }
    let Contents { files, left_out, .. } = contents();
    let (files, left_out) = (files.unwrap(), left_out.unwrap());
    assert!(left_out.keys().any(|path| path.starts_with("/boot/vmlinuz-")), "the kernel is in the UKI alone");
    let both: Vec<_> = left_out.keys().filter(|path| files.contains_key(*path)).collect();
    assert!(both.is_empty(), "{both:?} are in the image and left out");
}

/// Packages whose rules, units and timers assemble, activate, mount, trim, check or resync; those of the rest are named.
const OF_DISKS: [&str; 14] = [
    "bcache-tools",
    "btrfs-progs",
    "cryptsetup",
    "cryptsetup-bin",
    "dmeventd",
    "dmraid",
    "dmsetup",
    "e2fsprogs",
    "lvm2",
    "mdadm",
    "multipath-tools",
    "smartmontools",
    "systemd-cryptsetup",
    "xfsprogs",
];
const NAMED: [&str; 5] =
    ["64-btrfs.rules", "fstrim.service", "fstrim.timer", "systemd-fstab-generator", "systemd-gpt-auto-generator"];
/// Those that may stay, since they touch no disk by themselves.
const HARMLESS: [&str; 20] = [
    // Names and cookies of device mapper, whose devices stage 1 makes.
    "55-dm.rules",
    "60-persistent-storage-dm.rules",
    "95-dm-notify.rules",
    // Settings in sysfs of file systems that are mounted.
    "64-ext4.rules",
    "64-xfs.rules",
    // They are started by what is masked: rules for arrays with foreign metadata, scrubs of whole file systems.
    "96-e2scrub.rules",
    "mdmon@.service",
    "system-xfs_scrub.slice",
    "xfs_scrub_media@.service",
    "xfs_scrub_media_fail@.service",
    // What units hang on to that only the masked generators would make.
    "cryptsetup-pre.target",
    "cryptsetup.target",
    "integritysetup-pre.target",
    "integritysetup.target",
    "remote-cryptsetup.target",
    "remote-veritysetup.target",
    "system-systemd\\x2dcryptsetup.slice",
    "system-systemd\\x2dveritysetup.slice",
    "veritysetup-pre.target",
    "veritysetup.target",
];

/// Each of them is masked in `/etc`, or known to be harmless. A package that brings another one is found here.
pub fn nothing_but_the_agent_touches_disks() {
    let files = contents().files.unwrap();
    let mut seen = BTreeSet::new();
    for listed in files.values().filter(|listed| listed.kind != ListedKind::Directory) {
        let Origin::Package(package, _) = &listed.origin else { continue };
        let Some((folder, name)) = listed.path.rsplit_once('/') else { continue };
        let in_etc = match folder {
            "/usr/lib/udev/rules.d" | "/usr/lib/systemd/system" | "/usr/lib/systemd/system-generators" => {
                listed.path.replacen("/usr/lib/", "/etc/", 1)
            }
            _ => continue,
        };
        if OF_DISKS.contains(&package.as_str()) || NAMED.contains(&name) {
            let mask = files.get(&in_etc).and_then(|listed| listed.target.as_deref());
            let is_masked = mask == Some("/dev/null");
            assert!(
                is_masked != HARMLESS.contains(&name),
                "{} of {package}: masked by {in_etc}: {is_masked}",
                listed.path
            );
            seen.insert(name.to_owned());
        }
    }
    for name in NAMED.into_iter().chain(HARMLESS).chain([
        "64-md-raid-assembly.rules",
        "mdmonitor.service",
        "mdcheck_start.timer",
    ]) {
        assert!(
            seen.contains(name),
            "{name} is not in the image: it goes by another name now, or this list is too long"
        );
    }
    let release = release_of_example();
    let uki = Image::parse(std::fs::read(release.join(name::UKI)).unwrap()).unwrap();
    let line = String::from_utf8_lossy(uki.section(".cmdline").unwrap()).into_owned();
    for word in ["raid=noautodetect", "rd.auto=no", "systemd.gpt_auto=no"] {
        assert!(line.split_whitespace().any(|said| said == word), "{word} is not in {line}");
    }
}

pub fn nothing_differs() {
    let release = contents();
    let lock = Contents::read(&release_of_example().join(name::LOCK)).unwrap();
    let itself = diff::compare(&release, &release);
    assert!(itself.is_empty() && itself.same_image && itself.notes.is_empty());
    assert!(diff::compare(&lock, &release).is_empty());
}

/// CycloneDX's own schema, which a crate carries. The lists of SPDX's licences and the forms of signatures that it
/// refers to are not in there.
fn schema() -> Value {
    // Of this platform alone: a machine that compiled this test has those crates, and no others.
    let arguments = ["metadata", "--offline", "--format-version=1", "--filter-platform", "x86_64-unknown-linux-gnu"];
    let listed = Command::new(env!("CARGO")).args(arguments).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let packages = listed["packages"].as_array().unwrap();
    let carrier = packages.iter().find(|p| p["name"] == "serde-cyclonedx").unwrap();
    let manifest = PathBuf::from(carrier["manifest_path"].as_str().unwrap());
    let schema = std::fs::read(manifest.with_file_name("schemas").join("cyclonedx_1_6.json")).unwrap();
    serde_json::from_slice(&schema).unwrap()
}

pub fn bill_of_materials() {
    let bill = std::fs::read(release_of_example().join(name::SBOM)).unwrap();
    let bill: Value = serde_json::from_slice(&bill).unwrap();
    let registry = ["spdx", "jsf-0.82"].into_iter().fold(Registry::new(), |registry, name| {
        let anything = serde_json::json!({ "definitions": { "signature": {} } });
        registry.add(format!("http://cyclonedx.org/schema/{name}.schema.json"), anything).unwrap()
    });
    let registry = registry.prepare().unwrap();
    let validator = jsonschema::options().with_registry(&registry).build(&schema()).unwrap();
    let faults: Vec<String> = validator.iter_errors(&bill).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    let lock = contents().lock;
    let components = bill["components"].as_array().unwrap();
    let named =
        |name: &str, version: &str| components.iter().filter(|c| c["name"] == name && c["version"] == version).count();
    for package in &lock.package {
        assert_eq!(named(&package.name, &package.version), 1, "{}", package.name);
    }
    for module in lock.component.values().flat_map(|c| &c.modules) {
        let (path, version) = module.split_once('@').unwrap();
        assert_eq!(named(path, version), 1, "{module}");
    }
    let unknown = |c: &&Value| {
        c["purl"].as_str().is_some_and(|p| p.starts_with("pkg:deb/"))
            && c["licenses"][0]["license"]["name"] == "NOASSERTION"
    };
    let unknown = components.iter().filter(unknown).count();
    assert!(unknown * 3 < lock.package.len(), "the licences of {unknown} packages are not known");
}

/// The list is read from the image in slot A, at the name that scanners know.
pub fn scanners_find_every_package() {
    let disk = release_of_example().join(name::DISK);
    let file = File::open(&disk).unwrap();
    let table = gpt::read(file.metadata().unwrap().len(), SectorSize::B512, |offset, size| {
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, offset).map(|()| bytes)
    });
    let table = table.unwrap();
    let slot = table.agreed().unwrap().partitions.iter().find(|p| p.name == "bedplate-root-a").unwrap().start;
    let dump = tools().tool("dump.erofs").unwrap();
    let status = dump
        .command()
        .arg(format!("--offset={slot}"))
        .args(["--path=/var/lib/dpkg/status", "--cat"])
        .arg(&disk)
        .run()
        .unwrap()
        .stdout_text();
    let paragraphs: Vec<&str> = status.split("\n\n").filter(|p| !p.trim().is_empty()).collect();
    let lock = contents().lock;
    assert_eq!(paragraphs.len(), lock.package.len());
    for package in &lock.package {
        let begin = format!("Package: {}\nStatus: install ok installed\n", package.name);
        let paragraph = paragraphs.iter().find(|p| p.starts_with(&begin)).unwrap_or_else(|| panic!("{}", package.name));
        for line in [format!("\nVersion: {}\n", package.version), "\nArchitecture: a".into(), "\nDescription: ".into()]
        {
            assert!(paragraph.contains(&line), "{}: {line:?}", package.name);
        }
    }
}
