use super::*;
use crate::agent::LockedAgent;
use crate::compose::tree::{Content, Entry, TreePath};
use crate::digest::Sha256;
use serde_json::Value;
use std::path::PathBuf;

const RECIPE: &str = r#"
    format = 1
    image = { name = "node", version = "0.1.0" }
    packages = { install = ["libc6"] }
    kernel = { package = "linux-image-amd64" }
    keys = { folder = "keys" }
    [archive]
    [component.runc]
    modules = "runc"
    version = { runc = "1.5.2" }
    [component.site]
    packages = ["kubelet"]
"#;

const STATUS: &str = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc (2.41-12)\n\n\
    Package: kubelet\nStatus: install ok installed\nArchitecture: all\n\n";

const COPYRIGHT: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
    Files: *\nLicense: LGPL-2.1+\n\nFiles: x\nLicense: GFDL\n";

fn lock() -> Lock {
    let digest = Sha256::of("x");
    let package = |name: &str, version: &str, path: &str, wanted_by: &str| {
        format!(
            "{{ name = {name:?}, version = {version:?}, archive = \"debian\", suite = \"trixie\", size = 1, \
             path = {path:?}, sha256 = \"{digest}\", wanted-by = [{wanted_by:?}] }}"
        )
    };
    let packages = [
        package("kubelet", "1.37.2-1", "k/kubelet.deb", "component site"),
        package("libc6", "2.41-12+b1", "pool/main/g/glibc/libc6.deb", "the recipe"),
        package("libgcc-s1", "14.2.0-19", "pool/main/g/gcc-14/libgcc-s1.deb", "libc6"),
    ];
    let tools = [
        package("golang-1.26-go", "1.26.11-1~bpo13+1", "pool/main/g/golang-1.26/x.deb", "the builder"),
        package("libseccomp-dev", "2.6.0-2", "pool/main/libs/libseccomp/x.deb", "the builder"),
        package("gcc", "14", "pool/main/g/gcc-defaults/x.deb", "the builder"),
        package("systemd-boot-efi", "257.9-1", "pool/main/s/systemd/x.deb", "the builder"),
    ];
    Lock::parse(&format!(
        r#"
        format = 1
        recipe = "{digest}"
        snapshot = 1795227046
        arch = "amd64"
        suite = []
        user = []
        group = []
        script = []
        package = [{}]
        tool = [{}]
        container-image = [{{ name = "a.example/web:1", manifest = "{digest}", config = "{digest}", layers = [] }}]
        local = {{ "agent/firstboot" = "{digest}", "agent/stage1" = "{digest}" }}
        [component.site]
        [component.runc]
        version = {{ runc = "1.5.2" }}
        modules = ["github.com/opencontainers/runc@v1.5.2", "github.com/Azure/x@v2.0.0+incompatible"]
        go-sum = "github.com/opencontainers/runc v1.5.2 h1:abc=\n"
        source = "{digest}"
        "#,
        packages.join(", "),
        tools.join(", ")
    ))
    .unwrap()
}

fn tree() -> Tree {
    let mut tree = Tree::new();
    let files = [
        ("/usr/lib/os-release", "ID=debian\nVERSION_ID=\"13\"\n", Origin::Emulation("identity".into())),
        ("/usr/lib/bedplate/dpkg/status", STATUS, Origin::Emulation("dpkg-status".into())),
        ("/usr/share/doc/libc6/copyright", COPYRIGHT, Origin::Package("libc6".into(), "2.41".into())),
        ("/usr/share/doc/kubelet/copyright", "All rights reserved.", Origin::Package("kubelet".into(), "1".into())),
        (
            "/usr/share/bedplate/images/index.json",
            r#"{"manifests":[
                {"digest":"sha256:READY","annotations":{"io.containerd.image.name":"a.example/web:1"}},
                {"digest":"sha256:READY","annotations":{"io.containerd.image.name":"a.example/web@sha256:READY"}},
                {"digest":"sha256:MADE","annotations":{"io.containerd.image.name":"localhost/bedplate/pause:1"}}
            ]}"#,
            Origin::Emulation("images".into()),
        ),
        ("/usr/bin/runc", "ELF", Origin::Component("runc".into(), "v1.5.2".into())),
    ];
    for (path, text, origin) in files {
        let digest = |text: &str| Sha256::of(text).to_string();
        let text = text.replace("READY", &digest("x")).replace("MADE", &digest("made"));
        let kind = Kind::File(Content::bytes(text.into_bytes()));
        let entry = Entry { kind, mode: 0o644, uid: 0, gid: 0, xattrs: BTreeMap::new(), origin };
        tree.insert(TreePath::new(path).unwrap(), entry);
    }
    tree
}

