//! The crates that the agent is compiled from: into the store, and out of it to be compiled.
//!
//! Cargo itself fetches, so that the host's choice of registry counts (`config.toml` of its `CARGO_HOME`, the variables
//! below); every file is held against the digest that `Cargo.lock` has of it.
#![allow(clippy::disallowed_methods, reason = "edge: lays crates out for Cargo and takes what it fetched")]

use super::sources::CARGO_LOCK;
use super::{Sources, Workshop, compile, workspace};
use crate::digest::Sha256;
use crate::progress::Unit;
use crate::stage::StageKey;
use crate::store::{Scratch, Store};
use anyhow::{Context, Result, anyhow, bail};
use run_tool::Command;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Variables of the host that say where crates come from.
const PASSED: [&str; 12] = [
    "CARGO_HTTP_CAINFO",
    "CARGO_HTTP_PROXY",
    "CARGO_NET_OFFLINE",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Raise it when the same manifests would give other crates.
const REVISION: u32 = 1;
/// The list of crates in the output of [`resolve`].
const LIST: &str = "crates.json";

/// The crates that these sources need, `NAME-VERSION` -> digest: of those that `Cargo.lock` names the ones that some
/// feature asks for, as Cargo finds out.
///
/// # Errors
/// When they can't be had, or Cargo wants others.
pub(super) fn resolve(sources: &Sources, workshop: &Workshop) -> Result<BTreeMap<String, Sha256>> {
    let key = StageKey::new("agent-crates", REVISION)
        .with("manifests", sources.manifests())
        .with("cargo", compile::tree_digest(workshop.tree));
    let output = workshop.store.output(&key, |into| {
        let fetched = Run::new(sources, workshop)?;
        let text = std::fs::read_to_string(fetched.source().join(CARGO_LOCK)).context("Cargo left no Cargo.lock")?;
        let crates = workspace::crates(&text)?;
        if let Some((other, _)) = crates.iter().find(|(name, digest)| sources.named().get(*name) != Some(*digest)) {
            bail!("Cargo wants the crate {other}, which Cargo.lock does not name; run `cargo update --workspace`");
        }
        fetched.keep(crates.iter(), workshop.store)?;
        Ok(serde_json::to_writer(File::create(into.join(LIST))?, &crates)?)
    })?;
    let file = File::open(output.file(LIST)).context("can't read the store")?;
    serde_json::from_reader(file).context("the store's list of the agent's crates is broken")
}

/// Brings these crates to the store.
///
/// # Errors
/// When one can't be had, or has another digest.
pub(super) fn fetch(crates: &BTreeMap<String, Sha256>, sources: &Sources, workshop: &Workshop) -> Result<()> {
    let missing = || crates.iter().filter(|(_, digest)| workshop.store.blob(digest).is_none());
    if missing().next().is_none() {
        return Ok(());
    }
    if workshop.offline {
        let names: Vec<String> = missing().map(|(name, _)| name.clone()).collect();
        bail!(
            "{} crates are not in the store and --offline forbids to fetch them: {}; run once without it",
            names.len(),
            crate::lock::shorten(&names)
        );
    }
    Run::new(sources, workshop)?.keep(missing(), workshop.store)
}

/// One run of `cargo fetch`, and what it left.
struct Run {
    scratch: Scratch,
}

impl Run {
    fn new(sources: &Sources, workshop: &Workshop) -> Result<Run> {
        let Workshop { store, progress, offline, .. } = *workshop;
        if offline {
            bail!("which crates it needs is not known, and --offline forbids to ask; run once without it");
        }
        let many = sources.named().len() as u64;
        let task = progress.task("fetching the crates of the agent", many, Unit::Count("crates"));
        let run = Run { scratch: store.scratch("crates")? };
        sources.write(&run.source())?;
        std::fs::create_dir(run.home()).with_context(|| format!("can't make {}", run.home().display()))?;
        take_settings(&run.home())?;
        let tools = workshop.tools()?;
        let rustc = run.rustc(&tools.tool("rustc")?.command())?;
        let cargo = tools.tool("cargo")?.command().ends_with_starter();
        let mut cargo = cargo.current_dir(run.source()).env("CARGO_HOME", run.home()).env("RUSTC", rustc);
        for (name, value) in PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))) {
            cargo = cargo.env(name, value);
        }
        cargo.args(["fetch"]).run_watched(|line| {
            if line.trim_start().starts_with("Downloaded ") {
                task.add(1);
            }
        })?;
        Ok(run)
    }

    /// The compiler of the tree as one file to start: Cargo asks it for its name before it fetches anything.
    fn rustc(&self, command: &Command) -> Result<PathBuf> {
        let path = self.scratch.path().join("rustc");
        let mut script = String::from("#!/bin/sh\nexec");
        for word in std::iter::once(command.program().as_os_str()).chain(command.arguments().iter().map(|a| &**a)) {
            let word = word.to_str().filter(|word| !word.contains('\''));
            // sh(1): within single quotes every byte but the quote stands for itself.
            script += &format!(" '{}'", word.context("the store's path has a quote or is not UTF-8; choose another")?);
        }
        script += " \"$@\"\n";
        std::fs::write(&path, script)
            .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("can't write {}", path.display()))?;
        Ok(path)
    }

    fn source(&self) -> PathBuf {
        self.scratch.path().join("source")
    }

    fn home(&self) -> PathBuf {
        self.scratch.path().join("home")
    }

    fn keep<'a>(&self, crates: impl Iterator<Item = (&'a String, &'a Sha256)>, store: &Store) -> Result<()> {
        let found = files(&self.home().join("registry/cache"))?;
        for (name, digest) in crates {
            let path = found.get(&format!("{name}.crate")).with_context(|| format!("Cargo fetched no {name}"))?;
            let file = File::open(path).with_context(|| format!("can't read {}", path.display()))?;
            store.put(digest, file, &format!("crate {name}"))?;
        }
        Ok(())
    }
}

