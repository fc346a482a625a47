//! Verified inputs.

use super::Store;
use crate::digest::Sha256;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A file in the store whose digest was checked. There is no other way to make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    path: PathBuf,
    digest: Sha256,
    size: u64,
}

impl Fetched {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Its digest.
    pub fn digest(&self) -> Sha256 {
        self.digest
    }
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// Opens it for reading.
    ///
    /// # Errors
    /// When it is gone.
    pub fn open(&self) -> Result<File> {
        File::open(&self.path).with_context(|| format!("the store lost {}", self.path.display()))
    }
    /// Reads all of it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open()?.read_to_end(&mut bytes).with_context(|| format!("can't read {}", self.path.display()))?;
        Ok(bytes)
    }
}

impl Store {
    fn blob_path(&self, digest: &Sha256) -> PathBuf {
        let name = digest.to_string();
        self.root.join("blob").join(&name[..2]).join(name)
    }

    /// The input with this digest, if the store has it.
    ///
    /// It was checked when it came in and its name appeared only after; it is not read again here.
    pub fn blob(&self, digest: &Sha256) -> Option<Fetched> {
        let path = self.blob_path(digest);
        let size = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?.len();
        Some(Fetched { path, digest: *digest, size })
    }

    /// Takes in everything `reader` gives, checked against `expected` before it gets its name.
    ///
    /// # Errors
    /// When the bytes have another digest, or can't be read or written; the store is as before.
    pub fn put(&self, expected: &Sha256, mut reader: impl Read, what: &str) -> Result<Fetched> {
        if let Some(found) = self.blob(expected) {
            return Ok(found);
        }
        let (fetched, _) = self.take(&mut reader, what, Some(expected))?;
        Ok(fetched)
    }

    /// Takes in bytes whose digest is theirs by definition.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn put_bytes(&self, bytes: &[u8], what: &str) -> Result<Fetched> {
        self.put(&Sha256::of(bytes), bytes, what)
    }

    fn take(&self, reader: &mut dyn Read, what: &str, expected: Option<&Sha256>) -> Result<(Fetched, Sha256)> {
        let scratch = self.scratch("blob")?;
        let path = scratch.path().join("blob");
        let full = || format!("can't write {what} to the store at {}", self.root.display());
        let mut file = File::create(&path).with_context(full)?;
        let mut hasher = <sha2::Sha256 as sha2::Digest>::new();
        let mut buffer = vec![0; 1 << 17];
        let mut size = 0;
        loop {
            let n = reader.read(&mut buffer).with_context(|| format!("can't read {what}"))?;
            if n == 0 {
                break;
            }
            sha2::Digest::update(&mut hasher, &buffer[..n]);
            file.write_all(&buffer[..n]).with_context(full)?;
            size += n as u64;
        }
        let digest = Sha256::from_hasher(hasher);
        if let Some(expected) = expected
            && *expected != digest
        {
            bail!("{what} is altered: its {size} bytes have SHA-256 {digest}, where {expected} is right");
        }
        file.set_permissions(std::fs::Permissions::from_mode(0o444)).with_context(full)?;
        // The name must not outlive its bytes over a power cut.
        file.sync_data().with_context(full)?;
        let target = self.blob_path(&digest);
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).with_context(full)?;
        }
        std::fs::rename(&path, &target).with_context(full)?;
        Ok((Fetched { path: target, digest, size }, digest))
    }
}
