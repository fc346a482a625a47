//! The full UKI: the thin one's parts, and the root and its hash tree in the initrd. One signed file that boots without
//! a disk.
//!
//! Guarantees: equal inputs give equal bytes; the root is never in memory as a whole, neither when the file is put
//! together nor when it is signed.
#![allow(clippy::disallowed_methods, reason = "edge: writes the stage's output")]

use super::Parts;
use crate::digest::Sha256;
use crate::initrd::root::{self, Piece};
use crate::progress::{Progress, Unit};
use crate::seal::RootImage;
use crate::stage::StageKey;
use crate::store::Store;
use anyhow::{Context, Result};
use on_disk::pe::{Headers, SizedSection, Sum, certificate_table};
use serde::{Deserialize, Serialize};
use sha2::Digest;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Raised when equal inputs give other bytes than before.
const REVISION: u32 = 1;
const PIECE: usize = 1 << 20;
const FILE: &str = "unsigned.efi";
const RECORD: &str = "unsigned.json";
const INITRD: &str = ".initrd";

/// A full UKI that nobody has signed, in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsignedFullUki {
    /// The file.
    pub file: PathBuf,
    record: Record,
}

/// What the store remembers of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    size: u64,
    sha256: Sha256,
    /// What a signature is over.
    authenticode: Sha256,
    /// The checksum's words, see [`Sum`].
    words: u64,
    /// Where the checksum is, and the directory entry of the certificate table.
    checksum: u64,
    directory: u64,
    /// Where the initrd is.
    initrd: (u64, u64),
}

/// Puts the parts and the root together, or takes what the store has of it. Entries of the root's archive carry the time
/// `snapshot`.
///
/// # Errors
/// When stub or kernel are no EFI programs, something does not fit, or the store can't be written.
pub fn full(
    parts: &Parts,
    root: &RootImage,
    snapshot: i64,
    store: &Store,
    progress: &Progress,
) -> Result<UnsignedFullUki> {
    let key = StageKey::new("full-uki", REVISION)
        .with("stub", Sha256::of(parts.stub))
        .with("kernel", Sha256::of(parts.kernel))
        .with("release", parts.release)
        .with("initrd", Sha256::of(parts.initrd))
        .with("os-release", Sha256::of(parts.os_release))
        .with("command line", parts.command_line)
        .with("root", root.image_digest)
        .with("root hash", root.root_hash)
        .with("snapshot", snapshot);
    let output = store.output(&key, |folder| {
        let record = write(parts, root, snapshot, &folder.join(FILE), progress)?;
        std::fs::write(folder.join(RECORD), serde_json::to_vec_pretty(&record)?)
            .with_context(|| format!("can't write {}", folder.join(RECORD).display()))
    })?;
    let record = std::fs::read(output.file(RECORD)).map_err(anyhow::Error::from);
    let record = record.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
    let record = record.with_context(|| format!("the store's {} can't be read", output.file(RECORD).display()))?;
    Ok(UnsignedFullUki { file: output.file(FILE), record })
}

fn write(parts: &Parts, root: &RootImage, snapshot: i64, path: &Path, progress: &Progress) -> Result<Record> {
    let stub = super::uki::stub(parts)?;
    let bytes = |bytes: &[u8]| vec![Piece::Bytes(bytes.to_vec())];
    let mut initrd = bytes(parts.initrd);
    initrd.extend(root::archive(root, snapshot)?);
    // As in the thin UKI. No PCR policy: who starts without a disk has none that could be bound to it.
    let thin = super::uki::sections(&Parts { pcr_public_key: None, ..*parts });
    let sections: Vec<(&str, Vec<Piece>, bool)> = thin
        .iter()
        .map(|section| match section.name {
            INITRD => (INITRD, std::mem::take(&mut initrd), false),
            name => (name, bytes(section.data), section.code),
        })
        .collect();
    let size = |pieces: &[Piece]| pieces.iter().map(Piece::size).sum();
    let sized: Vec<SizedSection> =
        sections.iter().map(|(name, pieces, code)| SizedSection { name, size: size(pieces), code: *code }).collect();
    let plan = stub.plan(&sized).context("the full UKI can't be put together")?;
    let headers = Headers::parse(&plan.head, plan.size).context("the full UKI can't be put together")?;
    let (checksum, directory) = headers.uncovered_fields();
    let task = progress.task("putting the full UKI together", plan.size, Unit::Bytes);

    let failed = || format!("can't write {}", path.display());
    let file = File::options().read(true).write(true).create_new(true).open(path).with_context(failed)?;
    let mut writer = Writer { file: &file, at: 0, sum: Sum::default(), covered: Covered::new(headers.covered()?) };
    writer.push(&plan.head).with_context(failed)?;
    for (place, (_, pieces, _)) in plan.places.iter().zip(&sections) {
        writer.fill(*place).with_context(failed)?;
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => writer.push(bytes).with_context(failed)?,
                Piece::File(from, size) => {
                    let from_file = File::open(from).with_context(|| format!("the store lost {}", from.display()))?;
                    let mut from_file = from_file.take(*size);
                    let mut buffer = vec![0; PIECE];
                    let end = writer.at + size;
                    while writer.at < end {
                        let n = usize::try_from(end - writer.at).unwrap_or(PIECE).min(PIECE);
                        let read = from_file.read_exact(&mut buffer[..n]);
                        read.with_context(|| format!("can't read {}", from.display()))?;
                        writer.push(&buffer[..n]).with_context(failed)?;
                        task.add(n as u64);
                    }
                }
            }
        }
    }
    writer.fill(plan.size).with_context(failed)?;
    let (sum, authenticode) = (writer.sum, writer.covered.finish());
    file.write_all_at(&sum.value().to_le_bytes(), checksum).with_context(failed)?;
    // The checksum in front is known only now, so the digest takes a second pass, over what the kernel still has.
    let mut whole = &file;
    whole.seek(SeekFrom::Start(0)).with_context(failed)?;
    let (sha256, size) = Sha256::of_reader(whole).with_context(failed)?;
    let initrd = headers.section(INITRD).context("the full UKI has no initrd")?;
    let initrd = (initrd.start, initrd.end);
    Ok(Record { size, sha256, authenticode, words: sum.words(), checksum, directory, initrd })
}

