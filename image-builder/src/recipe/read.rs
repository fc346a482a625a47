//! Text to recipe, with every fault of it told in one run.

mod container_image;
mod kernel;

use super::{Addon, Component, Packages, Recipe};
use crate::compose::overlay::Overlay;
use crate::digest::Sha256;
use crate::resolve::relation::Term;
use crate::sign::pkcs11;
use anyhow::{Context, Result};
use machine_config::document::{self, Source};
use machine_config::{Diagnostic, units};
use std::fmt;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// The format this version reads.
const FORMAT: u32 = 1;

/// Everything that is wrong with a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Diagnostic>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl Recipe {
    /// Reads and checks a recipe file, and that what it names beside it is there.
    ///
    /// # Errors
    /// [`Faults`]: everything that is wrong with it, each with file, line and column. Or that there is no such
    /// file.
    pub fn read(path: &Path) -> Result<Recipe> {
        let file = path.display().to_string();
        let bytes =
            std::fs::read(path).with_context(|| format!("can't read the recipe {file}; name another with --recipe"))?;
        let text = document::text(&bytes, &file).map_err(|fault| Faults(vec![fault]))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Ok(Recipe::parse(text, &file, |named| folder.join(named).exists())?)
    }

    /// Reads and checks a recipe's text. `file` is its name for people; `exists` says whether a path named in it,
    /// relative to its folder, is there.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, file: &str, exists: impl Fn(&Path) -> bool) -> Result<Recipe, Faults> {
        let recipe: Recipe = document::parse(text, file).map_err(Faults)?;
        let (table, _) = DeTable::parse_recoverable(text);
        let mut checks =
            Checks { table: table.get_ref(), source: Source::new(text, file), exists: &exists, faults: Vec::new() };
        checks.recipe(&recipe);
        checks.faults.sort_by(|a, b| a.place.cmp(&b.place));
        if checks.faults.is_empty() { Ok(recipe) } else { Err(Faults(checks.faults)) }
    }

    /// Digest of what decides the lock: a recipe that differs only in the rest (command line, keys, sizes of
    /// outputs, where archives are served) keeps its lock.
    pub fn lock_digest(&self) -> Sha256 {
        let archives: Vec<_> =
            self.archive.iter().map(|(name, a)| (name, &a.suites, &a.components, a.tools_only)).collect();
        // Where an overlay lies does not matter, only by which name it goes.
        let overlays: Vec<String> = self.overlay.iter().map(|folder| Overlay::at(folder).name).collect();
        let decides = (
            self.image.arch,
            archives,
            (&self.packages.install, &self.packages.provided, &self.kernel.package),
            &self.component,
            &overlays,
            &self.tools,
            &self.script,
        );
        // JSON of plain data can't fail; were it to, the digest of the message would still differ from any other.
        let mut text = serde_json::to_string(&decides).unwrap_or_else(|e| e.to_string());
        // Only where they are used: a recipe without them keeps the lock that it has.
        let priorities: Vec<_> =
            self.archive.iter().filter(|(_, a)| a.priority != 0).map(|(name, a)| (name, a.priority)).collect();
        let Packages { pin, hold, .. } = &self.packages;
        if !(priorities.is_empty() && pin.is_empty() && hold.is_empty()) {
            text += &serde_json::to_string(&(priorities, pin, hold)).unwrap_or_else(|e| e.to_string());
        }
        let ready = self.container_image.iter().filter(|image| image.is_ready());
        let ready: Vec<_> = ready.map(|image| (image.name(), image.sha256, image.digest)).collect();
        if !ready.is_empty() {
            text += &serde_json::to_string(&ready).unwrap_or_else(|e| e.to_string());
        }
        if let Some(source) = &self.kernel.source {
            // Where a fragment lies does not matter, either.
            let names: Vec<_> = self.kernel.config.iter().map(|path| crate::kernel::fragment_name(path)).collect();
            text += &serde_json::to_string(&(source, names)).unwrap_or_else(|e| e.to_string());
        }
        Sha256::of(text)
    }
}

