//! Builds, measured: cold, warm, and after one overlay file changed.
//!
//! Each round has a store of its own with hard links to what is never made anew: the verified inputs and the outputs of
//! the components. So a cold build makes everything else, and the user's own store is as it was.
#![allow(clippy::disallowed_methods, reason = "edge: makes the stores and changes the file")]

use super::figures::{Builds, Run};
use super::{floor, host, measured};
use anyhow::{Context, Result};
use image_builder::lock::Lock;
use image_builder::progress::Progress;
use image_builder::recipe::Recipe;
use image_builder::store::Store;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What of the user's store a cold build has.
pub const REUSED: [&str; 2] = ["blob", "output/component"];

/// What is built, by what.
#[derive(Debug, Clone)]
pub struct Builder {
    /// The program.
    pub bedplate: PathBuf,
    /// Folder of the agent's programs.
    pub agent: PathBuf,
    /// The recipe; its lock lies beside it.
    pub recipe: PathBuf,
}

impl Builder {
    /// Measures `rounds` rounds of the three builds.
    ///
    /// # Errors
    /// When a build fails, or the store does not have what a build needs.
    pub fn measure(&self, rounds: usize, progress: &Progress) -> Result<Builds> {
        let own = Store::open(&Store::default_folder())?;
        let mut builds = Builds { host: host::read(), ..Builds::default() };
        for round in 1..=rounds {
            let scratch = own.scratch("bench")?;
            let project = Project::copy(&self.recipe, &scratch.path().join("project"))?;
            let store = scratch.path().join("store");
            for part in REUSED {
                link(&own.root().join(part), &store.join(part))?;
            }
            let out = scratch.path().join("out");
            let say = |what: &str, run: &Run| {
                progress.say(format!("build {round} of {rounds}: {what:<22} {:6.2} s", run.seconds));
            };
            let build = |more: &[&str]| {
                let recipe = project.recipe.as_os_str();
                let arguments = ["build".as_ref(), "--offline".as_ref(), "--recipe".as_ref(), recipe];
                let places = ["--store".as_ref(), store.as_os_str(), "--out".as_ref(), out.as_os_str()];
                let more: Vec<&OsStr> = more.iter().map(OsStr::new).collect();
                measured::run(&self.bedplate, &self.agent, &[&arguments[..], &places[..], &more].concat())
            };
            builds.cold.push(build(&[])?);
            say("cold", &builds.cold[round - 1]);
            forget_stages(&store)?;
            builds.clusters_draft.push(build(&["--draft"])?);
            say("clusters alone, draft", &builds.clusters_draft[round - 1]);
            forget_stages(&store)?;
            builds.clusters.push(build(&[])?);
            say("clusters alone", &builds.clusters[round - 1]);
            builds.warm.push(build(&[])?);
            say("warm", &builds.warm[round - 1]);
            builds.changed_file = project.change(round)?;
            let lock: [&OsStr; 6] = [
                "lock".as_ref(),
                "--local".as_ref(),
                "--recipe".as_ref(),
                project.recipe.as_ref(),
                "--store".as_ref(),
                store.as_ref(),
            ];
            builds.changed_lock.push(measured::run(&self.bedplate, &self.agent, &lock)?);
            say("lock after a change", &builds.changed_lock[round - 1]);
            builds.changed.push(build(&[])?);
            say("build after a change", &builds.changed[round - 1]);
            project.change(rounds + round)?;
            measured::run(&self.bedplate, &self.agent, &lock)?;
            builds.changed_draft.push(build(&["--draft"])?);
            say("draft after a change", &builds.changed_draft[round - 1]);
            floor::measure(&own, &Lock::path_for(&self.recipe), &out, scratch.path(), &mut builds.floor)?;
        }
        Ok(builds)
    }
}

/// How long ext4 searches for inodes that were not freed just now (`recently_deleted` in `fs/ext4/ialloc.c`), and some.
const FREED: Duration = Duration::from_secs(8);

/// Takes away what stages made, but for tools, components and compressed clusters, and lets the file system recover from
/// that: nobody who builds has just removed thousands of files.
fn forget_stages(store: &Path) -> Result<()> {
    for entry in fs::read_dir(store.join("output"))? {
        let entry = entry?;
        if !["tools", "component"].iter().any(|kept| entry.file_name() == *kept) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    for entry in fs::read_dir(store.join("part"))? {
        let entry = entry?;
        if entry.file_name() != "cluster" {
            fs::remove_dir_all(entry.path())?;
        }
    }
    nix::unistd::syncfs(&File::open(store)?)?;
    std::thread::sleep(FREED);
    Ok(())
}

/// A copy of what the recipe names, in which a file may be changed.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) recipe: PathBuf,
    overlay: PathBuf,
}

