//! The dpkg status file that scanners read.
//!
//! `/var` is the state partition at run time, so the file lies in `/usr/lib/bedplate/dpkg`, where it is signed
//! with the image, and `/var/lib/dpkg` is a link to that folder: in the image, for scanners of images, and made
//! again at boot by tmpfiles.d.

use super::{put_file, put_link};
use crate::compose::deb::Deb;
use crate::compose::tree::Tree;
use crate::lock::Package;
use anyhow::Result;

/// Where the link is.
pub const LINK: &str = "/var/lib/dpkg";
/// Where it leads.
pub const FOLDER: &str = "/usr/lib/bedplate/dpkg";

/// Writes the status file and the link; what packages have below `/var/lib/dpkg` goes.
///
/// # Errors
/// Never for a well-formed tree.
pub fn apply(tree: &mut Tree, packages: &[(Package, Deb)]) -> Result<()> {
    tree.remove_below(LINK, "the builder's own list of packages takes its place");
    let status: String = packages.iter().map(|(_, deb)| paragraph(deb.control())).collect();
    put_file(tree, &format!("{FOLDER}/status"), status, 0o644, "dpkg-status")?;
    put_link(tree, LINK, &format!("../..{FOLDER}"), "dpkg-status")
}

/// A package's control file as an entry of the status file, with the state after its name.
fn paragraph(control: &str) -> String {
    let mut lines = control.trim_end().lines();
    let first = lines.next().unwrap_or_default();
    let rest: String = lines.flat_map(|line| [line, "\n"]).collect();
    format!("{first}\nStatus: install ok installed\n{rest}\n")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, link, tree};
    use super::*;

    #[test]
    fn packages_are_installed_and_the_old_database_is_gone() {
        let said = paragraph("Package: x\nVersion: 1\nDescription: y\n more\n");
        assert_eq!(said, "Package: x\nStatus: install ok installed\nVersion: 1\nDescription: y\n more\n\n");
        let mut tree = tree(&[("/var/lib/dpkg/info/x", "")]);
        apply(&mut tree, &[]).unwrap();
        assert_eq!(link(&tree, LINK).as_deref(), Some("../../usr/lib/bedplate/dpkg"));
        assert!(entry(&tree, "/var/lib/dpkg/info").is_none());
    }
}
