#![allow(clippy::disallowed_methods, reason = "the test's own folder")]

use super::*;
use crate::release::fixture::folder::{Written, written};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use std::path::PathBuf;

/// One thing that happened to a release. Files are picked from all of it.
#[derive(Debug, Clone)]
enum Damage {
    /// One byte is another.
    Byte {
        file: Index,
        at: Index,
        mask: u8,
    },
    /// The end is missing.
    Cut {
        file: Index,
        at: Index,
    },
    /// There are more bytes at the end.
    Longer {
        file: Index,
        by: Vec<u8>,
    },
    Gone {
        file: Index,
    },
    /// A link to the very bytes.
    Link {
        file: Index,
    },
    /// A file more, in the folder, in that of the enrolment files or in one of its own.
    More {
        folder: Index,
        name: String,
    },
}

fn damage() -> impl Strategy<Value = Damage> {
    let any = any::<Index>;
    prop_oneof![
        6 => (any(), any(), 1..=255u8).prop_map(|(file, at, mask)| Damage::Byte { file, at, mask }),
        2 => (any(), any()).prop_map(|(file, at)| Damage::Cut { file, at }),
        2 => (any(), prop::collection::vec(prop::num::u8::ANY, 1..5)).prop_map(|(file, by)| Damage::Longer { file, by }),
        1 => any().prop_map(|file| Damage::Gone { file }),
        1 => any().prop_map(|file| Damage::Link { file }),
        1 => (any(), "[ -.0-~]{1,12}").prop_map(|(folder, name)| Damage::More { folder, name }),
    ]
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(all_files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Does it, lets `look` look, and undoes it. Gives the file that was damaged, by its path in the release.
fn damaged<T>(release: &Written, damage: &Damage, look: impl FnOnce() -> T) -> Option<(String, T)> {
    let (folder, files) = (release.path(), all_files(&release.path()));
    let write = |path: &Path, bytes: &[u8]| std::fs::write(path, bytes).unwrap();
    let name = |path: &Path| path.strip_prefix(&folder).unwrap().display().to_string();
    if let Damage::More { folder: at, name: new } = damage {
        let at = folder.join(at.get(&[".", name::SECURE_BOOT, "more"])).components().collect::<PathBuf>();
        let (path, made) = (at.join(new), !at.exists());
        // Names that are no name of a file, or there already.
        if new == "." || new == ".." || path.exists() {
            return None;
        }
        std::fs::create_dir_all(&at).unwrap();
        write(&path, b"x");
        let seen = look();
        std::fs::remove_file(&path).unwrap();
        if made {
            std::fs::remove_dir(&at).unwrap();
        }
        return Some((name(&path), seen));
    }
    let (Damage::Byte { file, .. }
    | Damage::Cut { file, .. }
    | Damage::Longer { file, .. }
    | Damage::Gone { file }
    | Damage::Link { file }
    | Damage::More { folder: file, .. }) = damage;
    let path = file.get(&files);
    let good = std::fs::read(path).unwrap();
    let mut bytes = good.clone();
    match damage {
        Damage::Byte { at, mask, .. } => bytes[at.index(good.len())] ^= mask,
        Damage::Cut { at, .. } => bytes.truncate(at.index(good.len())),
        Damage::Longer { by, .. } => bytes.extend(by),
        _ => {}
    }
    let aside = release.path().with_file_name("aside");
    match damage {
        Damage::Gone { .. } | Damage::Link { .. } => std::fs::rename(path, &aside).unwrap(),
        _ => write(path, &bytes),
    }
    if matches!(damage, Damage::Link { .. }) {
        std::os::unix::fs::symlink(&aside, path).unwrap();
    }
    let seen = look();
    let _ = std::fs::remove_file(path);
    write(path, &good);
    Some((name(path), seen))
}

/// Whatever happens to one file of a release, it is found, and the file is named.
#[test]
fn any_damage_is_found_and_named() {
    let release = written();
    let verify = || verify(&release.path(), &release.key());
    verify().unwrap();
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let checked = TestRunner::new(config).run(&damage(), |damage| {
        let Some((name, seen)) = damaged(&release, &damage, verify) else { return Ok(()) };
        let Err(error) = seen else { return Err(TestCaseError::fail(format!("nothing was found in {name}"))) };
        let said = error.to_string();
        let named = said.lines().any(|line| line.starts_with(&format!("{name}: ")))
            // A signature that does not hold says as much of what it is over.
            || (name == name::SIGNATURE && said.starts_with(&format!("{}: is not signed by", name::MANIFEST)));
        prop_assert!(named, "{name} is not named: {said}");
        Ok(())
    });
    checked.unwrap_or_else(|e| panic!("{e}"));
    verify().unwrap();
}
