//! Microcode on its way from packages into the UKI, read as the kernel reads it.
#![allow(clippy::unwrap_used, reason = "a test")]

use image_builder::compose;
use image_builder::compose::deb::MemberKind;
use image_builder::fetch;
use image_builder::lock::Lock;
use image_builder::package::name;
use image_builder::progress::Progress;
use image_builder::recipe::Recipe;
use image_builder::store::Store;
use on_disk::pe;
use qemu_tests::bench::release_of_example;
use std::collections::BTreeMap;

/// The UKI's section is an uncompressed archive in which the kernel finds all of the packages' microcode, and the root has
/// none of it.
pub fn handed_over() {
    let release = release_of_example();
    let uki = std::fs::read(release.join(name::UKI)).unwrap_or_else(|e| panic!("{e}; `make image` makes the release"));
    let uki = pe::Image::parse(uki).unwrap();
    let found = newc(uki.section(".ucode").expect("the UKI has no .ucode section"));
    let packaged = packaged();

    let amd: Vec<u8> = packaged
        .iter()
        .filter(|(path, _)| path.contains("/amd-ucode/") && path.ends_with(".bin"))
        .flat_map(|(_, bytes)| bytes.clone())
        .collect();
    assert!(amd.len() > 10_000, "amd64-microcode has {} bytes", amd.len());
    assert_eq!(found["kernel/x86/microcode/AuthenticAMD.bin"], amd);

    let intel = &found["kernel/x86/microcode/GenuineIntel.bin"];
    let all: Vec<Vec<u8>> = packaged
        .iter()
        .filter(|(path, _)| path.contains("/intel-ucode/"))
        .flat_map(|(_, bytes)| updates(bytes))
        .collect();
    let handed = updates(intel);
    assert!(all.len() > 50, "intel-microcode has {} updates", all.len());
    let missing: Vec<String> = all.iter().filter(|u| !handed.contains(u)).map(|u| hex::encode(&u[..32])).collect();
    assert_eq!(missing, [""; 0]);
    assert!(handed.iter().all(|u| all.contains(u)));

    let files = std::fs::read_to_string(release.join(name::FILES)).unwrap();
    let files = image_builder::package::files::read(&files).unwrap();
    assert!(!files.keys().any(|path| path.contains("-ucode/")), "the root has microcode that nobody reads");
}

/// Files of the two packages, by path.
fn packaged() -> BTreeMap<String, Vec<u8>> {
    let file = crate::recipe();
    let (recipe, lock) = (Recipe::read(&file).unwrap(), Lock::read(&Lock::path_for(&file)).unwrap().unwrap());
    let store = Store::open(&Store::default_folder()).unwrap();
    let inputs = fetch::all(&lock, &recipe, file.parent().unwrap(), &store, &Progress::silent(), true).unwrap();
    let of = ["amd64-microcode", "intel-microcode"];
    let packages: Vec<_> = lock
        .package
        .iter()
        .filter(|p| of.contains(&p.name.as_str()))
        .map(|p| (p.clone(), inputs.package[&p.name].clone()))
        .collect();
    assert_eq!(packages.len(), of.len(), "the example's lock has no microcode");
    let mut found = BTreeMap::new();
    for (_, deb) in compose::open_packages(&packages, &store, &Progress::silent()).unwrap() {
        for member in deb.members() {
            if let MemberKind::File(offset, size, digest) = member.kind {
                found.insert(member.path.clone(), deb.content(offset, size, digest).read().unwrap());
            }
        }
    }
    found
}

/// Files of a plain archive (kernel: lib/earlycpio.c), each of which begins at a multiple of 16 bytes.
fn newc(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut at = 0;
    loop {
        assert_eq!(&archive[at..at + 6], b"070701", "no plain newc archive at {at}");
        let field = |i: usize| {
            let digits = std::str::from_utf8(&archive[at + 6 + 8 * i..][..8]).unwrap();
            usize::from_str_radix(digits, 16).unwrap()
        };
        let (mode, size, name_size) = (field(1), field(6), field(11));
        let name = archive[at + 110..at + 110 + name_size].split(|b| *b == 0).next().unwrap();
        let name = String::from_utf8(name.to_vec()).unwrap();
        let data = (at + 110 + name_size).next_multiple_of(4);
        if name == "TRAILER!!!" {
            return found;
        }
        if mode & 0o170_000 == 0o100_000 {
            assert_eq!(data % 16, 0, "{name} begins at {data}");
            found.insert(name, archive[data..data + size].to_vec());
        }
        at = (data + size).next_multiple_of(4);
    }
}

/// Updates of Intel's one after the other, by the size in their headers.
fn updates(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = u32::from_le_bytes(rest[32..36].try_into().unwrap()) as usize;
        let (update, after) = rest.split_at(if size == 0 { 2048 } else { size });
        found.push(update.to_vec());
        rest = after;
    }
    found
}
