//! A node whose root has a container image that was taken ready from an archive: a pod runs from it, and containerd knows
//! it by the archive's own digest, also after its garbage was collected and it was killed.
#![allow(clippy::disallowed_methods, reason = "edge: makes a site and builds its release")]

use crate::lifecycle::{KILL, images_of};
use crate::{Check, Tier};
use anyhow::{Context, Result, bail, ensure};
use image_builder::components::{self, ComponentKind, Workshop};
use image_builder::compose::tar_stream;
use image_builder::compose::tree::{Content, Entry, Kind, Origin, Tree, TreePath};
use image_builder::digest::Sha256;
use image_builder::images::take;
use image_builder::lock::Lock;
use image_builder::progress::Progress;
use image_builder::recipe::Recipe;
use image_builder::resolve::local;
use image_builder::store::Store;
use qemu_tests::bench::{Bench, repository};
use qemu_tests::machine::{BOOT, Machine};
use qemu_tests::site;
use qemu_tests::tiers::{agent_folder, target_folder};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

pub const CHECKS: &[(&str, Check)] = &[
    ("a pod runs from an image taken from an archive", |t| runs(evidence(t)?)),
    ("an image taken from an archive keeps its digest, and outlives garbage collection", |t| known(evidence(t)?)),
];

const NAME: &str = "registry.example.org/test/dns:1";

/// What the machine showed.
pub struct Evidence {
    /// What two pods from the image printed; containerd was killed between them.
    pods: [String; 2],
    /// What containerd knows, likewise.
    images: [Vec<String>; 2],
    manifest: String,
}

fn evidence(tier: &Tier) -> Result<&Evidence> {
    tier.ready_image.get(|| gather(tier.bench()?))
}

/// What is asked in a container of the image: all that its two layers say.
const LOOK: &str =
    "/opt/dns -version; stat -c '%n %a %u:%g %h' /bin/dns /etc/more /srv; echo gone /etc/*; echo old /srv/*";

fn gather(bench: &Bench) -> Result<Evidence> {
    let site = tempfile::Builder::new().prefix("bedplate-site-").tempdir()?;
    let at = |name: &str| site.path().join(name);
    let manifest = make_site(bench, &at)?;
    let mut plane = bench.control_plane()?;
    let mut machine = Machine::new(bench, site::NODE)?;
    machine.lab.release = at("out");
    machine.lab.disks =
        site::DISKS.map(|serial| image_builder::qemu::NewDisk { size: 2 << 30, serial: serial.into() }).into();
    let text = site::one_node(&plane.endpoint())?;
    machine.configure(&bench.bundle(&text, site::NODE, &plane.join(site::NODE)?)?)?;
    machine.power_on()?;
    machine.wait_until_ready(&mut plane, BOOT)?;
    let first = machine.probe_image(&mut plane, "first", NAME, LOOK)?;
    let before = images_of(&mut machine, &mut plane, "images", KILL)?;
    let exact = format!("{}@{manifest}", NAME.trim_end_matches(":1"));
    let second = machine.probe_image(&mut plane, "second", &exact, LOOK)?;
    let after = images_of(&mut machine, &mut plane, "again", "")?;
    Ok(Evidence { pods: [first, second], images: [before, after], manifest })
}

/// The example beside copies of what it names, with one image more; its release in `out`. Gives the image's digest.
fn make_site(bench: &Bench, at: &dyn Fn(&str) -> PathBuf) -> Result<String> {
    let example = repository().join("examples/node");
    fs::create_dir_all(at("examples/node"))?;
    for (from, to) in [(repository().join("overlays"), "overlays"), (example.join("keys"), "examples/node/keys")] {
        let copied = Command::new("cp").arg("-a").arg(from).arg(at(to)).status()?;
        ensure!(copied.success(), "{to} can't be copied");
    }
    let store = Store::open(&Store::default_folder())?;
    let mut lock = Lock::read(&example.join("bedplate.lock"))?.context("`make image` makes the lock")?;
    let recipe = Recipe::read(&example.join("recipe.toml"))?;
    let workshop = Workshop { store: &store, tools: &bench.tools, progress: &Progress::silent() };
    let entries = components::build(&recipe, &lock, &workshop)?;
    let program = entries.iter().find_map(|entry| match &entry.what {
        ComponentKind::File(content, _) if entry.install == "/usr/bin/coredns" => Some(content.clone()),
        _ => None,
    });
    let (archive, manifest) = archive(program.context("no component is /usr/bin/coredns")?, lock.arch.go())?;
    fs::write(at("examples/node/dns.tar"), &archive)?;
    let image = format!(
        "\n[[container-image]]\nnames = [{NAME:?}]\npath = \"dns.tar\"\nsha256 = \"{}\"\n",
        Sha256::of(&archive)
    );
    let recipe_file = at("examples/node/recipe.toml");
    fs::write(&recipe_file, fs::read_to_string(example.join("recipe.toml"))? + &image)?;
    // What `bedplate lock` would write, without asking an archive for packages that may have moved on.
    let recipe = Recipe::read(&recipe_file)?;
    lock.recipe = recipe.lock_digest();
    let offline = |url: &str, _: &Sha256| bail!("it asked for {url}");
    lock.container_image = take::lock(&recipe, &at("examples/node"), &store, &offline)?;
    lock.write(&at("examples/node/bedplate.lock"))?;
    let mut command = Command::new(target_folder().join("debug/bedplate"));
    let built = command
        .args(["build", "--offline", "--draft", "--out"])
        .arg(at("out"))
        .arg("--recipe")
        .arg(recipe_file)
        .env(local::AGENT_FOLDER, agent_folder())
        .output()?;
    ensure!(built.status.success(), "it can't be built: {}", String::from_utf8_lossy(&built.stderr));
    Ok(manifest)
}