/// Rules that types can't say.
struct Checks<'a> {
    table: &'a DeTable<'a>,
    source: Source,
    exists: &'a dyn Fn(&Path) -> bool,
    faults: Vec<Diagnostic>,
}

impl Checks<'_> {
    fn recipe(&mut self, recipe: &Recipe) {
        if recipe.format != FORMAT {
            self.fault(
                "BP-R001",
                &["format"],
                format!("this recipe is of format {}", recipe.format),
                format!("this version of bedplate reads format {FORMAT}"),
                "use the version of bedplate that the recipe was written for, or rewrite it (docs/recipe.md)",
            );
        }
        for (key, value) in [("name", &recipe.image.name), ("version", &recipe.image.version)] {
            let good = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+~-".contains(&b));
            if value.is_empty() || !good || !value.starts_with(|c: char| c.is_ascii_alphanumeric()) {
                self.fault(
                    "BP-R002",
                    &["image", key],
                    format!("{value:?} can't be the image's {key}"),
                    "it becomes part of file names: letters, digits and . _ + ~ - only, a letter or digit first",
                    "choose another",
                );
            }
        }
        self.archives(recipe);
        for (key, list) in [("install", &recipe.packages.install), ("provided", &recipe.packages.provided)] {
            self.packages(&["packages", key], list);
        }
        for (name, version) in &recipe.packages.pin {
            self.shape(&["packages", "pin", name], name);
            self.shape(&["packages", "pin", name], version);
        }
        for (i, name) in recipe.packages.hold.iter().enumerate() {
            self.shape(&["packages", "hold", &i.to_string()], name);
        }
        self.kernel(&recipe.kernel);
        self.packages(&["tools", "install"], &recipe.tools.install);
        for (i, folder) in recipe.overlay.iter().enumerate() {
            self.there(&["overlay", &i.to_string()], folder, "the overlay folder");
        }
        for (name, component) in &recipe.component {
            self.component(name, component);
        }
        for (i, image) in recipe.container_image.iter().enumerate() {
            self.container_image(i, image, &recipe.container_image[..i]);
        }
        for (key, uri) in [("db", &recipe.keys.db), ("pcr", &recipe.keys.pcr), ("release", &recipe.keys.release)] {
            if let Some(Err(why)) = uri.as_deref().map(pkcs11::Uri::parse) {
                self.fault(
                    "BP-R015",
                    &["keys", key],
                    format!("keys.{key} names no key on a token"),
                    why.to_string(),
                    "see docs/recipe.md, \"Keys on a token\"",
                );
            }
        }
        for (i, vendor) in recipe.keys.vendor.iter().enumerate() {
            let path = ["keys", "vendor", &i.to_string(), "certificate"];
            self.there(&path, &vendor.certificate, "the certificate");
        }
        for (i, addon) in recipe.addon.iter().enumerate() {
            self.addon(&i.to_string(), addon, &recipe.addon[..i]);
        }
        self.outputs(recipe);
    }

    fn addon(&mut self, i: &str, addon: &Addon, before: &[Addon]) {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if addon.name.is_empty() || addon.name.len() > 32 || !addon.name.chars().all(plain) {
            self.fault(
                "BP-R020",
                &["addon", i, "name"],
                format!("{:?} can't be an addon's name", addon.name),
                "it becomes a file name on FAT: 1 to 32 of a-z, 0-9 and -",
                "choose another",
            );
        }
        if before.iter().any(|other| other.name == addon.name) {
            self.fault(
                "BP-R020",
                &["addon", i, "name"],
                format!("there are two addons {:?}", addon.name),
                "each is a file of its own",
                "choose another name for one of them",
            );
        }
        let patterns = [&addon.matches.vendor, &addon.matches.product];
        let any = |pattern: &str| pattern.chars().all(|c| c == '*');
        let texts: Vec<&str> = patterns.iter().filter_map(|p| p.as_deref()).collect();
        if texts.iter().all(|text| any(text)) || texts.iter().any(|t| t.trim() != *t || t.chars().any(char::is_control))
        {
            self.fault(
                "BP-R021",
                &["addon", i, "match"],
                format!("the addon {:?} does not say for which models it is", addon.name),
                "what every machine gets belongs into kernel.arguments, and a model is matched by one line of text",
                "write match = { vendor = \"Dell Inc.\", product = \"PowerEdge R740*\" }, as \
                 /sys/class/dmi/id/sys_vendor and product_name say",
            );
        }
        if addon.arguments.is_empty() {
            self.fault(
                "BP-R021",
                &["addon", i],
                format!("the addon {:?} has no arguments", addon.name),
                "it would change nothing",
                "give it arguments, or leave it out",
            );
        }
        for (at, argument) in addon.arguments.iter().enumerate() {
            self.argument(&["addon", i, "arguments", &at.to_string()], argument);
        }
    }

    fn archives(&mut self, recipe: &Recipe) {
        if recipe.archive.values().all(|a| a.tools_only) {
            self.fault(
                "BP-R003",
                &["archive"],
                "no archive of the recipe may be used for the image".into(),
                "its packages have to come from somewhere, and archives with tools-only = true are kept from it",
                "add an archive: [archive.debian] with suites = [\"trixie\"]",
            );
        }
        for (name, archive) in &recipe.archive {
            if archive.suites.is_empty() {
                self.fault(
                    "BP-R003",
                    &["archive", name, "suites"],
                    format!("archive {name:?} has no suites"),
                    "a suite is what is signed and what packages are taken from",
                    "name one: suites = [\"trixie\"]",
                );
            }
            if let Some(url) = &archive.url
                && !["http://", "https://", "file:/"].iter().any(|scheme| url.starts_with(scheme))
            {
                self.fault(
                    "BP-R004",
                    &["archive", name, "url"],
                    format!("{url:?} is no address of an archive"),
                    "an address begins with http://, https:// or file:///",
                    "write the address that `dists/` is below",
                );
            }
            if let Some(keyring) = &archive.keyring {
                self.there(&["archive", name, "keyring"], keyring, "the keyring");
            }
        }
    }

    fn packages(&mut self, path: &[&str], list: &[String]) {
        for (i, package) in list.iter().enumerate() {
            self.package(&[path, &[&i.to_string()]].concat(), package);
        }
    }

    fn package(&mut self, path: &[&str], package: &str) {
        if let Err(why) = Term::parse(package) {
            self.fault(
                "BP-R005",
                path,
                format!("{package:?} can't be a package"),
                why,
                "write a name (\"systemd\"), or one with a version range (\"systemd (>= 257)\")",
            );
        }
    }

    fn shape(&mut self, path: &[&str], shape: &str) {
        let odd = |c: char| c.is_whitespace() || "<>=(),|".contains(c);
        if shape.is_empty() || shape.contains(odd) || globset::Glob::new(shape).is_err() {
            self.fault(
                "BP-R016",
                path,
                format!("{shape:?} is no shape of a package's name or version"),
                "a pin and a hold compare whole texts, in which * stands for anything and ? for one character",
                "write it like pin = { systemd = \"257.*\" } and hold = [\"linux-image-amd64\"]; a range (\">= 257\") goes \
                 into packages.install",
            );
        }
    }

    fn argument(&mut self, path: &[&str], argument: &str) {
        const OURS: [&str; 5] = ["roothash", "root", "init", "rdinit", "systemd.import_credentials"];
        let name = argument.split('=').next().unwrap_or(argument);
        if argument.is_empty() || argument.chars().any(|c| c.is_whitespace() || c.is_control() || c == '"') {
            self.fault(
                "BP-R006",
                path,
                format!("{argument:?} is not one kernel argument"),
                "arguments are joined by spaces on the signed command line",
                "write one argument without spaces or quotes per entry",
            );
        } else if OURS.contains(&name) {
            self.fault(
                "BP-R006",
                path,
                format!("the kernel argument {name:?} is the builder's"),
                "it decides which root is started, and that is the one the image's digest stands for",
                "leave it out",
            );
        }
    }

    fn component(&mut self, name: &str, component: &Component) {
        if let Err(error) = crate::components::Source::of(name, component) {
            self.fault(
                "BP-R007",
                &["component", name],
                format!("{error:#}"),
                "a component is built from modules that ship with the builder, or is files, or is packages",
                "see docs/recipe.md, \"component\"",
            );
        }
        self.packages(&["component", name, "packages"], &component.packages);
        for (i, file) in component.files.iter().enumerate() {
            let at = i.to_string();
            let path = ["component", name, "files", &at];
            if file.url.is_some() == file.path.is_some() {
                self.fault(
                    "BP-R007",
                    &path,
                    format!(
                        "file {i} of component {name} has {} source",
                        if file.url.is_some() { "more than one" } else { "no" }
                    ),
                    "a file comes either from a url or from a path beside the recipe",
                    "give url or path",
                );
            }
            if let Some(local) = &file.path {
                self.there(&[&path[..], &["path"]].concat(), local, "the file");
            }
            if !file.install.starts_with('/') || file.install.split('/').any(|p| p == "..") {
                self.fault(
                    "BP-R007",
                    &[&path[..], &["install"]].concat(),
                    format!("{:?} is no place in the image", file.install),
                    "the place is an absolute path without ..",
                    "write it like \"/usr/bin/kubelet\"",
                );
            }
            if !u32::from_str_radix(&file.mode, 8).is_ok_and(|mode| mode <= 0o7777) {
                self.fault(
                    "BP-R007",
                    &[&path[..], &["mode"]].concat(),
                    format!("{:?} is no file mode", file.mode),
                    "a mode is octal digits",
                    "write it like \"0755\"",
                );
            }
        }
    }

    fn outputs(&mut self, recipe: &Recipe) {
        let output = &recipe.output;
        for (key, size) in [("esp", &output.esp), ("slot", &output.slot)] {
            if let Err(why) = units::parse_size(size) {
                self.fault(
                    "BP-R008",
                    &["output", key],
                    format!("{size:?} is no size"),
                    why.to_string(),
                    "write it like \"1 GiB\"",
                );
            }
        }
        if !["zstd", "lz4"].contains(&output.compression.as_str()) {
            self.fault(
                "BP-R008",
                &["output", "compression"],
                format!("the root can't be compressed by {:?}", output.compression),
                "the kernel and the builder share \"zstd\" (smaller) and \"lz4\" (faster)",
                "write one of the two",
            );
        }
    }

    fn there(&mut self, path: &[&str], named: &Path, what: &str) {
        if !(self.exists)(named) {
            self.fault(
                "BP-R009",
                path,
                format!("{what} {} is not there", named.display()),
                "paths are relative to the recipe's folder",
                "make it, or correct the path",
            );
        }
    }

    fn fault(&mut self, code: &str, path: &[&str], what: String, why: impl Into<String>, mend: &str) {
        let place = Some(self.source.place(offset(self.table, path).unwrap_or(0)));
        self.faults.push(Diagnostic { code: code.into(), what, place, why: why.into(), mend: mend.into() });
    }
}

/// Where the value at a path stands; of a table, or where the path ends early, the last key that is there.
fn offset(table: &DeTable<'_>, path: &[&str]) -> Option<usize> {
    let mut at = None;
    let mut holder = Holder::Table(table);
    for step in path {
        let (key, value) = match holder {
            Holder::Table(table) => {
                let Some((key, value)) = table.get_key_value(*step) else { break };
                (key.span().start, value)
            }
            Holder::Array(array) => {
                let Some(value) = step.parse::<usize>().ok().and_then(|i| array.get(i)) else { break };
                (value.span().start, value)
            }
        };
        at = Some(key);
        holder = match value.get_ref() {
            DeValue::Table(table) => Holder::Table(table),
            DeValue::Array(array) => Holder::Array(array),
            _ => {
                at = Some(value.span().start);
                break;
            }
        };
    }
    at
}

enum Holder<'a, 'b> {
    Table(&'a DeTable<'b>),
    Array(&'a toml::de::DeArray<'b>),
}

#[cfg(test)]
mod tests;
