//! An apt archive of exactly these packages: its index, and which packages scripts need to run at all.

use anyhow::{Result, anyhow, bail};
use image_builder::compose::deb::Deb;
use image_builder::lock::Package;
use image_builder::resolve::relation;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Name of a package's file in the archive.
pub fn file_name(package: &Package) -> String {
    format!("{}.deb", package.name)
}

/// Text of the archive's `Packages`, for files that lie beside it.
///
/// It tells no dependencies: the lock has solved them, and some are met by what the builder does itself. dpkg reads them
/// in the packages, for the order in which it configures.
///
/// # Errors
/// When a package does not say its architecture.
pub fn index(packages: &[(Package, Deb)]) -> Result<String> {
    let mut text = String::new();
    for (package, deb) in packages {
        let Package { name, version, size, sha256, .. } = package;
        let Some(architecture) = deb.field("Architecture") else { bail!("package {name} has no architecture") };
        let _ = writeln!(
            text,
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: the lock\n\
             Description: a package of the lock\nFilename: ./{}\nSize: {size}\nSHA256: {sha256}\n",
            file_name(package)
        );
    }
    Ok(text)
}

/// These packages and all that they depend on, without those that are `there` already.
///
/// `depends` gives a package's relations. Of alternatives the first counts that is there or can be had; what nothing
/// here is called (a name that others provide) is passed over.
///
/// # Errors
/// When one of `wanted` can't be had, or a field can't be read.
pub fn closure(
    wanted: &[&str],
    there: &BTreeSet<&str>,
    depends: &BTreeMap<&str, Vec<String>>,
) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    let mut open: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
    while let Some(name) = open.pop() {
        if there.contains(name.as_str()) || all.contains(&name) {
            continue;
        }
        let Some(fields) = depends.get(name.as_str()) else { bail!("the lock has no package {name} for scripts") };
        for field in fields {
            for alternatives in relation::parse(field).map_err(|why| anyhow!("package {name}: {why}"))? {
                let mut names = alternatives.into_iter().map(|term| term.name);
                open.extend(names.find(|n| there.contains(n.as_str()) || depends.contains_key(n.as_str())));
            }
        }
        all.insert(name);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_follow_and_what_is_there_is_left_out() {
        let there = BTreeSet::from(["libc6"]);
        let depends = BTreeMap::from([
            ("dpkg", vec!["libc6 (>= 2)".to_owned(), "gone | tar (>= 1), awk-of-others".to_owned()]),
            ("tar", vec!["dpkg".to_owned()]),
            ("other", vec![]),
        ]);
        let all = closure(&["dpkg", "libc6"], &there, &depends).unwrap();
        assert_eq!(all.iter().map(String::as_str).collect::<Vec<_>>(), ["dpkg", "tar"]);
        assert!(closure(&["gone"], &there, &depends).unwrap_err().to_string().contains("gone"));
    }
}
