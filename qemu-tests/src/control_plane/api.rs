//! A client of the API server, and of a kubelet: plain HTTPS and JSON.

use super::pki::Credential;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::time::Duration;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// A client with a certificate.
#[derive(Debug, Clone)]
pub struct Api {
    agent: ureq::Agent,
    base: String,
}

impl Api {
    /// A client of the server at `base` (`https://host:port`), which must have a certificate of `authority`.
    ///
    /// # Errors
    /// When the PEM texts are none.
    pub fn new(base: &str, authority: &str, credential: &Credential) -> Result<Api> {
        let roots = RootCerts::from([Certificate::from_pem(authority.as_bytes())?].iter().cloned());
        Ok(Api::with(base, TlsConfig::builder().root_certs(roots).client_cert(Some(client_cert(credential)?)).build()))
    }

    /// A client of a kubelet, which signs its own certificate: it is not checked who answers.
    ///
    /// # Errors
    /// As [`Api::new`].
    pub fn kubelet(base: &str, credential: &Credential) -> Result<Api> {
        let config = TlsConfig::builder().disable_verification(true).client_cert(Some(client_cert(credential)?));
        Ok(Api::with(base, config.build()))
    }

    fn with(base: &str, tls: TlsConfig) -> Api {
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(Duration::from_secs(20)))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Api { agent: config.new_agent(), base: base.into() }
    }

    /// Reads an object or a list.
    ///
    /// # Errors
    /// When the server can't be reached or answers with anything but success.
    pub fn get(&self, path: &str) -> Result<Value> {
        let text = self.text(path)?;
        serde_json::from_str(&text).with_context(|| format!("{path} is not JSON"))
    }

    /// Reads an object that may not be there.
    ///
    /// # Errors
    /// As [`Api::get`], but for 404.
    pub fn find(&self, path: &str) -> Result<Option<Value>> {
        let mut answer = self.agent.get(format!("{}{path}", self.base)).call()?;
        match answer.status().as_u16() {
            404 => Ok(None),
            200 => Ok(Some(serde_json::from_str(&answer.body_mut().read_to_string()?)?)),
            code => bail!("GET {path}: {code} {}", answer.body_mut().read_to_string().unwrap_or_default()),
        }
    }

    /// Reads text, such as a log.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub fn text(&self, path: &str) -> Result<String> {
        let mut answer = self.agent.get(format!("{}{path}", self.base)).call()?;
        let text = answer.body_mut().read_to_string()?;
        if !answer.status().is_success() {
            bail!("GET {path}: {} {}", answer.status(), text.trim());
        }
        Ok(text)
    }

    /// Creates an object.
    ///
    /// # Errors
    /// As [`Api::get`]; what the server objects to is in the error.
    pub fn create(&self, path: &str, object: &Value) -> Result<Value> {
        let request = self.agent.post(format!("{}{path}", self.base)).header("Content-Type", "application/json");
        let mut answer = request.send(object.to_string())?;
        let text = answer.body_mut().read_to_string()?;
        if !answer.status().is_success() {
            bail!("POST {path}: {} {}", answer.status(), text.trim());
        }
        serde_json::from_str(&text).with_context(|| format!("{path} is not JSON"))
    }

    /// Deletes an object, at once if `grace` is 0 seconds. One that is not there is no error.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub fn delete(&self, path: &str, grace: u32) -> Result<()> {
        let mut answer = self.agent.delete(format!("{}{path}?gracePeriodSeconds={grace}", self.base)).call()?;
        if !answer.status().is_success() && answer.status() != 404 {
            bail!("DELETE {path}: {} {}", answer.status(), answer.body_mut().read_to_string().unwrap_or_default());
        }
        Ok(())
    }
}

fn client_cert(credential: &Credential) -> Result<ClientCert> {
    let certificate = Certificate::from_pem(credential.certificate.as_bytes())?;
    Ok(ClientCert::new_with_certs(&[certificate], PrivateKey::from_pem(credential.key.as_bytes())?))
}
