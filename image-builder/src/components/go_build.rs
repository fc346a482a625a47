//! Fetching a locked component's modules, and compiling it.
//!
//! The same lock and tools give the same bytes on any machine, in any folder, for any user, with empty caches
//! and full ones. Fetching is the only step that asks the network; compiling runs with the proxy off and with
//! `go.mod` and `go.sum` as they were locked (`-mod=readonly`).
#![allow(clippy::disallowed_methods, reason = "edge: lays modules out for Go and lists what it made")]

use super::catalog::{GoComponent, Linking};
use super::go_lock::{linked, write_module};
use super::go_sum;
use super::go_tool::{Go, MODULE, fixed};
use super::{ComponentEntry, ComponentKind, Workshop};
use crate::arch::Arch;
use crate::compose::tree::{Content, Origin};
use crate::digest::Sha256;
use crate::lock::{Lock, LockedComponent};
use crate::progress::Unit;
use crate::resolve::go_modules::go_version;
use crate::stage::StageKey;
use crate::store::Output;
use crate::tools::Tools;
use crate::tools::namespace::Namespace;
use anyhow::{Context, Result, anyhow, bail};
use run_tool::Command;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Raise it when the same key would give other bytes.
const REVISION: u32 = 2;

/// A locked component made of Go modules, ready to be fetched and compiled.
#[derive(Debug)]
pub struct GoBuild<'a> {
    name: &'a str,
    component: &'static GoComponent,
    arch: Arch,
    go_mod: &'a str,
    go_sum: &'a str,
    modules: &'a [String],
    versions: BTreeMap<String, String>,
    released: Option<&'a str>,
    compiler: Sha256,
}

