#![allow(clippy::disallowed_methods, reason = "edge: lays archives beside a recipe")]

use super::lock as lock_images;
use super::*;
use crate::compose::tree::{Kind, Tree, TreePath};
use crate::images::{FOLDER, lay, list};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tar::EntryType;

/// A member of a layer: path, type, mode, content or target.
type Member<'a> = (&'a str, EntryType, u32, &'a str);

const FILE: EntryType = EntryType::Regular;
const FOLDER_TYPE: EntryType = EntryType::Directory;
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

const BASE: &[Member] = &[
    ("./", FOLDER_TYPE, 0o755, ""),
    ("bin/", FOLDER_TYPE, 0o750, ""),
    ("bin/su", FILE, 0o4755, "set-uid"),
    ("bin/sudo", EntryType::Link, 0o4755, "bin/su"),
    ("etc/", FOLDER_TYPE, 0o755, ""),
    ("etc/gone", FILE, 0o644, "old"),
    ("var/old/x", FILE, 0o644, "old"),
];
const TOP: &[Member] = &[
    ("etc/.wh.gone", FILE, 0o644, ""),
    ("var/old/.wh..wh..opq", FILE, 0o644, ""),
    ("var/old/new", EntryType::Symlink, 0o777, "../../bin/su"),
    ("bin/more", FILE, 0o755, "more"),
];

/// A layer's tar archive. Names are put in as they are, bad ones too.
fn tar(members: &[Member]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (path, kind, mode, text) in members {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_uid(70_000);
        header.set_gid(5);
        header.set_mtime(1);
        let content = if *kind == FILE { text.as_bytes() } else { b"" };
        if !text.is_empty() && *kind != FILE {
            header.set_link_name_literal(text).unwrap();
        }
        header.set_size(content.len() as u64);
        header.set_cksum();
        if *path == "bin/su" {
            out.append_pax_extensions([("SCHILY.xattr.security.capability", CAPABILITY)]).unwrap();
        }
        out.append(&header, content).unwrap();
    }
    out.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, bytes).unwrap();
    gz.finish().unwrap()
}

fn digest(bytes: &[u8]) -> String {
    OciDigest(Sha256::of(bytes)).to_string()
}

type Files = BTreeMap<String, Vec<u8>>;

fn put(files: &mut Files, media_type: &str, bytes: Vec<u8>) -> Value {
    let entry = json!({ "mediaType": media_type, "digest": digest(&bytes), "size": bytes.len() });
    files.insert(format!("blobs/sha256/{}", Sha256::of(&bytes)), bytes);
    entry
}

/// Puts an image with a layer packed by gzip and one by zstd into a layout, and gives its descriptor.
fn image(files: &mut Files, arch: &str, base: &[Member], top: &[Member]) -> Value {
    let (base, top) = (tar(base), tar(top));
    let ids = [digest(&base), digest(&top)];
    let packed = [("gzip", gzip(&base)), ("zstd", zstd::encode_all(&top[..], 1).unwrap())];
    let layers = packed.map(|(how, bytes)| put(files, &format!("application/vnd.oci.image.layer.v1.tar+{how}"), bytes));
    let config = json!({ "architecture": arch, "os": "linux", "rootfs": { "type": "layers", "diff_ids": ids } });
    let config = put(files, "application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers }).to_string().into_bytes();
    let mut entry = put(files, "application/vnd.oci.image.manifest.v1+json", manifest);
    entry["platform"] = json!({ "architecture": arch, "os": "linux" });
    entry
}

fn layout(images: impl Fn(&mut Files) -> Vec<Value>) -> Files {
    let mut files = Files::new();
    let manifests = images(&mut files);
    files.insert("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    files.insert("index.json".into(), json!({ "schemaVersion": 2, "manifests": manifests }).to_string().into_bytes());
    files
}

fn plain() -> Files {
    layout(|files| vec![image(files, "arm64", BASE, BASE), image(files, "amd64", BASE, TOP)])
}

fn archive(files: &Files) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        out.append_data(&mut header, format!("./{path}"), &bytes[..]).unwrap();
    }
    out.into_inner().unwrap()
}

/// A folder with a store, and with a recipe's files beside it.
struct Site {
    folder: tempfile::TempDir,
    store: Store,
    recipe: Recipe,
}