/// Writes a file from its beginning, summing and hashing on the way.
struct Writer<'a> {
    file: &'a File,
    at: u64,
    sum: Sum,
    covered: Covered,
}

impl Writer<'_> {
    fn push(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let Writer { file, at, sum, covered } = self;
        let (written, ()) = rayon::join(
            || {
                sum.push(bytes);
                file.write_all_at(bytes, *at)
            },
            || covered.push(*at, bytes),
        );
        self.at += bytes.len() as u64;
        written
    }

    /// Zeros up to `to`.
    fn fill(&mut self, to: u64) -> std::io::Result<()> {
        let zeros = vec![0; usize::try_from(to.saturating_sub(self.at)).unwrap_or(0)];
        self.push(&zeros)
    }
}

/// The hash that Authenticode signs, over a file that comes from its beginning on.
struct Covered {
    ranges: Vec<Range<u64>>,
    hasher: sha2::Sha256,
}

impl Covered {
    /// Of these ranges, in the order of the file.
    fn new(ranges: Vec<Range<u64>>) -> Covered {
        Covered { ranges, hasher: sha2::Sha256::new() }
    }

    /// The bytes at `at`.
    fn push(&mut self, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        for range in &self.ranges {
            let (from, to) = (range.start.max(at), range.end.min(end));
            if from < to {
                self.hasher.update(&bytes[(from - at) as usize..(to - at) as usize]);
            }
        }
    }

    /// The hash.
    fn finish(self) -> Sha256 {
        Sha256::from_hasher(self.hasher)
    }
}

impl UnsignedFullUki {
    /// Digest of its bytes: whoever has the inputs comes to the same.
    pub fn digest(&self) -> Sha256 {
        self.record.sha256
    }

    /// What a signature is over.
    pub fn authenticode_digest(&self) -> Sha256 {
        self.record.authenticode
    }

    /// Where the initrd lies in it.
    pub fn initrd(&self) -> Range<u64> {
        self.record.initrd.0..self.record.initrd.1
    }

    /// Bytes of it once this signature, a PKCS#7 `SignedData`, is attached.
    ///
    /// # Errors
    /// When it does not fit into an image.
    pub fn size_with(&self, signed_data: &[u8]) -> Result<u64> {
        let (table, _) = certificate_table(signed_data, self.record.size)?;
        Ok(self.record.size + table.len() as u64)
    }

    /// Puts a signature and the checksum that comes with it into a copy of the file, which begins at `at` of `copy`.
    ///
    /// # Errors
    /// When the copy can't be written.
    pub fn attach(&self, signed_data: &[u8], copy: &File, at: u64) -> Result<()> {
        let Record { size, words, checksum, directory, .. } = self.record;
        let (table, entry) = certificate_table(signed_data, size)?;
        let mut sum = Sum::resume(words, size);
        sum.set(&entry);
        sum.push(&table);
        copy.write_all_at(&table, at + size)?;
        copy.write_all_at(&entry, at + directory)?;
        copy.write_all_at(&sum.value().to_le_bytes(), at + checksum)?;
        Ok(())
    }
}

/// A part of a file that is an image of its own.
#[derive(Debug, Clone)]
pub struct Region<'a> {
    /// The file.
    pub file: &'a File,
    /// Where the image lies in it.
    pub place: Range<u64>,
}

