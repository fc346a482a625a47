//! A distribution's kernel source and fragments of a configuration -> a kernel with everything built in.
//!
//! It is compiled in a room whose root is a locked tree of tools ([`Namespace`]), at fixed paths, with fixed names and the
//! source's own time in it. So equal inputs give equal bytes, which [`SourceKernel::again`] shows.
#![allow(clippy::disallowed_methods, reason = "edge: lays the source out for make and keeps what it made")]

use super::fragment::{Fragment, NotTaken, depends, not_taken};
use crate::arch::Arch;
use crate::components::{ComponentEntry, ComponentKind};
use crate::compose::tree::{Content, Origin};
use crate::digest::Sha256;
use crate::fetch;
use crate::lock::{Lock, Package};
use crate::progress::{Progress, Unit};
use crate::recipe::Recipe;
use crate::stage::StageKey;
use crate::store::{Output, Scratch, Store};
use crate::tools::Tools;
use crate::tools::namespace::Namespace;
use anyhow::{Context, Result, bail};
use run_tool::Command;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Raise it when the same key would give other bytes.
const REVISION: u32 = 1;

/// Where source and objects are inside the room; the compiler writes paths into what it makes.
const SOURCE: &str = "/build/source";
const OBJECTS: &str = "/build/objects";

/// What an output holds: its file, and where make leaves it.
const IMAGE: (&str, &str) = ("vmlinuz", "arch/x86/boot/bzImage");
const CONFIG: (&str, &str) = ("config", ".config");
const RELEASE: (&str, &str) = ("release", "include/config/kernel.release");
const BUILT_IN: [(&str, &str); 2] =
    [("modules.builtin", "modules.builtin"), ("modules.builtin.modinfo", "modules.builtin.modinfo")];

/// A locked kernel that is compiled.
#[derive(Debug, Clone)]
pub struct SourceKernel<'a> {
    source: &'a Package,
    tree: &'a [Package],
    fragments: Vec<Fragment>,
    arch: Arch,
}

/// Where its packages come from and what it makes goes.
#[derive(Debug, Clone, Copy)]
pub struct Workplace<'a> {
    /// The recipe, which says where packages are served.
    pub recipe: &'a Recipe,
    /// The recipe's folder.
    pub folder: &'a Path,
    /// The store.
    pub store: &'a Store,
    /// Who is told how far it is.
    pub progress: &'a Progress,
    /// Whether the network is left alone.
    pub offline: bool,
}

impl<'a> SourceKernel<'a> {
    /// The kernel that the recipe has compiled; none where it takes a package.
    ///
    /// # Errors
    /// When a fragment can't be read or leaves modules on, or the lock is of another recipe.
    pub fn of(recipe: &Recipe, folder: &Path, lock: &'a Lock) -> Result<Option<SourceKernel<'a>>> {
        let Some(wanted) = &recipe.kernel.source else { return Ok(None) };
        let name = wanted.split([' ', '(']).next().unwrap_or(wanted);
        let tree = lock.compile.get(super::TREE).map(Vec::as_slice).unwrap_or_default();
        let source = tree.iter().find(|package| package.name == name);
        let source = source.with_context(|| format!("the lock does not name {name}; run `bedplate lock`"))?;
        let read = |path: &PathBuf| {
            let path = folder.join(path);
            let text = fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
            Fragment::read(&super::fragment_name(&path), &text)
        };
        let fragments = recipe.kernel.config.iter().map(read).collect::<Result<Vec<_>>>()?;
        let modules = fragments.iter().flat_map(|f| &f.settings).rfind(|s| s.name == "MODULES");
        if modules.is_none_or(|setting| setting.value.is_some()) {
            bail!(
                "the fragments leave modules on, and the builder compiles kernels without modules; write \
                 `# CONFIG_MODULES is not set` into the last of them (kernel-config/base.config has it)"
            );
        }
        Ok(Some(SourceKernel { source, tree, fragments, arch: lock.arch }))
    }

    /// Package and version of the source.
    pub fn source(&self) -> (&str, &str) {
        (&self.source.name, &self.source.version)
    }

    fn key(&self, stage: &'static str) -> StageKey {
        let mut key = StageKey::new(stage, REVISION).with("architecture", self.arch.debian());
        for package in self.tree {
            key = key.with(&package.name, package.sha256);
        }
        for fragment in &self.fragments {
            key = key.with(&fragment.name, Sha256::of(&fragment.text));
        }
        key
    }

    /// Its configuration, from the compiled kernel if the store has it; else the source is configured, and no more.
    ///
    /// # Errors
    /// When a fragment does not take effect, or the tree can't be had.
    pub fn config(&self, at: &Workplace) -> Result<(String, String)> {
        let output = match at.store.known_output(&self.key("kernel")) {
            Some(output) => output,
            None => at.store.output(&self.key("kernel-config"), |into| {
                let work = Work::new(self, at, configures)?;
                work.configure(self)?;
                work.keep(&[CONFIG, RELEASE], into)
            })?,
        };
        Ok((release(&output)?, text(&output, CONFIG.0)?))
    }

    /// The kernel, compiled unless the store has it.
    ///
    /// # Errors
    /// When a fragment does not take effect, it lacks what a node needs, or it does not compile.
    pub fn build(&self, at: &Workplace) -> Result<Output> {
        let made = at.store.output(&self.key("kernel"), |into| self.compile(at, into));
        made.with_context(|| format!("can't build the kernel from {} {}", self.source.name, self.source.version))
    }

    /// Compiles it once more, apart from what the store has, and gives the names of the files that came out otherwise.
    ///
    /// # Errors
    /// As [`SourceKernel::build`].
    pub fn again(&self, first: &Output, at: &Workplace) -> Result<Vec<&'static str>> {
        let scratch = at.store.scratch("kernel-again")?;
        self.compile(at, scratch.path())?;
        let mut differ = Vec::new();
        for name in [IMAGE, CONFIG, RELEASE].iter().chain(&BUILT_IN).map(|(name, _)| *name) {
            if fs::read(first.file(name))? != fs::read(scratch.path().join(name))? {
                differ.push(name);
            }
        }
        Ok(differ)
    }