impl Project {
    /// Copies recipe, lock and overlays below `folder`, as they lie to each other; the keys are only linked.
    pub(super) fn copy(recipe_file: &Path, folder: &Path) -> Result<Project> {
        let recipe = Recipe::read(recipe_file)?;
        let missing = |path: &Path| format!("{} can't be read", path.display());
        let recipe_file = recipe_file.canonicalize().with_context(|| missing(recipe_file))?;
        let from = recipe_file.parent().context("the recipe lies in no folder")?;
        let overlays: Vec<PathBuf> = recipe.overlay.iter().map(|o| from.join(o)).collect();
        let mut common = from.to_owned();
        let mut places = Vec::new();
        for overlay in &overlays {
            let place = overlay.canonicalize().with_context(|| missing(overlay))?;
            while !place.starts_with(&common) {
                common.pop();
            }
            places.push(place);
        }
        let inside = |path: &Path| path.strip_prefix(&common).map(|p| folder.join(p)).context("a path without a root");
        let to = inside(from)?;
        fs::create_dir_all(&to)?;
        for place in &places {
            copy(place, &inside(place)?).with_context(|| format!("{} can't be copied", place.display()))?;
        }
        for file in [&recipe_file, &Lock::path_for(&recipe_file)] {
            let name = file.file_name().context("a file without a name")?;
            fs::copy(file, to.join(name)).with_context(|| missing(file))?;
        }
        symlink(from.join(&recipe.keys.folder), to.join(&recipe.keys.folder)).context("the keys can't be linked")?;
        let name = recipe_file.file_name().context("a file without a name")?;
        let overlay = inside(places.last().context("the recipe has no overlay that could be changed")?)?;
        Ok(Project { recipe: to.join(name), overlay })
    }

    /// Adds a comment to the first file of the last overlay and gives its name.
    pub(super) fn change(&self, round: usize) -> Result<String> {
        let file = first_file(&self.overlay)?.context("the last overlay has no file")?;
        let mut text = fs::read(&file)?;
        text.extend(format!("# {round}\n").bytes());
        fs::write(&file, text)?;
        let name = self.overlay.file_name().unwrap_or_default();
        Ok(Path::new(name).join(file.strip_prefix(&self.overlay)?).display().to_string())
    }
}

/// The first regular file by name, depth first.
fn first_file(folder: &Path) -> Result<Option<PathBuf>> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        if kind.is_file() {
            return Ok(Some(entry.path()));
        }
        if kind.is_dir()
            && let Some(file) = first_file(&entry.path())?
        {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    walk(from, to, &|from, to| fs::copy(from, to).map(drop))
}

fn link(from: &Path, to: &Path) -> Result<()> {
    walk(from, to, &|from, to| fs::hard_link(from, to))
        .with_context(|| format!("{} can't be linked; `make image` fills the store", from.display()))
}

/// Makes the folders and links of `from` below `to`, and each file as `make` does.
fn walk(from: &Path, to: &Path, make: &dyn Fn(&Path, &Path) -> std::io::Result<()>) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type()? {
            kind if kind.is_dir() => walk(&from, &to, make)?,
            kind if kind.is_symlink() => symlink(fs::read_link(&from)?, &to)?,
            _ => make(&from, &to)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::repository;
    use image_builder::resolve::local;

    #[test]
    fn a_copied_project_has_the_same_inputs_until_one_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (root, agent) = (folder.path().join("repository"), folder.path().join("agent"));
        for part in ["overlays", "examples"] {
            copy(&repository().join(part), &root.join(part)).unwrap();
        }
        let recipe = root.join("examples/node/recipe.toml");
        fs::write(Lock::path_for(&recipe), "").unwrap();
        fs::create_dir(&agent).unwrap();
        for name in local::AGENT {
            fs::write(agent.join(name), name).unwrap();
        }
        let digests =
            |recipe: &Path| local::digests(&Recipe::read(recipe).unwrap(), recipe.parent().unwrap(), &agent).unwrap();
        let before = digests(&recipe);
        let project = Project::copy(&recipe, &folder.path().join("copy")).unwrap();
        assert_eq!(digests(&project.recipe), before);
        let changed = project.change(1).unwrap();
        let differences = local::differences(&before, &digests(&project.recipe));
        assert_eq!(differences, [format!("overlay/{changed} (changed)")]);
        assert_eq!(digests(&recipe), before, "the original is as it was");
    }
}
