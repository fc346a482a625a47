//! Certificates, keys and kubeconfigs. Pure.

use super::{FOLDER, File};
use machine_config::schema::{Join, MachineConfig};
use serde_json::{Value, json};

/// The kubelet's credentials when it joins by certificate, and what the agent asks the API with.
pub const KUBECONFIG: &str = "/run/bedplate/kubelet/kubeconfig";
/// The same when it bootstraps by token: written by the kubelet, on the state partition.
pub const BOOTSTRAPPED_KUBECONFIG: &str = "/var/lib/kubelet/kubeconfig";
/// Certificate and key that the kubelet keeps when it bootstraps by token.
pub const BOOTSTRAPPED_CERTIFICATE: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";

/// Where the cluster's CA lies.
#[must_use]
pub fn ca_path() -> String {
    format!("{FOLDER}/kubelet/ca.crt")
}

/// Every file with a credential in it, and the CA.
#[must_use]
pub fn files(config: &MachineConfig, join: &Join) -> Vec<File> {
    let server = config.cluster.api.first().map_or("", String::as_str);
    let mut files = vec![File::open(ca_path(), join.ca.clone())];
    if let (Some(certificate), Some(key)) = (&join.certificate, &join.key) {
        let (crt, private) = (format!("{FOLDER}/kubelet/client.crt"), format!("{FOLDER}/kubelet/client.key"));
        let user = json!({ "client-certificate": crt, "client-key": private });
        files.push(File::open(crt, certificate.clone()));
        files.push(File::secret(private, key.clone()));
        files.push(File::open(KUBECONFIG.into(), kubeconfig(server, &user)));
    } else if let Some(token) = &join.token {
        let text = kubeconfig(server, &json!({ "token": token }));
        files.push(File::secret(format!("{FOLDER}/kubelet/bootstrap-kubeconfig"), text));
    }
    if let (Some(certificate), Some(key)) = (&join.proxy_certificate, &join.proxy_key) {
        let (crt, private) = (format!("{FOLDER}/kube-proxy/client.crt"), format!("{FOLDER}/kube-proxy/client.key"));
        let path = format!("{FOLDER}/kube-proxy/kubeconfig");
        let user = json!({ "client-certificate": crt, "client-key": private });
        files.push(File::open(crt, certificate.clone()));
        files.push(File::secret(private, key.clone()));
        files.push(File::open(path.clone(), kubeconfig(server, &user)));
        files.push(File::open(format!("{FOLDER}/kube-proxy/config.json"), proxy(&path, config)));
    }
    files
}

/// A kubeconfig (v1) with one cluster and one user; JSON is YAML.
fn kubeconfig(server: &str, user: &Value) -> String {
    pretty(&json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "cluster", "cluster": { "server": server, "certificate-authority": ca_path() } }],
        "users": [{ "name": "user", "user": user }],
        "contexts": [{ "name": "context", "context": { "cluster": "cluster", "user": "user" } }],
        "current-context": "context",
    }))
}

/// `KubeProxyConfiguration` v1alpha1.
fn proxy(kubeconfig: &str, config: &MachineConfig) -> String {
    pretty(&json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": { "kubeconfig": kubeconfig },
        "hostnameOverride": config.name,
        "mode": "nftables",
        // The kernel's own limits; the root's /proc/sys is set by sysctl.d alone.
        "conntrack": { "maxPerCore": 0, "min": 0 },
    }))
}

pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
