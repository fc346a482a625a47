//! The configuration of a kernel that comes as a package, read from the package.

use crate::compose::deb::{Deb, MemberKind};
use crate::fetch;
use crate::lock::{Lock, Package};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::store::Store;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::Path;

/// Release and configuration of the kernel that the lock's package `package` is, or stands for. `folder` is the recipe's.
///
/// # Errors
/// When no package of the lock has one, or it can't be had.
pub fn packaged_config(
    package: &str,
    recipe: &Recipe,
    folder: &Path,
    lock: &Lock,
    store: &Store,
    progress: &Progress,
    offline: bool,
) -> Result<(String, String)> {
    let name = package.split([' ', '(']).next().unwrap_or(package);
    for package in reached(name, &lock.package).into_iter().filter(|p| p.name.starts_with("linux-image")) {
        let fetched = fetch::tree(std::slice::from_ref(package), recipe, folder, store, progress, offline)?;
        let Some(fetched) = fetched.get(&package.name) else { continue };
        let deb = Deb::open(store, fetched, &package.name)?;
        for member in deb.members() {
            if let (Some(release), MemberKind::File(offset, size, digest)) =
                (member.path.strip_prefix("/boot/config-"), &member.kind)
            {
                let text = deb.content(*offset, *size, *digest).read();
                let text = text.with_context(|| format!("the store lost the content of {}", package.name))?;
                return Ok((release.to_owned(), String::from_utf8_lossy(&text).into_owned()));
            }
        }
    }
    bail!(
        "no package of the lock that {name} is or needs has a /boot/config-*; run `bedplate lock`, or name a kernel's package"
    )
}

/// A package of the lock and those that are there because of it.
fn reached<'a>(name: &str, packages: &'a [Package]) -> Vec<&'a Package> {
    let mut names = BTreeSet::from([name.to_owned()]);
    loop {
        let found: Vec<&Package> = packages
            .iter()
            .filter(|p| names.contains(&p.name) || p.wanted_by.iter().any(|w| names.contains(w)))
            .collect();
        let before = names.len();
        names.extend(found.iter().map(|p| p.name.clone()));
        if names.len() == before {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;

    #[test]
    fn a_metapackage_stands_for_what_it_needs() {
        let package = |name: &str, wanted_by: &[&str]| Package {
            name: name.into(),
            version: "1".into(),
            archive: "a".into(),
            suite: "s".into(),
            path: String::new(),
            size: 0,
            sha256: Sha256::of(name),
            wanted_by: wanted_by.iter().map(|w| (*w).into()).collect(),
        };
        let packages = [
            package("kmod", &["systemd", "linux-image-6.12-amd64"]),
            package("linux-image-6.12-amd64", &["linux-image-amd64"]),
            package("linux-image-amd64", &["the recipe"]),
            package("systemd", &["the recipe"]),
        ];
        let names = |name| reached(name, &packages).into_iter().map(|p| p.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names("linux-image-amd64"), ["kmod", "linux-image-6.12-amd64", "linux-image-amd64"]);
        assert_eq!(names("gone"), [""; 0]);
    }
}
