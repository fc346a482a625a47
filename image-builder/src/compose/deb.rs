//! Opens a Debian package without unpacking it onto the host.
//!
//! The decompressed `data.tar` lies in the store as an output of stage `deb`, beside an index: control
//! fields, maintainer scripts, and each member with its place in the tar and the digest of its bytes. A
//! later build reads only the index. Format of the archive: deb(5); of its members: POSIX.1-2001 pax and
//! GNU tar.
#![allow(clippy::disallowed_methods, reason = "edge: writes the stage's output")]

use super::tree::{Content, TreePath};
use crate::digest::Sha256;
use crate::stage::StageKey;
use crate::store::{Fetched, Store};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Raise it when the index or the data file changes for one and the same package.
const REVISION: u32 = 1;

/// Files of the control archive that say what dpkg is to run or to trigger.
pub const SCRIPTS: [&str; 6] = ["preinst", "postinst", "prerm", "postrm", "config", "triggers"];

/// An opened package.
#[derive(Debug, Clone)]
pub struct Deb {
    index: Index,
    data: Arc<PathBuf>,
}

/// What is known of a package without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Index {
    control: String,
    scripts: BTreeMap<String, String>,
    conffiles: Vec<String>,
    members: Vec<Member>,
}

/// One member of `data.tar`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Path as written in the archive, without the leading `.`.
    pub path: String,
    /// What it is.
    pub kind: MemberKind,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Owner by name, as dpkg prefers it; may be empty.
    pub user: String,
    /// Group by name.
    pub group: String,
    /// Extended attributes by full name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberKind {
    /// Regular file: offset in the data file, size, digest.
    File(u64, u64, Sha256),
    /// Folder.
    Directory,
    /// Symbolic link and its target.
    Symlink(String),
    /// Another name of that member.
    HardLink(String),
    /// Character device: major, minor.
    CharDevice(u32, u32),
    /// Block device: major, minor.
    BlockDevice(u32, u32),
    /// Named pipe.
    Fifo,
}

impl Deb {
    /// Opens a package; the first time it is decompressed into the store.
    ///
    /// # Errors
    /// When it is no Debian package; the error names it.
    pub fn open(store: &Store, deb: &Fetched, name: &str) -> Result<Deb> {
        let what = || format!("package {name} ({}) can't be opened", deb.path().display());
        let key = StageKey::new("deb", REVISION).with("deb", deb.digest());
        let output = store
            .output(&key, |folder| {
                let index = unpack(BufReader::with_capacity(1 << 17, deb.open()?), &folder.join("data"))?;
                let mut file = BufWriter::new(File::create(folder.join("index.json"))?);
                serde_json::to_writer(&mut file, &index)?;
                Ok(file.flush()?)
            })
            .with_context(what)?;
        let index = std::fs::read(output.file("index.json")).with_context(what)?;
        let index = serde_json::from_slice(&index).with_context(what)?;
        Ok(Deb { index, data: Arc::new(output.file("data")) })
    }

    /// The control file, as text.
    pub fn control(&self) -> &str {
        &self.index.control
    }

    /// A field of the control file; continuation lines joined by blanks.
    pub fn field(&self, name: &str) -> Option<String> {
        field(&self.index.control, name)
    }

    /// Maintainer scripts and triggers by name, see [`SCRIPTS`].
    pub fn scripts(&self) -> &BTreeMap<String, String> {
        &self.index.scripts
    }

    /// Paths that dpkg treats as configuration.
    pub fn conffiles(&self) -> &[String] {
        &self.index.conffiles
    }

    /// The members of `data.tar`, in its order.
    pub fn members(&self) -> &[Member] {
        &self.index.members
    }

    /// Where a regular member's bytes are.
    pub fn content(&self, offset: u64, size: u64, digest: Sha256) -> Content {
        Content::Slice { file: self.data.clone(), offset, size, digest }
    }
}

/// A field of a control paragraph (deb822(5)); continuation lines joined by blanks.
pub fn field(control: &str, name: &str) -> Option<String> {
    let mut lines = control.lines();
    let first = lines.by_ref().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })?;
    let rest = lines.take_while(|line| line.starts_with([' ', '\t'])).map(|line| format!(" {}", line.trim()));
    Some(first + &rest.collect::<String>())
}

