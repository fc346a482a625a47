//! The image, copied from the disk that the node was started from onto another system disk.

use super::LockedDevice;
use super::locked_device::read_back;
use super::meter::Meter;
use anyhow::bail;
use on_disk::gpt::Partition;
use std::path::Path;

/// Bytes that are read and written at a time.
const CHUNK: u64 = 4 << 20;

/// Copies `partitions` from the disk with the kernel name `from` into the same places on `disk`, and sees that the medium holds
/// the same then. What is the same already is not written: most of an image's partitions is room for what comes later.
pub(super) fn copy(from: &str, disk: &LockedDevice, partitions: &[Partition], meter: &Meter) -> anyhow::Result<()> {
    let source = Path::new("/dev").join(from);
    meter.expect(partitions.iter().map(|p| p.size).sum());
    let mut written = Vec::new();
    for (at, length) in chunks(partitions) {
        let (wanted, found) = both(&source, disk, at, length)?;
        if found != wanted {
            disk.write(at, &wanted)?;
            written.push((at, length));
        }
        meter.add(length as u64);
    }
    disk.flush()?;
    for (at, length) in written {
        let (wanted, found) = both(&source, disk, at, length)?;
        if found != wanted {
            bail!(
                "{} does not hold what was copied to it: from byte {at} on it differs from {from}",
                disk.device().words()
            );
        }
    }
    Ok(())
}

/// What lies in the same place on both media, read side by side.
fn both(source: &Path, disk: &LockedDevice, at: u64, length: usize) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    std::thread::scope(|scope| {
        let found = scope.spawn(|| disk.read_back(at, length));
        let wanted = read_back(source, at, length)?;
        let found = found.join().unwrap_or_else(|_| Err(anyhow::anyhow!("reading panicked")))?;
        Ok((wanted, found))
    })
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
