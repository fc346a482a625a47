//! A layer's archive -> its members, whose bytes lie in the store: the unpacked archive and an index, so that a later
//! build reads only the index.
//!
//! Formats: POSIX.1-2001 pax and GNU tar, extended attributes as `SCHILY.xattr.*` records.
#![allow(clippy::disallowed_methods, reason = "edge: writes the stage's output")]

use super::spec::Packing;
use crate::compose::deb::{self, Member};
use crate::compose::tree::Content;
use crate::digest::{OciDigest, Sha256};
use crate::stage::StageKey;
use crate::store::{Fetched, Store};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Raise it when the index or the data file changes for one and the same layer.
const REVISION: u32 = 1;
const BLOCK: u64 = 512;

/// The members of a layer, in the archive's order, and the file that their bytes are in.
#[derive(Debug, Clone)]
pub(super) struct Members {
    pub list: Vec<Member>,
    pub data: Arc<PathBuf>,
}

impl Members {
    /// Where a regular member's bytes are.
    pub fn content(&self, offset: u64, size: u64, digest: Sha256) -> Content {
        Content::Slice { file: self.data.clone(), offset, size, digest }
    }
}

/// Unpacks a layer, which must have the digest `id` then.
///
/// # Errors
/// When it has another, or is no tar archive that can be read.
pub(super) fn members(blob: &Fetched, packing: Packing, id: &Sha256, store: &Store) -> Result<Members> {
    let key = StageKey::new("layer", REVISION).with("layer", blob.digest()).with("diff-id", id);
    let output = store.output(&key, |folder| {
        let data = folder.join("data");
        let found = decompress(BufReader::with_capacity(1 << 17, blob.open()?), packing, &data)?;
        ensure!(
            found == *id,
            "unpacked it is {}, where the image's configuration says {}",
            OciDigest(found),
            OciDigest(*id)
        );
        let mut file = BufWriter::new(File::create(folder.join("index.json"))?);
        serde_json::to_writer(&mut file, &read(&data)?)?;
        Ok(file.flush()?)
    })?;
    let list = std::fs::read(output.file("index.json")).context("its index can't be read")?;
    let list = serde_json::from_slice(&list).context("its index can't be read")?;
    Ok(Members { list, data: Arc::new(output.file("data")) })
}

fn decompress(blob: impl Read, packing: Packing, to: &Path) -> Result<Sha256> {
    let mut reader: Box<dyn Read> = match packing {
        Packing::None => Box::new(blob),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(blob)),
        Packing::Zstd => Box::new(zstd::Decoder::new(blob)?),
    };
    let mut file = BufWriter::with_capacity(1 << 20, File::create(to)?);
    let mut hasher = <sha2::Sha256 as sha2::Digest>::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        match reader.read(&mut buffer).context("it can't be unpacked")? {
            0 => break,
            n => {
                sha2::Digest::update(&mut hasher, &buffer[..n]);
                file.write_all(&buffer[..n])?;
            }
        }
    }
    file.flush()?;
    Ok(Sha256::from_hasher(hasher))
}

fn read(data: &Path) -> Result<Vec<Member>> {
    let file = File::open(data)?;
    let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 17, File::open(data)?));
    let mut members = Vec::new();
    // Where the headers of the next member begin: those of pax come before its own.
    let mut begin = 0;
    for entry in archive.entries()? {
        let entry = entry.context("it is no tar archive, or a damaged one")?;
        let (own, content) = (entry.raw_header_position(), entry.raw_file_position());
        let mut headers = vec![0; usize::try_from(own.saturating_sub(begin))?];
        file.read_exact_at(&mut headers, begin)?;
        begin = content + entry.size().next_multiple_of(BLOCK);
        members.extend(member(entry, &headers)?);
    }
    Ok(members)
}

fn member(mut entry: tar::Entry<'_, impl Read>, headers: &[u8]) -> Result<Option<Member>> {
    let path = String::from_utf8(entry.path_bytes().into_owned())
        .map_err(|e| anyhow::anyhow!("{:?} in it is not UTF-8", String::from_utf8_lossy(e.as_bytes())))?;
    let xattrs = xattrs(headers).with_context(|| format!("the attributes of {path} can't be read"))?;
    let header = entry.header();
    let mode = header.mode()? & 0o7777;
    let id = |id: u64| u32::try_from(id).with_context(|| format!("{path} in it has the owner {id}"));
    let (uid, gid) = (id(header.uid()?)?, id(header.gid()?)?);
    let Some(kind) = deb::kind(&mut entry, &path)? else { return Ok(None) };
    let (user, group) = (String::new(), String::new());
    Ok(Some(Member { path, kind, mode, uid, gid, user, group, xattrs }))
}

/// The extended attributes that a member's pax headers name. The reader of tar archives splits records at line feeds,
/// which the value of an attribute may have in it (capabilities do).
fn xattrs(headers: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut rest = headers;
    while let Some((header, behind)) = rest.split_first_chunk::<{ BLOCK as usize }>() {
        let header = tar::Header::from_byte_slice(header);
        let size = usize::try_from(header.entry_size().context("a header is damaged")?)?;
        let records = behind.get(..size).context("a header is damaged")?;
        if header.entry_type() == tar::EntryType::XHeader {
            for (key, value) in records_of(records).context("a pax header is damaged")? {
                if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                    found.insert(name.to_owned(), value.to_vec());
                }
                ensure!(!key.starts_with("GNU.sparse."), "it is a sparse file, which the builder does not read");
            }
        }
        rest = behind.get(size.next_multiple_of(BLOCK as usize)..).unwrap_or_default();
    }
    Ok(found)
}

/// `LENGTH KEY=VALUE\n`, one after the other (POSIX.1-2001, pax Extended Header); none if that is not what it is.
fn records_of(mut bytes: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|b| *b == b' ')?;
        let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
        let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|b| *b == b'=')?;
        found.push((std::str::from_utf8(&record[..equals]).ok()?, &record[equals + 1..]));
        bytes = &bytes[length..];
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_have_their_length_in_front() {
        assert_eq!(records_of(b"9 a=b\nc=\n").unwrap(), [("a", &b"b\nc="[..])]);
        assert_eq!(records_of(b"6 a=b\n").unwrap(), [("a", &b"b"[..])]);
        for broken in [&b"5 a=b\n"[..], b"99 a=b\n", b"a=b\n", b"4 a\n", b"1 "] {
            assert_eq!(records_of(broken), None, "{broken:?}");
        }
    }

    proptest! {
        /// Whatever bytes an attribute has, and whatever lies before it.
        #[test]
        fn any_attribute_comes_through(value in prop::collection::vec(any::<u8>(), 0..600), long in 1usize..200) {
            let mut tar = tar::Builder::new(Vec::new());
            tar.append_pax_extensions([("SCHILY.xattr.user.x", &value[..]), ("SCHILY.xattr.security.y", b"\n")]).unwrap();
            let mut header = tar::Header::new_gnu();
            header.set_size(3);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, "x".repeat(long), &b"abc"[..]).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let data = folder.path().join("data");
            std::fs::write(&data, tar.into_inner().unwrap()).unwrap();
            let members = read(&data).unwrap();
            prop_assert_eq!(&members[0].xattrs["user.x"], &value);
            prop_assert_eq!(&members[0].xattrs["security.y"], b"\n");
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = (xattrs(&bytes), records_of(&bytes));
        }
    }
}