fn unpack(deb: impl Read, data: &Path) -> Result<Index> {
    let mut archive = ar::Archive::new(deb);
    let mut control = None;
    while let Some(entry) = archive.next_entry() {
        let entry = entry.context("it is no ar archive, or a damaged one")?;
        let name = String::from_utf8_lossy(entry.header().identifier()).into_owned();
        if name.starts_with("control.tar") {
            control = Some(read_control(decompress(&name, entry)?)?);
        } else if name.starts_with("data.tar") {
            let Some((control, scripts, conffiles)) = control else {
                bail!("its data.tar comes before its control.tar");
            };
            let file = File::create(data).with_context(|| format!("can't write {}", data.display()))?;
            let members = read_data(decompress(&name, entry)?, BufWriter::with_capacity(1 << 20, file))?;
            return Ok(Index { control, scripts, conffiles, members });
        }
    }
    bail!("it has no data.tar")
}

fn decompress<'a>(name: &str, reader: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    Ok(match name.rsplit('.').next() {
        Some("xz") => Box::new(liblzma::read::XzDecoder::new_multi_decoder(reader)),
        Some("zst") => Box::new(zstd::Decoder::new(reader)?),
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(reader)),
        Some("tar") => Box::new(reader),
        _ => bail!("its member {name} has an unknown compression; known are xz, zst, gz and none"),
    })
}

type Control = (String, BTreeMap<String, String>, Vec<String>);

fn read_control(tar: impl Read) -> Result<Control> {
    let mut control = None;
    let mut scripts = BTreeMap::new();
    let mut conffiles = Vec::new();
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        match name.as_str() {
            "control" => control = Some(text(bytes)),
            "conffiles" => conffiles = text(bytes).lines().map(str::to_owned).collect(),
            _ if SCRIPTS.contains(&name.as_str()) => drop(scripts.insert(name, text(bytes))),
            _ => {}
        }
    }
    Ok((control.context("its control.tar has no control file")?, scripts, conffiles))
}

/// UTF-8, or else each byte as the Latin-1 character, so that other bytes never give the same text.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| e.into_bytes().into_iter().map(char::from).collect())
}

/// Copies what is read through it.
struct Tee<R, W> {
    reader: R,
    writer: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.writer.write_all(&buffer[..n])?;
        Ok(n)
    }
}

fn read_data(tar: impl Read, copy: impl Write) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    let mut archive = tar::Archive::new(Tee { reader: tar, writer: copy });
    for entry in archive.entries()? {
        members.extend(read_member(entry.context("its data.tar is damaged")?)?);
    }
    let mut tee = archive.into_inner();
    io::copy(&mut tee, &mut io::sink()).context("its data.tar is damaged")?;
    tee.writer.flush()?;
    Ok(members)
}

fn read_member<R: Read>(mut entry: tar::Entry<'_, R>) -> Result<Option<Member>> {
    let written = String::from_utf8(entry.path_bytes().into_owned()).map_err(|e| {
        anyhow::anyhow!("its member {:?} has a name that is not UTF-8", String::from_utf8_lossy(e.as_bytes()))
    })?;
    let path = TreePath::new(&written).map_err(anyhow::Error::msg)?.to_string();
    let mut xattrs = BTreeMap::new();
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            if let Some(name) = extension.key()?.strip_prefix("SCHILY.xattr.") {
                xattrs.insert(name.to_owned(), extension.value_bytes().to_vec());
            }
        }
    }
    let header = entry.header();
    let name = |name: Option<&[u8]>| String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
    let (user, group) = (name(header.username_bytes()), name(header.groupname_bytes()));
    let mode = header.mode()? & 0o7777;
    let id = |id: u64| u32::try_from(id).with_context(|| format!("its member {path} has the owner {id}"));
    let (uid, gid) = (id(header.uid()?)?, id(header.gid()?)?);
    let Some(kind) = kind(&mut entry, &path)? else { return Ok(None) };
    Ok(Some(Member { path, kind, mode, uid, gid, user, group, xattrs }))
}

