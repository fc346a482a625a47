//! The unified kernel image (UAPI.5): systemd-stub with kernel, initrd and command line as sections. Pure.

use super::{CommandLine, pcr};
use crate::digest::Sha256;
use anyhow::{Context, Result, bail};
use on_disk::pe::{Image, NewSection};

/// Where the stub lies in the tools tree.
pub const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// The section with microcode.
pub const MICROCODE: &str = ".ucode";
/// What is put into the stub, in this order.
pub const SECTIONS: [&str; 6] = [".osrel", ".cmdline", ".uname", MICROCODE, ".initrd", ".linux"];

/// What a UKI is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// systemd-stub, see [`STUB`].
    pub stub: &'a [u8],
    /// The kernel, bootable by EFI.
    pub kernel: &'a [u8],
    /// Its release.
    pub release: &'a str,
    /// The complete initrd.
    pub initrd: &'a [u8],
    /// Microcode, which the stub hands over before the initrd: a cpio archive that is not compressed.
    pub microcode: Option<&'a [u8]>,
    /// Text of the root's `os-release`.
    pub os_release: &'a [u8],
    /// The command line.
    pub command_line: &'a CommandLine,
    /// The public key that PCR policies are signed with, in PEM, if there is one.
    pub pcr_public_key: Option<&'a str>,
}

/// A UKI that nobody has signed, neither for the firmware nor for the TPM. Its digest names the release: whoever has
/// the inputs comes to the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsignedUki {
    image: Image,
}

impl UnsignedUki {
    /// The image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Digest of its bytes.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(self.image.bytes())
    }
}

/// Puts the parts together.
///
/// # Errors
/// When stub or kernel are no EFI programs, or a part does not fit.
pub fn uki(parts: &Parts) -> Result<UnsignedUki> {
    let stub = stub(parts)?;
    let image = stub.with_sections(&sections(parts)).context("the UKI can't be put together")?;
    Ok(UnsignedUki { image })
}

/// The sections of a UKI, in the order in which they lie in it.
pub(super) fn sections<'a>(parts: &Parts<'a>) -> Vec<NewSection<'a>> {
    let data = |name, data| NewSection { name, data, code: false };
    let mut sections = vec![
        data(".osrel", parts.os_release),
        data(".cmdline", parts.command_line.as_str().as_bytes()),
        data(".uname", parts.release.as_bytes()),
    ];
    sections.extend(parts.microcode.map(|microcode| data(MICROCODE, microcode)));
    sections.extend(parts.pcr_public_key.map(|key| data(pcr::PUBLIC_KEY, key.as_bytes())));
    sections.push(data(".initrd", parts.initrd));
    // The stub starts it from a copy (EFI_LOAD_FILE2 initrd, Linux 5.8), so something may stand behind it.
    sections.push(NewSection { name: ".linux", data: parts.kernel, code: true });
    sections
}

/// The stub, once it and the kernel were found to be what they should be.
pub(super) fn stub(parts: &Parts) -> Result<Image> {
    let stub = Image::parse(parts.stub.to_vec()).context("systemd-stub can't be used")?;
    if stub.section(".sdmagic").is_none() || stub.section(".linux").is_some() {
        bail!("the stub is not systemd-stub: it has no .sdmagic section, or a kernel already");
    }
    Image::parse(parts.kernel.to_vec()).context("the kernel is no EFI program; it needs CONFIG_EFI_STUB")?;
    // An older stub would pass over the section, and the processors would run as they are.
    if parts.microcode.is_some() && !parts.stub.windows(MICROCODE.len()).any(|bytes| bytes == MICROCODE.as_bytes()) {
        bail!("this systemd-stub hands over no microcode; that of systemd 256 and later does");
    }
    Ok(stub)
}
