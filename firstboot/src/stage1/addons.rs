//! Addons: what the signed command line is longer by on some models of server. Pure.
//!
//! The signed initrd lists every addon of the image with the model it is for. systemd-stub, which knows no models,
//! appends the arguments of each addon that it finds beside the UKI, in the order of their file names. Here is
//! decided whether what it appended is what the list says for this machine.

use super::modules::fnmatch;

/// What SMBIOS says of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Its maker: `Dell Inc.`
    pub vendor: String,
    /// Its model: `PowerEdge R740xd`.
    pub product: String,
}

/// An addon on the signed list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addon {
    /// Its name.
    pub name: String,
    vendor: String,
    product: String,
    arguments: String,
}

impl Addon {
    /// Whether it is for this machine.
    #[must_use]
    pub fn is_for(&self, machine: &Machine) -> bool {
        let matches = |pattern: &str, text: &str| fnmatch(pattern.as_bytes(), text.as_bytes());
        matches(&self.vendor, &machine.vendor) && matches(&self.product, &machine.product)
    }

    /// Models it is for, for people.
    #[must_use]
    pub fn models(&self) -> String {
        format!("vendor \"{}\", product \"{}\"", self.vendor, self.product)
    }
}

/// The name of an addon's file.
#[must_use]
pub fn file_name(addon: &str) -> String {
    format!("{addon}.addon.efi")
}

/// Reads the list: a line for each, `NAME TAB VENDOR TAB PRODUCT TAB ARGUMENTS`. In the stub's order.
///
/// # Errors
/// When a line is none.
pub fn parse(list: &[u8]) -> Result<Vec<Addon>, String> {
    let text = std::str::from_utf8(list).map_err(|_| "The list of addons is not text.")?;
    let mut addons = Vec::new();
    for line in text.lines() {
        let [name, vendor, product, arguments] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(format!("The list of addons has the line \"{line}\"."));
        };
        if name.is_empty() || arguments.is_empty() {
            return Err(format!("The list of addons has the line \"{line}\"."));
        }
        let [name, vendor, product, arguments] = [name, vendor, product, arguments].map(str::to_owned);
        addons.push(Addon { name, vendor, product, arguments });
    }
    addons.sort_by_key(|addon| file_name(&addon.name));
    Ok(addons)
}

/// Which addons make up `added`, what stands behind the signed command line: each at most once, in the stub's order,
/// each behind one space, and nothing else. `None` if it is not of them.
#[must_use]
pub fn behind<'a>(added: &[u8], addons: &[&'a Addon]) -> Option<Vec<&'a Addon>> {
    if added.is_empty() {
        return Some(Vec::new());
    }
    let added = added.strip_prefix(b" ")?;
    // One addon's arguments may begin another's: every way is tried.
    addons.iter().enumerate().find_map(|(index, addon)| {
        let rest = added.strip_prefix(addon.arguments.as_bytes())?;
        let mut more = behind(rest, &addons[index + 1..])?;
        more.insert(0, addon);
        Some(more)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "r740\tDell Inc.\tPowerEdge R74*\tconsole=ttyS1\nbase\tDell Inc.\t*\tiommu=pt\n\
                        base-r\tDell Inc.\t*\tiommu=pt console=ttyS1\n";

    fn list() -> Vec<Addon> {
        parse(LIST.as_bytes()).unwrap()
    }

    #[test]
    fn a_model_is_matched_by_patterns() {
        let is_for =
            |vendor: &str, product: &str| list()[2].is_for(&Machine { vendor: vendor.into(), product: product.into() });
        assert!(is_for("Dell Inc.", "PowerEdge R740xd"));
        assert!(!is_for("Dell Inc.", "PowerEdge R640"));
        assert!(!is_for("Dell Inc", "PowerEdge R740xd"));
        assert!(!is_for("", ""));
    }

    #[test]
    fn the_order_is_that_of_the_file_names() {
        // '-' comes before the '.' of ".addon.efi".
        let names: Vec<_> = list().into_iter().map(|a| a.name).collect();
        assert_eq!(names, ["base-r", "base", "r740"]);
    }

    /// Every list of arguments up to three long, against every set of addons: only what is in the stub's order, each
    /// at most once, of addons that are there, is taken.
    #[test]
    fn of_all_combinations_only_the_stub_s_are_taken() {
        let list = list();
        let all = [0, 1, 2];
        let mut combinations: Vec<Vec<usize>> = vec![vec![]];
        for length in 1..=3 {
            let shorter: Vec<_> = combinations.iter().filter(|c| c.len() == length - 1).cloned().collect();
            combinations.extend(shorter.iter().flat_map(|c| all.map(|i| [&c[..], &[i]].concat())));
        }
        assert_eq!(combinations.len(), 1 + 3 + 9 + 27);
        for there in 0..8u32 {
            let addons: Vec<&Addon> = all.iter().filter(|i| there & (1 << **i) != 0).map(|i| &list[*i]).collect();
            // What the stub can append: the arguments of each subset, in order.
            let lines: Vec<String> = (0..8u32)
                .filter(|set| set & !there == 0)
                .map(|set| {
                    all.iter().filter(|i| set & (1 << **i) != 0).map(|i| format!(" {}", list[*i].arguments)).collect()
                })
                .collect();
            for combination in &combinations {
                let added: String = combination.iter().map(|i| format!(" {}", list[*i].arguments)).collect();
                let taken = behind(added.as_bytes(), &addons);
                assert_eq!(taken.is_some(), lines.contains(&added), "{added:?} with {there:03b}");
                if let Some(taken) = taken {
                    let said: String = taken.iter().map(|a| format!(" {}", a.arguments)).collect();
                    assert_eq!(said, added);
                }
            }
        }
    }

    #[test]
    fn not_a_byte_more_or_less() {
        let list = list();
        let addons: Vec<&Addon> = list.iter().collect();
        assert!(behind(b" iommu=pt", &addons).is_some());
        for added in [
            "iommu=pt",
            "  iommu=pt",
            " iommu=pt ",
            " iommu=p",
            " iommu=ptx",
            " iommu=pt init=/bin/sh",
            " ",
            "\tiommu=pt",
        ] {
            assert_eq!(behind(added.as_bytes(), &addons), None, "{added:?}");
        }
    }

    #[test]
    fn a_broken_list_is_refused() {
        for list in [&b"a\tb\tc\n"[..], b"a\tb\tc\td\te\n", b"\tb\tc\td\n", b"a\tb\tc\t\n", b"\xff"] {
            assert!(parse(list).is_err(), "{list:?}");
        }
        assert_eq!(parse(b"").unwrap(), []);
    }
}
