//! The signed command line, and whether the kernel was started with it. Pure.
//!
//! The UKI's signature covers `.cmdline`, and the initrd holds a copy of it. systemd-stub appends to what it
//! hands to the kernel whatever SMBIOS carries as `io.systemd.stub.kernel-cmdline-extra`, signed by nobody; so
//! the running command line is compared byte for byte. It is the signed line, or that and behind it the arguments of
//! addons which the signed initrd lists for this very model; on any other a node does not boot.

use super::addons::{self, Addon, Machine};
use super::refuse;
use machine_config::Diagnostic;
use uuid::Uuid;

/// What stage 1 needs of the signed command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// `roothash=`: SHA-256 at the top of the root's hash tree.
    pub root_hash: [u8; 32],
}

impl Signed {
    /// GPT UUID of the root partition: the first 128 bits of the root hash, in the order in which it is printed
    /// (Discoverable Partitions Specification).
    #[must_use]
    pub fn root_partition(&self) -> Uuid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.root_hash[..16]);
        Uuid::from_bytes(bytes)
    }

    /// GPT UUID of the hash tree's partition: the last 128 bits.
    #[must_use]
    pub fn verity_partition(&self) -> Uuid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.root_hash[16..]);
        Uuid::from_bytes(bytes)
    }

    /// The root hash as it stands on the command line.
    #[must_use]
    pub fn root_hash_text(&self) -> String {
        self.root_hash.iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// A command line that is all signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The signed line.
    pub signed: Signed,
    /// Names of the addons whose arguments stand behind it.
    pub addons: Vec<String>,
}

/// Compares the initrd's copy with `/proc/cmdline` and reads the signed one. `addons` is the initrd's list.
///
/// # Errors
/// BP-B001 when they differ, BP-B014 when they differ by addons that are for other models, BP-B002 when the signed
/// line has not exactly one sound `roothash=`.
pub fn judge(signed: &[u8], running: &[u8], addons: &[Addon], machine: &Machine) -> Result<Accepted, Diagnostic> {
    // The kernel ends the file with a line feed of its own.
    let running = running.strip_suffix(b"\n").unwrap_or(running);
    let added = running.strip_prefix(signed);
    let (fit, others): (Vec<&Addon>, Vec<&Addon>) = addons.iter().partition(|addon| addon.is_for(machine));
    let Some(active) = added.and_then(|added| addons::behind(added, &fit)) else {
        let listed: Vec<&Addon> = addons.iter().collect();
        let misplaced = added.and_then(|added| addons::behind(added, &listed)).unwrap_or_default();
        return Err(match misplaced.iter().find(|addon| others.contains(addon)) {
            Some(addon) => for_another_model(addon, machine),
            None => refuse(
                "BP-B001",
                "The kernel was not started with the signed command line.",
                &difference(signed, running),
                "Take out what adds to the command line: SMBIOS strings (type 11, \
                 io.systemd.stub.kernel-cmdline-extra), a boot loader's entry or an addon that is not of this image. \
                 What a server model needs goes into the recipe, as an [[addon]].",
            ),
        });
    };
    let bad = |why: &str| {
        refuse(
            "BP-B002",
            "The signed command line does not say which root belongs to this kernel.",
            why,
            "The image was not built soundly: build it again.",
        )
    };
    let text = std::str::from_utf8(signed).map_err(|_| bad("It is not text."))?;
    let mut hashes = text.split_ascii_whitespace().filter_map(|w| w.strip_prefix("roothash="));
    let hash = hashes.next().ok_or_else(|| bad("There is no roothash= in it."))?;
    if hashes.next().is_some() {
        return Err(bad("There is more than one roothash= in it."));
    }
    let root_hash = parse_hash(hash).ok_or_else(|| bad("Its roothash= is not 64 hexadecimal digits."))?;
    let addons = active.into_iter().map(|addon| addon.name.clone()).collect();
    Ok(Accepted { signed: Signed { root_hash }, addons })
}