/// An image of two layers, the upper one changing what the lower has; and the digest of its manifest.
fn archive(program: Content, arch: &str) -> Result<(Vec<u8>, String)> {
    let text = |text: &str| Kind::File(Content::bytes(text.as_bytes()));
    let lower = [
        ("/bin", Kind::Directory, 0o755),
        ("/bin/dns", Kind::File(program), 0o4755),
        ("/etc", Kind::Directory, 0o755),
        ("/etc/hidden", text("hidden"), 0o644),
        ("/opt", Kind::Directory, 0o755),
        ("/opt/dns", Kind::HardLink(path("/bin/dns")?), 0o755),
        ("/srv", Kind::Directory, 0o751),
        ("/srv/old", text("old"), 0o644),
    ];
    let upper = [
        ("/etc/.wh.hidden", text(""), 0o644),
        ("/etc/more", text("more"), 0o600),
        ("/srv/.wh..wh..opq", text(""), 0o644),
        ("/srv/new", text("new"), 0o644),
    ];
    let layers = [tar(&lower, 33)?, tar(&upper, 0)?];
    let mut files: Vec<(String, Kind, u32)> = Vec::new();
    let mut put = |bytes: Vec<u8>, kind: &str| -> Value {
        let (digest, size) = (Sha256::of(&bytes), bytes.len());
        files.push((format!("/blobs/sha256/{digest}"), Kind::File(Content::bytes(bytes)), 0o644));
        json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{digest}"), "size": size })
    };
    let ids = layers.each_ref().map(|layer| format!("sha256:{}", Sha256::of(layer)));
    let layers = layers.map(|layer| put(layer, "layer.v1.tar"));
    let config =
        json!({ "architecture": arch, "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": ids } });
    let config = put(config.to_string().into_bytes(), "config.v1+json");
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let manifest = put(manifest.to_string().into_bytes(), "manifest.v1+json");
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string();
    files.push(("/index.json".into(), text(&index), 0o644));
    files.push(("/oci-layout".into(), text(r#"{"imageLayoutVersion":"1.0.0"}"#), 0o644));
    let files: Vec<(&str, Kind, u32)> =
        files.iter().map(|(at, kind, mode)| (at.as_str(), kind.clone(), *mode)).collect();
    let digest = manifest["digest"].as_str().context("a digest is text")?.to_owned();
    Ok((tar(&files, 0)?, digest))
}

fn path(text: &str) -> Result<TreePath> {
    TreePath::new(text).map_err(anyhow::Error::msg)
}

fn tar(members: &[(&str, Kind, u32)], owner: u32) -> Result<Vec<u8>> {
    let mut tree = Tree::new();
    for (at, kind, mode) in members {
        let (kind, origin) = (kind.clone(), Origin::Emulation("test".into()));
        tree.insert(path(at)?, Entry { kind, mode: *mode, uid: owner, gid: owner, xattrs: BTreeMap::new(), origin });
    }
    let mut out = Vec::new();
    tar_stream::write(&tree, 0, &mut out)?;
    Ok(out)
}

fn runs(seen: &Evidence) -> Result<()> {
    for text in &seen.pods {
        let has = |line: &str| text.lines().any(|l| l.trim() == line);
        ensure!(text.contains("CoreDNS-"), "its program did not run: {text}");
        // The hard link, the set-uid bit and the owner of the lower layer; the folder that the upper layer implies.
        ensure!(has("/bin/dns 4755 33:33 2") && has("/etc/more 600 0:0 1"), "{text}");
        ensure!(text.lines().any(|l| l.starts_with("/srv 751 33:33 ")), "{text}");
        // What the upper layer hides.
        ensure!(!text.contains("hidden") && has("old /srv/new"), "{text}");
    }
    Ok(())
}

fn known(seen: &Evidence) -> Result<()> {
    let [before, after] = &seen.images;
    ensure!(before == after, "containerd knew {before:?}, and knows {after:?}");
    let line = before.iter().find(|line| line.starts_with(NAME)).with_context(|| format!("{NAME}: {before:?}"))?;
    ensure!(line.contains(&seen.manifest) && line.ends_with(" true"), "not {}: {line}", seen.manifest);
    Ok(())
}
