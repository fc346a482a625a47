//! A small release made with the real tools: the same twice, sound for `bedplate verify`, and every change found.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test with folders of its own")]

use crate::tools;
use image_builder::assemble::{self, CommandLine, Parts};
use image_builder::compose::tree::{Content, Entry, Kind, Origin, Tree, TreePath};
use image_builder::digest::Sha256;
use image_builder::lock::Lock;
use image_builder::package::{self, Inputs, Scope, name};
use image_builder::progress::Progress;
use image_builder::recipe::Recipe;
use image_builder::release::{Verified, verify};
use image_builder::seal::{Compression, seal};
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
        let recipe: Recipe = toml::from_str(
            r#"
            format = 1
            image = { name = "test", version = "1" }
            packages = { install = [] }
            kernel = { package = "none", arguments = ["console=ttyS0"] }
            keys = { folder = "keys" }
            output = { esp = "300 MiB", slot = "64 MiB" }
            [archive]
            "#,
        )?;
        let lock = Lock {
            format: 1,
            recipe: Sha256::of("recipe"),
            snapshot: 1_700_000_000,
            arch: recipe.image.arch,
            suite: vec![],
            package: vec![],
            tool: vec![],
            user: vec![],
            group: vec![],
            script: vec![],
            component: Default::default(),
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
        let unsigned = assemble::uki(&Parts {
            stub: &stub,
            // Any EFI program will do: nothing is started here.
            kernel: &stub,
            release: "6.12-test",
            initrd: b"initrd",
            microcode: Some(b"microcode"),
            os_release: b"ID=test\n",
            command_line: &command_line,
        })?;
        let keys = KeyFolder::at(self.path("keys"));
        let uki = image_builder::sign::sign(&unsigned, keys.db()?.as_ref())?;
        let inputs = Inputs {
            recipe: &recipe,
            lock: &lock,
            tree: &tree,
            root: &root,
            kernel: "6.12-test",
            uki: &uki,
            keys: &keys,
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
    assert_eq!(files.len(), 18, "{files:?}");
    for file in &files {
        let name = file.strip_prefix(&one).unwrap();
        assert!(std::fs::read(file).unwrap() == std::fs::read(two.join(name)).unwrap(), "{} differs", name.display());
    }

    // The judges: sbverify for the UKI, sfdisk for the table, mtools for the ESP, sha256sum's format.
    let tool = |name: &str| bench.tools.tool(name).unwrap().command();
    tool("sbverify").arg("--cert").arg(one.join("secure-boot/db.crt")).arg(one.join(name::UKI)).run().unwrap();
    let other = bench.path("keys/KEK.crt");
    tool("sbverify").arg("--cert").arg(other).arg(one.join(name::UKI)).run().unwrap_err();
    let table = tool("sfdisk").arg("--verify").arg(one.join(name::DISK)).run().unwrap();
    assert!(table.stdout_text().contains("No errors detected"), "{}", table.stdout_text());
    let image = format!("{}@@1M", one.join(name::DISK).display());
    let on_esp = tool("mtools").args(["-c", "mtype", "-i", &image, "::/EFI/BOOT/BOOTX64.EFI"]).run().unwrap();
    assert!(on_esp.stdout == std::fs::read(one.join(name::UKI)).unwrap());

    assert_eq!(bench.verify(&one).unwrap().manifest.name, "test");
    let other_keys = bench.path("other");
    keys::new(&other_keys).unwrap();
    let other = std::fs::read_to_string(other_keys.join("release.pub")).unwrap();
    assert!(verify(&one, &other).unwrap_err().to_string().contains("manifest.json: is not signed by"));

    // A bit in every file, at its begin, middle and end.
    for file in &files {
        let name = file.strip_prefix(&one).unwrap().to_str().unwrap();
        let size = std::fs::metadata(file).unwrap().len();
        for at in [0, size / 2, size - 2] {
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
    assert_eq!((same, more), (15, [name::SUMS, name::MANIFEST, name::SIGNATURE].map(str::to_owned).to_vec()));
    // Either takes the other's place.
    bench.release("draft").unwrap();
    bench.verify(&draft).unwrap();
    bench.write("draft", Scope::Draft).unwrap();
    assert_eq!(all_files(&draft).len(), 15);
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
    let (sha256, _) = Sha256::of_reader(std::fs::File::open(&disk).unwrap()).unwrap();
    let mut manifest =
        bench.verify(&out).err().map(|_| std::fs::read_to_string(out.join(name::MANIFEST)).unwrap()).unwrap();
    let mut parsed = package::manifest::Manifest::parse(&manifest).unwrap();
    parsed.files.get_mut(name::DISK).unwrap().sha256 = sha256;
    manifest = parsed.to_text().unwrap();
    let key = KeyFolder::at(bench.path("keys")).release().unwrap();
    std::fs::write(out.join(name::MANIFEST), &manifest).unwrap();
    std::fs::write(out.join(name::SIGNATURE), key.sign_detached(manifest.as_bytes()).unwrap()).unwrap();
    std::fs::write(out.join(name::SUMS), parsed.sums(&Sha256::of(&manifest))).unwrap();
    let said = bench.verify(&out).unwrap_err().to_string();
    assert!(said.starts_with("disk.raw: holds a root with the hash"), "{said}");
}