fn for_another_model(addon: &Addon, machine: &Machine) -> Diagnostic {
    refuse(
        "BP-B014",
        &format!("The addon \"{}\" was started with, and it is not for this model.", addon.name),
        &format!(
            "It is for {}; this machine is vendor \"{}\", product \"{}\".",
            addon.models(),
            machine.vendor,
            machine.product
        ),
        &format!(
            "Was this disk in another machine? Delete {} from the folder EFI/BOOT/BOOTX64.EFI.extra.d of its EFI \
             system partition, or write the image to it again.",
            addons::file_name(&addon.name)
        ),
    )
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// Says where two lines part: what is there too much, or what stands there instead.
fn difference(signed: &[u8], running: &[u8]) -> String {
    let shared = signed.iter().zip(running).take_while(|(a, b)| a == b).count();
    let show = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    match (&signed[shared..], &running[shared..]) {
        ([], more) => format!("Added behind it: \"{}\".", show(more).trim()),
        (missing, []) => format!("Missing at its end: \"{}\".", show(missing).trim()),
        (wanted, found) => {
            format!("From byte {shared} on \"{}\" was expected, and \"{}\" was found.", show(wanted), show(found))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

    fn line() -> String {
        format!("roothash={HASH} root=/dev/mapper/root quiet")
    }

    fn judge(signed: &[u8], running: &[u8]) -> Result<Signed, Diagnostic> {
        super::judge(signed, running, &[], &Machine::default()).map(|accepted| accepted.signed)
    }

    #[test]
    fn the_same_line_is_taken_and_names_both_partitions() {
        let signed = judge(line().as_bytes(), format!("{}\n", line()).as_bytes()).unwrap();
        assert_eq!(signed.root_partition().to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(signed.verity_partition().to_string(), "01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(signed.root_hash_text(), HASH);
    }

    #[test]
    fn any_difference_stops_and_is_shown() {
        for (running, shown) in [
            (format!("{} init=/bin/sh\n", line()), "init=/bin/sh"),
            (format!("{}  \n", line()), "Added behind it"),
            (format!("{}\n\n", line()), "Added behind it"),
            (line().replace(" quiet", ""), "quiet"),
            (line().replace("quiet", "debug"), "debug"),
            (String::new(), "Missing"),
        ] {
            let refusal = judge(line().as_bytes(), running.as_bytes()).unwrap_err();
            assert_eq!(refusal.code, "BP-B001", "{running:?}");
            assert!(refusal.why.contains(shown), "{running:?}: {}", refusal.why);
        }
    }

    #[test]
    fn a_line_without_one_sound_root_hash_stops() {
        for signed in
            ["quiet".to_owned(), format!("{0} {0}", line()), "roothash=12".into(), format!("roothash=+{HASH}")]
        {
            assert_eq!(judge(signed.as_bytes(), signed.as_bytes()).unwrap_err().code, "BP-B002", "{signed}");
        }
    }
    #[test]
    fn addons_of_this_model_are_taken_and_all_else_stops() {
        let list = addons::parse(
            b"r740\tDell Inc.\tPowerEdge R740*\tconsole=ttyS1\npt\tDell Inc.\t*\tiommu=pt\nx11\tSupermicro\t*\tacpi=off\n",
        )
        .unwrap();
        let dell = Machine { vendor: "Dell Inc.".into(), product: "PowerEdge R740xd".into() };
        let judge = |added: &str, machine: &Machine| {
            super::judge(line().as_bytes(), format!("{}{added}\n", line()).as_bytes(), &list, machine)
        };
        let taken = |added: &str| judge(added, &dell).unwrap().addons;
        assert!(taken("").is_empty());
        assert_eq!(taken(" iommu=pt"), ["pt"]);
        assert_eq!(taken(" console=ttyS1"), ["r740"]);
        assert_eq!(taken(" iommu=pt console=ttyS1"), ["pt", "r740"]);
        assert_eq!(judge(" iommu=pt", &dell).unwrap().signed.root_hash_text(), HASH);

        let code = |added: &str, machine: &Machine| judge(added, machine).unwrap_err().code;
        for added in [
            " console=ttyS1 iommu=pt",
            " iommu=pt iommu=pt",
            " iommu=pt init=/bin/sh",
            " init=/bin/sh iommu=pt",
            "iommu=pt",
            " iommu=pt ",
            "  iommu=pt",
            " iommu=off",
        ] {
            assert_eq!(code(added, &dell), "BP-B001", "{added:?}");
        }
        // Signed, and for others.
        assert_eq!(code(" acpi=off", &dell), "BP-B014");
        assert_eq!(code(" iommu=pt acpi=off", &dell), "BP-B014");
        let refusal = judge(" iommu=pt console=ttyS1", &Machine { product: "PowerEdge R640".into(), ..dell.clone() });
        let refusal = refusal.unwrap_err();
        assert_eq!(refusal.code, "BP-B014");
        assert!(refusal.what.contains("\"r740\"") && refusal.why.contains("PowerEdge R640"), "{refusal}");
        // A model that SMBIOS does not tell has no addons.
        assert_eq!(code(" iommu=pt", &Machine::default()), "BP-B014");
    }
}
