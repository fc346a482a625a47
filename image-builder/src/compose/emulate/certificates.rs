//! The trusted certificates, as update-ca-certificates(8) makes them: all that packages carry and those an
//! overlay puts below `/usr/local/share/ca-certificates`, as one bundle and as a link each.
//!
//! The links by OpenSSL's hash of the subject are left out: what runs on a node reads the bundle.

use super::{put_file, put_folder, put_link, text};
use crate::compose::tree::Tree;
use anyhow::Result;

const BY: &str = "certificates";
const FOLDERS: [&str; 2] = ["/usr/share/ca-certificates", "/usr/local/share/ca-certificates"];

/// Writes `/etc/ca-certificates.conf`, the bundle and the links.
///
/// # Errors
/// When a certificate can't be read.
pub fn apply(tree: &mut Tree) -> Result<()> {
    let found = |folder: &str| -> Vec<String> {
        let all = tree.below(folder).map(|(at, _)| at.to_string());
        all.filter(|at| at.ends_with(".crt") && tree.file(at).is_some()).collect()
    };
    let [packaged, own] = FOLDERS.map(found);
    if packaged.is_empty() && own.is_empty() {
        return Ok(());
    }
    put_folder(tree, FOLDERS[1], 0o755, BY)?;
    let names = packaged.iter().filter_map(|at| at.strip_prefix(FOLDERS[0])?.strip_prefix('/'));
    let list: String = names.flat_map(|name| [name, "\n"]).collect();
    put_file(tree, "/etc/ca-certificates.conf", list, 0o644, BY)?;
    let mut bundle = String::new();
    for at in packaged.iter().chain(&own) {
        bundle.push_str(text(tree, at)?.unwrap_or_default().trim_end());
        bundle.push('\n');
        let name = at.rsplit('/').next().unwrap_or(at).trim_end_matches(".crt");
        let name: String = name
            .chars()
            .map(|c| match c {
                ' ' | ',' => '_',
                '(' | ')' => '=',
                c => c,
            })
            .collect();
        put_link(tree, &format!("/etc/ssl/certs/{name}.pem"), at, BY)?;
    }
    put_file(tree, "/etc/ssl/certs/ca-certificates.crt", bundle, 0o644, BY)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{link, tree};
    use super::*;

    #[test]
    fn packages_certificates_come_first_then_overlays() {
        let mut tree = tree(&[
            ("/usr/local/share/ca-certificates/site.crt", "SITE"),
            ("/usr/share/ca-certificates/mozilla/B (1).crt", "B\n\n"),
            ("/usr/share/ca-certificates/mozilla/A.crt", "A\n"),
            ("/usr/share/ca-certificates/mozilla/README", "no"),
        ]);
        apply(&mut tree).unwrap();
        assert_eq!(text(&tree, "/etc/ssl/certs/ca-certificates.crt").unwrap().unwrap(), "A\nB\nSITE\n");
        assert_eq!(text(&tree, "/etc/ca-certificates.conf").unwrap().unwrap(), "mozilla/A.crt\nmozilla/B (1).crt\n");
        let target = link(&tree, "/etc/ssl/certs/B_=1=.pem");
        assert_eq!(target.as_deref(), Some("/usr/share/ca-certificates/mozilla/B (1).crt"));
    }
}
