//! The image's file: one pass over what the layout says, hashed on the way.

use super::cluster::Clusters;
use super::layout::{Layout, Run};
use super::verity::{Hashing, PIECE, Sealed};
use anyhow::{Context, Result, anyhow};
use on_disk::erofs::BLOCK;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Pieces that are read ahead of the hashing.
const AHEAD: usize = 2;

/// Writes the image and, into `hash_tree`, the hash tree over it.
pub(super) fn write(
    layout: &Layout,
    clusters: &Clusters,
    mut hashing: Hashing,
    image: &Path,
    hash_tree: &Path,
) -> Result<Sealed> {
    let failed = || format!("can't write {}", image.display());
    let mut file = File::create(image).with_context(failed)?;
    let (sender, pieces) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || read(layout, clusters, sender));
        for piece in pieces {
            let (written, ()) = rayon::join(|| file.write_all(&piece), || hashing.push(&piece));
            written.with_context(failed)?;
        }
        reader.join().map_err(|_| anyhow!("a thread that reads contents has failed"))?
    })?;
    hashing.finish(hash_tree)
}

/// Sends all of the image, in pieces of [`PIECE`] bytes. Ends early if nobody takes them.
fn read(layout: &Layout, clusters: &Clusters, sender: SyncSender<Vec<u8>>) -> Result<()> {
    let mut piece = Vec::with_capacity(2 * PIECE);
    let send = |piece: &mut Vec<u8>, least: usize| {
        while piece.len() >= least {
            let rest = piece.split_off(PIECE.min(piece.len()));
            let full = std::mem::replace(piece, rest);
            if full.is_empty() || sender.send(full).is_err() {
                return;
            }
        }
    };
    for part in layout.metadata.chunks(PIECE) {
        piece.extend(part);
        send(&mut piece, PIECE);
    }
    for run in &layout.runs {
        match run {
            Run::Clusters(digest, number, blocks) => clusters.append(digest, *number, *blocks, &mut piece)?,
            Run::Plain(content, from, to) => {
                let mut at = *from;
                while at < *to {
                    let next = (at + PIECE as u64).min(*to);
                    piece.extend(content.read_part(at..next)?);
                    send(&mut piece, PIECE);
                    at = next;
                }
                piece.resize(piece.len().next_multiple_of(BLOCK), 0);
            }
        }
        send(&mut piece, PIECE);
    }
    send(&mut piece, 0);
    Ok(())
}
