//! The kubelet's configuration. Pure.

use super::credentials::{BOOTSTRAPPED_KUBECONFIG, KUBECONFIG, ca_path, pretty};
use super::serving::{certificate_path, key_path};
use super::{FOLDER, File};
use machine_config::schema::{Join, MachineConfig};
use serde_json::json;

/// `KubeletConfiguration` v1beta1 and the arguments that are no field of it.
#[must_use]
pub fn files(config: &MachineConfig, join: &Join) -> Vec<File> {
    let by_token = join.certificate.is_none();
    let taints: Vec<_> =
        config.node.taints.iter().map(|t| json!({ "key": t.key, "value": t.value, "effect": t.effect })).collect();
    let configuration = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": ca_path() },
        },
        "authorization": { "mode": "Webhook" },
        "cgroupDriver": "systemd",
        "clusterDNS": config.cluster.dns,
        "clusterDomain": config.cluster.domain,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        // kube-proxy makes its own; this would run iptables a dozen times at every start.
        "makeIPTablesUtilChains": false,
        "protectKernelDefaults": true,
        "registerWithTaints": taints,
        "resolvConf": format!("{FOLDER}/resolv.conf"),
        "rotateCertificates": by_token,
        "seccompDefault": true,
        "tlsCertFile": certificate_path(),
        "tlsMinVersion": "VersionTLS12",
        "tlsPrivateKeyFile": key_path(),
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
    });
    let mut arguments = vec![format!("--hostname-override={}", config.name)];
    if by_token {
        arguments.push(format!("--kubeconfig={BOOTSTRAPPED_KUBECONFIG}"));
        arguments.push(format!("--bootstrap-kubeconfig={FOLDER}/kubelet/bootstrap-kubeconfig"));
    } else {
        arguments.push(format!("--kubeconfig={KUBECONFIG}"));
    }
    if !config.node.labels.is_empty() {
        let labels: Vec<String> = config.node.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        arguments.push(format!("--node-labels={}", labels.join(",")));
    }
    if let Some(address) = node_address(config) {
        arguments.push(format!("--node-ip={address}"));
    }
    vec![
        File::open(format!("{FOLDER}/kubelet/config.json"), pretty(&configuration)),
        File::open(format!("{FOLDER}/kubelet/environment"), format!("KUBELET_ARGUMENTS=\"{}\"\n", arguments.join(" "))),
    ]
}

/// The static address that has the default route; with DHCP the kubelet finds out itself.
fn node_address(config: &MachineConfig) -> Option<&str> {
    let (name, _) = config.network.iter().find(|(_, i)| i.gateway.is_some())?;
    config.address.get(name)?.split('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::tests::machine;
    use machine_config::schema::Interface;

    #[test]
    fn the_node_s_address_is_the_one_with_the_gateway() {
        let mut config = machine();
        let gateway = Some("10.0.7.1".parse().unwrap());
        config.network =
            [("san".to_owned(), Interface::default()), ("lan".into(), Interface { gateway, ..Interface::default() })]
                .into();
        config.address = [("san".to_owned(), "10.9.0.1/24".to_owned()), ("lan".into(), "10.0.7.11/24".into())].into();
        assert_eq!(node_address(&config), Some("10.0.7.11"));
        config.address.remove("lan");
        assert_eq!(node_address(&config), None);
    }
}