fn made(lock: &Lock) -> String {
    let root = RootImage {
        image: PathBuf::new(),
        image_size: 0,
        image_digest: Sha256::of(""),
        hash_tree: PathBuf::new(),
        hash_tree_size: 0,
        root_hash: Sha256::of("root"),
    };
    let recipe: Recipe = toml::from_str(RECIPE).unwrap();
    sbom(&Sources { recipe: &recipe, lock, tree: &tree(), root: &root, kernel: "6.12.1" }).unwrap()
}

#[test]
fn everything_in_the_image_is_named() {
    insta::assert_snapshot!(made(&lock()));
}

/// One whose lock has the agent compiled.
#[test]
fn a_compiled_agent_brings_its_crates() {
    let mut lock = lock();
    lock.local.clear();
    let crates = BTreeMap::from([("rustls-0.23.31".to_owned(), Sha256::of("crate"))]);
    lock.agent = Some(LockedAgent { source: Sha256::of("source"), crates });
    let document: Value = serde_json::from_str(&made(&lock)).unwrap();
    let component = |reference: &str| {
        let all = document["components"].as_array().unwrap();
        all.iter().find(|c| c["bom-ref"] == reference).unwrap_or_else(|| panic!("no {reference}"))
    };
    let of_registry = component("pkg:cargo/rustls@0.23.31");
    assert_eq!(of_registry["hashes"][0]["content"], Sha256::of("crate").to_string());
    for program in ["agent:firstboot", "agent:stage1"] {
        let source = &component(program)["properties"][0];
        assert_eq!(source["value"], Sha256::of("source").to_string());
        let needs = document["dependencies"].as_array().unwrap().iter().find(|d| d["ref"] == program).unwrap();
        assert_eq!(needs["dependsOn"], serde_json::json!(["pkg:cargo/rustls@0.23.31"]));
        let incomplete = document["compositions"][0]["assemblies"].as_array().unwrap();
        assert!(!incomplete.iter().any(|reference| reference == program));
    }
}

#[test]
fn every_reference_leads_to_one_component() {
    let document: Value = serde_json::from_str(&made(&lock())).unwrap();
    let mut known: Vec<&str> =
        document["components"].as_array().unwrap().iter().map(|c| c["bom-ref"].as_str().unwrap()).collect();
    known.push(document["metadata"]["component"]["bom-ref"].as_str().unwrap());
    let unique: BTreeSet<&str> = known.iter().copied().collect();
    assert_eq!(unique.len(), known.len());
    for dependency in document["dependencies"].as_array().unwrap() {
        let on = dependency["dependsOn"].as_array().unwrap().iter().chain([&dependency["ref"]]);
        on.for_each(|reference| assert!(unique.contains(reference.as_str().unwrap()), "{reference}"));
    }
}

#[test]
fn equal_images_have_one_serial_number_and_others_another() {
    let serial = |lock: &Lock| serde_json::from_str::<Value>(&made(lock)).unwrap()["serialNumber"].clone();
    assert_eq!(serial(&lock()), serial(&lock()));
    let mut other = lock();
    other.package[0].version += "1";
    assert_ne!(serial(&lock()), serial(&other));
}
