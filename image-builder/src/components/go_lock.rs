//! Locking a component made of Go modules: versions in, `go.mod` and `go.sum` out.
//!
//! Go itself resolves (`go mod tidy`), so that what is locked is what Go's own rules select, checked against
//! the checksum database. The result depends on the versions alone, and is kept in the store.
#![allow(clippy::disallowed_methods, reason = "edge: lays modules out for Go and keeps what it resolved")]

use super::Workshop;
use super::catalog::{GoComponent, Linking};
use super::go_tool::{Go, MODULE, fixed};
use crate::arch::Arch;
use crate::lock::LockedComponent;
use crate::progress::Unit;
use crate::resolve::go_modules::{self, GoMod, Module};
use crate::stage::StageKey;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Raise it when the same versions would be locked differently.
const REVISION: u32 = 1;

/// What [`lock`] found out, as it lies in the store.
#[derive(Debug, Serialize, Deserialize)]
struct Resolved {
    go_mod: String,
    go_sum: String,
    modules: Vec<String>,
    released: Option<String>,
}

/// Locks a component of the recipe, called `name` there, at these versions.
///
/// # Errors
/// When a version does not exist, can't be fetched, or does not go together with the others or with the Go of
/// the tools tree.
pub fn lock(
    name: &str,
    component: &GoComponent,
    versions: &BTreeMap<String, String>,
    arch: Arch,
    workshop: &Workshop,
) -> Result<LockedComponent> {
    let go = Go::find(workshop.tools, workshop.store)?;
    let filled = go_modules::fill(name, component.go_mod, versions)?;
    let source = component.source_digest();
    let key = StageKey::new("go-lock", REVISION)
        .with("go.mod", &filled)
        .with("source", source)
        .with("go", go.version())
        .with("arch", arch.go());
    let output = workshop
        .store
        .output(&key, |folder| {
            let resolved = resolve(name, component, &filled, &go, arch, workshop)?;
            let file = std::fs::File::create(folder.join("resolved.json"))?;
            Ok(serde_json::to_writer(file, &resolved)?)
        })
        .with_context(|| format!("can't lock component {name}"))?;
    let text = std::fs::read_to_string(output.file("resolved.json")).context("can't read the store")?;
    let resolved: Resolved = serde_json::from_str(&text).context("the store's copy of a locked component is broken")?;
    Ok(LockedComponent {
        version: versions.clone(),
        go_mod: Some(resolved.go_mod),
        go_sum: Some(resolved.go_sum),
        modules: resolved.modules,
        released: resolved.released,
        source: Some(source),
        files: BTreeMap::new(),
    })
}

fn resolve(
    name: &str,
    component: &GoComponent,
    filled: &str,
    go: &Go,
    arch: Arch,
    workshop: &Workshop,
) -> Result<Resolved> {
    let task = workshop.progress.task(format!("locking {name}"), 0, Unit::Count("modules"));
    let scratch = workshop.store.scratch("go-lock")?;
    let work = scratch.path();
    let module = work.join(MODULE);
    std::fs::create_dir(&module).with_context(|| format!("can't make {}", module.display()))?;

    let (mut go_mod, mut released) = (filled.to_owned(), None);
    match go_modules::primary(filled) {
        Some(primary) => {
            let info = download(go, work, &primary)?;
            let upstream: GoMod =
                go.resolving(work, false).args(["mod", "edit", "-json"]).arg(&info.go_mod).run_json()?;
            go_mod = go_modules::lift(filled, &primary, &upstream)?;
            released = release_time(Path::new(&info.info))?;
        }
        // Nothing is required: the language is that of the Go that compiles it.
        None => go_mod.push_str(&format!("\ngo {}\n", language(go.version()))),
    }
    write_module(component, &go_mod, "", &module)?;
    go.resolving(work, false).args(["mod", "tidy"]).run_watched(|line| {
        if line.starts_with("go: downloading ") {
            task.add(1);
        }
    })?;

    let read = |file: &str| std::fs::read_to_string(module.join(file));
    let go_mod = read("go.mod").context("go mod tidy left no go.mod")?;
    // Where nothing is required Go writes none.
    let go_sum = read("go.sum").unwrap_or_default();
    let modules = linked(component, go, arch, work, false)?;
    Ok(Resolved { go_mod, go_sum, modules, released })
}

