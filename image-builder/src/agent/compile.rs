//! Compiling the agent, as a stage.
#![allow(clippy::disallowed_methods, reason = "edge: lays sources out to be compiled")]

use super::sources::PACKAGE;
use super::{Sources, Workshop, crates};
use crate::arch::Arch;
use crate::digest::Sha256;
use crate::lock::Package;
use crate::progress::Unit;
use crate::resolve::local;
use crate::stage::StageKey;
use crate::tools::namespace::Namespace;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Raise it when the same key would give other bytes.
const REVISION: u32 = 1;
/// The profile of the workspace that the programs are compiled in.
const PROFILE: &str = "node";

const SOURCE: &str = "/build/source";
const CRATES: &str = "/build/crates";
const TARGET: &str = "/build/target";
const HOME: &str = "/build/home";

/// What the programs depend on.
pub(super) fn key(sources: &Sources, crates: &BTreeMap<String, Sha256>, tree: &[Package], arch: Arch) -> StageKey {
    let crates = crates.iter().map(|(name, digest)| format!("{name} {digest}\n"));
    StageKey::new("agent", REVISION)
        .with("arch", arch.debian())
        .with("source", sources.digest())
        .with("crates", Sha256::of(crates.collect::<String>()))
        .with("compiler", tree_digest(tree))
}

/// Digest over the packages of the tree that compiles.
pub(super) fn tree_digest(tree: &[Package]) -> Sha256 {
    Sha256::of(tree.iter().map(|p| format!("{} {}\n", p.name, p.sha256)).collect::<String>())
}

/// Compiles them into the folder `into`: static, small, and without a path of the host in them.
///
/// # Errors
/// When they do not compile, or the host allows no namespaces.
pub(super) fn compile(
    sources: &Sources,
    crates: &BTreeMap<String, Sha256>,
    workshop: &Workshop,
    into: &Path,
) -> Result<()> {
    let Workshop { store, progress, recipe, .. } = *workshop;
    let task = progress.task("compiling the agent", crates.len() as u64, Unit::Count("crates"));
    let scratch = store.scratch("agent")?;
    let folder = |name: &str| -> Result<_> {
        let path = scratch.path().join(name);
        std::fs::create_dir(&path).with_context(|| format!("can't make {}", path.display()))?;
        Ok(path)
    };
    let (site, source, vendor, target, home) =
        (folder("site")?, folder("source")?, folder("crates")?, folder("target")?, folder("home")?);
    sources.write(&source)?;
    crates::lay(crates, store, &vendor)?;
    let triple = recipe.image.arch.rust();
    // Debian's `cc` is a link that maintainer scripts make.
    let settings = format!(
        "[source.crates-io]\nreplace-with = \"locked\"\n[source.locked]\ndirectory = \"{CRATES}\"\n\
         [target.{triple}]\nlinker = \"gcc\"\n"
    );
    std::fs::write(home.join("config.toml"), settings).context("can't write Cargo's settings")?;
    let flags = ["-C", "target-feature=+crt-static", "--remap-path-prefix=/build=/bedplate"].join(" ");
    let variable = format!("CARGO_TARGET_{}_RUSTFLAGS", triple.replace('-', "_").to_uppercase());
    let room = Namespace::new(&workshop.tools()?, &site)
        // Cargo writes its lock, without what no feature asks for.
        .write(&source, SOURCE)
        .read(&vendor, CRATES)
        .write(&target, TARGET)
        .write(&home, HOME)
        .folder(SOURCE);
    room.tool("/usr/bin/cargo")?
        .command()
        .env("CARGO_HOME", HOME)
        .env("CARGO_TARGET_DIR", TARGET)
        .env("CARGO_INCREMENTAL", "0")
        .env("CC", "gcc")
        .env(variable, flags)
        .args(["build", "--offline", "-p", PACKAGE, "--bins", "--profile", PROFILE, "--target", triple])
        .run_watched(|line| {
            if line.trim_start().starts_with("Compiling ") {
                task.add(1);
            }
        })?;
    for name in local::AGENT {
        let (made, to) = (target.join(triple).join(PROFILE).join(name), into.join(name));
        std::fs::copy(&made, &to)
            .and_then(|_| std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("can't take {}", made.display()))?;
    }
    Ok(())
}
