//! Components compiled by a real tools tree, without a network.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test writes what it then looks for")]

use crate::tools;
use image_builder::arch::Arch;
use image_builder::components::catalog::GoComponent;
use image_builder::components::go_build::GoBuild;
use image_builder::components::go_tool::{self, Go};
use image_builder::components::{ComponentKind, Workshop, go_lock};
use image_builder::compose::tree::Content;
use image_builder::digest::Sha256;
use image_builder::lock::{Lock, LockedComponent};
use image_builder::progress::Progress;
use image_builder::store::Store;
use image_builder::tools::{Tools, namespace};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use std::collections::BTreeMap;
use std::path::Path;

const BAKED_TEST: &str = include_str!("../../../image-builder/src/components/go/containerd/baked/baked_test.go");

/// Locks and builds the pause program in a new store; gives the lock and the program.
fn pause(store: &Path, tools: &Tools) -> anyhow::Result<(LockedComponent, Vec<u8>)> {
    let store = Store::open(store)?;
    let workshop = Workshop { store: &store, tools, progress: &Progress::silent() };
    let component = GoComponent::named("pause").expect("pause is in the catalogue");
    let locked = go_lock::lock("pause", component, &BTreeMap::new(), Arch::Amd64, &workshop)?;
    let lock = Lock {
        format: 1,
        recipe: Sha256::of(""),
        snapshot: 0,
        arch: Arch::Amd64,
        suite: Vec::new(),
        package: Vec::new(),
        tool: Vec::new(),
        compile: BTreeMap::new(),
        user: Vec::new(),
        group: Vec::new(),
        script: Vec::new(),
        component: BTreeMap::from([("pause".to_owned(), locked.clone())]),
        agent: None,
        container_image: Vec::new(),
        local: BTreeMap::new(),
    };
    let build = GoBuild::new("pause", component, &lock, tools)?;
    build.fetch(&workshop, true)?;
    let entries = build.build(&workshop)?;
    let ComponentKind::File(content @ Content::Slice { .. }, 0o755) = &entries[0].what else {
        anyhow::bail!("{entries:?} is no program");
    };
    let bytes = content.read()?;
    assert_eq!(Sha256::of(&bytes), content.digest());
    Ok((locked, bytes))
}

pub fn same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (first_lock, first) = pause(&folder.path().join("store"), &tools()).unwrap();
    let other = folder.path().join("a much longer way to another store");
    // In a thread whose umask is its own: another test runs beside this one.
    let strict = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_FS).unwrap();
        umask(Mode::from_bits_truncate(0o077));
        pause(&other, &tools())
    });
    let (second_lock, second) = strict.join().unwrap().unwrap();
    assert_eq!(first_lock, second_lock);
    assert!(first == second, "{} and {} bytes differ", first.len(), second.len());
    assert!(first.starts_with(b"\x7fELF"));
}

/// What the daemon's plugin for images of the root does, by its Go tests: with containerd's own stores, in a folder.
pub fn images_of_the_root() {
    let lock = Lock::read(&Lock::path_for(&crate::recipe())).unwrap().expect("`make image` makes the lock");
    let locked = &lock.component["containerd"];
    let component = GoComponent::named("containerd").expect("containerd is in the catalogue");
    let scratch = tempfile::tempdir().unwrap();
    let files = component.sources.iter().map(|(name, text)| (*name, (*text).to_owned())).chain([
        ("go.mod", locked.go_mod.clone().unwrap()),
        ("go.sum", locked.go_sum.clone().unwrap()),
        ("baked/baked_test.go", BAKED_TEST.to_owned()),
    ]);
    for (name, text) in files {
        let path = scratch.path().join(go_tool::MODULE).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let store = Store::open(&Store::default_folder()).unwrap();
    let go = Go::find(&tools(), &store).unwrap().compiling(scratch.path(), lock.arch);
    // As the daemon is compiled, so that its packages are there.
    let settings = ["test", "-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", &component.tags.join(",")];
    let said = go.args(settings).arg("./baked").run().unwrap().stdout_text();
    assert!(said.starts_with("ok "), "{said}");
}

pub fn static_c() {
    let work = tempfile::tempdir().unwrap();
    let site = tempfile::tempdir().unwrap();
    // Links what runc needs, so that a tree without the static library is noticed before runc is compiled.
    let source = "#include <seccomp.h>\n#include <stdio.h>\nint main(void) { puts(seccomp_init(SCMP_ACT_ALLOW) ? \"linked\" : \"none\"); }\n";
    std::fs::write(work.path().join("x.c"), source).unwrap();
    let tools = tools();
    let room = namespace::Namespace::new(&tools, site.path()).write(work.path(), "/work").folder("/work");
    let gcc = room.tool("/usr/bin/gcc").unwrap();
    gcc.command().args(["-static-pie", "-fPIE", "-o", "x", "x.c", "-lseccomp"]).run().unwrap();
    // It needs no loader, so it runs outside as well.
    let said = run_tool::Tool::at(work.path().join("x")).command().run().unwrap().stdout_text();
    assert_eq!(said, "linked\n");
}
