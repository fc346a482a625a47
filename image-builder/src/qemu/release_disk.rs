//! What is on the disk of a finished release: its partitions, and the UKI on its ESP.
#![allow(clippy::disallowed_methods, reason = "edge: reads the disk's file")]

use crate::tools::Tools;
use anyhow::{Context, Result, anyhow};
use object::{Object, ObjectSection};
use on_disk::gpt::{self, Partition, SectorSize, Table, kind};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where the firmware looks for what to start.
pub const UKI: &str = "EFI/BOOT/BOOTX64.EFI";

/// A release's `disk.raw`, or a copy of it.
#[derive(Debug, Clone)]
pub struct ReleaseDisk {
    file: PathBuf,
    table: Table,
}

impl ReleaseDisk {
    /// Reads the partition table of a raw disk.
    ///
    /// # Errors
    /// When it can't be read or has no partition table.
    pub fn open(path: &Path) -> Result<ReleaseDisk> {
        let file = File::open(path).with_context(|| format!("the disk {} can't be read", path.display()))?;
        let size = file.metadata()?.len();
        let found = gpt::read(size, SectorSize::B512, |offset, size| {
            let mut bytes = vec![0; size];
            file.read_exact_at(&mut bytes, offset).map(|()| bytes)
        })
        .with_context(|| format!("the disk {} can't be read", path.display()))?;
        let table = found.usable().with_context(|| format!("{} has {found}", path.display()))?.clone();
        Ok(ReleaseDisk { file: path.into(), table })
    }

    /// The disk's file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its partitions.
    pub fn partitions(&self) -> &[Partition] {
        &self.table.partitions
    }

    /// The first partition of this type; with the image's layout, that of slot A.
    ///
    /// # Errors
    /// When there is none.
    pub fn partition(&self, of: uuid::Uuid) -> Result<&Partition> {
        let found = self.table.partitions.iter().find(|p| p.kind == of);
        found.ok_or_else(|| anyhow!("{} has no partition of type {of}", self.file.display()))
    }

    /// A file of its ESP.
    ///
    /// # Errors
    /// When mtools can't read it.
    pub fn read_esp(&self, tools: &Tools, path: &str) -> Result<Vec<u8>> {
        let mtools = tools.tool("mtools")?;
        Ok(mtools.command().args(["-c", "mcopy", "-i", &self.esp()?, &format!("::/{path}"), "-"]).run()?.stdout)
    }

    /// Replaces a file of its ESP. Only for copies of a release.
    ///
    /// # Errors
    /// When mtools can't write it.
    pub fn write_esp(&self, tools: &Tools, path: &str, bytes: &[u8]) -> Result<()> {
        let mtools = tools.tool("mtools")?;
        mtools
            .command()
            .args(["-c", "mcopy", "-o", "-i", &self.esp()?, "-", &format!("::/{path}")])
            .stdin(bytes)
            .run()?;
        Ok(())
    }

    /// Makes a folder on its ESP, in one that is there. Only for copies of a release.
    ///
    /// # Errors
    /// When mtools can't make it.
    pub fn make_folder(&self, tools: &Tools, path: &str) -> Result<()> {
        tools.tool("mtools")?.command().args(["-c", "mmd", "-i", &self.esp()?, &format!("::/{path}")]).run()?;
        Ok(())
    }

    /// The kernel inside its UKI, written to `to`.
    ///
    /// # Errors
    /// When there is no UKI, or no kernel in it.
    pub fn extract_kernel(&self, tools: &Tools, to: &Path) -> Result<()> {
        let uki = self.read_esp(tools, UKI)?;
        let kernel = kernel_section(&uki).with_context(|| format!("{UKI} of {}", self.file.display()))?;
        std::fs::write(to, kernel).with_context(|| format!("{} can't be written", to.display()))
    }

    /// The ESP as mtools name it: the file and the offset in it.
    fn esp(&self) -> Result<String> {
        Ok(format!("{}@@{}", self.file.display(), self.partition(kind::ESP)?.start))
    }
}

fn kernel_section(uki: &[u8]) -> Result<&[u8]> {
    let pe = object::read::pe::PeFile64::parse(uki).context("is no PE file")?;
    let section = pe.section_by_name(".linux").context("has no kernel in it")?;
    section.data().context("has a broken kernel section")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_table_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk.raw");
        std::fs::write(&file, vec![0; 1 << 20]).unwrap();
        let error = ReleaseDisk::open(&file).unwrap_err().to_string();
        assert!(error.contains("disk.raw has no GPT"), "{error}");
    }

    #[test]
    fn what_is_no_uki_has_no_kernel() {
        assert!(kernel_section(b"MZ").unwrap_err().to_string().contains("is no PE file"));
    }
}
