//! A small release made with the real tools: the same twice, sound for `bedplate verify`, and every change found.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test with folders of its own")]

use crate::tools;
use image_builder::assemble::{self, CommandLine, Parts, addon, pcr};
use image_builder::compose::tree::{Content, Entry, Kind, Origin, Tree, TreePath};
use image_builder::digest::Sha256;
use image_builder::lock::Lock;
use image_builder::package::{self, Inputs, Scope, name};
use image_builder::progress::Progress;
use image_builder::recipe::{Artifact, Recipe};
use image_builder::release::{Verified, verify};
use image_builder::seal::{Compression, seal};
use image_builder::sign::enrolment::Enrolment;
use image_builder::sign::keys::{self, KeyFolder};
use image_builder::store::Store;
use image_builder::tools::Tools;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

struct Bench {
    folder: tempfile::TempDir,
    tools: Tools,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { folder: tempfile::tempdir().unwrap(), tools: tools() };
        keys::new(&bench.path("keys")).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a release in `out` with a store of its own, as another machine would.
    fn release(&self, out: &str) -> anyhow::Result<PathBuf> {
        self.write(out, Scope::Release)
    }

    fn write(&self, out: &str, scope: Scope) -> anyhow::Result<PathBuf> {
        self.write_with(out, scope, &Artifact::ALL)
    }

    fn write_with(&self, out: &str, scope: Scope, artifacts: &[Artifact]) -> anyhow::Result<PathBuf> {
        let mut recipe: Recipe = toml::from_str(
            r#"
            format = 1
            image = { name = "test", version = "1" }
            packages = { install = [] }
            kernel = { package = "none", arguments = ["console=ttyS0"] }
            keys = { folder = "keys" }
            output = { esp = "300 MiB", slot = "64 MiB" }
            [archive]
            [[addon]]
            name = "r740"
            match = { vendor = "Dell Inc.", product = "PowerEdge R740*" }
            arguments = ["console=ttyS1", "iommu=pt"]
            "#,
        )?;
        recipe.output.artifacts = artifacts.to_vec();
        let lock = Lock {
            format: 1,
            recipe: Sha256::of("recipe"),
            snapshot: 1_700_000_000,
            arch: recipe.image.arch,
            suite: vec![],
            package: vec![],
            tool: vec![],
            compile: Default::default(),
            user: vec![],
            group: vec![],
            script: vec![],
            component: Default::default(),
            agent: None,
            container_image: Vec::new(),
            local: Default::default(),
        };
        let mut tree = Tree::new();
        let mut put = |path: &str, kind| {
            let origin = Origin::Emulation("test".into());
            let entry = Entry { kind, mode: 0o755, uid: 0, gid: 0, xattrs: Default::default(), origin };
            tree.insert(TreePath::new(path).unwrap(), entry);
        };
        put("/usr", Kind::Directory);
        let noise: Vec<u8> = (0..4000).flat_map(|i| *Sha256::of(format!("{i}")).bytes()).collect();
        put("/usr/noise", Kind::File(Content::bytes(noise)));
        let store = Store::open(&self.path(&format!("store-of-{out}")))?;
        let progress = Progress::silent();
        let compression = Compression::from_recipe(&recipe.output)?;
        let root = seal(&tree, compression, lock.snapshot, &store, &progress)?;
        let command_line = CommandLine::new(&root.root_hash, &recipe.kernel.arguments)?;
        let stub = std::fs::read(self.tools.root().join(assemble::uki::STUB))?;
        let keys = KeyFolder::at(self.path("keys"));
        let parts = Parts {
            stub: &stub,
            // Any EFI program will do: nothing is started here.
            kernel: &stub,
            release: "6.12-test",
            initrd: b"initrd",
            microcode: Some(b"microcode"),
            os_release: b"ID=test\n",
            command_line: &command_line,
            pcr_public_key: Some(&pcr::public_key(keys.pcr()?.unwrap().certificate())?),
        };
        let uki = image_builder::sign::sign(&assemble::uki(&parts)?, keys.db()?.as_ref(), keys.pcr()?.as_deref())?;
        let full = match artifacts.iter().any(|a| a.is_full()) {
            true => Some(assemble::full(&parts, &root, lock.snapshot, &store, &progress)?),
            false => None,
        };
        let full = full.map(|full| image_builder::sign::sign_full(full, keys.db()?.as_ref())).transpose()?;
        let stub = std::fs::read(self.tools.root().join(addon::STUB))?;
        let addons = addon::addons(&recipe.addon, &stub, "6.12-test", &command_line)?;
        let addons = [image_builder::sign::sign_addon(&addons[0], keys.db()?.as_ref())?];
        let inputs = Inputs {
            recipe: &recipe,
            lock: &lock,
            tree: &tree,
            root: &root,
            kernel: "6.12-test",
            uki: &uki,
            full: full.as_ref(),
            keys: &keys,
            enrolment: &Enrolment::read(&keys, &[])?,
            addons: &addons,
        };
        let out = self.path(out);
        package::write(&inputs, scope, &out, &self.tools, &store, &progress)?;
        Ok(out)
    }