/// Lays a component's module into a folder.
pub(super) fn write_module(component: &GoComponent, go_mod: &str, go_sum: &str, folder: &Path) -> Result<()> {
    let files = component.sources.iter().copied().chain([("go.mod", go_mod), ("go.sum", go_sum)]);
    for (file, text) in files {
        let path = folder.join(file);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("can't make {}", parent.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

/// What `go mod download -json` says of one module.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    #[serde(default)]
    error: String,
    /// File with the version and its time.
    #[serde(default)]
    info: String,
    /// File with its `go.mod`.
    #[serde(default)]
    go_mod: String,
}

fn download(go: &Go, work: &Path, module: &Module) -> Result<Downloaded> {
    let Module { path, version } = module;
    let found: Downloaded = go
        .resolving(work, false)
        .args(["mod", "download", "-json"])
        .arg(format!("{path}@{version}"))
        .accept(&[0, 1])
        .run_json()?;
    if !found.error.is_empty() {
        bail!(
            "the module {path} {version} can't be had: {}; check the version in the recipe, and GOPROXY and the \
             network",
            // A proxy's answer comes on lines of its own.
            found.error.split_whitespace().collect::<Vec<_>>().join(" ")
        );
    }
    Ok(found)
}

/// The time a module's version was made, to the second, in UTC; proxies may leave it out.
fn release_time(info_file: &Path) -> Result<Option<String>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Info {
        time: Option<String>,
    }
    let text = std::fs::read_to_string(info_file).with_context(|| format!("can't read {}", info_file.display()))?;
    let info: Info = serde_json::from_str(&text).with_context(|| format!("{} is broken", info_file.display()))?;
    let Some(time) = info.time else { return Ok(None) };
    let time: jiff::Timestamp = time.parse().with_context(|| format!("{} is broken", info_file.display()))?;
    Ok(Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
}

/// `1.26.0` for `go1.26.11`: a security update of Go is no other language.
fn language(version: &str) -> String {
    let mut numbers = version.trim_start_matches("go").split('.');
    format!("{}.{}.0", numbers.next().unwrap_or("1"), numbers.next().unwrap_or("0"))
}

/// The modules whose packages are compiled into the component's programs, in order.
pub(super) fn linked(component: &GoComponent, go: &Go, arch: Arch, work: &Path, offline: bool) -> Result<Vec<String>> {
    const FORMAT: &str = "{{with .Module}}{{with .Replace}}{{.Path}}@{{.Version}}{{else}}{{if .Version}}{{.Path}}@{{.Version}}{{end}}{{end}}{{end}}";
    let cgo = component.linking == Linking::C;
    let command = fixed(arch, cgo)
        .into_iter()
        .filter(|(name, _)| !matches!(*name, "GOENV" | "GOPROXY" | "GOFLAGS"))
        .fold(go.resolving(work, offline), |c, (k, v)| c.env(k, v));
    let listed = command
        .args(["list", "-deps", "-tags", &component.tags.join(","), "-f", FORMAT])
        .args(component.packages())
        .run()?;
    let modules: BTreeSet<String> = listed.stdout_text().lines().filter(|l| !l.is_empty()).map(String::from).collect();
    Ok(modules.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_times_are_in_utc_and_whole_seconds() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let time = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            release_time(file.path()).unwrap()
        };
        assert_eq!(
            time(r#"{"Version":"v1.37.2","Time":"2026-10-01T02:03:04.5+02:00"}"#).as_deref(),
            Some("2026-10-01T00:03:04Z")
        );
        assert_eq!(time(r#"{"Version":"v1.37.2"}"#), None);
    }

    #[test]
    fn a_security_update_of_go_is_the_same_language() {
        assert_eq!(language("go1.26.11"), "1.26.0");
        assert_eq!(language("go1.27"), "1.27.0");
    }
}
