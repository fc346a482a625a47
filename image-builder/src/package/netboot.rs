//! `netboot/`: what a server for network boot hands out.
//!
//! The signed full UKI and how to serve it; beside it kernel and initrd apart, for machines without UEFI, in files that
//! call themselves unverified.

use super::{Inputs, put};
use anyhow::{Context, Result};
use std::path::Path;

/// The signed full UKI.
pub const UKI: &str = "node.efi";
/// The kernel alone.
pub const KERNEL: &str = "kernel-unverified";
/// The initrd alone, with the root in it.
pub const INITRD: &str = "initrd-unverified";
/// For iPXE.
pub const SCRIPT: &str = "boot.ipxe";
/// For iPXE, with kernel and initrd apart.
pub const SCRIPT_UNVERIFIED: &str = "boot-unverified.ipxe";
/// An example of a server.
pub const DNSMASQ: &str = "dnsmasq.conf";
/// What is not verified, and why.
pub const TEXT: &str = "README-unverified.txt";
/// All but the two large files.
pub const TEXTS: [&str; 5] = [KERNEL, SCRIPT, SCRIPT_UNVERIFIED, DNSMASQ, TEXT];

/// Writes all but the two large files.
pub(super) fn write(inputs: &Inputs, folder: &Path) -> Result<()> {
    let section = |name: &str| inputs.uki.image().section(name).with_context(|| format!("the UKI has no {name}"));
    let line = std::str::from_utf8(section(".cmdline")?).context("the command line is no text")?;
    let image = format!("{} {}", inputs.recipe.image.name, inputs.recipe.image.version);
    put(folder, KERNEL, section(".linux")?)?;
    put(folder, SCRIPT, script(&image).as_bytes())?;
    put(folder, SCRIPT_UNVERIFIED, script_unverified(&image, line).as_bytes())?;
    put(folder, DNSMASQ, include_bytes!("netboot/dnsmasq.conf"))?;
    put(folder, TEXT, include_bytes!("netboot/README-unverified.txt"))
}

/// iPXE takes the names as relative to where it got the script.
fn script(image: &str) -> String {
    format!(
        "#!ipxe\n# {image}: the signed image. The firmware checks it; under Secure Boot it checks iPXE, too.\n\
         # Without Secure Boot, iPXE's own words would stand on the command line, and the node stops at BP-B001:\n\
         # let the firmware fetch {UKI} by HTTP boot or PXE then.\n\
         chain --autofree {UKI}\n"
    )
}

fn script_unverified(image: &str, line: &str) -> String {
    format!(
        "#!ipxe\n# {image}, kernel and initrd apart: nobody checks what is started. See {TEXT}.\n\
         initrd {INITRD}\nkernel {KERNEL} {line}\nboot\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_verified_says_so_in_its_name() {
        for name in [KERNEL, INITRD, SCRIPT_UNVERIFIED, TEXT] {
            assert!(name.contains("unverified"), "{name}");
        }
        let text = script_unverified("node 1", "roothash=1 quiet");
        assert!(text.ends_with("kernel kernel-unverified roothash=1 quiet\nboot\n"), "{text}");
        assert!(!script("node 1").contains("unverified"));
    }
}
