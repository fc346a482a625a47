//! The certificate that the kubelet's own server shows. The kubelet would make two RSA keys for it while the node
//! starts; one on P-256 costs milliseconds, and a new one each boot never runs out on a node that is kept for years.

use super::{FOLDER, File};
use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair};

/// Path of the certificate.
#[must_use]
pub fn certificate_path() -> String {
    format!("{FOLDER}/kubelet/serving.crt")
}

/// Path of its key.
#[must_use]
pub fn key_path() -> String {
    format!("{FOLDER}/kubelet/serving.key")
}

/// A fresh key and a certificate for this node's name that is signed with it.
///
/// # Errors
/// When the name is not one that a certificate can hold.
pub fn files(name: &str) -> Result<Vec<File>> {
    let make = || -> Result<(String, String), rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([name.to_owned()])?.self_signed(&key)?;
        Ok((certificate.pem(), key.serialize_pem()))
    };
    let (certificate, key) = make().with_context(|| format!("no certificate can be made for {name}"))?;
    Ok(vec![File::open(certificate_path(), certificate), File::secret(key_path(), key)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_for_the_node_and_the_key_is_for_root_alone() {
        let [first, second] = [files("n1").unwrap(), files("n1").unwrap()];
        assert_ne!(first[1].text, second[1].text, "every boot has a key of its own");
        assert!(!first[0].secret && first[1].secret);
        assert!(first[0].text.contains("BEGIN CERTIFICATE") && first[1].text.contains("PRIVATE KEY"));
        assert!(files("ü").is_err());
    }
}
