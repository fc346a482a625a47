//! The cluster's certificates, made anew for every run.

use anyhow::Result;
use machine_config::schema::Join;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its private key, PEM.
    pub key: String,
}

/// A certificate and its private key, PEM.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Credential {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    /// A new one of this name.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(name: &str) -> Result<Authority> {
        let key = KeyPair::generate()?;
        let mut params = subject(name, None)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key)?.pem();
        let pem = key.serialize_pem();
        Ok(Authority { issuer: Issuer::new(params, key), certificate, key: pem })
    }

    /// A certificate for a server of these names and addresses.
    ///
    /// # Errors
    /// When a name is not one.
    pub fn server(&self, names: &[&str]) -> Result<Credential> {
        let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name = subject(names.first().unwrap_or(&"server"), None)?.distinguished_name;
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a client: Kubernetes reads the user from its common name and the group from its
    /// organisation.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Credential> {
        self.sign(subject(user, group)?, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// What the machine `name` needs to join this authority's cluster.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn join(&self, name: &str) -> Result<Join> {
        let node = self.client(&format!("system:node:{name}"), Some("system:nodes"))?;
        let proxy = self.client("system:kube-proxy", None)?;
        Ok(Join {
            ca: self.certificate.clone(),
            certificate: Some(node.certificate),
            key: Some(node.key),
            token: None,
            proxy_certificate: Some(proxy.certificate),
            proxy_key: Some(proxy.key),
        })
    }

    fn sign(&self, mut params: CertificateParams, purpose: ExtendedKeyUsagePurpose) -> Result<Credential> {
        let key = KeyPair::generate()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        Ok(Credential { certificate: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
    }
}

fn subject(name: &str, group: Option<&str>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    // A guest's clock may be behind the host's; a certificate that is not valid yet would look like another fault.
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2120, 1, 1);
    Ok(params)
}