    fn verify(&self, folder: &Path) -> anyhow::Result<Verified> {
        verify(folder, &std::fs::read_to_string(self.path("keys/release.pub")).unwrap())
    }
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(all_files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

pub fn equal_and_every_change_is_found() {
    let bench = Bench::new();
    let one = bench.release("one").unwrap();
    // FAT times have a grain of two seconds.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let two = bench.release("two").unwrap();
    let files = all_files(&one);
    assert_eq!(files.len(), 31, "{files:?}");
    for file in &files {
        let name = file.strip_prefix(&one).unwrap();
        assert!(std::fs::read(file).unwrap() == std::fs::read(two.join(name)).unwrap(), "{} differs", name.display());
    }

    // The judges: sbverify for the UKI, sfdisk for the table, mtools for the ESP, sha256sum's format.
    let tool = |name: &str| bench.tools.tool(name).unwrap().command();
    tool("sbverify").arg("--cert").arg(one.join("secure-boot/db.crt")).arg(one.join(name::UKI)).run().unwrap();
    let addon = "addons/r740.addon.efi";
    tool("sbverify").arg("--cert").arg(one.join("secure-boot/db.crt")).arg(one.join(addon)).run().unwrap();
    let other = bench.path("keys/KEK.crt");
    tool("sbverify").arg("--cert").arg(other).arg(one.join(name::UKI)).run().unwrap_err();
    let table = tool("sfdisk").arg("--verify").arg(one.join(name::DISK)).run().unwrap();
    assert!(table.stdout_text().contains("No errors detected"), "{}", table.stdout_text());
    let image = format!("{}@@1M", one.join(name::DISK).display());
    let on_esp = tool("mtools").args(["-c", "mtype", "-i", &image, "::/EFI/BOOT/BOOTX64.EFI"]).run().unwrap();
    assert!(on_esp.stdout == std::fs::read(one.join(name::UKI)).unwrap());
    let stored = "::/EFI/BOOT/BOOTX64.EFI.addons/r740.addon.efi";
    let on_esp = tool("mtools").args(["-c", "mtype", "-i", &image, stored]).run().unwrap();
    assert!(on_esp.stdout == std::fs::read(one.join(addon)).unwrap());

    judge_the_full_uki(&bench, &one);

    assert_eq!(bench.verify(&one).unwrap().manifest.name, "test");
    let other_keys = bench.path("other");
    keys::new(&other_keys).unwrap();
    let other = std::fs::read_to_string(other_keys.join("release.pub")).unwrap();
    assert!(verify(&one, &other).unwrap_err().to_string().contains("manifest.json: is not signed by"));

    // A bit in every file, at its begin, middle and end.
    for file in &files {
        let name = file.strip_prefix(&one).unwrap().to_str().unwrap();
        let size = std::fs::metadata(file).unwrap().len();
        // Each look at a large file takes its time.
        for at in if size > 100 << 20 { vec![size / 2] } else { vec![0, size / 2, size - 2] } {
            flip(file, at);
            let said = bench.verify(&one).map(|v| v.key).unwrap_err().to_string();
            let named = if name == name::SIGNATURE { name::MANIFEST } else { name };
            assert!(said.contains(named), "{name} at {at}: {said}");
            flip(file, at);
        }
    }
    bench.verify(&one).unwrap();

    for name in [name::DISK, name::UKI, "secure-boot/PK.auth", name::SUMS] {
        std::fs::rename(one.join(name), bench.path("aside")).unwrap();
        assert!(bench.verify(&one).unwrap_err().to_string().contains(name));
        std::fs::rename(bench.path("aside"), one.join(name)).unwrap();
    }
    std::fs::write(one.join("secure-boot/extra"), "x").unwrap();
    let said = bench.verify(&one).unwrap_err().to_string();
    assert_eq!(said, "secure-boot/extra: is not part of the signed release");
}

/// sbverify for the signature, qemu-img for the disk, mtools and fsck.vfat for the disc's partition.
fn judge_the_full_uki(bench: &Bench, release: &Path) {
    let tool = |name: &str| bench.tools.tool(name).unwrap().command();
    let (node, iso) = (release.join(name::NODE), release.join(name::ISO));
    tool("sbverify").arg("--cert").arg(release.join("secure-boot/db.crt")).arg(&node).run().unwrap();
    tool("qemu-img").args(["check", "-f", "qcow2"]).arg(release.join(name::QCOW2)).run().unwrap();
    let compare = tool("qemu-img").args(["compare", "-f", "raw", "-F", "qcow2"]);
    compare.arg(release.join(name::DISK)).arg(release.join(name::QCOW2)).run().unwrap();
    let table = tool("sfdisk").arg("--verify").arg(&iso).run().unwrap();
    assert!(table.stdout_text().contains("No errors detected"), "{}", table.stdout_text());

    let partition = bench.path("partition");
    let bytes = std::fs::read(&iso).unwrap();
    std::fs::write(&partition, &bytes[1 << 20..bytes.len() - (1 << 20)]).unwrap();
    tool("fsck.vfat").arg("-n").arg(&partition).run().unwrap();
    let read = |path: &str| tool("mtools").args(["-c", "mtype", "-i"]).arg(&partition).arg(path).run().unwrap().stdout;
    assert!(read("::/EFI/BOOT/BOOTX64.EFI") == std::fs::read(&node).unwrap());
    assert!(String::from_utf8(read("::/README.TXT")).unwrap().starts_with("test 1: "));
    std::fs::remove_file(partition).unwrap();
}

pub fn artifacts_as_asked_for() {
    let bench = Bench::new();
    let names = |out: &Path| -> Vec<String> {
        let inside = |path: PathBuf| path.strip_prefix(out).unwrap().to_str().unwrap().to_owned();
        let all = all_files(out).into_iter().map(inside);
        all.filter(|n| n.starts_with("netboot") || [name::QCOW2, name::NODE, name::ISO].contains(&n.as_str())).collect()
    };
    let none = bench.write_with("none", Scope::Release, &[]).unwrap();
    assert_eq!(names(&none), Vec::<String>::new());
    assert_eq!(bench.verify(&none).unwrap().manifest.unsigned_full_uki, None);
    let disc = bench.write_with("disc", Scope::Release, &[Artifact::Iso]).unwrap();
    assert_eq!(names(&disc), [name::ISO]);
    bench.verify(&disc).unwrap();
    let served = bench.write_with("served", Scope::Release, &[Artifact::Netboot]).unwrap();
    assert_eq!(names(&served).len(), 7);
    bench.verify(&served).unwrap();
}

/// A draft has the bytes of a release, all but what people trust one by.
pub fn a_draft_is_no_release() {
    let bench = Bench::new();
    let draft = bench.write("draft", Scope::Draft).unwrap();
    let said = bench.verify(&draft).unwrap_err().to_string();
    assert!(said.starts_with("manifest.json: is missing; is this a draft?"), "{said}");
    let release = bench.release("release").unwrap();
    let (mut same, mut more) = (0, Vec::new());
    for file in all_files(&release) {
        let name = file.strip_prefix(&release).unwrap();
        match std::fs::read(draft.join(name)) {
            Ok(bytes) => {
                assert!(bytes == std::fs::read(&file).unwrap(), "{} differs", name.display());
                same += 1;
            }
            Err(_) => more.push(name.to_str().unwrap().to_owned()),
        }
    }
    more.sort();
    // Nor what takes a copy of the root.
    more.retain(|name| !name.starts_with("netboot/") && ![name::QCOW2, name::NODE, name::ISO].contains(&name.as_str()));
    assert_eq!((same, more), (18, [name::SUMS, name::MANIFEST, name::SIGNATURE].map(str::to_owned).to_vec()));
    // Either takes the other's place.
    bench.release("draft").unwrap();
    bench.verify(&draft).unwrap();
    bench.write("draft", Scope::Draft).unwrap();
    assert_eq!(all_files(&draft).len(), 18);
}

pub fn replaced_or_kept() {
    let bench = Bench::new();
    let out = bench.release("out").unwrap();
    bench.release("out").unwrap();
    bench.verify(&out).unwrap();
    assert!(all_files(bench.folder.path()).iter().all(|f| !f.to_string_lossy().contains(".bedplate-release-")));
    std::fs::write(out.join("mine.txt"), "x").unwrap();
    let said = bench.release("out").unwrap_err().to_string();
    assert!(said.contains("mine.txt") && said.contains("--out"), "{said}");
    assert_eq!(std::fs::read(out.join("mine.txt")).unwrap(), b"x");
}

/// A root that does not have the hash on the signed command line, in a release that is otherwise well signed.
pub fn another_root() {
    let bench = Bench::new();
    let out = bench.release("out").unwrap();
    let disk = out.join(name::DISK);
    // Slot A begins behind the ESP; this is within the root's data.
    flip(&disk, (301 << 20) + 5000);
    sign_again(&bench, &out, &[name::DISK]);
    let said = bench.verify(&out).unwrap_err().to_string();
    assert!(said.starts_with("disk.raw: holds a root with the hash"), "{said}");
}

/// The same for the root in the full UKI, and for the disc.
pub fn another_full_uki() {
    let bench = Bench::new();
    let out = bench.release("out").unwrap();
    let size = std::fs::metadata(out.join(name::NODE)).unwrap().len();
    // In the root's noise, which is most of the file; netboot/node.efi is another name of it.
    flip(&out.join(name::NODE), size / 3);
    sign_again(&bench, &out, &[name::NODE, "netboot/node.efi"]);
    let said = bench.verify(&out).unwrap_err().to_string();
    assert!(said.contains("node.efi: was changed after it was signed"), "{said}");
    assert!(said.contains("node.iso: has another EFI/BOOT/BOOTX64.EFI than node.efi"), "{said}");
}

/// Signs a release again with the sums that these files have now.
fn sign_again(bench: &Bench, out: &Path, files: &[&str]) {
    let manifest = std::fs::read_to_string(out.join(name::MANIFEST)).unwrap();
    let mut parsed = package::manifest::Manifest::parse(&manifest).unwrap();
    for file in files {
        let (sha256, _) = Sha256::of_reader(std::fs::File::open(out.join(file)).unwrap()).unwrap();
        parsed.files.get_mut(*file).unwrap().sha256 = sha256;
    }
    let manifest = parsed.to_text().unwrap();
    let key = KeyFolder::at(bench.path("keys")).release().unwrap();
    std::fs::write(out.join(name::MANIFEST), &manifest).unwrap();
    std::fs::write(out.join(name::SIGNATURE), key.sign_detached(manifest.as_bytes()).unwrap()).unwrap();
    std::fs::write(out.join(name::SUMS), parsed.sums(&Sha256::of(&manifest))).unwrap();
}
