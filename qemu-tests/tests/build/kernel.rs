//! The kernel: a package's modules as they were signed, and the fragments of one that is compiled, with its real source.
//! Nothing is compiled here; `make kernel` does that.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test writes a recipe")]

use image_builder::compose::deb::{Deb, MemberKind};
use image_builder::digest::Sha256;
use image_builder::fetch;
use image_builder::kernel::{self, compile::SourceKernel, compile::Workplace};
use image_builder::lock::Lock;
use image_builder::package::name;
use image_builder::progress::Progress;
use image_builder::recipe::Recipe;
use image_builder::resolve;
use image_builder::store::Store;
use qemu_tests::bench::{release_of_example, repository};
use qemu_tests::tiers::agent_folder;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Read;
use std::path::PathBuf;

/// What Linux writes behind a module's signature (kernel: include/linux/module_signature.h).
const SIGNED: &[u8] = b"~Module signature appended~\n";

/// Every module of the root has the bytes that the package's file unpacks to, signature and all: a kernel that is locked
/// down takes no others.
pub fn modules_as_signed() {
    let file = crate::recipe();
    let (recipe, lock) = (Recipe::read(&file).unwrap(), Lock::read(&Lock::path_for(&file)).unwrap().unwrap());
    let store = Store::open(&Store::default_folder()).unwrap();
    let images: Vec<_> = lock.package.iter().filter(|p| p.name.starts_with("linux-image-6")).cloned().collect();
    let fetched =
        fetch::tree(&images, &recipe, file.parent().unwrap(), &store, &Progress::silent(), true).expect("make image");
    let mut packaged = BTreeMap::new();
    for package in &images {
        let deb = Deb::open(&store, &fetched[&package.name], &package.name).unwrap();
        for member in deb.members() {
            if let (Some(path), MemberKind::File(offset, size, digest)) =
                (member.path.strip_suffix(".xz"), &member.kind)
            {
                let path = path.strip_prefix("/usr").unwrap_or(path);
                packaged.insert(format!("/usr{path}"), deb.content(*offset, *size, *digest));
            }
        }
    }
    let files = std::fs::read_to_string(release_of_example().join(name::FILES)).expect("make image");
    let files = image_builder::package::files::read(&files).unwrap();
    let modules: Vec<_> = files.iter().filter(|(path, _)| path.ends_with(".ko")).collect();
    assert!(modules.len() > 1000, "the root has {} modules", modules.len());
    for (path, listed) in modules {
        let content = packaged.get(path).unwrap_or_else(|| panic!("no package of a kernel has {path}"));
        let mut bytes = Vec::new();
        liblzma::read::XzDecoder::new(content.reader().unwrap()).read_to_end(&mut bytes).unwrap();
        assert_eq!(listed.sha256, Some(Sha256::of(&bytes)), "{path}");
        assert!(bytes.ends_with(SIGNED), "{path} carries no signature");
    }
}

/// The shipped fragments all take effect on the locked source, what comes of them is all that a node needs, and a fragment
/// that asks for what can't be is refused by name.
pub fn fragments_take_effect() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("recipe.toml");
    let store = Store::open(&Store::default_folder()).unwrap();
    let options = resolve::Options { agent: agent_folder(), ..resolve::Options::of_host().unwrap() };
    std::fs::write(&recipe, with_fragments(&[])).unwrap();
    let lock = resolve::lock(&recipe, &store, &Progress::silent(), &options).unwrap();
    let at = |recipe, progress| Workplace { recipe, folder: folder.path(), store: &store, progress, offline: false };

    let (read, progress) = (Recipe::read(&recipe).unwrap(), Progress::silent());
    let source = SourceKernel::of(&read, folder.path(), &lock).unwrap().unwrap();
    let (release, config) = source.config(&at(&read, &progress)).unwrap();
    assert!(release.starts_with("6.12.") && release.ends_with("-bedplate"), "{release}");
    kernel::check(&release, &config).unwrap();
    let on = config.lines().filter(|line| line.ends_with("=y")).count();
    assert!((1000..2500).contains(&on), "{on} options are built in");
    assert!(!config.contains("=m\n"), "there are modules");
    let without = config.replace("CONFIG_DM_VERITY=y", "# CONFIG_DM_VERITY is not set");
    let error = kernel::check(&release, &without).unwrap_err().to_string();
    assert!(error.contains("DM_VERITY (the root file system is read through dm-verity)"), "{error}");

    let wrong = folder.path().join("site.config");
    std::fs::write(
        &wrong,
        "# Of this site.\nCONFIG_NO_SUCH_OPTION=y\nCONFIG_NUMA_BALANCING=y\n# CONFIG_NUMA is not set\n",
    )
    .unwrap();
    std::fs::write(&recipe, with_fragments(&[wrong])).unwrap();
    let read = Recipe::read(&recipe).unwrap();
    let source = SourceKernel::of(&read, folder.path(), &lock).unwrap().unwrap();
    let error = format!("{:#}", source.config(&at(&read, &progress)).unwrap_err());
    for part in [
        "site.config:2 wants NO_SUCH_OPTION=y, which is n, and this kernel has no such option",
        "site.config:3 wants NUMA_BALANCING=y, which is n, and it depends on ",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("base.config"), "{error}");
}

/// The example's recipe with the kernel that `make kernel` compiles, and further fragments.
fn with_fragments(more: &[PathBuf]) -> String {
    let shipped = std::fs::read_dir(repository().join("kernel-config")).unwrap().map(|entry| entry.unwrap().path());
    let mut shipped: Vec<_> = shipped.filter(|path| path.extension().is_some_and(|e| e == "config")).collect();
    shipped.sort();
    let mut kernel = String::from("source = \"linux-source-6.12\"\nconfig = [");
    for path in shipped.iter().chain(more) {
        write!(kernel, "{:?}, ", path.display().to_string()).unwrap();
    }
    let text = std::fs::read_to_string(crate::recipe()).unwrap();
    let text = text.replace("package = \"linux-image-amd64\"", &format!("{kernel}]"));
    let text = text.replace("[agent]\nsource = \"../..\"\n", "");
    text.replace("../../overlays", &repository().join("overlays").display().to_string())
}
