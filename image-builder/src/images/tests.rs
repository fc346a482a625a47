use super::*;
use serde_json::Value;

pub(super) const RECIPE: &str = r#"
format = 1
image = { name = "test", version = "1" }
packages = { install = [] }
kernel = { package = "none" }
keys = { folder = "keys" }
archive = {}

[component.runtime]
modules = "containerd"
version = { containerd = "2.4.2" }

[[container-image]]
names = ["registry.example.org/dns:1", "registry.example.org/dns:1.2"]
files = { "/coredns" = "/usr/bin/coredns", "/etc/ssl/ca.crt" = "/etc/ssl/certs/ca.crt" }
entrypoint = ["/coredns"]
arguments = ["-conf", "/etc/Corefile"]
environment = { TZ = "UTC" }
user = "65532"
"#;

fn tree() -> Tree {
    let mut tree = Tree::new();
    for (path, kind) in [
        (PAUSE, Kind::File(Content::bytes(*b"pause"))),
        ("/usr/bin/coredns", Kind::File(Content::bytes(*b"dns"))),
        ("/etc/ssl/certs/ca.crt", Kind::Symlink("../all.crt".into())),
        ("/etc/ssl/all.crt", Kind::File(Content::bytes(*b"certificate"))),
    ] {
        tree.insert(TreePath::new(path).unwrap(), plain(kind, 0o755, Origin::Component("c".into(), "1".into())));
    }
    tree
}

fn laid(recipe: &str) -> Tree {
    let mut tree = tree();
    lay(&toml::from_str(recipe).unwrap(), Arch::Amd64, &[], &mut tree).unwrap();
    tree
}

fn read(tree: &Tree, path: &str) -> Vec<u8> {
    tree.file(&format!("{FOLDER}/{path}")).unwrap_or_else(|| panic!("{path} is not there")).1.read().unwrap()
}

fn json(tree: &Tree, path: &str) -> Value {
    serde_json::from_slice(&read(tree, path)).unwrap()
}

/// Follows the descriptors from the index to the files of each layer, checking each digest on the way.
#[test]
fn every_name_leads_to_its_files() {
    let tree = laid(RECIPE);
    let blob = |descriptor: &Value| -> Value {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let bytes = read(&tree, &format!("blobs/sha256/{digest}"));
        assert_eq!(
            (Sha256::of(&bytes).to_string().as_str(), bytes.len() as u64),
            (digest, descriptor["size"].as_u64().unwrap())
        );
        serde_json::from_slice(&bytes).unwrap()
    };
    let mut found = BTreeMap::new();
    for entry in json(&tree, "index.json")["manifests"].as_array().unwrap() {
        let manifest = blob(entry);
        let config = blob(&manifest["config"]);
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 1);
        let folder = blob(&layers[0])["folder"].as_str().unwrap().to_owned();
        assert_eq!(config["rootfs"]["diff_ids"][0], folder.replace("layers/", "sha256:"));
        found.insert(entry["annotations"]["io.containerd.image.name"].as_str().unwrap().to_owned(), (folder, config));
    }
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, [PAUSE_IMAGE, "registry.example.org/dns:1", "registry.example.org/dns:1.2"]);
    assert_eq!(read(&tree, &format!("{}/pause", found[PAUSE_IMAGE].0)), b"pause");
    assert_eq!(found[PAUSE_IMAGE].1["config"]["User"], "65535:65535");
    let (folder, config) = &found["registry.example.org/dns:1"];
    assert_eq!(folder, &found["registry.example.org/dns:1.2"].0);
    assert_eq!(read(&tree, &format!("{folder}/coredns")), b"dns");
    // A link of the root is followed: what it leads to need not be in the image.
    assert_eq!(read(&tree, &format!("{folder}/etc/ssl/ca.crt")), b"certificate");
    insta::assert_snapshot!(config["config"].to_string(), @r#"{"Cmd":["-conf","/etc/Corefile"],"Entrypoint":["/coredns"],"Env":["TZ=UTC"],"User":"65532"}"#);
    let path = |path: &str| TreePath::new(&format!("{FOLDER}/{folder}{path}")).unwrap();
    for at in ["", "/etc", "/etc/ssl"] {
        assert_eq!(tree.get(&path(at)).unwrap().kind, Kind::Directory, "{at}");
    }
}

#[test]
fn a_layer_is_named_by_all_that_is_in_it() {
    let layer = |change: fn(&mut Entry)| {
        let mut entry = plain(Kind::File(Content::bytes(*b"x")), 0o755, Origin::Overlay("o".into()));
        change(&mut entry);
        Layer { entries: BTreeMap::from([(TreePath::new("/x").unwrap(), entry)]) }.id()
    };
    let same = layer(|_| {});
    // Not by where it came from.
    assert_eq!(layer(|e| e.origin = Origin::Overlay("p".into())), same);
    let changes: [fn(&mut Entry); 6] = [
        |e| e.mode = 0o700,
        |e| e.uid = 1,
        |e| e.gid = 1,
        |e| drop(e.xattrs.insert("user.x".into(), vec![1])),
        |e| e.kind = Kind::File(Content::bytes(*b"y")),
        |e| e.kind = Kind::CharDevice(0, 0),
    ];
    for change in changes {
        assert_ne!(layer(change), same);
    }
}

#[test]
fn the_same_tree_gives_the_same_images_and_none_where_there_are_none() {
    assert_eq!(laid(RECIPE).digest(), laid(RECIPE).digest());
    let recipe = RECIPE.split("[[").next().unwrap();
    let mut tree = Tree::new();
    lay(&toml::from_str(recipe).unwrap(), Arch::Amd64, &[], &mut tree).unwrap();
    assert!(tree.is_empty());
}

#[test]
fn another_containerd_gets_no_images() {
    let bare = RECIPE.replace("modules = \"containerd\"", "packages = [\"containerd\"]");
    let error = lay(&toml::from_str(&bare).unwrap(), Arch::Amd64, &[], &mut tree()).unwrap_err().to_string();
    assert!(error.contains("the containerd that ships with the builder"), "{error}");
    let mut tree = tree();
    lay(&toml::from_str(bare.split("[[").next().unwrap()).unwrap(), Arch::Amd64, &[], &mut tree).unwrap();
    assert!(tree.file(&format!("{FOLDER}/index.json")).is_none());
}

#[test]
fn a_file_that_the_root_lacks_is_named() {
    let mut tree = Tree::new();
    let error = lay(&toml::from_str(RECIPE).unwrap(), Arch::Amd64, &[], &mut tree).unwrap_err().to_string();
    assert_eq!(
        error,
        "the image registry.example.org/dns:1 is to have /usr/bin/coredns, and the root has no such file"
    );
}
