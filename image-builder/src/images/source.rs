//! An OCI image layout as a folder or in a tar file, or a docker-archive, read without unpacking it. Edge: reads files.

use crate::digest::{OciDigest, Sha256};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Most bytes of what is not a layer: containerd's limit for manifests is 8 MiB.
const MOST_TEXT: u64 = 8 << 20;

/// Files by their path.
#[derive(Debug)]
pub(super) enum Source {
    /// A layout.
    Folder(PathBuf),
    /// A tar file, and where its members' bytes are in it.
    Archive(PathBuf, BTreeMap<String, (u64, u64)>),
}

impl Source {
    /// Opens a folder or a tar file.
    ///
    /// # Errors
    /// When it is neither.
    pub fn open(path: &Path) -> Result<Source> {
        if path.is_dir() {
            return Ok(Source::Folder(path.to_owned()));
        }
        let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
        let none = "it is neither a folder nor a plain tar archive; unpack what is compressed as a whole";
        let mut members = BTreeMap::new();
        let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 17, file));
        for entry in archive.entries_with_seek().context(none)? {
            let entry = entry.context(none)?;
            let kind = entry.header().entry_type();
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            match kind {
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    members.insert(name, (entry.raw_file_position(), entry.size()));
                }
                // Docker names a layer that is in the archive already by a link.
                tar::EntryType::Symlink | tar::EntryType::Link => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    let target = String::from_utf8_lossy(&target).into_owned();
                    let last: Vec<&str> = target.rsplit('/').take(2).collect();
                    let same = last.iter().rev().copied().collect::<Vec<_>>().join("/");
                    if let Some(place) = members.get(&target).or_else(|| members.get(&same)).copied() {
                        members.insert(name, place);
                    }
                }
                _ => {}
            }
        }
        Ok(Source::Archive(path.to_owned(), members))
    }

    /// A reader of the file at a path, and its size; none if there is none.
    pub fn reader(&self, name: &str) -> Result<Option<(Box<dyn Read>, u64)>> {
        match self {
            Source::Folder(folder) => {
                let path = folder.join(name);
                if !path.is_file() {
                    return Ok(None);
                }
                let file = File::open(&path).with_context(|| format!("can't open {}", path.display()))?;
                let size = file.metadata()?.len();
                Ok(Some((Box::new(file), size)))
            }
            Source::Archive(path, members) => {
                let Some((offset, size)) = members.get(name).copied() else { return Ok(None) };
                let mut file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
                file.seek(SeekFrom::Start(offset))?;
                Ok(Some((Box::new(file.take(size)), size)))
            }
        }
    }

    /// All of a file that is text; none if there is none.
    pub fn text(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some((reader, size)) = self.reader(name)? else { return Ok(None) };
        if size > MOST_TEXT {
            bail!("{name} has {size} bytes; nothing that describes an image is that long");
        }
        let mut bytes = Vec::new();
        reader.take(MOST_TEXT).read_to_end(&mut bytes).with_context(|| format!("can't read {name}"))?;
        Ok(Some(bytes))
    }

    /// The text with this digest, which is checked.
    pub fn blob(&self, digest: &OciDigest) -> Result<Vec<u8>> {
        let name = blob(digest);
        let bytes = self.text(&name)?.with_context(|| format!("it has no {name}"))?;
        let found = Sha256::of(&bytes);
        if found != digest.0 {
            bail!("{name} is altered: its {} bytes have SHA-256 {found}", bytes.len());
        }
        Ok(bytes)
    }
}

/// Where a layout has a blob (OCI Image Layout Specification, "Blobs").
pub(super) fn blob(digest: &OciDigest) -> String {
    format!("blobs/sha256/{}", digest.0)
}
