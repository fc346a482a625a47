//! The image, copied from the disk that the node was started from onto another system disk.

use super::LockedDevice;
use super::meter::Meter;
use crate::medium::{Medium, Pages};
use anyhow::{Context, bail};
use on_disk::gpt::Partition;
use std::fs::File;
use std::io;
use std::path::Path;

/// Bytes that are read and written at a time.
const CHUNK: u64 = 4 << 20;

/// Copies `partitions` from the disk with the kernel name `from` into the same places on `disk`, and sees that the medium holds
/// the same then. What is the same already is not written: most of an image's partitions is room for what comes later.
pub(super) fn copy(from: &str, disk: &LockedDevice, partitions: &[Partition], meter: &Meter) -> anyhow::Result<()> {
    let source = Path::new("/dev").join(from);
    let source = File::open(&source).with_context(|| format!("cannot open {}", source.display()))?;
    let mut sides = Sides {
        source: Side { medium: Medium::of(&source), pages: Pages::of(CHUNK as usize) },
        disk: Side { medium: Medium::of(disk.file()), pages: Pages::of(CHUNK as usize) },
    };
    meter.expect(partitions.iter().map(|p| p.size).sum());
    let mut written = Vec::new();
    for (at, length) in chunks(partitions) {
        let (wanted, found) = sides.read(at, length).with_context(|| format!("while {from} is copied"))?;
        if found != wanted {
            disk.write(at, wanted)?;
            written.push((at, length));
        }
        meter.add(length as u64);
    }
    disk.flush()?;
    for (at, length) in written {
        let (wanted, found) = sides.read(at, length).with_context(|| format!("while the copy of {from} is checked"))?;
        if found != wanted {
            bail!(
                "{} does not hold what was copied to it: from byte {at} on it differs from {from}",
                disk.device().words()
            );
        }
    }
    Ok(())
}

/// Two media, read side by side into memory that is used again.
struct Sides<'a> {
    source: Side<'a>,
    disk: Side<'a>,
}

struct Side<'a> {
    medium: Medium<'a>,
    pages: Pages,
}

impl Sides<'_> {
    /// What lies in the same place on both.
    fn read(&mut self, at: u64, length: usize) -> anyhow::Result<(&[u8], &[u8])> {
        let Sides { source, disk } = self;
        std::thread::scope(|scope| {
            let found = scope.spawn(|| disk.read(at, length));
            let wanted = source.read(at, length).context("cannot read the disk that the node was started from")?;
            let found = found.join().unwrap_or_else(|_| Err(io::Error::other("reading panicked")));
            Ok((wanted, found.context("cannot read the disk that is copied to")?))
        })
    }
}

impl Side<'_> {
    fn read(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let bytes = self.pages.first(length);
        self.medium.read(bytes, at)?;
        Ok(bytes)
    }
}

/// Where each piece begins, and its bytes.
fn chunks(partitions: &[Partition]) -> impl Iterator<Item = (u64, usize)> {
    partitions.iter().flat_map(|p| {
        let starts = (p.start..p.end()).step_by(CHUNK as usize);
        starts.map(|at| (at, CHUNK.min(p.end() - at) as usize))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_every_partition_is_in_one_piece() {
        let partition = |start: u64, size: u64| Partition {
            number: 1,
            kind: uuid::Uuid::nil(),
            guid: uuid::Uuid::nil(),
            start,
            size,
            attributes: 0,
            name: String::new(),
        };
        let pieces: Vec<(u64, usize)> = chunks(&[partition(1 << 20, 9 << 20), partition(20 << 20, 512)]).collect();
        assert_eq!(pieces, [(1 << 20, 4 << 20), (5 << 20, 4 << 20), (9 << 20, 1 << 20), (20 << 20, 512)]);
    }
}