impl<'a> Region<'a> {
    /// All of a file.
    ///
    /// # Errors
    /// When its size can't be asked for.
    pub fn whole(file: &'a File) -> std::io::Result<Region<'a>> {
        Ok(Region { file, place: 0..file.metadata()?.len() })
    }

    /// Bytes of it.
    pub fn size(&self) -> u64 {
        self.place.end - self.place.start
    }

    /// A part of it, in memory.
    ///
    /// # Errors
    /// When it can't be read, or is not inside.
    pub fn bytes(&self, part: Range<u64>) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(part.end - part.start).map_err(std::io::Error::other)?];
        self.file.read_exact_at(&mut bytes, self.place.start + part.start)?;
        Ok(bytes)
    }

    /// A part of it, in pieces with their places.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn pieces(&self, part: Range<u64>, mut take: impl FnMut(u64, &mut [u8])) -> std::io::Result<()> {
        let mut buffer = vec![0; PIECE];
        let mut at = part.start;
        while at < part.end {
            let n = usize::try_from(part.end - at).unwrap_or(PIECE).min(PIECE);
            self.file.read_exact_at(&mut buffer[..n], self.place.start + at)?;
            take(at, &mut buffer[..n]);
            at += n as u64;
        }
        Ok(())
    }

    /// Its headers.
    ///
    /// # Errors
    /// When it is no image, or can't be read.
    pub fn headers(&self) -> Result<Headers> {
        let head = self.bytes(0..self.size().min(Headers::ENOUGH as u64)).context("can't be read")?;
        Ok(Headers::parse(&head, self.size())?)
    }

    /// The hash that Authenticode signs.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn authenticode_digest(&self, headers: &Headers) -> Result<Sha256> {
        let mut hasher = sha2::Sha256::new();
        for part in headers.covered()? {
            self.pieces(part, |_, piece| hasher.update(&piece)).context("can't be read")?;
        }
        Ok(Sha256::from_hasher(hasher))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::{self, CommandLine};
    use crate::sign::authenticode;
    use on_disk::pe::{Image, NewSection};

    /// The smallest image that passes for systemd-stub.
    fn stub() -> Vec<u8> {
        authenticode::tests::image_with(".sdmagic", b"magic").into_bytes()
    }

    fn put(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(folder.join(name), bytes).unwrap();
        folder.join(name)
    }

    #[test]
    fn it_has_the_bytes_that_an_image_in_memory_has_signed_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let (image, tree) = (vec![1; 3 << 20], vec![2; 8192]);
        let root = RootImage {
            image: put(folder.path(), "image", &image),
            image_size: image.len() as u64,
            image_digest: Sha256::of(&image),
            hash_tree: put(folder.path(), "tree", &tree),
            hash_tree_size: tree.len() as u64,
            root_hash: Sha256::of("r"),
        };
        let stub = stub();
        let line = CommandLine::new(&root.root_hash, &[]).unwrap();
        let parts = Parts {
            stub: &stub,
            kernel: &stub,
            release: "6.12",
            initrd: b"init",
            os_release: b"ID=x\n",
            microcode: None,
            command_line: &line,
            pcr_public_key: None,
        };
        let made = full(&parts, &root, 1, &store, &Progress::silent()).unwrap();
        assert_eq!(made, full(&parts, &root, 1, &store, &Progress::silent()).unwrap());

        let mut initrd = b"init".to_vec();
        for piece in root::archive(&root, 1).unwrap() {
            match piece {
                Piece::Bytes(bytes) => initrd.extend(bytes),
                Piece::File(path, _) => initrd.extend(std::fs::read(path).unwrap()),
            }
        }
        let whole = assemble::uki(&Parts { initrd: &initrd, ..parts }).unwrap();
        assert!(std::fs::read(&made.file).unwrap() == whole.image().bytes());
        assert_eq!(made.digest(), whole.digest());
        let range = made.initrd();
        assert!(whole.image().bytes()[range.start as usize..range.end as usize] == initrd);

        let copy = put(folder.path(), "copy", whole.image().bytes());
        let file = File::options().read(true).write(true).open(&copy).unwrap();
        let digest = || {
            let region = Region::whole(&file).unwrap();
            region.authenticode_digest(&region.headers().unwrap()).unwrap()
        };
        assert_eq!(digest(), made.authenticode_digest());
        made.attach(b"signed data", &file, 0).unwrap();
        assert_eq!(file.metadata().unwrap().len(), made.size_with(b"signed data").unwrap());
        assert!(std::fs::read(&copy).unwrap() == whole.image().with_certificate(b"signed data").unwrap().bytes());
        assert_eq!(digest(), made.authenticode_digest(), "the signature is not covered");
    }

    #[test]
    fn the_hash_is_that_of_the_crate_that_signs() {
        let new = [NewSection { name: ".osrel", data: &[7; 1234], code: false }];
        let image = Image::parse(stub()).unwrap().with_sections(&new).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), image.bytes()).unwrap();
        let wanted = authenticode::digest(&image).unwrap();
        let region = Region::whole(file.as_file()).unwrap();
        let found = region.authenticode_digest(&region.headers().unwrap()).unwrap();
        assert_eq!(found.bytes().to_vec(), wanted);
    }
}
