//! Which kernel modules go into the initrd, and in which order they are loaded. Pure.

use super::modinfo::ModInfo;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Loaded at every start: what opens the root. EROFS and dm-verity find CRC32C and SHA-256 through the
/// kernel's crypto interface, which could only ask a `modprobe` for them, so CRC32C is named here.
pub const ALWAYS: [&str; 5] = ["crc32c_generic", "dm_verity", "erofs", "overlay", "efivarfs"];

/// Loaded for devices that are there: what servers have between processor and system disk. Those that a kernel
/// lacks are left out.
pub const DRIVERS: [&str; 27] = [
    // Faster CRC32C and SHA-256, by processor.
    "crc32c_intel",
    "sha256_ssse3",
    // Virtual machines.
    "virtio_blk",
    "virtio_scsi",
    "vmw_pvscsi",
    "hv_storvsc",
    // NVMe, also behind Intel's VMD.
    "nvme",
    "vmd",
    // SATA, and the legacy interface that some virtual media use.
    "ahci",
    "ata_piix",
    "ata_generic",
    // SAS and RAID controllers.
    "megaraid_sas",
    "mpt3sas",
    "mpi3mr",
    "hpsa",
    "smartpqi",
    "aacraid",
    "isci",
    "mvsas",
    // SCSI disks and drives (USB sticks too).
    "sd_mod",
    "sr_mod",
    // USB: controllers and storage.
    "xhci_pci",
    "ehci_pci",
    "uhci_hcd",
    "ohci_pci",
    "usb_storage",
    "uas",
];

/// Loaded when the root lies in the initrd itself, as if there were a device of this name.
pub const EMBEDDED_ROOT: (&str, &str) = ("bedplate:embedded-root", "loop");

/// What is in the initrd, and the two lists that stage 1 reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Every module taken.
    pub taken: BTreeSet<String>,
    /// Loaded at every start, in this order.
    pub load: Vec<String>,
    /// Pattern, and what to load for it, in this order.
    pub aliases: Vec<(String, Vec<String>)>,
    /// Drivers the kernel does not have.
    pub absent: Vec<String>,
}

/// Modules of a kernel by canonical name.
pub trait Modules {
    /// Whether the kernel has it built in.
    fn is_built_in(&self, name: &str) -> bool;
    /// Whether the kernel has it as a file.
    fn exists(&self, name: &str) -> bool;
    /// What it says about itself.
    ///
    /// # Errors
    /// When it can't be read.
    fn info(&mut self, name: &str) -> anyhow::Result<ModInfo>;
}

/// Takes `always` and `drivers` with all they need.
///
/// # Errors
/// When one of `always`, or something a module needs, is neither built in nor a file.
pub fn select(always: &[String], drivers: &[&str], modules: &mut impl Modules) -> anyhow::Result<Selection> {
    let mut selection = Selection::default();
    for name in always {
        if !modules.is_built_in(name) {
            anyhow::ensure!(
                modules.exists(name),
                "the kernel has no module {name}, which the initrd needs; choose another kernel.package or take it \
                 from kernel.initrd-modules"
            );
            visit(name, modules, &mut selection.load, &mut Vec::new())?;
        }
    }
    selection.taken.extend(selection.load.iter().cloned());
    for name in drivers {
        if modules.is_built_in(name) {
            continue;
        }
        if !modules.exists(name) {
            selection.absent.push((*name).to_owned());
            continue;
        }
        let mut order = Vec::new();
        visit(name, modules, &mut order, &mut Vec::new())?;
        order.retain(|m| !selection.load.contains(m));
        selection.taken.extend(order.iter().cloned());
        if order.is_empty() {
            continue;
        }
        // `crypto-crc32c` and the like are names for modprobe, not devices.
        let patterns = modules.info(name)?.aliases.into_iter().filter(|a| a.contains(':'));
        selection.aliases.extend(patterns.map(|pattern| (pattern, order.clone())));
    }
    selection.aliases.sort();
    selection.aliases.dedup();
    Ok(selection)
}

impl Selection {
    /// Takes a module with all it needs, to be loaded for a device of this name.
    ///
    /// # Errors
    /// When it, or something it needs, is neither built in nor a file.
    pub fn add(&mut self, (device, name): (&str, &str), modules: &mut impl Modules) -> anyhow::Result<()> {
        let mut order = Vec::new();
        visit(name, modules, &mut order, &mut Vec::new())?;
        order.retain(|m| !self.load.contains(m));
        if !order.is_empty() {
            self.taken.extend(order.iter().cloned());
            self.aliases.push((device.to_owned(), order));
            self.aliases.sort();
        }
        Ok(())
    }
}