    fn compile(&self, at: &Workplace, into: &Path) -> Result<()> {
        let work = Work::new(self, at, |_| true)?;
        let config = work.configure(self)?;
        super::check(&self.source.version, &config)?;
        let task = at.progress.task("compiling the kernel", 0, Unit::Count("files"));
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        work.make(&[&format!("-j{jobs}"), "bzImage"])?.run_watched(|line| {
            if line.starts_with("  CC ") || line.starts_with("  AS ") {
                task.add(1);
            }
        })?;
        drop(task);
        work.keep(&[IMAGE, CONFIG, RELEASE], into)?;
        work.keep(&BUILT_IN, into)
    }

    /// The bootable image.
    ///
    /// # Errors
    /// When the store lost it.
    pub fn image(&self, output: &Output) -> Result<Content> {
        Content::of_file(&output.file(IMAGE.0)).context("the store lost the kernel")
    }

    /// What it gives to the root: the files that a kernel's package has, but for modules.
    ///
    /// # Errors
    /// When the store lost them.
    pub fn entries(&self, output: &Output) -> Result<Vec<ComponentEntry>> {
        let release = release(output)?;
        let places = [
            (IMAGE.0, format!("/boot/vmlinuz-{release}")),
            (CONFIG.0, format!("/boot/config-{release}")),
            (BUILT_IN[0].0, format!("/usr/lib/modules/{release}/modules.builtin")),
            (BUILT_IN[1].0, format!("/usr/lib/modules/{release}/modules.builtin.modinfo")),
        ];
        let entry = |(name, install): (&str, String)| {
            let content = Content::of_file(&output.file(name)).with_context(|| format!("the store lost {name}"))?;
            Ok(ComponentEntry {
                install,
                what: ComponentKind::File(content, 0o644),
                origin: Origin::Component(super::TREE.into(), self.source.version.clone()),
            })
        };
        places.into_iter().map(entry).collect()
    }
}

/// Release of a compiled or configured kernel.
///
/// # Errors
/// When the store lost it.
pub fn release(output: &Output) -> Result<String> {
    Ok(text(output, RELEASE.0)?.trim().to_owned())
}

fn text(output: &Output, name: &str) -> Result<String> {
    fs::read_to_string(output.file(name)).with_context(|| format!("the store lost the kernel's {name}"))
}

/// Source and objects of one run, gone after it.
struct Work {
    scratch: Scratch,
    tools: Tools,
    /// When the source was made, seconds since 1970.
    time: u64,
}

impl Work {
    /// Lays out those files of the source that `wanted` names.
    fn new(kernel: &SourceKernel, at: &Workplace, wanted: fn(&Path) -> bool) -> Result<Work> {
        let Workplace { recipe, folder, store, progress, offline } = *at;
        let packages = fetch::tree(kernel.tree, recipe, folder, store, progress, offline)?;
        let tools = Tools::open(store, kernel.arch, &packages, progress)?;
        let scratch = store.scratch("kernel")?;
        for name in ["source", "objects", "site"] {
            let path = scratch.path().join(name);
            fs::create_dir(&path).with_context(|| format!("can't make {}", path.display()))?;
        }
        let path = tools.file(&format!("/usr/src/{}.tar.xz", kernel.source.name)).with_context(|| {
            format!("{} is no package of a kernel's source: it has no /usr/src/{0}.tar.xz", kernel.source.name)
        })?;
        let task = progress.task("unpacking the kernel's source", fs::metadata(&path)?.len(), Unit::Bytes);
        let packed = Counted { file: File::open(&path)?, done: |n| task.add(n) };
        let time = unpack(packed, &scratch.path().join("source"), wanted)
            .with_context(|| format!("the kernel's source {} can't be unpacked", path.display()))?;
        Ok(Work { scratch, tools, time })
    }

