//! A real cluster for nodes to join: etcd, kube-apiserver, kube-controller-manager and kube-scheduler, run on the
//! host from the very program that is in the image.
//!
//! It listens on the loopback interface alone; a guest reaches it at 10.0.2.2. Its programs end with the thread
//! that started it.
#![allow(clippy::disallowed_methods, reason = "edge: starts programs and writes their files")]

pub mod api;
pub mod pki;

use crate::wait::wait_until;
use anyhow::{Context, Result, bail};
use api::Api;
use image_builder::qemu::Interrupt;
use machine_config::schema::Join;
use pki::{Authority, Credential};
use rcgen::KeyPair;
use run_tool::{Running, Tool};
use serde_json::json;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Where a guest finds the host's loopback interface.
pub const HOST_FROM_GUEST: &str = "10.0.2.2";
/// Addresses of services.
pub const SERVICES: &str = "10.96.0.0/16";
/// Address of the cluster's DNS service.
pub const DNS: &str = "10.96.0.10";
/// Addresses of pods.
pub const PODS: &str = "10.244.0.0/16";

/// A running control plane. Dropping it ends it.
#[derive(Debug)]
pub struct ControlPlane {
    folder: PathBuf,
    authority: Authority,
    admin: Credential,
    port: u16,
    api: Api,
    programs: Vec<(&'static str, Running)>,
}

impl ControlPlane {
    /// Starts one from the multi-call program `kube`, with its files and logs in `folder`, and waits until it
    /// answers. A folder that held one before, its data included, starts a new cluster.
    ///
    /// # Errors
    /// When a program ends or none answers in time; the error has the end of its log.
    pub fn start(kube: &Path, folder: &Path, interrupt: &Interrupt) -> Result<ControlPlane> {
        std::fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
        let authority = Authority::new("bedplate-test")?;
        let admin = authority.client("admin", Some("system:masters"))?;
        let [port, etcd, peer] = free_ports()?;
        let api = Api::new(&format!("https://127.0.0.1:{port}"), &authority.certificate, &admin)?;
        let mut plane = ControlPlane { folder: folder.into(), authority, admin, port, api, programs: Vec::new() };
        plane.write_files()?;
        plane.run(kube, "etcd", &plane.etcd_arguments(etcd, peer))?;
        plane.run(kube, "kube-apiserver", &plane.api_arguments(etcd))?;
        plane.wait_for_api(interrupt)?;
        plane.run(kube, "kube-controller-manager", &plane.controller_arguments())?;
        plane.run(kube, "kube-scheduler", &plane.scheduler_arguments())?;
        // Pods are refused until their namespace has its service account.
        wait_until("the controllers work", Duration::from_secs(60), interrupt, || {
            plane.check()?;
            plane.api.find("/api/v1/namespaces/default/serviceaccounts/default")
        })?;
        Ok(plane)
    }

    /// Its API server, as an administrator.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The administrator's certificate, which kubelets trust too.
    pub fn admin(&self) -> &Credential {
        &self.admin
    }

    /// Where a guest finds the API server.
    pub fn endpoint(&self) -> String {
        format!("https://{HOST_FROM_GUEST}:{}", self.port)
    }

    /// What the machine `name` needs to join.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn join(&self, name: &str) -> Result<Join> {
        self.authority.join(name)
    }

