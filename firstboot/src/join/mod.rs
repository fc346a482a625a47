//! Joining the cluster: containerd and the kubelet set up and started, until the node is Ready.

pub mod api;
pub mod containerd;
pub mod credentials;
pub mod kubelet;
pub mod line;
pub mod serving;
pub mod units;

use machine_config::schema::{Join, MachineConfig};

/// Folder of everything that is written for containerd and the kubelet. In memory: keys do not outlive the boot.
pub const FOLDER: &str = "/run/bedplate";
/// The image that holds a pod's namespaces open; it comes with the root.
pub const PAUSE_IMAGE: &str = "localhost/bedplate/pause:1";
/// The archive it is imported from, in an image whose containerd does not know it from the root.
pub const PAUSE_ARCHIVE: &str = "/usr/share/bedplate/images/pause.tar";

/// A file to be written before a program starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute path.
    pub path: String,
    /// Whether only root may read it.
    pub secret: bool,
    /// Its text.
    pub text: String,
}

impl File {
    fn open(path: String, text: String) -> File {
        File { path, secret: false, text }
    }

    fn secret(path: String, text: String) -> File {
        File { path, secret: true, text }
    }
}

/// Every file that joining takes, but for the pod network's when the cluster assigns it. Pure.
#[must_use]
pub fn decide(config: &MachineConfig, join: &Join) -> Vec<File> {
    let mut files = credentials::files(config, join);
    files.extend(kubelet::files(config, join));
    files.extend(containerd::files());
    files.extend(config.node.pod_cidr.iter().map(|cidr| containerd::pod_network(cidr)));
    files
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use machine_config::schema::{Cluster, Node, Storage, Taint, Time};

    pub fn machine() -> MachineConfig {
        MachineConfig {
            name: "n1".into(),
            revision: 42,
            cluster: Cluster {
                id: uuid::Uuid::nil(),
                name: "rack7".into(),
                api: vec!["https://10.0.7.2:6443".into()],
                domain: "cluster.local".into(),
                dns: vec!["10.96.0.10".parse().unwrap()],
                control_plane: Vec::new(),
            },
            network: Default::default(),
            address: Default::default(),
            storage: Storage::default(),
            node: Node {
                labels: [("rack".to_owned(), "7".to_owned()), ("disk".into(), "hdd".into())].into(),
                taints: vec![Taint { key: "storage".into(), value: String::new(), effect: "NoSchedule".into() }],
                pod_cidr: Some("10.244.1.0/24".into()),
            },
            time: Time::default(),
        }
    }

    fn certificate() -> Join {
        Join {
            ca: "CA\n".into(),
            certificate: Some("CERTIFICATE\n".into()),
            key: Some("KEY\n".into()),
            token: None,
            proxy_certificate: Some("PROXY CERTIFICATE\n".into()),
            proxy_key: Some("PROXY KEY\n".into()),
        }
    }

    fn text(files: &[File]) -> String {
        let show = |f: &File| format!("# {}{}\n{}", f.path, if f.secret { " (0600)" } else { "" }, f.text);
        files.iter().map(show).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_node_with_a_certificate() {
        insta::assert_snapshot!(text(&decide(&machine(), &certificate())));
    }

    #[test]
    fn a_node_with_a_token_has_no_key_yet_and_rotates() {
        let token = Some("abcdef.0123456789abcdef".to_owned());
        let join =
            Join { certificate: None, key: None, token, proxy_certificate: None, proxy_key: None, ..certificate() };
        let files = decide(&machine(), &join);
        let shown = text(&files);
        assert!(shown.contains("\"rotateCertificates\": true"), "{shown}");
        assert!(shown.contains("--bootstrap-kubeconfig=/run/bedplate/kubelet/bootstrap-kubeconfig"), "{shown}");
        assert!(!files.iter().any(|f| f.path.contains("kube-proxy")));
        insta::assert_snapshot!(text(&files[..2]));
    }

    #[test]
    fn keys_and_tokens_are_for_root_alone() {
        let token = Some("abcdef.0123456789abcdef".to_owned());
        for file in decide(&machine(), &Join { token, ..certificate() }) {
            assert_eq!(file.secret, file.text.contains("KEY\n") || file.text.contains("abcdef."), "{}", file.path);
        }
    }
}