    /// make in the source's folder; what it prints comes on standard error, where progress is read from.
    fn make(&self, words: &[&str]) -> Result<Command> {
        let path = |name: &str| self.scratch.path().join(name);
        let room = Namespace::new(&self.tools, &path("site"))
            .read(&path("source"), SOURCE)
            .write(&path("objects"), OBJECTS)
            .folder(SOURCE);
        let command = room.tool("/usr/bin/sh")?.command();
        Ok(command
            .env("LC_ALL", "C")
            .env("KBUILD_BUILD_TIMESTAMP", format!("@{}", self.time))
            .env("KBUILD_BUILD_USER", "bedplate")
            .env("KBUILD_BUILD_HOST", "bedplate")
            .env("KBUILD_BUILD_VERSION", "1")
            .args(["-c", "exec make \"$@\" >&2", "make", "ARCH=x86_64", "AWK=mawk"])
            .arg(format!("O={OBJECTS}"))
            .args(words))
    }

    /// Lays the fragments over the kernel's own configuration for the architecture, and gives what comes of it.
    fn configure(&self, kernel: &SourceKernel) -> Result<String> {
        let (source, objects) = (self.scratch.path().join("source"), self.scratch.path().join("objects"));
        let own = source.join("arch/x86/configs/x86_64_defconfig");
        let mut text = fs::read_to_string(&own).context("the kernel's source has no x86_64_defconfig")?;
        for fragment in &kernel.fragments {
            text.push_str(&fragment.text);
            text.push('\n');
        }
        let path = objects.join(CONFIG.1);
        fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
        // The second makes the file that says the release.
        self.make(&["olddefconfig"])?.run()?;
        self.make(&["include/config/kernel.release"])?.run()?;
        let config = fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
        let differ = not_taken(&kernel.fragments, &config);
        if !differ.is_empty() {
            let told = differ.iter().map(|d| told(d, &source)).collect::<Result<Vec<_>>>()?;
            bail!("options of the kernel did not take effect: {}", told.join("; "));
        }
        Ok(config)
    }

    fn keep(&self, files: &[(&str, &str)], into: &Path) -> Result<()> {
        for (name, made) in files {
            let from = self.scratch.path().join("objects").join(made);
            fs::copy(&from, into.join(name)).with_context(|| format!("make left no {made}"))?;
        }
        Ok(())
    }
}

/// What came of a setting instead, with what it depends on as the kernel's own description says.
fn told(differ: &NotTaken, source: &Path) -> Result<String> {
    let NotTaken { fragment, setting, found } = differ;
    let (wanted, is) = (setting.value.as_deref().unwrap_or("n"), found.as_deref().unwrap_or("n"));
    let because = match describe(source, &setting.name)? {
        None => ", and this kernel has no such option".into(),
        Some(on) if on.is_empty() => String::new(),
        Some(on) => format!(", and it depends on {}", on.join(" and on ")),
    };
    Ok(format!("{fragment}:{} wants {}={wanted}, which is {is}{because}", setting.line, setting.name))
}

/// What the source says an option depends on; none if no Kconfig file has the option.
fn describe(source: &Path, option: &str) -> Result<Option<Vec<String>>> {
    let mut open = vec![source.to_owned()];
    let mut found: Option<Vec<String>> = None;
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("can't read {}", folder.display()))? {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && name.to_string_lossy().starts_with("Kconfig") {
                let text = fs::read(entry.path())?;
                if let Some(on) = depends(&String::from_utf8_lossy(&text), option) {
                    found.get_or_insert_default().extend(on);
                }
            }
        }
    }
    Ok(found)
}

/// Whether a file of the source is needed to configure it: some 6,000 of 85,000.
fn configures(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("Kconfig")
        || name.starts_with("Makefile")
        || name == "Kbuild"
        || ["scripts", "arch/x86"].iter().any(|folder| path.starts_with(folder))
}

/// Unpacks a source's archive, without the folder that all of it is in, and gives the newest time in it.
fn unpack(packed: impl std::io::Read, into: &Path, wanted: fn(&Path) -> bool) -> Result<u64> {
    let mut archive = tar::Archive::new(liblzma::read::XzDecoder::new_multi_decoder(packed));
    let mut newest = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        newest = newest.max(entry.header().mtime()?);
        let path = entry.path()?.into_owned();
        let mut parts = path.components();
        parts.next();
        let inside = parts.as_path();
        if inside.as_os_str().is_empty() {
            continue;
        }
        if !inside.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
            bail!("{} leads out of it", path.display());
        }
        if entry.header().entry_type().is_dir() || !wanted(inside) {
            continue;
        }
        let to = into.join(inside);
        fs::create_dir_all(to.parent().unwrap_or(into)).with_context(|| format!("{}", path.display()))?;
        entry.unpack(&to).with_context(|| format!("{}", path.display()))?;
    }
    Ok(newest)
}

/// Tells how many bytes were read.
struct Counted<F> {
    file: File,
    done: F,
}

impl<F: Fn(u64)> std::io::Read for Counted<F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buffer)?;
        (self.done)(n as u64);
        Ok(n)
    }
}
