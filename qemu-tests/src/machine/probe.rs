//! A pod that looks at the node from inside.
//!
//! The image has one container image, the pause program, and nothing may be pulled. So the pod is made of that image
//! and of the node's own `/usr`, mounted read-only: the shell that runs is the node's.

use super::Machine;
use crate::control_plane::ControlPlane;
use anyhow::{Context, Result, bail};
use image_builder::images::PAUSE_IMAGE;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a pod may take to end.
const PATIENCE: Duration = Duration::from_secs(120);
const PODS: &str = "/api/v1/namespaces/default/pods";

impl Machine<'_> {
    /// Runs a shell script in a pod on this node and gives what it printed. It sees the node's status at
    /// `/run/bedplate`, its volumes at `/volumes` (writable), its machine-id at `/machine-id` and its securityfs at
    /// `/security`; it runs under the runtime's default seccomp profile.
    ///
    /// # Errors
    /// When the pod does not end well in time.
    pub fn probe(&mut self, plane: &mut ControlPlane, pod: &str, script: &str) -> Result<String> {
        self.run_pod(plane, pod, &manifest(pod, &self.name, script))
    }

    /// The same for a pod of another image, which must be on the node.
    ///
    /// # Errors
    /// As [`Machine::probe`].
    pub fn probe_image(&mut self, plane: &mut ControlPlane, pod: &str, image: &str, script: &str) -> Result<String> {
        let mut manifest = manifest(pod, &self.name, script);
        manifest["spec"]["containers"][0]["image"] = json!(image);
        self.run_pod(plane, pod, &manifest)
    }

    /// The same for a pod that sees the node's processes, and containerd's socket where `ctr` looks for it.
    ///
    /// # Errors
    /// As [`Machine::probe`].
    pub fn probe_runtime(&mut self, plane: &mut ControlPlane, pod: &str, script: &str) -> Result<String> {
        let manifest = self.runtime_manifest(pod, script)?;
        self.run_pod(plane, pod, &manifest)
    }

    /// Begins such a pod and waits until it runs; [`Machine::end_probe`] gives what it printed.
    ///
    /// # Errors
    /// When it does not begin in time.
    pub fn begin_probe_runtime(&mut self, plane: &mut ControlPlane, pod: &str, script: &str) -> Result<()> {
        let manifest = self.runtime_manifest(pod, script)?;
        plane.api().clone().create(PODS, &manifest)?;
        self.wait_for_pod(plane, pod, &["Running", "Succeeded", "Failed"]).map(drop)
    }

    fn runtime_manifest(&self, pod: &str, script: &str) -> Result<Value> {
        let mut manifest = manifest(pod, &self.name, script);
        let spec = &mut manifest["spec"];
        spec["hostPID"] = json!(true);
        let at = "/run/containerd";
        let mut push = |list: &str, entry: Value| {
            let list = spec.pointer_mut(list).and_then(Value::as_array_mut);
            list.map(|list| list.push(entry)).context("the pod lacks a list")
        };
        push("/volumes", json!({ "name": "containerd", "hostPath": { "path": at } }))?;
        push("/containers/0/volumeMounts", json!({ "name": "containerd", "mountPath": at }))?;
        Ok(manifest)
    }

    fn run_pod(&mut self, plane: &mut ControlPlane, pod: &str, manifest: &Value) -> Result<String> {
        plane.api().clone().create(PODS, manifest)?;
        self.end_probe(plane, pod)
    }

    fn wait_for_pod(&mut self, plane: &mut ControlPlane, pod: &str, phases: &[&str]) -> Result<(String, Value)> {
        let (api, path) = (plane.api().clone(), format!("{PODS}/{pod}"));
        let phase = self.wait(&format!("pod {pod} is {}", phases.join(" or ")), PATIENCE, |_| {
            plane.check()?;
            let object = api.get(&path)?;
            let phase = object["status"]["phase"].as_str().unwrap_or_default().to_owned();
            Ok(phases.contains(&phase.as_str()).then_some((phase, object)))
        });
        phase.with_context(|| pod_events(&api, pod))
    }

    /// What a pod has printed, once it has ended.
    ///
    /// # Errors
    /// As [`Machine::probe`].
    pub fn end_probe(&mut self, plane: &mut ControlPlane, pod: &str) -> Result<String> {
        let (phase, object) = self.wait_for_pod(plane, pod, &["Succeeded", "Failed"])?;
        let text = self.kubelet(plane)?.text(&format!("/containerLogs/default/{pod}/probe"))?;
        if phase != "Succeeded" {
            bail!("pod {pod} failed: {}\n{text}", object["status"]);
        }
        plane.api().clone().delete(&format!("{PODS}/{pod}"), 0)?;
        Ok(text)
    }

    /// The node's status file, read by a pod.
    ///
    /// # Errors
    /// As [`Machine::probe`].
    pub fn status(&mut self, plane: &mut ControlPlane, pod: &str) -> Result<Value> {
        let text = self.probe(plane, pod, "cat /run/bedplate/status.json")?;
        serde_json::from_str(&text).with_context(|| format!("the status file is not JSON: {text}"))
    }
}

fn pod_events(api: &crate::control_plane::api::Api, pod: &str) -> String {
    let events = api.get("/api/v1/namespaces/default/events").unwrap_or_default();
    let of_pod = events["items"].as_array().into_iter().flatten().filter(|e| e["involvedObject"]["name"] == pod);
    let messages: Vec<&str> = of_pod.filter_map(|e| e["message"].as_str()).collect();
    format!("what the cluster says about pod {pod}: {}", messages.join("; "))
}

fn manifest(pod: &str, node: &str, script: &str) -> Value {
    let mounts = [
        ("usr", "/usr", "/usr", true),
        ("lib", "/usr/lib", "/lib", true),
        ("lib64", "/usr/lib64", "/lib64", true),
        ("status", "/run/bedplate", "/run/bedplate", true),
        ("machine-id", "/etc/machine-id", "/machine-id", true),
        ("security", "/sys/kernel/security", "/security", true),
        ("volumes", "/var/lib/volumes", "/volumes", false),
    ];
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": pod },
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            // The pause image has a user of its own, to whom the volumes' folders are closed.
            "securityContext": { "runAsUser": 0, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "probe",
                "image": PAUSE_IMAGE,
                "imagePullPolicy": "Never",
                "command": ["/usr/bin/dash", "-euc", script],
                "env": [{ "name": "PATH", "value": "/usr/bin:/usr/sbin" }],
                "volumeMounts": mounts.map(|(name, _, inside, read_only)| json!({
                    "name": name, "mountPath": inside, "readOnly": read_only,
                    // Volumes are mounts below the folder.
                    "mountPropagation": "HostToContainer",
                })),
            }],
            "volumes": mounts.map(|(name, outside, _, _)| json!({ "name": name, "hostPath": { "path": outside } })),
        },
    })
}
