//! `bedplate verify --rebuild`: does this recipe give this very release? Whoever asks needs no private key.
//!
//! The release's own lock says what goes in, its public keys what is trusted, and the signatures that it carries
//! stand in for those that only their owner can make ([`Carried`]). So all that the manifest says is compared, signed
//! artifacts too, but for the version of the builder.
//!
//! Guarantees: each thing that differs is named; nothing is written to the release.

use super::verify::Problems;
use super::{Contents, diff};
use crate::agent;
use crate::assemble::uki::SECTIONS;
use crate::digest::Sha256;
use crate::lock::Lock;
use crate::package::manifest::Manifest;
use crate::package::{Scope, name};
use crate::pipeline::{Build, Signers};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::release::diff::{ChangeKind, FileChange};
use crate::resolve::local;
use crate::sign::Signer;
use crate::sign::carried::Carried;
use crate::sign::keys::KeyFolder;
use crate::store::Store;
use anyhow::{Context, Result, bail, ensure};
use on_disk::pe::Image;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How many paths of the root are named one by one.
const PATHS: usize = 10;

/// What a release is rebuilt with.
#[derive(Debug, Clone)]
pub struct Rebuild {
    /// The recipe, with its overlays and other files where it says.
    pub recipe: PathBuf,
    /// Where `firstboot` and `stage1` are.
    pub agent: PathBuf,
    /// Whether the network is left alone.
    pub offline: bool,
    /// Where the rebuilt release stays; none if it is to go.
    pub keep: Option<PathBuf>,
}

impl Rebuild {
    /// Builds the release in `release` again and compares. `signed` is its manifest, as [`super::verify()`] checked it.
    ///
    /// # Errors
    /// [`Problems`], with everything that differs; or why it can't be built.
    pub fn run(&self, release: &Path, signed: &Manifest, store: &Store, progress: &Progress) -> Result<()> {
        let same = |keep: &PathBuf| Some(keep.canonicalize().ok()? == release.canonicalize().ok()?);
        ensure!(
            self.keep.as_ref().and_then(same) != Some(true),
            "{} is the release itself; keep the rebuilt one elsewhere",
            release.display()
        );
        let recipe = Recipe::read(&self.recipe)?;
        let folder = self.recipe.parent().unwrap_or(Path::new(""));
        let lock = Lock::read(&release.join(name::LOCK))?.context("the release has no lock")?;
        let agent = agent::folder(&recipe, folder, &lock, &self.agent, store, progress, self.offline)?;
        let found = local::digests(&recipe, folder, &agent)?;
        let problems = other_inputs(&self.recipe, &recipe, &lock, &found);
        if !problems.is_empty() {
            bail!(Problems(problems));
        }

        let scratch = store.scratch("rebuild")?;
        let out = self.keep.clone().unwrap_or_else(|| scratch.path().join("release"));
        let build = Build {
            recipe: self.recipe.clone(),
            out: out.clone(),
            agent,
            offline: self.offline,
            scope: Scope::Unsigned,
        };
        let (db, pcr) = carried(release, signed)?;
        let signers = Signers { db: &db, pcr: pcr.as_ref().map(|signer| signer as &dyn Signer) };
        build.make(&recipe, &lock, &KeyFolder::of_release(release), signers, store, progress)?;
        let text = std::fs::read_to_string(out.join(name::MANIFEST)).context("the rebuilt release can't be read")?;
        let rebuilt = Manifest::parse(&text).context("the rebuilt release can't be read")?;
        let mut problems = differences(signed, &rebuilt)?;
        if problems.is_empty() {
            return Ok(());
        }
        problems.extend(parts_of_uki(release, &out)?);
        let changes = diff::compare(&Contents::read(release)?, &Contents::read(&out)?);
        problems.extend(paths(&changes.files));
        problems.push(match &self.keep {
            Some(keep) => {
                format!("`bedplate diff {} {} --all-files` tells all of it", release.display(), keep.display())
            }
            None => "with --keep FOLDER the rebuilt release stays, for `bedplate diff --all-files`".to_owned(),
        });
        if signed.builder != rebuilt.builder {
            let (theirs, ours) = (&signed.builder, &rebuilt.builder);
            problems.push(format!("the release was built by bedplate {theirs}, and this is bedplate {ours}"));
        }
        bail!(Problems(problems))
    }
}

