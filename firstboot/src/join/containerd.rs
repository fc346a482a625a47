//! containerd's configuration and the pod network's. Pure.

use super::credentials::pretty;
use super::{FOLDER, File, PAUSE_IMAGE};
use serde_json::json;

/// containerd's configuration, format 3.
#[must_use]
pub fn files() -> Vec<File> {
    let text = format!(
        "version = 3
root = '/var/lib/containerd'
state = '/run/containerd'
# What this image has no use for: each costs time at every start.
disabled_plugins = [
  'io.containerd.nri.v1.nri',
  'io.containerd.snapshotter.v1.blockfile',
  'io.containerd.snapshotter.v1.btrfs',
  'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.erofs',
  'io.containerd.snapshotter.v1.zfs',
  'io.containerd.tracing.processor.v1.otlp',
]

[grpc]
address = '/run/containerd/containerd.sock'

# The default, /opt, is in the read-only root.
[plugins.'io.containerd.internal.v1.opt']
path = '/var/lib/containerd/opt'

# Asked by the plugin that makes the images of the root known.
[plugins.'io.containerd.snapshotter.v1.overlayfs']
upperdir_label = true

[plugins.'io.containerd.cri.v1.images']
snapshotter = 'overlayfs'

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE_IMAGE}'

[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = 'runc'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = '/usr/bin/runc'
SystemdCgroup = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['/usr/lib/cni']
conf_dir = '{FOLDER}/cni'
"
    );
    vec![File::open(format!("{FOLDER}/containerd/config.toml"), text)]
}

/// A bridge with addresses of `cidr`, as a CNI 1.0 configuration list.
#[must_use]
pub fn pod_network(cidr: &str) -> File {
    let everywhere = if cidr.contains(':') { "::/0" } else { "0.0.0.0/0" };
    let list = json!({
        "cniVersion": "1.0.0",
        "name": "bedplate",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{ "subnet": cidr }]],
                    "routes": [{ "dst": everywhere }],
                    // Pods do not outlive the boot, and neither do their addresses.
                    "dataDir": format!("{FOLDER}/cni-addresses"),
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    File::open(format!("{FOLDER}/cni/10-bedplate.conflist"), pretty(&list))
}
