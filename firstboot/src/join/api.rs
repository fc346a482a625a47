//! What the cluster says about this node, asked with the node's own credentials.
#![allow(clippy::disallowed_methods, reason = "edge: talks to the API server")]

use super::credentials::BOOTSTRAPPED_CERTIFICATE;
use machine_config::schema::{Join, MachineConfig};
use serde::Deserialize;
use std::fs;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// What is known of the node object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Pod network that the cluster assigned.
    pub pod_cidr: Option<String>,
    /// Whether its condition Ready is True.
    pub ready: bool,
    /// The boot that the kubelet was last started in (`/proc/sys/kernel/random/boot_id`). What an earlier boot said
    /// stays in the object until the kubelet writes anew.
    pub boot_id: String,
    /// What the kubelet says while it is not.
    pub message: String,
    /// Version of the kubelet.
    pub kubelet: String,
    /// Version of the container runtime.
    pub runtime: String,
}

/// A client for one node object.
#[derive(Debug)]
pub struct Api {
    agent: Agent,
    urls: Vec<String>,
}

impl Api {
    /// With the certificate of the bundle, or the one that the kubelet got for its token.
    ///
    /// # Errors
    /// When there are no credentials yet, or they can't be read; in words for the console.
    pub fn new(config: &MachineConfig, join: &Join) -> Result<Api, String> {
        let (certificate, key) = match (&join.certificate, &join.key) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            _ => {
                let both = fs::read_to_string(BOOTSTRAPPED_CERTIFICATE)
                    .map_err(|_| "the kubelet's certificate, which the cluster signs".to_owned())?;
                (both.clone(), both)
            }
        };
        let chain = certificates(&certificate)?;
        let roots = certificates(&join.ca)?;
        let key = PrivateKey::from_pem(key.as_bytes()).map_err(|e| format!("a usable client key ({e})"))?;
        let tls = TlsConfig::builder()
            .client_cert(Some(ClientCert::new_with_certs(&chain, key)))
            .root_certs(RootCerts::from(roots))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .new_agent();
        let node = |server: &String| format!("{}/api/v1/nodes/{}", server.trim_end_matches('/'), config.name);
        Ok(Api { agent, urls: config.cluster.api.iter().map(node).collect() })
    }

    /// The node object; none when the node is not registered yet.
    ///
    /// # Errors
    /// What is waited for, in words for the console, when no endpoint gives an answer.
    pub fn node(&self) -> Result<Option<NodeState>, String> {
        let mut last = "an API endpoint in the configuration".to_owned();
        for url in &self.urls {
            let mut answer = match self.agent.get(url).header("Accept", "application/json").call() {
                Ok(answer) => answer,
                Err(e) => {
                    last = format!("the API server at {url} ({e})");
                    continue;
                }
            };
            let text = answer.body_mut().read_to_string().map_err(|e| format!("an answer from {url} ({e})"))?;
            match answer.status().as_u16() {
                200 => return parse_node(&text).map(Some),
                404 => return Ok(None),
                status => last = format!("leave to ask {url} (status {status})"),
            }
        }
        Err(last)
    }
}

fn certificates(pem: &str) -> Result<Vec<Certificate<'static>>, String> {
    let items = ureq::tls::parse_pem(pem.as_bytes()).filter_map(|item| match item {
        Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = items.collect();
    if found.is_empty() { Err("a certificate in PEM form".to_owned()) } else { Ok(found) }
}

/// Reads a Node object (core/v1).
fn parse_node(text: &str) -> Result<NodeState, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Node {
        #[serde(default)]
        spec: Spec,
        #[serde(default)]
        status: Status,
    }
    #[derive(Deserialize, Default)]
    struct Spec {
        #[serde(rename = "podCIDR")]
        pod_cidr: Option<String>,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Status {
        conditions: Vec<Condition>,
        node_info: NodeInfo,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Condition {
        #[serde(rename = "type")]
        kind: String,
        status: String,
        message: String,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct NodeInfo {
        #[serde(rename = "bootID")]
        boot_id: String,
        kubelet_version: String,
        container_runtime_version: String,
    }
    let node: Node = serde_json::from_str(text).map_err(|e| format!("a Node object from the API server ({e})"))?;
    let ready = node.status.conditions.into_iter().find(|c| c.kind == "Ready");
    Ok(NodeState {
        pod_cidr: node.spec.pod_cidr,
        ready: ready.as_ref().is_some_and(|c| c.status == "True"),
        message: ready.map(|c| c.message).unwrap_or_default(),
        boot_id: node.status.node_info.boot_id,
        kubelet: node.status.node_info.kubelet_version,
        runtime: node.status.node_info.container_runtime_version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_read_with_what_is_missing_left_out() {
        let text = r#"{"spec":{"podCIDR":"10.244.1.0/24"},"status":{"conditions":[
            {"type":"MemoryPressure","status":"False"},
            {"type":"Ready","status":"False","message":"cni plugin not initialized"}],
            "nodeInfo":{"bootID":"b-7","kubeletVersion":"v1.37.2","containerRuntimeVersion":"containerd://2.4.2"}}}"#;
        let node = parse_node(text).unwrap();
        assert_eq!(node.pod_cidr.as_deref(), Some("10.244.1.0/24"));
        assert_eq!(node.boot_id, "b-7");
        assert_eq!((node.ready, node.message.as_str()), (false, "cni plugin not initialized"));
        assert!(parse_node(&text.replace(r#""Ready","status":"False""#, r#""Ready","status":"True""#)).unwrap().ready);
        assert_eq!(parse_node("{}").unwrap(), NodeState::default());
        assert!(parse_node("<html>").is_err());
    }
}
