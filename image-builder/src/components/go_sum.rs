//! Holds unpacked modules of the store against the `go.sum` of the lock.
//!
//! Go compares a module's digest with `go.sum` when it downloads it, and afterwards trusts a note it made.
//! This reads the files themselves, so that a module which changed in the store can't reach a program.
//!
//! The digest is `h1:` of golang.org/x/mod/sumdb/dirhash: base64 of the SHA-256 over one line
//! `HEX-SHA-256  MODULE@VERSION/FILE` for each file, in the order of the names.

use crate::digest::Sha256;
use anyhow::{Context, Result, bail};
use base64::Engine;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Checks each of `modules` (`PATH@VERSION`) below `cache`, Go's module cache, against the text of `go.sum`.
///
/// # Errors
/// When one is not there, not in `go.sum`, or has another digest; the error names it and its folder.
pub fn verify(modules: &[String], go_sum: &str, cache: &Path, checked: impl Fn() + Sync) -> Result<()> {
    let sums = sums(go_sum);
    modules.par_iter().try_for_each(|module| {
        let folder = cache.join(escaped(module));
        let Some(wanted) = sums.get(module.as_str()) else { bail!("the lock has no sum for the module {module}") };
        let found = hash1(module, &folder).with_context(|| format!("the store lost the module {module}"))?;
        if found != *wanted {
            bail!(
                "the module {module} in the store is not what was locked: {} has {found}, go.sum says {wanted}; remove \
                 {} and build again",
                folder.display(),
                cache.display()
            );
        }
        checked();
        Ok(())
    })
}

/// `PATH@VERSION` -> `h1:...`, without the lines that are about a module's `go.mod` alone.
pub(crate) fn sums(go_sum: &str) -> BTreeMap<String, &str> {
    go_sum
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (path, version, sum) = (words.next()?, words.next()?, words.next()?);
            (!version.ends_with("/go.mod")).then(|| (format!("{path}@{version}"), sum))
        })
        .collect()
}

/// `PATH@VERSION` -> `h1:...` of the module's `go.mod` alone.
pub(crate) fn mod_sums(go_sum: &str) -> BTreeMap<String, &str> {
    let lines = go_sum.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (path, version, sum) = (words.next()?, words.next()?, words.next()?);
        Some((format!("{path}@{}", version.strip_suffix("/go.mod")?), sum))
    });
    lines.collect()
}

/// A module's place in the cache, where a capital letter is written as `!` and the small one (Go modules
/// reference, "Module cache"), so that names differ on every file system.
pub(crate) fn escaped(module: &str) -> String {
    module.chars().fold(String::new(), |mut name, c| {
        if c.is_ascii_uppercase() {
            name.push('!');
        }
        name.push(c.to_ascii_lowercase());
        name
    })
}

fn hash1(module: &str, folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    walk(folder, "", &mut files)?;
    files.sort();
    let mut text = String::new();
    for (name, path) in files {
        let file = std::fs::File::open(&path).with_context(|| format!("can't read {}", path.display()))?;
        let (digest, _) = Sha256::of_reader(file)?;
        text.push_str(&line(&digest, &format!("{module}/{name}")));
    }
    Ok(hash(&text))
}

/// A file's line.
pub(super) fn line(digest: &Sha256, name: &str) -> String {
    format!("{digest}  {name}\n")
}

/// The digest over all lines.
pub(super) fn hash(lines: &str) -> String {
    format!("h1:{}", base64::engine::general_purpose::STANDARD.encode(Sha256::of(lines).bytes()))
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.push((name, entry.path()));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test lays modules out")]
mod tests {
    use super::*;

    // sha256sum of "one" and "two", each in its line, hashed again by sha256sum and written by base64.
    const SUM: &str = "h1:+Il8Jnq0HFfGrEeTb1wOwbvckBUtOSb1QYH4OVSGbzw=";

    fn cache() -> tempfile::TempDir {
        let cache = tempfile::tempdir().unwrap();
        let module = cache.path().join("example.org/!upper@v1.0.0");
        std::fs::create_dir_all(module.join("a")).unwrap();
        std::fs::write(module.join("a/x.go"), "one").unwrap();
        // Sorts before `a/x.go`, though a folder's own name sorts first.
        std::fs::write(module.join("a.go"), "two").unwrap();
        cache
    }

    fn check(cache: &Path, go_sum: &str) -> Result<(), String> {
        verify(&["example.org/Upper@v1.0.0".into()], go_sum, cache, || ()).map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn a_module_as_it_was_locked_passes_and_a_changed_one_is_named() {
        let cache = cache();
        let go_sum = format!("example.org/Upper v1.0.0/go.mod h1:other=\nexample.org/Upper v1.0.0 {SUM}\n");
        assert_eq!(check(cache.path(), &go_sum), Ok(()));
        for (file, text) in [("a.go", "changed"), ("added.go", "")] {
            let path = cache.path().join("example.org/!upper@v1.0.0").join(file);
            let before = std::fs::read(&path).ok();
            std::fs::write(&path, text).unwrap();
            let error = check(cache.path(), &go_sum).unwrap_err();
            assert!(
                error.contains("the module example.org/Upper@v1.0.0 in the store is not what was locked"),
                "{error}"
            );
            match before {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
        }
        assert_eq!(check(cache.path(), &go_sum), Ok(()));
    }

    #[test]
    fn a_module_without_a_sum_or_a_folder_is_an_error() {
        let cache = cache();
        assert!(check(cache.path(), "example.org/Upper v1.0.0/go.mod h1:other=\n").unwrap_err().contains("no sum for"));
        let error = check(&cache.path().join("empty"), &format!("example.org/Upper v1.0.0 {SUM}")).unwrap_err();
        assert!(error.contains("the store lost the module example.org/Upper@v1.0.0"), "{error}");
    }
}
