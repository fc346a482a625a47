//! A root inside the initrd: the file becomes a device, and dm-verity reads it as it reads a partition.
//!
//! The UKI's signature covers the initrd, and with it the root. dm-verity still has the last word: what runs is the root
//! of the signed hash, whatever the initrd holds.
#![allow(clippy::disallowed_methods, reason = "edge: reads the initrd's files")]

use super::command_line::Signed;
use super::find::{Place, Root, activate};
use super::modules::Coldplug;
use super::{loop_device, refuse};
use machine_config::Diagnostic;
use on_disk::verity::{BLOCK, SUPERBLOCK_SIZE, Superblock};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Where the builder puts the EROFS, and its hash tree; the same in `image_builder::initrd::root`.
const IMAGE: &str = "/root.erofs";
const HASH_TREE: &str = "/root.verity";
/// The device that the initrd's table has the loop driver for.
const DEVICE: &str = "bedplate:embedded-root";

/// Whether the initrd brought a root.
#[must_use]
pub fn is_there() -> bool {
    Path::new(IMAGE).exists()
}

/// Opens it.
///
/// # Errors
/// BP-B015: there is no second copy to try.
pub fn open(signed: &Signed, coldplug: &mut Coldplug) -> Result<Root, Diagnostic> {
    // Faster hashes, and consoles; the root needs none of it.
    coldplug.run();
    let failed = |why: String| {
        refuse(
            "BP-B015",
            "The root inside this image can't be opened.",
            &why,
            "Fetch or write the image again. A machine with little memory needs more of it: docs/image-layout.md tells \
             how much each way of starting takes.",
        )
    };
    coldplug.load_for(DEVICE).map_err(|e| failed(format!("The loop driver can't be loaded: {e}.")))?;
    let size = |path: &str| std::fs::metadata(path).map(|m| m.len()).unwrap_or(0);
    let mut bytes = [0; SUPERBLOCK_SIZE];
    let read = File::open(HASH_TREE).and_then(|mut tree| tree.read_exact(&mut bytes));
    let superblock =
        read.map_err(|e| e.to_string()).and_then(|()| Superblock::parse(&bytes).map_err(|e| e.to_string()));
    let whole = superblock.map_err(|why| cut_off(size(IMAGE), &why)).and_then(|superblock| {
        let wanted = superblock.data_blocks.saturating_mul(BLOCK as u64);
        if size(IMAGE) < wanted { Err(cut_off(size(IMAGE), &format!("it should have {wanted}"))) } else { Ok(()) }
    });
    whole.map_err(failed)?;
    let attach = |path: &str| -> Result<String, Diagnostic> {
        loop_device::attach(Path::new(path)).map_err(|e: io::Error| failed(format!("{path} is no device: {e}.")))
    };
    let (root, verity) = (attach(IMAGE)?, attach(HASH_TREE)?);
    let device = activate(signed, &format!("/dev/{root}"), &format!("/dev/{verity}"))
        .map_err(|why| failed(format!("It is not what was signed: {why}.")))?;
    Ok(Root { place: Place::Memory { root, verity }, device })
}

fn cut_off(size: u64, why: &str) -> String {
    format!("The kernel unpacked only {size} bytes of it ({why}): memory is too small, or the image was cut off.")
}