/// What was locked and is another thing here: with that, nothing can come out the same.
fn other_inputs(file: &Path, recipe: &Recipe, lock: &Lock, found: &BTreeMap<String, Sha256>) -> Vec<String> {
    let mut problems = Vec::new();
    if lock.recipe != recipe.lock_digest() {
        problems.push(format!("{}: is not the recipe that the release's lock was made of", file.display()));
    }
    let differing = local::differences(&lock.local, found);
    problems.extend(differing.iter().map(|input| format!("{input}: is not what the release was built from")));
    problems
}

/// The signatures of the release's EFI programs, and those over the PCR policies in them.
fn carried(release: &Path, signed: &Manifest) -> Result<(Carried, Option<Carried>)> {
    let full = super::full::carried(release, signed)?;
    let mut images = Vec::new();
    for name in signed.files.keys().filter(|name| *name == name::UKI || name.starts_with(name::ADDONS)) {
        let bytes = std::fs::read(release.join(name)).with_context(|| format!("{name} can't be read"))?;
        images.push(Image::parse(bytes).with_context(|| format!("{name} can't be read"))?);
    }
    let inside = images.iter().filter_map(|image| image.certificate().map(<[u8]>::to_vec));
    let inside: Vec<Vec<u8>> = inside.chain(full).collect();
    let certificate = format!("{}/db.crt", name::SECURE_BOOT);
    let read =
        |name: &str| std::fs::read_to_string(release.join(name)).with_context(|| format!("{name} can't be read"));
    let unreadable = "the release's signatures can't be read";
    let db = Carried::by(&inside, &read(&certificate)?).context(unreadable)?;
    let pcr = match signed.files.contains_key(name::PCR_CERTIFICATE) {
        true => Some(Carried::over_policies(&images, &read(name::PCR_CERTIFICATE)?).context(unreadable)?),
        false => None,
    };
    Ok((db, pcr))
}

/// All that two manifests say differently.
fn differences(signed: &Manifest, rebuilt: &Manifest) -> Result<Vec<String>> {
    let fields = |manifest: &Manifest| -> Result<Map<String, Value>> {
        let Value::Object(mut fields) = serde_json::to_value(manifest)? else { bail!("a manifest is no object") };
        // The same bytes may come from another version.
        fields.remove("builder");
        let files = fields.remove("files");
        fields.extend(
            files.as_ref().and_then(Value::as_object).into_iter().flatten().map(|(n, f)| (n.clone(), f.clone())),
        );
        Ok(fields)
    };
    let (signed, rebuilt) = (fields(signed)?, fields(rebuilt)?);
    let mut problems = Vec::new();
    for (what, is) in &signed {
        match rebuilt.get(what) {
            Some(same) if same == is => {}
            Some(other) => problems.push(format!("{what}: is {} in the release, {} rebuilt", plain(is), plain(other))),
            None => problems.push(format!("{what}: does not come of this recipe")),
        }
    }
    let more = rebuilt.keys().filter(|what| !signed.contains_key(*what));
    problems.extend(more.map(|what| format!("{what}: comes of this recipe and is not in the release")));
    Ok(problems)
}

/// A value of the manifest in few words.
fn plain(value: &Value) -> String {
    match (value, value.get("sha256"), value.get("size")) {
        (_, Some(Value::String(sha256)), Some(size)) => format!("{sha256} ({size} bytes)"),
        (Value::String(text), ..) => text.clone(),
        _ => value.to_string(),
    }
}

