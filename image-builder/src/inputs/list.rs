//! `SHA256SUMS`: every file of a folder by digest, in the form of sha256sum(1).

use crate::digest::Sha256;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Lines `DIGEST  PATH`, in path order.
pub(super) fn write(sums: &BTreeMap<String, Sha256>) -> String {
    sums.iter().map(|(path, digest)| format!("{digest}  {path}\n")).collect()
}

/// The list of a text.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, Sha256>> {
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        let parsed = line.split_once("  ").and_then(|(digest, path)| Some((path.to_owned(), digest.parse().ok()?)));
        let Some((path, digest)) = parsed else { bail!("{line:?} is no line of a list of sums") };
        let path = super::inside(path)?;
        if sums.insert(path.clone(), digest).is_some() {
            bail!("{path} is in the list twice");
        }
    }
    Ok(sums)
}

/// Every file below a folder, by its path there; links are no files.
pub(super) fn files(folder: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut open = vec![String::new()];
    while let Some(below) = open.pop() {
        let at = folder.join(&below);
        for entry in std::fs::read_dir(&at).with_context(|| format!("can't read {}", at.display()))? {
            let entry = entry.with_context(|| format!("can't read {}", at.display()))?;
            let Ok(name) = entry.file_name().into_string() else {
                bail!("{} is not named in UTF-8", entry.path().display())
            };
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            match entry.file_type()? {
                kind if kind.is_dir() => open.push(path),
                kind if kind.is_file() => drop(found.insert(path)),
                _ => {}
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back() {
        let sums = BTreeMap::from([("a/b".to_owned(), Sha256::of("1")), ("c d".to_owned(), Sha256::of("2"))]);
        assert_eq!(read(&write(&sums)).unwrap(), sums);
    }

    #[test]
    fn odd_lines_and_paths_are_refused() {
        let digest = Sha256::of("");
        for line in ["x".to_owned(), format!("{digest} a"), format!("{digest}  ../a"), format!("{digest}  /a")] {
            assert!(read(&line).is_err(), "{line}");
        }
        assert!(read(&format!("{digest}  a\n{digest}  a\n")).unwrap_err().to_string().contains("twice"));
    }
}
