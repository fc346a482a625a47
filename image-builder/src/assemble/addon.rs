//! Addons (UAPI.5, `.addon.efi`): what the command line is longer by on one model of server, signed like the UKI.
//! Pure.
//!
//! Guarantees: an addon's arguments keep the rules of the signed command line; the initrd lists each addon with the
//! models it is for, and stage 1 takes no other arguments than these, on no other machine.

use super::CommandLine;
use crate::digest::Sha256;
use crate::recipe::Addon;
use anyhow::{Context, Result, bail};
use on_disk::pe::{Image, NewSection};

/// Where the stub lies in the tools tree.
pub const STUB: &str = "usr/lib/systemd/boot/efi/addonx64.efi.stub";
/// Where the list lies in the initrd.
pub const LIST: &str = "/addons";

/// An addon that nobody has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsignedAddon {
    /// Its name.
    pub name: String,
    /// Its arguments, as one text.
    pub arguments: String,
    /// The image.
    pub image: Image,
}

impl UnsignedAddon {
    /// Digest of its bytes.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(self.image.bytes())
    }
}

/// The addons of a recipe, for the kernel of this release.
///
/// # Errors
/// When an argument can't be on a signed command line, all together don't fit on it, or the stub is none.
pub fn addons(wanted: &[Addon], stub: &[u8], release: &str, line: &CommandLine) -> Result<Vec<UnsignedAddon>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let stub = Image::parse(stub.to_vec()).context("systemd's addon stub can't be used")?;
    if stub.section(".sdmagic").is_none() || stub.section(".cmdline").is_some() {
        bail!("the addon stub is not systemd's: it has no .sdmagic section, or a command line already");
    }
    // More than one may be for one machine, and a line that the kernel cuts would be refused there.
    let lists: Vec<&[String]> = wanted.iter().map(|addon| &addon.arguments[..]).collect();
    line.check_longer_by(&lists)?;
    let one = |addon: &Addon| -> Result<UnsignedAddon> {
        let arguments = addon.arguments.join(" ");
        let data = |name, data| NewSection { name, data, code: false };
        // The stub passes an addon by whose kernel is not its own.
        let sections = [data(".cmdline", arguments.as_bytes()), data(".uname", release.as_bytes())];
        let image = stub.with_sections(&sections);
        let image = image.with_context(|| format!("the addon {} can't be put together", addon.name))?;
        Ok(UnsignedAddon { name: addon.name.clone(), arguments, image })
    };
    wanted.iter().map(one).collect()
}

/// The list for the initrd: a line for each, name, vendor, product and arguments, with tabs between them.
pub fn list(wanted: &[Addon]) -> Option<(String, Vec<u8>)> {
    let any = || "*".to_owned();
    let line = |addon: &Addon| {
        let vendor = addon.matches.vendor.clone().unwrap_or_else(any);
        let product = addon.matches.product.clone().unwrap_or_else(any);
        format!("{}\t{vendor}\t{product}\t{}\n", addon.name, addon.arguments.join(" "))
    };
    let text: String = wanted.iter().map(line).collect();
    (!text.is_empty()).then(|| (LIST.to_owned(), text.into_bytes()))
}

/// The name of an addon's file.
pub fn file_name(addon: &str) -> String {
    format!("{addon}.addon.efi")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::AddonMatch;
    use crate::sign::authenticode;

    fn addon(name: &str, arguments: &[&str]) -> Addon {
        let matches = AddonMatch { vendor: Some("Dell Inc.".into()), product: None };
        Addon { name: name.into(), matches, arguments: arguments.iter().map(|a| (*a).to_owned()).collect() }
    }

    fn line() -> CommandLine {
        CommandLine::new(&Sha256::of("root"), &[]).unwrap()
    }

    #[test]
    fn an_addon_has_its_arguments_and_its_kernel() {
        let wanted = [addon("r740", &["console=ttyS1,115200n8", "iommu=pt"])];
        let stub = authenticode::tests::image_with(".sdmagic", b"magic");
        let made = addons(&wanted, stub.bytes(), "6.12", &line()).unwrap();
        assert_eq!(made[0].image.section(".cmdline"), Some(&b"console=ttyS1,115200n8 iommu=pt"[..]));
        assert_eq!(made[0].image.section(".uname"), Some(&b"6.12"[..]));
        let (path, text) = list(&wanted).unwrap();
        assert_eq!(path, "/addons");
        assert_eq!(String::from_utf8(text).unwrap(), "r740\tDell Inc.\t*\tconsole=ttyS1,115200n8 iommu=pt\n");
        assert_eq!(list(&[]), None);
        assert!(addons(&[], b"", "6.12", &line()).unwrap().is_empty(), "who has no addons needs no stub");
    }

    #[test]
    fn an_addon_opens_nothing_and_is_never_cut() {
        let stub = authenticode::tests::image_with(".sdmagic", b"magic");
        let error = |wanted: &[Addon]| addons(wanted, stub.bytes(), "6.12", &line()).unwrap_err().to_string();
        for argument in ["init=/bin/sh", "roothash=00", "module.sig_enforce=0", "systemd.unit=x", "a b"] {
            assert!(error(&[addon("x", &[argument])]).contains(argument), "{argument}");
        }
        let long = format!("x={}", "y".repeat(950));
        let error = error(&[addon("a", &[&long]), addon("b", &[&long])]);
        assert!(error.contains("the kernel takes 2047"), "{error}");
        let other = authenticode::tests::image_with(".other", b"x");
        assert!(addons(&[addon("a", &["x"])], other.bytes(), "6.12", &line()).is_err());
    }
}