/// Which parts of the UKI differ, but for its signature.
fn parts_of_uki(release: &Path, rebuilt: &Path) -> Result<Option<String>> {
    let read = |folder: &Path| -> Result<Image> {
        let path = folder.join(name::UKI);
        let bytes = std::fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
        Ok(Image::parse(bytes).with_context(|| format!("can't read {}", path.display()))?.without_certificate())
    };
    let (a, b) = (read(release)?, read(rebuilt)?);
    if a == b {
        return Ok(None);
    }
    let parts: Vec<&str> = SECTIONS.into_iter().filter(|section| a.section(section) != b.section(section)).collect();
    Ok(Some(match parts.as_slice() {
        [] => format!("{}: the stub before its sections differs", name::UKI),
        parts => format!("{}: what differs is {}", name::UKI, parts.join(", ")),
    }))
}

/// The first paths of the root that differ.
fn paths(changes: &[FileChange]) -> Vec<String> {
    let mut lines: Vec<String> = changes
        .iter()
        .take(PATHS)
        .map(|change| {
            let what: Vec<&str> = change.what.keys().copied().collect();
            match change.kind {
                ChangeKind::Added => format!("{}: comes of this recipe and is not in the release", change.path),
                ChangeKind::Removed => format!("{}: does not come of this recipe", change.path),
                _ => format!("{}: differs in its {}", change.path, what.join(", ")),
            }
        })
        .collect();
    if changes.len() > PATHS {
        lines.push(format!("and {} more paths of the root", changes.len() - PATHS));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{lock, release};
    use super::*;

    fn manifest(version: &str) -> Manifest {
        release(version, lock("a 1 trixie the recipe", ""), "", "").manifest.unwrap()
    }

    #[test]
    fn every_field_and_file_of_the_manifest_counts() {
        let signed = manifest("1");
        let rebuilt = Manifest { builder: "0.2.0".into(), ..signed.clone() };
        assert_eq!(differences(&signed, &rebuilt).unwrap(), [""; 0]);

        let mut rebuilt = manifest("2");
        rebuilt.files.remove(name::DISK);
        rebuilt.files.get_mut(name::UKI).unwrap().size = 7;
        rebuilt.files.insert("more.efi".into(), rebuilt.files[name::UKI].clone());
        let said = differences(&signed, &rebuilt).unwrap();
        let named: Vec<&str> = said.iter().map(|line| line.split(':').next().unwrap()).collect();
        let fields = ["command-line", name::DISK, "root-hash", "root-image", name::UKI, "unsigned-uki", "version"];
        assert_eq!(named, [&fields[..], &["more.efi"]].concat());
        assert!(said.contains(&"version: is 1 in the release, 2 rebuilt".to_owned()), "{said:?}");
        assert!(said.contains(&format!("{}: does not come of this recipe", name::DISK)), "{said:?}");
        assert!(said[4].contains("(7 bytes) rebuilt"), "{said:?}");
    }

    #[test]
    fn other_inputs_are_each_named() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/node/recipe.toml"));
        let recipe = Recipe::parse(&text.unwrap(), "recipe.toml", |_| true).unwrap();
        let digests = |list: &[(&str, &str)]| -> BTreeMap<String, Sha256> {
            list.iter().map(|(name, text)| ((*name).to_owned(), Sha256::of(text))).collect()
        };
        let local = digests(&[("agent/stage1", "1"), ("overlay/x/etc/a", "1")]);
        let lock = Lock { recipe: recipe.lock_digest(), local: local.clone(), ..lock("", "") };
        let said = |recipe: &Recipe, found| other_inputs(Path::new("recipe.toml"), recipe, &lock, &found);
        assert_eq!(said(&recipe, local), [""; 0]);
        let mut other = recipe;
        other.packages.install.push("hello".into());
        assert_eq!(
            said(&other, digests(&[("agent/stage1", "2")])),
            [
                "recipe.toml: is not the recipe that the release's lock was made of",
                "agent/stage1 (changed): is not what the release was built from",
                "overlay/x/etc/a (gone): is not what the release was built from",
            ]
        );
    }
}
