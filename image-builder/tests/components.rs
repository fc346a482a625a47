//! Components compiled by a real tools tree, without a network.
//!
//! The tree is the folder that `BEDPLATE_TEST_TOOLS` names; without it these are shown as ignored.
//! Without the usual harness, as compiling C starts this program again (see `namespace.rs`).
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test writes what it then looks for")]

use image_builder::arch::Arch;
use image_builder::components::catalog::GoComponent;
use image_builder::components::go_build::GoBuild;
use image_builder::components::{ComponentKind, Workshop, go_lock};
use image_builder::compose::tree::Content;
use image_builder::digest::Sha256;
use image_builder::lock::{Lock, LockedComponent};
use image_builder::progress::Progress;
use image_builder::store::Store;
use image_builder::tools::{Tools, namespace};
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn main() {
    namespace::enter_if_asked();
    let tree = std::env::var_os("BEDPLATE_TEST_TOOLS").map(PathBuf::from);
    let without = tree.is_none();
    let tools = Tools::unpacked(tree.unwrap_or_default(), Sha256::of("test"));
    let other = tools.clone();
    let trials = vec![
        Trial::test("a_component_is_the_same_bytes_from_another_store", move || same_bytes(&tools))
            .with_ignored_flag(without),
        Trial::test("the_tools_tree_compiles_and_links_c_statically", move || static_c(&other))
            .with_ignored_flag(without),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// Locks and builds the pause program in a new store; gives the lock and the program.
fn pause(store: &Path, tools: &Tools) -> Result<(LockedComponent, Vec<u8>), Failed> {
    let store = Store::open(store)?;
    let workshop = Workshop { store: &store, tools, progress: &Progress::silent() };
    let component = GoComponent::named("pause").ok_or("no such component")?;
    let locked = go_lock::lock("pause", component, &BTreeMap::new(), Arch::Amd64, &workshop)?;
    let lock = Lock {
        format: 1,
        recipe: Sha256::of(""),
        snapshot: 0,
        arch: Arch::Amd64,
        suite: Vec::new(),
        package: Vec::new(),
        tool: Vec::new(),
        user: Vec::new(),
        group: Vec::new(),
        script: Vec::new(),
        component: BTreeMap::from([("pause".to_owned(), locked.clone())]),
        local: BTreeMap::new(),
    };
    let build = GoBuild::new("pause", component, &lock, tools)?;
    build.fetch(&workshop, true)?;
    let entries = build.build(&workshop)?;
    let ComponentKind::File(content @ Content::Slice { .. }, 0o755) = &entries[0].what else {
        return Err(format!("{entries:?} is no program").into());
    };
    let bytes = content.read()?;
    assert_eq!(Sha256::of(&bytes), content.digest());
    Ok((locked, bytes))
}

fn same_bytes(tools: &Tools) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let (first_lock, first) = pause(&folder.path().join("store"), tools)?;
    let umask = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let second = pause(&folder.path().join("a much longer way to another store"), tools);
    nix::sys::stat::umask(umask);
    let (second_lock, second) = second?;
    assert_eq!(first_lock, second_lock);
    assert!(first == second, "{} and {} bytes differ", first.len(), second.len());
    assert!(first.starts_with(b"\x7fELF"));
    Ok(())
}

fn static_c(tools: &Tools) -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let site = tempfile::tempdir()?;
    // Links what runc needs, so that a tree without the static library is noticed before runc is compiled.
    let source = "#include <seccomp.h>\n#include <stdio.h>\nint main(void) { puts(seccomp_init(SCMP_ACT_ALLOW) ? \"linked\" : \"none\"); }\n";
    std::fs::write(work.path().join("x.c"), source)?;
    let room = namespace::Namespace::new(tools, site.path()).write(work.path(), "/work").folder("/work");
    room.tool("/usr/bin/gcc")?.command().args(["-static-pie", "-fPIE", "-o", "x", "x.c", "-lseccomp"]).run()?;
    // It needs no loader, so it runs outside as well.
    let said = run_tool::Tool::at(work.path().join("x")).command().run()?.stdout_text();
    assert_eq!(said, "linked\n");
    Ok(())
}