fn visit(
    name: &str,
    modules: &mut impl Modules,
    order: &mut Vec<String>,
    above: &mut Vec<String>,
) -> anyhow::Result<()> {
    if order.iter().any(|m| m == name) || modules.is_built_in(name) {
        return Ok(());
    }
    anyhow::ensure!(!above.iter().any(|m| m == name), "kernel modules need each other: {} {name}", above.join(" "));
    let needer = if above.is_empty() { "the initrd".to_owned() } else { above.join(" ") };
    anyhow::ensure!(modules.exists(name), "the kernel lacks the module {name}, which {needer} needs");
    above.push(name.to_owned());
    let info = modules.info(name)?;
    for before in info.soft_before.iter().filter(|m| modules.exists(m)).cloned().collect::<Vec<_>>() {
        visit(&before, modules, order, above)?;
    }
    for needed in &info.depends {
        visit(needed, modules, order, above)?;
    }
    above.pop();
    order.push(name.to_owned());
    Ok(())
}

/// Where a module lies in the initrd.
pub fn path(name: &str) -> String {
    format!("/lib/modules/{name}.ko")
}

impl Selection {
    /// Text of `/lib/modules/load`.
    pub fn load_text(&self) -> String {
        self.load.iter().map(|name| path(name) + "\n").collect()
    }

    /// Text of `/lib/modules/alias`.
    pub fn alias_text(&self) -> String {
        self.aliases.iter().fold(String::new(), |mut text, (pattern, order)| {
            text.push_str(pattern);
            for name in order {
                let _ = write!(text, " {}", path(name));
            }
            text.push('\n');
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    struct Fake(BTreeMap<&'static str, ModInfo>);

    impl Modules for Fake {
        fn is_built_in(&self, name: &str) -> bool {
            name == "virtio_pci"
        }
        fn exists(&self, name: &str) -> bool {
            self.0.contains_key(name)
        }
        fn info(&mut self, name: &str) -> anyhow::Result<ModInfo> {
            Ok(self.0[name].clone())
        }
    }

    fn fake(modules: &[(&'static str, &[&str], &[&str])]) -> Fake {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let info = |depends: &[&str], aliases: &[&str]| ModInfo {
            depends: owned(depends),
            aliases: owned(aliases),
            soft_before: Vec::new(),
        };
        Fake(modules.iter().map(|(name, depends, aliases)| (*name, info(depends, aliases))).collect())
    }

    fn always(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn needs_come_before_needers_and_once() {
        let mut modules = fake(&[
            ("dm_verity", &["dm_mod", "dm_bufio"], &[]),
            ("dm_bufio", &["dm_mod"], &[]),
            ("dm_mod", &[], &[]),
            ("sas", &["scsi"], &["pci:v2*", "pci:v1*", "crypto-x"]),
            ("scsi", &["dm_mod"], &[]),
        ]);
        let found =
            select(&always(&["dm_verity", "virtio_pci"]), &["sas", "gone", "virtio_pci"], &mut modules).unwrap();
        assert_eq!(found.load_text(), "/lib/modules/dm_mod.ko\n/lib/modules/dm_bufio.ko\n/lib/modules/dm_verity.ko\n");
        assert_eq!(
            found.alias_text(),
            "pci:v1* /lib/modules/scsi.ko /lib/modules/sas.ko\npci:v2* /lib/modules/scsi.ko /lib/modules/sas.ko\n"
        );
        assert_eq!(found.absent, ["gone"]);
        assert_eq!(found.taken.len(), 5);
    }

    #[test]
    fn a_module_is_taken_for_a_device_that_stage_1_names() {
        let mut modules = fake(&[("loop", &["lib"], &["devname:loop-control"]), ("lib", &[], &[])]);
        let mut found = select(&[], &[], &mut modules).unwrap();
        found.add(EMBEDDED_ROOT, &mut modules).unwrap();
        assert_eq!(found.alias_text(), "bedplate:embedded-root /lib/modules/lib.ko /lib/modules/loop.ko\n");
        assert!(found.taken.contains("loop") && found.load.is_empty());
        let error = Selection::default().add(("x:y", "gone"), &mut modules).unwrap_err().to_string();
        assert_eq!(error, "the kernel lacks the module gone, which the initrd needs");
        // Built in: there is nothing to load.
        let mut found = Selection::default();
        found.add(("x:y", "virtio_pci"), &mut modules).unwrap();
        assert_eq!(found, Selection::default());
    }

    #[test]
    fn soft_dependencies_are_taken_if_there() {
        let mut modules = fake(&[("lib", &[], &[]), ("crc", &[], &[])]);
        modules.0.get_mut("lib").unwrap().soft_before = always(&["crc", "none"]);
        assert_eq!(select(&always(&["lib"]), &[], &mut modules).unwrap().load, ["crc", "lib"]);
    }

    #[test]
    fn what_is_missing_is_named_with_who_needs_it() {
        let error =
            |wanted: &str, modules: &mut Fake| select(&always(&[wanted]), &[], modules).unwrap_err().to_string();
        assert!(error("erofs", &mut fake(&[])).contains("no module erofs"));
        assert!(error("a", &mut fake(&[("a", &["b"], &[])])).contains("lacks the module b, which a needs"));
        assert!(error("a", &mut fake(&[("a", &["b"], &[]), ("b", &["a"], &[])])).contains("need each other"));
    }
}
