//! Components taken from release files: an address or a path, a digest, and where the file goes.
#![allow(clippy::disallowed_methods, reason = "edge: unpacks members into the store")]

use super::{ComponentEntry, ComponentKind};
use crate::compose::tree::{Content, Origin};
use crate::recipe::ComponentFile;
use crate::stage::StageKey;
use crate::store::{Fetched, Store};
use anyhow::{Context, Result, anyhow, bail};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Raise it when the same archive would be unpacked differently.
const REVISION: u32 = 1;

/// Takes one file of a component from the store: all of it, or one member of a `.tar.gz`.
///
/// # Errors
/// When the archive has no such member, or a mode or path is none.
pub fn entry(
    name: &str,
    version: &str,
    file: &ComponentFile,
    fetched: &Fetched,
    store: &Store,
) -> Result<ComponentEntry> {
    let mode = mode(&file.mode).with_context(|| format!("component {name}, {}", file.install))?;
    let content = match &file.member {
        None => {
            let (path, size, digest) = (fetched.path().to_owned(), fetched.size(), fetched.digest());
            Content::Slice { file: Arc::new(path), offset: 0, size, digest }
        }
        Some(member) => unpack(fetched, member, store).with_context(|| format!("component {name}"))?,
    };
    Ok(ComponentEntry {
        install: file.install.clone(),
        what: ComponentKind::File(content, mode),
        origin: Origin::Component(name.into(), version.into()),
    })
}

/// Brings a file that lies beside the recipe into the store.
///
/// # Errors
/// When it is not there or has another digest.
pub fn take_local(file: &ComponentFile, path: &Path, recipe_folder: &Path, store: &Store) -> Result<Fetched> {
    let path = recipe_folder.join(path);
    let reader = File::open(&path).with_context(|| format!("can't open {}", path.display()))?;
    store.put(&file.sha256, reader, &path.display().to_string())
}

/// Permission bits from octal text.
fn mode(text: &str) -> Result<u32> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| anyhow!("{text:?} is no file mode; expected octal digits like \"0755\""))
}

fn unpack(archive: &Fetched, member: &str, store: &Store) -> Result<Content> {
    let key = StageKey::new("member", REVISION).with("archive", archive.digest()).with("member", member);
    let output = store.output(&key, |folder| {
        let wanted = plain(member);
        let mut tar = tar::Archive::new(flate2::read::MultiGzDecoder::new(archive.open()?));
        let mut names = Vec::new();
        for entry in tar.entries().context("the archive can't be read as .tar.gz")? {
            let mut entry = entry.context("the archive can't be read as .tar.gz")?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if plain(&name) == wanted && entry.header().entry_type().is_file() {
                let mut to = File::create(folder.join("file"))?;
                std::io::copy(&mut entry, &mut to).with_context(|| format!("can't unpack {name}"))?;
                return Ok(());
            }
            names.push(name);
        }
        names.truncate(10);
        bail!("its archive has no file {member:?}; it begins with {}", names.join(", "))
    })?;
    Ok(Content::of_file(&output.file("file"))?)
}

fn plain(name: &str) -> &str {
    name.trim_start_matches("./")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;

    fn archive(members: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (name, text) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn file(sha256: Sha256, member: Option<&str>, mode: &str) -> ComponentFile {
        ComponentFile {
            url: None,
            path: Some("x".into()),
            sha256,
            member: member.map(String::from),
            install: "/usr/bin/x".into(),
            mode: mode.into(),
        }
    }

    fn text_of(entry: &ComponentEntry) -> (String, u32) {
        let ComponentKind::File(Content::Slice { file, offset: 0, size, .. }, mode) = &entry.what else {
            panic!("{entry:?}")
        };
        let text = std::fs::read_to_string(file.as_path()).unwrap();
        assert_eq!(text.len() as u64, *size);
        (text, *mode)
    }

    #[test]
    fn a_member_is_taken_with_the_recipe_s_mode() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let bytes = archive(&[("bin/a", "first"), ("bin/b", "second")]);
        let fetched = store.put_bytes(&bytes, "x").unwrap();
        let take = |member, mode| entry("x", "1", &file(fetched.digest(), member, mode), &fetched, &store);
        assert_eq!(text_of(&take(Some("./bin/a"), "0755").unwrap()), ("first".into(), 0o755));
        assert_eq!(text_of(&take(Some("bin/b"), "4755").unwrap()), ("second".into(), 0o4755));
        let error = format!("{:#}", take(Some("bin/c"), "0755").unwrap_err());
        assert_eq!(error, r#"component x: its archive has no file "bin/c"; it begins with bin/a, bin/b"#);
        let error = format!("{:#}", take(None, "rwx").unwrap_err());
        assert_eq!(error, r#"component x, /usr/bin/x: "rwx" is no file mode; expected octal digits like "0755""#);
    }

    #[test]
    fn a_local_file_is_held_against_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        std::fs::write(folder.path().join("x"), "bytes").unwrap();
        let take = |digest| take_local(&file(digest, None, "0755"), Path::new("x"), folder.path(), &store);
        assert_eq!(
            text_of(
                &entry("x", "1", &file(Sha256::of("bytes"), None, "0755"), &take(Sha256::of("bytes")).unwrap(), &store)
                    .unwrap()
            )
            .0,
            "bytes"
        );
        assert!(take(Sha256::of("other")).unwrap_err().to_string().contains("is altered"));
    }
}
