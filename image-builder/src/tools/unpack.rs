//! Unpacks packages into one folder, as an ordinary user: names, bytes, links and which files are programs;
//! no owners, no devices, no set-user-id bits, no scripts.
//!
//! Format: deb(5). The tree is merged-/usr from the start: `bin`, `sbin`, `lib` and `lib64` are links.
#![allow(clippy::disallowed_methods, reason = "edge: writes the tools tree into a stage output")]

use crate::store::Fetched;
use anyhow::{Context, Result, anyhow, bail};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

/// Folders of the root that are links to their namesakes in `usr`.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
/// Folders that programs expect even when no package brings them.
const FOLDERS: [&str; 6] = ["dev", "etc", "proc", "run", "sys", "tmp"];

/// Unpacks these packages (name and file) below `root`, an empty folder. `done` is told after each.
///
/// # Errors
/// When a package is no deb, two of them have one file, or the folder can't be written; the package is named.
pub(super) fn unpack(packages: &BTreeMap<String, Fetched>, root: &Path, done: impl Fn() + Sync) -> Result<()> {
    for folder in MERGED {
        make_folder(&root.join("usr").join(folder))?;
        symlink(Path::new("usr").join(folder), root.join(folder)).with_context(|| cant(root))?;
    }
    for folder in FOLDERS {
        make_folder(&root.join(folder))?;
    }
    packages.par_iter().try_for_each(|(name, file)| {
        one(file, root).with_context(|| format!("can't unpack package {name}"))?;
        done();
        Ok(())
    })
}

fn cant(path: &Path) -> String {
    format!("can't write {}", path.display())
}

fn one(package: &Fetched, root: &Path) -> Result<()> {
    let mut archive = ar::Archive::new(package.open()?);
    while let Some(member) = archive.next_entry() {
        let member = member.context("it is no ar archive")?;
        let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
        let Some(ending) = name.strip_prefix("data.tar") else { continue };
        let reader: Box<dyn Read> = match ending {
            ".xz" => Box::new(liblzma::read::XzDecoder::new_multi_decoder(member)),
            ".zst" => Box::new(zstd::Decoder::new(member)?),
            ".gz" => Box::new(flate2::read::GzDecoder::new(member)),
            "" => Box::new(member),
            other => bail!("its data is packed as {other:?}, which this builder does not read"),
        };
        return data(tar::Archive::new(reader), root);
    }
    Err(anyhow!("it has no data.tar"))
}

fn data<R: Read>(mut archive: tar::Archive<R>, root: &Path) -> Result<()> {
    for entry in archive.entries().context("its data is no tar archive")? {
        let mut entry = entry.context("its data is no tar archive")?;
        let name = entry.path()?.into_owned();
        let Some(path) = inside(&name)? else { continue };
        let target = root.join(&path);
        let failed = || cant(&target);
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            make_folder(&target)?;
            continue;
        }
        make_folder(target.parent().unwrap_or(root))?;
        if kind.is_file() || kind.is_contiguous() {
            let mode = if entry.header().mode()? & 0o100 == 0 { 0o644 } else { 0o755 };
            let mut file = File::create_new(&target).with_context(failed)?;
            io::copy(&mut entry, &mut file).with_context(failed)?;
            file.set_permissions(fs::Permissions::from_mode(mode)).with_context(failed)?;
        } else if kind.is_symlink() {
            let to = entry.link_name()?.with_context(|| format!("{} is a link to nothing", name.display()))?;
            // base-files brings the links that are there from the start: `bin` is `usr/bin`.
            let is_merged = MERGED.iter().any(|merged| Path::new("usr").join(merged) == path);
            if !(is_merged && to == path) {
                symlink(to, &target).with_context(failed)?;
            }
        } else if kind.is_hard_link() {
            let to = entry.link_name()?.with_context(|| format!("{} is a link to nothing", name.display()))?;
            let Some(to) = inside(&to)? else { bail!("{} is a link to the root", name.display()) };
            fs::hard_link(root.join(to), &target).with_context(failed)?;
        }
    }
    Ok(())
}

/// The path below the tree's root, through the merged folders; none for the root itself.
fn inside(name: &Path) -> Result<Option<PathBuf>> {
    let mut path = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir | Component::RootDir => {}
            _ => bail!("{} leads out of the tree", name.display()),
        }
    }
    let first = path.components().next().map(|c| c.as_os_str().to_owned());
    let merged = first.is_some_and(|f| MERGED.iter().any(|m| f == *m));
    if merged {
        path = Path::new("usr").join(path);
    }
    Ok((!path.as_os_str().is_empty()).then_some(path))
}

/// Makes a folder and those above it. A link in its place is left alone if it leads to a folder.
fn make_folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    // Not by the caller's umask; other threads make the same folders at the same time.
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).with_context(|| cant(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_is_there_from_the_start_may_come_again_and_no_other() {
        let link = |to: &str| {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, "./bin", to).unwrap();
            let root = tempfile::tempdir().unwrap();
            make_folder(&root.path().join("usr/bin")).unwrap();
            let bytes = tar.into_inner().unwrap();
            let done = data(tar::Archive::new(&bytes[..]), root.path());
            assert!(root.path().join("usr/bin").is_dir());
            done
        };
        link("usr/bin").unwrap();
        assert!(link("elsewhere").is_err());
    }

    #[test]
    fn paths_go_to_usr_and_never_out() {
        let to = |p: &str| inside(Path::new(p)).unwrap().map(|p| p.display().to_string());
        assert_eq!(to("./bin/sh").as_deref(), Some("usr/bin/sh"));
        assert_eq!(to("./usr/bin/x").as_deref(), Some("usr/bin/x"));
        assert_eq!(to("./libexec/x").as_deref(), Some("libexec/x"));
        assert_eq!(to("./"), None);
        assert!(inside(Path::new("./a/../../x")).is_err());
    }
}