impl Site {
    fn new(source: &str) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let recipe = super::super::tests::RECIPE.split("[[").next().unwrap().to_owned()
            + "[[container-image]]\nnames = [\"registry.example.org:5000/a/web:1\"]\n"
            + source;
        Site { folder, store, recipe: toml::from_str(&recipe).unwrap() }
    }

    /// With this archive.
    fn of_archive(bytes: &[u8], more: &str) -> Site {
        let site = Site::new(&format!("path = \"web.tar\"\nsha256 = \"{}\"\n{more}", Sha256::of(bytes)));
        std::fs::write(site.folder.path().join("web.tar"), bytes).unwrap();
        site
    }

    /// With this layout.
    fn of_folder(files: &Files, digest: &str) -> Site {
        let site = Site::new(&format!("path = \"web\"\ndigest = {digest:?}\n"));
        for (path, bytes) in files {
            let path = site.folder.path().join("web").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        site
    }

    fn lock(&self) -> Result<Lock> {
        let get = |url: &str, _: &Sha256| -> Result<Fetched> { bail!("asked for {url}") };
        let mut lock = crate::release::fixture::lock("", "");
        lock.container_image = lock_images(&self.recipe, self.folder.path(), &self.store, &get)?;
        Ok(lock)
    }

    fn laid(&self) -> Result<Tree> {
        let ready = open(&self.recipe, &self.lock()?, &self.store)?;
        let mut tree = Tree::new();
        lay(&self.recipe, Arch::Amd64, &ready, &mut tree)?;
        Ok(tree)
    }

    fn error(&self) -> String {
        format!("{:#}", self.laid().unwrap_err()).replace(&self.folder.path().display().to_string(), "SITE")
    }
}

fn manifest_of(files: &Files, arch: &str) -> String {
    let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let all = index["manifests"].as_array().unwrap();
    let entry = all.iter().find(|e| e["platform"]["architecture"] == arch).unwrap();
    entry["digest"].as_str().unwrap().to_owned()
}

/// Entries of a layer by path in the container: `file 4755 TEXT`.
fn told(tree: &Tree, folder: &str) -> BTreeMap<String, String> {
    let prefix = format!("{FOLDER}/layers/{folder}");
    let told = tree.iter().filter_map(|(path, entry)| {
        let at = path.as_str().strip_prefix(&prefix)?.to_owned();
        let what = match &entry.kind {
            Kind::File(content) => format!("file {}", String::from_utf8(content.read().unwrap()).unwrap()),
            Kind::Symlink(target) => format!("link {target}"),
            Kind::HardLink(target) => format!("same {}", target.as_str().strip_prefix(&prefix).unwrap()),
            Kind::Directory => "folder".into(),
            other => format!("{other:?}"),
        };
        let xattrs: Vec<&str> = entry.xattrs.keys().map(String::as_str).collect();
        Some((
            at,
            format!("{what} {:o} {}:{} {}", entry.mode, entry.uid, entry.gid, xattrs.join(" ")).trim_end().into(),
        ))
    });
    told.collect()
}

#[test]
fn a_ready_image_keeps_its_digests_and_its_layers_all_that_is_in_them() {
    let files = plain();
    let site = Site::of_archive(&archive(&files), "");
    let tree = site.laid().unwrap();
    let wanted = manifest_of(&files, "amd64");
    let names: Vec<(String, String)> =
        list(&tree).unwrap().into_iter().map(|(name, digest)| (name, OciDigest(digest).to_string())).collect();
    let exact = format!("registry.example.org:5000/a/web@{wanted}");
    assert_eq!(names, [("registry.example.org:5000/a/web:1".into(), wanted.clone()), (exact, wanted.clone())]);
    // Manifest and configuration are there byte by byte; packed layers are not.
    let blobs: Vec<&str> = tree.below(&format!("{FOLDER}/blobs/sha256")).map(|(path, _)| path.name()).collect();
    assert_eq!(blobs.len(), 2);
    for name in blobs {
        let laid = tree.file(&format!("{FOLDER}/blobs/sha256/{name}")).unwrap().1.read().unwrap();
        assert_eq!(laid, files[&format!("blobs/sha256/{name}")]);
    }
    let (base, top) = (digest(&tar(BASE)), digest(&tar(TOP)));
    let base_folder = base.strip_prefix("sha256:").unwrap();
    insta::assert_debug_snapshot!("base", told(&tree, base_folder));
    // By its chain ID, as the folders that it only implies are those of the layer below.
    let chain = Sha256::of(format!("{base} {top}")).to_string();
    insta::assert_debug_snapshot!("top", told(&tree, &chain));
    let su = tree.get(&TreePath::new(&format!("{FOLDER}/layers/{base_folder}/bin/su")).unwrap()).unwrap();
    assert_eq!(su.xattrs["security.capability"], CAPABILITY);
    assert_eq!(su.origin.to_string(), format!("image registry.example.org:5000/a/web:1 {wanted}"));
    let layers = tree.get(&TreePath::new(&format!("{FOLDER}/layers")).unwrap()).unwrap();
    assert_eq!(layers.origin.to_string(), "emulation images");
    assert_eq!(tree.digest(), site.laid().unwrap().digest());
}

