//! Inputs from the recipe's side: overlay files, the agent's programs and a kernel's configuration, by digest.

use crate::compose::overlay::Overlay;
use crate::digest::Sha256;
use crate::kernel;
use crate::recipe::Recipe;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The agent's programs, by the names they have in the lock and in the image.
pub const AGENT: [&str; 2] = ["firstboot", "stage1"];
/// Says where the agent's programs are, when not beside the running program.
pub const AGENT_FOLDER: &str = "BEDPLATE_AGENT_DIR";

/// Whether [`AGENT_FOLDER`] says where the agent's programs are.
pub fn agent_folder_is_told() -> bool {
    std::env::var_os(AGENT_FOLDER).is_some_and(|folder| !folder.is_empty())
}

/// Where the agent's programs are: what [`AGENT_FOLDER`] says, else beside the running program.
///
/// # Errors
/// When neither is known.
pub fn agent_folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(AGENT_FOLDER).filter(|f| !f.is_empty()) {
        return Ok(folder.into());
    }
    let own = std::env::current_exe().context("can't tell where this program is")?;
    Ok(own.parent().unwrap_or(Path::new("/")).to_owned())
}

/// Digests of all local inputs: `overlay/NAME/PATH` (over mode and bytes), `agent/NAME`, `kernel/NAME`. `folder` is the
/// recipe's.
///
/// # Errors
/// When one is not there or can't be read; or two overlays have one name.
pub fn digests(recipe: &Recipe, folder: &Path, agent: &Path) -> Result<BTreeMap<String, Sha256>> {
    let mut found = files(recipe, folder)?;
    found.extend(programs(agent)?);
    Ok(found)
}

/// Digests of the files beside the recipe: those of overlays, and fragments of a kernel's configuration.
///
/// # Errors
/// As [`digests`].
pub fn files(recipe: &Recipe, folder: &Path) -> Result<BTreeMap<String, Sha256>> {
    let mut found = BTreeMap::new();
    let mut names = BTreeMap::new();
    for path in &recipe.overlay {
        let overlay = Overlay::at(&folder.join(path));
        if let Some(other) = names.insert(overlay.name.clone(), path) {
            bail!(
                "the overlays {} and {} have one name, {:?}; rename one of the folders",
                other.display(),
                path.display(),
                overlay.name
            );
        }
        for (path, digest) in overlay.digests()? {
            found.insert(format!("overlay/{}/{path}", overlay.name), digest);
        }
    }
    for named in &recipe.kernel.config {
        let path = folder.join(named);
        let text = std::fs::read(&path).with_context(|| format!("can't read the fragment {}", path.display()))?;
        found.insert(format!("kernel/{}", kernel::fragment_name(named)), Sha256::of(text));
    }
    Ok(found)
}

/// Digests of the agent's programs in this folder.
///
/// # Errors
/// As [`digests`].
pub fn programs(agent: &Path) -> Result<BTreeMap<String, Sha256>> {
    let mut found = BTreeMap::new();
    for name in AGENT {
        let path = agent.join(name);
        let file = File::open(&path).with_context(|| {
            format!(
                "the agent's program {name} is not at {}; build it (`make`), or say where it is with {AGENT_FOLDER}",
                path.display()
            )
        })?;
        let (digest, _) = Sha256::of_reader(file).with_context(|| format!("can't read {}", path.display()))?;
        found.insert(format!("agent/{name}"), digest);
    }
    Ok(found)
}

/// What differs between the local inputs as locked and as they are, for people: `overlay/x/y (changed)`.
pub fn differences(locked: &BTreeMap<String, Sha256>, found: &BTreeMap<String, Sha256>) -> Vec<String> {
    let mut names: Vec<&String> = locked.keys().chain(found.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter_map(|name| match (locked.get(name), found.get(name)) {
            (Some(a), Some(b)) if a == b => None,
            (Some(_), Some(_)) => Some(format!("{name} (changed)")),
            (Some(_), None) => Some(format!("{name} (gone)")),
            _ => Some(format!("{name} (new)")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_each_input_once() {
        let digests = |list: &[(&str, &str)]| -> BTreeMap<String, Sha256> {
            list.iter().map(|(name, text)| ((*name).to_owned(), Sha256::of(text))).collect()
        };
        let locked = digests(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let found = digests(&[("a", "1"), ("b", "2"), ("d", "1")]);
        assert_eq!(differences(&locked, &found), ["b (changed)", "c (gone)", "d (new)"]);
    }
}