/// The host's settings of Cargo, which may name another registry and how to be let in there.
fn take_settings(home: &Path) -> Result<()> {
    let own = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let own = own.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let Some(own) = own else { return Ok(()) };
    for name in ["config.toml", "config", "credentials.toml", "credentials"] {
        let from = own.join(name);
        if from.is_file() {
            std::fs::copy(&from, home.join(name)).with_context(|| format!("can't copy {}", from.display()))?;
        }
    }
    Ok(())
}

/// Files in the folders of `folder`, by name.
fn files(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let cant = || format!("can't read {}", folder.display());
    let mut found = BTreeMap::new();
    for registry in std::fs::read_dir(folder).with_context(cant)? {
        for file in std::fs::read_dir(registry.with_context(cant)?.path()).with_context(cant)? {
            let file = file.with_context(cant)?;
            found.insert(file.file_name().to_string_lossy().into_owned(), file.path());
        }
    }
    Ok(found)
}

/// Unpacks the crates below `folder` as a directory source (the Cargo Book, "Source Replacement").
///
/// # Errors
/// When one is not in the store, or is no crate.
pub(super) fn lay(crates: &BTreeMap<String, Sha256>, store: &Store, folder: &Path) -> Result<()> {
    for (name, digest) in crates {
        let broken = || format!("can't unpack crate {name}");
        let file = store.blob(digest).ok_or_else(|| anyhow!("the store has lost it")).with_context(broken)?;
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file.open()?));
        // Not the times within, which are the packager's, nor the moment, which is another each time.
        archive.set_preserve_mtime(false);
        for entry in archive.entries().with_context(broken)? {
            let mut entry = entry.with_context(broken)?;
            if !entry.path().with_context(broken)?.starts_with(name) {
                bail!("crate {name} has a file outside of its folder");
            }
            entry.unpack_in(folder).with_context(broken)?;
        }
        let sums = format!("{{\"files\":{{}},\"package\":\"{digest}\"}}");
        std::fs::write(folder.join(name).join(".cargo-checksum.json"), sums).with_context(broken)?;
    }
    age(folder).context("can't set the times of the crates")
}

/// Gives all files one old time: whether something is made anew must not hang on when it was unpacked.
fn age(folder: &Path) -> std::io::Result<()> {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => age(&entry.path())?,
            kind if kind.is_file() => File::options().append(true).open(entry.path())?.set_modified(then)?,
            _ => {}
        }
    }
    Ok(())
}