#[test]
fn folder_archive_and_docker_archive_give_one_image() {
    let files = plain();
    let wanted = manifest_of(&files, "amd64");
    let of_folder = Site::of_folder(&files, &wanted);
    let of_archive = Site::of_archive(&archive(&files), &format!("digest = {wanted:?}"));
    assert_eq!(of_folder.laid().unwrap().digest(), of_archive.laid().unwrap().digest());
    assert_eq!(of_folder.lock().unwrap(), of_archive.lock().unwrap());

    // A docker-archive has the same layers, and a manifest of its own.
    let layers = [tar(BASE), tar(TOP)];
    let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "diff_ids": layers.each_ref().map(|l| digest(l)) } });
    let mut docker = Files::from([
        ("a/layer.tar".into(), layers[0].clone()),
        ("b/layer.tar".into(), layers[1].clone()),
        ("c.json".into(), config.to_string().into_bytes()),
    ]);
    let text = json!([{ "Config": "c.json", "RepoTags": [], "Layers": ["a/layer.tar", "b/layer.tar"] }]).to_string();
    docker.insert("manifest.json".into(), text.into_bytes());
    let site = Site::of_archive(&archive(&docker), "");
    let (tree, other) = (site.laid().unwrap(), of_folder.laid().unwrap());
    let base = Sha256::of(&layers[0]).to_string();
    assert_eq!(told(&tree, &base), told(&other, &base));
    assert_eq!(told(&tree, &base).len(), 9);
    docker.insert("b/layer.tar".into(), layers[0].clone());
    let error = Site::of_archive(&archive(&docker), "").error();
    assert!(error.contains("b/layer.tar is altered"), "{error}");
}

#[test]
fn an_index_leads_to_the_image_of_the_architecture() {
    let files = layout(|files| {
        let images = [image(files, "arm64", BASE, BASE), image(files, "amd64", BASE, TOP)];
        let index = json!({ "schemaVersion": 2, "manifests": images }).to_string().into_bytes();
        vec![put(files, "application/vnd.oci.image.index.v1+json", index)]
    });
    let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let of_index = index["manifests"][0]["digest"].as_str().unwrap();
    let locked = Site::of_folder(&files, of_index).lock().unwrap();
    assert_eq!(OciDigest(locked.container_image[0].manifest).to_string(), manifest_of(&plain(), "amd64"));
    assert_eq!(locked, Site::of_archive(&archive(&files), "").lock().unwrap());
}

#[test]
fn a_build_needs_the_blobs_alone() {
    let files = plain();
    let site = Site::of_folder(&files, &manifest_of(&files, "amd64"));
    let lock = site.lock().unwrap();
    std::fs::remove_dir_all(site.folder.path().join("web")).unwrap();
    let get = |url: &str, _: &Sha256| -> Result<Fetched> { bail!("asked for {url}") };
    fetch(&site.recipe, site.folder.path(), &lock, &site.store, &get).unwrap();
    open(&site.recipe, &lock, &site.store).unwrap();
    // Another store has to have them brought.
    let store = Store::open(&site.folder.path().join("other")).unwrap();
    let error = format!("{:#}", fetch(&site.recipe, site.folder.path(), &lock, &store, &get).unwrap_err());
    assert!(error.contains("the image registry.example.org:5000/a/web:1 can't be had"), "{error}");
}