    /// Whether all its programs still run.
    ///
    /// # Errors
    /// When one has ended, with the end of its log.
    pub fn check(&mut self) -> Result<()> {
        for (name, running) in &mut self.programs {
            if let Some(status) = running.child.try_wait()? {
                let log = std::fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                bail!("{name} ended with {status}:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"));
            }
        }
        Ok(())
    }

    fn wait_for_api(&mut self, interrupt: &Interrupt) -> Result<()> {
        wait_until("the API server is ready", Duration::from_secs(90), interrupt, || {
            self.check()?;
            Ok(self.api.text("/readyz").ok())
        })
        .map(drop)
    }

    fn write_files(&self) -> Result<()> {
        let services = KeyPair::generate()?;
        let server = self.authority.server(&[
            "kubernetes.default.svc",
            "kubernetes.default",
            "kubernetes",
            "localhost",
            HOST_FROM_GUEST,
            "127.0.0.1",
            "10.96.0.1",
        ])?;
        let inline = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port),
                "certificate-authority-data": inline(&self.authority.certificate),
            }}],
            "users": [{ "name": "admin", "user": {
                "client-certificate-data": inline(&self.admin.certificate),
                "client-key-data": inline(&self.admin.key),
            }}],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "admin" }}],
        })
        .to_string();
        for (name, text) in [
            ("ca.crt", &self.authority.certificate),
            ("ca.key", &self.authority.key),
            ("server.crt", &server.certificate),
            ("server.key", &server.key),
            ("admin.crt", &self.admin.certificate),
            ("admin.key", &self.admin.key),
            ("accounts.key", &services.serialize_pem()),
            ("accounts.pub", &services.public_key_pem()),
            ("kubeconfig", &kubeconfig),
        ] {
            std::fs::write(self.folder.join(name), text).with_context(|| format!("{name} can't be written"))?;
        }
        let data = self.folder.join("etcd");
        if data.exists() {
            std::fs::remove_dir_all(&data)?;
        }
        Ok(())
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn etcd_arguments(&self, port: u16, peer: u16) -> Vec<String> {
        let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
        vec![
            format!("--data-dir={}", self.file("etcd")),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            // Nothing here outlives the run.
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
        ]
    }

    fn api_arguments(&self, etcd: u16) -> Vec<String> {
        vec![
            format!("--etcd-servers=http://127.0.0.1:{etcd}"),
            "--bind-address=127.0.0.1".into(),
            // What pods find behind the service `kubernetes`.
            format!("--advertise-address={HOST_FROM_GUEST}"),
            format!("--secure-port={}", self.port),
            format!("--tls-cert-file={}", self.file("server.crt")),
            format!("--tls-private-key-file={}", self.file("server.key")),
            format!("--client-ca-file={}", self.file("ca.crt")),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", self.file("accounts.pub")),
            format!("--service-account-signing-key-file={}", self.file("accounts.key")),
            format!("--service-cluster-ip-range={SERVICES}"),
            "--authorization-mode=Node,RBAC".into(),
            "--enable-admission-plugins=NodeRestriction".into(),
            "--enable-bootstrap-token-auth=true".into(),
            format!("--kubelet-client-certificate={}", self.file("admin.crt")),
            format!("--kubelet-client-key={}", self.file("admin.key")),
            // Node names don't resolve here.
            "--kubelet-preferred-address-types=InternalIP".into(),
            "--allow-privileged=true".into(),
        ]
    }

    fn controller_arguments(&self) -> Vec<String> {
        vec![
            // As system:masters: its own roles exist only some seconds after the API answers.
            format!("--kubeconfig={}", self.file("kubeconfig")),
            format!("--service-account-private-key-file={}", self.file("accounts.key")),
            format!("--root-ca-file={}", self.file("ca.crt")),
            format!("--cluster-signing-cert-file={}", self.file("ca.crt")),
            format!("--cluster-signing-key-file={}", self.file("ca.key")),
            "--allocate-node-cidrs=true".into(),
            format!("--cluster-cidr={PODS}"),
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
        ]
    }

    fn scheduler_arguments(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.file("kubeconfig")),
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
        ]
    }

    fn run(&mut self, kube: &Path, name: &'static str, arguments: &[String]) -> Result<()> {
        let log = self.folder.join(format!("{name}.log"));
        let log = File::create(&log).with_context(|| format!("{} can't be written", log.display()))?;
        let running = Tool::at(kube)
            .command()
            .arg(name)
            .args(arguments)
            .env("HOME", &self.folder)
            .current_dir(&self.folder)
            .ends_with_starter()
            .start(Stdio::null(), log.try_clone()?.into(), log.into())?;
        self.programs.push((name, running));
        Ok(())
    }
}

/// Ports of the loopback interface that nobody listens on now.
///
/// # Errors
/// When there is none left.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // All are held until all are chosen, so that they differ.
    let listeners: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>().context("no port is free")?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