impl<'a> GoBuild<'a> {
    /// The component that is called `name` in the recipe and in `lock`.
    ///
    /// # Errors
    /// When the lock is of another version of the builder or was changed by hand.
    pub fn new(name: &'a str, component: &'static GoComponent, lock: &'a Lock, tools: &Tools) -> Result<GoBuild<'a>> {
        let again =
            || anyhow!("the lock does not fit component {name} of this version of the builder; run `bedplate lock`");
        let locked: &LockedComponent = lock.component.get(name).ok_or_else(again)?;
        let (Some(go_mod), Some(go_sum), Some(source)) = (&locked.go_mod, &locked.go_sum, locked.source) else {
            return Err(again());
        };
        if source != component.source_digest() {
            return Err(again());
        }
        let versions = locked.version.iter().filter_map(|(k, v)| Some((k.clone(), go_version(v)?))).collect();
        Ok(GoBuild {
            name,
            component,
            arch: lock.arch,
            go_mod,
            go_sum,
            modules: &locked.modules,
            versions,
            released: locked.released.as_deref(),
            compiler: compiler(component, lock, tools),
        })
    }

    fn key(&self) -> StageKey {
        StageKey::new("component", REVISION)
            .with("component", self.component.name)
            .with("arch", self.arch.go())
            .with("go.mod", self.go_mod)
            .with("go.sum", self.go_sum)
            .with("source", self.component.source_digest())
            .with("tags", self.component.tags.join(","))
            .with("linker", self.linker_flags())
            .with("compiler", self.compiler)
    }

    fn linker_flags(&self) -> String {
        self.component.linker_flags(&self.versions, self.released)
    }

    /// Brings the modules to the store, unless the programs are there already. With `offline`, checks that they
    /// are there.
    ///
    /// # Errors
    /// When one can't be had, or is not what `go.sum` says.
    pub fn fetch(&self, workshop: &Workshop, offline: bool) -> Result<()> {
        if self.modules.is_empty() || workshop.store.known_output(&self.key()).is_some() {
            return Ok(());
        }
        self.download(workshop, offline)
    }

    /// Brings all that Go reads to compile it to the store, whether or not the programs are there already. With
    /// `offline`, checks that it is there.
    ///
    /// # Errors
    /// As [`GoBuild::fetch`].
    pub fn complete(&self, workshop: &Workshop, offline: bool) -> Result<()> {
        if self.modules.is_empty() {
            return Ok(());
        }
        self.download(workshop, offline)?;
        let Workshop { store, tools, .. } = *workshop;
        let scratch = store.scratch("go-list")?;
        let module = scratch.path().join(MODULE);
        std::fs::create_dir(&module).with_context(|| format!("can't make {}", module.display()))?;
        write_module(self.component, self.go_mod, self.go_sum, &module)?;
        // Listing loads the graph of modules, as compiling does.
        let found = linked(self.component, &Go::find(tools, store)?, self.arch, scratch.path(), offline)
            .with_context(|| format!("can't list the modules of component {}", self.name))?;
        if found != self.modules {
            bail!(
                "the lock does not name the modules that component {} is compiled from; run `bedplate lock`",
                self.name
            );
        }
        Ok(())
    }

    fn download(&self, workshop: &Workshop, offline: bool) -> Result<()> {
        let Workshop { store, tools, progress } = *workshop;
        let go = Go::find(tools, store)?;
        let total = self.modules.len() as u64;
        let task = progress.task(format!("fetching the modules of {}", self.name), total, Unit::Count("modules"));
        let scratch = store.scratch("go-fetch")?;
        let module = scratch.path().join(MODULE);
        std::fs::create_dir(&module).with_context(|| format!("can't make {}", module.display()))?;
        write_module(self.component, self.go_mod, self.go_sum, &module)?;
        let mut said = Vec::new();
        let done =
            go.resolving(scratch.path(), offline).args(["mod", "download", "-x"]).args(self.modules).run_watched(
                |line| match line.strip_prefix("# get ") {
                    Some(address) if address.contains(".zip: 200") => task.add(1),
                    Some(_) => {}
                    None => said.push(line.trim().to_owned()),
                },
            );
        // The command line has hundreds of modules in it, and Go gives one reason for each.
        done.map(drop).map_err(|_| {
            let mend = if offline { "build once without --offline" } else { "check GOPROXY and the network" };
            anyhow!("can't fetch the modules of component {}: {}; {mend}", self.name, reason(&said))
        })
    }

    /// The component's files, compiled unless the store has them.
    ///
    /// # Errors
    /// When it does not compile, or a module is not in the store.
    pub fn build(&self, workshop: &Workshop) -> Result<Vec<ComponentEntry>> {
        let output = workshop
            .store
            .output(&self.key(), |folder| self.compile(workshop, folder))
            .with_context(|| format!("can't build component {}", self.name))?;
        self.entries(&output)
    }

    fn compile(&self, workshop: &Workshop, into: &Path) -> Result<()> {
        let Workshop { store, tools, progress } = *workshop;
        let go = Go::find(tools, store)?;
        let scratch = store.scratch("go-build")?;
        let work = scratch.path();
        let module = work.join(MODULE);
        for folder in [&module, go.cache(), go.modules()] {
            std::fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        }
        write_module(self.component, self.go_mod, self.go_sum, &module)?;
        let cgo = self.component.linking == Linking::C;
        let tags = self.component.tags.join(",");

        let many = self.modules.len() as u64;
        let task = progress.task(format!("verifying the modules of {}", self.name), many, Unit::Count("modules"));
        go_sum::verify(self.modules, self.go_sum, go.modules(), || task.add(1))?;
        drop(task);

        let listed = go
            .compiling(work, self.arch)
            .env("CGO_ENABLED", if cgo { "1" } else { "0" })
            .args(["list", "-deps", "-tags", &tags])
            .args(self.component.packages())
            .run()?;
        let total = listed.stdout_text().lines().count() as u64;
        let task = progress.task(format!("compiling {}", self.name), total, Unit::Count("packages"));

        let site = work.join("site");
        let (mut made, mut compiled) = (BTreeMap::new(), 0);
        for program in self.component.programs {
            let name = file_name(program.install);
            let (command, to) = match self.component.linking {
                Linking::Go => (go.compiling(work, self.arch), into.join(name)),
                Linking::C => (self.inside(&go, tools, &site, &module, into)?, Path::new(INTO).join(name)),
            };
            command
                .args(["build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false"])
                .args(if cgo { ["-buildmode=pie"].as_slice() } else { &[] })
                .args(["-tags", &tags, "-ldflags", &self.linker_flags(), "-o"])
                .arg(to)
                .arg(program.package)
                .run_watched(|line| {
                    // `-v` prints each package as it is compiled; notes and errors have spaces in them.
                    if !line.contains(' ') {
                        compiled += 1;
                        task.add(1);
                    }
                })?;
            made.insert(name, Sha256::of_reader(File::open(into.join(name))?)?);
        }
        // The rest was in Go's cache.
        task.add(total.saturating_sub(compiled));
        // Kept, so that a build that has all this in the store needs not read it.
        serde_json::to_writer(File::create(into.join(MADE))?, &made)?;
        Ok(())
    }

    /// Go run with the tools tree as its root, where it finds the C compiler and libraries.
    fn inside(&self, go: &Go, tools: &Tools, site: &Path, module: &Path, into: &Path) -> Result<Command> {
        std::fs::create_dir_all(site).with_context(|| format!("can't make {}", site.display()))?;
        let room = Namespace::new(tools, site)
            .read(go.modules(), MODULES)
            .write(go.cache(), CACHE)
            .read(module, WORK)
            .write(into, INTO)
            .folder(WORK);
        let command = room.tool(&format!("{}/bin/go", go.inside()))?.command();
        let command = fixed(self.arch, true).into_iter().fold(command, |c, (k, v)| c.env(k, v));
        Ok(command
            .env("GOROOT", go.inside())
            .env("GOMODCACHE", MODULES)
            .env("GOCACHE", CACHE)
            .env("GOPATH", "/tmp/gopath")
            .env("CC", "gcc")
            .env("PKG_CONFIG", "pkg-config"))
    }

    fn entries(&self, output: &Output) -> Result<Vec<ComponentEntry>> {
        let origin = Origin::Component(self.name.into(), self.version());
        let text = std::fs::read(output.file(MADE)).context("the store lost what was built")?;
        let made: BTreeMap<String, (Sha256, u64)> = serde_json::from_slice(&text).context("the store is damaged")?;
        let mut entries = Vec::new();
        for program in self.component.programs {
            let name = file_name(program.install);
            let (digest, size) = *made.get(name).with_context(|| format!("the store lost {name}"))?;
            let content = Content::Slice { file: Arc::new(output.file(name)), offset: 0, size, digest };
            entries.push(ComponentEntry {
                install: program.install.into(),
                what: ComponentKind::File(content, 0o755),
                origin: origin.clone(),
            });
            let folder = program.install.rsplit_once('/').map_or("", |(folder, _)| folder);
            for link in program.links {
                entries.push(ComponentEntry {
                    install: format!("{folder}/{link}"),
                    what: ComponentKind::Link(file_name(program.install).into()),
                    origin: origin.clone(),
                });
            }
        }
        Ok(entries)
    }

    /// The versions in one line: `kubernetes v1.37.2, etcd v3.7.3`, or the builder's own for what only it makes.
    fn version(&self) -> String {
        let names = crate::resolve::go_modules::names(self.component.go_mod);
        let versions: Vec<&String> = names.iter().filter_map(|name| self.versions.get(*name)).collect();
        match (versions.as_slice(), names.len()) {
            ([], _) => env!("CARGO_PKG_VERSION").into(),
            ([one], 1) => (*one).clone(),
            _ => names.iter().zip(versions).map(|(n, v)| format!("{n} {v}")).collect::<Vec<_>>().join(", "),
        }
    }
}

/// The list of what an output holds, by file name.
const MADE: &str = ".made.json";

/// What matters of the lines Go printed: a digest that is wrong, else the first.
fn reason(lines: &[String]) -> String {
    let wrong = lines.iter().position(|line| line.contains("checksum mismatch"));
    let (from, count) = wrong.map_or((0, 1), |at| (at, 3));
    lines.iter().skip(from).take(count).map(String::as_str).collect::<Vec<_>>().join(" ")
}

const MODULES: &str = "/build/modules";
const CACHE: &str = "/build/cache";
const WORK: &str = "/build/work";
const INTO: &str = "/build/into";

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Digest of what compiles it: Go alone, or, with C in it, the whole tools tree. A new mkfs must not cost a new
/// compilation of Kubernetes.
fn compiler(component: &GoComponent, lock: &Lock, tools: &Tools) -> Sha256 {
    match component.linking {
        Linking::C => tools.digest(),
        Linking::Go => {
            let go = lock.tool.iter().filter(|p| p.name.starts_with("golang-"));
            Sha256::of(go.map(|p| format!("{} {}\n", p.name, p.sha256)).collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_digest_is_the_reason_before_all_others() {
        let lines = |text: &str| text.lines().map(String::from).collect::<Vec<_>>();
        assert_eq!(reason(&lines("go: a@v1: no route\ngo: b@v1: no route")), "go: a@v1: no route");
        let mismatch =
            "go: a@v1: no route\nverifying b@v1: checksum mismatch\ndownloaded: h1:x\ngo.sum: h1:y\n\nSECURITY ERROR";
        assert_eq!(reason(&lines(mismatch)), "verifying b@v1: checksum mismatch downloaded: h1:x go.sum: h1:y");
        assert_eq!(reason(&[]), "");
    }
}