#[test]
fn an_archive_behind_an_address_is_fetched_once() {
    const URL: &str = "https://images.example.org/web.tar";
    let bytes = archive(&plain());
    let site = Site::new(&format!("url = {URL:?}\nsha256 = \"{}\"\n", Sha256::of(&bytes)));
    let asked = std::cell::Cell::new(0);
    let get = |url: &str, digest: &Sha256| {
        assert_eq!(url, URL);
        asked.set(asked.get() + 1);
        site.store.put(digest, &bytes[..], url)
    };
    let mut lock = Site::of_archive(&bytes, "").lock().unwrap();
    let of_file = std::mem::take(&mut lock.container_image);
    lock.container_image = lock_images(&site.recipe, site.folder.path(), &site.store, &get).unwrap();
    assert_eq!(lock.container_image, of_file);
    fetch(&site.recipe, site.folder.path(), &lock, &site.store, &get).unwrap();
    assert_eq!(asked.get(), 1);
}

#[test]
fn what_is_wrong_is_named() {
    let good = plain();
    let wanted = manifest_of(&good, "amd64");
    let error = |members: &[Member]| {
        let files = layout(|files| vec![image(files, "amd64", members, TOP)]);
        Site::of_archive(&archive(&files), "").error()
    };
    let ends = |error: &str, end: &str| assert!(error.ends_with(end), "{error}");

    let mut site = Site::of_archive(&archive(&good), "");
    site.recipe.container_image[0].sha256 = Some(Sha256::of("other"));
    assert!(site.error().contains("SITE/web.tar is altered"), "{}", site.error());
    // A manifest, a layer, and a layer unpacked.
    let mut files = good.clone();
    let manifest = wanted.replace("sha256:", "blobs/sha256/");
    files.get_mut(&manifest).unwrap().push(b' ');
    assert!(Site::of_folder(&files, &wanted).error().contains(&format!("{manifest} is altered")));
    let mut files = good.clone();
    let layer = format!("blobs/sha256/{}", Sha256::of(gzip(&tar(BASE))));
    files.get_mut(&layer).unwrap()[20] ^= 1;
    assert!(Site::of_folder(&files, &wanted).error().contains(&format!("{layer} is altered")));
    files.get_mut(&layer).unwrap().push(1);
    assert!(Site::of_folder(&files, &wanted).error().contains("where the manifest says"));
    files.remove(&layer);
    ends(&Site::of_folder(&files, &wanted).error(), &format!("it has no {layer}"));
    let lying = layout(|files| {
        let mut entry = image(files, "amd64", BASE, TOP);
        let at = |entry: &Value| entry["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
        let mut manifest: Value = serde_json::from_slice(&files[&at(&entry)]).unwrap();
        let config = String::from_utf8(files[&at(&manifest["config"])].clone()).unwrap();
        let config = config.replace(&digest(&tar(TOP)), &digest(b"other"));
        manifest["config"] = put(files, "application/vnd.oci.image.config.v1+json", config.into_bytes());
        entry["digest"] = put(files, "", manifest.to_string().into_bytes())["digest"].clone();
        vec![entry]
    });
    ends(&Site::of_archive(&archive(&lying), "").error(), &format!("configuration says {}", digest(b"other")));

    let foreign = layout(|files| vec![image(files, "arm64", BASE, TOP)]);
    ends(&Site::of_archive(&archive(&foreign), "").error(), "it has no image for linux/amd64; it has linux/arm64");
    let said = Site::of_folder(&foreign, &manifest_of(&foreign, "arm64")).error();
    ends(&said, "it is an image for linux/arm64, and the recipe's architecture needs one for linux/amd64");
    let two = layout(|files| vec![image(files, "amd64", BASE, TOP), image(files, "amd64", BASE, BASE)]);
    let said = Site::of_archive(&archive(&two), "").error();
    assert!(said.contains("it has 2 images for linux/amd64; say which with digest: sha256:"), "{said}");
    let said = Site::of_archive(b"no archive", "").error();
    ends(
        &said,
        "it is neither a folder nor a plain tar archive; unpack what is compressed as a whole: failed to read entire block",
    );

    ends(&error(&[("../etc/passwd", FILE, 0o644, "x")]), r#""../etc/passwd" in it leads out of it"#);
    ends(&error(&[("a", EntryType::Link, 0o644, "../../etc/shadow")]), r#""../../etc/shadow" in it leads out of it"#);
    ends(
        &error(&[("a", EntryType::Symlink, 0o777, "/etc"), ("a/passwd", FILE, 0o644, "x")]),
        "/a/passwd in it lies below /a, which is no folder there",
    );
}
