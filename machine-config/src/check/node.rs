//! Rules over what the Kubernetes node carries.

use super::Rules;
use crate::units;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Labels below `kubernetes.io` and `k8s.io` that a kubelet may set on its own node; the API server refuses others.
const ALLOWED: [&str; 10] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

pub(super) fn check(rules: &mut Rules<'_>) {
    let node = &rules.config().node;
    for label in node.labels.keys() {
        let prefix = label.split_once('/').map_or("", |(prefix, _)| prefix);
        let within = |domain: &str| prefix == domain || prefix.ends_with(&format!(".{domain}"));
        let own = within("kubelet.kubernetes.io") || within("node.kubernetes.io");
        if (within("kubernetes.io") || within("k8s.io")) && !own && !ALLOWED.contains(&label.as_str()) {
            rules.fault(
                "BP-C090",
                &["node", "labels", label],
                format!("a node can't give itself the label {label:?}"),
                "The kubelet refuses to start with a label of Kubernetes' own domains, but for a few of them.",
                "Use a domain of your own, such as \"example.org/role\"; roles are set by an administrator.",
            );
        }
    }
    let mut taints = BTreeSet::new();
    for (index, taint) in node.taints.iter().enumerate() {
        if !taints.insert((&taint.key, &taint.effect)) {
            rules.fault(
                "BP-C091",
                &["node", "taints", &index.to_string()],
                format!("the taint {}:{} is given twice", taint.key, taint.effect),
                "A node has one taint per key and effect.",
                "Take one of the two out.",
            );
        }
    }
    if let Some((address, length)) = node.pod_cidr.as_ref().and_then(|text| units::parse_cidr(text)) {
        let (bits, most) = match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
            IpAddr::V6(v6) => (u128::from(v6), 128),
        };
        let host = 1u128.checked_shl(most - u32::from(length)).unwrap_or(0).wrapping_sub(1);
        if bits & host != 0 {
            rules.fault(
                "BP-C092",
                &["node", "pod-cidr"],
                format!("{address}/{length} is an address in a network, not a network"),
                "Pods get their addresses from a whole network.",
                "Set the bits after the prefix to zero, such as \"10.244.1.0/24\".",
            );
        }
    }
}