/// What an archive's entry at `path` is; none if it only says something of the archive. A file is read for its digest.
///
/// # Errors
/// When it is nothing that a root can have, or the archive ends in it.
pub(crate) fn kind<R: Read>(entry: &mut tar::Entry<'_, R>, path: &str) -> Result<Option<MemberKind>> {
    let header = entry.header();
    let link = || -> Result<String> {
        let target = entry.link_name_bytes().with_context(|| format!("its link {path} has no target"))?;
        String::from_utf8(target.into_owned())
            .with_context(|| format!("its link {path} has a target that is not UTF-8"))
    };
    let device =
        || -> Result<(u32, u32)> { Ok((header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0))) };
    Ok(Some(match header.entry_type() {
        tar::EntryType::Regular | tar::EntryType::Continuous => {
            let (offset, size) = (entry.raw_file_position(), entry.size());
            let (digest, read) = Sha256::of_reader(entry)?;
            if read != size {
                bail!("it ends inside {path}");
            }
            MemberKind::File(offset, size, digest)
        }
        tar::EntryType::Directory => MemberKind::Directory,
        tar::EntryType::Symlink => MemberKind::Symlink(link()?),
        tar::EntryType::Link => MemberKind::HardLink(link()?),
        tar::EntryType::Char => device().map(|(a, b)| MemberKind::CharDevice(a, b))?,
        tar::EntryType::Block => device().map(|(a, b)| MemberKind::BlockDevice(a, b))?,
        tar::EntryType::Fifo => MemberKind::Fifo,
        tar::EntryType::XGlobalHeader => return Ok(None),
        tar::EntryType::GNUSparse => bail!("its member {path} is a sparse file, which the builder does not read"),
        other => bail!("its member {path} has the unknown tar type {:?}", char::from(other.as_byte())),
    }))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn blank() -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        header
    }

    /// A package made of these members: (path, mode, bytes), a path ending in `/` for a folder.
    pub(crate) fn package(control: &str, scripts: &[(&str, &str)], files: &[(&str, u32, &str)]) -> Vec<u8> {
        let mut inner = tar::Builder::new(Vec::new());
        for (name, content) in scripts.iter().chain(&[("control", control)]) {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            inner.append_data(&mut header, format!("./{name}"), content.as_bytes()).unwrap();
        }
        let control = inner.into_inner().unwrap();
        let mut data = tar::Builder::new(Vec::new());
        for (path, mode, content) in files {
            let mut header = blank();
            header.set_mode(*mode);
            header.set_username("root").unwrap();
            header.set_groupname("shadow").unwrap();
            header.set_size(content.len() as u64);
            if path.ends_with('/') {
                header.set_entry_type(tar::EntryType::Directory);
            }
            data.append_pax_extensions([("SCHILY.xattr.user.x", &b"\x01\x00"[..])]).unwrap();
            data.append_data(&mut header, format!(".{path}"), content.as_bytes()).unwrap();
        }
        let mut header = blank();
        header.set_entry_type(tar::EntryType::Link);
        data.append_link(&mut header, "./usr/hard", "./usr/x").unwrap();
        let data = zstd::encode_all(&data.into_inner().unwrap()[..], 1).unwrap();
        let mut out = ar::Builder::new(Vec::new());
        for (name, bytes) in [("debian-binary", b"2.0\n".to_vec()), ("control.tar", control), ("data.tar.zst", data)] {
            out.append(&ar::Header::new(name.into(), bytes.len() as u64), &bytes[..]).unwrap();
        }
        out.into_inner().unwrap()
    }

    fn open(bytes: &[u8]) -> Result<(tempfile::TempDir, Deb)> {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let deb = store.put_bytes(bytes, "x").unwrap();
        let deb = Deb::open(&store, &deb, "x")?;
        Ok((folder, deb))
    }

    #[test]
    fn a_package_is_read_whole() {
        let long = format!("/usr/{}", "long/".repeat(40));
        let bytes = package(
            "Package: x\nVersion: 1\nDepends: a,\n b\nDescription: y\n",
            &[("postinst", "#!/bin/sh\n"), ("templates", "no script")],
            &[("/usr/", 0o755, ""), ("/usr/x", 0o4755, "hello"), (&long, 0o700, "")],
        );
        let (_keep, deb) = open(&bytes).unwrap();
        assert_eq!(deb.field("depends").as_deref(), Some("a, b"));
        assert_eq!(deb.scripts().keys().collect::<Vec<_>>(), ["postinst"]);
        let x = &deb.members()[1];
        assert_eq!((x.path.as_str(), x.mode, x.group.as_str()), ("/usr/x", 0o4755, "shadow"));
        assert_eq!(x.xattrs["user.x"], [1, 0]);
        let MemberKind::File(offset, size, digest) = x.kind else { panic!("{x:?}") };
        assert_eq!(deb.content(offset, size, digest).read().unwrap(), b"hello");
        assert_eq!(digest, Sha256::of("hello"));
        assert_eq!(deb.members()[2].path, long.trim_end_matches('/'));
        assert_eq!(deb.members()[3].kind, MemberKind::HardLink("./usr/x".into()));
    }

    #[test]
    fn what_is_no_package_says_so() {
        let error = format!("{:#}", open(b"not a package").unwrap_err());
        assert!(error.contains("package x (") && error.contains("no ar archive"), "{error}");
        let bytes = package("Package: x\n", &[], &[("/usr/x", 0o644, "hello")]);
        let error = format!("{:#}", open(&bytes[..bytes.len() - 60]).unwrap_err());
        assert!(error.contains("package x ("), "{error}");
    }
}
