//! The dpkg status file that scanners read.
//!
//! `/var` is the state partition at run time, so the file lies in `/usr/lib/bedplate/dpkg`, where it is signed
//! with the image. On a node tmpfiles.d makes `/var/lib/dpkg` a link to that folder. In the image the file is
//! there under a second name, as scanners of images don't follow links to folders.

use super::{path, put, put_file, put_link};
use crate::compose::deb::Deb;
use crate::compose::tree::{Kind, Tree};
use crate::lock::Package;
use anyhow::Result;

/// Where the link is.
pub const LINK: &str = "/var/lib/dpkg";
/// Where it leads.
pub const FOLDER: &str = "/usr/lib/bedplate/dpkg";

const BY: &str = "dpkg-status";

/// Writes the status file and the node's link; what packages have below `/var/lib/dpkg` goes.
///
/// # Errors
/// Never for a well-formed tree.
pub fn apply(tree: &mut Tree, packages: &[(Package, Deb)]) -> Result<()> {
    tree.remove_below(LINK, "the builder's own list of packages takes its place");
    let status: String = packages.iter().map(|(_, deb)| paragraph(deb.control())).collect();
    put_file(tree, &format!("{FOLDER}/status"), status, 0o644, BY)?;
    put_link(tree, LINK, &format!("../..{FOLDER}"), BY)
}

/// Gives the status file, if there is one, the name under which scanners of images look for it. Called once `/var`
/// is empty.
///
/// # Errors
/// Never for a well-formed tree.
pub fn for_scanners(tree: &mut Tree) -> Result<()> {
    let status = path(&format!("{FOLDER}/status"))?;
    match tree.get(&status) {
        Some(_) => put(tree, &format!("{LINK}/status"), Kind::HardLink(status), 0o644, BY),
        None => Ok(()),
    }
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

        let status = tree.file("/usr/lib/bedplate/dpkg/status").unwrap().1.clone();
        tree.remove(&path(LINK).unwrap(), "as at the end of a composition");
        for_scanners(&mut tree).unwrap();
        assert_eq!(tree.file("/var/lib/dpkg/status").unwrap().1, &status);
        for_scanners(&mut super::super::tests::tree(&[])).unwrap();
    }
}
